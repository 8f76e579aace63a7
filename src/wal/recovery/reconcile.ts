/**
 * Reconciles a log with its cursor: decides where the log ends, what is lost, and what the cursor is to say.
 *
 * Rules:
 * - The log wins over the cursor: totals in the cursor are replaced by those of the frames.
 * - Sequences are never reused. The next one follows everything that a frame, the cursor or the name of a segment says was
 *   assigned.
 * - Each sequence that the consumer still needs is either readable or reported missing.
 *
 * Changes nothing. It reads headers, and the few segments with records that are not proven (see `segment_scan.ts`).
 *
 * @module
 */

import { join } from "@std/path/join";
import {
  clipRange,
  clipRanges,
  countSequences,
  mergeRanges,
  type SequenceRange,
  subtractRanges,
} from "../../base/sequences.ts";
import type { SegmentSize } from "../disk_usage.ts";
import { SEGMENT_HEADER_BYTES } from "../format.ts";
import { CURSOR_NAME, parseSegmentName, segmentName } from "../names.ts";
import type { CursorOrigin } from "../owner_file.ts";
import {
  awaitedSequences,
  clampPosition,
  type CommitState,
  type CursorPositions,
  type CursorState,
  LOG_START,
  type LogPosition,
} from "../position.ts";
import type { LogLocation, Segment } from "../segment_files.ts";
import { headerPosition } from "./cursor_position_tracker.ts";
import { findLogStart, measureAroundDropped } from "./log_start.ts";
import type { RecoveryFinding, SegmentScan } from "./segment_scan.ts";
import {
  collectFindings,
  findLossesOfUnusable,
  findProvenBound,
  markRecordedUnproven,
  type ProvenBound,
  splitByProof,
} from "./unproven_losses.ts";

/** Why the cursor isn't as the last owner left it, as `RecoveryReport` explains it. */
export type CursorProblem = Exclude<CursorOrigin, "own"> | "shared";

/** What was read of a log. */
export interface LogReadings {
  /** The log's uuid; a new one if nothing says it. */
  readonly uuid: string;
  /** The segments up to the last usable one, in order. */
  readonly segments: readonly Segment[];
  /** Newer segments without a frame, whose creation was interrupted. To be removed. */
  readonly empty: readonly Segment[];
  /** Newer segments that can't be read or belong to another buffer, the newest first. */
  readonly unusable: readonly RecoveryFinding[];
  /** The last usable segment, read through. */
  readonly scan: SegmentScan | undefined;
  /** The cursor, if it belongs to this log and this directory. */
  readonly validCursor: CursorState | undefined;
  /** What the cursor file says, valid or not. */
  readonly foundCursor: CursorState | undefined;
  readonly cursorOrigin: CursorOrigin;
  /** Sequences that earlier processes have reported missing. */
  readonly recordedLost: readonly SequenceRange[];
}

/** What recovery has to do, and the log that results. */
export interface Reconciliation {
  /** Segments to be moved to the quarantine, the newest first. */
  readonly unusable: readonly RecoveryFinding[];
  /** Damage to be reported, and copied to the quarantine. */
  readonly findings: readonly RecoveryFinding[];
  /** What the new cursor is going to say. */
  readonly cursor: CursorPositions;
  /** Whether the old cursor was lost, or doesn't fit what is left of the log. */
  readonly isCursorChanged: boolean;
  readonly isCursorLost: boolean;
  readonly cursorProblem: CursorProblem | undefined;
  /** The position of the next record. */
  readonly end: LogPosition;
  /** Uncommitted sequences that are not going to be delivered: ascending, without overlaps. */
  readonly lost: readonly SequenceRange[];
  /** Sizes of the segments that were opened. */
  readonly sizes: readonly SegmentSize[];
  /** Records below this sequence are proven to have been acknowledged. */
  readonly provenBefore: number;
  /**
   * Whether the last owner acknowledged puts only after a sync. Only then may an unreadable segment hold unproven records.
   */
  readonly isSynced: boolean;
  /** The segments with unproven records: they may not be synced. */
  readonly unsynced: readonly Segment[];
}

/** The cursor, or what stands in for a lost one. */
type KnownPositions = CursorPositions & Pick<CursorState, "isSynced">;

/** Reconciles a log with its cursor. */
export function reconcile(location: LogLocation, log: LogReadings): Reconciliation {
  const { uuid, segments, scan, validCursor: cursor, foundCursor, cursorOrigin } = log;
  const { start, sizes } = findLogStart(location, segments, { uuid, fallback: scan?.end ?? LOG_START });
  const known: KnownPositions = cursor ??
    { lastSequence: 0, isSynced: false, committed: start, resume: start, boundaries: [] };
  const { isSynced } = known;
  const nextInLog = Math.max(start.nextSequence, known.resume.nextSequence);
  const logEnd = scan?.end ?? { ...known.resume, nextSequence: nextInLog };
  const bound = findProvenBound(location, { uuid, segments, scan, cursor });
  const { provenBefore, earlier } = bound;
  const losses = findLosses(location, log, { known, logEnd, bound });
  const { end } = losses;

  const aligned = alignPositions(known, scan, { logEnd, end });
  const { committed, boundaries } = aligned;
  const missing = [...losses.unusable, ...losses.findings].flatMap((finding) => finding.missing ?? []);
  const { resume, lost } = skipIfAllLost(aligned, mergeRanges([...missing, ...log.recordedLost]), {
    resumesAt: known.resume.nextSequence,
    end,
  });

  const lastKnown = lastKnownSequence(known);
  // A segment without a record may be removed later. Then only the cursor says which sequences were assigned before it.
  const isOnlyInName = scan?.position === SEGMENT_HEADER_BYTES && lastKnown < end.nextSequence - 1;
  const isCursorChanged = cursor === undefined || losses.unusable.length > 0 || lastKnown >= logEnd.nextSequence ||
    isOnlyInName;
  // An unchanged cursor doesn't vouch for records in the log that nobody may have synced.
  const lastSequence = isCursorChanged ? end.nextSequence - 1 : known.lastSequence;
  return {
    unusable: markRecordedUnproven(location, clipCommitted(losses.unusable, committed)),
    findings: markRecordedUnproven(location, clipCommitted(losses.findings, committed)),
    cursor: { lastSequence, committed: boundaries.length === 0 ? resume : committed, resume, boundaries },
    isCursorChanged,
    isCursorLost: cursor === undefined &&
      (segments.length > 0 || log.unusable.length > 0 || foundCursor !== undefined),
    cursorProblem: cursorOrigin !== "own" ? cursorOrigin : isShared(location, cursor) ? "shared" : undefined,
    end,
    lost,
    sizes: replaceLastSize(scan, [...sizes, ...measureAroundDropped(location, segments, { uuid, state: known })]),
    provenBefore,
    isSynced,
    unsynced: isSynced && logEnd.nextSequence > provenBefore
      ? segments.slice(segments.length - earlier.length - 1)
      : [],
  };
}

/** The last sequence that was assigned, going by the cursor. */
function lastKnownSequence({ lastSequence, resume }: CursorPositions): number {
  return Math.max(lastSequence, resume.nextSequence - 1);
}

/** Finds what is missing, and with it the sequence that comes next. */
function findLosses(
  location: LogLocation,
  { uuid, segments, empty, scan, validCursor, unusable: found }: LogReadings,
  { known, logEnd, bound }: {
    readonly known: KnownPositions;
    /** After the last record that can be read. */
    readonly logEnd: LogPosition;
    readonly bound: ProvenBound;
  },
): { readonly findings: RecoveryFinding[]; readonly unusable: RecoveryFinding[]; readonly end: LogPosition } {
  const { resume, isSynced } = known;
  const { provenBefore } = bound;
  const tail = scan && { segment: scan.segment.name, offset: scan.position };
  const isUnproven = ({ segment, unproven }: RecoveryFinding): boolean =>
    unproven === true || (isSynced && parseSegmentName(segment)! >= provenBefore);
  // A recovery that died before it moved an unusable segment has moved the cursor past it: what it recorded still holds.
  const recorded = markRecordedUnproven(location, found);
  const { unusable, gaps } = findLossesOfUnusable(recorded, logEnd, { resume, tail, isUnproven });
  const findings = [...collectFindings(location, { uuid, scan }, bound), ...gaps];

  const lastUnusable = unusable.reduce((last, { missing }) => Math.max(last, missing?.last ?? 0), 0);
  const lastKnown = lastKnownSequence(known);
  const first = Math.max(logEnd.nextSequence, resume.nextSequence, lastUnusable + 1);
  if (first <= lastKnown) {
    const { segment, offset } = tail ?? { segment: segmentName(first), offset: 0 };
    findings.push({ segment, offset, length: 0, missing: { first, last: lastKnown } });
  }
  for (const finding of findMissingAtStart(segments, unusable, known)) {
    findings.unshift(...splitByProof(provenBefore, { finding, expected: finding.missing.first }));
  }

  // Without a cursor, the name of a segment that was just created is all that says which sequences were assigned before it.
  const named = validCursor === undefined
    ? empty.reduce((last, segment) => Math.max(last, segment.firstSequence), 0)
    : 0;
  const nextSequence = Math.max(logEnd.nextSequence, lastKnown + 1, lastUnusable + 1, named);
  return { findings, unusable, end: { ...logEnd, nextSequence } };
}

/** Replaces the totals of the cursor's positions by those of the frames, and clamps them so that they ascend. */
function alignPositions(
  known: CommitState,
  scan: SegmentScan | undefined,
  { logEnd, end }: { readonly logEnd: LogPosition; readonly end: LogPosition },
): CommitState {
  const isInScan = known.committed.nextSequence >= (scan?.header.firstSequence ?? Infinity);
  const min = isInScan ? headerPosition(scan!.header) : LOG_START;
  const align = (position: LogPosition): LogPosition => {
    const { nextSequence } = position;
    return nextSequence < logEnd.nextSequence
      ? scan?.positions.get(nextSequence) ?? position
      : { ...end, nextSequence };
  };
  // From the end backwards, because the log wins: a position can't count more than those after it.
  const resume = clampPosition(align(known.resume), min, end);
  const boundaries: LogPosition[] = [];
  let max = resume;
  for (const boundary of known.boundaries.toReversed()) {
    if (boundary.nextSequence <= known.committed.nextSequence) continue;
    boundaries.unshift(max = clampPosition(align(boundary), min, max));
  }
  return { committed: clampPosition(align(known.committed), min, max), boundaries, resume };
}

/** What of `missing` is lost. If nothing that follows `resumesAt` can be read, the next batch begins at the end instead. */
function skipIfAllLost(
  { committed, resume }: CommitState,
  missing: readonly SequenceRange[],
  { resumesAt, end }: { readonly resumesAt: number; readonly end: LogPosition },
): { readonly resume: LogPosition; readonly lost: readonly SequenceRange[] } {
  const lost = clipRanges(missing, committed.nextSequence);
  const skipped = clipRanges(missing, resumesAt);
  const isAllLost = countSequences(skipped) === end.nextSequence - resumesAt;
  return isAllLost ? { resume: end, lost: subtractRanges(lost, skipped) } : { resume, lost };
}

/** Committed records are never reported missing. */
function clipCommitted(findings: readonly RecoveryFinding[], { nextSequence }: LogPosition): RecoveryFinding[] {
  return findings.map((finding) => ({ ...finding, missing: clipRange(finding.missing, nextSequence) }));
}

/** The sequences that the consumer needs and that precede all segments, unusable ones included. */
function findMissingAtStart(
  segments: readonly Segment[],
  unusable: readonly RecoveryFinding[],
  known: CommitState,
): (RecoveryFinding & { readonly missing: SequenceRange })[] {
  const firstUnusable = unusable.reduce((least, { missing }) => Math.min(least, missing?.first ?? Infinity), Infinity);
  const first = segments.at(0);
  const before = first?.firstSequence ?? firstUnusable;
  return awaitedSequences(known, { first: 1, last: before - 1 }).reverse()
    // Where no segment bounds it, what follows `resume` has not been put yet.
    .filter(({ last }) => last < Infinity)
    // Where no segment is left, what is missing before the unusable ones was found together with them.
    .filter((missing) => first !== undefined || missing.first < known.resume.nextSequence)
    .map((missing) => ({ segment: first?.name ?? segmentName(missing.first), offset: 0, length: 0, missing }));
}

/** The sizes, with that of the last segment as its scan has found it: without its tail. */
function replaceLastSize(scan: SegmentScan | undefined, sizes: readonly SegmentSize[]): SegmentSize[] {
  if (scan === undefined) return [...sizes];
  const { segment, header: { logBytesBefore }, position } = scan;
  return [...sizes.filter((size) => size.segment !== segment), { segment, bytes: position, logBytesBefore }];
}

/** Whether the cursor file has another name, in a copy of the directory made of hard links. */
function isShared({ fileSystem, directory }: LogLocation, cursor: CursorState | undefined): boolean {
  return cursor !== undefined && (fileSystem.identify?.(join(directory, CURSOR_NAME)).links ?? 1) > 1;
}
