/**
 * Recovery: what `open()` does before it accepts records. Cuts off a torn tail, quarantines damage, writes a new cursor.
 *
 * Guarantees:
 * - *It costs one segment, whatever the backlog.* The file names say which sequences are where. The running totals in the
 *   last segment's header and in the cursor say how much is pending. Only the last segment is read through.
 * - *It is idempotent.* First everything is examined and nothing is changed; with `onDamage: "fail"`, damage ends it there.
 *   Then changes are made in an order in which a crash between any two of them, and another recovery, leads to the same
 *   state: copies before cuts, and the cursor (which keeps sequences from being reused) before segments are moved or
 *   removed.
 * - *Damage or torn tail.* A bad region with valid frames after it is damage. One at the end of the last segment is a torn
 *   tail. Damage to the very last frame can't be told from a torn tail, so a tail is copied to the quarantine as well,
 *   unless it is all zeros. Damage in earlier segments is found when they are read.
 * - *Unproven losses* (see `segment_scan.ts`) are reported as such, with the smallest range that is possible, and never
 *   refused. All of them are found here: segments with unproven records are read, too, which are the few that one sync
 *   would have covered. They are recorded for good, because from now on the cursor and new segments make all earlier
 *   records look proven. For the same reason these segments are synced before the cursor is written.
 * - *Nothing is written that another owner or a copy of the directory may share.* The cursor becomes a new file. A segment
 *   with a second hard link is copied before its tail is cut.
 * - *The log wins over the cursor.* A cursor that is not of this directory, such as one copied back from a copy that was
 *   used since, is not believed. A cursor ahead of the log moves the next sequence past it, and what is missing in between
 *   is reported.
 *
 * @module
 */

import { join } from "@std/path/join";
import { DamagedLogError } from "../../errors/mod.ts";
import { retryWhilePassing } from "../../fs/retry.ts";
import { syncFile } from "../../fs/sync_file.ts";
import { Cursor } from "../cursor.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState } from "../position.ts";
import type { LogLocation } from "../segment_files.ts";
import { cutTail } from "./cut_tail.ts";
import { type DamagedRegion, describeDamage, type OnDamage } from "./damage.ts";
import type { Quarantine } from "./quarantine.ts";
import { planRecovery, type RecoveryPlan } from "./recovery_plan.ts";

/** What applying a plan works with; the directory is ours. */
export interface ApplyRecoveryDeps extends LogLocation {
  readonly ownership: Ownership;
  readonly quarantine: Quarantine;
  /** Whether a put is acknowledged only after a sync from now on; `undefined`: as before. */
  readonly isSynced?: boolean;
}

/** What a recovery works with. */
export interface RecoveryDeps extends ApplyRecoveryDeps {
  readonly onDamage: OnDamage;
}

/** A log after its recovery. */
export interface RecoveredLog
  extends CommitState, Pick<RecoveryPlan, "uuid" | "segments" | "end" | "lost" | "sizes" | "cursorProblem"> {
  /** Open for writing; it stores the commit state. */
  readonly cursor: Cursor;
  readonly damaged: readonly DamagedRegion[];
  readonly truncatedBytes: number;
  readonly cursorLost: boolean;
  /** The segment that the process before wrote to last, and the offset after its last frame. */
  readonly inherited: { readonly name: string; readonly position: number } | undefined;
}

/**
 * Recovers the log in a directory.
 *
 * @throws {DamagedLogError} if there is damage and `onDamage` is `"fail"`; nothing was changed then.
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export async function recover(deps: RecoveryDeps): Promise<RecoveredLog> {
  const plan = await retryWhilePassing(() => planRecovery(deps));
  deps.ownership.verify();
  if (deps.onDamage === "fail") {
    const refused = [...plan.unusable, ...plan.findings].find((finding) =>
      finding.unproven !== true && !deps.quarantine.losses.isAccepted(finding)
    );
    if (refused !== undefined) throw new DamagedLogError({ ...refused, reason: describeDamage(refused) });
  }
  return await applyRecovery(plan, deps);
}

/** Applies a plan: makes the changes, in the order that keeps them safe against a crash. */
export async function applyRecovery(plan: RecoveryPlan, deps: ApplyRecoveryDeps): Promise<RecoveredLog> {
  const { fileSystem, directory, quarantine, ownership } = deps;
  const damaged: DamagedRegion[] = [];
  quarantine.addReportedMissing(plan.lost);
  await quarantine.recordRegions([...plan.unusable, ...plan.findings]);
  for (const { name } of plan.unsynced) await syncFile(fileSystem, join(directory, name));
  if (plan.scan !== undefined) {
    const { segment, position, tailBytes, tailIsZero } = plan.scan;
    for (const finding of plan.findings) {
      const copied = finding.length > 0 && await quarantine.copy(finding);
      damaged.push({ ...finding, quarantined: copied });
    }
    if (tailBytes > 0) {
      if (!tailIsZero) await quarantine.copy({ segment: segment.name, offset: position, length: tailBytes });
      ownership.verify();
      await cutTail(deps, segment, { position, size: position + tailBytes });
    }
  } else {
    damaged.push(...plan.findings.map((finding) => ({ ...finding, quarantined: false })));
  }
  ownership.verify();
  const found = plan.foundCursor;
  const owner = {
    uuid: plan.uuid,
    place: ownership.assignPlace(found, plan.uuid),
    isSynced: deps.isSynced ?? found?.isSynced ?? false,
  };
  const cursor = await Cursor.replace(fileSystem, directory, owner, plan.cursor);
  try {
    // Side by side: of two syncs at once the device often makes one.
    const syncs = await Promise.allSettled([cursor.sync(), fileSystem.syncDirectory(directory)]);
    for (const sync of syncs) if (sync.status === "rejected") throw sync.reason;
    if (plan.unusable.length + plan.empty.length > 0) await clearUnusable(plan, deps, damaged);
    ownership.verify();
    ownership.recordGeneration(cursor.generation);
  } catch (error) {
    cursor.close();
    throw error;
  }
  const { uuid, segments, scan, end, lost, sizes, cursorProblem, isCursorLost: cursorLost } = plan;
  const { committed, resume, boundaries } = plan.cursor;
  const truncatedBytes = scan?.tailBytes ?? 0;
  const inherited = scan && { name: scan.segment.name, position: scan.position };
  const log = { uuid, segments, end, lost, sizes, committed, resume, boundaries, inherited };
  return { ...log, cursor, damaged, truncatedBytes, cursorLost, cursorProblem };
}

/**
 * Moves unusable segments to the quarantine, and removes those without a frame. Not before the cursor is synced, content and
 * name: it keeps sequences from being reused.
 */
async function clearUnusable(
  plan: RecoveryPlan,
  { fileSystem, directory, quarantine, ownership }: ApplyRecoveryDeps,
  damaged: DamagedRegion[],
): Promise<void> {
  // The oldest first: the name of the next one bounds how many records it can have held, also after a crash in between.
  for (const finding of plan.unusable.toReversed()) {
    damaged.push({ ...finding, quarantined: await quarantine.move(finding.segment) });
  }
  ownership.verify();
  for (const { name } of plan.empty) await retryWhilePassing(() => fileSystem.remove(join(directory, name)));
  await fileSystem.syncDirectory(directory);
}
