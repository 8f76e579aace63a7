/**
 * Options of a producer and its methods: what they mean, and their check. Every option is checked once, when the producer
 * is made; an error names the option, what it must be, and what was given.
 *
 * @module
 */

import { type Clock, systemClock } from "../base/clock.ts";
import { checkInteger, checkMethods, describe, MAX_TIMER_MS } from "../base/validation.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import type { DeadLetter } from "./dead_letters.ts";
import type { Send } from "./delivery.ts";
import type { ProducerEvent } from "./events.ts";
import type { RetryOptions, RetryPolicy } from "./retry.ts";

/**
 * Options of a {@linkcode Producer}.
 *
 * @example Five requests at a time, three tries each
 * ```ts
 * import { MemoryBuffer, Producer, type ProducerOptions } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * let running = 0;
 * let most = 0;
 * const buffer = await MemoryBuffer.open<number>({ maxRecords: 10 });
 * const options: ProducerOptions<number> = {
 *   buffer,
 *   async send() {
 *     most = Math.max(most, ++running);
 *     await new Promise((resolve) => setTimeout(resolve, 2)); // a request
 *     running--;
 *   },
 *   maxInFlight: 5,
 *   retry: { maxAttempts: 3 },
 * };
 * await buffer.putMany([...Array(100).keys()]);
 * const producer = new Producer(options);
 * await producer.flush();
 * assertEquals([most, producer.stats().committedBatches], [5, 10]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface ProducerOptions<T> {
  /**
   * Keeps the records until they are delivered. It stays its opener's: the producer doesn't close it. Nobody else may
   * emit from it or commit while the producer runs; to put into it is all right.
   */
  readonly buffer: RecordBuffer<T>;
  /** Sends records to the target. */
  readonly send: Send<T>;
  /**
   * So many batches are sent at a time, 1 to 16. With 1 nothing of a batch is sent before all of the one before it is
   * taken care of: records arrive in order, and only the last batch is ever sent again. With n they are committed in
   * order, but may arrive in any: a batch that has to be sent again comes behind as many as n - 1 later ones, and after
   * a crash n batches are sent again. A target that deduplicates must know the last n ids then, not only the last one.
   *
   * @default {1}
   */
  readonly maxInFlight?: number;
  /**
   * When a delivery that failed is sent again.
   *
   * @default {for ever, at most 30 seconds apart}
   */
  readonly retry?: RetryOptions;
  /**
   * Milliseconds that `send` has for one attempt, 1 to 2^31 - 1; then its signal is aborted. If it doesn't answer for
   * as long again, it is left alone and the next attempt begins, although it may be running still.
   *
   * @default {30_000}
   */
  readonly timeoutMs?: number;
  /**
   * What becomes of records that no retry can mend: `"stop"` stops the producer, with all that isn't delivered still in
   * the buffer; a buffer takes them as {@linkcode DeadLetter}s, and the line goes on. It stays its opener's, too.
   *
   * @default {"stop"}
   */
  readonly whenUndeliverable?: "stop" | RecordBuffer<DeadLetter<T>>;
  /**
   * Milliseconds that running attempts have when the producer is closed or stops, 0 to 2^31 - 1; then their signals are
   * aborted.
   *
   * @default {5_000}
   */
  readonly closeTimeoutMs?: number;
  /**
   * Time and timers of attempts and retries. When a batch is due is the buffer's clock's business.
   *
   * @default {systemClock}
   */
  readonly clock?: Clock;
  /**
   * Chance, for the time between retries: at least 0 and below 1.
   *
   * @default {Math.random}
   */
  readonly random?: () => number;
  /** Is told what happens. Called synchronously, must be quick; an error that it throws is ignored. */
  readonly onEvent?: (event: ProducerEvent) => void;
}

/**
 * Options of {@linkcode Producer.flush}.
 *
 * @example Don't wait for the target longer than the user does
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
export interface FlushOptions {
  /** Ends the wait: the promise rejects with the signal's reason. What was put is delivered all the same. */
  readonly signal?: AbortSignal;
}

/**
 * Options of {@linkcode Producer.close}.
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
export interface CloseOptions {
  /** Ends the grace of running attempts: their signals are aborted at once. */
  readonly signal?: AbortSignal;
}

/** The options, complete and checked. */
export type ResolvedProducerOptions<T> =
  & Omit<Required<ProducerOptions<T>>, "retry" | "whenUndeliverable" | "onEvent">
  & {
    readonly retry: RetryPolicy;
    readonly deadLetters: RecordBuffer<DeadLetter<T>> | undefined;
    readonly onEvent: ((event: ProducerEvent) => void) | undefined;
  };

/** As many as a buffer hands over at a time. */
const MAX_IN_FLIGHT = 16;
/** A target that was away for a moment is back by then. */
const DEFAULT_FIRST_DELAY_MS = 100;
/** Short beside any outage, long beside what an attempt costs. */
const DEFAULT_MAX_DELAY_MS = 30_000;
/** What clients of HTTP and databases take for a hung connection. */
const DEFAULT_TIMEOUT_MS = 30_000;
/** Half of the 10 seconds that `docker stop` gives a process. */
const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;

const MAKE = "make a producer";
const BUFFER_METHODS = ["put", "putMany", "emit", "commit", "waitUntilDue", "writable", "stats"];
const OPTIONS: readonly (keyof ProducerOptions<unknown> | string)[] = [
  "buffer",
  "send",
  "maxInFlight",
  "retry",
  "timeoutMs",
  "whenUndeliverable",
  "closeTimeoutMs",
  "clock",
  "random",
  "onEvent",
];
const RETRY_OPTIONS: readonly (keyof RetryOptions | string)[] = [
  "firstDelayMs",
  "maxDelayMs",
  "maxAttempts",
  "maxElapsedMs",
];

/**
 * Completes the options.
 *
 * @throws {TypeError} for a value of the wrong type or an unknown option.
 * @throws {RangeError} for a number out of range.
 */
export function resolveProducerOptions<T>(options: ProducerOptions<T>): ResolvedProducerOptions<T> {
  checkObject("options", options, OPTIONS);
  const {
    buffer,
    send,
    maxInFlight = 1,
    retry,
    timeoutMs = DEFAULT_TIMEOUT_MS,
    whenUndeliverable = "stop",
    closeTimeoutMs = DEFAULT_CLOSE_TIMEOUT_MS,
    clock = systemClock,
    random = Math.random,
    onEvent,
  } = options;
  checkMethods("buffer", buffer, BUFFER_METHODS, MAKE);
  checkFunction("send", send);
  checkInteger("maxInFlight", maxInFlight, 1, MAX_IN_FLIGHT, MAKE);
  checkInteger("timeoutMs", timeoutMs, 1, MAX_TIMER_MS, MAKE);
  checkInteger("closeTimeoutMs", closeTimeoutMs, 0, MAX_TIMER_MS, MAKE);
  checkMethods("clock", clock, ["now", "monotonic", "setTimer"], MAKE);
  checkFunction("random", random);
  if (onEvent !== undefined) checkFunction("onEvent", onEvent);
  return {
    buffer,
    send,
    maxInFlight,
    retry: resolveRetry(retry),
    timeoutMs,
    deadLetters: resolveUndeliverable(whenUndeliverable, buffer),
    closeTimeoutMs,
    clock,
    random,
    onEvent,
  };
}

function resolveRetry(options: RetryOptions = {}): RetryPolicy {
  checkObject("retry", options, RETRY_OPTIONS);
  const {
    firstDelayMs = DEFAULT_FIRST_DELAY_MS,
    maxDelayMs = DEFAULT_MAX_DELAY_MS,
    maxAttempts = Infinity,
    maxElapsedMs = Infinity,
  } = options;
  checkInteger("retry.firstDelayMs", firstDelayMs, 0, MAX_TIMER_MS, MAKE);
  checkInteger("retry.maxDelayMs", maxDelayMs, 0, MAX_TIMER_MS, MAKE);
  if (maxAttempts !== Infinity) checkInteger("retry.maxAttempts", maxAttempts, 1, Number.MAX_SAFE_INTEGER, MAKE);
  if (maxElapsedMs !== Infinity) checkInteger("retry.maxElapsedMs", maxElapsedMs, 0, Number.MAX_SAFE_INTEGER, MAKE);
  return { firstDelayMs, maxDelayMs, maxAttempts, maxElapsedMs };
}

function resolveUndeliverable<T>(
  given: "stop" | RecordBuffer<DeadLetter<T>>,
  buffer: RecordBuffer<T>,
): RecordBuffer<DeadLetter<T>> | undefined {
  if (given === "stop") return undefined;
  if (typeof given !== "object" || given === null) {
    throw new TypeError(`Cannot ${MAKE}: whenUndeliverable must be "stop" or a buffer, got ${describe(given)}`);
  }
  checkMethods("whenUndeliverable", given, ["put"], MAKE);
  if ((given as unknown) === buffer) {
    throw new TypeError(`Cannot ${MAKE}: whenUndeliverable must be another buffer than the one to be delivered`);
  }
  return given;
}

function checkObject(name: string, value: unknown, known: readonly string[]): void {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`Cannot ${MAKE}: ${name} must be an object, got ${describe(value)}`);
  }
  const prefix = name === "options" ? "" : `${name}.`;
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new TypeError(`Cannot ${MAKE}: unknown option ${prefix}${unknown}`);
}

function checkFunction(name: string, value: unknown): void {
  if (typeof value === "function") return;
  throw new TypeError(`Cannot ${MAKE}: ${name} must be a function, got ${describe(value)}`);
}
