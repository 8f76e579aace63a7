/**
 * What is to be done about a log, and the doing of it.
 *
 * The plan is that of recovery (the end of the log, the cursor, the newest segments), and besides it what an open buffer
 * would only meet when it reads the segments before. It needs no lock and changes nothing.
 *
 * Guarantees of carrying it out, which needs the lock:
 * - Nothing is deleted: bad bytes are copied to the quarantine before anything else happens, and if one copy can't be
 *   made, nothing else happens. Segments that can't be read are moved there. Only files without content go.
 * - Bad bytes between good ones stay in their segment as well: to take them out would move the frames behind them, whose
 *   places the cursor knows. That they are known, and which sequences are lost, is written down instead (see
 *   `known_losses.ts`), so that a buffer with `onDamage: "fail"` reads past them.
 * - A crash at any point, and another run, ends in the same state. The order that this rests on: copies first, because
 *   they change nothing; then what is lost is written down, because the steps behind it make it harder to see; then
 *   recovery's own steps, in its own order; then segments are moved, each in one step, and what is missing for it is
 *   written down already.
 *
 * @module
 */

import { join } from "@std/path/join";
import { mergeRanges, type SequenceRange, subtractRanges } from "../base/sequences.ts";
import { UnsupportedVersionError } from "../errors/mod.ts";
import { isNoSuchFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { Cursor } from "../wal/cursor.ts";
import { SEGMENT_VERSION } from "../wal/format.ts";
import { QUARANTINE_NAME } from "../wal/names.ts";
import type { Ownership } from "../wal/ownership.ts";
import { KnownLosses, type Region } from "../wal/recovery/known_losses.ts";
import { planRecovery, type RecoveryPlan } from "../wal/recovery/recovery_plan.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { applyRecovery } from "../wal/recovery/recovery.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { scanLog } from "./scan.ts";
import type { ScanItem, ScannedFrame, UnusableSegment } from "./scan_items.ts";
import { runScan, type ScanRunOptions, segmentBytesOf } from "./scan_run.ts";
import { readDirectory } from "./snapshot.ts";

/** A writer may rotate and remove while we look: then we look again, so many times at most. */
const MAX_PLAN_ATTEMPTS = 5;

/** A segment that can't be read as a part of this log. */
export interface UnusableFile {
  readonly segment: string;
  readonly bytes: number;
  /** Whether its header can't be read, or is that of another buffer or another place in the log. */
  readonly why: "header" | "foreign";
}

/** The torn tail: bytes behind the last record. */
export interface Tail extends Region {
  /** Whether they are only space that was set aside. */
  readonly isZero: boolean;
}

/** What is to be done. */
export interface RepairPlan {
  readonly recovery: RecoveryPlan;
  /** To be cut off; copied first, unless it is zeros. */
  readonly tail: Tail | undefined;
  /** To be copied to the quarantine. */
  readonly regions: readonly Region[];
  /** To be moved there. */
  readonly moved: readonly UnusableFile[];
  /** Files of segments that were never begun: to be removed. */
  readonly removed: readonly string[];
  /** Why the cursor is to be rewritten, if it is. */
  readonly cursor: "lost" | "behind" | undefined;
  /** Sequences that are lost, and were not known to be. */
  readonly missing: readonly SequenceRange[];
  /** All that the log doesn't have: those, and what was dropped; a reader of one may run into the other. */
  readonly absent: readonly SequenceRange[];
  /** Sequences that the log still has, from the first uncommitted one on. */
  readonly present: readonly SequenceRange[];
}

/** A directory that is ours. */
export interface OwnedLog extends LogLocation {
  readonly ownership: Ownership;
}

/** Which log, and with what. */
export interface RepairOptions extends ScanRunOptions {
  readonly fileSystem: FileSystem;
  readonly path: string;
}

/** Whether there is anything to do but to give back space that was set aside. */
export function hasWork({ tail, regions, moved, removed, cursor, missing }: RepairPlan): boolean {
  const lists = [regions, moved, removed, missing];
  return tail?.isZero === false || cursor !== undefined || lists.some((list) => list.length > 0);
}

/**
 * Finds out what is to be done, without changing anything; also beside a live writer.
 *
 * @throws {NoBufferError} if there is no buffer.
 * @throws {UnsupportedVersionError} if anything in the log is of a newer version.
 */
export async function planRepair(options: RepairOptions): Promise<RepairPlan> {
  for (let look = 1;; look++) {
    try {
      return await tryPlanRepair(options);
    } catch (error) {
      if (look === MAX_PLAN_ATTEMPTS || !isNoSuchFile(error)) throw error;
    }
  }
}

async function tryPlanRepair(options: RepairOptions): Promise<RepairPlan> {
  const { fileSystem, path } = options;
  // Says whether a buffer is here at all.
  readDirectory(fileSystem, path);
  const known = KnownLosses.read(fileSystem, join(path, QUARANTINE_NAME));
  const recovery = planRecovery({ fileSystem, directory: path });
  const met = await scanUncommitted(options, recovery);
  const { scan, unusable, findings, empty } = recovery;
  const lost = [...unusable, ...findings].flatMap(({ missing }) => missing ?? []);
  const regions = [...met.regions, ...findings].filter((region) => region.length > 0);
  const metFiles = new Set(met.moved.map(({ segment }) => segment));
  return {
    recovery,
    tail: scan === undefined || scan.tailBytes === 0 ? undefined : {
      segment: scan.segment.name,
      offset: scan.position,
      length: scan.tailBytes,
      isZero: scan.tailIsZero,
    },
    regions: uniqueRegions(regions).filter((region) => !known.isAccepted({ ...region, missing: undefined })),
    moved: [
      ...met.moved,
      ...unusable.filter(({ segment }) => !metFiles.has(segment)).map(({ segment, length, missing }): UnusableFile => {
        return { segment, bytes: length, why: missing === undefined ? "foreign" : "header" };
      }),
    ],
    removed: empty.map(({ name }) => name),
    cursor: planCursor({ fileSystem, directory: path }, recovery),
    missing: subtractRanges(mergeRanges([...findMissing(recovery, met), ...lost]), known.acceptedSequences),
    absent: mergeRanges([...findAbsent(recovery, met), ...lost]),
    present: mergeRanges(met.present),
  };
}

/** Whether the cursor is to be rewritten: recovery does so also where that changes nothing. */
function planCursor({ fileSystem, directory }: LogLocation, plan: RecoveryPlan): RepairPlan["cursor"] {
  if (!plan.isCursorChanged) return undefined;
  if (plan.isCursorLost) return "lost";
  const now = Cursor.read(fileSystem, directory);
  // There never was one, nor a segment: a buffer that was locked, and no more.
  if (now === undefined) return undefined;
  return JSON.stringify(flattenPositions(now)) === JSON.stringify(flattenPositions(plan.cursor)) ? undefined : "behind";
}

function flattenPositions({ lastSequence, committed, resume, boundaries }: RecoveryPlan["cursor"]): unknown {
  return [committed, resume, ...boundaries].reduce<number[]>(
    (all, { nextSequence, payloadBytes, logBytes }) => [...all, nextSequence, payloadBytes, logBytes],
    [lastSequence],
  );
}

function uniqueRegions(regions: readonly Region[]): Region[] {
  const byName = new Map(
    regions.map(({ segment, offset, length }) => [`${segment}-${offset}-${length}`, { segment, offset, length }]),
  );
  return [...byName.values()];
}

/** What a reader of the log meets. */
interface LogContents {
  readonly regions: Region[];
  readonly moved: UnusableFile[];
  /** In order, as few ranges: there may be millions of frames. */
  readonly present: { readonly first: number; last: number }[];
}

/** The sequences that a reader would miss: up to where the next record is going to be put, but for dropped ones. */
function findMissing(
  { cursor: { committed, resume, boundaries }, end }: RecoveryPlan,
  met: LogContents,
): SequenceRange[] {
  const inFlight = boundaries.at(-1) ?? committed;
  const wanted = [
    { first: committed.nextSequence, last: inFlight.nextSequence - 1 },
    { first: resume.nextSequence, last: end.nextSequence - 1 },
  ];
  return subtractRanges(wanted.filter(({ first, last }) => first <= last), mergeRanges(met.present));
}

function findAbsent({ cursor: { committed }, end }: RecoveryPlan, met: LogContents): SequenceRange[] {
  const all = { first: committed.nextSequence, last: end.nextSequence - 1 };
  return all.first > all.last ? [] : subtractRanges([all], mergeRanges(met.present));
}

/** Reads the log as its buffer would, from the first record that is not committed. */
async function scanUncommitted(
  options: RepairOptions,
  { cursor, segments, empty }: RecoveryPlan,
): Promise<LogContents> {
  const { fileSystem, path } = options;
  const snapshot = readDirectory(fileSystem, path);
  const from = cursor.committed.nextSequence;
  const met: LogContents = { regions: [], moved: [], present: [] };
  const log: LogEnd = { path, last: segments.at(-1)?.name, newest: empty.map(({ name }) => name) };
  // A reader that doesn't find its place begins at the segment's first frame, and meets what is bad in front.
  const first = snapshot.segments.findLast(({ firstSequence }) => firstSequence <= from)?.firstSequence ?? from;
  for (const item of scanLog(fileSystem, path, { snapshot, from: first, to: from - 1 })) {
    if (item.kind === "damaged") addItem(met, item, log);
  }
  const scan = scanLog(fileSystem, path, { snapshot, from });
  await runScan(scan, { ...options, totalBytes: segmentBytesOf(snapshot) }, (item) => {
    addItem(met, item, log);
  });
  return met;
}

/** What has to be known of a log to judge what a scan of it meets. */
interface LogEnd {
  readonly path: string;
  /** The last segment that can be read. */
  readonly last: string | undefined;
  /** Segments that were never begun and that recovery removes. */
  readonly newest: readonly string[];
}

function addItem(met: LogContents, item: ScanItem, log: LogEnd): void {
  switch (item.kind) {
    case "frame":
      addPresent(met, item);
      break;
    case "damaged":
      // Those of the last segment are recovery's.
      if (item.segment !== log.last && item.length > 0) met.regions.push(item);
      break;
    case "unusable":
      addUnusable(met, item, log);
      break;
  }
}

function addPresent({ present }: LogContents, { firstSequence, count }: ScannedFrame): void {
  const before = present.at(-1);
  const last = firstSequence + count - 1;
  if (before?.last === firstSequence - 1) before.last = last;
  else present.push({ first: firstSequence, last });
}

function addUnusable(
  met: LogContents,
  { segment, bytes, why, version }: UnusableSegment,
  { path, newest }: Pick<LogEnd, "path" | "newest">,
): void {
  // Whoever knows that version knows better what to do.
  if (why === "version") {
    throw new UnsupportedVersionError({ path: join(path, segment), version: version!, supported: SEGMENT_VERSION });
  }
  // Recovery removes the newest ones that were never begun; a reader meets the others as bytes that it can't read.
  if (why !== "empty") met.moved.push({ segment, bytes, why });
  else if (bytes > 0 && !newest.includes(segment)) met.moved.push({ segment, bytes, why: "header" });
}

/**
 * Does what the plan says. The log must be locked, and the plan made under that lock.
 *
 * @throws {FileSystemError} if it can't be done; another run goes on where this one ended.
 */
export async function applyRepair(plan: RepairPlan, place: OwnedLog): Promise<void> {
  const { fileSystem, directory, ownership } = place;
  const { tail, regions, missing, absent } = plan;
  // Whoever repairs means it: the limit is there for a buffer that nobody watches.
  const quarantine = new Quarantine(fileSystem, directory, {
    maxBytes: Infinity,
    verifyOwnership: () => ownership.verify(),
  });
  for (const region of tail === undefined || tail.isZero ? regions : [...regions, tail]) {
    if (!await quarantine.copy(region)) throw quarantine.failure;
  }
  if (regions.length + missing.length > 0) {
    await quarantine.recordLosses({ lost: missing, acceptedRegions: regions, acceptedSequences: absent });
  }
  // A buffer that was locked, and no more, has no cursor and gets none.
  const hasCursor = plan.cursor !== undefined || Cursor.read(fileSystem, directory) !== undefined;
  if (hasCursor) await recoverAndMove(plan, { ...place, quarantine });
  // Also what a run before this one did, and could not sync.
  if (fileSystem.list(directory).includes(QUARANTINE_NAME)) {
    await fileSystem.syncDirectory(join(directory, QUARANTINE_NAME));
  }
  await fileSystem.syncDirectory(directory);
}

/**
 * Recovery's own steps, then the segments that can't be read. The oldest first, and none behind one that couldn't be
 * moved: where the next one begins says how many records it held at most.
 */
async function recoverAndMove(
  { recovery, moved }: RepairPlan,
  place: OwnedLog & { readonly quarantine: Quarantine },
): Promise<void> {
  const { quarantine } = place;
  const recovered = await applyRecovery({ ...recovery, unusable: [] }, place);
  recovered.cursor.close();
  const oldestFirst = moved.map(({ segment }) => segment).sort();
  for (const segment of oldestFirst) if (!await quarantine.move(segment)) throw quarantine.failure;
}
