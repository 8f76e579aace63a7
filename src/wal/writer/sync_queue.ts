/**
 * Group commit: one sync for everybody who waits for one.
 *
 * **Waiters before bytes.** A waiter must be woken only by a sync that began after its bytes were written. The proof is
 * the order in `#run`: it takes the waiters out first and then starts the sync, without giving way in between; and a
 * waiter is only ever added, by `wait`, after its bytes were written. So the sync covers the bytes of every waiter that
 * it wakes. Whoever comes while it runs waits for the next one, which starts at once.
 *
 * **Each sync ends.** A run covers what was dirty when it began, file by file, and its length is bounded by that; what is
 * written meanwhile is for the next run. So whoever waits is woken after two runs at most: the one under way and the next. What
 * earlier processes have left is synced once, beside the runs; a flush waits for that first, as often as there are segments
 * of theirs.
 *
 * **Only the owner acknowledges.** After the sync and before anybody is woken it is confirmed that the directory is still
 * ours: what was written before that is found by an owner that comes after it.
 *
 * **A failed sync is final.** Linux reports it once and marks the pages clean; a second sync would succeed and prove
 * nothing (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20). The queue stops, and the log has
 * failed.
 *
 * **Segments of earlier processes** are synced beside all that, one after the other, each once: who waits for a sync of what
 * this process has written doesn't wait for theirs, however many they are.
 *
 * The same shape as the flush loop of Pebble's `record.LogWriter`.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import type { Cursor } from "../cursor.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import type { Segment } from "../segment_files.ts";
import { SegmentWriter } from "../segment_writer.ts";
import type { LogEnds } from "./log_ends.ts";
import type { LogHealth } from "./log_health.ts";

/** A device takes its time, which the event loop has; a file system in memory doesn't. */
const SYNCS_A_TURN = 100;

/** Somebody who waits for a sync: puts that are not acknowledged yet, or a flush. */
export interface Waiter {
  /** What it waited for has come. */
  resolve(): void;
  /** It won't come. */
  reject(error: unknown): void;
}

/** What a {@linkcode SyncQueue} is made with. */
export interface SyncQueueDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly cursor: Cursor;
  /** Segments of earlier processes, which may not have synced them; in order. */
  readonly inherited: readonly Segment[];
  /** What is dirty is synced at most this much later; `undefined` if nobody but a waiter starts a sync. */
  readonly intervalMs: number | undefined;
  readonly ownership: Pick<Ownership, "verify">;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  /** Everything up to `end` is on stable storage, after `durationMs`. Called before the waiters are woken. */
  readonly onSynced: (end: LogPosition, durationMs: number) => void;
}

/** Knows what is dirty, and syncs it. */
export class SyncQueue {
  readonly #options: SyncQueueDeps;
  /** With something that no sync has covered, or that is not acknowledged yet. */
  readonly #dirtyWriters = new Map<string, SegmentWriter>();
  /** The one that something was done to last, if it is still among them. */
  #touched: SegmentWriter | undefined;
  /** How many of the inherited segments, the first ones, are synced or gone. */
  #settledInherited = 0;
  #inheriting: Promise<void> | undefined;
  /** From the start, because nobody knows what the process before has synced. */
  #isDirectoryDirty = true;
  #waiters: Waiter[] = [];
  #isRunning = false;
  /** Whether something was written since the last sync began that is to be synced without waiting. */
  #isWanted = false;
  readonly #budget = new YieldBudget(SYNCS_A_TURN);
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #syncs = 0;
  #syncMs = 0;

  /** For one log. */
  constructor(options: SyncQueueDeps) {
    this.#options = options;
  }

  /** Syncs finished. */
  get syncs(): number {
    return this.#syncs;
  }

  /** Milliseconds spent on them. */
  get syncMs(): number {
    return this.#syncMs;
  }

  /** The segments of this process with something to sync, by their names. */
  get dirtyWriters(): ReadonlyMap<string, SegmentWriter> {
    return this.#dirtyWriters;
  }

  /** Whether anything that this process did is not yet known to be on stable storage. */
  get isDirty(): boolean {
    return this.#dirtyWriters.size > 0 || this.#isDirectoryDirty || this.#options.cursor.isDirty || this.#isRunning;
  }

  /** Whether there are segments of earlier processes that may need a sync. */
  get hasInherited(): boolean {
    return this.#settledInherited < this.#options.inherited.length;
  }

  /** Something was done to a segment. */
  touched(writer: SegmentWriter): void {
    // Nearly always the one before: a put pays for no look-up then.
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
    this.#isDirectoryDirty = true;
  }

  /** Nothing more is written to a segment. */
  retired(writer: SegmentWriter): void {
    if (writer.isSettled) this.#settle(writer.name);
  }

  /** A segment that is gone needs no sync; one that is being synced is let go of after it. */
  forget(name: string): void {
    // They go from the front, mostly; of another one the sync finds that it is gone.
    if (this.#options.inherited.at(this.#settledInherited)?.name === name) this.#settledInherited++;
    if (this.#isRunning) return;
    this.#dirtyWriters.get(name)?.close();
    this.#settle(name);
  }

  /** Adds a waiter, whose bytes are written, and sees to it that there will be a sync. */
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

  /** With an interval, sees to it that what is dirty now is synced in time. Armed only while there is something. */
  schedule(): void {
    const { clock, intervalMs, health } = this.#options;
    if (intervalMs === undefined || this.#cancelTimer !== undefined) return;
    this.#cancelTimer = clock.setTimer(() => {
      this.#cancelTimer = undefined;
      if (health.failure !== undefined) return;
      this.start();
      void this.startInherited();
    }, intervalMs);
  }

  /** Starts no sync by itself any more. */
  cancel(): void {
    this.#cancelTimer?.();
  }

  /** Resolves when everything that this process wrote so far is on stable storage. */
  sync(): Promise<void> {
    const { health, ownership } = this.#options;
    if (health.failure !== undefined) return Promise.reject(health.failure);
    if (this.isDirty) return new Promise((resolve, reject) => this.wait({ resolve, reject }));
    try {
      ownership.verify();
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(health.fail(error));
    }
  }

  /** Rejects everybody who waits: the log has failed. */
  rejectAll(failure: unknown): void {
    for (const waiter of this.#takeWaiters()) waiter.reject(failure);
  }

  #takeWaiters(): readonly Waiter[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }

  /** Resolves when no sync is under way. */
  async idle(): Promise<void> {
    // A flush goes on behind the first with the second.
    await this.#inheriting;
    await this.#running;
  }

  /** Starts to sync the segments of earlier processes, unless that is under way; resolves when it has ended, or failed. */
  startInherited(): Promise<void> {
    return this.#inheriting ??= this.syncInherited(Infinity)
      .catch((error) => void this.#options.health.fail(error))
      .finally(() => this.#inheriting = undefined);
  }

  /** Syncs those segments of earlier processes that hold records below `next` and are not synced yet; the oldest first. */
  async syncInherited(next: number): Promise<void> {
    const { fileSystem, directory, inherited, health } = this.#options;
    while (this.hasInherited && health.failure === undefined) {
      const index = this.#settledInherited;
      const { name, firstSequence } = inherited[index];
      if (firstSequence >= next) return;
      await SegmentWriter.inherit(fileSystem, directory, name).sync();
      // Another call may have been as far meanwhile.
      this.#settledInherited = Math.max(this.#settledInherited, index + 1);
      if (this.#budget.spend(1)) await yieldToEventLoop();
    }
  }

  /** Syncs, wakes those whose bytes that covered, and goes on while there are others. Never rejects. */
  async #run(): Promise<void> {
    const { clock, ends, health, onSynced } = this.#options;
    do {
      this.#isWanted = false;
      const waiters = this.#takeWaiters();
      const end = ends.written;
      const startedAt = clock.monotonic();
      try {
        await this.#syncFiles();
        // If the log has failed meanwhile, what these waiters wrote may have been cut off.
        if (health.failure !== undefined) throw health.failure;
      } catch (error) {
        // These waiters first, then those who came meanwhile.
        this.#waiters = [...waiters, ...this.#waiters];
        this.rejectAll(health.fail(error));
        break;
      }
      this.#syncs++;
      const durationMs = clock.monotonic() - startedAt;
      this.#syncMs += durationMs;
      onSynced(end, durationMs);
      for (const waiter of waiters) waiter.resolve();
      if (this.#budget.spend(1)) await yieldToEventLoop();
    } while (this.#isWanted && health.failure === undefined);
    // In the same breath as the look whether more is wanted: whoever comes next starts a new run.
    this.#isRunning = false;
  }

  /** Segments in order, then the names, then the cursor, which speaks of both. */
  async #syncFiles(): Promise<void> {
    const { fileSystem, directory, cursor, ownership } = this.#options;
    const writers = [...this.#dirtyWriters.values()];
    const positions = writers.map(({ position }) => position);
    const syncsDirectory = this.#isDirectoryDirty;
    this.#isDirectoryDirty = false;
    // A sync covers also what was written between the start of the run and its own: then there is nothing left to do
    // for the next run but to acknowledge it.
    for (const writer of writers) if (writer.isDirty) await writer.sync();
    if (syncsDirectory) await fileSystem.syncDirectory(directory);
    await cursor.sync();
    ownership.verify();
    writers.forEach((writer, i) => writer.acknowledge(positions[i]));
    for (const writer of writers) {
      if (!writer.isSettled) continue;
      this.#settle(writer.name);
      if (writer.isRetired) writer.close();
    }
  }
}
