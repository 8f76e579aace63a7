/**
 * When something that failed is tried again. Pure: time and random numbers are passed in.
 *
 * Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" of the AWS Architecture Blog (Marc
 * Brooker, 2015, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): a random time between
 * nothing and a bound that doubles with each try. Of the ways compared there it costs the target the least work,
 * because producers that failed together don't come back together.
 *
 * @module
 */

import { type Complete, MAX_TIMER_MS } from "../base/validation.ts";
import { BufferFullError, SluiceError, type SluiceErrorCode } from "../errors/mod.ts";

/** When, and for how long, a delivery that failed is sent again. */
export interface RetryOptions {
  /**
   * The longest first wait, in milliseconds; it doubles with each try, and the wait is a random part of it. 0 to 2^31 - 1.
   *
   * @default {100}
   */
  readonly firstDelayMs?: number | undefined;
  /**
   * The longest wait, in milliseconds; 0 to 2^31 - 1.
   *
   * @default {30_000}
   */
  readonly maxDelayMs?: number | undefined;
  /**
   * The most attempts at a record, from 1; then it is undeliverable. Counted from the start of the process.
   *
   * @default {Infinity}
   */
  readonly maxAttempts?: number | undefined;
  /**
   * The longest time for a record, in milliseconds from its first attempt, from 0; then it is undeliverable. The last
   * attempt is made when the time is over. Counted from the start of the process.
   *
   * @default {Infinity}
   */
  readonly maxElapsedMs?: number | undefined;
}

/** {@linkcode RetryOptions}, complete. */
export type RetryPolicy = Complete<RetryOptions>;

/** A failure, for {@linkcode retryDelayMs}. */
export interface Failure {
  /** How often it was tried, from 1. */
  readonly tries: number;
  /** Milliseconds since the first try began. */
  readonly elapsedMs: number;
  /** The pause that the target asks for. */
  readonly retryAfterMs?: number | undefined;
  /** A random number: at least 0 and below 1. */
  readonly random: number;
}

/** A day: the longest pause that a target may ask for. More is a mistake, such as a wrong date. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/** Failures of a buffer that may pass; all others last. `DELIVERY` is that of a put that took too long. */
const PASSING: ReadonlySet<SluiceErrorCode> = new Set([
  "BUFFER_FULL",
  "DELIVERY",
  "FILE_SYSTEM",
  "NO_SPACE",
  "PERMISSION",
]);

/**
 * How long to wait before the next try.
 *
 * The pause that the target asks for is the least. The random time is added to it, because all clients that got the same
 * answer would come back at the same moment.
 *
 * @returns Milliseconds, or `undefined` to give up.
 */
export function retryDelayMs(
  policy: RetryPolicy,
  { tries, elapsedMs, retryAfterMs, random }: Failure,
): number | undefined {
  const leftMs = policy.maxElapsedMs - elapsedMs;
  if (tries >= policy.maxAttempts || leftMs <= 0) return undefined;
  const asked = askedMs(retryAfterMs);
  if (asked > leftMs) return undefined;
  // 2^31 times anything is longer than any delay, and still a number.
  const bound = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** Math.min(tries - 1, 31));
  const jitter = bound * (random >= 0 && random <= 1 ? random : 1);
  return Math.min(Math.floor(asked + jitter), Math.ceil(leftMs), MAX_TIMER_MS);
}

/** Whether a buffer that failed in this way may succeed later. */
export function mayPass(error: unknown): boolean {
  if (error instanceof BufferFullError && error.neededBytes > error.maxBacklogBytes) return false;
  return !(error instanceof SluiceError) || PASSING.has(error.code);
}

/** The pause that was asked for, checked: it comes from the outside. */
function askedMs(retryAfterMs: unknown): number {
  if (typeof retryAfterMs !== "number" || !(retryAfterMs > 0)) return 0;
  return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS);
}
