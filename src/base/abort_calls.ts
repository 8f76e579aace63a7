/**
 * Calls to make when signals abort, and signals that abort with others: any number share one listener per signal.
 *
 * Guarantees: the calls of a signal run in the order in which they were added, each once; a call that was removed never runs.
 * Adding and removing costs the same however many calls there are. When all are removed, no listener is left on a signal. An `AbortSignal` searches all its listeners at each
 * addition: with a listener for each put, thousands of puts with the same signal took seconds. `AbortSignal.any()` isn't used: on
 * Node 22 each call leaves something on its signals for as long as they live.
 *
 * @module
 */

/** The calls of one signal, and how to stop listening to it. */
interface Calls {
  readonly calls: Set<() => void>;
  readonly forget: () => void;
}

/** A signal that aborts with others. */
export interface JoinedSignal {
  readonly signal: AbortSignal;
  /** Nothing listens to it any more: it no longer aborts, and nothing of it stays on the others. */
  release(): void;
}

/** The calls for any number of signals. */
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

  /** Makes a signal that aborts with the first of `signals`, for its reason, until it is released. */
  join(signals: readonly AbortSignal[]): JoinedSignal {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted !== undefined) return { signal: aborted, release() {} };
    const controller = new AbortController();
    const release = (): void => {
      for (const forget of forgets) forget();
    };
    const forgets = signals.map((signal) =>
      this.add(signal, () => {
        release();
        controller.abort(signal.reason);
      })
    );
    return { signal: controller.signal, release };
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
