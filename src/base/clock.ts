/**
 * Time as the buffer sees it, behind an interface so that a test can control it.
 *
 * Guarantees of {@linkcode systemClock}: `monotonic()` never goes back, whatever happens to the wall clock; a timer set without
 * `keepAlive` doesn't keep the process running; a cancelled timer never fires.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";

/** Options of {@linkcode Clock.setTimer}. */
export interface TimerOptions {
  /**
   * Whether the process stays alive until the timer has fired.
   *
   * @default {false}
   */
  readonly keepAlive?: boolean | undefined;
}

/**
 * A source of time and timers.
 *
 * @example Replay yesterday's input at its own time
 * ```ts
 * import { type Clock, MemoryBuffer, systemClock } from "@sluice/buffer";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * const yesterday = Date.now() - 86_400_000;
 * const clock: Clock = {
 *   now: () => systemClock.now() - 86_400_000,
 *   monotonic: () => systemClock.monotonic(),
 *   setTimer: (callback, delayMs, options) => systemClock.setTimer(callback, delayMs, options),
 * };
 * const buffer = await MemoryBuffer.open<string>({ clock });
 * await buffer.put("stamped with yesterday's time");
 * assertAlmostEquals(buffer.stats().lastProgressAt, yesterday, 60_000);
 * await buffer.close();
 * ```
 */
export interface Clock {
  /**
   * Wall time. It may jump either way.
   *
   * @returns Milliseconds since 1970-01-01 UTC.
   */
  now(): number;
  /**
   * Time that never goes back.
   *
   * @returns Milliseconds from an arbitrary start.
   */
  monotonic(): number;
  /**
   * Calls `callback` once, not before `delayMs` milliseconds have passed.
   *
   * @param callback What to call.
   * @param delayMs Milliseconds from now.
   * @param options Whether the process stays alive for it.
   * @returns A function that cancels the timer; calling it later or twice does nothing.
   */
  setTimer(callback: () => void, delayMs: number, options?: TimerOptions): () => void;
}

/**
 * The clock of this process: `Date`, `performance` and `setTimeout`.
 *
 * @example A cancelled timer never fires, and time never goes back
 * ```ts
 * import { systemClock } from "@sluice/buffer";
 * import { assertEquals, assertGreaterOrEqual } from "@std/assert";
 *
 * const start = systemClock.monotonic();
 * const fired: string[] = [];
 * const cancel = systemClock.setTimer(() => fired.push("cancelled"), 1);
 * cancel();
 * await new Promise<void>((resolve) => systemClock.setTimer(resolve, 5, { keepAlive: true }));
 * assertEquals(fired, []);
 * assertGreaterOrEqual(systemClock.monotonic() - start, 4);
 * ```
 */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(callback, delayMs, options) {
    const timer = setTimeout(callback, delayMs);
    if (options?.keepAlive !== true) timer.unref();
    return () => clearTimeout(timer);
  },
};

/**
 * The clock that puts are stamped with: the wall time at the buffer's opening, advanced by the monotonic clock. Ages within a
 * process are right however the wall clock jumps; ages across processes are as right as the wall clock.
 */
export function stampClock(clock: Clock): () => number {
  const wallAtStart = Math.max(0, clock.now());
  const start = clock.monotonic();
  return () => Math.floor(wallAtStart + clock.monotonic() - start);
}
