/**
 * Waiting that can be given up, for targets that know no signal, and work that is done one at a time.
 *
 * Guarantees: who waits is told at once when the signal is aborted, with its reason; the work itself goes on, and its
 * end is never an unhandled rejection; no listener stays on the signal.
 *
 * @module
 */

import type { SerialQueue } from "./serial_queue.ts";

/** Settles as `work` does, or rejects with the signal's reason once it is aborted, whichever comes first. */
export function abortable<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

/**
 * Does `work` when all that is in the queue before it has ended, or rejects once the signal is aborted. An attempt that
 * was given up while it ran is among what is waited for: what it has done by then is known to the next one.
 */
export function runExclusive<R>(queue: SerialQueue, work: () => Promise<R>, signal: AbortSignal): Promise<R> {
  const done = queue.run(() => {
    signal.throwIfAborted();
    return work();
  });
  return abortable(done, signal);
}
