/**
 * Group commit: one sync for all who wait for one.
 *
 * **Waiters before bytes.** A waiter may be woken only by a sync that began after its bytes were written. The proof is the
 * order in `#run`: it takes the waiters out first and then starts the sync, without yielding in between; and `wait` adds a
 * waiter only after its bytes were written. So the sync covers the bytes of every waiter that it wakes. A waiter that comes
 * while it runs waits for the next one, which starts at once.
 *
 * **Each sync ends.** A run covers what was dirty when it began, file by file; what is written meanwhile is for the next run.
 * So a waiter waits for two runs at most: the one under way and the next.
 *
 * **Only the owner acknowledges.** The ownership is verified after the sync, before anyone is woken. So a later owner finds
 * everything that was acknowledged.
 *
 * **A sync that can't be begun isn't final.** Where a directory or a file can't be opened for the moment (no descriptors, no
 * memory), nothing was synced yet. It is tried again for eight seconds, and those who wait go on waiting. After that a flush is
 * rejected, and what is dirty stays so. Only puts that wait for the sync (`"always"`) make the log fail: what they wrote must
 * not be there when they are rejected.
 *
 * **A failed sync is final.** Linux reports it once and marks the pages clean; a second sync would succeed and prove
 * nothing (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20). The queue stops, and the log has
 * failed.
 *
 * **Segments of earlier processes** are synced independently of the runs, each once, one after the other. Only a flush waits
 * for them.
 *
 * The same shape as the flush loop of Pebble's `record.LogWriter`.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../../base/clock.ts";
import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { FileHandle } from "../../fs/file_system.ts";
import { isUnbegunSync, retryBlocking, retryUnbegunSync, retryWhilePassing } from "../../fs/retry.ts";
import { syncFile, syncFileBlocking } from "../../fs/sync_file.ts";
import type { Cursor } from "../cursor.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import type { LogLocation, Segment } from "../segment_files.ts";
import type { SegmentWriter } from "../segment_writer.ts";
import type { LogEnds } from "./log_ends.ts";
import type { LogHealth } from "./log_health.ts";

/** The syncs before the event loop gets a turn. It gets more of them from a device; a file system in memory never waits. */
const SYNCS_A_TURN = 100;

/** One that waits for a sync: unacknowledged puts, or a flush. */
export interface Waiter {
  /** Its bytes are on stable storage. */
  resolve(): void;
  /** They will never be. */
  reject(error: unknown): void;
}

interface SyncQueueDeps extends LogLocation {
  readonly clock: Clock;
  readonly cursor: Cursor;
  /** Segments of earlier processes, which may be unsynced; in order. */
  readonly inherited: readonly Segment[];
  /** What is dirty is synced after at most this time; `undefined` if only a waiter starts a sync. */
  readonly intervalMs: number | undefined;
  /** Whether puts wait for a sync. */
  readonly isSynced: boolean;
  readonly ownership: Pick<Ownership, "verify">;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  /** Everything up to `end` is on stable storage, after `durationMs`. Called before the waiters are woken. */
  readonly onSynced: (end: LogPosition, durationMs: number) => void;
}

/** Keeps track of what is dirty, and syncs it. */
export class SyncQueue {
  readonly #deps: SyncQueueDeps;
  /** Segments with anything that no sync has covered, or that is not acknowledged yet. */
  readonly #dirtyWriters = new Map<string, SegmentWriter>();
  /** The one that was written to last, if it is still among them. */
  #touched: SegmentWriter | undefined;
  /** The number of inherited segments, the first ones, that are synced or removed. */
  #settledInherited = 0;
  #inheriting: Promise<void> | undefined;
  /** Of those that are being synced, by their names: see `syncFile`. */
  readonly #secondHandles = new Map<string, FileHandle>();
  /** Changes of names so far, and how many are synced. One from the start: it is unknown what the process before has synced. */
  #directoryChanges = 1;
  #syncedDirectoryChanges = 0;
  #waiters: Waiter[] = [];
  #isRunning = false;
  /** Whether another sync is to follow the one under way. */
  #isWanted = false;
  readonly #budget = new YieldBudget(SYNCS_A_TURN);
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  /** The number of finished syncs, and the milliseconds spent on them. */
  readonly figures = { syncs: 0, syncMs: 0 };

  constructor(deps: SyncQueueDeps) {
    this.#deps = deps;
  }

  /** The segments of this process that need a sync, by their names. */
  get dirtyWriters(): ReadonlyMap<string, SegmentWriter> {
    return this.#dirtyWriters;
  }

  /** Whether anything that this process did may not be on stable storage yet. */
  get isDirty(): boolean {
    return this.#dirtyWriters.size > 0 || this.#isDirectoryDirty || this.#deps.cursor.isDirty || this.#isRunning;
  }

  get #isDirectoryDirty(): boolean {
    return this.#syncedDirectoryChanges < this.#directoryChanges;
  }

  /** Whether there are segments of earlier processes that may need a sync. */
  get hasInherited(): boolean {
    return this.#settledInherited < this.#deps.inherited.length;
  }

  /** A segment was created, written to, or cut. */
  touched(writer: SegmentWriter): void {
    // Nearly always the same one: then a put costs no lookup.
    if (writer === this.#touched) return;
    this.#touched = writer;
    this.#dirtyWriters.set(writer.name, writer);
  }

  /** Nothing in a segment needs a sync any more. */
  #settle(name: string): void {
    this.#dirtyWriters.delete(name);
    this.#touched = undefined;
  }

  /** A segment was created. */
  directoryChanged(): void {
    this.#directoryChanges++;
  }

  /** Nothing more is written to a segment. */
  retired(writer: SegmentWriter): void {
    if (writer.isSettled) this.#settle(writer.name);
  }

  /** A segment was removed and needs no sync; one that is being synced is settled after that. */
  forget(name: string): void {
    // Mostly the first one; for any other, the sync finds that it doesn't exist.
    if (this.#deps.inherited.at(this.#settledInherited)?.name === name) this.#settledInherited++;
    if (this.#isRunning) return;
    this.#dirtyWriters.get(name)?.close();
    this.#settle(name);
  }

  /** Adds a waiter, whose bytes are written, and makes sure that a sync follows. */
  wait(waiter: Waiter): void {
    this.#waiters.push(waiter);
    this.start();
  }

  /** Starts to sync what is dirty now; after the sync that is under way, if one is. */
  start(): void {
    this.#isWanted = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#running = this.#run();
  }

  /** With an interval: makes sure that what is dirty now is synced in time. The timer is set only while anything is. */
  schedule(): void {
    if (this.#cancelTimer !== undefined) return;
    const { clock, intervalMs, health } = this.#deps;
    if (intervalMs === undefined) return;
    this.#cancelTimer = clock.setTimer(() => {
      this.#cancelTimer = undefined;
      if (health.failure !== undefined) return;
      this.start();
      this.startInherited().catch(() => this.schedule());
    }, intervalMs);
  }

  /** Cancels the timer. */
  cancel(): void {
    this.#cancelTimer?.();
  }

  /** Resolves when everything that this process wrote so far is on stable storage. */
  sync(): Promise<void> {
    const { health, ownership } = this.#deps;
    if (health.failure !== undefined) return Promise.reject(health.failure);
    if (this.isDirty) return new Promise((resolve, reject) => this.wait({ resolve, reject }));
    try {
      ownership.verify();
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(health.fail(error));
    }
  }

  /** Rejects all waiters: the log has failed. */
  rejectAll(failure: unknown): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(failure);
  }

  /** Resolves when no sync is under way. */
  async idle(): Promise<void> {
    // A flush continues with the second after the first.
    await this.#inheriting?.catch(() => {});
    await this.#running;
  }

  /** Starts to sync the segments of earlier processes, unless that is under way; resolves when it has ended, or failed. */
  startInherited(): Promise<void> {
    return this.#inheriting ??= this.syncInherited(Infinity)
      .catch((error) => {
        if (isUnbegunSync(error)) throw error;
        this.#deps.health.fail(error);
      })
      .finally(() => this.#inheriting = undefined);
  }

  /** Syncs those segments of earlier processes that hold records below `next` and are not synced yet; the oldest first. */
  async syncInherited(next: number): Promise<void> {
    const { fileSystem, directory, inherited, health } = this.#deps;
    while (this.hasInherited && health.failure === undefined) {
      const index = this.#settledInherited;
      const { name, firstSequence } = inherited[index];
      if (firstSequence >= next) return;
      await syncFile(fileSystem, join(directory, name), (second) => {
        if (second === undefined) this.#secondHandles.delete(name);
        else this.#secondHandles.set(name, second);
      });
      // Another call may have come as far meanwhile.
      this.#settledInherited = Math.max(this.#settledInherited, index + 1);
      if (this.#budget.spend(1)) await yieldToEventLoop();
    }
  }

  /** Syncs, wakes the waiters that it covers, and repeats while there are others. Never rejects. */
  async #run(): Promise<void> {
    const { clock, ends, health, isSynced, onSynced } = this.#deps;
    do {
      this.#isWanted = false;
      const waiters = this.#waiters.splice(0);
      const end = ends.written;
      const startedAt = clock.monotonic();
      try {
        await this.#syncFiles();
        // If the log has failed meanwhile, what these waiters wrote may have been cut off.
        if (health.failure !== undefined) throw health.failure;
      } catch (error) {
        // These waiters first, then those who came meanwhile.
        this.#waiters = [...waiters, ...this.#waiters];
        const mayFollow = isUnbegunSync(error) && !isSynced && health.failure === undefined;
        this.rejectAll(mayFollow ? error : health.fail(error));
        if (mayFollow) this.schedule();
        break;
      }
      const durationMs = clock.monotonic() - startedAt;
      this.figures.syncs++;
      this.figures.syncMs += durationMs;
      onSynced(end, durationMs);
      for (const waiter of waiters) waiter.resolve();
      if (this.#budget.spend(1)) await yieldToEventLoop();
    } while (this.#isWanted && health.failure === undefined);
    // In the same tick as the check whether more is wanted: a waiter that comes next starts a new run.
    this.#isRunning = false;
  }

  /** Segments in order, then the names, then the cursor, which refers to both. */
  async #syncFiles(): Promise<void> {
    const { fileSystem, directory, cursor, ownership } = this.#deps;
    const writers = [...this.#dirtyWriters.values()];
    const positions = writers.map(({ position }) => position);
    const syncsDirectory = this.#isDirectoryDirty;
    const directoryChanges = this.#directoryChanges;
    // A sync also covers what was written since the run began. The next run then only has to acknowledge that.
    for (const writer of writers) {
      if (!writer.isDirty) continue;
      try {
        await writer.sync();
      } catch (error) {
        await retryUnbegunSync(error, () => writer.sync());
      }
    }
    if (syncsDirectory) {
      try {
        await fileSystem.syncDirectory(directory);
      } catch (error) {
        await retryUnbegunSync(error, () => fileSystem.syncDirectory(directory));
      }
      this.#syncedDirectoryChanges = Math.max(this.#syncedDirectoryChanges, directoryChanges);
    }
    await cursor.sync();
    const verifying = retryWhilePassing(() => ownership.verify());
    if (verifying !== undefined) await verifying;
    writers.forEach((writer, i) => writer.acknowledge(positions[i]));
    for (const writer of writers) this.#settleIfDone(writer);
  }

  #settleIfDone(writer: SegmentWriter): void {
    if (!writer.isSettled) return;
    this.#settle(writer.name);
    if (writer.isRetired) writer.close();
  }

  /**
   * Syncs within the call what is written, whether or not a run is under way, and acknowledges it. The cursor isn't among it: no record
   * depends on it, and a sync beside its own could take that one's error. Where nothing is dirty, nobody is told of a sync.
   *
   * @throws {FileSystemError} if a file could not be opened: nothing is lost, and it may be tried again.
   */
  syncBlocking(): void {
    const { clock, ends, health, ownership, onSynced } = this.#deps;
    if (health.failure !== undefined) throw health.failure;
    const startedAt = clock.monotonic();
    const isNeeded = this.#dirtyWriters.size > 0 || this.#isDirectoryDirty;
    try {
      this.syncOthersBlocking(undefined);
      ownership.verify();
    } catch (error) {
      throw isUnbegunSync(error) ? error : health.fail(error);
    }
    if (!isNeeded) return;
    for (const writer of this.#dirtyWriters.values()) {
      writer.acknowledge(writer.position);
      this.#settleIfDone(writer);
    }
    const durationMs = clock.monotonic() - startedAt;
    this.figures.syncs++;
    this.figures.syncMs += durationMs;
    onSynced(ends.written, durationMs);
  }

  /** Syncs within the call the names and all that is dirty but one segment: what may have to be opened, before that one is written to. */
  syncOthersBlocking(except: SegmentWriter | undefined): void {
    const { fileSystem, directory } = this.#deps;
    for (const writer of this.#dirtyWriters.values()) {
      if (writer !== except && writer.isDirty) writer.syncBlocking();
    }
    if (!this.#isDirectoryDirty) return;
    retryBlocking(() => fileSystem.syncDirectoryBlocking!(directory), isUnbegunSync);
    this.#syncedDirectoryChanges = this.#directoryChanges;
  }

  /** Syncs within the call what earlier processes wrote. */
  syncInheritedBlocking(): void {
    const { fileSystem, directory, inherited, health } = this.#deps;
    try {
      for (; this.hasInherited; this.#settledInherited++) {
        const { name } = inherited[this.#settledInherited];
        const second = this.#secondHandles.get(name);
        if (second !== undefined) second.syncBlocking!();
        else syncFileBlocking(fileSystem, join(directory, name));
      }
    } catch (error) {
      throw isUnbegunSync(error) ? error : health.fail(error);
    }
  }
}
