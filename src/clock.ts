/**
 * Time as the buffer sees it, behind an interface so that a test can move it.
 *
 * Guarantees of {@linkcode systemClock}: `monotonic()` never goes back, whatever happens to the wall clock; a timer
 * set without `keepAlive` does not keep the process running; a cancelled timer never fires.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";

/** How a timer behaves. */
export interface TimerOptions {
  /**
   * Whether the process stays alive until the timer has fired.
   *
   * @default {false}
   */
  readonly keepAlive?: boolean;
}

/** A source of time and timers. */
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

/** The clock of this process: `Date`, `performance` and `setTimeout`. */
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
