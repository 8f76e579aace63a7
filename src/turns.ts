/**
 * Gives the event loop a turn now and then.
 *
 * A program that does nothing but `await buffer.put(...)` in a loop lives in microtasks: timers, signals and I/O would
 * not get their turn until it ends, the buffer's own interval sync among them. So work is counted, and after some of
 * it the next step waits for the loop. Counted, not timed: it costs nothing, and a run can be repeated.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** Counts work, in units of the caller's. */
export class Turns {
  readonly #every: number;
  #spent = 0;

  /** A turn is due after each `every` units. */
  constructor(every: number) {
    this.#every = every;
  }

  /** Counts; true when a turn is due. */
  spend(units: number): boolean {
    this.#spent += units;
    if (this.#spent < this.#every) return false;
    this.#spent = 0;
    return true;
  }
}

/** Calls `callback` when everything else that waits for the event loop has had its turn. */
export function afterTurn(callback: () => void): void {
  setImmediate(callback);
}
