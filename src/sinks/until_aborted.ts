/**
 * Waiting that can be given up, for clients that know no `AbortSignal`.
 *
 * Giving up ends the wait, not the work: what was sent may still arrive at the target. So whoever uses this has to be
 * right even if the work is done after all, behind the back of the next attempt.
 *
 * @module
 */

/** Settles as `work` does, or rejects with the signal's reason as soon as there is one. @internal */
export function untilAborted<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}
