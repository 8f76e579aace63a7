/**
 * The write-ahead log: combines what appends to it, syncs it, and commits what was read from it.
 *
 * What it guarantees, and which file gives the reasons:
 *
 * - **One write per tick; a failed write leaves nothing**: see `log_appender.ts`.
 * - **Group commit**, and why a sync is never repeated: see `sync_queue.ts`.
 * - **A process writes only into files of its own**, one segment after the other: see `rotation.ts`.
 * - **Commit first, unlink second**: see `commit_tracker.ts`.
 * - **One owner**: see `ownership.ts`.
 *
 * The log has failed once a write can't be undone, a sync fails, or the ownership is lost: all waiters and later calls get
 * the first cause; see `log_health.ts`.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { FileSystemError } from "../../errors/mod.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState } from "../position.ts";
import type { PutTimes } from "../put_times.ts";
import type { LogView } from "../reader/log_view.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import type { RecoveredLog } from "../recovery/recovery.ts";
import { isUnbegunSync } from "../../fs/retry.ts";
import type { LogLocation } from "../segment_files.ts";
import { CommitTracker } from "./commit_tracker.ts";
import { LogAppender } from "./log_appender.ts";
import { LogEnds } from "./log_ends.ts";
import type { LogEvents, LogListener, WriteGate } from "./log_events.ts";
import { LogHealth } from "./log_health.ts";
import { Rotation } from "./rotation.ts";
import { SegmentList } from "./segment_list.ts";
import { SyncQueue } from "./sync_queue.ts";

/** A put that is acknowledged without a sync needs an ownership that was verified less than this long ago. */
const MAX_UNVERIFIED_MS = 1_000;

/** When written bytes are synced: before a put is acknowledged, at an interval in milliseconds, or on demand only. */
export type Fsync = "always" | "never" | number;

export interface LogDeps extends LogLocation {
  readonly clock: Clock;
  /** The buffer's own time: wall time at the start, then monotonic. */
  readonly time: () => number;
  readonly putTimes: PutTimes;
  readonly ownership: Ownership;
  /** Everything is written; the ownership is about to be released. */
  readonly onClosing: () => void;
  readonly recovered: RecoveredLog;
  readonly quarantine: Quarantine;
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  readonly recordLimit: number;
  readonly codecVersion: number;
  readonly isJson: boolean;
  readonly events: LogEvents;
  readonly gate: WriteGate;
}

/** The log of one buffer; also the {@linkcode LogView} of its reader. */
export class Log implements LogView {
  readonly appender: LogAppender;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  readonly segments: SegmentList;
  readonly #deps: LogDeps;
  /** Whether a put is acknowledged only after a sync. */
  readonly #isSynced: boolean;
  readonly #syncs: SyncQueue;
  readonly #commits: CommitTracker;
  readonly #rotation: Rotation;

  constructor(deps: LogDeps) {
    const { directory, recovered, ownership, fsync, events } = deps;
    this.#deps = deps;
    const isSynced = this.#isSynced = fsync === "always";
    const health = this.health = new LogHealth(directory, ownership);
    const ends = this.ends = new LogEnds(recovered.end, { isSynced });
    const segments = this.segments = openSegmentList(deps);
    const syncs = this.#syncs = this.#openSyncs();
    const commits = this.#commits = new CommitTracker({
      clock: deps.clock,
      cursor: recovered.cursor,
      segments,
      state: recovered,
      isSynced,
      ownership,
      health,
      ends,
      onRemoved: (name) => {
        syncs.forget(name);
        events.onSegment("segment-removed", name);
      },
      onWarning: events.onWarning,
    });
    const rotation = this.#rotation = this.#openRotation();
    const maxUnverifiedMs = getMaxUnverifiedMs(fsync);
    this.appender = new LogAppender({ ...deps, isSynced, maxUnverifiedMs, health, ends, segments, rotation, syncs });
    health.listen((failure) => {
      syncs.cancel();
      if (isSynced) this.#cutUnacknowledged();
      syncs.rejectAll(failure);
    });
    ownership.listen({
      // With "always" each acknowledgement waits for a verification that follows its write.
      acknowledged: () => isSynced ? 0 : ends.acknowledged.nextSequence,
      onLost: (error) => void health.fail(error),
    });
    if (syncs.hasInherited) syncs.schedule();
    commits.drop();
  }

  #openSyncs(): SyncQueue {
    const { recovered, fsync, events } = this.#deps;
    return new SyncQueue({
      ...this.#deps,
      cursor: recovered.cursor,
      // Also the one without a record: a write that was cut off there may come back otherwise.
      inherited: recovered.segments,
      intervalMs: typeof fsync === "number" ? fsync : undefined,
      isSynced: this.#isSynced,
      health: this.health,
      ends: this.ends,
      onSynced: (end, durationMs) => {
        events.onSync(durationMs);
        this.appender.onSynced(end);
      },
    });
  }

  #openRotation(): Rotation {
    const { recovered, fsync, events, codecVersion, isJson, recordLimit } = this.#deps;
    return new Rotation({
      ...this.#deps,
      segments: this.segments,
      syncs: this.#syncs,
      syncsRetired: fsync !== "never",
      preallocates: this.#isSynced,
      header: { uuid: recovered.uuid, codecVersion, isJson, recordLimit },
      ends: this.ends,
      hasEmptySegment: endsWithEmptySegment(recovered),
      onBegun: (name) => {
        events.onSegment("segment-created", name);
        this.#commits.drop();
      },
    });
  }

  /** Reports to `listener` from now on. */
  listen(listener: LogListener): void {
    this.appender.listen(listener);
  }

  /** The segment that is written to; `undefined` before the first write. */
  get active(): { readonly name: string; readonly position: number } | undefined {
    return this.#rotation.active?.writer;
  }

  /** How far the consumer has come. */
  get commitState(): CommitState {
    return this.#commits.state;
  }

  /** Figures for `stats()`. */
  get figures(): { syncs: number; syncMs: number; segments: number; diskBytes: number } {
    return { ...this.#syncs.figures, segments: this.segments.ordered.count, diskBytes: this.segments.usage.bytes };
  }

  /** Resolves when everything in the log is on stable storage, what earlier processes wrote included. */
  async flush(): Promise<void> {
    this.appender.writeAccepted();
    // First these, then the cursor, which refers to them.
    if (this.#syncs.hasInherited) await this.#syncs.startInherited();
    await this.#syncs.sync();
  }

  /**
   * As `flush`, within the call, but for the cursor.
   *
   * @throws {FileSystemError} if a file could not be opened: nothing is lost, and it may be tried again.
   */
  flushBlocking(): void {
    this.appender.writeAccepted();
    if (this.health.failure !== undefined) throw this.health.failure;
    this.#syncs.syncInheritedBlocking();
    this.#syncs.syncBlocking();
  }

  /**
   * Before the records below `next` are handed over: with `fsync: "always"` they must be on stable storage, also those
   * that an earlier process may have left unsynced.
   */
  ensureDurable(next: number): MaybePromise<void> {
    return this.#isSynced && this.#syncs.hasInherited ? this.#syncInherited(next) : undefined;
  }

  async #syncInherited(next: number): Promise<void> {
    try {
      await this.#syncs.syncInherited(next);
    } catch (error) {
      throw isUnbegunSync(error) ? error : this.health.fail(error);
    }
  }

  /** Makes a commit state durable; if it throws or rejects, the state before stands. */
  saveCommit(state: CommitState): MaybePromise<void> {
    const saving = this.#commits.save(state);
    this.#syncs.schedule();
    return saving;
  }

  /** Leaves the cursor's generation for the next owner, who can do without: a failure is only a warning. */
  #recordGeneration(): void {
    const { ownership, recovered, events } = this.#deps;
    try {
      ownership.recordGeneration(recovered.cursor.generation);
    } catch (error) {
      if (!(error instanceof FileSystemError)) throw error;
      events.onWarning(error);
    }
  }

  /**
   * Cuts off what was written but not synced: it is about to be rejected, and must not be there after a restart. The newest
   * first, so that there is never a gap. Best effort, because the disk has just failed; not where another owner may have read
   * it already.
   */
  #cutUnacknowledged(): void {
    if (!this.#deps.ownership.isStillOwner()) return;
    try {
      this.#rotation.removeLeftover();
      for (const writer of [...this.#syncs.dirtyWriters.values()].reverse()) writer.truncateUnacknowledged();
    } catch {
      // A beginning of it is left. The failure that led here is reported already.
    }
  }

  /** Writes and syncs what is left (with `fsync: "never"` only writes), then frees everything. */
  async close(): Promise<void> {
    const { fsync, recovered, ownership, onClosing } = this.#deps;
    let failure: unknown;
    try {
      this.appender.writeAccepted();
      if (this.health.failure === undefined) {
        this.#rotation.end();
        if (fsync !== "never") await this.flush();
        this.#commits.saveLast();
        if (fsync !== "never") await this.#syncs.sync();
      }
    } catch (error) {
      failure = error;
    }
    this.appender.close();
    this.#syncs.cancel();
    await this.#syncs.idle();
    await this.#commits.close();
    for (const writer of this.#syncs.dirtyWriters.values()) writer.close();
    this.#rotation.active?.writer.close();
    if (this.health.failure === undefined) this.#recordGeneration();
    recovered.cursor.close();
    onClosing();
    ownership.release();
    if (failure !== undefined) throw failure;
  }
}

/** Whether the last segment was left without a record: it will be created again, and is not read until then. */
function endsWithEmptySegment({ segments, end }: RecoveredLog): boolean {
  return segments.at(-1)?.firstSequence === end.nextSequence;
}

/** The segments that recovery found, as far as they hold records. */
function openSegmentList(deps: LogDeps): SegmentList {
  const { recovered, events } = deps;
  const { segments, sizes, end } = recovered;
  return new SegmentList({
    ...deps,
    ...recovered,
    report: events.onDamage,
    segments: endsWithEmptySegment(recovered) ? segments.slice(0, -1) : segments,
    sizes: sizes.filter(({ segment }) => segment.firstSequence < end.nextSequence),
  });
}

/** How long ago the ownership may have been verified at a write; with "always" each put waits for a verification anyway. */
function getMaxUnverifiedMs(fsync: Fsync): number {
  if (fsync === "always") return Infinity;
  return fsync === "never" ? MAX_UNVERIFIED_MS : fsync;
}
