/**
 * Waiting that can be given up, for targets that know no signal, and work that is done one at a time.
 *
 * Guarantees: who waits is told at once when the signal is aborted, with its reason; the work itself goes on, and its
 * end is never an unhandled rejection; no listener stays on the signal.
 *
 * @module
 */

/** Settles as `work` does, or rejects with the signal's reason once it is aborted, whichever comes first. */
export function abortable<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

/** Does one thing after the other, in the order in which they were asked for. */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Does `work` when everything before it has ended, however. An attempt that was given up while it ran is among what
   * is waited for: what it has done by then is known to the next one.
   */
  run<R>(work: () => Promise<R>, signal?: AbortSignal): Promise<R> {
    const done = this.#last.then(() => {
      signal?.throwIfAborted();
      return work();
    });
    this.#last = done.catch(() => {});
    return signal === undefined ? done : abortable(done, signal);
  }
}
