/**
 * The end of a producer, or of its part until it stops: two signals for everything that runs in it.
 *
 * Two steps: from `stop()` on nothing new is begun. What runs may finish within a grace time, then `aborting` ends it as
 * well. No wait is without a limit, so that a producer can always be closed.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import { ProducerClosedError, ProducerStoppedError } from "../errors/mod.ts";

/** The two steps to the end of one producer, as signals. */
export class Shutdown {
  /** Nothing new is to be begun. Its reason is the error for calls that wait. */
  readonly stopping: AbortSignal;
  /** What runs is to end now. */
  readonly aborting: AbortSignal;
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #ending = new AbortController();
  readonly #aborting = new AbortController();
  #cancelTimer: (() => void) | undefined;

  /** `graceMs`: how long what runs may go on. */
  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock;
    this.#graceMs = graceMs;
    this.stopping = this.#ending.signal;
    this.aborting = this.#aborting.signal;
  }

  /** The first step; later calls do nothing. */
  stop(reason: Error): void {
    if (this.stopping.aborted) return;
    this.#cancelTimer = this.#clock.setTimer(() => this.abort(), this.#graceMs, { keepAlive: true });
    this.#ending.abort(reason);
  }

  /**
   * Why nothing can be done any more; `undefined` before the end. `verb` is what was asked for, `cause` what went wrong last with
   * what isn't delivered.
   */
  refusal(verb: string, cause?: unknown): Error | undefined {
    const { aborted, reason } = this.stopping;
    if (!aborted) return undefined;
    return reason instanceof ProducerStoppedError
      ? reason
      : new ProducerClosedError(verb, cause === undefined ? undefined : { cause });
  }

  /** The second step, before the grace time is over. */
  abort(): void {
    this.dispose();
    this.#aborting.abort(this.stopping.reason);
  }

  /** Nothing runs any more: there is nothing to wait for. */
  dispose(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /**
   * Waits; false if the producer ends before, or has ended. A process with something to wait for stays alive. `onBegun` gets what
   * ends the wait as if its time were over.
   */
  pause(delayMs: number, onBegun?: (end: () => void) => void): Promise<boolean> {
    if (this.stopping.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (isOver: boolean): void => {
        cancelTimer();
        this.stopping.removeEventListener("abort", onEnding);
        resolve(isOver);
      };
      const onEnding = (): void => settle(false);
      const cancelTimer = this.#clock.setTimer(() => settle(true), delayMs, { keepAlive: true });
      this.stopping.addEventListener("abort", onEnding, { once: true });
      onBegun?.(() => settle(true));
    });
  }
}
