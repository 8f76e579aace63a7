/**
 * Time that a test moves by hand: nothing happens by itself, so nothing has to be waited for.
 *
 * Guarantees: timers fire only in `advance()`, in the order in which they come due, each at its own time on both
 * clocks; one that a callback sets fires in the same `advance()` if it comes due; the monotonic clock never goes back.
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

/**
 * A timer that is set on a {@linkcode ManualClock}.
 *
 * @example What a program waits for
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { ManualClock, type ManualTimer } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const isLong = ({ delayMs }: ManualTimer) => delayMs >= 1_000;
 *
 * const clock = new ManualClock();
 * const buffer = await MemoryBuffer.open<string>({ clock, maxAgeMs: 2_000 });
 * const producer = new Producer<string>({ buffer, clock, send: () => {} });
 * await producer.put("grows old");
 * await new Promise((resolve) => setTimeout(resolve)); // the producer takes notice
 * assertEquals(clock.timers.filter(isLong), [{ delayMs: 2_000, keepAlive: true }]);
 *
 * clock.advance(2_000);
 * await producer.flush();
 * assertEquals(producer.stats().deliveredRecords, 1);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface ManualTimer {
  /** Milliseconds until it fires. */
  readonly delayMs: number;
  /** Whether a real clock would keep the process alive for it. */
  readonly keepAlive: boolean;
}

/**
 * A {@linkcode Clock} that stands still until it is told to go on.
 *
 * @example A batch grows old
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

  /** Starts at a wall time of `wallMs` milliseconds since 1970 and a monotonic time of 0. */
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

  /** The timers that are set. */
  get timers(): readonly ManualTimer[] {
    return this.#timers.map(({ dueAt, keepAlive }) => ({ delayMs: dueAt - this.#monotonic, keepAlive }));
  }

  /** Lets `ms` milliseconds pass on both clocks and calls the timers that come due. */
  advance(ms: number): void {
    const end = this.#monotonic + ms;
    for (;;) {
      const due = this.#timers.filter(({ dueAt }) => dueAt <= end).sort((a, b) => a.dueAt - b.dueAt)[0];
      this.#moveTo(Math.max(this.#monotonic, due?.dueAt ?? end));
      if (due === undefined) return;
      this.#timers = this.#timers.filter((one) => one !== due);
      due.callback();
    }
  }

  /** Sets the wall clock, back or forward, as a person or NTP does; no time passes by it, and no timer fires. */
  setWall(ms: number): void {
    this.#wall = ms;
  }

  #moveTo(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}
