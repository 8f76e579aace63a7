/**
 * Waits that a signal ends, for targets that take no signal; and exclusive work with such a wait.
 *
 * Guarantees: the caller is rejected as soon as the signal aborts, with the signal's reason. The work itself continues; if it
 * fails later, that is no unhandled rejection. No listener stays on the signal.
 *
 * @module
 */

import type { SerialQueue } from "./serial_queue.ts";

/** Settles as `work` does, or rejects with the signal's reason when it aborts, whichever comes first. */
export function abortable<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

/**
 * Runs `work` when all work queued before it has ended; rejects when the signal aborts. Work whose caller gave up while it ran
 * is still waited for, so that the next work sees its effects.
 */
export function runExclusive<R>(queue: SerialQueue, work: () => Promise<R>, signal: AbortSignal): Promise<R> {
  const done = queue.run(() => {
    signal.throwIfAborted();
    return work();
  });
  return abortable(done, signal);
}
