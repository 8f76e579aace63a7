/**
 * Runs actions one after the other, each when the one before it has ended.
 *
 * Guarantees: actions begin in the order of the calls and never overlap; whether one fails makes no difference to those
 * behind it. An action that nobody is in front of runs at once, within the call: what needs no wait costs no promise
 * but the one that is returned, which is what makes small batches cheap.
 *
 * @module
 */

import type { MaybePromise } from "./maybe_promise.ts";

const RESOLVED: Promise<void> = Promise.resolve();

/** A queue of actions. */
export class SerialQueue {
  /** Settles when the last one in the queue has ended; never rejects. `undefined` if there is none. */
  #last: Promise<void> | undefined;
  /** Whether an action is under way on the stack: what it calls may not run before it returns. */
  #isRunning = false;

  /** Runs `action` when all before it have ended; resolves or rejects as it does. */
  run<R>(action: () => MaybePromise<R>): Promise<R> {
    if (this.#isRunning) return RESOLVED.then(() => this.run(action));
    if (this.#last !== undefined) return this.#enqueue(this.#last.then(action));
    this.#isRunning = true;
    try {
      const result = action();
      return result instanceof Promise ? this.#enqueue(result) : Promise.resolve(result);
    } catch (error) {
      return Promise.reject(error);
    } finally {
      this.#isRunning = false;
    }
  }

  #enqueue<R>(result: Promise<R>): Promise<R> {
    const leave = (): void => {
      if (this.#last === last) this.#last = undefined;
    };
    const last = result.then(leave, leave);
    this.#last = last;
    return result;
  }
}
