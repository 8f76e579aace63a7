/**
 * Which promises have been answered: whether all that there were at a time have.
 *
 * Guarantee: to track one, and to ask for all, costs the same, however many are open and however often is asked. They are
 * counted in generations, each from one question to the next; one generation is over when it and all before it are.
 *
 * @module
 */

/** The promises between two questions. */
interface Generation {
  /** How many of them are not answered. */
  open: number;
  /** Resolves when these and all before are answered. */
  readonly over: Promise<void>;
  readonly end: () => void;
  next: Generation | undefined;
}

function newGeneration(): Generation {
  let end = (): void => {};
  const over = new Promise<void>((resolve) => end = resolve);
  return { open: 0, over, end, next: undefined };
}

/** Promises that are to be answered. */
export class PromiseTracker {
  /** The oldest one that isn't over; the one that is being added to. */
  #oldest: Generation = newGeneration();
  #newest: Generation = this.#oldest;

  /** Adds one; gives it back. */
  track<R>(promise: Promise<R>): Promise<R> {
    const generation = this.#newest;
    generation.open++;
    const answered = (): void => {
      generation.open--;
      this.#advance();
    };
    promise.then(answered, answered);
    return promise;
  }

  /** Resolves when all that were added so far are answered, one way or the other. */
  all(): Promise<void> {
    const generation = this.#newest;
    this.#newest = generation.next = newGeneration();
    this.#advance();
    return generation.over;
  }

  /** Ends those that are over. The newest one is never: more may come. */
  #advance(): void {
    while (this.#oldest.open === 0 && this.#oldest.next !== undefined) {
      this.#oldest.end();
      this.#oldest = this.#oldest.next;
    }
  }
}
