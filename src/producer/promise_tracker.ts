/**
 * Tells when all promises added until now are answered.
 *
 * Guarantee: adding one, and asking for all, costs the same, however many are open and however often is asked. They are
 * counted in generations, each from one question to the next. A generation is over when it and all before it are answered.
 *
 * @module
 */

/** Its two handlers are shared by its promises: none has a function of its own. */
class Generation {
  /** How many of its promises are not answered. */
  open = 0;
  next: Generation | undefined;
  /** Resolves when these and all before are answered. */
  readonly over: Promise<void>;
  readonly end: () => void;
  readonly onValue: <R>(value: R) => R;
  readonly onError: (error: unknown) => never;

  /** `onAnswer` is called when one of its promises is answered, which is counted by then. */
  constructor(onAnswer: () => void) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.end = resolve;
    this.onValue = (value) => {
      this.open--;
      onAnswer();
      return value;
    };
    this.onError = (error) => {
      this.open--;
      onAnswer();
      throw error;
    };
  }
}

/** Tracks promises. */
export class PromiseTracker {
  readonly #onAnswer = (): void => this.#advance();
  /** The oldest that isn't over, and the one that promises are added to. */
  #oldest: Generation = new Generation(this.#onAnswer);
  #newest: Generation = this.#oldest;

  /** Adds a promise, and returns one like it: if that rejects and nobody handles it, the runtime says so. */
  track<R>(promise: Promise<R>): Promise<R> {
    const generation = this.#newest;
    generation.open++;
    // Not with finally(), which answers two turns later.
    return promise.then<R, never>(generation.onValue, generation.onError);
  }

  /** Resolves when all that were added until now are settled. */
  all(): Promise<void> {
    const generation = this.#newest;
    this.#newest = generation.next = new Generation(this.#onAnswer);
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
