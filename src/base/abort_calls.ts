/**
 * Calls to make when signals abort: any number of calls share one listener per signal.
 *
 * Guarantees: the calls of a signal run in the order in which they were added, each once; a call that was removed never runs.
 * Adding and removing costs the same however many calls there are. An `AbortSignal` searches all its listeners at each
 * addition: with a listener for each put, thousands of puts with the same signal took seconds.
 *
 * @module
 */

/** The calls of one signal, and how to stop listening to it. */
interface Calls {
  readonly calls: Set<() => void>;
  readonly forget: () => void;
}

export class AbortCalls {
  readonly #bySignal = new Map<AbortSignal, Calls>();

  /**
   * Runs `call` when `signal` aborts. The signal must not have aborted yet.
   *
   * @returns Removes the call; does nothing after it has run.
   */
  add(signal: AbortSignal, call: () => void): () => void {
    const { calls, forget } = this.#bySignal.get(signal) ?? this.#listenTo(signal);
    // A function of our own: the same one may be added twice.
    const added = (): void => call();
    calls.add(added);
    return () => {
      if (calls.delete(added) && calls.size === 0) forget();
    };
  }

  #listenTo(signal: AbortSignal): Calls {
    const calls = new Set<() => void>();
    const forget = (): void => {
      this.#bySignal.delete(signal);
      signal.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => {
      forget();
      for (const call of calls) {
        calls.delete(call);
        call();
      }
    };
    signal.addEventListener("abort", onAbort);
    this.#bySignal.set(signal, { calls, forget });
    return { calls, forget };
  }
}
