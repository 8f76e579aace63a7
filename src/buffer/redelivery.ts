/**
 * The loop behind `batches()`: waits for due batches and yields them, with a pause before one that the loop's body has left
 * uncommitted is yielded again.
 *
 * Guarantees:
 * - A loop that never commits is no hot loop: each time the same batch comes again, the pause is twice as long as before.
 * - Only what this loop has seen pauses it. A batch that an earlier loop or process has left comes at once.
 * - A pause ends early when there is nothing to wait for any more: the batch is committed or cleared, the buffer is closed or
 *   has failed, the signal is aborted. It is event-driven, never polls, and keeps the process alive.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import { checkInteger, type Complete, describe, MAX_TIMER_MS } from "../base/validation.ts";
import { BufferClosedError, BufferEmptyError } from "../errors/mod.ts";
import type { Batch } from "./batch.ts";
import type { BatchesOptions, RecordBuffer, RedeliveryOptions } from "./record_buffer.ts";

/** Long beside what a batch costs, so that a failing loop is idle nearly all the time; a failure of a moment costs no more. */
const DEFAULT_FIRST_DELAY_MS = 100;
/** Short beside any outage, long beside what a batch costs. */
const DEFAULT_MAX_DELAY_MS = 30_000;
/** One millisecond doubled that often is longer than any pause, and still a number. */
const MAX_DOUBLINGS = 31;

const TAKE = "take batches";
const OPTIONS: readonly string[] = ["firstDelayMs", "maxDelayMs"];

/** What a loop needs of its buffer. */
interface BatchLoopDeps<T> {
  readonly buffer: Pick<RecordBuffer<T>, "waitUntilDue" | "emit">;
  readonly clock: Clock;
  /** Whether a batch is still to be committed, and can be. */
  readonly isInFlight: (batch: Batch<T>) => boolean;
  /** Resolves when something has changed, `signal` is aborted, or `delayMs` milliseconds have passed. */
  readonly nextChange: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** {@linkcode RedeliveryOptions}, complete and checked. */
type RedeliveryPolicy = Complete<RedeliveryOptions>;

/**
 * Starts a loop over due batches.
 *
 * @throws {TypeError} for a value of the wrong type or an unknown option.
 * @throws {RangeError} for a number out of range.
 */
export function takeBatches<T>(deps: BatchLoopDeps<T>, options: BatchesOptions): AsyncIterableIterator<Batch<T>> {
  return yieldBatches(deps, options, resolveRedelivery(options.redelivery));
}

async function* yieldBatches<T>(
  deps: BatchLoopDeps<T>,
  options: BatchesOptions,
  policy: RedeliveryPolicy,
): AsyncGenerator<Batch<T>, void, undefined> {
  const { buffer } = deps;
  let repeats = 0;
  while (await buffer.waitUntilDue(options)) {
    let batch: Batch<T>;
    try {
      batch = await buffer.emit();
    } catch (error) {
      // Somebody else took the records, or closed the buffer, in between.
      if (error instanceof BufferEmptyError || error instanceof BufferClosedError) continue;
      throw error;
    }
    yield batch;
    repeats = deps.isInFlight(batch) ? repeats + 1 : 0;
    if (repeats === 0) continue;
    const delayMs = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** Math.min(repeats - 1, MAX_DOUBLINGS));
    const isLeft = await pause(deps, batch, delayMs, options.signal);
    if (!isLeft) repeats = 0;
  }
}

/** Waits while the batch is in flight, for `delayMs` at most; whether it is in flight then. */
async function pause<T>(
  { clock, isInFlight, nextChange }: BatchLoopDeps<T>,
  batch: Batch<T>,
  delayMs: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const until = clock.monotonic() + delayMs;
  while (isInFlight(batch)) {
    signal?.throwIfAborted();
    const leftMs = until - clock.monotonic();
    if (leftMs <= 0) return true;
    await nextChange(leftMs, signal);
  }
  return false;
}

function resolveRedelivery(options: RedeliveryOptions = {}): RedeliveryPolicy {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot ${TAKE}: redelivery must be an object, got ${describe(options)}`);
  }
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown !== undefined) throw new TypeError(`Cannot ${TAKE}: unknown option redelivery.${unknown}`);
  const { firstDelayMs = DEFAULT_FIRST_DELAY_MS, maxDelayMs = DEFAULT_MAX_DELAY_MS } = options;
  checkInteger("redelivery.firstDelayMs", firstDelayMs, 0, MAX_TIMER_MS, TAKE);
  checkInteger("redelivery.maxDelayMs", maxDelayMs, 0, MAX_TIMER_MS, TAKE);
  return { firstDelayMs, maxDelayMs };
}
