/**
 * Which deliveries an HTTP sink asks to be sent again in halves, although the server hasn't said that they are too large.
 *
 * ## A delivery that is refused
 *
 * One bad record among many makes a server refuse all of them. In halves, the halves in halves and so on, the others are taken
 * and the bad one is left: among n records that takes about 2 log2(n) requests. A server that refuses everything would cost 2n
 * requests for each batch that way. So after {@linkcode MAX_REFUSALS} refusals in a row nothing is split any more, and each
 * delivery costs one request, until the server has accepted something.
 *
 * ## A delivery whose connection is cut
 *
 * A server that finds a body too large may answer 413 and close the connection while the body is still being sent. The reset that
 * follows can take the answer away from the client. The connection is then seen to be cut, and the next attempt would end the
 * same way. So a long body whose connection was cut {@linkcode MAX_CUTS} times in a row, before any answer, is sent in halves.
 * A server that stored such a delivery, and yet cut all of these connections before it answered, gets its records twice. A
 * connection that can't be made counts for nothing: an outage splits no delivery.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";
import { isCut, toConnectionError } from "./http_exchange.ts";

/** Room for some forty bad records side by side, beyond the dozen refusals that lead to the first of a thousand. */
export const MAX_REFUSALS = 100;

/** One cut is an accident. */
export const MAX_CUTS = 3;

/** Less than this fits the buffers of a connection: the client has sent all of it and reads the answer. */
const MIN_CUT_BODY_BYTES: number = 64 * 1024;

/** The decisions for one sink. */
export class SplitPolicy {
  #refusals = 0;
  /** The number of cuts in a row, by the delivery's id. */
  readonly #cuts = new Map<string, number>();

  /** Notes that the server has accepted a delivery. */
  onAccepted(): void {
    this.#refusals = 0;
  }

  /**
   * Notes that the server has refused a delivery of `length` records in an attempt; whether it is to be split. A producer sends what
   * was refused once more when it doubts the server, which is no further refusal.
   */
  onRefused(length: number, attempt: number): boolean {
    if (attempt === 1 || this.#refusals === 0) this.#refusals++;
    return length > 1 && this.#refusals <= MAX_REFUSALS;
  }

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
