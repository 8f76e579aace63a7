/**
 * Pauses before something is tried again.
 *
 * @module
 */

import { type Clock, unlessSet } from "../base/clock.ts";
import type { Reporter } from "./events.ts";
import { askedMs, type Failure, refusalDelayMs, retryDelayMs, type RetryPolicy } from "./retry.ts";
import type { Shutdown } from "./shutdown.ts";

/** Collaborators of a {@linkcode Backoff}. */
export interface BackoffDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly retry: RetryPolicy;
  readonly shutdown: Shutdown;
  readonly reporter: Reporter;
}

/** The pauses of one producer. */
export class Backoff {
  readonly #deps: BackoffDeps;
  /** The pauses under way: their ends on the monotonic clock, and in wall time as it was when they began. */
  readonly #waits = new Set<{ readonly endsAt: number; readonly until: number; end: () => void }>();

  constructor(deps: BackoffDeps) {
    this.#deps = deps;
  }

  /** When the first of the pauses under way ends, by the wall clock as it is now. */
  get until(): number | undefined {
    if (this.#waits.size === 0) return undefined;
    const { clock } = this.#deps;
    const sinceMonotonic = clock.now() - clock.monotonic();
    return Math.min(...Array.from(this.#waits, ({ endsAt, until }) => {
      return Math.round(unlessSet(until, endsAt + sinceMonotonic));
    }));
  }

  /** How long to wait after the failure of a delivery; `undefined` to give up. */
  delayMs(failure: Omit<Failure, "random">): number | undefined {
    return retryDelayMs(this.#deps.retry, { ...failure, random: this.#deps.random() });
  }

  /** The pause that a target asks for, as far as `retry` allows it. */
  askedMs(retryAfterMs: number | undefined): number {
    return askedMs(this.#deps.retry, retryAfterMs);
  }

  /** How long to wait before a refusal is put to the test, for the `tries`-th time in a row. */
  refusalDelayMs(tries: number): number {
    return refusalDelayMs(this.#deps.retry, tries);
  }

  /** How long to wait for the `tries`-th time for something that is never given up. */
  endlessDelayMs(tries: number, retryAfterMs?: number | undefined): number {
    const { retry, random } = this.#deps;
    const endless = { ...retry, maxAttempts: Infinity, maxElapsedMs: Infinity };
    return retryDelayMs(endless, { tries, elapsedMs: 0, retryAfterMs, random: random() }) ?? 0;
  }

  /** Waits; false if the producer ends before. `id` is the delivery that waits. */
  async wait(delayMs: number, id?: string): Promise<boolean> {
    const { clock, shutdown, reporter } = this.#deps;
    const wait = { endsAt: clock.monotonic() + delayMs, until: clock.now() + delayMs, end() {} };
    this.#waits.add(wait);
    try {
      const pause = shutdown.pause(delayMs, (end) => wait.end = end);
      // It has begun: a listener may end it.
      reporter.tell({ type: "backoff-started", id, delayMs, until: wait.until });
      return await pause;
    } finally {
      this.#waits.delete(wait);
    }
  }

  /** Ends the pauses under way; false if there are none. */
  skip(): boolean {
    const isPausing = this.#waits.size > 0 && !this.#deps.shutdown.stopping.aborted;
    for (const { end } of this.#waits) end();
    this.#waits.clear();
    return isPausing;
  }

  /** Waits for a buffer to recover, for the `tries`-th time; false if the producer ends before. */
  async waitForBuffer(tries: number): Promise<boolean> {
    return await this.wait(this.endlessDelayMs(tries));
  }
}
