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
import type { SequenceRange } from "../../base/sequences.ts";
import { DamagedLogError } from "../../errors/mod.ts";
import { closeQuietly } from "../../fs/file_helpers.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import { Cursor } from "../cursor.ts";
import type { SegmentSize } from "../disk_usage.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import type { LogLocation, Segment } from "../segment_files.ts";
import { cutTail } from "./cut_tail.ts";
import type { DamagedRegion, OnDamage } from "./damage.ts";
import { type CursorProblem, describeDamage, planRecovery, type RecoveryPlan } from "./recovery_plan.ts";
import type { Quarantine } from "./quarantine.ts";

/** Where and how to change things; the directory is ours. */
export interface ApplyRecoveryDeps extends LogLocation {
  readonly ownership: Ownership;
  readonly quarantine: Quarantine;
  /** Whether a put is acknowledged only after a sync from now on; as before, if it isn't said. */
  readonly isSynced?: boolean;
}

/** Where and how to recover. */
export interface RecoveryDeps extends ApplyRecoveryDeps {
  readonly onDamage: OnDamage;
}

/** The log as it is after recovery. */
export interface RecoveredLog {
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

/**
 * Recovers the log in a directory.
 *
 * @throws {DamagedLogError} if there is damage and it is to be refused; nothing was changed then.
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export async function recover(options: RecoveryDeps): Promise<RecoveredLog> {
  const plan = planRecovery(options);
  options.ownership.verify();
  if (options.onDamage === "fail") {
    const refused = [...plan.unusable, ...plan.findings].find((finding) =>
      finding.unproven !== true && !options.quarantine.losses.isAccepted(finding)
    );
    if (refused !== undefined) throw new DamagedLogError({ ...refused, reason: describeDamage(refused) });
  }
  return await applyRecovery(plan, options);
}

/** The part that changes things, as `examine` has found them. */
export async function applyRecovery(plan: RecoveryPlan, options: ApplyRecoveryDeps): Promise<RecoveredLog> {
  const { fileSystem, directory, quarantine, ownership } = options;
  const damaged: DamagedRegion[] = [];
  quarantine.addReportedMissing(plan.lost);
  await quarantine.recordRegions([...plan.unusable, ...plan.findings]);
  for (const { name } of plan.unsynced) await syncSegment(fileSystem, join(directory, name));
  if (plan.scan !== undefined) {
    const { segment, position, tailBytes, tailIsZero } = plan.scan;
    for (const finding of plan.findings) {
      const copied = finding.length > 0 && await quarantine.copy(finding);
      damaged.push({ ...finding, quarantined: copied });
    }
    if (tailBytes > 0) {
      if (!tailIsZero) await quarantine.copy({ segment: segment.name, offset: position, length: tailBytes });
      ownership.verify();
      await cutTail(options, segment, { position, size: position + tailBytes });
    }
  } else {
    damaged.push(...plan.findings.map((finding) => ({ ...finding, quarantined: false })));
  }
  ownership.verify();
  const found = plan.foundCursor;
  const owner = {
    uuid: plan.uuid,
    place: ownership.assignPlace(found, plan.uuid),
    isSynced: options.isSynced ?? found?.isSynced ?? false,
  };
  const cursor = await Cursor.replace(fileSystem, directory, owner, plan.cursor);
  try {
    if (plan.unusable.length + plan.empty.length > 0) await clearUnusable(plan, options, damaged);
    await fileSystem.syncDirectory(directory);
    ownership.verify();
    ownership.recordGeneration(cursor.generation);
  } catch (error) {
    cursor.close();
    throw error;
  }
  return toRecoveredLog(plan, cursor, damaged);
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
async function clearUnusable(
  plan: RecoveryPlan,
  { fileSystem, directory, quarantine, ownership }: ApplyRecoveryDeps,
  damaged: DamagedRegion[],
): Promise<void> {
  // The cursor first, and its name: it keeps sequences from being given out again.
  await fileSystem.syncDirectory(directory);
  // The oldest first: where the next one begins says how many records it held at most, also after a crash in between.
  for (const finding of plan.unusable.toReversed()) {
    damaged.push({ ...finding, quarantined: await quarantine.move(finding.segment) });
  }
  ownership.verify();
  for (const { name } of plan.empty) fileSystem.remove(join(directory, name));
}

function toRecoveredLog(plan: RecoveryPlan, cursor: Cursor, damaged: readonly DamagedRegion[]): RecoveredLog {
  const { uuid, segments, scan, end, lost, isCursorLost, cursorProblem } = plan;
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
