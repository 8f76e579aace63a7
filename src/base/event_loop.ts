/**
 * Gives the event loop a turn now and then.
 *
 * A program that does nothing but `await buffer.put(...)` in a loop lives in microtasks: timers, signals and I/O would
 * not get their turn until it ends, the buffer's own interval sync among them. So work is counted, and after some of
 * it the next step waits for the loop. Counted, not timed: it costs nothing, and a run can be repeated.
 *
 * @module
 */

import { clearImmediate, setImmediate } from "node:timers";

/** Counts work, in units of the caller's. */
export class YieldBudget {
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

/** Resolves when everything else that waits for the event loop has had its turn. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** An answer that may have to wait. */
export interface Reply {
  /** Gives it. */
  resolve(): void;
}

/** Answers in order, now and then only after the event loop had a turn. */
export class PacedReplies {
  readonly #budget: YieldBudget;
  #held: Reply[] = [];
  #immediate: ReturnType<typeof setImmediate> | undefined;

  /** A turn is due after each `every` answers. */
  constructor(every: number) {
    this.#budget = new YieldBudget(every);
  }

  /** Counts an answer; true if it must be given to `hold`, false if it may be given at once. */
  mustHold(): boolean {
    return this.#immediate !== undefined || this.#budget.spend(1);
  }

  /** Gives an answer after the next turn, behind those that wait for it already. */
  hold(answer: Reply): void {
    this.#held.push(answer);
    this.#immediate ??= setImmediate(() => this.flush());
  }

  /** Gives all answers that wait. */
  flush(): void {
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    for (const answer of this.#held.splice(0)) answer.resolve();
  }
}
