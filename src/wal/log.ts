/**
 * The write-ahead log: accepts frames, writes them, syncs them, rotates segments and drops committed ones.
 *
 * What it guarantees, and why it holds:
 *
 * - **One write a tick.** `accept` only takes a sequence; a microtask writes what has gathered by one call. Until then
 *   nothing is acknowledged, so nothing is promised that isn't written.
 * - **A failed write leaves nothing.** The segment writer cuts the file back; the sequences are given back, too, which is
 *   right because everything that was accepted and not yet written fails with it: nothing later can hold one of them.
 * - **Group commit.** With `fsync: "always"` a put waits for a sync that began after its bytes were written. The proof is
 *   the order in `#syncLoop`: the waiters are taken out first, then the sync is started, without giving way in between; a
 *   waiter is only ever added, by `#write`, after its bytes. So a sync covers the bytes of every waiter that it
 *   wakes. Whoever comes while it runs waits for the next one, which starts at once.
 * - **A failed sync is final.** Linux reports it once and marks the pages clean; a second sync would succeed and prove
 *   nothing. The log fails: all waiters and later calls get the first cause.
 * - **Commit first, unlink second.** A segment is removed only after the cursor that says so is on stable storage.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../clock.ts";
import { BufferFailedError, FileSystemError } from "../errors.ts";
import type { FileLock, FileSystem } from "../fs/file_system.ts";
import type { Cursor } from "./cursor.ts";
import { type LogPosition, SEGMENT_HEADER_BYTES } from "./format.ts";
import { FrameBuilder } from "./frame_builder.ts";
import type { LogView } from "./log_reader.ts";
import type { Recovered, Segment } from "./recovery.ts";
import { SegmentWriter } from "./segment_writer.ts";

/** When written bytes are synced: before a put is acknowledged, every so many milliseconds, or on demand only. */
export type Fsync = "always" | "never" | number;

/** What happens in a log, for its owner. */
export interface LogEvents {
  /** More records may be read. `putTime` is that of the first of them, on the log's own clock. */
  readonly onVisible: (putTime: number) => void;
  /** So many puts were accepted, and then rejected. */
  readonly onRejected: (puts: number) => void;
  readonly onSegment: (type: "segment-created" | "segment-removed", segment: string) => void;
  /** Something failed that costs no record. */
  readonly onWarning: (error: FileSystemError) => void;
  readonly onFailed: (error: BufferFailedError) => void;
}

/** What a {@linkcode Log} is made with. */
export interface LogOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  /** The time that puts are stamped with: wall time at the start, then monotonic. */
  readonly time: () => number;
  readonly lock: FileLock;
  readonly recovered: Recovered;
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  readonly recordLimit: number;
  readonly codecVersion: number;
  readonly events: LogEvents;
}

/** A put, or a `putMany`, that is not acknowledged yet. */
interface Waiter {
  readonly firstSequence: number;
  readonly resolve: (firstSequence: number) => void;
  readonly reject: (error: unknown) => void;
}

/** The commit state that the cursor keeps. */
export interface CommitState {
  readonly committed: LogPosition;
  readonly resume: LogPosition;
  readonly boundaries: readonly LogPosition[];
}

/** The log of one buffer; also the {@linkcode LogView} of its reader. */
export class Log implements LogView {
  /** Records are added here, and become part of the log by `accept`. */
  readonly builder: FrameBuilder = new FrameBuilder();
  readonly #options: LogOptions;
  readonly #cursor: Cursor;
  readonly #segments: Segment[];
  #writer: SegmentWriter;
  /** Behind the last record that was written, and behind the last that was acknowledged. */
  #written: LogPosition;
  #visible: LogPosition;
  /** The sequence that the next record gets. */
  #next: number;
  #unwritten: Waiter[] = [];
  #unsynced: Waiter[] = [];
  #isWriteQueued = false;
  #dirtyWriters = new Set<SegmentWriter>();
  #isDirectoryDirty = false;
  #isSyncing = false;
  #syncing: Promise<void> | undefined;
  #cancelSyncTimer: (() => void) | undefined;
  #dropping: Promise<void> | undefined;
  #commit: CommitState;
  #failure: BufferFailedError | undefined;
  #isClosed = false;
  #syncs = 0;
  #syncMs = 0;
  #diskBytes: number;
  /** When the first record was written that is not yet acknowledged; only with `fsync: "always"`. */
  #unsyncedSince: number | undefined;

  private constructor(options: LogOptions, writer: SegmentWriter, segments: Segment[], diskBytes: number) {
    const { recovered } = options;
    this.#options = options;
    this.#cursor = recovered.cursor;
    this.#segments = segments;
    this.#writer = writer;
    this.#written = this.#visible = recovered.end;
    this.#next = recovered.end.nextSequence;
    this.#commit = { committed: recovered.committed, resume: recovered.resume, boundaries: recovered.boundaries };
    this.#diskBytes = diskBytes;
  }

  /** Goes on with a recovered log: makes sure that there is a segment to write to, durably. */
  static async open(options: LogOptions): Promise<Log> {
    const { fileSystem, directory, recovered, recordLimit, codecVersion } = options;
    const { active, end } = recovered;
    const segments = [...recovered.segments];
    let { diskBytes } = recovered;
    const fits = active !== undefined && active.header.codecVersion === codecVersion &&
      active.header.recordLimit >= recordLimit;
    if (fits) {
      const writer = SegmentWriter.reopen(fileSystem, directory, active.header, active.position);
      const log = new Log(options, writer, segments, diskBytes);
      log.#dropCommitted();
      return log;
    }
    // An unsuitable segment without a record has the very name that the new one needs.
    if (segments.at(-1)?.firstSequence === end.nextSequence) {
      fileSystem.remove(join(directory, segments.pop()!.name));
      diskBytes -= SEGMENT_HEADER_BYTES;
    }
    const writer = createSegment(options, end);
    segments.push({ name: writer.name, firstSequence: end.nextSequence });
    const log = new Log(options, writer, segments, diskBytes + SEGMENT_HEADER_BYTES);
    try {
      await writer.sync();
      await fileSystem.syncDirectory(directory);
    } catch (error) {
      writer.close();
      throw error;
    }
    log.#dropCommitted();
    return log;
  }

  /** The segments, in order. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** The segment that is written to. */
  get active(): { readonly name: string; readonly position: number } {
    return { name: this.#writer.name, position: this.#writer.position };
  }

  /** The sequence behind the last acknowledged record. */
  get visible(): number {
    return this.#visible.nextSequence;
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

  /** Figures for `stats()`. */
  get figures(): { syncs: number; syncMs: number; segments: number; diskBytes: number } {
    const segments = this.#segments.length;
    return { syncs: this.#syncs, syncMs: this.#syncMs, segments, diskBytes: this.#diskBytes };
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
    if (!this.#isWriteQueued) {
      this.#isWriteQueued = true;
      queueMicrotask(() => this.writeAccepted());
    }
    return new Promise((resolve, reject) => this.#unwritten.push({ firstSequence, resolve, reject }));
  }

  /** Writes what was accepted, if the microtask hasn't come to it yet. */
  writeAccepted(): void {
    this.#isWriteQueued = false;
    if (this.#unwritten.length === 0) return;
    const waiters = this.#unwritten;
    this.#unwritten = [];
    const putTime = this.#options.time();
    try {
      this.#write(putTime);
    } catch (error) {
      this.builder.reset();
      this.#next = this.#written.nextSequence;
      if (this.#writer.broken) this.#fail(error);
      const reason = this.#failure ?? error;
      for (const waiter of waiters) waiter.reject(reason);
      this.#options.events.onRejected(waiters.length);
      return;
    }
    if (this.#options.fsync === "always") {
      for (const waiter of waiters) this.#unsynced.push(waiter);
      this.#unsyncedSince ??= putTime;
      this.#startSync();
      return;
    }
    this.#visible = this.#written;
    for (const { resolve, firstSequence } of waiters) resolve(firstSequence);
    this.#armSyncTimer();
    this.#options.events.onVisible(putTime);
  }

  /** Writes the builder's frames to the segment, or a new one if they don't fit. */
  #write(putTime: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    const { length, records, payloadBytes } = this.builder;
    if (this.#writer.position + length > this.#options.segmentBytes && this.#holdsFrames()) this.#rotate();
    const writer = this.#writer;
    this.builder.seal({ sequence: this.#written.nextSequence, putTime, salt: writer.header.salt });
    writer.write(this.builder.bytes);
    this.#diskBytes += length;
    this.#dirtyWriters.add(writer);
    this.#written = {
      nextSequence: this.#written.nextSequence + records,
      payloadBytes: this.#written.payloadBytes + payloadBytes,
      logBytes: this.#written.logBytes + length,
    };
    this.builder.reset();
  }

  #holdsFrames(): boolean {
    return this.#writer.header.firstSequence < this.#written.nextSequence;
  }

  /** Starts a new segment. If that fails, the old one goes on. */
  #rotate(): void {
    const old = this.#writer;
    this.#writer = createSegment(this.#options, this.#written);
    this.#isDirectoryDirty = true;
    this.#diskBytes += SEGMENT_HEADER_BYTES;
    this.#segments.push({ name: this.#writer.name, firstSequence: this.#written.nextSequence });
    this.#options.events.onSegment("segment-created", this.#writer.name);
    // Kept open while a sync is due, because an error of write-back is told to descriptors that were open at the time;
    // with "never" that could be any number of files.
    if (!old.isDirty || this.#options.fsync === "never") old.close();
    if (!old.isDirty) this.#dirtyWriters.delete(old);
    this.#dropCommitted();
  }

  /** Resolves when everything written so far is on stable storage. */
  sync(): Promise<void> {
    this.writeAccepted();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (!this.#isDirty()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#unsynced.push({ firstSequence: 0, resolve: () => resolve(), reject });
      this.#startSync();
    });
  }

  #isDirty(): boolean {
    return this.#dirtyWriters.size > 0 || this.#isDirectoryDirty || this.#cursor.isDirty || this.#isSyncing;
  }

  #startSync(): void {
    if (this.#isSyncing) return;
    this.#isSyncing = true;
    this.#syncing = this.#syncLoop();
  }

  /** Syncs, wakes those whose bytes that covered, and goes on while there are others. Never rejects. */
  async #syncLoop(): Promise<void> {
    do {
      const waiters = this.#unsynced;
      const end = this.#written;
      const since = this.#unsyncedSince;
      const writers = [...this.#dirtyWriters];
      const startedAt = this.#options.clock.monotonic();
      this.#unsynced = [];
      this.#unsyncedSince = undefined;
      try {
        await this.#syncFiles(writers);
      } catch (error) {
        this.#fail(error, waiters);
        break;
      }
      this.#syncs++;
      this.#syncMs += this.#options.clock.monotonic() - startedAt;
      for (const writer of writers) this.#settleWriter(writer);
      const grew = end.nextSequence > this.#visible.nextSequence;
      if (grew) this.#visible = end;
      for (const { resolve, firstSequence } of waiters) resolve(firstSequence);
      if (grew) this.#options.events.onVisible(since ?? this.#options.time());
    } while (this.#unsynced.length > 0 && this.#failure === undefined);
    // In the same breath as the look at the waiters: whoever comes next starts a new loop.
    this.#isSyncing = false;
  }

  /** Segments in order, then the names, then the cursor, which speaks of both. */
  async #syncFiles(writers: readonly SegmentWriter[]): Promise<void> {
    const { fileSystem, directory } = this.#options;
    const syncsDirectory = this.#isDirectoryDirty;
    this.#isDirectoryDirty = false;
    for (const writer of writers) await writer.sync();
    if (syncsDirectory) await fileSystem.syncDirectory(directory);
    await this.#cursor.sync();
  }

  /** After a sync: a segment that is no longer written to, and has nothing left to sync, is closed. */
  #settleWriter(writer: SegmentWriter): void {
    if (writer.isDirty) return;
    this.#dirtyWriters.delete(writer);
    if (writer !== this.#writer) writer.close();
  }

  /** With an interval, sees to it that what is dirty now is synced in time. Armed only while there is something. */
  #armSyncTimer(): void {
    const { fsync, clock } = this.#options;
    if (typeof fsync !== "number" || this.#cancelSyncTimer !== undefined) return;
    this.#cancelSyncTimer = clock.setTimer(() => {
      this.#cancelSyncTimer = undefined;
      if (this.#failure === undefined && !this.#isClosed) this.#startSync();
    }, fsync);
  }

  /** Where the consumer is. */
  get commitState(): CommitState {
    return this.#commit;
  }

  /**
   * Makes a commit state durable: in the operating system, and with `fsync: "always"` on stable storage. If it throws
   * or rejects, the state before stands, in memory and on disk.
   */
  async saveCommit(state: CommitState): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#cursor.write({ lastSequence: this.#visible.nextSequence - 1, ...state });
    if (this.#options.fsync === "always") {
      try {
        await this.#cursor.sync();
      } catch (error) {
        throw this.#fail(error);
      }
    } else {
      this.#armSyncTimer();
    }
    this.#commit = state;
    this.#dropCommitted();
  }

  /** Starts to remove segments that hold nothing but committed or dropped records. */
  #dropCommitted(): void {
    if (this.#dropping !== undefined || this.#failure !== undefined) return;
    if (this.#droppable(this.#commit).length === 0) return;
    this.#dropping = this.#dropLoop().finally(() => this.#dropping = undefined);
  }

  /** The segments that may go once `state` is durable; never the one that is written to. */
  #droppable(state: CommitState): Segment[] {
    const { committed, resume, boundaries } = state;
    const inFlight = boundaries.at(-1)?.nextSequence ?? committed.nextSequence;
    const droppable: Segment[] = [];
    for (let i = 0; i + 1 < this.#segments.length; i++) {
      const first = this.#segments[i].firstSequence;
      const next = this.#segments[i + 1].firstSequence;
      if (first >= resume.nextSequence) break;
      const isDropped = first >= inFlight && next <= resume.nextSequence;
      if (next <= committed.nextSequence || isDropped) droppable.push(this.#segments[i]);
    }
    return droppable;
  }

  /** Makes the cursor durable, then removes what it has done with; again, while there is more. */
  async #dropLoop(): Promise<void> {
    const { fileSystem, directory, events } = this.#options;
    for (;;) {
      const droppable = this.#droppable(this.#commit);
      if (droppable.length === 0 || this.#isClosed || this.#failure !== undefined) return;
      try {
        await this.#cursor.sync();
      } catch (error) {
        this.#fail(error);
        return;
      }
      for (const segment of droppable) {
        try {
          this.#diskBytes -= removeFile(fileSystem, join(directory, segment.name));
        } catch (error) {
          if (error instanceof FileSystemError) events.onWarning(error);
          // Tried again with the next commit.
          return;
        }
        this.#segments.splice(this.#segments.indexOf(segment), 1);
        this.#forgetWriter(segment.name);
        events.onSegment("segment-removed", segment.name);
      }
    }
  }

  /** A segment that is gone needs no sync; one that is being synced is let go of after it. */
  #forgetWriter(name: string): void {
    if (this.#isSyncing) return;
    for (const writer of this.#dirtyWriters) {
      if (writer.name !== name) continue;
      this.#dirtyWriters.delete(writer);
      writer.close();
    }
  }

  /** Ends everything with `error` as the first cause; `taken` are waiters of a sync under way. Returns what to throw. */
  #fail(error: unknown, taken: readonly Waiter[] = []): BufferFailedError {
    if (this.#failure !== undefined) return this.#failure;
    const { directory, fsync, events } = this.#options;
    const failure = new BufferFailedError(directory, error);
    this.#failure = failure;
    this.#cancelSyncTimer?.();
    if (fsync === "always") this.#cutUnacknowledged();
    const waiters = [...taken, ...this.#unsynced];
    this.#unsynced = [];
    for (const waiter of waiters) waiter.reject(failure);
    events.onRejected(waiters.length);
    events.onFailed(failure);
    return failure;
  }

  /**
   * What was written but not synced is about to be rejected: it must not be there after a restart. Best effort, because
   * the disk has just refused to work.
   */
  #cutUnacknowledged(): void {
    for (const writer of this.#dirtyWriters) {
      try {
        writer.cutUnsynced();
      } catch {
        // The failure that is reported already is the one that counts.
      }
    }
  }

  /** Writes and syncs what is left (with `fsync: "never"` only writes), then frees everything. */
  async close(): Promise<void> {
    let failure: unknown;
    try {
      this.writeAccepted();
      if (this.#failure === undefined) {
        this.#cursor.write({ lastSequence: this.#written.nextSequence - 1, ...this.#commit });
        if (this.#options.fsync !== "never") await this.sync();
      }
    } catch (error) {
      failure = error;
    }
    this.#cancelSyncTimer?.();
    await this.#syncing;
    await this.#dropping;
    this.#isClosed = true;
    for (const writer of [...this.#dirtyWriters, this.#writer]) writer.close();
    this.#cursor.close();
    this.#options.lock.release();
    if (failure !== undefined) throw failure;
  }
}

/** Creates the segment that begins at `end`. */
function createSegment(options: LogOptions, end: LogPosition): SegmentWriter {
  const { fileSystem, directory, clock, recovered, codecVersion, recordLimit } = options;
  return SegmentWriter.create(fileSystem, directory, {
    codecVersion,
    uuid: recovered.uuid,
    firstSequence: end.nextSequence,
    payloadBytesBefore: end.payloadBytes,
    logBytesBefore: end.logBytes,
    createdAt: Math.max(0, Math.floor(clock.now())),
    salt: crypto.getRandomValues(new Uint32Array(1))[0],
    recordLimit,
  });
}

/** Removes a file and returns how long it was; one that is gone already is as good as removed. */
function removeFile(fileSystem: FileSystem, path: string): number {
  try {
    const handle = fileSystem.open(path, "read");
    const size = handle.size();
    handle.close();
    fileSystem.remove(path);
    return size;
  } catch (error) {
    if (error instanceof FileSystemError && error.errno === "ENOENT") return 0;
    throw error;
  }
}
