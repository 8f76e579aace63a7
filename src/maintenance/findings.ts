/**
 * What is wrong with a log, as people and programs are told: one form for all commands.
 *
 * @module
 */

import { type Column, formatBytes, formatRange, NO_CELL, table } from "../cli/shared/text.ts";
import type { DamagedBytes, GoneSegment, MissingRecords, ScanItem, TornTail, UnusableSegment } from "./scan.ts";

/** The cursor doesn't fit the log, or a segment's running totals don't fit the segments before. */
export interface Contradiction {
  readonly kind: "contradiction";
  /** The file that is at odds with the others. */
  readonly segment: string;
  readonly what: string;
}

/** Something to tell about a log. */
export type Finding = DamagedBytes | TornTail | MissingRecords | UnusableSegment | GoneSegment | Contradiction;

/** Whether an item of a scan is something to tell. */
export function isFinding(item: ScanItem): item is Exclude<Finding, Contradiction> {
  return item.kind !== "segment" && item.kind !== "frame";
}

/**
 * Whether a log with such a finding is sound all the same: every kill may leave an unfinished write, or a segment that was
 * just begun, and recovery cuts it off; a segment that is gone was committed; a loss that was accepted is known; and where
 * nothing proves that a record was acknowledged, a power cut may have taken what nobody was promised.
 */
export function isHarmless(finding: Finding): boolean {
  const { kind } = finding;
  return kind === "torn" || kind === "gone" || isAccepted(finding) || isUnproven(finding) ||
    (kind === "unusable" && finding.why === "empty");
}

/** Whether nothing proves that any of it was ever acknowledged. */
export function isUnproven(finding: Finding): boolean {
  return "isUnproven" in finding && finding.isUnproven === true;
}

/** Whether it is a loss that `repair` has accepted. */
export function isAccepted(finding: Finding): boolean {
  return (finding.kind === "damaged" || finding.kind === "missing") && finding.isAccepted === true;
}

/** A finding for `--json`. */
export function toJson(finding: Finding): Record<string, unknown> {
  return { ...finding, harmless: isHarmless(finding) };
}

/** A finding in a few words, without where it is. */
export function wordsFor(finding: Finding): string {
  if (isUnproven(finding)) return `${kindWords(finding)}, perhaps never acknowledged`;
  return isAccepted(finding) ? `${kindWords(finding)}, accepted by repair` : kindWords(finding);
}

function kindWords(finding: Finding): string {
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

function wordsForUnusable({ why, version, mayHold }: UnusableSegment): string {
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

const COLUMNS: readonly Column[] = [
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

function placeOf(finding: Finding): { segment: string; offset: string; length: string; sequences: string } {
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
