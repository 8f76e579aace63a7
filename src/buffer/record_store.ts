/**
 * What stands below the machine that all buffers share: something that keeps records in order. Types only.
 *
 * Two implementations: the log on disk (`file_buffer.ts`) and an array (`memory_buffer.ts`). All positions
 * are `LogPosition`s, so that what is pending is always a difference of two of them.
 *
 * @module
 */

import type { Codec } from "../base/codec.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import type { BufferFailedError } from "../errors/mod.ts";
import type { CommitState, LogPosition } from "../wal/position.ts";
import type { ReadBatch, ReadLimits } from "../wal/reader/log_view.ts";
import type { RecoveryReport } from "./events.ts";

/** Figures that only a store knows. */
export interface StoreFigures {
  readonly syncs: number;
  readonly syncMs: number;
  readonly segments: number;
  readonly diskBytes: number;
  readonly quarantinedBytes: number;
}

/** Keeps records for a buffer. */
export interface RecordStore {
  /** The buffer's uuid. */
  readonly uuid: string;
  /** Says whom to tell what happens. */
  listen(events: StoreEvents): void;
  /** What opening it found. */
  readonly recovery: RecoveryReport;
  /** What made it fail, if it has. */
  readonly failure: BufferFailedError | undefined;
  /** Behind the last acknowledged record. */
  readonly end: LogPosition;
  /** Bytes of log accepted so far, those not yet acknowledged included. */
  readonly acceptedLogBytes: number;
  /** The commit state that was saved last. */
  readonly commitState: CommitState;
  /** How many sequences from `next` on, and below `before`, are known to be missing. */
  missingFrom(next: number, before?: number): number;
  /** Adds a record to what is to be accepted next; returns its payload's length. Throws what the codec throws. */
  add<T>(codec: Codec<T>, record: T): number;
  /** Begins something that may have to be undone. */
  savepoint(): void;
  /** Takes back what was added since `begin`. */
  rollback(): void;
  /** Takes back what was added since `begin`, and returns the payloads. */
  withdraw(): Uint8Array[];
  /** From here to `endGroup` everything added is one unit. */
  beginGroup(): void;
  /** Ends the unit. */
  endGroup(): void;
  /** Accepts the `count` records added last; resolves with the first one's sequence when they are persisted. */
  accept(count: number): Promise<number>;
  /**
   * Gets what was accepted out of memory now, not at the end of the tick.
   *
   * @returns Behind the last record accepted by now; all before it will be acknowledged by `settle` at the latest.
   */
  writeAccepted(): LogPosition;
  /** Resolves when everything written by now is acknowledged, or has been rejected; `undefined` if it is. */
  awaitAcknowledged(): Promise<void> | undefined;
  /** Where `read` goes on. */
  readonly position: LogPosition;
  /** Sets where `read` goes on. */
  seek(position: LogPosition): void;
  /** Reads the records that follow; without a promise if it needs no wait. */
  read(limits: ReadLimits): MaybePromise<ReadBatch | undefined>;
  /** When the next record was put, `undefined` if there is none or it can't be told. */
  nextPutTime(): number | undefined;
  /**
   * Sees to it that the records below a sequence are as durable as the buffer promises, before they are handed over;
   * `undefined` if they are.
   */
  ensureDurable(next: number): Promise<void> | undefined;
  /** Makes a commit state durable; if it throws or rejects, the state before stands. `undefined` if it is saved. */
  saveCommit(state: CommitState): Promise<void> | undefined;
  /** Resolves when everything accepted so far is on stable storage. */
  flush(): Promise<void>;
  /** Figures for `stats()`. */
  figures(): StoreFigures;
  /** Persists what is accepted and frees everything. */
  close(): Promise<void>;
}

/** What a store tells its buffer. */
export interface StoreEvents {
  /** More records were acknowledged; the first of them was put at `putTime`. */
  readonly onVisible: (putTime: number) => void;
  /** So many puts were rejected after they had been accepted. */
  readonly onRejected: (puts: number) => void;
  /** The store has failed. */
  readonly onFailed: (error: BufferFailedError) => void;
}
