/**
 * Fake timers as test libraries make them, for the combinations in which these replace the global sources of time: some replace
 * `Date` and not `performance`, some let timers be numbers.
 *
 * Guarantee: real time doesn't move what is replaced, and `restore()` puts everything back.
 */

import { ManualClock } from "../../src/testing/manual_clock.ts";

/** What can be replaced. */
export type TimeSource = "setTimeout" | "Date" | "performance";

/** Fake timers that are installed. */
export interface FakeTimers {
  /** Moves the fake time, and fires timers that come due. */
  advance(ms: number): void;
  restore(): void;
}

/** Replaces the global sources named. `hasNumbers`: a timer is a number, not an object. */
export function installFakeTimers(sources: readonly TimeSource[], { hasNumbers = false } = {}): FakeTimers {
  const clock = new ManualClock(Date.now());
  const { setTimeout, clearTimeout, Date: RealDate } = globalThis;
  const ownNow = Object.getOwnPropertyDescriptor(performance, "now");
  const cancels = new Map<unknown, () => void>();
  if (sources.includes("setTimeout")) {
    const fake = (callback: () => void, delayMs = 0) => {
      const timer = hasNumbers ? cancels.size + 1 : { unref() {} };
      cancels.set(timer, clock.setTimer(callback, delayMs));
      return timer;
    };
    Object.assign(globalThis, { setTimeout: fake, clearTimeout: (timer: unknown) => cancels.get(timer)?.() });
  }
  if (sources.includes("Date")) {
    globalThis.Date = class extends RealDate {
      constructor(...args: unknown[]) {
        super(...(args.length === 0 ? [clock.now()] : args) as [number]);
      }
      static override now(): number {
        return clock.now();
      }
    } as DateConstructor;
  }
  if (sources.includes("performance")) {
    const start = clock.monotonic();
    Object.defineProperty(performance, "now", { value: () => clock.monotonic() - start, configurable: true });
  }
  return {
    advance: (ms) => clock.advance(ms),
    restore() {
      Object.assign(globalThis, { setTimeout, clearTimeout, Date: RealDate });
      if (ownNow !== undefined) Object.defineProperty(performance, "now", ownNow);
      else Reflect.deleteProperty(performance, "now");
    },
  };
}
