/**
 * The store below a buffer: it keeps records in order. Types only.
 *
 * Two implementations: the log on disk (`file_store.ts`) and an array (`memory_store.ts`). A log that is elsewhere fits as
 * well: whatever may need an answer from there may give a promise, and everything else is known here. What may give a
 * promise need not: an answer without one costs no turn of the microtask queue, which is what makes small batches cheap.
 *
 * A store is one object with three roles: it appends, it reads, and it keeps the commit state. All positions are
 * `LogPosition`s, so that what is pending is always a difference of two of them.
 *
 * @module
 */

import type { Codec } from "../base/codec.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import type { BufferFailedError } from "../errors/mod.ts";
import type { CommitState, LogPosition } from "../wal/position.ts";
import type { ReadLimits, ReadResult } from "../wal/reader/log_view.ts";
import type { BufferStats, RecoveryReport } from "./events.ts";

/** Collects records before they are accepted. All of it is done within the call. */
export interface RecordBuilder {
  /** Adds a record; returns its payload's length. Throws what the codec throws, and then nothing of the record stays. */
  add<T>(codec: Codec<unknown, T>, record: T): number;
  /** Begins something that may have to be undone. */
  savepoint(): void;
  /** Takes back what was added since `savepoint`. */
  rollback(): void;
  /** Takes back what was added since `savepoint`, and returns copies of the payloads. */
  withdraw(): Uint8Array[];
  /** From here to `endGroup` everything added is one unit: all of it is there after a crash, or none. */
  beginGroup(): void;
  /** Ends the unit. */
  endGroup(): void;
}

/** The end that records are added to. */
export interface RecordAppender {
  /** Records are added here, and become part of the log by `accept`. */
  readonly builder: RecordBuilder;
  /** Bytes of log accepted so far, and of what was added since. */
  readonly acceptedLogBytes: number;
  /**
   * Accepts the `count` records added last. Resolves with the first one's sequence when they are persisted; rejects when they
   * are not, and then they are nowhere. Order is call order.
   */
  accept(count: number): Promise<number>;
  /**
   * Starts writing what was accepted now, not at the end of the tick.
   *
   * @returns Behind the last record accepted by now; all before it are acknowledged or rejected when `awaitAcknowledged`
   * resolves.
   */
  writeAccepted(): LogPosition;
  /** Resolves when everything written by now is acknowledged, or has been rejected. */
  awaitAcknowledged(): MaybePromise<void>;
}

/** Reads from any position, at any time; the answer doesn't depend on what was read before. */
export interface RecordReader {
  /** Reads acknowledged records from a position on: at least one, however long, if there is one. */
  read(from: LogPosition, limits: ReadLimits): MaybePromise<ReadResult>;
  /**
   * When the record at a position was put, in the buffer's own time; `undefined` if there is none, or it can't be told. Never
   * throws or rejects.
   */
  putTimeAt(position: LogPosition): MaybePromise<number | undefined>;
  /** When the record with `sequence` was put, in the buffer's own time, if `putTime` is stored. */
  timeOf(sequence: number, putTime: number): number;
  /** How many sequences from `next` on, and below `before`, are known to be missing. */
  missingFrom(next: number, before?: number): number;
}

/** Figures that only a store knows. */
export type StoreFigures = Pick<BufferStats, "syncs" | "syncMs" | "segments" | "diskBytes" | "quarantinedBytes">;

/** Keeps records for a buffer. */
export interface RecordStore {
  /** The buffer's uuid. */
  readonly uuid: string;
  /** What opening it found. */
  readonly recovery: RecoveryReport;
  readonly appender: RecordAppender;
  readonly reader: RecordReader;
  /** What made the store fail, if it has: from then on it does nothing but close. */
  readonly health: { readonly failure: BufferFailedError | undefined };
  /** The position after the last acknowledged record. */
  readonly ends: { readonly acknowledged: LogPosition };
  /** The commit state that was saved last. */
  readonly commitState: CommitState;
  /** The most bytes of log it can hold: positions also count what a power cut took. `Infinity` if that can't be. */
  readonly maxHeldLogBytes: number;
  /** Tells `events` what happens from now on. */
  listen(events: StoreEvents): void;
  /** Makes the records below a sequence as durable as the buffer promises, before they are handed over. */
  ensureDurable(next: number): MaybePromise<void>;
  /** Makes a commit state durable; if it throws or rejects, the state before stands. */
  saveCommit(state: CommitState): MaybePromise<void>;
  /** Resolves when everything accepted so far is on stable storage. */
  flush(): Promise<void>;
  /** Figures for `stats()`. */
  figures(): StoreFigures;
  /** Persists what is accepted and frees everything. */
  close(): Promise<void>;
}

/** A store that can do its work within a call. */
export interface BlockingStore extends RecordStore {
  /** Whether what is below it can sync within a call. */
  readonly canSyncBlocking: boolean;
  /** Whether it can do all that a put needs within a call. */
  readonly canPutBlocking: boolean;
  readonly appender: RecordAppender & {
    /** As `accept`, within the call: returns the first one's sequence, or throws, and then they are nowhere. */
    acceptBlocking(count: number): number;
  };
  /** As `flush`, within the call. */
  flushBlocking(): void;
}

/** What a store tells its buffer. */
export interface StoreEvents {
  /** More records were acknowledged; the first of them was put at `putTime`, in the buffer's own time. */
  readonly onVisible: (putTime: number) => void;
  /** This number of puts was rejected after they had been accepted. */
  readonly onRejected: (puts: number) => void;
  /** The store has failed. */
  readonly onFailed: (error: BufferFailedError) => void;
}
