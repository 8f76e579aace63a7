/**
 * Listeners for events.
 *
 * Guarantees: each event reaches the listeners synchronously, in the order in which they were added. An error that a listener
 * throws is ignored: a listener must not be able to stop a put or a delivery halfway. A removed listener gets no more events.
 *
 * @module
 */

export class Listeners<E> {
  // Replaced at every change: an event that is being sent reaches the listeners that were there when it was sent.
  #listeners: readonly ((event: E) => void)[];

  constructor(first: ((event: E) => void) | undefined) {
    this.#listeners = first === undefined ? [] : [first];
  }

  /**
   * Adds a listener, also one that was added before.
   *
   * @returns Removes it; a second call does nothing.
   */
  add(listener: (event: E) => void): () => void {
    // A new function: the same listener may be added twice, and each is removed on its own.
    const added = (event: E): void => listener(event);
    this.#listeners = [...this.#listeners, added];
    return () => {
      this.#listeners = this.#listeners.filter((one) => one !== added);
    };
  }

  /** Sends an event to all listeners. */
  tell(event: E): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        // Ignored, see the head of this file.
      }
    }
  }
}

/** Throws a TypeError unless `listener` is a function. */
export function checkListener(listener: unknown): void {
  if (typeof listener === "function") return;
  throw new TypeError(
    `Cannot subscribe: listener must be a function, got ${listener === null ? "null" : typeof listener}`,
  );
}
