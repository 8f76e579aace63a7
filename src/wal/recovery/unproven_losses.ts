/**
 * Tells proven losses from unproven ones among what recovery finds. A proven loss is damage. An unproven one may be what a
 * power cut took of records that were never acknowledged. `segment_scan.ts` defines the terms.
 *
 * Pure, but for reading segments and the losses that earlier runs have recorded.
 *
 * @module
 */

import { clipRange } from "../../base/sequences.ts";
import { acknowledgedBefore } from "../format.ts";
import { segmentName } from "../names.ts";
import { type CursorState, LOG_START, type LogPosition } from "../position.ts";
import type { LogLocation, Segment } from "../segment_files.ts";
import { Quarantine } from "./quarantine.ts";
import {
  readHeaderIfOurs,
  type RecoveryFinding,
  scanEarlierSegments,
  type ScanFinding,
  type SegmentScan,
} from "./segment_scan.ts";

/** What shows which records were acknowledged. */
export interface LogEvidence {
  readonly uuid: string;
  /** The segments up to the last usable one, in order. */
  readonly segments: readonly Segment[];
  /** The last of them, read through. */
  readonly scan: SegmentScan | undefined;
  readonly cursor: CursorState | undefined;
}

/** The sequence below which all records are proven, and the segments before the last one that hold unproven records. */
export interface ProvenBound {
  readonly provenBefore: number;
  readonly earlier: readonly Segment[];
}

/**
 * Finds which records are proven. Headers are read from the newest segment back, until one begins within the proven records:
 * these are the few segments that one sync would have covered.
 */
export function findProvenBound(
  location: LogLocation,
  { uuid, segments, scan, cursor }: LogEvidence,
): ProvenBound {
  const { lastSequence, resume } = cursor ?? { lastSequence: 0, resume: LOG_START };
  let provenBefore = Math.max(lastSequence + 1, resume.nextSequence, scan?.provenBefore ?? 0);
  if (scan === undefined) return { provenBefore, earlier: [] };
  let first = segments.length - 1;
  for (let isFound = scan.segment.firstSequence <= provenBefore; !isFound && first > 0;) {
    const header = readHeaderIfOurs(location, segments[--first], uuid);
    if (header === undefined) continue;
    provenBefore = Math.max(provenBefore, acknowledgedBefore(header));
    isFound = header.firstSequence <= provenBefore;
  }
  return { provenBefore, earlier: segments.slice(first, -1) };
}

/** Marks a loss as unproven. */
function markUnproven(finding: RecoveryFinding): RecoveryFinding {
  return { ...finding, unproven: true };
}

/**
 * Marks losses that an earlier run has recorded as unproven. By now they lie below what the cursor knows, and would seem
 * proven.
 */
export function markRecordedUnproven(
  { fileSystem, directory }: LogLocation,
  findings: readonly RecoveryFinding[],
): RecoveryFinding[] {
  if (findings.length === 0) return [];
  const { losses } = new Quarantine(fileSystem, directory);
  return findings.map((finding) => losses.isUnproven(finding.missing) ? markUnproven(finding) : finding);
}

/** Splits a finding into its proven and its unproven part. */
export function splitByProof(provenBefore: number, { finding, expected }: ScanFinding): RecoveryFinding[] {
  const { segment, offset, missing } = finding;
  if (expected >= provenBefore) return [markUnproven(finding)];
  if (missing === undefined || missing.last < provenBefore) return [finding];
  return [
    { ...finding, missing: { first: missing.first, last: provenBefore - 1 } },
    markUnproven({
      segment,
      offset,
      length: 0,
      missing: { first: Math.max(missing.first, provenBefore), last: missing.last },
    }),
  ];
}

/**
 * The findings in the last segment, and the unproven ones in the segments before it. Proven losses in those are found
 * when the log is read.
 */
export function collectFindings(
  location: LogLocation,
  { uuid, scan }: Pick<LogEvidence, "uuid" | "scan">,
  { earlier, provenBefore }: ProvenBound,
): RecoveryFinding[] {
  if (scan === undefined) return [];
  const { findings } = scanEarlierSegments(location, { segments: earlier, next: scan.segment, uuid });
  const split = (one: ScanFinding): RecoveryFinding[] => splitByProof(provenBefore, one);
  return [...findings.flatMap(split).filter((finding) => finding.unproven === true), ...scan.findings.flatMap(split)];
}

/**
 * Determines which sequences are missing because of the unusable segments after the end of the log, and before each of
 * them: its name says that these were assigned. Sequences that can be read from earlier segments are not missing.
 *
 * @param found The unusable segments, the newest first.
 */
export function findLossesOfUnusable(
  found: readonly RecoveryFinding[],
  { nextSequence }: LogPosition,
  { resume, tail, isUnproven }: {
    resume: LogPosition;
    /** Where the log ends in its last segment. */
    tail: Pick<RecoveryFinding, "segment" | "offset"> | undefined;
    isUnproven: (finding: RecoveryFinding) => boolean;
  },
): { unusable: RecoveryFinding[]; gaps: RecoveryFinding[] } {
  const unusable: RecoveryFinding[] = [];
  const gaps: RecoveryFinding[] = [];
  let next = Math.max(nextSequence, resume.nextSequence);
  for (const one of found.toReversed()) {
    const mark = isUnproven(one) ? markUnproven : (finding: RecoveryFinding) => finding;
    const missing = clipRange(one.missing, nextSequence);
    unusable.unshift(mark({ ...one, missing }));
    if (missing === undefined) continue;
    if (next < missing.first) {
      const { segment, offset } = tail ?? { segment: segmentName(next), offset: 0 };
      gaps.push(mark({ segment, offset, length: 0, missing: { first: next, last: missing.first - 1 } }));
    }
    next = Math.max(next, missing.last + 1);
  }
  return { unusable, gaps };
}
