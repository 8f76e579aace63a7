/**
 * Options of a producer and its methods: what they mean, and their check. Every option is checked once, when the producer
 * is made; an error names the option, what it must be, and what was given.
 *
 * @module
 */

import { type Clock, systemClock } from "../base/clock.ts";
import type { Codec } from "../base/codec.ts";
import { type DeadLetter, isDeadLetterCodec, MAX_LETTER_HEAD_BYTES } from "../base/dead_letter.ts";
import {
  checkFunction,
  checkInteger,
  checkMethods,
  checkOneOf,
  checkOptions,
  type Complete,
  MAX_TIMER_MS,
} from "../base/validation.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import { BufferFailedError } from "../errors/mod.ts";
import type { Send } from "./delivery.ts";
import type { ProducerEvent } from "./events.ts";
import type { RetryOptions, RetryPolicy } from "./retry.ts";

/**
 * Options of a {@linkcode Producer}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 */
export interface ProducerOptions<T, In = T> {
  /**
   * Keeps the records until they are delivered. The producer doesn't close it. While the producer runs, other code may put
   * into it, but not emit or commit.
   */
  readonly buffer: RecordBuffer<T, In>;
  /** Sends records to the target. */
  readonly send: Send<T>;
  /**
   * The most batches sent at a time, 1 to 16. With 1, a batch is sent when the one before it is delivered: records arrive
   * in order, and only the last batch is ever sent again. With n, batches are committed in order but may arrive in any: a
   * batch that has to be sent again comes behind up to n - 1 later ones, and after a crash n batches are sent again. A
   * target that deduplicates must then know the last n ids, not only the last one.
   *
   * @default {1}
   */
  readonly maxInFlight?: number | undefined;
  /**
   * When a delivery that failed is sent again.
   *
   * @default {{ firstDelayMs: 100, maxDelayMs: 30_000, maxAttempts: Infinity, maxElapsedMs: Infinity, maxRetryAfterMs: 300_000 }}
   */
  readonly retry?: RetryOptions | undefined;
  /**
   * Milliseconds that `send` has for one attempt, 1 to 2^31 - 1; then its signal is aborted. If it doesn't end within as
   * long again, it is abandoned and the next attempt begins, although it may still be running. An attempt that has taken too
   * long counts as a fault of the target, not of the records.
   *
   * @default {30_000}
   */
  readonly timeoutMs?: number | undefined;
  /**
   * The buffer that takes undeliverable records, as {@linkcode DeadLetter}s. It is opened with `codec: deadLetterCodec(codec)`,
   * where `codec` is that of `buffer`; so it can hold whatever `buffer` holds. It must be open; the producer doesn't close it.
   *
   * @default {undefined}
   */
  readonly deadLetters?: RecordBuffer<DeadLetter<T>> | undefined;
  /**
   * What to do with records that no retry can deliver. `"stop"`: the producer stops, and all that isn't delivered stays in
   * the buffer. `"dead-letter"`: they go into `deadLetters`, and the producer goes on with the records behind them.
   *
   * @default {"dead-letter" if there is a buffer `deadLetters`, else "stop"}
   */
  readonly whenUndeliverable?: "stop" | "dead-letter" | undefined;
  /**
   * Milliseconds that running attempts have when the producer is closed or stops, 0 to 2^31 - 1; then their signals are
   * aborted.
   *
   * @default {5_000}
   */
  readonly closeTimeoutMs?: number | undefined;
  /**
   * Time and timers of attempts and retries. The buffer's own clock says when a batch is due.
   *
   * @default {systemClock}
   */
  readonly clock?: Clock | undefined;
  /**
   * Random numbers for the time between retries: at least 0 and below 1.
   *
   * @default {Math.random}
   */
  readonly random?: (() => number) | undefined;
  /** Called with every event, synchronously, so it must be quick. What it throws, or rejects with, is an event: `listener-failed`. */
  readonly onEvent?: ((event: ProducerEvent) => void) | undefined;
}

/** Options of {@linkcode Producer.flush}. */
export interface FlushOptions {
  /**
   * Ends the wait: the promise rejects with the signal's reason, whose `cause` is what went wrong last in delivering. What was put
   * is delivered all the same.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Producer.close}. */
export interface CloseOptions {
  /** Ends the grace time of running attempts: their signals are aborted at once. */
  readonly signal?: AbortSignal | undefined;
}

/** The options, complete and checked. */
export type ResolvedProducerOptions<T, In = T> =
  & Omit<Complete<ProducerOptions<T, In>>, "retry" | "deadLetters" | "whenUndeliverable" | "onEvent">
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
/** Five minutes: what a target needs that is restarted, or whose quota is by the minute. */
const DEFAULT_MAX_RETRY_AFTER_MS = 300_000;
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
  "deadLetters",
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
  "maxRetryAfterMs",
];

/**
 * Completes the options.
 *
 * @throws {TypeError} for a value of the wrong type or an unknown option.
 * @throws {RangeError} for a number out of range.
 */
export function resolveProducerOptions<T, In>(options: ProducerOptions<T, In>): ResolvedProducerOptions<T, In> {
  checkOptions("options", options, OPTIONS, MAKE);
  const {
    buffer,
    send,
    maxInFlight = 1,
    retry,
    timeoutMs = DEFAULT_TIMEOUT_MS,
    deadLetters,
    whenUndeliverable = deadLetters === undefined ? "stop" : "dead-letter",
    closeTimeoutMs = DEFAULT_CLOSE_TIMEOUT_MS,
    clock = systemClock,
    random = Math.random,
    onEvent,
  } = options;
  checkAwaited("buffer", buffer);
  checkMethods("buffer", buffer, BUFFER_METHODS, MAKE);
  checkFunction("send", send, MAKE);
  checkInteger("maxInFlight", maxInFlight, 1, MAX_IN_FLIGHT, MAKE);
  checkInteger("timeoutMs", timeoutMs, 1, MAX_TIMER_MS, MAKE);
  checkInteger("closeTimeoutMs", closeTimeoutMs, 0, MAX_TIMER_MS, MAKE);
  checkMethods("clock", clock, ["now", "monotonic", "setTimer"], MAKE);
  checkFunction("random", random, MAKE);
  if (onEvent !== undefined) checkFunction("onEvent", onEvent, MAKE);
  checkOneOf("whenUndeliverable", whenUndeliverable, ["stop", "dead-letter"], MAKE);
  checkDeadLetters(options, whenUndeliverable);
  return {
    buffer,
    send,
    maxInFlight,
    retry: resolveRetry(retry),
    timeoutMs,
    deadLetters: whenUndeliverable === "stop" ? undefined : deadLetters,
    closeTimeoutMs,
    clock,
    random,
    onEvent,
  };
}

function resolveRetry(options: RetryOptions = {}): RetryPolicy {
  checkOptions("retry", options, RETRY_OPTIONS, MAKE);
  const {
    firstDelayMs = DEFAULT_FIRST_DELAY_MS,
    maxDelayMs = DEFAULT_MAX_DELAY_MS,
    maxAttempts = Infinity,
    maxElapsedMs = Infinity,
    maxRetryAfterMs = DEFAULT_MAX_RETRY_AFTER_MS,
  } = options;
  checkInteger("retry.firstDelayMs", firstDelayMs, 0, MAX_TIMER_MS, MAKE);
  checkInteger("retry.maxDelayMs", maxDelayMs, 0, MAX_TIMER_MS, MAKE);
  if (maxAttempts !== Infinity) checkInteger("retry.maxAttempts", maxAttempts, 1, Number.MAX_SAFE_INTEGER, MAKE);
  if (maxElapsedMs !== Infinity) checkInteger("retry.maxElapsedMs", maxElapsedMs, 0, Number.MAX_SAFE_INTEGER, MAKE);
  checkInteger("retry.maxRetryAfterMs", maxRetryAfterMs, 0, MAX_TIMER_MS, MAKE);
  return { firstDelayMs, maxDelayMs, maxAttempts, maxElapsedMs, maxRetryAfterMs };
}

/** Dead letters need a buffer, other than the one to be delivered. */
function checkDeadLetters(
  { buffer, deadLetters }: { readonly buffer: object; readonly deadLetters?: object | undefined },
  whenUndeliverable: string,
): void {
  if (deadLetters === undefined) {
    if (whenUndeliverable === "stop") return;
    throw new TypeError(`Cannot ${MAKE}: whenUndeliverable is "${whenUndeliverable}", but there is no deadLetters`);
  }
  checkAwaited("deadLetters", deadLetters);
  checkMethods("deadLetters", deadLetters, ["put"], MAKE);
  if (deadLetters === buffer) {
    throw new TypeError(`Cannot ${MAKE}: deadLetters must be another buffer than the one to be delivered`);
  }
  if (whenUndeliverable !== "dead-letter") return;
  checkUsable(deadLetters);
  checkLimits(deadLetters, buffer);
}

/** A promise of a buffer has no methods, and nobody guesses from that what is missing. */
function checkAwaited(name: string, value: unknown): void {
  if (typeof value !== "object" || value === null || !("then" in value)) return;
  throw new TypeError(`Cannot ${MAKE}: ${name} is a promise: await the open() that it comes from`);
}

/** What the buffers of this package say of themselves. */
interface SelfDescription {
  readonly refusal?: Error | undefined;
  readonly codec?: Codec<unknown, never>;
  readonly maxPayloadBytes?: number;
}

/** It would be noticed at the first letter, perhaps after weeks, and stop the producer then. */
function checkUsable({ refusal: cause }: SelfDescription): void {
  if (cause === undefined) return;
  const state = cause instanceof BufferFailedError
    ? "has failed: close it, mend what is the cause, and open it again"
    : "is closed: open it, and close it after the producer";
  throw new TypeError(`Cannot ${MAKE}: deadLetters ${state}`, { cause });
}

/** A letter about every record must fit, in full. What isn't known of a buffer isn't checked. */
function checkLimits(deadLetters: SelfDescription, buffer: SelfDescription): void {
  if (deadLetters.codec !== undefined && !isDeadLetterCodec(deadLetters.codec)) {
    throw new TypeError(`Cannot ${MAKE}: deadLetters must be opened with codec: deadLetterCodec()`);
  }
  const { maxPayloadBytes = 0 } = buffer;
  const neededBytes = maxPayloadBytes + MAX_LETTER_HEAD_BYTES;
  if (deadLetters.maxPayloadBytes === undefined || deadLetters.maxPayloadBytes >= neededBytes) return;
  throw new RangeError(
    `Cannot ${MAKE}: deadLetters takes at most ${deadLetters.maxPayloadBytes} bytes, and a letter about a record of ` +
      `${maxPayloadBytes} bytes may have ${neededBytes}: open it with larger maxRecordBytes and maxBacklogBytes, or without`,
  );
}
