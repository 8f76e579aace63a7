/**
 * Who is told what happens.
 *
 * Guarantees: listeners are told in the order in which they came, at once; what one of them throws is ignored, because
 * whoever listens must not be able to stop a put or a delivery half way; one that leaves is not told any more.
 *
 * @module
 */

/** Listeners of one kind of event. */
export class Listeners<E> {
  // Replaced at every change, so that a round that is under way goes on with those that it began with.
  #listeners: readonly ((event: E) => void)[];

  /** Begins with `first`, if there is one. */
  constructor(first: ((event: E) => void) | undefined) {
    this.#listeners = first === undefined ? [] : [first];
  }

  /**
   * Adds one, also if it is there already.
   *
   * @returns Takes it out again; a second call does nothing.
   */
  add(listener: (event: E) => void): () => void {
    // A function of our own: the same one may be added twice, and each leaves by itself.
    const added = (event: E): void => listener(event);
    this.#listeners = [...this.#listeners, added];
    return () => {
      this.#listeners = this.#listeners.filter((one) => one !== added);
    };
  }

  /** Tells all. */
  tell(event: E): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        // See above.
      }
    }
  }
}

/** Throws a TypeError unless it can be told something. */
export function checkListener(listener: unknown): void {
  if (typeof listener === "function") return;
  throw new TypeError(
    `Cannot subscribe: listener must be a function, got ${listener === null ? "null" : typeof listener}`,
  );
}
