/**
 * Findings as text: a line each, or a table.
 *
 * @module
 */

import { type Finding, isAccepted, isUnproven } from "../../maintenance/findings.ts";
import type { UnusableSegment } from "../../maintenance/scan_items.ts";
import { type Column, formatBytes, formatRange, NO_CELL, table } from "./text.ts";

const COLUMNS: readonly Column[] = [
  { title: "segment" },
  { title: "offset", isNumber: true },
  { title: "length", isNumber: true },
  { title: "sequences" },
  { title: "what" },
];

export function findingsTable(findings: readonly Finding[], width: number): string {
  const rows = findings.map((finding) => [...placeOf(finding), wordsFor(finding)].map((cell) => cell || NO_CELL));
  return table(COLUMNS, rows, width);
}

export function lineFor(finding: Finding): string {
  const [segment, offset, length, sequences] = placeOf(finding);
  return wordsFor(finding) + (segment && ` in ${segment}`) + (offset && ` at offset ${offset}`) +
    (length && `, ${length}`) + (sequences && `, sequences ${sequences}`);
}

/** A finding in a few words, without its place. */
function wordsFor(finding: Finding): string {
  if (isUnproven(finding)) return `${kindWords(finding)}, perhaps never acknowledged`;
  return isAccepted(finding) ? `${kindWords(finding)}, accepted by repair` : kindWords(finding);
}

function kindWords(finding: Finding): string {
  if (finding.kind === "missing") return "records missing";
  if (finding.kind === "gone") return "committed and removed meanwhile";
  if (finding.kind === "damaged") return finding.length === 0 ? "frames missing without a trace" : "damaged bytes";
  if (finding.kind === "torn") return finding.isZero ? "space set aside" : "unfinished write";
  return finding.kind === "contradiction" ? finding.what : unusableWords(finding);
}

function unusableWords({ why, version, mayHold }: UnusableSegment): string {
  if (why === "empty") return "segment without content";
  if (why === "version") return `format version ${version}, newer than this program`;
  if (why === "foreign") return "segment of another buffer";
  return `header can't be read${mayHold === undefined ? "" : ", nobody knows how many records it held"}`;
}

function placeOf(finding: Finding): readonly [segment: string, offset: string, length: string, sequences: string] {
  const isPlace = finding.kind === "damaged" || finding.kind === "torn";
  const bytes = isPlace ? finding.length : finding.kind === "unusable" ? finding.bytes : undefined;
  const missing = "missing" in finding ? finding.missing : undefined;
  const mayHold = finding.kind === "unusable" ? finding.mayHold : undefined;
  return [
    "segment" in finding ? finding.segment : "",
    isPlace ? String(finding.offset) : "",
    bytes === undefined ? "" : formatBytes(bytes),
    missing !== undefined ? formatRange(missing) : mayHold !== undefined ? `at most ${formatRange(mayHold)}` : "",
  ];
}
