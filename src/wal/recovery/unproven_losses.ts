/**
 * What of the losses that recovery finds is proven to be one, and what isn't: the first is damage, the second may be what a
 * power cut took of records that nobody was promised. What proves it is said at the head of `segment_scan.ts`.
 *
 * Pure but for reading segments and what is known of earlier losses.
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

/** What is read of a log before anything is concluded. */
export interface LogEvidence {
  readonly uuid: string;
  /** Those that can be read, in order. */
  readonly segments: readonly Segment[];
  /** The last of them. */
  readonly scan: SegmentScan | undefined;
  readonly cursor: CursorState | undefined;
}

/** What is promised, and the segments before the last one that hold records of which that isn't known. */
export function findProvenBound(
  place: LogLocation,
  { uuid, segments, scan, cursor }: LogEvidence,
): { promised: number; earlier: Segment[] } {
  const { lastSequence, resume } = cursor ?? { lastSequence: 0, resume: LOG_START };
  let promised = Math.max(lastSequence + 1, resume.nextSequence, scan?.provenBefore ?? 0);
  if (scan === undefined) return { promised, earlier: [] };
  let first = segments.length - 1;
  for (let isFound = scan.segment.firstSequence <= promised; !isFound && first > 0;) {
    const header = readHeaderIfOurs(place, segments[--first], uuid);
    if (header === undefined) continue;
    promised = Math.max(promised, acknowledgedBefore(header));
    isFound = header.firstSequence <= promised;
  }
  return { promised, earlier: segments.slice(first, -1) };
}

/** A loss of which nothing proves that it is one. */
function markUnproven(finding: RecoveryFinding): RecoveryFinding {
  return { ...finding, unproven: true };
}

/** Also what was found before, and said to be unproven: by now the cursor vouches for it. */
export function markRecordedUnproven(
  { fileSystem, directory }: LogLocation,
  findings: readonly RecoveryFinding[],
): RecoveryFinding[] {
  if (findings.length === 0) return [];
  const { losses } = new Quarantine(fileSystem, directory);
  return findings.map((finding) => losses.isUnproven(finding.missing) ? markUnproven(finding) : finding);
}

/** What was met, as what is promised and what isn't: a loss may be a part of both. */
export function splitByProof(promised: number, { finding, expected }: ScanFinding): RecoveryFinding[] {
  const { segment, offset, missing } = finding;
  if (expected >= promised) return [markUnproven(finding)];
  if (missing === undefined || missing.last < promised) return [finding];
  return [
    { ...finding, missing: { first: missing.first, last: promised - 1 } },
    markUnproven({
      segment,
      offset,
      length: 0,
      missing: { first: Math.max(missing.first, promised), last: missing.last },
    }),
  ];
}

/** What is bad in the last segment; and in the earlier ones where nothing is promised: the rest is for who reads them. */
export function collectFindings(
  place: LogLocation,
  { uuid, earlier, scan, promised }: {
    uuid: string;
    earlier: readonly Segment[];
    scan: SegmentScan | undefined;
    promised: number;
  },
): RecoveryFinding[] {
  if (scan === undefined) return [];
  const { findings } = scanEarlierSegments(place, { segments: earlier, next: scan.segment, uuid });
  const split = (one: ScanFinding): RecoveryFinding[] => splitByProof(promised, one);
  return [...findings.flatMap(split).filter((finding) => finding.unproven === true), ...scan.findings.flatMap(split)];
}

/**
 * The segments behind the end of the log that can't be used, the newest first, and the sequences that are missing before
 * each of them: its name says that they were given out. What can be read in front of one can't be in it.
 */
export function findLossesOfUnusable(
  found: readonly RecoveryFinding[],
  { nextSequence }: LogPosition,
  { resume, place, isUnproven }: {
    resume: LogPosition;
    place: Pick<RecoveryFinding, "segment" | "offset"> | undefined;
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
      const { segment, offset } = place ?? { segment: segmentName(next), offset: 0 };
      gaps.push(mark({ segment, offset, length: 0, missing: { first: next, last: missing.first - 1 } }));
    }
    next = Math.max(next, missing.last + 1);
  }
  return { unusable, gaps };
}
