/**
 * `Producer`: put records, and know that they arrive.
 *
 * Guarantees:
 * - A batch is committed only when each of its records was taken by the target, or is persisted as a dead letter.
 * - Nothing is kept that a crash could cost: what isn't committed is in the buffer, and comes again, in the same batches
 *   with the same ids.
 * - A target that is ill, whatever is sent to it, makes no dead letters and gets no flood of attempts: `target_gate.ts` says how.
 * - It is closed by the user, or stopped by what it can't get past. Either way nothing new is sent, running attempts may finish
 *   for a limited time, and all waits are rejected. While it is stopped puts are still persisted, and `resume()` goes on.
 *
 * @module
 */

import { AbortCalls } from "../base/abort_calls.ts";
import { checkListener } from "../base/listeners.ts";
import type { SequenceRange } from "../base/sequences.ts";
import type { PutOptions } from "../buffer/record_buffer.ts";
import { BufferClosedError, BufferFailedError, BufferFullError, ProducerClosedError } from "../errors/mod.ts";
import { Backoff } from "./backoff.ts";
import { BatchSender } from "./batch_sender.ts";
import { DeadLetters } from "./dead_letters.ts";
import { DeliveryLoop } from "./delivery_loop.ts";
import { type ProducerEvent, type ProducerStats, Reporter } from "./events.ts";
import { type CloseOptions, type FlushOptions, type ProducerOptions, resolveProducerOptions } from "./options.ts";
import { PromiseTracker } from "./promise_tracker.ts";
import { Shutdown } from "./shutdown.ts";
import { TargetGate } from "./target_gate.ts";

/** Why a buffer takes nothing. A producer that has stopped tells the reason for that instead. */
const NO_ROOM = [BufferFullError, BufferClosedError, BufferFailedError];

/**
 * Delivers what is put into a buffer.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
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
 * import { deadLetterCodec, MemoryBuffer, Producer, type RetryOptions } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const retry: RetryOptions = { firstDelayMs: 1, maxDelayMs: 5, maxAttempts: 3 };
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const dead = await MemoryBuffer.open({ codec: deadLetterCodec<string>() });
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
 * import { deadLetterCodec, DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const target: string[] = [];
 * const buffer = await MemoryBuffer.open<string>();
 * const dead = await MemoryBuffer.open({ codec: deadLetterCodec<string>() });
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
 * for (const { record } of letters) if (record) await producer.put(record.replace("\t", " ")); // as they are: putEncoded()
 * await dead.commit(letters); // behind the puts: a crash in between repeats, but loses nothing
 * await producer.flush();
 * assertEquals(target, ["with a tab"]);
 * await producer.close();
 * await buffer.close();
 * await dead.close();
 * ```
 */
export class Producer<T, In = T> implements AsyncDisposable {
  readonly #options: ReturnType<typeof resolveProducerOptions<T, In>>;
  readonly #reporter: Reporter;
  #run: Run<T>;
  /** Puts that have not been answered yet. */
  readonly #puts = new PromiseTracker();
  readonly #aborts = new AbortCalls();
  /** Ids of batches that are delivered and not committed: a batch before them may have stopped the producer. */
  readonly #delivered = new Set<string>();
  #closing: "closing" | "closed" | undefined;

  /**
   * Makes a producer. It starts at once with what is in the buffer.
   *
   * @param options `buffer` and `send` are required; the others have defaults.
   * @throws {TypeError} if an option has the wrong type, or is unknown.
   * @throws {RangeError} if a number is out of range.
   */
  constructor(options: ProducerOptions<T, In>) {
    this.#options = resolveProducerOptions(options);
    this.#reporter = new Reporter(this.#options.clock, this.#options.onEvent);
    this.#run = this.#start();
  }

  /** Begins to deliver, when what was begun `before` has ended. */
  #start(before?: Run<T>): Run<T> {
    const { clock, closeTimeoutMs, deadLetters } = this.#options;
    const reporter = this.#reporter;
    const shutdown = new Shutdown(clock, closeTimeoutMs);
    const backoff = new Backoff({ ...this.#options, shutdown, reporter });
    const gate = new TargetGate({ clock, shutdown, backoff, reporter });
    const deps = { ...this.#options, shutdown, backoff, gate, reporter };
    const sender = new BatchSender({ ...deps, deadLetters: deadLetters && new DeadLetters(deadLetters, deps) });
    const loop = new DeliveryLoop({ ...deps, sender, delivered: this.#delivered });
    let ending = before;
    const ended = before === undefined ? loop.run() : before.ended.then(() => {
      ending = undefined;
      return loop.run();
    });
    const abort = (): void => {
      ending?.abort();
      shutdown.abort();
    };
    return { shutdown, putOptions: { signal: shutdown.stopping }, backoff, gate, loop, ended, abort };
  }

  /**
   * Puts a record into the buffer, as {@linkcode RecordBuffer.put} does.
   *
   * @param record What to deliver.
   * @param options A signal that ends the wait for space.
   * @returns Its sequence, when it is persisted. That says nothing about the target yet: `flush()` does.
   * @throws {ProducerClosedError} after `close()`, also if it still waits for space then.
   * @throws {ProducerStoppedError} if the producer stops while it waits for space, or has stopped and there is none.
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
  put(record: In, options?: PutOptions): Promise<number> {
    const { shutdown, putOptions } = this.#run;
    // The usual call: nothing is made for it but the promise that is returned.
    if (options === undefined && !shutdown.stopping.aborted) {
      return this.#puts.track(this.#options.buffer.put(record, putOptions));
    }
    return this.#put((more) => this.#options.buffer.put(record, { ...options, ...more }), options);
  }

  /**
   * Puts records as one unit, as {@linkcode RecordBuffer.putMany} does.
   *
   * @param records What to deliver, in order; at least one.
   * @param options A signal that ends the wait for space.
   * @returns The sequences of the first and of the last one, when all are persisted.
   * @throws {ProducerClosedError} after `close()`, also if it still waits for space then.
   * @throws {ProducerStoppedError} if the producer stops while it waits for space, or has stopped and there is none.
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
  putMany(records: readonly In[], options?: PutOptions): Promise<SequenceRange> {
    return this.#put((more) => this.#options.buffer.putMany(records, { ...options, ...more }), options);
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
  writable(): WritableStream<In> {
    const { shutdown } = this.#run;
    const { stopping } = shutdown;
    const writer = this.#options.buffer.writable().getWriter();
    // A write reports the error.
    writer.closed.catch(() => {});
    const onEnding = (): void => {
      writer.abort(stopping.reason).catch(() => {});
    };
    stopping.addEventListener("abort", onEnding, { once: true });
    const detach = (): void => stopping.removeEventListener("abort", onEnding);
    return new WritableStream<In>({
      write: async (record) => {
        const refusal = shutdown.refusal("put");
        if (refusal !== undefined) throw refusal;
        // A write that fails is the end of the stream.
        await this.#puts.track(writer.write(record)).catch((error) => {
          detach();
          throw error;
        });
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
   * @param options A signal that ends the wait; what was put is delivered all the same. The reason of the signal gets a `cause`
   * if it is an error without one: what went wrong last in delivering, such as a wrong URL.
   * @throws {ProducerStoppedError} if the producer has stopped, or stops before.
   * @throws {ProducerClosedError} if the producer is closed before; its `cause` is what went wrong last.
   *
   * @example Wait for the target no longer than five milliseconds
   * ```ts
   * import { MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const away = new Error("the target is away");
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({ buffer, send: () => Promise.reject(away) });
   * await producer.put("safe all the same");
   * const error = await assertRejects(() => producer.flush({ signal: AbortSignal.timeout(5) }), DOMException);
   * assertEquals(error.cause, away); // why it took so long
   * assertEquals(producer.stats().state, "running"); // it goes on trying
   * await producer.close();
   * assertEquals(buffer.stats().pendingRecords, 1);
   * await buffer.close();
   * ```
   */
  flush(options: FlushOptions = {}): Promise<void> {
    const { signal } = options;
    const { shutdown, loop } = this.#run;
    const refusal = shutdown.refusal("flush");
    if (refusal !== undefined) return Promise.reject(refusal);
    return loop.flush(this.#puts.all(), signal);
  }

  /**
   * Goes on delivering after the producer has stopped: with the batch that it stopped at, which is sent again, and with fresh
   * attempts. To be called when the reason is gone, or the batch was committed by hand. Does nothing while it runs.
   *
   * @throws {ProducerClosedError} after `close()`.
   *
   * @example A client that was closed, and is open again
   * ```ts
   * import { DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const target: string[] = [];
   * let isOpen = false;
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({
   *   buffer,
   *   send({ records }) {
   *     if (!isOpen) throw new DeliveryError({ reason: "the client is closed", final: true });
   *     target.push(...records);
   *   },
   * });
   * await producer.put("a");
   * await assertRejects(() => producer.flush());
   * await producer.put("b"); // persisted, although the producer has stopped
   * assertEquals([producer.stats().state, target], ["stopped", []]);
   *
   * isOpen = true; // its owner has connected it
   * producer.resume();
   * await producer.flush();
   * assertEquals(target, ["a", "b"]);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  resume(): void {
    if (this.#closing !== undefined) throw new ProducerClosedError("go on delivering");
    if (!this.#run.shutdown.stopping.aborted) return;
    this.#run = this.#start(this.#run);
    this.#reporter.tell({ type: "resumed" });
  }

  /**
   * Ends the pauses before something is tried again, at once: those after failures of the target, those that the target has asked
   * for, and those for a buffer. For when it is known that the target is well, because somebody has mended it.
   *
   * @returns Whether there was a pause.
   *
   * @example The password is right again, and nobody waits half a minute for that
   * ```ts
   * import { DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * let password = "old";
   * const target: string[] = [];
   * const buffer = await MemoryBuffer.open<string>();
   * const producer = new Producer<string>({
   *   buffer,
   *   send({ records }) {
   *     if (password === "old") throw new DeliveryError({ reason: "wrong password", scope: "target" });
   *     target.push(...records);
   *   },
   * });
   * const blocked = new Promise<void>((resolve) => producer.subscribe(({ type }) => type === "blocked" && resolve()));
   * await producer.put("a");
   * const flushed = producer.flush();
   * await blocked;
   *
   * password = "new"; // somebody has read the log
   * assertEquals(producer.retryNow(), true);
   * await flushed;
   * assertEquals([target, producer.retryNow()], [["a"], false]);
   * await producer.close();
   * await buffer.close();
   * ```
   */
  retryNow(): boolean {
    const { backoff, gate } = this.#run;
    // Both: a pause that is over may be followed by a longer one, which the target has asked for meanwhile.
    const isPausing = [gate.skipPause(), backoff.skip()].includes(true);
    if (isPausing) this.#reporter.tell({ type: "retry-requested" });
    return isPausing;
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
   *     throw new DeliveryError({ reason: "status 422", retryable: false });
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
    const { shutdown, loop, backoff } = this.#run;
    return {
      state: this.#closing ?? (shutdown.stopping.aborted ? "stopped" : "running"),
      inFlightBatches: loop.inFlightBatches,
      backoffUntil: backoff.until,
      ...this.#reporter.counts,
    };
  }

  /**
   * Calls `listener` for every event from now on, in addition to the option `onEvent`.
   *
   * @param listener Called synchronously, so it must be quick. What it throws, or rejects with, is an event: `listener-failed`.
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
  async close(options: CloseOptions = {}): Promise<void> {
    const { signal } = options;
    const { shutdown, loop, ended, abort: hurry } = this.#run;
    this.#closing ??= "closing";
    shutdown.stop(new ProducerClosedError("put"));
    if (signal?.aborted) hurry();
    signal?.addEventListener("abort", hurry, { once: true });
    loop.wake();
    await ended;
    signal?.removeEventListener("abort", hurry);
    if (this.#closing === "closed") return;
    this.#closing = "closed";
    this.#reporter.tell({ type: "closed" });
  }

  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Puts with options that end the wait for space with the producer. While it is stopped, what there is space for is persisted. */
  #put<R>(put: (more: PutOptions) => Promise<R>, options: PutOptions | undefined): Promise<R> {
    const { shutdown, putOptions } = this.#run;
    const { stopping } = shutdown;
    if (this.#closing !== undefined) return Promise.reject(shutdown.refusal("put"));
    if (stopping.aborted) {
      return this.#puts.track(
        put({ waits: false }).catch((error) => {
          throw NO_ROOM.some((kind) => error instanceof kind) ? stopping.reason : error;
        }),
      );
    }
    if (options?.signal === undefined) return this.#puts.track(put(putOptions));
    // It may live as long as the process, so nothing stays on it.
    const { signal, release } = this.#aborts.join([options.signal, stopping]);
    const answer = put({ signal });
    answer.then(release, release);
    return this.#puts.track(answer);
  }
}

/** What delivers until the producer stops or is closed; after a stop there is another. */
interface Run<T> {
  readonly shutdown: Shutdown;
  /** End the wait for space when the producer ends, as no space will come then. */
  readonly putOptions: PutOptions;
  readonly backoff: Backoff;
  readonly gate: TargetGate;
  readonly loop: DeliveryLoop<T>;
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<void>;
  /** Ends what runs of it at once, and of the one before it, if that hasn't ended yet. */
  readonly abort: () => void;
}
