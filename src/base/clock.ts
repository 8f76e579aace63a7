/**
 * Time as the buffer sees it, behind an interface so that a test can move it.
 *
 * Guarantees of {@linkcode systemClock}: `monotonic()` never goes back, whatever happens to the wall clock; a timer
 * set without `keepAlive` does not keep the process running; a cancelled timer never fires.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";

/**
 * How a timer behaves.
 *
 * @example Only who waits for a batch keeps the process alive
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { ManualClock, type TimerOptions } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const seen: (TimerOptions | undefined)[] = [];
 * class WatchedClock extends ManualClock {
 *   override setTimer(callback: () => void, delayMs: number, options?: TimerOptions): () => void {
 *     seen.push(options);
 *     return super.setTimer(callback, delayMs, options);
 *   }
 * }
 *
 * const clock = new WatchedClock();
 * const buffer = await MemoryBuffer.open<string>({ clock, maxAgeMs: 5_000 });
 * await buffer.put("nobody waits for it");
 * assertEquals(seen, []);
 * const waiting = buffer.waitUntilDue();
 * assertEquals(seen, [{ keepAlive: true }]);
 * clock.advance(5_000);
 * assertEquals(await waiting, true);
 * await buffer.close();
 * ```
 */
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
  /** Wall time: milliseconds since 1970-01-01 UTC. May jump either way. */
  now(): number;
  /** Milliseconds from an arbitrary start, never going back. */
  monotonic(): number;
  /**
   * Calls `callback` once, not before `delayMs` milliseconds have passed.
   *
   * @returns A function that cancels the timer; calling it later or twice does nothing.
   */
  setTimer(callback: () => void, delayMs: number, options?: TimerOptions): () => void;
}

/**
 * The clock of this process: `Date`, `performance` and `setTimeout`.
 *
 * @example A timer that may be cancelled, and time that never goes back
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
 * The time that puts are stamped with: wall time when the buffer was opened, and from there on as the monotonic clock
 * goes. So ages within a process are right however the wall clock jumps, and across processes as right as it is.
 */
export function stampClock(clock: Clock): () => number {
  const wallAtStart = Math.max(0, clock.now());
  const start = clock.monotonic();
  return () => Math.floor(wallAtStart + clock.monotonic() - start);
}
