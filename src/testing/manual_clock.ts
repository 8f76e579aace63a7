/**
 * A clock that a test moves by hand, so that no test waits for time to pass.
 *
 * Guarantees: timers fire only in `advance()`, in the order in which they come due, each at its own time on both clocks. A timer
 * that a callback sets fires in the same `advance()` if it comes due. The monotonic clock never goes back.
 *
 * @module
 */

import type { Clock, TimerOptions } from "../base/clock.ts";

interface PendingTimer {
  readonly callback: () => void;
  /** On the monotonic clock. */
  readonly dueAt: number;
  readonly keepAlive: boolean;
}

/** A pending timer of a {@linkcode ManualClock}. */
export interface ManualTimer {
  /** Milliseconds until it fires. */
  readonly delayMs: number;
  /** Whether a real clock would keep the process alive for it. */
  readonly keepAlive: boolean;
}

/**
 * A {@linkcode Clock} that moves only when a test moves it.
 *
 * @example A batch comes due by age
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { ManualClock } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const clock = new ManualClock();
 * const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 5_000, clock });
 * await buffer.put("hello");
 * clock.advance(4_999);
 * assertEquals(buffer.shouldEmit(), false);
 * clock.advance(1);
 * assertEquals(buffer.shouldEmit(), true);
 * await buffer.close();
 * ```
 */
export class ManualClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #timers: PendingTimer[] = [];

  /**
   * Starts the clock; its monotonic time is 0.
   *
   * @param wallMs The wall time in milliseconds since 1970; 2026-01-01 by default.
   */
  constructor(wallMs: number = Date.UTC(2026, 0, 1)) {
    this.#wall = wallMs;
  }

  /** The wall time; see {@linkcode Clock.now}. */
  now(): number {
    return this.#wall;
  }

  /** The monotonic time; see {@linkcode Clock.monotonic}. */
  monotonic(): number {
    return this.#monotonic;
  }

  /** Sets a timer, which fires in `advance()`; see {@linkcode Clock.setTimer}. */
  setTimer(callback: () => void, delayMs: number, options?: TimerOptions): () => void {
    const timer = { callback, dueAt: this.#monotonic + delayMs, keepAlive: options?.keepAlive === true };
    this.#timers.push(timer);
    return () => this.#timers = this.#timers.filter((one) => one !== timer);
  }

  /** The pending timers. */
  get timers(): readonly ManualTimer[] {
    return this.#timers.map(({ dueAt, keepAlive }) => ({ delayMs: dueAt - this.#monotonic, keepAlive }));
  }

  /**
   * Moves both clocks forward and fires the timers that come due.
   *
   * @param ms By how many milliseconds.
   *
   * @example Timers fire at their own time
   * ```ts
   * import { ManualClock } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const clock = new ManualClock();
   * const fired: number[] = [];
   * clock.setTimer(() => fired.push(clock.monotonic()), 200);
   * clock.setTimer(() => fired.push(clock.monotonic()), 100);
   * clock.advance(150);
   * assertEquals(fired, [100]);
   * clock.advance(150);
   * assertEquals([fired, clock.monotonic()], [[100, 200], 300]);
   * ```
   */
  advance(ms: number): void {
    const end = this.#monotonic + ms;
    for (;;) {
      const due = this.#timers.filter(({ dueAt }) => dueAt <= end).sort((a, b) => a.dueAt - b.dueAt)[0];
      const now = Math.max(this.#monotonic, due?.dueAt ?? end);
      this.#wall += now - this.#monotonic;
      this.#monotonic = now;
      if (due === undefined) return;
      this.#timers = this.#timers.filter((one) => one !== due);
      due.callback();
    }
  }

  /**
   * Sets the wall clock, back or forward, as a person or NTP does. No time passes, and no timer fires.
   *
   * @param ms The wall time in milliseconds since 1970.
   *
   * @example A record's age ignores a jump of the wall clock
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { ManualClock } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const clock = new ManualClock();
   * const buffer = await MemoryBuffer.open<string>({ clock });
   * await buffer.put("hello");
   * clock.setWall(clock.now() + 3_600_000); // daylight saving time, gone wrong
   * clock.advance(10);
   * assertEquals(buffer.stats().oldestAgeMs, 10);
   * await buffer.close();
   * ```
   */
  setWall(ms: number): void {
    this.#wall = ms;
  }
}
