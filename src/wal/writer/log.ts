/**
 * The write-ahead log: puts together what appends to it, syncs it, and commits what was read from it.
 *
 * What it guarantees, and where the reason stands:
 *
 * - **One write a tick; a failed write leaves nothing**: see `log_appender.ts`.
 * - **Group commit**, and why a sync is never repeated: see `sync_queue.ts`.
 * - **A process writes only into files of its own**, one segment after the other: see `rotation.ts`.
 * - **Commit first, unlink second**: see `commit_tracker.ts`.
 * - **One owner**: see `ownership.ts`. Once the directory isn't ours any more, the log has failed.
 *
 * Once a write can't be undone or a sync fails, the log has failed: all waiters and later calls get the first cause; see
 * `log_health.ts`.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { FileSystemError } from "../../errors/mod.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState } from "../position.ts";
import type { LogView } from "../reader/log_view.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import type { RecoveredLog } from "../recovery/recovery.ts";
import { CommitTracker } from "./commit_tracker.ts";
import { LogAppender } from "./log_appender.ts";
import { LogEnds } from "./log_ends.ts";
import type { LogEvents, LogListener } from "./log_events.ts";
import { LogHealth } from "./log_health.ts";
import { Rotation } from "./rotation.ts";
import { SegmentList } from "./segment_list.ts";
import { SyncQueue } from "./sync_queue.ts";

/** A put that no sync precedes is acknowledged only if the directory was confirmed to be ours less than this long ago. */
const MAX_UNCONFIRMED_MS = 1_000;

/** When written bytes are synced: before a put is acknowledged, at an interval in milliseconds, or on demand only. */
export type Fsync = "always" | "never" | number;

/** What a {@linkcode Log} is made with. */
export interface LogDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  /** The time that puts are stamped with: wall time at the start, then monotonic. */
  readonly time: () => number;
  readonly ownership: Ownership;
  /** All is written; the ownership is about to be given up. */
  readonly onClosing: () => void;
  readonly recovered: RecoveredLog;
  readonly quarantine: Quarantine;
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  readonly recordLimit: number;
  readonly codecVersion: number;
  readonly isJson: boolean;
  readonly events: LogEvents;
}

/** The log of one buffer; also the {@linkcode LogView} of its reader. */
export class Log implements LogView {
  readonly appender: LogAppender;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  readonly segments: SegmentList;
  readonly #deps: LogDeps;
  readonly #syncs: SyncQueue;
  readonly #commits: CommitTracker;
  readonly #rotation: Rotation;

  /** Goes on with a recovered log. */
  constructor(deps: LogDeps) {
    const { directory, recovered, ownership, fsync } = deps;
    this.#deps = deps;
    const health = this.health = new LogHealth(directory, ownership);
    const ends = this.ends = new LogEnds(recovered.end, { isSynced: fsync === "always" });
    const segments = this.segments = openSegmentList(deps);
    const syncs = this.#syncs = this.#openSyncs();
    this.#commits = this.#openCommits();
    const rotation = this.#rotation = this.#openRotation();
    this.appender = new LogAppender({
      time: deps.time,
      isSynced: fsync === "always",
      maxUnconfirmedMs: maxUnconfirmedMs(fsync),
      ownership,
      health,
      ends,
      segments,
      rotation,
      syncs,
    });
    health.listen((failure) => {
      syncs.cancel();
      if (fsync === "always") this.#cutUnacknowledged();
      syncs.rejectAll(failure);
    });
    ownership.listen({
      // With "always" each acknowledgement waits for a confirmation behind its write.
      acknowledged: () => fsync === "always" ? 0 : ends.acknowledged.nextSequence,
      onLost: (error) => void health.fail(error),
    });
    if (syncs.hasInherited) syncs.schedule();
    this.#commits.drop();
  }

  #openSyncs(): SyncQueue {
    const { fileSystem, directory, clock, ownership, recovered, fsync, events } = this.#deps;
    const { health, ends } = this;
    return new SyncQueue({
      fileSystem,
      directory,
      clock,
      cursor: recovered.cursor,
      // Also the one without a record: a write that was cut off there may come back otherwise.
      inherited: recovered.segments,
      intervalMs: typeof fsync === "number" ? fsync : undefined,
      ownership,
      health,
      ends,
      onSynced: (end, durationMs) => {
        events.onSync(durationMs);
        this.appender.onSynced(end);
      },
    });
  }

  #openCommits(): CommitTracker {
    const { ownership, recovered, fsync, events } = this.#deps;
    const { cursor, committed, resume, boundaries } = recovered;
    const { health, ends, segments: list } = this;
    return new CommitTracker({
      cursor,
      list,
      state: { committed, resume, boundaries },
      isSynced: fsync === "always",
      ownership,
      health,
      ends,
      onRemoved: (name) => {
        this.#syncs.forget(name);
        events.onSegment("segment-removed", name);
      },
      onWarning: events.onWarning,
    });
  }

  #openRotation(): Rotation {
    const { fileSystem, directory, clock, ownership, recovered, fsync, segmentBytes, events } = this.#deps;
    const { codecVersion, isJson, recordLimit } = this.#deps;
    return new Rotation({
      fileSystem,
      directory,
      clock,
      list: this.segments,
      syncs: this.#syncs,
      isSynced: fsync !== "never",
      setsAside: fsync === "always",
      segmentBytes,
      header: { uuid: recovered.uuid, codecVersion, isJson, recordLimit },
      ends: this.ends,
      hasEmptySegment: endsWithEmptySegment(recovered),
      ownership,
      onBegun: (name) => {
        events.onSegment("segment-created", name);
        this.#commits.drop();
      },
    });
  }

  /** Tells `listener` what becomes of records from now on. */
  listen(listener: LogListener): void {
    this.appender.listen(listener);
  }

  /** The segment that is written to, if one is yet. */
  get active(): { readonly name: string; readonly position: number } | undefined {
    return this.#rotation.active?.writer;
  }

  /** Where the consumer is. */
  get commitState(): CommitState {
    return this.#commits.state;
  }

  /** Figures for `stats()`. */
  get figures(): { syncs: number; syncMs: number; segments: number; diskBytes: number } {
    const { syncs, syncMs } = this.#syncs;
    return { syncs, syncMs, segments: this.segments.count, diskBytes: this.segments.diskBytes };
  }

  /** Resolves when everything in the log is on stable storage, what earlier processes wrote included. */
  async flush(): Promise<void> {
    this.appender.writeAccepted();
    // First these, then the cursor, which speaks of them.
    if (this.#syncs.hasInherited) await this.#syncs.startInherited();
    await this.#syncs.sync();
  }

  /**
   * Before the records below `next` are handed over: with `fsync: "always"` they must be on stable storage, also those
   * that an earlier process may have left unsynced.
   */
  ensureDurable(next: number): MaybePromise<void> {
    const isDurable = this.#deps.fsync !== "always" || !this.#syncs.hasInherited;
    return isDurable ? undefined : this.#syncInherited(next);
  }

  async #syncInherited(next: number): Promise<void> {
    try {
      await this.#syncs.syncInherited(next);
    } catch (error) {
      throw this.health.fail(error);
    }
  }

  /** Makes a commit state durable; if it throws or rejects, the state before stands. */
  saveCommit(state: CommitState): MaybePromise<void> {
    const saving = this.#commits.save(state);
    this.#syncs.schedule();
    return saving;
  }

  /** Leaves word for the next owner. It does without, so nothing fails by it. */
  #note(): void {
    const { ownership, recovered, events } = this.#deps;
    try {
      ownership.recordGeneration(recovered.cursor.generation);
    } catch (error) {
      if (!(error instanceof FileSystemError)) throw error;
      events.onWarning(error);
    }
  }

  /**
   * What was written but not synced is about to be rejected: it must not be there after a restart. The newest first, so
   * that there is never a gap. Best effort, because the disk has just refused to work; and left out where another owner may
   * have read it already.
   */
  #cutUnacknowledged(): void {
    if (!this.#deps.ownership.isStillOwner()) return;
    try {
      this.#rotation.removeLeftover();
      for (const writer of [...this.#syncs.dirtyWriters.values()].reverse()) writer.truncateUnacknowledged();
    } catch {
      // What is left is a beginning of it; and the failure that is reported already is the one that counts.
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
    if (this.health.failure === undefined) this.#note();
    recovered.cursor.close();
    onClosing();
    ownership.release();
    if (failure !== undefined) throw failure;
  }
}

/** Whether the last segment was left without a record: it is ours to begin again; until then nobody may read it. */
function endsWithEmptySegment({ segments, end }: RecoveredLog): boolean {
  return segments.at(-1)?.firstSequence === end.nextSequence;
}

/** The segments that recovery found, as far as they hold records. */
function openSegmentList({ fileSystem, directory, recovered, quarantine, ownership, events }: LogDeps): SegmentList {
  const { uuid, inherited, end } = recovered;
  return new SegmentList({
    fileSystem,
    directory,
    uuid,
    quarantine,
    ownership,
    report: events.onDamage,
    inherited,
    segments: endsWithEmptySegment(recovered) ? recovered.segments.slice(0, -1) : recovered.segments,
    sizes: recovered.sizes.filter(({ segment }) => segment.firstSequence < end.nextSequence),
    end,
  });
}

/** How long ago the directory may have been confirmed to be ours; with "always" each put waits for it anyway. */
function maxUnconfirmedMs(fsync: Fsync): number {
  if (fsync === "always") return Infinity;
  return fsync === "never" ? MAX_UNCONFIRMED_MS : fsync;
}
