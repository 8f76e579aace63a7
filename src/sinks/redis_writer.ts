/**
 * Adds the entries of deliveries to a stream of Redis by calls of the script, one after the other.
 *
 * **A record that is too large** for the server is refused alone. The server closes the connection on it, so it is left, and what
 * the server said is kept until the others of the delivery are added. Where the connection is cut before that can be read, the record
 * is refused after three cuts, before each of which the server has answered.
 *
 * **A connection that is silent** is left when an attempt's time is over and no call was answered meanwhile.
 *
 * @module
 */

import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import type { Delivery } from "../producer/delivery.ts";
import { identityToText, parseBufferUuid, type SinkResult } from "./record_identity.ts";
import type { RedisConnection } from "./redis_client.ts";
import { isTooLarge, replyText, toDeliveryError } from "./redis_errors.ts";
import { type Entry, isSmall, LATE, Sender, splitIntoCalls, toWords } from "./redis_script.ts";

/** Cuts of the connection by one record. */
const MAX_CUTS = 3;
/** Names that a sender takes for one call: more than one only if another sender delivers from the same buffer. */
const MAX_RENAMES = 2;

/** Collaborators and values of a {@linkcode StreamWriter}. */
export interface StreamWriterDeps {
  readonly connection: RedisConnection;
  /** Stream and hash of notes. */
  readonly keys: readonly [stream: string, notes: string];
  /** Whether a silent connection may be left. */
  readonly reconnect: boolean;
}

/** The ids of a delivery. */
type Ids = Pick<Delivery<unknown>, "batchId">;

/** Writes to one stream. */
export class StreamWriter {
  readonly #deps: StreamWriterDeps;
  readonly #sender = new Sender();
  /** Records that cut the connection or were refused as too large, by their identity. */
  readonly #suspects = new Map<string, { cuts: number; reason?: string }>();
  /** How many answers came, and how many connections were left. */
  #answers = 0;
  #left = 0;

  constructor(deps: StreamWriterDeps) {
    this.#deps = deps;
  }

  /**
   * Adds what is missing.
   *
   * @returns What became of it, and the records that are too large.
   * @throws {DeliveryError} for a fault of the target.
   */
  async write(
    delivery: Ids,
    entries: readonly Entry[],
    signal: AbortSignal,
  ): Promise<SinkResult & { readonly failed: readonly FailedRecord[] }> {
    let stored = 0;
    let duplicates = 0;
    const failed: FailedRecord[] = [];
    const refused: string[] = [];
    for (const part of splitIntoCalls(entries)) {
      // Parts of an aborted attempt and of the next one may run in any order: each is atomic in Redis, and adds only what is missing.
      const result =
        await (isSmall(part) ? this.#call(delivery, part, signal) : this.#callLarge(delivery, part, signal));
      if (typeof result === "string") {
        failed.push({ index: part[0]!.index, retryable: false, reason: result });
        refused.push(identityToText({ batchId: delivery.batchId, sequence: part[0]!.sequence }));
      } else {
        stored += result.stored;
        duplicates += result.duplicates;
      }
    }
    for (const identity of refused) this.#suspects.delete(identity);
    return { stored, duplicates, failed };
  }

  /** Adds a single record; why it is refused, if it is. */
  async #callLarge(delivery: Ids, part: readonly Entry[], signal: AbortSignal): Promise<SinkResult | string> {
    const identity = identityToText({ batchId: delivery.batchId, sequence: part[0]!.sequence });
    const suspect = this.#suspects.get(identity) ?? { cuts: 0 };
    if (suspect.reason !== undefined) return suspect.reason;
    // Is the server there at all?
    if (suspect.cuts > 0) await this.#call(delivery, [], signal);
    try {
      const result = await this.#call(delivery, part, signal);
      this.#suspects.delete(identity);
      return result;
    } catch (error) {
      const cause = error instanceof DeliveryError ? error.cause : undefined;
      if (cause === undefined || (error as DeliveryError).final) throw error;
      if (isTooLarge(cause)) {
        suspect.reason = `${errorText(cause)}: the record is larger than the server takes`;
        if (this.#deps.reconnect) this.#leave();
      } else if (replyText(cause) === undefined && ++suspect.cuts === MAX_CUTS) {
        suspect.reason = `the connection was cut ${MAX_CUTS} times by this record: ${errorText(cause)}`;
      }
      this.#suspects.set(identity, suspect);
      if (suspect.reason === undefined) throw error;
      return suspect.reason;
    }
  }

  async #call(delivery: Ids, part: readonly Entry[], signal: AbortSignal): Promise<SinkResult> {
    const words = toWords(part);
    for (let renames = 0;; renames++) {
      const head = this.#sender.head(parseBufferUuid(delivery.batchId), delivery.batchId);
      const answer = await this.#run([...head, ...words], signal);
      const [stored, duplicates, failure, , call] = Array.isArray(answer) ? answer : [];
      if (!Number.isInteger(Number(stored ?? NaN)) || failure === undefined) {
        throw new DeliveryError({ reason: `the client answered ${String(answer)} to a script`, scope: "target" });
      }
      if (String(call) !== head.at(-1)) {
        // The client is out of step with the server.
        if (this.#deps.reconnect) this.#leave();
        throw new DeliveryError({ reason: "the answer is to another command", scope: "target", retryable: true });
      }
      const text = String(failure);
      if (text === LATE && renames < MAX_RENAMES) this.#sender.rename(head);
      else if (text !== "") throw toDeliveryError(new Error(text), false);
      else return { stored: Number(stored), duplicates: Number(duplicates) };
    }
  }

  async #run(words: Parameters<RedisConnection["run"]>[1], signal: AbortSignal): Promise<unknown> {
    const { connection, keys, reconnect } = this.#deps;
    const before = [this.#answers, this.#left];
    try {
      const answer = await connection.run(keys, words, signal);
      this.#answers++;
      return answer;
    } catch (error) {
      if (!signal.aborted) {
        if (replyText(error) !== undefined) this.#answers++;
        throw toDeliveryError(error, connection.isClosed());
      }
      const isSilent = before[0] === this.#answers && before[1] === this.#left;
      if (reconnect && isSilent && isTimeout(signal)) this.#leave();
      throw error;
    }
  }

  #leave(): void {
    this.#left++;
    this.#deps.connection.leave();
  }
}

/** Whether the time of an attempt was over; other reasons to abort it say nothing of the connection. */
function isTimeout({ reason }: AbortSignal): boolean {
  return reason instanceof DeliveryError || (reason as Error | undefined)?.name === "TimeoutError";
}
