/**
 * Repair of a log at rest: plans what is to be done, and does it.
 *
 * The plan is that of recovery (the end of the log, the cursor, the newest segments), and in addition whatever is damaged
 * in earlier segments, which an open buffer would only find when it reads them. Planning needs no lock and changes nothing.
 *
 * Guarantees of applying it, which needs the lock:
 * - *Nothing is deleted.* Damaged bytes are copied to the quarantine before any other change, and if one copy can't be
 *   made, no other change is made. Unreadable segments are moved there. Only files without content are removed.
 * - *Damaged bytes between valid frames stay in their segment as well.* Cutting them out would move the frames after them,
 *   whose offsets the cursor knows. Instead it is recorded that they are known, and which sequences are lost (see
 *   `known_losses.ts`), so that a buffer with `onDamage: "fail"` reads past them.
 * - *It is idempotent.* A crash at any point, and another run, leads to the same state. The order makes it so. Copies come
 *   first, because they change nothing. Then the losses are recorded, because the later steps make them harder to see. Then
 *   come recovery's own steps, in their own order. Last, segments are moved, each in one step; what is missing because of
 *   them is recorded by then.
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
import { awaitedSequences, isSameState } from "../wal/position.ts";
import { keyOf, KnownLosses, type Region } from "../wal/recovery/known_losses.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { applyRecovery } from "../wal/recovery/recovery.ts";
import { planRecovery, type RecoveryPlan } from "../wal/recovery/recovery_plan.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { scanLog } from "./scan.ts";
import type { ScanItem, ScannedFrame, TornTail, UnusableSegment } from "./scan_items.ts";
import { runScan, type ScanRunOptions, segmentBytesOf } from "./scan_run.ts";
import { readDirectory } from "./snapshot.ts";

/** How often a plan is attempted while a live writer removes segments. */
const MAX_PLAN_ATTEMPTS = 5;

/** A segment that can't be used as a part of this log. */
export interface UnusableFile {
  readonly segment: string;
  readonly bytes: number;
  /** Whether its header can't be read, or is that of another buffer or another segment. */
  readonly why: "header" | "foreign";
}

/** The torn tail: bytes after the last record, or (`isZero`) preallocated space. */
export type Tail = Omit<TornTail, "kind">;

/** What a repair is going to do. */
export interface RepairPlan {
  readonly recovery: RecoveryPlan;
  /** To be cut off. It is copied to the quarantine first, unless it is zeros. */
  readonly tail: Tail | undefined;
  /** To be copied to the quarantine. */
  readonly regions: readonly Region[];
  /** To be moved to the quarantine. */
  readonly moved: readonly UnusableFile[];
  /** To be removed: newest segments without a frame. */
  readonly removed: readonly string[];
  /** Why the cursor has to be rewritten; `undefined` if it doesn't have to. */
  readonly cursor: "lost" | "behind" | undefined;
  /** Lost sequences whose loss was not accepted before. */
  readonly missing: readonly SequenceRange[];
  /** All uncommitted sequences that the log doesn't have: lost or dropped. A region may cover both. */
  readonly absent: readonly SequenceRange[];
  readonly present: readonly SequenceRange[];
}

/** A log whose directory is ours. */
export interface OwnedLog extends LogLocation {
  readonly ownership: Ownership;
}

/** Which log to repair. */
export interface RepairOptions extends ScanRunOptions {
  readonly fileSystem: FileSystem;
  readonly path: string;
}

/** Whether there is anything to do but to cut off preallocated zeros. */
export function hasWork({ tail, regions, moved, removed, cursor, missing }: RepairPlan): boolean {
  const lists = [regions, moved, removed, missing];
  return tail?.isZero === false || cursor !== undefined || lists.some((list) => list.length > 0);
}

/**
 * Plans a repair. Changes nothing, and may run beside a live writer.
 *
 * @throws {NoBufferError} if there is no buffer.
 * @throws {UnsupportedVersionError} if anything in the log is of a newer version.
 */
export async function planRepair(options: RepairOptions): Promise<RepairPlan> {
  for (let attempt = 1;; attempt++) {
    try {
      return await tryPlanRepair(options);
    } catch (error) {
      if (attempt === MAX_PLAN_ATTEMPTS || !isNoSuchFile(error)) throw error;
    }
  }
}

async function tryPlanRepair(options: RepairOptions): Promise<RepairPlan> {
  const { fileSystem, path } = options;
  // Throws if there is no buffer.
  readDirectory(fileSystem, path);
  const known = KnownLosses.read(fileSystem, join(path, QUARANTINE_NAME));
  const recovery = planRecovery({ fileSystem, directory: path });
  const contents = await scanUncommitted(options, recovery);
  const { scan, unusable, findings, empty } = recovery;
  const lost = [...unusable, ...findings].flatMap(({ missing }) => missing ?? []);
  const regions = [...contents.regions, ...findings].filter((region) => region.length > 0);
  const present = mergeRanges(contents.present);
  const { cursor, end } = recovery;
  const uncommitted = { first: cursor.committed.nextSequence, last: end.nextSequence - 1 };
  // What a reader would miss: uncommitted, not dropped, and not in the log.
  const awaited = awaitedSequences(cursor, uncommitted);
  const scanned = new Set(contents.moved.map(({ segment }) => segment));
  const others = unusable.filter(({ segment }) => !scanned.has(segment));
  return {
    recovery,
    tail: scan === undefined || scan.tailBytes === 0 ? undefined : {
      segment: scan.segment.name,
      offset: scan.position,
      length: scan.tailBytes,
      isZero: scan.tailIsZero,
    },
    regions: uniqueRegions(regions).filter((region) => !known.isAccepted({ ...region, missing: undefined })),
    moved: [...contents.moved, ...others.map(toUnusableFile)],
    removed: empty.map(({ name }) => name),
    cursor: planCursor({ fileSystem, directory: path }, recovery),
    missing: subtractRanges(mergeRanges([...subtractRanges(awaited, present), ...lost]), known.acceptedSequences),
    absent: mergeRanges([...subtractRanges([uncommitted], present), ...lost]),
    present,
  };
}

/** Whether the cursor has to be rewritten. Recovery rewrites it also where that changes nothing, which is no work. */
function planCursor({ fileSystem, directory }: LogLocation, plan: RecoveryPlan): RepairPlan["cursor"] {
  if (!plan.isCursorChanged) return undefined;
  if (plan.isCursorLost) return "lost";
  const now = Cursor.read(fileSystem, directory);
  // There never was a cursor, nor a segment: the buffer was locked once, and nothing else.
  if (now === undefined) return undefined;
  return isSameState(now, plan.cursor) ? undefined : "behind";
}

function toUnusableFile({ segment, length, missing }: RecoveryPlan["unusable"][number]): UnusableFile {
  return { segment, bytes: length, why: missing === undefined ? "foreign" : "header" };
}

function uniqueRegions(regions: readonly Region[]): Region[] {
  const places = regions.map(({ segment, offset, length }) => ({ segment, offset, length }));
  return [...new Map(places.map((region) => [keyOf(region), region])).values()];
}

/** What a scan of the uncommitted records finds. */
interface LogContents {
  readonly regions: Region[];
  readonly moved: UnusableFile[];
  /** Ascending, and merged at once, because there may be millions of frames. */
  readonly present: { readonly first: number; last: number }[];
}

/** Scans the log as its buffer would read it, from the first uncommitted record on. */
async function scanUncommitted(options: RepairOptions, recovery: RecoveryPlan): Promise<LogContents> {
  const { cursor, segments, empty } = recovery;
  const { fileSystem, path } = options;
  const snapshot = readDirectory(fileSystem, path);
  const from = cursor.committed.nextSequence;
  const contents: LogContents = { regions: [], moved: [], present: [] };
  const last = segments.at(-1)?.name;
  const add = (item: ScanItem): void => {
    if (item.kind === "frame") addPresent(contents, item);
    else if (item.kind === "unusable") addUnusable(contents, item, { path, empty });
    // Recovery's plan has those of the last segment.
    else if (item.kind === "damaged" && item.segment !== last && item.length > 0) contents.regions.push(item);
  };
  // A reader that doesn't find its first frame begins at the segment's first one, and meets the damage before it.
  const first = snapshot.segments.findLast(({ firstSequence }) => firstSequence <= from)?.firstSequence ?? from;
  for (const item of scanLog(fileSystem, path, { snapshot, from: first, to: from - 1 })) {
    if (item.kind === "damaged") add(item);
  }
  const scan = scanLog(fileSystem, path, { snapshot, from });
  await runScan(scan, { ...options, totalBytes: segmentBytesOf(snapshot) }, add);
  return contents;
}

function addPresent({ present }: LogContents, { firstSequence, count }: ScannedFrame): void {
  const before = present.at(-1);
  const last = firstSequence + count - 1;
  if (before?.last === firstSequence - 1) before.last = last;
  else present.push({ first: firstSequence, last });
}

function addUnusable(
  contents: LogContents,
  { segment, bytes, why, version }: UnusableSegment,
  { path, empty }: { readonly path: string; readonly empty: RecoveryPlan["empty"] },
): void {
  // A newer version of this program can do better.
  if (why === "version") {
    throw new UnsupportedVersionError({ path: join(path, segment), version: version!, supported: SEGMENT_VERSION });
  }
  // Recovery removes the newest ones if they are empty. To a reader, the others are bytes that it can't read.
  if (why !== "empty") contents.moved.push({ segment, bytes, why });
  else if (bytes > 0 && !empty.some(({ name }) => name === segment)) {
    contents.moved.push({ segment, bytes, why: "header" });
  }
}

/**
 * Applies a plan. The log must be locked, and the plan made under that lock.
 *
 * @throws {FileSystemError} if a step fails. Another run continues where this one ended.
 */
export async function applyRepair(plan: RepairPlan, place: OwnedLog): Promise<void> {
  const { fileSystem, directory, ownership } = place;
  const { tail, regions, missing, absent } = plan;
  // Without a size limit, which is for a buffer that runs unattended.
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
  // A buffer that was locked once, and nothing else, has no cursor and gets none.
  const hasCursor = plan.cursor !== undefined || Cursor.read(fileSystem, directory) !== undefined;
  if (hasCursor) await recoverAndMove(plan, { ...place, quarantine });
  // An earlier run may have made changes that it could not sync.
  if (fileSystem.list(directory).includes(QUARANTINE_NAME)) {
    await fileSystem.syncDirectory(join(directory, QUARANTINE_NAME));
  }
  await fileSystem.syncDirectory(directory);
}

/**
 * Applies recovery's plan, then moves the unusable segments. The oldest is moved first, and none after one that could not
 * be moved: the name of the next one bounds how many records it can have held.
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
