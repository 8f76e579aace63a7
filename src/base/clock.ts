/**
 * Time as the buffer sees it, behind an interface so that a test can control it.
 *
 * Two kinds of time, which are never subtracted from each other. Ages, pauses and limits are counted in monotonic time. Wall
 * time is for what is read elsewhere: files, figures, other processes. It is taken when it is told, so that it is right again
 * as soon as the wall clock is.
 *
 * Guarantees of {@linkcode systemClock}: `monotonic()` never goes back, whatever happens to the wall clock; when a timer fires,
 * its delay has passed on `monotonic()` as well, also where a test has replaced one of them and not the other; a timer set
 * without `keepAlive` doesn't keep the process running; a cancelled timer never fires.
 *
 * @module
 */

import * as nodeTimers from "node:timers";
import { runtimeName } from "./runtime.ts";
import { MAX_TIMER_MS } from "./validation.ts";

/** A wall time that differs from the expected one by more than this shows that the clock was set, or the machine slept. */
const MAX_WALL_DRIFT_MS = 1_000;

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
 * The clock of this process: `Date`, `performance` and `setTimeout`, or the fake ones that a test has put there.
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
export const systemClock: Clock = createSystemClock();

/**
 * Everything global is looked up at each call, so that fake timers (`mock.timers` of node:test, vitest, sinon) apply. Those that
 * replace timers and `Date`, but not `performance`, move only `Date`: then that is the time. What else is replaced, or not,
 * makes no difference to batches: a timer that fires proves that its delay has passed.
 */
function createSystemClock(): Clock {
  const OwnDate = Date;
  const real = { setTimeout: nodeTimers.setTimeout, clearTimeout: nodeTimers.clearTimeout };
  // Not the same function on Deno up to 2.8, whose own timers are numbers that can't be told to let the process end.
  const ownSetTimeout: unknown = runtimeName() === "deno" ? globalThis.setTimeout : real.setTimeout;
  const ownNow = performance.now;
  let source: () => number = ownNow;
  let timers: unknown = ownSetTimeout;
  /** What the source told last, and what is added to it: another source goes on where the one before was. */
  let reading = 0;
  let offset = 0;
  /** What was told before another source, or what a timer has proved. */
  let floor = 0;

  const monotonic = (): number => {
    // Each of them once: on Node, getters are behind some.
    const { setTimeout, performance } = globalThis;
    const { now } = performance;
    const isDateTime = setTimeout !== ownSetTimeout && now === ownNow && Date !== OwnDate;
    const next = isDateTime ? Date.now : now;
    const read = isDateTime ? Date.now() : performance.now();
    if (next !== source || setTimeout !== timers || read < reading) {
      floor = Math.max(reading + offset, floor);
      // Whole, so that a fake time of whole milliseconds is told without rounding errors.
      offset = Math.ceil(floor) - read;
      source = next;
      timers = setTimeout;
    }
    reading = read;
    return Math.max(read + offset, floor);
  };

  return {
    now: () => Date.now(),
    monotonic,
    setTimer(callback, delayMs, options) {
      const isReal = globalThis.setTimeout === ownSetTimeout;
      const { setTimeout, clearTimeout } = isReal ? real : globalThis as unknown as typeof real;
      const dueAt = monotonic() + delayMs;
      const timer = setTimeout(() => {
        // A longer delay than a timer can have ends at once.
        if (delayMs <= MAX_TIMER_MS) floor = Math.max(floor, dueAt);
        callback();
      }, delayMs);
      // A fake one may be a number.
      if (options?.keepAlive !== true) timer.unref?.();
      return () => {
        // The timers of a fake that is gone never fire, and it may not know them any more.
        if (isReal || clearTimeout === globalThis.clearTimeout) clearTimeout(timer);
      };
    },
  };
}

/**
 * The clock of one open buffer: the wall time at the buffer's opening, advanced by the monotonic clock. Ages within a process are
 * right however the wall clock jumps; ages across processes are as right as the wall clock.
 */
export function stampClock(clock: Clock): () => number {
  const wallAtStart = Math.max(0, clock.now());
  const start = clock.monotonic();
  return () => Math.floor(wallAtStart + clock.monotonic() - start);
}

/**
 * What has to be added to a time of a {@linkcode stampClock} to get wall time. It changes only when the wall clock was set or the
 * machine slept, so that one moment isn't told as two.
 */
export function wallShift(clock: Clock): (time: number) => number {
  let shift = 0;
  return (time) => shift = Math.round(unlessSet(time + shift, clock.now())) - time;
}

/** `expected`, or else `wall` if the wall clock was set since that was expected. */
export function unlessSet(expected: number, wall: number): number {
  return Math.abs(wall - expected) > MAX_WALL_DRIFT_MS ? wall : expected;
}
