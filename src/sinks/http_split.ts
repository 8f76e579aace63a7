/**
 * Which deliveries an HTTP sink asks to be sent again in halves, although the server hasn't said that they are too large.
 *
 * ## A delivery that is refused
 *
 * One bad record among many makes a server refuse all of them. In halves, the halves in halves and so on, the others are taken
 * and the bad one is left: among n records that takes about 2 log2(n) requests. A server that refuses everything would cost 2n
 * requests for each batch that way; the producer's gate makes it wait between single records that are refused in a row.
 *
 * ## A delivery whose connection is cut
 *
 * A server that finds a body too large may answer 413 and close the connection while the body is still being sent. The reset that
 * follows can take the answer away from the client. The connection is then seen to be cut, and the next attempt would end the
 * same way. So a long body whose connection was cut {@linkcode MAX_CUTS} times in a row, before any answer, is sent in halves.
 * A server that stored such a delivery, and yet cut all of these connections before it answered, gets its records twice: so the
 * number is one that isn't reached by chance. A connection that can't be made counts for nothing: an outage splits no delivery.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";
import { isCut, toConnectionError } from "./http_exchange.ts";

/** A connection in ten that is cut would reach three of them once in a thousand deliveries. */
export const MAX_CUTS = 6;

/** Less than this fits the buffers of a connection: the client has sent all of it and reads the answer. */
const MIN_CUT_BODY_BYTES: number = 64 * 1024;

/** The decisions for one sink about deliveries whose connections are cut. */
export class CutPolicy {
  /** The number of cuts in a row, by the delivery's id. */
  readonly #cuts = new Map<string, number>();

  /** Begins an attempt: a function that makes the error for a connection that failed before there was a response. */
  begin({ id, length }: Delivery<unknown>, bodyBytes: number): (cause: unknown) => DeliveryError {
    const before = this.#cuts.get(id) ?? 0;
    this.#cuts.delete(id);
    return (cause) => {
      if (bodyBytes < MIN_CUT_BODY_BYTES || !isCut(cause)) return toConnectionError(cause);
      const cuts = before + 1;
      if (cuts < MAX_CUTS) {
        this.#cuts.set(id, cuts);
        return toConnectionError(cause);
      }
      const { message } = toConnectionError(cause);
      const reason = `${
        message.replace("Cannot deliver: ", "")
      }; perhaps ${bodyBytes} bytes are too many for the server`;
      return new DeliveryError({ reason, split: length > 1 }, { cause });
    };
  }
}
