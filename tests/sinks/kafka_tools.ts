/**
 * What the tests of the Kafka sink share: records, and what an error of the sink means.
 */

import type { Delivery, DeliveryError } from "../../mod.ts";
import { deliveryOf } from "../support/deliveries.ts";

/** A record. */
export interface Click {
  readonly user: string;
  readonly n: number;
}

/** A delivery. */
export const clicks = (count: number, firstSequence = 1): Delivery<Click> =>
  deliveryOf<Click>(Array.from({ length: count }, (_, n) => ({ user: `user ${n % 3}`, n })), { firstSequence });

/**
 * What an error means: too large and is halved; halved until the record at fault is left, which is refused; the target's, which
 * passes by itself or lasts until somebody acts; the end.
 */
export function outcomeOf({ scope, tooLarge, split, retryable, final }: DeliveryError): string {
  if (scope === "target") return final ? "final" : retryable ? "passes" : "lasts";
  return tooLarge ? "too large" : split && !retryable ? "bad record" : "unexpected";
}

/** Tells a producer of Kafka from other objects that can send. */
export const sendBatch = (): Promise<void> => Promise.resolve();
