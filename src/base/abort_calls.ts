/**
 * What is to be done when signals abort: any number of calls share the one listener that a signal has here.
 *
 * Guarantees: the calls of a signal are made in the order in which they were added, each once; none that was taken back. To
 * add one or to take one back costs the same, however many there are: a signal walks over all its listeners for each that
 * comes, so that thousands of puts with the same signal, such as a producer's own, took seconds.
 *
 * @module
 */

/** The calls of one signal. */
interface Calls {
  readonly calls: Set<() => void>;
  readonly listener: () => void;
}

/** Calls by their signals. */
export class AbortCalls {
  readonly #bySignal = new Map<AbortSignal, Calls>();

  /**
   * Has `call` made when `signal` aborts, which it hasn't yet.
   *
   * @returns Takes it back; nothing happens if it was made.
   */
  add(signal: AbortSignal, call: () => void): () => void {
    const { calls } = this.#bySignal.get(signal) ?? this.#listenTo(signal);
    // A function of our own: the same one may be added twice.
    const added = (): void => call();
    calls.add(added);
    return () => {
      if (calls.delete(added) && calls.size === 0) this.#forget(signal);
    };
  }

  #listenTo(signal: AbortSignal): Calls {
    const calls = new Set<() => void>();
    const listener = (): void => {
      this.#bySignal.delete(signal);
      for (const call of calls) {
        calls.delete(call);
        call();
      }
    };
    signal.addEventListener("abort", listener, { once: true });
    const entry = { calls, listener };
    this.#bySignal.set(signal, entry);
    return entry;
  }

  #forget(signal: AbortSignal): void {
    const entry = this.#bySignal.get(signal);
    if (entry === undefined) return;
    this.#bySignal.delete(signal);
    signal.removeEventListener("abort", entry.listener);
  }
}
