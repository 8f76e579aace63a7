/**
 * The public contract of every buffer: {@linkcode RecordBuffer}, {@linkcode Batch}, and the options of their methods.
 * Options of `open()` are in `options.ts`, figures and events in `events.ts`.
 *
 * Types and the batch itself; the machines behind them are `file_buffer.ts` and `memory_buffer.ts`. What is
 * promised here holds for each of them, unless it says "on disk".
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { Batch } from "./batch.ts";
import type { BufferEvent, BufferStats, RecoveryReport } from "./events.ts";

/**
 * Options of {@linkcode RecordBuffer.put}.
 *
 * @example Wait for space, but not for ever
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ whenFull: "block", maxBacklogBytes: 50 });
 * await buffer.put("x".repeat(30));
 * const request = new AbortController(); // or AbortSignal.timeout(1_000)
 * const put = buffer.put("y".repeat(30), { signal: request.signal });
 * request.abort(new Error("the client has gone"));
 * await assertRejects(() => put, Error, "the client has gone");
 * assertEquals(buffer.stats().pendingRecords, 1); // nothing is left of it
 * await buffer.close();
 * ```
 */
export interface PutOptions {
  /** Gives up waiting for space (`whenFull: "block"`): the put rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Options of {@linkcode RecordBuffer.emit}.
 *
 * @example Several batches in flight
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * await buffer.putMany(["a", "b", "c", "d", "e"]);
 * const first = await buffer.emit();
 * const second = await buffer.emit({ after: first });
 * const third = await buffer.emit({ after: second });
 * assertEquals([...first, ...second, ...third], ["a", "b", "c", "d", "e"]);
 *
 * // They may be sent in any order, but are committed in this one.
 * for (const batch of [first, second, third]) await buffer.commit(batch);
 * assertEquals(buffer.stats().pendingRecords, 0);
 * await buffer.close();
 * ```
 */
export interface EmitOptions<T> {
  /**
   * A batch in flight: the one behind it is handed over, so that several are in flight at a time, 16 at most. If it is
   * committed by now, the one behind it is the oldest.
   */
  readonly after?: Batch<T> | undefined;
}

/**
 * Options of {@linkcode RecordBuffer.waitUntilDue}.
 *
 * @example Wait until something is to be sent, or somebody wants to stop
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * assertEquals(await buffer.waitUntilDue({ flush: true }), false); // empty: there is nothing to wait for
 * await buffer.put("a");
 * assertEquals(await buffer.waitUntilDue({ flush: true }), true); // not due, but taken for it
 *
 * const stop = new AbortController();
 * const waiting = buffer.waitUntilDue({ signal: stop.signal }); // for a second record, or five seconds
 * stop.abort(new Error("shutting down"));
 * await assertRejects(() => waiting, Error, "shutting down");
 * await buffer.close();
 * ```
 */
export interface WaitOptions<T> extends EmitOptions<T> {
  /** Ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Takes a batch that is not due for due, and doesn't wait for one if there is no record.
   *
   * @default {false}
   */
  readonly flush?: boolean;
}

/**
 * Options of {@linkcode RecordBuffer.batches}.
 *
 * @example Work through what is there, then go on with something else
 * ```ts
 * import { type BatchesOptions, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<number>({ maxRecords: 100 });
 * for (let n = 1; n <= 250; n++) buffer.put(n);
 * const options: BatchesOptions = { flush: true, signal: AbortSignal.timeout(10_000) };
 * const lengths: number[] = [];
 * for await (const batch of buffer.batches(options)) {
 *   lengths.push(batch.length);
 *   await buffer.commit(batch);
 * }
 * assertEquals(lengths, [100, 100, 50]); // it ended by itself, when the buffer was empty
 * await buffer.close();
 * ```
 */
export interface BatchesOptions {
  /** Ends the wait for the next batch: the iteration rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Takes what is there, also a batch that is not due, and ends when the buffer is empty.
   *
   * @default {false}
   */
  readonly flush?: boolean;
}

/**
 * A crash-safe queue of records that gives them out in batches. All methods may be called concurrently; puts take
 * effect in call order. Every method rejects with BufferClosedError after `close()`, and with BufferFailedError once
 * the buffer has failed.
 *
 * @example A function that doesn't care where records are kept
 * ```ts
 * import { MemoryBuffer, type RecordBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * async function drain<T>(buffer: RecordBuffer<T>, send: (records: readonly T[]) => void): Promise<number> {
 *   let count = 0;
 *   for await (const batch of buffer.batches({ flush: true })) {
 *     send(batch.records);
 *     await buffer.commit(batch); // behind send(): if that throws, the batch comes again
 *     count += batch.length;
 *   }
 *   return count;
 * }
 *
 * const buffer = await MemoryBuffer.open<string>(); // a FileBuffer in the program
 * await buffer.putMany(["a", "b", "c"]);
 * const sent: string[] = [];
 * assertEquals(await drain(buffer, (records) => sent.push(...records)), 3);
 * assertEquals(sent, ["a", "b", "c"]);
 * await buffer.close();
 * ```
 */
export interface RecordBuffer<T> extends AsyncDisposable {
  /** What `open()` found and did. */
  readonly recovery: RecoveryReport;
  /**
   * Accepts one record. It is encoded and takes its sequence at the call; the promise resolves when it is persisted as
   * durably as the buffer promises. A rejected put leaves nothing behind.
   *
   * @returns Its sequence: 1 for the very first record of a buffer, never reused.
   * @throws {CodecError} if the record can't be encoded.
   * @throws {RecordTooLargeError} if its payload is larger than `maxRecordBytes` or `maxBytes`.
   * @throws {BufferFullError} if the backlog is full and `whenFull` is `"reject"`, or if it could never fit.
   * @throws {NoSpaceError} if the disk is full; puts work again once there is space.
   */
  put(record: T, options?: PutOptions): Promise<number>;
  /**
   * Accepts records as one unit: all of them are accepted or none, also after a crash.
   *
   * @returns The sequences of the first and of the last one; an empty array is a RangeError.
   * @throws As `put()`; an error about one record states its `index`.
   */
  putMany(records: readonly T[], options?: PutOptions): Promise<SequenceRange>;
  /**
   * Whether a batch is due: one is in flight, or the next is full or old enough. No I/O.
   */
  shouldEmit(): boolean;
  /**
   * Hands over the oldest batch that is not committed; if none is full, the records that are there. Until it is
   * committed, every call returns that batch again: same id, same records, also after a crash.
   *
   * With `after`, the batch behind that one: several can be in flight, and come again in the same order. Behind records that
   * `whenFull: "drop-oldest"` has dropped meanwhile none is handed over before all that are in flight are committed.
   *
   * @throws {BufferEmptyError} if there is no uncommitted record, or no batch may be handed over behind `after` now.
   * @throws {BatchMismatchError} if `after` is not in flight and never was.
   * @throws {DamagedLogError} if the next record is damaged and `onDamage` is `"fail"`.
   */
  emit(options?: EmitOptions<T>): Promise<Batch<T>>;
  /**
   * Drops the oldest batch in flight for good.
   *
   * @param batch The batch that `emit()` gave; without it, whichever is the oldest in flight.
   * @throws {BatchMismatchError} if `batch` is not the oldest in flight, or none is.
   */
  commit(batch?: Batch<T>): Promise<void>;
  /**
   * Waits for a batch to be due: full, old enough, or handed over before. It is woken by what it waits for and never
   * looks twice for nothing. While it waits for records to grow old, it keeps the process alive.
   *
   * @returns True when the batch that `emit()` would give is due; false when the buffer is closed, or with `flush` when it is
   * empty.
   * @throws {BatchMismatchError} if `after` is not in flight and never was.
   */
  waitUntilDue(options?: WaitOptions<T>): Promise<boolean>;
  /**
   * Waits for due batches and yields them, one after the other; a batch that was not committed when the next is asked
   * for is yielded again. Ends when the buffer is closed.
   */
  batches(options?: BatchesOptions): AsyncIterableIterator<Batch<T>>;
  /**
   * A stream that puts what is written to it, waiting for space when the backlog is full. Closing it flushes; the
   * buffer stays open.
   */
  writable(): WritableStream<T>;
  /** Resolves when everything put so far is on stable storage, whatever the setting `fsync`. */
  flush(): Promise<void>;
  /** Drops every record, in flight or not. Sequences go on. */
  clear(): Promise<void>;
  /** The figures of now, without I/O. */
  stats(): BufferStats;
  /**
   * Has `listener` told what happens from now on, besides the option `onEvent`. It is called synchronously and must be
   * quick; an error that it throws is ignored.
   *
   * @returns Ends it.
   */
  subscribe(listener: (event: BufferEvent) => void): () => void;
  /** Finishes pending puts, persists, and frees everything. A second call waits for the first. */
  close(): Promise<void>;
  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void>;
}
