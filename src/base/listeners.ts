/**
 * Listeners for events.
 *
 * Guarantees: each event reaches the listeners synchronously, in the order in which they were added. A listener can't stop a put
 * or a delivery halfway, and one that is asynchronous can't end the process: what it throws, or what its promise rejects with,
 * is an event of its own, which all listeners get. If a listener fails at that event, nobody learns of it, so that there is an
 * end. A removed listener gets no more events.
 *
 * @module
 */

/** A listener has failed at an event. */
export interface ListenerFailedEvent {
  /** Which event this is. */
  readonly type: "listener-failed";
  /** The type of that event. */
  readonly at: string;
  /** What it threw, or what its promise rejected with. */
  readonly error: unknown;
}

type Listener<E> = (event: E) => unknown;

export class Listeners<E extends { readonly type: string }> {
  // Replaced at every change: an event that is being sent reaches the listeners that were there when it was sent.
  #listeners: readonly Listener<E | ListenerFailedEvent>[];
  readonly #onFailed: ((event: ListenerFailedEvent) => void) | undefined;

  /** With `first` as the first one; `onFailed` is called before the listeners when one has failed. */
  constructor(
    first: Listener<E | ListenerFailedEvent> | undefined,
    onFailed?: (event: ListenerFailedEvent) => void,
  ) {
    this.#listeners = first === undefined ? [] : [first];
    this.#onFailed = onFailed;
  }

  /**
   * Adds a listener, also one that was added before.
   *
   * @returns Removes it; a second call does nothing.
   */
  add(listener: Listener<E | ListenerFailedEvent>): () => void {
    // A new function: the same listener may be added twice, and each is removed on its own.
    const added = (event: E | ListenerFailedEvent): unknown => listener(event);
    this.#listeners = [...this.#listeners, added];
    return () => {
      this.#listeners = this.#listeners.filter((one) => one !== added);
    };
  }

  /** Sends an event to all listeners. */
  tell(event: E): void {
    this.#tell(event, (error) => {
      const failed: ListenerFailedEvent = { type: "listener-failed", at: event.type, error };
      this.#onFailed?.(failed);
      this.#tell(failed, () => {});
    });
  }

  #tell(event: E | ListenerFailedEvent, onError: (error: unknown) => void): void {
    for (const listener of this.#listeners) {
      try {
        const result = listener(event);
        if (isThenable(result)) result.then(undefined, onError);
      } catch (error) {
        onError(error);
      }
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as PromiseLike<unknown>).then === "function";
}

/** Throws a TypeError unless `listener` is a function. */
export function checkListener(listener: unknown): void {
  if (typeof listener === "function") return;
  throw new TypeError(
    `Cannot subscribe: listener must be a function, got ${listener === null ? "null" : typeof listener}`,
  );
}
