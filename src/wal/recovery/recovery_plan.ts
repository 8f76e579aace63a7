/**
 * What a start has to do: reads the log and the cursor, changes nothing, and says what recovery would change.
 *
 * `recovery.ts` carries the plan out; the command line shows it.
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
import { UnsupportedVersionError } from "../../errors/mod.ts";
import type { FileHandle } from "../../fs/file_system.ts";
import { Cursor } from "../cursor.ts";
import type { SegmentSize } from "../disk_usage.ts";
import { SEGMENT_HEADER_BYTES, SEGMENT_VERSION } from "../format.ts";
import { CURSOR_NAME, parseSegmentName, QUARANTINE_NAME, segmentName } from "../names.ts";
import { type CursorOrigin, findCursorOrigin } from "../owner_file.ts";
import { clampPosition, type CursorPositions, type CursorState, LOG_START, type LogPosition } from "../position.ts";
import {
  classifySegment,
  findUuid,
  type LogLocation,
  parseSegmentNames,
  type Segment,
  withSegment,
} from "../segment_files.ts";
import { headerPosition } from "./cursor_position_tracker.ts";
import { findLogStart, measureAroundDropped } from "./log_start.ts";
import { Quarantine } from "./quarantine.ts";
import { type RecoveryFinding, scanSegment, type SegmentScan } from "./segment_scan.ts";
import {
  collectFindings,
  findLossesOfUnusable,
  findProvenBound,
  markRecordedUnproven,
  splitByProof,
} from "./unproven_losses.ts";

/** Why the cursor isn't as the last owner left it, as `RecoveryReport` explains it. */
export type CursorProblem = Exclude<CursorOrigin, "own"> | "shared";

/** What has to be done, nothing of it done yet. */
export interface RecoveryPlan {
  readonly uuid: string;
  readonly segments: Segment[];
  /** Segments that a crash left without content: removed. */
  readonly empty: readonly Segment[];
  /** Segments that can't be read at all, or are another buffer's: moved to the quarantine. */
  readonly unusable: readonly RecoveryFinding[];
  readonly scan: SegmentScan | undefined;
  readonly cursor: CursorPositions;
  readonly isCursorChanged: boolean;
  readonly isCursorLost: boolean;
  readonly cursorProblem: CursorProblem | undefined;
  /** What the cursor file said, whether it was believed or not. */
  readonly foundCursor: CursorState | undefined;
  readonly end: LogPosition;
  readonly lost: readonly SequenceRange[];
  readonly sizes: readonly SegmentSize[];
  readonly findings: readonly RecoveryFinding[];
  /** The records below this sequence are proven to have been acknowledged; of those behind, nothing is known. */
  readonly provenBefore: number;
  /** Whether that goes for a segment that can't be read as well: its owner acknowledged nothing before a sync. */
  readonly isSynced: boolean;
  /** The segments with records that nobody may have synced, because they were not acknowledged yet. */
  readonly unsynced: readonly Segment[];
}

/** Why a region is refused, in words. */
export function describeDamage(finding: { length: number; missing: SequenceRange | undefined }): string {
  const { length, missing } = finding;
  const what = missing === undefined ? "" : `sequences ${missing.first} to ${missing.last} are missing`;
  return length === 0 ? what : `${length} bytes are damaged${what === "" ? "" : `, ${what}`}`;
}

/**
 * The part that only reads: it needs no lock, as long as nobody relies on what it found.
 *
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export function planRecovery(options: LogLocation): RecoveryPlan {
  const { fileSystem, directory } = options;
  const names = fileSystem.list(directory);
  const segments = parseSegmentNames(names);
  const foundCursor = Cursor.read(fileSystem, directory);
  const origin = foundCursor === undefined ? "own" : findCursorOrigin(foundCursor, options);
  // A copy of this log may have gone on with it: what it has committed was not delivered from here.
  const cursor = origin === "foreign" ? undefined : foundCursor;
  const uuid = findUuid(options, segments, cursor) ?? crypto.randomUUID();
  const empty: Segment[] = [];
  const unusable: RecoveryFinding[] = [];
  let scan: SegmentScan | undefined;
  // Where the segment behind begins: an unreadable one can't have held more.
  let before = Infinity;
  while (scan === undefined && segments.length > 0) {
    const segment = segments[segments.length - 1];
    const result = withSegment(
      options,
      segment,
      (handle) => scanLastSegment(handle, { segment, uuid, directory, before, cursor }),
    );
    before = segment.firstSequence;
    if (result === "empty") empty.push(segment);
    else if ("header" in result) scan = result;
    else unusable.push(result);
    if (scan === undefined) segments.pop();
  }
  const lost = names.includes(QUARANTINE_NAME) ? new Quarantine(fileSystem, directory).losses.lost : [];
  return reconcile({ options, uuid, segments, empty, unusable, scan, cursor, foundCursor, origin, lost });
}

/** Reads the newest segment through, or says why it can't be gone on with. */
export function scanLastSegment(
  handle: FileHandle,
  { segment, uuid, directory, before, cursor }: {
    segment: Segment;
    uuid: string;
    directory: string;
    before: number;
    cursor: CursorState | undefined;
  },
): SegmentScan | RecoveryFinding | "empty" {
  const judgement = classifySegment(handle, segment, uuid);
  const { kind, size } = judgement;
  if (kind === "version") {
    const path = join(directory, segment.name);
    throw new UnsupportedVersionError({ path, version: judgement.version, supported: SEGMENT_VERSION });
  }
  if (kind === "ours") {
    const known = cursor?.uuid === uuid ? cursor : undefined;
    return scanSegment(handle, { segment, header: judgement.header, cursor: known });
  }
  if (kind === "empty") return "empty";
  // Another buffer's records aren't missing here; of our own, nobody knows how many there were.
  const most = kind === "foreign" ? 0 : judgement.records;
  const missing = most < 1
    ? undefined
    : { first: segment.firstSequence, last: Math.min(segment.firstSequence + most, before) - 1 };
  return { segment: segment.name, offset: 0, length: size, missing };
}

/** What a cursor says of the consumer. */
export type CommitPositions = Pick<CursorPositions, "committed" | "resume" | "boundaries">;

/** In front of every position. */
export const MIN_POSITION: LogPosition = { nextSequence: 0, payloadBytes: 0, logBytes: 0 };

/** Brings cursor and log together. */
export function reconcile(
  found: Pick<RecoveryPlan, "uuid" | "segments" | "empty" | "unusable" | "scan"> & {
    options: LogLocation;
    cursor: CursorState | undefined;
    /** Named missing by an earlier process. */
    lost: readonly SequenceRange[];
    foundCursor: CursorState | undefined;
    origin: CursorOrigin;
  },
): RecoveryPlan {
  const { options, uuid, segments, empty, scan } = found;
  const cursor = found.cursor?.uuid === uuid ? found.cursor : undefined;
  const cursorLost = cursor === undefined &&
    (segments.length > 0 || found.unusable.length > 0 || found.foundCursor !== undefined);
  const { start, sizes } = findLogStart(options, segments, { uuid, otherwise: scan?.end ?? LOG_START });
  const known = cursor ?? { lastSequence: 0, isSynced: false, committed: start, resume: start, boundaries: [] };
  const { isSynced } = known;
  const { promised, earlier } = findProvenBound(options, { uuid, segments, scan, cursor });
  const findings = collectFindings(options, { uuid, earlier, scan, promised });

  const resumesAt = Math.max(start.nextSequence, known.resume.nextSequence);
  const logEnd = scan?.end ?? { ...known.resume, nextSequence: resumesAt };
  const place = scan && { segment: scan.segment.name, offset: scan.position };
  const isUnproven = ({ segment }: RecoveryFinding): boolean => isSynced && parseSegmentName(segment)! >= promised;
  const { unusable, gaps } = findLossesOfUnusable(found.unusable, logEnd, { resume: known.resume, place, isUnproven });
  findings.push(...gaps);
  const unread = unusable.reduce((most, { missing }) => Math.max(most, missing?.last ?? 0), 0);
  // Without a cursor, the name of a segment that was just begun is all that says what was given out before it.
  const begun = cursor === undefined ? empty.reduce((most, segment) => Math.max(most, segment.firstSequence), 0) : 0;
  const next = Math.max(logEnd.nextSequence, known.lastSequence + 1, known.resume.nextSequence, unread + 1, begun);
  const end: LogPosition = { ...logEnd, nextSequence: next };
  const lastKnown = Math.max(known.lastSequence, known.resume.nextSequence - 1);
  const from = Math.max(logEnd.nextSequence, known.resume.nextSequence, unread + 1);
  if (from <= lastKnown) {
    const { segment, offset } = place ?? { segment: segmentName(from), offset: 0 };
    findings.push({ segment, offset, length: 0, missing: { first: from, last: lastKnown } });
  }
  for (const finding of findMissingAtStart(segments, unusable, known)) {
    findings.unshift(...splitByProof(promised, { finding, expected: finding.missing.first }));
  }
  const { committed, boundaries, resume: resumed } = alignPositions(known, scan, { logEnd, end });
  const told = mergeRanges([...collectMissing([...unusable, ...findings], committed.nextSequence), ...found.lost]);
  const all = clipRanges(told, committed.nextSequence);
  const missing = clipRanges(told, known.resume.nextSequence);
  // If nothing that can be read is left, there is nothing to go on with either.
  const isAllLost = countSequences(missing) === end.nextSequence - known.resume.nextSequence;
  const [resume, lost] = isAllLost ? [end, subtractRanges(all, missing)] : [resumed, all];
  // A segment without a record may be removed again, and with it the word for how many were given out before.
  const isNameAll = scan?.position === SEGMENT_HEADER_BYTES && lastKnown < next - 1;
  const cursorChanged = cursor === undefined || unusable.length > 0 || lastKnown >= logEnd.nextSequence || isNameAll;
  // Otherwise the log itself knows, and the cursor doesn't vouch for what nobody has synced.
  const lastSequence = cursorChanged ? next - 1 : known.lastSequence;
  return {
    uuid,
    segments,
    empty,
    unusable: markRecordedUnproven(options, clipCommitted(unusable, committed)),
    scan,
    cursor: { lastSequence, committed: boundaries.length === 0 ? resume : committed, resume, boundaries },
    isCursorChanged,
    isCursorLost,
    cursorProblem: found.origin === "own" ? detectSharedCursor(options, cursor) : found.origin,
    foundCursor: found.foundCursor,
    end,
    lost,
    sizes: replaceLastSize(scan, [...sizes, ...measureAroundDropped(options, segments, { uuid, state: known })]),
    findings: markRecordedUnproven(options, clipCommitted(findings, committed)),
    provenBefore,
    isSynced,
    unsynced: isSynced && logEnd.nextSequence > promised ? segments.slice(segments.length - earlier.length - 1) : [],
  };
}

/** The cursor's positions as the frames have them, in order. */
export function alignPositions(
  known: CommitPositions,
  scan: SegmentScan | undefined,
  { logEnd, end }: { logEnd: LogPosition; end: LogPosition },
): CommitPositions {
  const isBehindStart = known.committed.nextSequence >= (scan?.header.firstSequence ?? Infinity);
  const first = isBehindStart ? headerPosition(scan!.header) : MIN_POSITION;
  const place = (position: LogPosition): LogPosition => {
    const found = scan?.positions.get(position.nextSequence) ?? position;
    return position.nextSequence < logEnd.nextSequence ? found : { ...end, nextSequence: position.nextSequence };
  };
  // From behind, because the log wins: what is before can't count more than what is behind.
  const resume = clampPosition(place(known.resume), first, end);
  const boundaries: LogPosition[] = [];
  let bound = resume;
  for (const boundary of known.boundaries.toReversed()) {
    if (boundary.nextSequence <= known.committed.nextSequence) continue;
    boundaries.unshift(bound = clampPosition(place(boundary), first, bound));
  }
  return { committed: clampPosition(place(known.committed), first, bound), boundaries, resume };
}

/** Nobody misses what is committed. */
export function clipCommitted(findings: readonly RecoveryFinding[], { nextSequence }: LogPosition): RecoveryFinding[] {
  return findings.map((finding) => ({ ...finding, missing: clipRange(finding.missing, nextSequence) }));
}

/** What is missing where the segments begin, those included that can't be used. */
export function findMissingAtStart(
  segments: readonly Segment[],
  unusable: readonly RecoveryFinding[],
  known: CommitPositions,
): (RecoveryFinding & { readonly missing: SequenceRange })[] {
  const begins = unusable.reduce((least, { missing }) => Math.min(least, missing?.first ?? Infinity), Infinity);
  const first = segments.at(0);
  return findNeededBefore(first?.firstSequence ?? begins, known)
    // Where no segment is left, what is missing before the unusable ones was found with them.
    .filter((missing) => first !== undefined || missing.first < known.resume.nextSequence)
    .map((missing) => ({ segment: first?.name ?? segmentName(missing.first), offset: 0, length: 0, missing }));
}

/** What is in flight, or comes behind that, and would stand before `first`, where the segments begin. */
export function findNeededBefore(first: number, { committed, resume, boundaries }: CommitPositions): SequenceRange[] {
  const inFlight = { first: committed.nextSequence, last: Math.min(first, boundaries.at(-1)?.nextSequence ?? 0) - 1 };
  const rest = { first: resume.nextSequence, last: first === Infinity ? 0 : first - 1 };
  return [rest, inFlight].filter(({ first, last }) => first <= last);
}

/** The sizes of segments, and that of the last one, which is known best. */
export function replaceLastSize(scan: SegmentScan | undefined, sizes: readonly SegmentSize[]): SegmentSize[] {
  return scan === undefined ? [...sizes] : [...sizes.filter(({ segment }) => segment !== scan.segment), sizeOf(scan)];
}

/** The last segment, without its tail. */
export function sizeOf({ segment, header: { logBytesBefore }, position }: SegmentScan): SegmentSize {
  return { segment, bytes: position, logBytesBefore };
}

/** Whether a copy of the directory, made of hard links, has the cursor as well. */
export function detectSharedCursor(
  { fileSystem, directory }: LogLocation,
  cursor: CursorState | undefined,
): "shared" | undefined {
  if (cursor === undefined) return undefined;
  const links = fileSystem.identify?.(join(directory, CURSOR_NAME)).links ?? 1;
  return links > 1 ? "shared" : undefined;
}

/** The sequences from `next` on that are missing. */
export function collectMissing(findings: readonly RecoveryFinding[], next: number): SequenceRange[] {
  return clipRanges(findings.flatMap(({ missing }) => missing ?? []), next);
}
