/**
 * Findings: what is wrong with a log, in one form for all commands.
 *
 * @module
 */

import type { DamagedBytes, GoneSegment, MissingRecords, ScanItem, TornTail, UnusableSegment } from "./scan_items.ts";

/** The cursor contradicts the log, or a segment's running totals contradict the segments before it. */
export interface Contradiction {
  readonly kind: "contradiction";
  /** The file that contradicts the others. */
  readonly segment: string;
  readonly what: string;
}

/** Something to report about a log. */
export type Finding = DamagedBytes | TornTail | MissingRecords | UnusableSegment | GoneSegment | Contradiction;

/** Whether an item of a scan is to be reported. */
export function isFinding(item: ScanItem): item is Exclude<Finding, Contradiction> {
  return item.kind !== "segment" && item.kind !== "frame";
}

/**
 * Whether a log with such a finding is sound all the same:
 * - a torn tail or an empty segment, which any kill may leave, and recovery removes;
 * - a segment that is gone: its records were committed;
 * - a loss that was accepted;
 * - an unproven loss: a power cut may have taken records that were never acknowledged.
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

/** Whether `repair` has accepted the loss. */
export function isAccepted(finding: Finding): boolean {
  return (finding.kind === "damaged" || finding.kind === "missing") && finding.isAccepted === true;
}

/** A finding as the commands print it with `--json`. */
export function toJson(finding: Finding): Record<string, unknown> {
  return { ...finding, harmless: isHarmless(finding) };
}
