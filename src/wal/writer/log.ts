/**
 * The write-ahead log: accepts records, writes them, and has them synced.
 *
 * What it guarantees, and why it holds:
 *
 * - **One write a tick.** `accept` only takes a sequence; at the end of the tick one call writes what has gathered. Until then
 *   nothing is acknowledged, so nothing is promised that isn't written.
 * - **A failed write leaves nothing.** The segment writer cuts the file back; the sequences are given back, too, which is
 *   right because everything that was accepted and not yet written fails with it: nothing later can hold one of them.
 * - **Group commit**, and why a sync is never repeated: see `sync_queue.ts`.
 * - **A process writes only into files of its own**, one segment after the other: see `rotation.ts`.
 * - **Commit first, unlink second**: see `commit_tracker.ts`.
 * - **One owner**: see `ownership.ts`. Once the directory isn't ours any more, the log has failed.
 *
 * Once a write can't be undone or a sync fails, the log has failed: all waiters and later calls get the first cause.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import { PacedReplies } from "../../base/event_loop.ts";
import { BufferFailedError, FileSystemError } from "../../errors/mod.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import type { Cursor } from "../cursor.ts";
import type { SegmentSize } from "../disk_usage.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState, LogPosition } from "../position.ts";
import type { LogView } from "../reader/log_view.ts";
import type { DamagedRegion } from "../recovery/damage.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import type { RecoveredLog } from "../recovery/recovery.ts";
import type { Segment } from "../segment_files.ts";
import { CommitTracker } from "./commit_tracker.ts";
import { FrameBuilder } from "./frame_builder.ts";
import { PutGroup } from "./put_group.ts";
import { Rotation } from "./rotation.ts";
import { SegmentList } from "./segment_list.ts";
import { SyncQueue, type Waiter } from "./sync_queue.ts";

/** So many writes, a few milliseconds' worth, are acknowledged before the event loop gets a turn. */
const WRITES_A_TURN = 2000;
/** A put that no sync precedes is acknowledged only if the directory was confirmed to be ours so short a time ago. */
const MAX_UNCONFIRMED_MS = 1_000;
/** What a put's answer is chained to: it comes as soon as the tick has ended. */
const TICK: Promise<void> = Promise.resolve();

/**
 * When written bytes are synced: before a put is acknowledged, every so many milliseconds, or on demand only.
 *
 * @example What each setting does at a put
 * ```ts
 * import { FileBuffer, type Fsync } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const syncs: number[] = [];
 * for (const fsync of ["always", 1_000, "never"] satisfies Fsync[]) {
 *   const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem: new MemoryFileSystem(), fsync });
 *   await buffer.put("a");
 *   syncs.push(buffer.stats().syncs);
 *   await buffer.close();
 * }
 * assertEquals(syncs, [1, 0, 0]); // on the disk; within a second; when the system, or flush(), sees to it
 * ```
 */
export type Fsync = "always" | "never" | number;

/** What happens in a log, for its owner. */
export interface LogEvents {
  /** Frames were written to a segment; `bytes` are the log's own and change with the next put. */
  readonly onWritten: (segment: string, position: number, bytes: Uint8Array) => void;
  /** More records may be read. `putTime` is that of the first of them, on the log's own clock. */
  readonly onVisible: (putTime: number) => void;
  /** So many puts were accepted, and then rejected. */
  readonly onRejected: (puts: number) => void;
  /** A segment came or went. */
  readonly onSegment: (type: "segment-created" | "segment-removed", segment: string) => void;
  /** Bytes of a former owner turned up that nothing will deliver. */
  readonly onDamage: (region: DamagedRegion) => void;
  /** Something failed that costs no record. */
  readonly onWarning: (error: FileSystemError) => void;
  /** The log has failed. */
  readonly onFailed: (error: BufferFailedError) => void;
  /** A sync has ended well. */
  readonly onSync: (durationMs: number) => void;
}

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
  /** Records are added here, and become part of the log by `accept`. */
  readonly builder: FrameBuilder = new FrameBuilder();
  readonly #options: LogDeps;
  readonly #cursor: Cursor;
  readonly #list: SegmentList;
  readonly #syncs: SyncQueue;
  readonly #commits: CommitTracker;
  readonly #rotation: Rotation;
  /** Behind the last record that was written, and behind the last that was acknowledged. */
  #written: LogPosition;
  #visible: LogPosition;
  /** The sequence that the next record gets. */
  #next: number;
  /** The puts that were accepted in this tick and are not written; `undefined` if there are none. */
  #gathering: PutGroup | undefined;
  readonly #answers = new PacedReplies(WRITES_A_TURN);
  /** The writes that are not acknowledged yet: their first sequence, and when they were put. Only with "always". */
  #unsynced: { readonly first: number; readonly putTime: number }[] = [];
  #cancelSyncTimer: (() => void) | undefined;
  #failure: BufferFailedError | undefined;
  /** How long ago that may be for a put to be acknowledged. */
  readonly #maxUnconfirmedMs: number;
  /** When the directory was last confirmed to be ours before a write, on the log's own clock. */
  #confirmedAt: number;

  /** Goes on with a recovered log. */
  constructor(options: LogDeps) {
    const { fileSystem, directory, clock, recovered, quarantine, segmentBytes, ownership } = options;
    const { codecVersion, isJson, recordLimit } = options;
    const { uuid, inherited } = recovered;
    const confirm = (): void => ownership.verify();
    this.#options = options;
    this.#confirmedAt = options.time();
    this.#maxUnconfirmedMs = maxUnconfirmedMs(options.fsync);
    this.#cursor = recovered.cursor;
    // A segment that a process left without a record is ours to write anew; until then nobody may read it.
    const hasEmptySegment = recovered.segments.at(-1)?.firstSequence === recovered.end.nextSequence;
    const segments = hasEmptySegment ? recovered.segments.slice(0, -1) : recovered.segments;
    const { end } = recovered;
    const sizes = recovered.sizes.filter(({ segment }) => segment.firstSequence < end.nextSequence);
    const report = options.events.onDamage;
    this.#list = new SegmentList({
      fileSystem,
      directory,
      uuid,
      quarantine,
      confirm,
      report,
      inherited,
      segments,
      sizes,
      end,
    });
    this.#written = this.#visible = recovered.end;
    this.#next = recovered.end.nextSequence;
    this.#syncs = new SyncQueue({
      fileSystem,
      directory,
      clock,
      cursor: recovered.cursor,
      // Also the one without a record: a write that was cut off there may come back otherwise.
      inherited: recovered.segments,
      written: () => this.#written,
      hasFailed: () => this.#failure !== undefined,
      confirm,
      onSynced: (end, durationMs) => this.#onSynced(end, durationMs),
      onFailed: (error, waiters) => this.#fail(error, waiters),
    });
    this.#commits = new CommitTracker({
      cursor: recovered.cursor,
      list: this.#list,
      state: { committed: recovered.committed, resume: recovered.resume, boundaries: recovered.boundaries },
      isSynced: options.fsync === "always",
      lastSequence: () => this.#visible.nextSequence - 1,
      hasFailed: () => this.#failure !== undefined,
      confirm,
      confirmInTurn: () => ownership.verifyThrottled(),
      fail: (error) => this.#fail(error),
      onRemoved: (name) => this.#onRemoved(name),
      onWarning: options.events.onWarning,
    });
    this.#rotation = new Rotation({
      fileSystem,
      directory,
      clock,
      list: this.#list,
      syncs: this.#syncs,
      isSynced: options.fsync !== "never",
      setsAside: options.fsync === "always",
      segmentBytes,
      header: { uuid, codecVersion, isJson, recordLimit },
      acknowledged: () => this.#acknowledged,
      hasEmptySegment,
      confirm,
      onBegun: (name) => this.#onBegun(name),
    });
    ownership.listen({
      // With "always" each acknowledgement waits for a confirmation behind its write.
      acknowledged: () => options.fsync === "always" ? 0 : this.#visible.nextSequence,
      onLost: (error) => void this.#fail(error),
    });
    if (this.#syncs.hasInherited) this.#armSyncTimer();
    this.#commits.drop();
  }

  /** The segment behind all others. */
  get lastSegment(): Segment | undefined {
    return this.#list.last;
  }

  /** The last segment that begins at `sequence` or before, going by its name. */
  segmentUpTo(sequence: number): Segment | undefined {
    return this.#list.upTo(sequence);
  }

  /** The first segment that begins behind `sequence`, going by its name. */
  segmentBehind(sequence: number): Segment | undefined {
    return this.#list.behind(sequence);
  }

  /** Where the segment behind another one begins; `undefined` behind the last. */
  nextAfter(segment: Segment): number | undefined {
    return this.#list.nextAfter(segment);
  }

  /** The reader has looked at a segment. */
  note(size: SegmentSize): void {
    this.#list.note(size);
  }

  /** The segment that is written to, if one is yet. */
  get active(): { readonly name: string; readonly position: number } | undefined {
    return this.#rotation.active?.writer;
  }

  /** Behind the last acknowledged record. */
  get end(): LogPosition {
    return this.#visible;
  }

  /** Behind the last record written, acknowledged or not yet. */
  get written(): LogPosition {
    return this.#written;
  }

  /** Bytes of frames accepted so far, from the start of the log: those not yet acknowledged count. */
  get acceptedLogBytes(): number {
    return this.#written.logBytes + this.builder.length;
  }

  /** What made the log fail, if it has. */
  get failure(): BufferFailedError | undefined {
    return this.#failure;
  }

  /** Where the consumer is. */
  get commitState(): CommitState {
    return this.#commits.state;
  }

  /** Figures for `stats()`. */
  get figures(): { syncs: number; syncMs: number; segments: number; diskBytes: number } {
    const { syncs, syncMs } = this.#syncs;
    return { syncs, syncMs, segments: this.#list.count, diskBytes: this.#list.diskBytes };
  }

  /**
   * Makes the last `count` records added to the builder part of the log.
   *
   * @returns Resolves with the sequence of the first of them when they are persisted; rejects when they are not, and
   * then they are nowhere.
   */
  accept(count: number): Promise<number> {
    const firstSequence = this.#next;
    this.#next += count;
    const group = this.#gathering ??= new PutGroup();
    group.puts++;
    return TICK.then(() => {
      // The first one to come here writes for all.
      if (group === this.#gathering) this.writeAccepted();
      return group.answer(firstSequence);
    });
  }

  /** Writes what was accepted, if the end of the tick hasn't come yet. */
  writeAccepted(): void {
    const group = this.#gathering;
    if (group === undefined) return;
    this.#gathering = undefined;
    const putTime = this.#options.time();
    const first = this.#written.nextSequence;
    try {
      this.#confirmInTime(putTime);
      this.#write(putTime);
    } catch (error) {
      this.#undoWrite(error, group);
      return;
    }
    if (this.#options.fsync === "always") {
      this.#unsynced.push({ first, putTime });
      this.#syncs.wait(group);
      return;
    }
    this.#visible = this.#written;
    if (this.#answers.mustHold()) this.#answers.hold(group);
    else group.resolve();
    this.#armSyncTimer();
    this.#options.events.onVisible(putTime);
  }

  /** Up to where headers may say that records are acknowledged. Without a sync per put, a written one is as good as that. */
  get #acknowledged(): number {
    return this.#options.fsync === "always" ? this.#visible.nextSequence : Infinity;
  }

  /**
   * Makes sure that the directory was ours a short time ago: at most the interval of syncs, each of which confirms it as well.
   * With "always" every put waits for one.
   */
  #confirmInTime(now: number): void {
    if (now - this.#confirmedAt < this.#maxUnconfirmedMs) return;
    this.#options.ownership.verify();
    this.#confirmedAt = now;
  }

  /** Writes the builder's frames to the active segment, or to a new one. */
  #write(putTime: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    const { length, records, payloadBytes } = this.builder;
    const { writer, header } = this.#rotation.segmentFor(length, this.#written);
    const acknowledged = this.#acknowledged;
    this.builder.seal({ sequence: this.#written.nextSequence, putTime, salt: header.salt, acknowledged });
    const { bytes } = this.builder;
    const { position } = writer;
    writer.write(bytes);
    this.#options.events.onWritten(writer.name, position, bytes);
    this.#list.grew(length);
    this.#syncs.touched(writer);
    this.#written = {
      nextSequence: this.#written.nextSequence + records,
      payloadBytes: this.#written.payloadBytes + payloadBytes,
      logBytes: this.#written.logBytes + length,
    };
    this.builder.reset();
  }

  /** After a failed write: takes everything back and rejects those whose records it would have written. */
  #undoWrite(error: unknown, group: PutGroup): void {
    const writer = this.#rotation.active?.writer;
    this.builder.reset();
    this.#next = this.#written.nextSequence;
    if (writer?.isBroken) this.#fail(error);
    const reason = this.#failure ?? error;
    if (writer === undefined || this.#failure !== undefined || !writer.isDirty) {
      this.#reject([group], reason);
      return;
    }
    // The cut must become as durable as a put would have, or a power cut could undo it.
    this.#syncs.touched(writer);
    if (this.#options.fsync !== "always") {
      this.#armSyncTimer();
      this.#reject([group], reason);
      return;
    }
    this.#syncs.wait({
      puts: 0,
      resolve: () => this.#reject([group], reason),
      // Whether the cut is there for good is not known then.
      reject: (failure) => this.#reject([group], failure),
    });
  }

  /** Resolves when everything in the log is on stable storage, what earlier processes wrote included. */
  async flush(): Promise<void> {
    this.writeAccepted();
    // First these, then the cursor, which speaks of them.
    if (this.#syncs.hasInherited) await this.#syncs.startInherited();
    await this.sync();
  }

  /** Resolves when everything that this process wrote so far is on stable storage. */
  sync(): Promise<void> {
    this.writeAccepted();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (!this.#syncs.isDirty) return this.#confirmed();
    return new Promise((resolve, reject) => {
      this.#syncs.wait({ puts: 0, resolve, reject });
    });
  }

  /** Resolves if the directory is still ours. */
  #confirmed(): Promise<void> {
    try {
      this.#options.ownership.verify();
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(this.#fail(error));
    }
  }

  /**
   * Before the records below `next` are handed over: with `fsync: "always"` they must be on stable storage, also those
   * that an earlier process may have left unsynced.
   */
  ensureDurable(next: number): Promise<void> | undefined {
    const isSecure = this.#options.fsync !== "always" || !this.#syncs.hasInherited;
    return isSecure ? undefined : this.#secure(next);
  }

  async #secure(next: number): Promise<void> {
    try {
      await this.#syncs.syncInherited(next);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  #onBegun(name: string): void {
    this.#options.events.onSegment("segment-created", name);
    this.#commits.drop();
  }

  #onRemoved(name: string): void {
    this.#syncs.forget(name);
    this.#options.events.onSegment("segment-removed", name);
  }

  #onSynced(end: LogPosition, durationMs: number): void {
    this.#options.events.onSync(durationMs);
    if (end.nextSequence <= this.#visible.nextSequence) return;
    const putTime = this.#unsynced[0]?.putTime ?? this.#options.time();
    this.#unsynced = this.#unsynced.filter(({ first }) => first >= end.nextSequence);
    this.#visible = end;
    this.#options.events.onVisible(putTime);
  }

  /** With an interval, sees to it that what is dirty now is synced in time. Armed only while there is something. */
  #armSyncTimer(): void {
    const { fsync, clock } = this.#options;
    if (typeof fsync !== "number" || this.#cancelSyncTimer !== undefined) return;
    this.#cancelSyncTimer = clock.setTimer(() => {
      this.#cancelSyncTimer = undefined;
      if (this.#failure !== undefined) return;
      this.#syncs.start();
      this.#syncs.startInherited();
    }, fsync);
  }

  /** Makes a commit state durable; if it throws or rejects, the state before stands. `undefined` if it is saved. */
  saveCommit(state: CommitState): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    const saved = this.#commits.save(state);
    this.#armSyncTimer();
    return saved;
  }

  /** Ends everything with `error` as the first cause; `taken` are waiters of a sync under way. Returns what to throw. */
  #fail(error: unknown, taken: readonly Waiter[] = []): BufferFailedError {
    const { directory, fsync, events, ownership } = this.#options;
    // What fails in a directory that was moved away fails for that reason: to ask makes the log fail by it.
    if (this.#failure === undefined && !ownership.isLost) ownership.isStillOwner();
    const isFirst = this.#failure === undefined;
    const failure = this.#failure ??= error instanceof BufferFailedError
      ? error
      : new BufferFailedError(directory, error);
    if (isFirst) {
      this.#cancelSyncTimer?.();
      if (fsync === "always") this.#cutUnacknowledged();
    }
    this.#reject([...taken, ...this.#syncs.takeWaiters()], failure);
    if (isFirst) events.onFailed(failure);
    return failure;
  }

  /** Leaves word for the next owner. It does without, so nothing fails by it. */
  #note(): void {
    try {
      this.#options.ownership.recordGeneration(this.#cursor.generation);
    } catch (error) {
      if (!(error instanceof FileSystemError)) throw error;
      this.#options.events.onWarning(error);
    }
  }

  #reject(waiters: readonly Waiter[], error: unknown): void {
    for (const waiter of waiters) waiter.reject(error);
    this.#options.events.onRejected(waiters.reduce((sum, { puts }) => sum + puts, 0));
  }

  /**
   * What was written but not synced is about to be rejected: it must not be there after a restart. The newest first, so
   * that there is never a gap. Best effort, because the disk has just refused to work; and left out where another owner may
   * have read it already.
   */
  #cutUnacknowledged(): void {
    if (!this.#options.ownership.isStillOwner()) return;
    try {
      this.#rotation.removeLeftover();
      for (const writer of [...this.#syncs.dirtyWriters.values()].reverse()) writer.truncateUnacknowledged();
    } catch {
      // What is left is a beginning of it; and the failure that is reported already is the one that counts.
    }
  }

  /** Writes and syncs what is left (with `fsync: "never"` only writes), then frees everything. */
  async close(): Promise<void> {
    let failure: unknown;
    try {
      this.writeAccepted();
      if (this.#failure === undefined) {
        this.#rotation.end();
        if (this.#options.fsync !== "never") await this.flush();
        this.#commits.saveLast();
        if (this.#options.fsync !== "never") await this.sync();
      }
    } catch (error) {
      failure = error;
    }
    this.#answers.flush();
    this.#cancelSyncTimer?.();
    await this.#syncs.idle();
    await this.#commits.close();
    for (const writer of this.#syncs.dirtyWriters.values()) writer.close();
    this.#rotation.active?.writer.close();
    if (this.#failure === undefined) this.#note();
    this.#cursor.close();
    this.#options.onClosing();
    this.#options.ownership.release();
    if (failure !== undefined) throw failure;
  }
}

/** How long ago the directory may have been confirmed to be ours; with "always" each put waits for it anyway. */
function maxUnconfirmedMs(fsync: Fsync): number {
  if (fsync === "always") return Infinity;
  return fsync === "never" ? MAX_UNCONFIRMED_MS : fsync;
}
