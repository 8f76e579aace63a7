/**
 * What a start has to do: reads the log and the cursor, changes nothing, and says what recovery would change.
 *
 * `recovery.ts` carries the plan out; the command line shows it.
 *
 * @module
 */

import { join } from "@std/path/join";
import { behind, behindAll, countSequences, type SequenceRange, subtract, unite } from "../../base/sequences.ts";
import { UnsupportedVersionError } from "../../errors/mod.ts";
import type { FileHandle } from "../../fs/file_system.ts";
import { Cursor } from "../cursor.ts";
import type { SegmentSize } from "../disk_usage.ts";
import { SEGMENT_HEADER_BYTES, SEGMENT_VERSION } from "../format.ts";
import { CURSOR_NAME, parseSegmentName, QUARANTINE_NAME, segmentName } from "../names.ts";
import { type CursorOrigin, originOf } from "../owner_file.ts";
import {
  type CommitState,
  type CursorPositions,
  type CursorState,
  LOG_START,
  type LogPosition,
  within,
} from "../position.ts";
import {
  classifySegment,
  findUuid,
  type Segment,
  type SegmentPlace,
  segmentsAmong,
  withSegment,
} from "../segment_files.ts";
import { headerPosition } from "./cursor_places.ts";
import { lookAtDropped, lookAtOldest } from "./first_look.ts";
import { Quarantine } from "./quarantine.ts";
import { type Finding, type Scan, scanSegment } from "./segment_scan.ts";
import { findingsOf, findPromised, label, splitAt, unusableBehind } from "./unproven_losses.ts";

/** Why the cursor isn't as the last owner left it, as `RecoveryReport` explains it. */
export type CursorProblem = Exclude<CursorOrigin, "own"> | "shared";

/** What has to be done, nothing of it done yet. */
export interface Plan {
  readonly uuid: string;
  readonly segments: Segment[];
  /** Segments that a crash left without content: removed. */
  readonly empty: readonly Segment[];
  /** Segments that can't be read at all, or are another buffer's: moved to the quarantine. */
  readonly unusable: readonly Finding[];
  readonly scan: Scan | undefined;
  readonly cursor: CursorPositions;
  readonly cursorChanged: boolean;
  readonly cursorLost: boolean;
  readonly cursorProblem: CursorProblem | undefined;
  /** What the cursor file said, whether it was believed or not. */
  readonly foundCursor: CursorState | undefined;
  readonly end: LogPosition;
  readonly lost: readonly SequenceRange[];
  readonly sizes: readonly SegmentSize[];
  readonly findings: readonly Finding[];
  /** The records below this sequence are proven to have been acknowledged; of those behind, nothing is known. */
  readonly promised: number;
  /** Whether that goes for a segment that can't be read as well: its owner acknowledged nothing before a sync. */
  readonly isSynced: boolean;
  /** The segments with records that nobody may have synced, because they were not acknowledged yet. */
  readonly unsynced: readonly Segment[];
}

/** Why a region is refused, in words. */
export function describeFinding(finding: { length: number; missing: SequenceRange | undefined }): string {
  const { length, missing } = finding;
  const what = missing === undefined ? "" : `sequences ${missing.first} to ${missing.last} are missing`;
  return length === 0 ? what : `${length} bytes are damaged${what === "" ? "" : `, ${what}`}`;
}

/**
 * The part that only reads: it needs no lock, as long as nobody relies on what it found.
 *
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export function examine(options: SegmentPlace): Plan {
  const { fileSystem, directory } = options;
  const names = fileSystem.list(directory);
  const segments = segmentsAmong(names);
  const foundCursor = Cursor.read(fileSystem, directory);
  const origin = foundCursor === undefined ? "own" : originOf(foundCursor, options);
  // A copy of this log may have gone on with it: what it has committed was not delivered from here.
  const cursor = origin === "foreign" ? undefined : foundCursor;
  const uuid = findUuid(options, segments, cursor) ?? crypto.randomUUID();
  const empty: Segment[] = [];
  const unusable: Finding[] = [];
  let scan: Scan | undefined;
  // Where the segment behind begins: an unreadable one can't have held more.
  let before = Infinity;
  while (scan === undefined && segments.length > 0) {
    const segment = segments[segments.length - 1];
    const result = withSegment(
      options,
      segment,
      (handle) => examineLast(handle, { segment, uuid, directory, before, cursor }),
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
export function examineLast(
  handle: FileHandle,
  { segment, uuid, directory, before, cursor }: {
    segment: Segment;
    uuid: string;
    directory: string;
    before: number;
    cursor: CursorState | undefined;
  },
): Scan | Finding | "empty" {
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

/** In front of every position. */
export const NOWHERE: LogPosition = { nextSequence: 0, payloadBytes: 0, logBytes: 0 };

/** Brings cursor and log together. */
export function reconcile(
  found: Pick<Plan, "uuid" | "segments" | "empty" | "unusable" | "scan"> & {
    options: SegmentPlace;
    cursor: CursorState | undefined;
    /** Named missing by an earlier process. */
    lost: readonly SequenceRange[];
    foundCursor: CursorState | undefined;
    origin: CursorOrigin;
  },
): Plan {
  const { options, uuid, segments, empty, scan } = found;
  const cursor = found.cursor?.uuid === uuid ? found.cursor : undefined;
  const cursorLost = cursor === undefined &&
    (segments.length > 0 || found.unusable.length > 0 || found.foundCursor !== undefined);
  const { start, sizes } = lookAtOldest(options, segments, { uuid, otherwise: scan?.end ?? LOG_START });
  const known = cursor ?? { lastSequence: 0, isSynced: false, committed: start, resume: start, boundaries: [] };
  const { isSynced } = known;
  const { promised, earlier } = findPromised(options, { uuid, segments, scan, cursor });
  const findings = findingsOf(options, { uuid, earlier, scan, promised });

  const resumesAt = Math.max(start.nextSequence, known.resume.nextSequence);
  const logEnd = scan?.end ?? { ...known.resume, nextSequence: resumesAt };
  const place = scan && { segment: scan.segment.name, offset: scan.position };
  const isUnproven = ({ segment }: Finding): boolean => isSynced && parseSegmentName(segment)! >= promised;
  const { unusable, gaps } = unusableBehind(found.unusable, logEnd, { resume: known.resume, place, isUnproven });
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
  for (const finding of findAbsent(segments, unusable, known)) {
    findings.unshift(...splitAt(promised, { finding, expected: finding.missing.first }));
  }
  const { committed, boundaries, resume: resumed } = placed(known, scan, { logEnd, end });
  const told = unite([...lostBehind([...unusable, ...findings], committed.nextSequence), ...found.lost]);
  const all = behindAll(told, committed.nextSequence);
  const missing = behindAll(told, known.resume.nextSequence);
  // If nothing that can be read is left, there is nothing to go on with either.
  const isAllLost = countSequences(missing) === end.nextSequence - known.resume.nextSequence;
  const [resume, lost] = isAllLost ? [end, subtract(all, missing)] : [resumed, all];
  // A segment without a record may be removed again, and with it the word for how many were given out before.
  const isNameAll = scan?.position === SEGMENT_HEADER_BYTES && lastKnown < next - 1;
  const cursorChanged = cursor === undefined || unusable.length > 0 || lastKnown >= logEnd.nextSequence || isNameAll;
  // Otherwise the log itself knows, and the cursor doesn't vouch for what nobody has synced.
  const lastSequence = cursorChanged ? next - 1 : known.lastSequence;
  return {
    uuid,
    segments,
    empty,
    unusable: label(options, uncommitted(unusable, committed)),
    scan,
    cursor: { lastSequence, committed: boundaries.length === 0 ? resume : committed, resume, boundaries },
    cursorChanged,
    cursorLost,
    cursorProblem: found.origin === "own" ? sharing(options, cursor) : found.origin,
    foundCursor: found.foundCursor,
    end,
    lost,
    sizes: withLast(scan, [...sizes, ...lookAtDropped(options, segments, { uuid, state: known })]),
    findings: label(options, uncommitted(findings, committed)),
    promised,
    isSynced,
    unsynced: isSynced && logEnd.nextSequence > promised ? segments.slice(segments.length - earlier.length - 1) : [],
  };
}

/** The cursor's positions as the frames have them, in order. */
export function placed(
  known: CommitState,
  scan: Scan | undefined,
  { logEnd, end }: { logEnd: LogPosition; end: LogPosition },
): CommitState {
  const isBehindStart = known.committed.nextSequence >= (scan?.header.firstSequence ?? Infinity);
  const first = isBehindStart ? headerPosition(scan!.header) : NOWHERE;
  const place = (position: LogPosition): LogPosition => {
    const found = scan?.found.get(position.nextSequence) ?? position;
    return position.nextSequence < logEnd.nextSequence ? found : { ...end, nextSequence: position.nextSequence };
  };
  // From behind, because the log wins: what is before can't count more than what is behind.
  const resume = within(place(known.resume), first, end);
  const boundaries: LogPosition[] = [];
  let bound = resume;
  for (const boundary of known.boundaries.toReversed()) {
    if (boundary.nextSequence <= known.committed.nextSequence) continue;
    boundaries.unshift(bound = within(place(boundary), first, bound));
  }
  return { committed: within(place(known.committed), first, bound), boundaries, resume };
}

/** Nobody misses what is committed. */
export function uncommitted(findings: readonly Finding[], { nextSequence }: LogPosition): Finding[] {
  return findings.map((finding) => ({ ...finding, missing: behind(finding.missing, nextSequence) }));
}

/** What is missing where the segments begin, those included that can't be used. */
export function findAbsent(
  segments: readonly Segment[],
  unusable: readonly Finding[],
  known: CommitState,
): (Finding & { readonly missing: SequenceRange })[] {
  const begins = unusable.reduce((least, { missing }) => Math.min(least, missing?.first ?? Infinity), Infinity);
  const first = segments.at(0);
  return absentBefore(first?.firstSequence ?? begins, known)
    // Where no segment is left, what is missing before the unusable ones was found with them.
    .filter((missing) => first !== undefined || missing.first < known.resume.nextSequence)
    .map((missing) => ({ segment: first?.name ?? segmentName(missing.first), offset: 0, length: 0, missing }));
}

/** What is in flight, or comes behind that, and would stand before `first`, where the segments begin. */
export function absentBefore(first: number, { committed, resume, boundaries }: CommitState): SequenceRange[] {
  const inFlight = { first: committed.nextSequence, last: Math.min(first, boundaries.at(-1)?.nextSequence ?? 0) - 1 };
  const rest = { first: resume.nextSequence, last: first === Infinity ? 0 : first - 1 };
  return [rest, inFlight].filter(({ first, last }) => first <= last);
}

/** The sizes of segments, and that of the last one, which is known best. */
export function withLast(scan: Scan | undefined, sizes: readonly SegmentSize[]): SegmentSize[] {
  return scan === undefined ? [...sizes] : [...sizes.filter(({ segment }) => segment !== scan.segment), sizeOf(scan)];
}

/** The last segment, without its tail. */
export function sizeOf({ segment, header: { logBytesBefore }, position }: Scan): SegmentSize {
  return { segment, bytes: position, logBytesBefore };
}

/** Whether a copy of the directory, made of hard links, has the cursor as well. */
export function sharing(
  { fileSystem, directory }: SegmentPlace,
  cursor: CursorState | undefined,
): "shared" | undefined {
  if (cursor === undefined) return undefined;
  const links = fileSystem.identify?.(join(directory, CURSOR_NAME)).links ?? 1;
  return links > 1 ? "shared" : undefined;
}

/** The sequences from `next` on that are missing. */
export function lostBehind(findings: readonly Finding[], next: number): SequenceRange[] {
  return behindAll(findings.flatMap(({ missing }) => missing ?? []), next);
}
