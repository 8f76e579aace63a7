/**
 * Tells when all promises added until now are answered.
 *
 * Guarantee: adding one, and asking for all, costs the same, however many are open and however often is asked. They are
 * counted in generations, each from one question to the next. A generation is over when it and all before it are answered.
 *
 * @module
 */

interface Generation {
  /** How many of its promises are not answered. */
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

/** Tracks promises. */
export class PromiseTracker {
  /** The oldest that isn't over, and the one that promises are added to. */
  #oldest: Generation = newGeneration();
  #newest: Generation = this.#oldest;

  /** Adds a promise, and returns one like it: if that rejects and nobody handles it, the runtime says so. */
  track<R>(promise: Promise<R>, release?: () => void): Promise<R> {
    const generation = this.#newest;
    generation.open++;
    // Not with finally(), which answers two turns later.
    return promise.then((value) => {
      release?.();
      this.#answer(generation);
      return value;
    }, (error) => {
      release?.();
      this.#answer(generation);
      throw error;
    });
  }

  #answer(generation: Generation): void {
    generation.open--;
    this.#advance();
  }

  /** Resolves when all that were added until now are settled. */
  all(): Promise<void> {
    const generation = this.#newest;
    this.#newest = generation.next = newGeneration();
    this.#advance();
    return generation.over;
  }

  /** Ends the generations that are over. The newest never is: more may come. */
  #advance(): void {
    while (this.#oldest.open === 0 && this.#oldest.next !== undefined) {
      this.#oldest.end();
      this.#oldest = this.#oldest.next;
    }
  }
}
