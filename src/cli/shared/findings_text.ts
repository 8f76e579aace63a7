/**
 * Findings as text: a line each, or a table.
 *
 * @module
 */

import { type Finding, isAccepted, isUnproven } from "../../maintenance/findings.ts";
import type { UnusableSegment } from "../../maintenance/scan_items.ts";
import { type Column, formatBytes, formatRange, NO_CELL, table } from "./text.ts";

/** A finding in a few words, without its place. */
export function wordsFor(finding: Finding): string {
  if (isUnproven(finding)) return `${kindWords(finding)}, perhaps never acknowledged`;
  return isAccepted(finding) ? `${kindWords(finding)}, accepted by repair` : kindWords(finding);
}

export function kindWords(finding: Finding): string {
  switch (finding.kind) {
    case "damaged":
      return finding.length === 0 ? "frames missing without a trace" : "damaged bytes";
    case "torn":
      return finding.isZero ? "space set aside" : "unfinished write";
    case "missing":
      return "records missing";
    case "gone":
      return "committed and removed meanwhile";
    case "contradiction":
      return finding.what;
    case "unusable":
      return wordsForUnusable(finding);
  }
}

export function wordsForUnusable({ why, version, mayHold }: UnusableSegment): string {
  switch (why) {
    case "empty":
      return "segment without content";
    case "version":
      return `format version ${version}, newer than this program`;
    case "foreign":
      return "segment of another buffer";
    case "header":
      return `header can't be read${mayHold === undefined ? "" : ", nobody knows how many records it held"}`;
  }
}

/** A finding in one line. */
export function lineFor(finding: Finding): string {
  const { segment, offset, length, sequences } = placeOf(finding);
  const at = offset === "" ? "" : ` at offset ${offset}`;
  const size = length === "" ? "" : `, ${length}`;
  const which = sequences === "" ? "" : `, sequences ${sequences}`;
  return `${wordsFor(finding)}${segment === "" ? "" : ` in ${segment}`}${at}${size}${which}`;
}

export const COLUMNS: readonly Column[] = [
  { title: "segment" },
  { title: "offset", isNumber: true },
  { title: "length", isNumber: true },
  { title: "sequences" },
  { title: "what" },
];

/** A table of findings. */
export function findingsTable(findings: readonly Finding[], width: number): string {
  const rows = findings.map((finding) => {
    const { segment, offset, length, sequences } = placeOf(finding);
    return [segment, offset, length, sequences, wordsFor(finding)].map((cell) => cell || NO_CELL);
  });
  return table(COLUMNS, rows, width);
}

export function placeOf(finding: Finding): { segment: string; offset: string; length: string; sequences: string } {
  const segment = "segment" in finding ? finding.segment : "";
  const isPlace = finding.kind === "damaged" || finding.kind === "torn";
  const bytes = isPlace ? finding.length : finding.kind === "unusable" ? finding.bytes : undefined;
  const missing = "missing" in finding ? finding.missing : undefined;
  const mayHold = finding.kind === "unusable" ? finding.mayHold : undefined;
  return {
    segment,
    offset: isPlace ? String(finding.offset) : "",
    length: bytes === undefined ? "" : formatBytes(bytes),
    sequences: missing !== undefined
      ? formatRange(missing)
      : mayHold !== undefined
      ? `at most ${formatRange(mayHold)}`
      : "",
  };
}
