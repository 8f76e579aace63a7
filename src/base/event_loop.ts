/**
 * Yields to the event loop from time to time.
 *
 * A program that only does `await buffer.put(...)` in a loop stays in microtasks: timers, signals and I/O, the buffer's own
 * interval sync among them, would wait until the loop ends. So work is counted, and after a fixed amount the next step waits
 * for the event loop. Counting costs nothing, and unlike a timer it makes runs repeatable.
 *
 * @module
 */

import { clearImmediate, setImmediate } from "node:timers";

/** Counts work, in units that the caller chooses. */
export class YieldBudget {
  readonly #every: number;
  #spent = 0;

  /** Yields are due after each `every` units. */
  constructor(every: number) {
    this.#every = every;
  }

  /** Counts work; `true` when it is time to yield. */
  spend(units: number): boolean {
    this.#spent += units;
    if (this.#spent < this.#every) return false;
    this.#spent = 0;
    return true;
  }
}

/** Resolves after everything else that waits for the event loop has run. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** A promise that may be resolved later: what a caller waits for. */
export interface Reply {
  resolve(): void;
}

/** Resolves replies in order. After each `every` of them, those that follow wait for the event loop. */
export class PacedReplies {
  readonly #budget: YieldBudget;
  #held: Reply[] = [];
  #immediate: ReturnType<typeof setImmediate> | undefined;

  /** Makes the replies wait after each `every` of them. */
  constructor(every: number) {
    this.#budget = new YieldBudget(every);
  }

  /** Counts a reply; `true` if it must go to `hold`, `false` if the caller may resolve it at once. */
  mustHold(): boolean {
    return this.#immediate !== undefined || this.#budget.spend(1);
  }

  /** Resolves a reply after the next yield, behind those that are held already. */
  hold(reply: Reply): void {
    this.#held.push(reply);
    this.#immediate ??= setImmediate(() => this.flush());
  }

  /** Resolves all replies that are held. */
  flush(): void {
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    for (const reply of this.#held.splice(0)) reply.resolve();
  }
}
