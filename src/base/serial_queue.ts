/**
 * Runs actions one after the other.
 *
 * Guarantees: actions start in the order of the calls and never overlap; a failed action doesn't affect those behind it. An
 * action with none before it runs at once, within the call, and costs no promise but the one that is returned. That keeps
 * small batches cheap.
 *
 * @module
 */

import type { MaybePromise } from "./maybe_promise.ts";

/** A queue of actions. */
export class SerialQueue {
  /** Settles when the last queued action has ended; never rejects. `undefined` if the queue is empty. */
  #last: Promise<void> | undefined;
  /** Whether an action is on the stack: what it queues itself must not run before it returns. */
  #isRunning = false;

  /** Runs `action` when all before it have ended; settles as it does. */
  run<R>(action: () => MaybePromise<R>): Promise<R> {
    if (this.#isRunning) return this.#runLater(action);
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

  async #runLater<R>(action: () => MaybePromise<R>): Promise<R> {
    await undefined;
    return await this.run(action);
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
