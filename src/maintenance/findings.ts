/**
 * What is wrong with a log, as people and programs are told: one form for all commands.
 *
 * @module
 */

import type { DamagedBytes, GoneSegment, MissingRecords, ScanItem, TornTail, UnusableSegment } from "./scan_items.ts";

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
