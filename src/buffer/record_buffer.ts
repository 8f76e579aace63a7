/**
 * The contract of every buffer: {@linkcode RecordBuffer}, and the options of its methods. Options of `open()` are in
 * `options.ts`, events and stats in `events.ts`.
 *
 * Types only; `file_buffer.ts` and `memory_buffer.ts` implement them. What is promised here holds for both, unless it says
 * "on disk".
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { Batch } from "./batch.ts";
import type { BufferEvent, BufferStats, RecoveryReport } from "./events.ts";

/** Options of {@linkcode RecordBuffer.put} and {@linkcode RecordBuffer.putMany}. */
export interface PutOptions {
  /** Ends the wait for space: the put rejects with the signal's reason and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether the put waits for space when the backlog is full, instead of rejecting with `BufferFullError`. By default as
   * `whenFull` says; `"drop-oldest"` makes space in either case.
   *
   * @default {undefined}
   */
  readonly waits?: boolean | undefined;
}

/**
 * Options of {@linkcode RecordBuffer.emit}.
 *
 * @typeParam T The records of the buffer.
 */
export interface EmitOptions<T> {
  /**
   * A batch in flight: the one behind it is handed over, so that up to 16 are in flight at a time. If it has been committed
   * meanwhile, the one behind it is the oldest.
   */
  readonly after?: Batch<T> | undefined;
  /**
   * What becomes of records that are older than `maxRecordAgeMs`: they are dropped, or handed over with the others, and
   * {@linkcode Batch.expiredRecords} counts them. A batch that was handed over before comes again as it was.
   *
   * @default {"drop"}
   */
  readonly expired?: "drop" | "keep" | undefined;
}

/**
 * Options of {@linkcode RecordBuffer.waitUntilDue}.
 *
 * @typeParam T The records of the buffer.
 */
export interface WaitOptions<T> extends Pick<EmitOptions<T>, "after"> {
  /** Ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Takes a batch as due as soon as there is a record for it, and doesn't wait when there is none.
   *
   * @default {false}
   */
  readonly flush?: boolean | undefined;
}

/** Options of {@linkcode RecordBuffer.batches}. */
export interface BatchesOptions {
  /** Ends the wait for the next batch: the iteration rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Yields what is there, also a batch that isn't due, and ends when the buffer is empty.
   *
   * @default {false}
   */
  readonly flush?: boolean | undefined;
  /**
   * The pauses before a batch that the loop has not committed is yielded again.
   *
   * @default {{ firstDelayMs: 100, maxDelayMs: 30_000 }}
   */
  readonly redelivery?: RedeliveryOptions | undefined;
}

/**
 * The pauses before {@linkcode RecordBuffer.batches} yields a batch again that the loop has not committed. Each is twice as
 * long as the one before, up to `maxDelayMs`; the next batch begins with the first pause. They are timed by the buffer's
 * clock.
 */
export interface RedeliveryOptions {
  /**
   * The first pause, in milliseconds; 0 to 2^31 - 1. With 0 the batch comes again at once, every time.
   *
   * @default {100}
   */
  readonly firstDelayMs?: number | undefined;
  /**
   * The longest pause, in milliseconds; 0 to 2^31 - 1.
   *
   * @default {30_000}
   */
  readonly maxDelayMs?: number | undefined;
}

/**
 * A crash-safe queue of records that hands them over in batches. All methods may be called concurrently; puts take effect in
 * call order. Every method rejects with BufferClosedError after `close()`, and with BufferFailedError once the buffer has
 * failed.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 *
 * @example A function for any buffer
 * ```ts
 * import { MemoryBuffer, type RecordBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * async function drain<T>(buffer: RecordBuffer<T>, send: (records: readonly T[]) => void): Promise<number> {
 *   let count = 0;
 *   for await (const batch of buffer.batches({ flush: true })) {
 *     send(batch.records);
 *     await buffer.commit(batch); // after send(): if that throws, the batch comes again
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
export interface RecordBuffer<T, In = T> extends AsyncDisposable {
  /** What `open()` found and did. */
  readonly recovery: RecoveryReport;

  /**
   * Accepts one record. It is encoded and takes its sequence at the call; the promise resolves when it is persisted, as
   * durably as the buffer promises. A rejected put leaves nothing behind.
   *
   * @param record What to keep. Later changes to the object don't matter.
   * @param options A signal that ends the wait for space.
   * @returns Its sequence: 1 for the very first record of a buffer, never reused.
   * @throws {CodecError} if the record can't be encoded.
   * @throws {RecordTooLargeError} if its payload is larger than `maxRecordBytes` or `maxBytes`.
   * @throws {BufferFullError} if the backlog is full and `whenFull` is `"reject"`, or if the record could never fit.
   * @throws {NoSpaceError} if the disk is full; puts work again once there is space.
   *
   * @example Wait for space, but not for ever
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>({ whenFull: "block", maxBacklogBytes: 50 });
   * assertEquals(await buffer.put("x".repeat(30)), 1);
   * const request = new AbortController(); // or AbortSignal.timeout(1_000)
   * const put = buffer.put("y".repeat(30), { signal: request.signal });
   * request.abort(new Error("the client has gone"));
   * await assertRejects(() => put, Error, "the client has gone");
   * assertEquals(buffer.stats().pendingRecords, 1); // the rejected put left nothing behind
   * await buffer.close();
   * ```
   */
  put(record: In, options?: PutOptions): Promise<number>;

  /**
   * Accepts records as one unit: all of them are accepted or none, also after a crash.
   *
   * @param records What to keep, in order; at least one.
   * @param options A signal that ends the wait for space.
   * @returns The sequences of the first and of the last one.
   * @throws {RangeError} if there is no record.
   * @throws {SluiceError} as `put()`; an error about one record states its `index`.
   *
   * @example The lines of one order stay together
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<{ order: string; article: string }>();
   * const lines = ["pen", "paper"].map((article) => ({ order: "A-1", article }));
   * assertEquals(await buffer.putMany(lines), { first: 1, last: 2 });
   * await buffer.close();
   * ```
   */
  putMany(records: readonly In[], options?: PutOptions): Promise<SequenceRange>;

  /**
   * Says whether a batch is due: one is in flight, or the next one is full or old enough. No I/O.
   *
   * @returns True if `emit()` would give such a batch.
   *
   * @example Emit only full batches
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
   * await buffer.put("a");
   * assertEquals(buffer.shouldEmit(), false);
   * await buffer.put("b");
   * assertEquals(buffer.shouldEmit(), true);
   * await buffer.close();
   * ```
   */
  shouldEmit(): boolean;

  /**
   * Hands over the oldest uncommitted batch: a full one, or if none is full, the records that are there. Until it is
   * committed, every call returns that batch again: same id, same records, also after a crash.
   *
   * With `after`, hands over the batch behind that one: several can be in flight, and come again in the same order.
   *
   * @param options The batch in flight behind which the next one is wanted.
   * @returns The batch. Its end is durable before it is handed over; later puts never join it.
   * @throws {BufferEmptyError} if every record is committed.
   * @throws {NoBatchBehindError} if a batch is in flight and none can be handed over behind `after` yet; its `reason` says
   * what to wait for.
   * @throws {BatchMismatchError} if `after` is not in flight and never was.
   * @throws {DamagedLogError} if the next record is damaged and `onDamage` is `"fail"`.
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
  emit(options?: EmitOptions<T>): Promise<Batch<T>>;

  /**
   * Drops the oldest batch in flight for good. Resolves when that is persisted; works on a full disk.
   *
   * @param batch The batch that `emit()` gave; without it, the oldest in flight.
   * @throws {BatchMismatchError} if `batch` is not the oldest in flight, or none is.
   *
   * @example Commit what the target has taken
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>({ maxRecords: 1 });
   * await buffer.putMany(["a", "b"]);
   * const batch = await buffer.emit();
   * // ... send it; until the commit, emit() gives it again
   * assertEquals((await buffer.emit()).id, batch.id);
   * await buffer.commit(batch);
   * assertEquals((await buffer.emit()).records, ["b"]);
   * await buffer.close();
   * ```
   */
  commit(batch?: Batch<T>): Promise<void>;

  /**
   * Waits for a batch to be due: full, old enough, or handed over before. Event-driven; never polls. While it waits for
   * records to grow old, it keeps the process alive.
   *
   * @param options What to wait for, and a signal that ends the wait.
   * @returns True when the batch that `emit()` would give is due. False when the buffer is closed, or with `flush` when there
   * is no record.
   * @throws {BatchMismatchError} if `after` is not in flight and never was.
   *
   * @example Wait until there is something to send, or the program ends
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
   * assertEquals(await buffer.waitUntilDue({ flush: true }), false); // empty: there is nothing to wait for
   * await buffer.put("a");
   * assertEquals(await buffer.waitUntilDue({ flush: true }), true);
   *
   * const stop = new AbortController();
   * const waiting = buffer.waitUntilDue({ signal: stop.signal }); // for a second record, or five seconds
   * stop.abort(new Error("shutting down"));
   * await assertRejects(() => waiting, Error, "shutting down");
   * await buffer.close();
   * ```
   */
  waitUntilDue(options?: WaitOptions<T>): Promise<boolean>;

  /**
   * Waits for due batches and yields them, one after the other. Ends when the buffer is closed.
   *
   * A batch that the loop's body has not committed is yielded again, after a pause: 100 ms the first time, twice as long
   * each time after, up to 30 seconds (`redelivery`). A commit, `clear()`, `close()` or the signal ends the pause. What an
   * earlier loop or process has left uncommitted is yielded at once.
   *
   * @param options What to yield, the pauses, and a signal that ends the iteration.
   * @returns An iterator for `for await`. It holds no batch: leave the loop at any time.
   * @throws {TypeError} if an option of `redelivery` has the wrong type, or is unknown.
   * @throws {RangeError} if one is out of range.
   *
   * @example Deliver everything that is there, then go on with something else
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<number>({ maxRecords: 100 });
   * for (let n = 1; n <= 250; n++) buffer.put(n);
   * const lengths: number[] = [];
   * for await (const batch of buffer.batches({ flush: true, signal: AbortSignal.timeout(10_000) })) {
   *   lengths.push(batch.length);
   *   await buffer.commit(batch);
   * }
   * assertEquals(lengths, [100, 100, 50]);
   * await buffer.close();
   * ```
   *
   * @example A batch comes again until it is committed
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * await buffer.put("a");
   * const attempts: boolean[] = [];
   * for await (const batch of buffer.batches({ flush: true, redelivery: { firstDelayMs: 10 } })) {
   *   attempts.push(batch.redelivered);
   *   if (attempts.length < 3) continue; // the target is away: again after 10 ms, then after 20
   *   await buffer.commit(batch);
   * }
   * assertEquals(attempts, [false, true, true]);
   * await buffer.close();
   * ```
   */
  batches(options?: BatchesOptions): AsyncIterableIterator<Batch<T>>;

  /**
   * Makes a stream that puts what is written to it, and waits for space when the backlog is full. Closing it flushes; the
   * buffer stays open.
   *
   * @returns The stream.
   *
   * @example Pipe into a buffer
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * await ReadableStream.from(["a", "b"]).pipeTo(buffer.writable());
   * assertEquals((await buffer.emit()).records, ["a", "b"]);
   * await buffer.close();
   * ```
   */
  writable(): WritableStream<In>;

  /**
   * Resolves when everything put so far is on stable storage, whatever the option `fsync` says.
   *
   * @example Survive a power cut from here on
   * ```ts
   * import { FileBuffer } from "@sluice/buffer";
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem, fsync: "never", statusMs: 0 });
   * await buffer.put("a");
   * await buffer.flush();
   *
   * const again = await FileBuffer.open<string>({ path: "/b", fileSystem: fileSystem.crash({ seed: 1 }) });
   * assertEquals((await again.emit()).records, ["a"]);
   * await again.close();
   * ```
   */
  flush(): Promise<void>;

  /**
   * Drops every record, in flight or not. Sequences go on.
   *
   * @example Begin with an empty buffer
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * await buffer.putMany(["a", "b"]);
   * await buffer.clear();
   * assertEquals([buffer.stats().pendingRecords, await buffer.put("c")], [0, 3]);
   * await buffer.close();
   * ```
   */
  clear(): Promise<void>;

  /**
   * Counts without I/O.
   *
   * @returns A plain object that doesn't change any more.
   *
   * @example Is the target away?
   * ```ts
   * import { type BufferStats, MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * // Stats from two moments, further apart than a batch takes to grow old and to be sent.
   * const isStuck = (before: BufferStats, now: BufferStats) =>
   *   now.pendingRecords > 0 && now.batchesCommitted === before.batchesCommitted;
   *
   * const buffer = await MemoryBuffer.open<string>();
   * const first = buffer.stats();
   * await buffer.put("waits");
   * const second = buffer.stats();
   * assertEquals(isStuck(first, second), true); // nothing was delivered in between
   *
   * await buffer.commit(await buffer.emit());
   * await buffer.put("the next one");
   * assertEquals(isStuck(second, buffer.stats()), false);
   * await buffer.close();
   * ```
   */
  stats(): BufferStats;

  /**
   * Calls `listener` for every event from now on, in addition to the option `onEvent`.
   *
   * @param listener Called synchronously, so it must be quick. What it throws, or rejects with, is an event: `listener-failed`.
   * @returns A function that ends it.
   * @throws {TypeError} if `listener` is no function.
   *
   * @example A line of a log for what an operator must know; the rest is for metrics
   * ```ts
   * import { type BufferEvent, MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * function lineOf(event: BufferEvent): string | undefined {
   *   switch (event.type) {
   *     case "damage-found":
   *       return `lost sequences ${event.region.missing?.first} to ${event.region.missing?.last}`;
   *     case "records-dropped":
   *       return `dropped ${event.records} records, from sequence ${event.sequences.first} on`;
   *     case "backlog-filled":
   *       return `full with ${event.backlogBytes} bytes`;
   *     case "listener-failed":
   *       return `a listener failed at ${event.at}: ${event.error}`;
   *     case "warned":
   *     case "failed":
   *     case "reserve-used":
   *       return `${event.type}: ${event.error.message}`;
   *     case "recovered":
   *     case "reserve-restored":
   *     case "segment-created":
   *     case "segment-removed":
   *     case "synced":
   *       return undefined;
   *   }
   * }
   *
   * const lines: string[] = [];
   * const buffer = await MemoryBuffer.open<string>({ maxBacklogBytes: 50, whenFull: "drop-oldest" });
   * const unsubscribe = buffer.subscribe((event) => lines.push(lineOf(event) ?? ""));
   * await buffer.put("x".repeat(30));
   * await buffer.put("y".repeat(30));
   * assertEquals(lines, ["full with 36 bytes", "dropped 1 records, from sequence 1 on"]);
   * unsubscribe();
   * await buffer.close();
   * ```
   */
  subscribe(listener: (event: BufferEvent) => void): () => void;

  /**
   * Finishes pending puts, persists, and frees everything. Puts that wait for space are rejected. A second call waits for the
   * first. What isn't committed is there again at the next `open()`, on disk.
   *
   * @example Close at the end of a block
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertRejects } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>(); // or `await using`, which closes it at the end of the block
   * await buffer.put("a");
   * await buffer.close();
   * await assertRejects(() => buffer.put("b"), Error, "the buffer is closed");
   * ```
   */
  close(): Promise<void>;

  /** Same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
