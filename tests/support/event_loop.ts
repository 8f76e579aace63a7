/**
 * Waiting without time: for turns of the event loop, in which everything happens that needs no timer.
 */

import { setImmediate } from "node:timers";

/** Gives the event loop so many turns. */
export async function yieldToEventLoop(times = 1): Promise<void> {
  for (let i = 0; i < times; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Lets everything happen that needs no time to pass: what is under way is done after a few turns of the event loop. */
export function settle(): Promise<void> {
  return yieldToEventLoop(8);
}

/** Whether a promise is neither resolved nor rejected when everything else has settled. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  promise.then(() => pending = false, () => pending = false);
  await settle();
  return pending;
}
