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
   * The most attempts at a record, from 1; then it is undeliverable. Counted from the start of the process. Faults of the target
   * (`scope: "target"`) count on their own, as the attempts in a row of which nothing was taken: after as many, the producer stops,
   * and no record becomes a dead letter.
   *
   * @default {Infinity}
   */
  readonly maxAttempts?: number | undefined;
  /**
   * The longest time for a record, in milliseconds from its first attempt, from 0; then it is undeliverable. The last
   * attempt is made when the time is over. Counted from the start of the process. The time that the target was at fault doesn't
   * count; when that alone has lasted as long, the producer stops, and no record becomes a dead letter.
   *
   * @default {Infinity}
   */
  readonly maxElapsedMs?: number | undefined;
  /**
   * The longest pause that a target may ask for, in milliseconds, as with `Retry-After`; 0 to 2^31 - 1. More is cut to it: a
   * day, or a wrong date, would keep records back long after the target is well.
   *
   * @default {300_000}
   */
  readonly maxRetryAfterMs?: number | undefined;
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
  /** Whether the pause is the longest one each time, without chance: the fault doesn't pass by itself. */
  readonly isSteady?: boolean;
  /** A random number: at least 0 and below 1. */
  readonly random: number;
}

/** The least first pause for a target that refuses everything: `firstDelayMs: 0` is meant for failures that pass. */
const MIN_REFUSAL_DELAY_MS = 100;

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
  { tries, elapsedMs, retryAfterMs, isSteady = false, random }: Failure,
): number | undefined {
  const leftMs = policy.maxElapsedMs - elapsedMs;
  if (tries >= policy.maxAttempts || leftMs <= 0) return undefined;
  const asked = askedMs(policy, retryAfterMs);
  if (asked > leftMs) return undefined;
  const jitter = boundMs(policy, policy.firstDelayMs, tries) * (random >= 0 && random <= 1 ? random : 1);
  const delayMs = isSteady ? Math.max(asked, policy.maxDelayMs) : Math.floor(asked + jitter);
  return Math.min(delayMs, Math.ceil(leftMs), MAX_TIMER_MS);
}

/**
 * How long to wait before a refusal is put to the test for the `tries`-th time. Without chance: a pause that may be none is no
 * test. It has no end either, because what is refused again is done with.
 */
export function refusalDelayMs(policy: RetryPolicy, tries: number): number {
  return boundMs(policy, Math.max(policy.firstDelayMs, MIN_REFUSAL_DELAY_MS), tries);
}

/** The pause that was asked for, checked and cut: it comes from the outside. */
export function askedMs({ maxRetryAfterMs }: Pick<RetryPolicy, "maxRetryAfterMs">, retryAfterMs: unknown): number {
  if (typeof retryAfterMs !== "number" || !(retryAfterMs > 0)) return 0;
  return Math.min(retryAfterMs, maxRetryAfterMs);
}

/** A delay that doubles with each try, up to the longest. */
function boundMs({ maxDelayMs }: RetryPolicy, firstDelayMs: number, tries: number): number {
  // 2^31 times anything is longer than any delay, and still a number.
  return Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(tries - 1, 31));
}

/** Whether a buffer that failed in this way may succeed later. */
export function mayPass(error: unknown): boolean {
  if (error instanceof BufferFullError && error.neededBytes > error.maxBacklogBytes) return false;
  return !(error instanceof SluiceError) || PASSING.has(error.code);
}
