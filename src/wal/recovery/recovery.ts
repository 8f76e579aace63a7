/**
 * What `open()` does before anything is accepted: finds out what is there, cuts the torn tail, sets damage aside.
 *
 * Guarantees:
 * - It costs one segment, whatever the backlog: the names say which sequences are where, the running totals in the last
 *   segment's header and in the cursor say how much is pending, and only the last segment is read through.
 * - First everything is examined and nothing is changed; with `onDamage: "fail"` damage ends it there. Then the changes
 *   are made in an order in which a crash between any two of them, and another recovery, ends in the same state:
 *   copies before cuts, the cursor (which keeps sequences from being given out again) before files move.
 * - A region with valid frames behind it is damage; one without, at the end of the last segment, is a torn tail. That
 *   can't be told apart from damage that hit just the last frame, so a tail is copied aside, too, unless it is zeros.
 *   Damage in earlier segments is found when they are read.
 * - Where nothing proves that a record was ever acknowledged (see `segment_scan.ts`), its loss is said, as `unproven`, with
 *   the smallest range that is possible, and never refused. All of that is found here: segments with such records are
 *   read, too, which are the few that one sync would have covered. It is written down for good, because from now on
 *   the cursor and new segments vouch for what was there before; and so they are synced before these do.
 * - Nothing is written that another owner, or a copy of the directory, may share: the cursor becomes a new file, and a
 *   segment with a hard link is copied before its tail is cut.
 * - The log wins over the cursor. One that the last owner of this directory doesn't know, such as one that was copied back
 *   from a copy that had gone on, is not believed. A cursor that is ahead of the log moves the next sequence past it, and what is
 *   missing in between is reported.
 *
 * @module
 */

import { join } from "@std/path/join";
import { DamagedLogError, UnsupportedVersionError } from "../../errors/mod.ts";
import { closeQuietly } from "../../fs/close.ts";
import type { FileHandle, FileSystem } from "../../fs/file_system.ts";
import { Cursor, CURSOR_NAME } from "../cursor.ts";
import { headerPosition } from "./cursor_places.ts";
import { cutTail } from "./cut_tail.ts";
import type { DamagedRegion, OnDamage, SequenceRange } from "./damage.ts";
import type { SegmentSize } from "../disk_usage.ts";
import {
  type CursorPositions,
  type CursorState,
  LOG_START,
  type LogPosition,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  segmentName,
} from "../format.ts";
import { lookAtDropped, lookAtOldest } from "./first_look.ts";
import { subtract, unite } from "./known_losses.ts";
import { type CursorOrigin, originOf } from "../owner_file.ts";
import type { Ownership } from "../ownership.ts";
import { within } from "../position.ts";
import { Quarantine, QUARANTINE_NAME } from "./quarantine.ts";
import { type Finding, type Scan, scanSegment } from "./segment_scan.ts";
import {
  findUuid,
  judgeSegment,
  lookAtSegment,
  type Segment,
  type SegmentPlace,
  segmentsAmong,
} from "../segment_files.ts";
import { behind, findingsOf, findPromised, label, splitAt, unusableBehind } from "./unproven_losses.ts";

/** Where and how to change things; the directory is ours. */
export interface CarryOutOptions extends SegmentPlace {
  readonly ownership: Ownership;
  readonly quarantine: Quarantine;
  /** Whether a put is acknowledged only after a sync from now on; as before, if it isn't said. */
  readonly isSynced?: boolean;
}

/** Where and how to recover. */
export interface RecoveryOptions extends CarryOutOptions {
  readonly onDamage: OnDamage;
}

/** The log as it is after recovery. */
export interface Recovered {
  readonly uuid: string;
  /** Open for writing; says what `committed`, `resume` and `boundaries` say. */
  readonly cursor: Cursor;
  /** In order. */
  readonly segments: readonly Segment[];
  /** Behind the last record. */
  readonly end: LogPosition;
  readonly committed: LogPosition;
  readonly resume: LogPosition;
  readonly boundaries: readonly LogPosition[];
  /** Sequences behind `committed` that are not going to be delivered: in order, without overlaps. */
  readonly lost: readonly SequenceRange[];
  readonly damaged: readonly DamagedRegion[];
  /** Sizes of the segments that were looked at. */
  readonly sizes: readonly SegmentSize[];
  readonly truncatedBytes: number;
  readonly cursorLost: boolean;
  readonly cursorProblem: CursorProblem | undefined;
  /** The segment that the process before wrote to last, and where its last frame ends. */
  readonly inherited: { readonly name: string; readonly position: number } | undefined;
}

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

/**
 * Recovers the log in a directory.
 *
 * @throws {DamagedLogError} if there is damage and it is to be refused; nothing was changed then.
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const plan = examine(options);
  options.ownership.confirm();
  if (options.onDamage === "fail") {
    const refused = [...plan.unusable, ...plan.findings].find((finding) =>
      finding.unproven !== true && !options.quarantine.losses.isAccepted(finding)
    );
    if (refused !== undefined) throw new DamagedLogError({ ...refused, reason: describeFinding(refused) });
  }
  return await carryOut(plan, options);
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
    const result = lookAtSegment(
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
function examineLast(
  handle: FileHandle,
  { segment, uuid, directory, before, cursor }: {
    segment: Segment;
    uuid: string;
    directory: string;
    before: number;
    cursor: CursorState | undefined;
  },
): Scan | Finding | "empty" {
  const judgement = judgeSegment(handle, segment, uuid);
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
type CommitPositions = Pick<CursorPositions, "committed" | "resume" | "boundaries">;

/** In front of every position. */
const NOWHERE: LogPosition = { nextSequence: 0, payloadBytes: 0, logBytes: 0 };

/** Brings cursor and log together. */
function reconcile(
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
  const isAllLost = count(missing) === end.nextSequence - known.resume.nextSequence;
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
function placed(
  known: CommitPositions,
  scan: Scan | undefined,
  { logEnd, end }: { logEnd: LogPosition; end: LogPosition },
): CommitPositions {
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
function uncommitted(findings: readonly Finding[], { nextSequence }: LogPosition): Finding[] {
  return findings.map((finding) => ({ ...finding, missing: behind(finding.missing, nextSequence) }));
}

/** What is missing where the segments begin, those included that can't be used. */
function findAbsent(
  segments: readonly Segment[],
  unusable: readonly Finding[],
  known: CommitPositions,
): (Finding & { readonly missing: SequenceRange })[] {
  const begins = unusable.reduce((least, { missing }) => Math.min(least, missing?.first ?? Infinity), Infinity);
  const first = segments.at(0);
  return absentBefore(first?.firstSequence ?? begins, known)
    // Where no segment is left, what is missing before the unusable ones was found with them.
    .filter((missing) => first !== undefined || missing.first < known.resume.nextSequence)
    .map((missing) => ({ segment: first?.name ?? segmentName(missing.first), offset: 0, length: 0, missing }));
}

/** What is in flight, or comes behind that, and would stand before `first`, where the segments begin. */
function absentBefore(first: number, { committed, resume, boundaries }: CommitPositions): SequenceRange[] {
  const inFlight = { first: committed.nextSequence, last: Math.min(first, boundaries.at(-1)?.nextSequence ?? 0) - 1 };
  const rest = { first: resume.nextSequence, last: first === Infinity ? 0 : first - 1 };
  return [rest, inFlight].filter(({ first, last }) => first <= last);
}

/** The sizes of segments, and that of the last one, which is known best. */
function withLast(scan: Scan | undefined, sizes: readonly SegmentSize[]): SegmentSize[] {
  return scan === undefined ? [...sizes] : [...sizes.filter(({ segment }) => segment !== scan.segment), sizeOf(scan)];
}

/** The last segment, without its tail. */
function sizeOf({ segment, header: { logBytesBefore }, position }: Scan): SegmentSize {
  return { segment, bytes: position, logBytesBefore };
}

/** Whether a copy of the directory, made of hard links, has the cursor as well. */
function sharing({ fileSystem, directory }: SegmentPlace, cursor: CursorState | undefined): "shared" | undefined {
  if (cursor === undefined) return undefined;
  const links = fileSystem.identify?.(join(directory, CURSOR_NAME)).links ?? 1;
  return links > 1 ? "shared" : undefined;
}

/** The sequences from `next` on that are missing. */
function lostBehind(findings: readonly Finding[], next: number): SequenceRange[] {
  return behindAll(findings.flatMap(({ missing }) => missing ?? []), next);
}

/** The parts of ranges from `next` on. */
function behindAll(ranges: readonly SequenceRange[], next: number): SequenceRange[] {
  return ranges.map((range) => behind(range, next)).filter((range) => range !== undefined);
}

/** How many sequences there are in ranges that don't overlap. */
export function count(ranges: readonly SequenceRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** The part that changes things, as `examine` has found them. */
export async function carryOut(plan: Plan, options: CarryOutOptions): Promise<Recovered> {
  const { fileSystem, directory, quarantine, ownership } = options;
  const damaged: DamagedRegion[] = [];
  quarantine.remember(plan.lost);
  await quarantine.noteLost([...plan.unusable, ...plan.findings]);
  for (const { name } of plan.unsynced) await syncSegment(fileSystem, join(directory, name));
  if (plan.scan !== undefined) {
    const { segment, position, tailBytes, tailIsZero } = plan.scan;
    for (const finding of plan.findings) {
      const copied = finding.length > 0 && await quarantine.copy(finding);
      damaged.push({ ...finding, quarantined: copied });
    }
    if (tailBytes > 0) {
      if (!tailIsZero) await quarantine.copy({ segment: segment.name, offset: position, length: tailBytes });
      ownership.confirm();
      await cutTail(options, segment, { position, size: position + tailBytes });
    }
  } else {
    damaged.push(...plan.findings.map((finding) => ({ ...finding, quarantined: false })));
  }
  ownership.confirm();
  const found = plan.foundCursor;
  const owner = {
    uuid: plan.uuid,
    place: ownership.placeFor(found, plan.uuid),
    isSynced: options.isSynced ?? found?.isSynced ?? false,
  };
  const cursor = await Cursor.replace(fileSystem, directory, owner, plan.cursor);
  try {
    if (plan.unusable.length + plan.empty.length > 0) await moveAndRemove(plan, options, damaged);
    await fileSystem.syncDirectory(directory);
    ownership.confirm();
    ownership.note(cursor.generation);
  } catch (error) {
    cursor.close();
    throw error;
  }
  return summarize(plan, cursor, damaged);
}

async function syncSegment(fileSystem: FileSystem, path: string): Promise<void> {
  const handle = fileSystem.open(path, "write");
  try {
    await handle.sync();
  } finally {
    closeQuietly(handle);
  }
}

/** Sets segments aside that can't be read, and removes those without a record. */
async function moveAndRemove(
  plan: Plan,
  { fileSystem, directory, quarantine, ownership }: CarryOutOptions,
  damaged: DamagedRegion[],
): Promise<void> {
  // The cursor first, and its name: it keeps sequences from being given out again.
  await fileSystem.syncDirectory(directory);
  // The oldest first: where the next one begins says how many records it held at most, also after a crash in between.
  for (const finding of plan.unusable.toReversed()) {
    damaged.push({ ...finding, quarantined: await quarantine.move(finding.segment) });
  }
  ownership.confirm();
  for (const { name } of plan.empty) fileSystem.remove(join(directory, name));
}

function summarize(plan: Plan, cursor: Cursor, damaged: readonly DamagedRegion[]): Recovered {
  const { uuid, segments, scan, end, lost, cursorLost, cursorProblem } = plan;
  const { committed, resume, boundaries } = plan.cursor;
  return {
    uuid,
    cursor,
    segments,
    end,
    committed,
    resume,
    boundaries,
    lost,
    damaged,
    sizes: plan.sizes,
    truncatedBytes: scan?.tailBytes ?? 0,
    cursorLost,
    cursorProblem,
    inherited: scan === undefined ? undefined : { name: scan.segment.name, position: scan.position },
  };
}
