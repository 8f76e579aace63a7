/**
 * `Producer`: put records, and know that they arrive.
 *
 * A loop takes due batches from a buffer, sends them, and commits those that the target has. It keeps nothing of its
 * own that a crash could cost: what isn't committed is in the buffer, and comes again, in the same batches with the
 * same ids.
 *
 * Guarantees, and how:
 * - A batch is committed only when each of its records was taken by the target, or is persisted as a dead letter, and
 *   when all batches before it are committed.
 * - Nothing polls: the loop is woken by what it waits for (records, age, an answer, the end of a backoff, `flush()`,
 *   `close()`). While records wait to be delivered it keeps the process alive; with none to deliver it doesn't.
 * - It ends in two ways: closed by the user, or stopped by what it can't get past. Either way nothing new is begun,
 *   running attempts may finish for a limited time, and all waits are rejected.
 *
 * @module
 */

import { checkListener } from "../base/listeners.ts";
import type { SequenceRange } from "../base/sequences.ts";
import type { Batch } from "../buffer/batch.ts";
import type { PutOptions, RecordBuffer } from "../buffer/record_buffer.ts";
import {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  NoBatchBehindError,
  ProducerClosedError,
  ProducerStoppedError,
} from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import { Backoff } from "./backoff.ts";
import { BatchSender } from "./batch_sender.ts";
import { DeadLetters } from "./dead_letters.ts";
import { type ProducerEvent, type ProducerStats, Reporter } from "./events.ts";
import { FlushWaiters } from "./flush_waiters.ts";
import { type CloseOptions, type FlushOptions, type ProducerOptions, resolveProducerOptions } from "./options.ts";
import { PromiseTracker } from "./promise_tracker.ts";
import { mayPass } from "./retry.ts";
import { Shutdown } from "./shutdown.ts";

/** A batch between the buffer and the target. */
interface InFlightBatch<T> {
  readonly batch: Batch<T>;
  /** `"left"`: the producer ends before all of it is delivered. */
  state: "running" | "done" | "left";
}

/**
 * Delivers what is put into a buffer.
 *
 * @typeParam T The records of the buffer.
 *
 * @example Every record arrives, although the target fails now and then
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const target: string[] = [];
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * const producer = new Producer<string>({
 *   buffer,
 *   send(delivery, { attempt }) {
 *     if (attempt === 1) throw new Error("the target is away");
 *     target.push(...delivery.records);
 *   },
 *   retry: { firstDelayMs: 1 },
 * });
 * await producer.putMany(["a", "b", "c"]);
 * await producer.flush();
 * assertEquals(target, ["a", "b", "c"]);
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example Give up after three attempts
 * ```ts
 * import { type DeadLetter, MemoryBuffer, Producer, type RetryOptions } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const retry: RetryOptions = { firstDelayMs: 1, maxDelayMs: 5, maxAttempts: 3 };
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const dead = await MemoryBuffer.open<DeadLetter<string>>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send: () => {
 *     throw new Error("the disk of the target is full");
 *   },
 *   retry,
 *   deadLetters: dead,
 * });
 * await producer.put("a");
 * await producer.flush();
 * const [letter] = (await dead.emit()).records;
 * assertEquals([letter.record, letter.attempts, letter.error], ["a", 3, "the disk of the target is full"]);
 * await producer.close();
 * await buffer.close();
 * await dead.close();
 * ```
 *
 * @example Mend dead letters, and send them once more
 * ```ts
 * import { type DeadLetter, DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const target: string[] = [];
 * const buffer = await MemoryBuffer.open<string>();
 * const dead = await MemoryBuffer.open<DeadLetter<string>>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send({ records }) {
 *     const index = records.findIndex((record) => record.includes("\t"));
 *     const failed = [{ index, retryable: false, reason: "a tab" }];
 *     if (index >= 0) throw new DeliveryError({ reason: "a tab", failed });
 *     target.push(...records);
 *   },
 *   deadLetters: dead,
 * });
 * await producer.put("with\ta tab");
 * await producer.flush(); // the line goes on: the target has it, or the dead-letter buffer
 *
 * const letters = await dead.emit();
 * assertEquals(letters.records.map(({ sequence, error }) => [sequence, error]), [[1, "a tab"]]);
 * for (const { record } of letters) if (record) await producer.put(record.replace("\t", " "));
 * await dead.commit(letters); // behind the puts: a crash in between repeats, but loses nothing
 * await producer.flush();
 * assertEquals(target, ["with a tab"]);
 * await producer.close();
 * await buffer.close();
 * await dead.close();
 * ```
 */
export class Producer<T> implements AsyncDisposable {
  readonly #buffer: RecordBuffer<T>;
  readonly #maxInFlight: number;
  readonly #shutdown: Shutdown;
  readonly #reporter: Reporter;
  readonly #backoff: Backoff;
  readonly #sender: BatchSender<T>;
  readonly #flushWaiters: FlushWaiters;
  /** Puts that have not been answered yet. */
  readonly #puts = new PromiseTracker();
  /** In the order of the buffer. */
  readonly #inFlight: InFlightBatch<T>[] = [];
  readonly #loop: Promise<void>;
  #stopped: ProducerStoppedError | undefined;
  #closing: Promise<void> | undefined;
  #isClosed = false;
  /** Something has happened since the loop's last round. */
  #hasChanged = false;
  /** Ends the loop's wait. */
  #onChange: (() => void) | undefined;
  /** While a flush waits: nothing was left to take in the loop's last round. */
  #isDry = false;
  /** How often in a row the buffer could not do its part. */
  #bufferFailures = 0;

  /**
   * Makes a producer. It starts at once with what is in the buffer.
   *
   * @param options `buffer` and `send` are required; the others have defaults.
   * @throws {TypeError} if an option has the wrong type, or is unknown.
   * @throws {RangeError} if a number is out of range.
   */
  constructor(options: ProducerOptions<T>) {
    const resolved = resolveProducerOptions(options);
    const { buffer, clock, retry, random, timeoutMs, deadLetters } = resolved;
    const shutdown = new Shutdown(clock, resolved.closeTimeoutMs);
    const reporter = new Reporter(clock, resolved.onEvent);
    const backoff = new Backoff({ clock, random, retry, shutdown, reporter });
    const parts = { clock, timeoutMs, shutdown, backoff, reporter };
    this.#buffer = buffer;
    this.#maxInFlight = resolved.maxInFlight;
    this.#shutdown = shutdown;
    this.#reporter = reporter;
    this.#backoff = backoff;
    this.#sender = new BatchSender({
      ...parts,
      send: resolved.send,
      deadLetters: deadLetters && new DeadLetters(deadLetters, parts),
    });
    this.#flushWaiters = new FlushWaiters(() => buffer.stats().pendingRecords);
    this.#loop = this.#run().catch((error) => this.#stop(error)).then(() => this.#onEnd());
  }

  /**
   * Puts a record into the buffer, as {@linkcode RecordBuffer.put} does.
   *
   * @param record What to deliver.
   * @param options A signal that ends the wait for space.
   * @returns Its sequence, when it is persisted. That says nothing about the target yet: `flush()` does.
   * @throws {ProducerClosedError} after `close()`, also if it still waits for space then.
   * @throws {ProducerStoppedError} if the producer has stopped, also if it still waits for space then.
   * @throws {SluiceError} as the buffer's `put()`.
   *
   * @example The buffer is all that a put waits for
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const target: string[] = [];
   * const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 1_000 });
   * const producer = new Producer<string>({ buffer, send: ({ records }) => void target.push(...records) });
   * assertEquals(await producer.put("a"), 1); // persisted
   * assertEquals(target, []); // sent when the batch is full or a second old
   * await producer.flush();
   * assertEquals(target, ["a"]);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  put(record: T, options?: PutOptions): Promise<number> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return Promise.reject(refusal);
    return this.#puts.track(this.#buffer.put(record, { signal: this.#putSignal(options) }));
  }

  /**
   * Puts records as one unit, as {@linkcode RecordBuffer.putMany} does.
   *
   * @param records What to deliver, in order; at least one.
   * @param options A signal that ends the wait for space.
   * @returns The sequences of the first and of the last one, when all are persisted.
   * @throws {ProducerClosedError} after `close()`, also if it still waits for space then.
   * @throws {ProducerStoppedError} if the producer has stopped, also if it still waits for space then.
   * @throws {SluiceError} as the buffer's `putMany()`.
   *
   * @example All of them are delivered, or none was accepted
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const target: string[] = [];
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({ buffer, send: ({ records }) => void target.push(...records) });
   * assertEquals(await producer.putMany(["a", "b"]), { first: 1, last: 2 });
   * await producer.flush();
   * assertEquals(target, ["a", "b"]);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  putMany(records: readonly T[], options?: PutOptions): Promise<SequenceRange> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return Promise.reject(refusal);
    return this.#puts.track(this.#buffer.putMany(records, { signal: this.#putSignal(options) }));
  }

  /**
   * Makes a stream that puts what is written to it, and waits for space when the backlog is full. Closing it waits until
   * everything is delivered, as `flush()` does; the producer goes on.
   *
   * @returns The stream. It is errored when the producer stops or is closed.
   * @throws {ProducerClosedError} from a write, after `close()`.
   * @throws {ProducerStoppedError} from a write, if the producer has stopped.
   *
   * @example Pipe to a target
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const target: string[] = [];
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({ buffer, send: ({ records }) => void target.push(...records) });
   * await ReadableStream.from(["a", "b"]).pipeTo(producer.writable());
   * assertEquals(target, ["a", "b"]);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  writable(): WritableStream<T> {
    const { stopping } = this.#shutdown;
    const writer = this.#buffer.writable().getWriter();
    // A write reports the error.
    writer.closed.catch(() => {});
    const onEnding = (): void => {
      writer.abort(stopping.reason).catch(() => {});
    };
    stopping.addEventListener("abort", onEnding, { once: true });
    const detach = (): void => stopping.removeEventListener("abort", onEnding);
    return new WritableStream<T>({
      write: async (record) => {
        const refusal = this.#refusal("put");
        if (refusal !== undefined) throw refusal;
        await this.#puts.track(writer.write(record));
      },
      close: async () => {
        detach();
        await writer.close();
        await this.flush();
      },
      abort: async (reason) => {
        detach();
        await writer.abort(reason);
      },
    });
  }

  /**
   * Resolves when everything put so far is committed: the target has it, or the dead-letter buffer. What is in the
   * buffer from earlier is included. Doesn't wait for batches to become full or old.
   *
   * @param options A signal that ends the wait; what was put is delivered all the same.
   * @throws {ProducerStoppedError} if the producer has stopped, or stops before.
   * @throws {ProducerClosedError} if the producer is closed before.
   *
   * @example Wait for the target no longer than five milliseconds
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({
   *   buffer,
   *   send: () => {
   *     throw new Error("the target is away");
   *   },
   * });
   * await producer.put("safe all the same");
   * await assertRejects(() => producer.flush({ signal: AbortSignal.timeout(5) }), DOMException);
   * assertEquals(producer.stats().state, "running"); // it goes on trying
   * await producer.close();
   * assertEquals(buffer.stats().pendingRecords, 1);
   * await buffer.close();
   * ```
   */
  flush({ signal }: FlushOptions = {}): Promise<void> {
    const refusal = this.#refusal("flush");
    if (refusal !== undefined) return Promise.reject(refusal);
    const flushed = this.#flushWaiters.wait(this.#puts.all(), () => this.#look(), signal);
    // Puts that wait for space are answered only when what is there goes, due or not.
    this.#look();
    return flushed;
  }

  /**
   * Counts without I/O. What is in the backlog is in the buffer's `stats()`.
   *
   * @returns A plain object that doesn't change any more.
   *
   * @example What a health check says
   * ```ts
   * import { DeliveryError, MemoryBuffer, Producer, type ProducerStats } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * function healthOf({ state, backoffUntil, lastError }: ProducerStats): string {
   *   if (state === "stopped") return `broken: ${lastError?.message}`;
   *   return backoffUntil === undefined ? "well" : `the target is away: ${lastError?.message}`;
   * }
   *
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({
   *   buffer,
   *   send: () => {
   *     throw new DeliveryError({ reason: "status 403", retryable: false });
   *   },
   * });
   * assertEquals(healthOf(producer.stats()), "well");
   * await producer.put("a");
   * await producer.flush().catch(() => {});
   * assertEquals(healthOf(producer.stats()).startsWith("broken: "), true);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  stats(): ProducerStats {
    return {
      state: this.#state(),
      inFlightBatches: this.#inFlight.length,
      backoffUntil: this.#backoff.until,
      ...this.#reporter.counts,
    };
  }

  /**
   * Calls `listener` for every event from now on, in addition to the option `onEvent`.
   *
   * @param listener Called synchronously, so it must be quick; an error that it throws is ignored.
   * @returns A function that ends it.
   * @throws {TypeError} if `listener` is no function.
   *
   * @example The life of a delivery
   * ```ts
   * import { MemoryBuffer, Producer, type ProducerEvent } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * function lineOf(event: ProducerEvent): string {
   *   switch (event.type) {
   *     case "attempt-started":
   *       return `attempt ${event.attempt} at ${event.records} records`;
   *     case "attempt-failed":
   *       return `failed: ${event.error instanceof Error ? event.error.message : event.error}`;
   *     default:
   *       return event.type;
   *   }
   * }
   *
   * const lines: string[] = [];
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({
   *   buffer,
   *   send(_, { attempt }) {
   *     if (attempt === 1) throw new Error("no answer");
   *   },
   *   retry: { firstDelayMs: 0 }, // else there is a "backoff-started" in between
   *   onEvent: (event) => lines.push(lineOf(event)),
   * });
   * await producer.putMany(["a", "b"]);
   * await producer.flush();
   * await producer.close();
   * const first = ["attempt 1 at 2 records", "failed: no answer"];
   * assertEquals(lines, [...first, "attempt 2 at 2 records", "delivered", "committed", "closed"]);
   * await buffer.close();
   * ```
   */
  subscribe(listener: (event: ProducerEvent) => void): () => void {
    checkListener(listener);
    return this.#reporter.listeners.add(listener);
  }

  /**
   * Ends the producer. From the call on, puts are refused, those that wait for space are rejected, no attempt begins,
   * and no backoff is waited for. Running attempts may finish for `closeTimeoutMs`, then their signals are aborted; one
   * that takes no notice is left alone after another second. What is delivered by then is committed. The rest stays in
   * the buffer, which stays open: call `flush()` before, to leave none. A second call waits for the first.
   *
   * @param options A signal that aborts running attempts at once.
   *
   * @example The second Ctrl+C ends it at once
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assert, assertEquals } from "@std/assert";
   *
   * const aborted: unknown[] = [];
   * const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 0 });
   * const producer = new Producer<string>({
   *   buffer,
   *   send: (_, { signal }) =>
   *     new Promise((_resolve, reject) =>
   *       signal.addEventListener("abort", () => {
   *         aborted.push(signal.reason);
   *         reject(signal.reason);
   *       })
   *     ),
   * });
   * await producer.put("a");
   * while (producer.stats().attempts === 0) await new Promise((resolve) => setTimeout(resolve));
   *
   * const hurry = new AbortController();
   * const closed = producer.close({ signal: hurry.signal }); // the attempt may run for five seconds more
   * hurry.abort();
   * await closed;
   * assert(aborted.length === 1);
   * assertEquals(buffer.stats().pendingRecords, 1); // it comes again at the next start
   * await buffer.close();
   * ```
   */
  async close({ signal }: CloseOptions = {}): Promise<void> {
    const hurry = (): void => this.#shutdown.abort();
    this.#closing ??= this.#loop;
    this.#shutdown.stop(new ProducerClosedError("put"));
    if (signal?.aborted) hurry();
    signal?.addEventListener("abort", hurry, { once: true });
    this.#wake();
    await this.#closing;
    signal?.removeEventListener("abort", hurry);
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reporter.tell({ type: "closed" });
  }

  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #state(): ProducerStats["state"] {
    if (this.#isClosed) return "closed";
    if (this.#closing !== undefined) return "closing";
    return this.#stopped === undefined ? "running" : "stopped";
  }

  /** Why nothing can be done any more, if so. */
  #refusal(verb: string): Error | undefined {
    return this.#stopped ?? (this.#closing === undefined ? undefined : new ProducerClosedError(verb));
  }

  /**
   * Ends the wait of a put for space: when the user says so, and when the producer ends, as no space will come then.
   */
  #putSignal(options: PutOptions | undefined): AbortSignal {
    const { stopping } = this.#shutdown;
    return options?.signal === undefined ? stopping : AbortSignal.any([options.signal, stopping]);
  }

  /** Something has happened: starts another round of the loop. */
  #wake(): void {
    this.#hasChanged = true;
    this.#onChange?.();
  }

  /** There may be something to take that is not due. */
  #look(): void {
    this.#isDry = false;
    this.#wake();
  }

  /**
   * The loop: commits what is delivered, takes what is due. All that it decides on is looked at without a pause between
   * that and the wait, and whatever changes later ends the wait, so that no change is missed.
   */
  async #run(): Promise<void> {
    for (;;) {
      this.#hasChanged = false;
      this.#flushWaiters.count();
      const head = this.#inFlight.at(0);
      if (head?.state === "done") await this.#commit(head);
      else if (this.#shutdown.stopping.aborted) {
        if (!this.#inFlight.some(({ state }) => state === "running")) return;
        await this.#nextChange();
      } else if (this.#inFlight.length < this.#maxInFlight) await this.#take();
      else await this.#nextChange();
    }
  }

  #nextChange(): Promise<void> {
    if (this.#hasChanged) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onChange = resolve;
    });
  }

  /** Takes the next batch if there is one, or waits for it or for a change. */
  async #take(): Promise<void> {
    const after = this.#inFlight.at(-1)?.batch;
    const onEmpty = !this.#flushWaiters.isEmpty && !this.#isDry ? this.#flushWaiters.beginLook() : undefined;
    try {
      if (onEmpty === undefined && !await this.#waitUntilDue(after)) return;
      this.#begin(await this.#buffer.emit({ after }));
      this.#bufferFailures = 0;
    } catch (error) {
      const isNoBatch = error instanceof BufferEmptyError || error instanceof NoBatchBehindError;
      if (!isNoBatch) return await this.#onBufferError("emit", error);
      if (onEmpty === undefined) return;
      if (this.#inFlight.length === 0) onEmpty();
      // What a change has brought meanwhile wasn't looked at.
      this.#isDry = !this.#hasChanged;
    }
  }

  /** Waits; true when the next batch is due, false after a change. */
  async #waitUntilDue(after: Batch<T> | undefined): Promise<boolean> {
    const wait = new AbortController();
    this.#onChange = () => wait.abort();
    try {
      if (await this.#buffer.waitUntilDue({ after, signal: wait.signal })) return true;
    } catch (error) {
      if (!wait.signal.aborted) throw error;
      return false;
    } finally {
      this.#onChange = undefined;
    }
    throw new BufferClosedError("go on delivering");
  }

  /** Sends a batch. */
  #begin(batch: Batch<T>): void {
    const sending: InFlightBatch<T> = { batch, state: "running" };
    this.#inFlight.push(sending);
    this.#sender.deliver(batch).then(
      (isDelivered) => sending.state = isDelivered ? "done" : "left",
      (error) => {
        sending.state = "left";
        this.#stop(error);
      },
    ).then(() => this.#wake());
  }

  /** Commits the oldest batch, which is delivered. */
  async #commit(sending: InFlightBatch<T>): Promise<void> {
    const { batch } = sending;
    try {
      await this.#buffer.commit(batch);
      this.#reporter.tell({ type: "committed", batchId: batch.id, records: batch.length });
    } catch (error) {
      if (!(error instanceof BatchMismatchError)) {
        await this.#onBufferError("commit", error);
        // It isn't committed, so none behind it can be.
        if (this.#shutdown.stopping.aborted) sending.state = "left";
        return;
      }
      this.#reporter.tell({ type: "commit-skipped", batchId: batch.id });
    }
    this.#bufferFailures = 0;
    this.#inFlight.shift();
    this.#flushWaiters.onCommitted(batch.length);
    this.#isDry = false;
  }

  /** The buffer could not do its part: it is asked again later, or the producer stops. */
  async #onBufferError(what: "emit" | "commit", error: unknown): Promise<void> {
    if (this.#shutdown.stopping.aborted) return;
    if (!mayPass(error)) return this.#stop(error);
    this.#reporter.tell({ type: "buffer-call-failed", what, error });
    await this.#backoff.waitForBuffer(++this.#bufferFailures);
  }

  /** Stops: the first reason counts. */
  #stop(cause: unknown): void {
    if (this.#stopped !== undefined || this.#shutdown.stopping.aborted) return;
    this.#stopped = cause instanceof ProducerStoppedError
      ? cause
      : new ProducerStoppedError({ reason: errorText(cause) }, { cause });
    this.#shutdown.stop(this.#stopped);
    this.#reporter.tell({ type: "stopped", error: this.#stopped });
    this.#wake();
  }

  /** Nothing runs any more. */
  #onEnd(): void {
    this.#shutdown.dispose();
    this.#flushWaiters.rejectAll(this.#stopped ?? new ProducerClosedError("flush"));
  }
}
