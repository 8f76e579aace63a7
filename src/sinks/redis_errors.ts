/**
 * What an error of Redis, or of its client, means: whose fault it is, and whether it passes by itself.
 *
 * The first word of a server's error is its kind, see
 * https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors. Up to version 6 it is behind the place in the script.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";

/** Kinds that pass by themselves. All others need somebody to act: a password, a permission, memory, a key of another type. */
const PASSING =
  /^(LOADING|BUSY|CLUSTERDOWN|TRYAGAIN|MASTERDOWN|MOVED|ASK|NOREPLICAS|UNKILLABLE|NOTREADY|INPROG|FAILOVER)\b/;
const KIND = /^[A-Z]{2,}\b/;
const PLACE_IN_SCRIPT = /^ERR Error (?:running|compiling) script .*?: @?user_script: ?\d+: -?/;
/** The server's limit of an argument, or of an entry. */
const TOO_LARGE = /^ERR (Protocol error: (invalid bulk length|too big)|Elements are too large)/;

/** What the server said; `undefined` if it is the client that speaks, because there was no answer. */
export function replyText(error: unknown): string | undefined {
  const text = errorText(error).replace(PLACE_IN_SCRIPT, "");
  // A system's error has a code.
  return typeof (error as { code?: unknown } | undefined)?.code !== "string" && KIND.test(text) ? text : undefined;
}

/** Whether a record that was sent alone is at fault: nobody will ever take it. */
export function isTooLarge(error: unknown): boolean {
  return TOO_LARGE.test(replyText(error) ?? "");
}

/** What a failure means for the delivery; `isClosed` says whether the client was closed for good. */
export function toDeliveryError(error: unknown, isClosed: boolean): DeliveryError {
  const reply = replyText(error);
  if (reply === undefined && isClosed) {
    const reason = `${
      errorText(error)
    }: the client isn't connected, was closed by its owner, or has given up reconnecting`;
    return new DeliveryError({ reason, scope: "target", final: true }, { cause: error });
  }
  // A `TypeError` is the client's about its own arguments: no connection mends that.
  const retryable = reply === undefined ? !(error instanceof TypeError) : PASSING.test(reply);
  return new DeliveryError({ reason: reply ?? errorText(error), scope: "target", retryable }, { cause: error });
}
