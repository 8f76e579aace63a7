/**
 * Errors of delivering: what a target may say about records, and why a producer takes no more.
 *
 * @module
 */

import { SluiceError } from "./base.ts";

/** A record of a delivery that the target did not take. */
export interface FailedRecord {
  /** Its position in the delivery, from 0. */
  readonly index: number;
  /** Whether sending it again may help. */
  readonly retryable: boolean;
  /** What the target said about it. */
  readonly reason: string;
}

/** Whose fault a failure is: that of the records that were sent, or of the target whatever is sent. */
export type DeliveryScope = "record" | "target";

/** What a {@linkcode DeliveryError} is made from. */
export interface DeliveryErrorData {
  /** What the target said. */
  readonly reason: string;
  /**
   * Whose fault it is. `"record"`: that of these records, or unknown. `"target"`: whatever is sent now is refused, as with a wrong
   * password, a missing table or a full disk. All records wait for the target then, and never become dead letters: the producer
   * stops if `retry` has a bound, and that is used up.
   *
   * @default {"record"}
   */
  readonly scope?: DeliveryScope | undefined;
  /**
   * Whether sending again may help. With scope `"target"` it says how soon: true if the fault passes by itself, as with a lost
   * connection, so that the pauses begin short and grow; false if somebody has to act, so that each pause is the longest one.
   *
   * @default {true with scope "record", false with scope "target"}
   */
  readonly retryable?: boolean | undefined;
  /**
   * Whether this way to the target is gone for good, as with a client that its owner has closed: the producer stops, whatever else is
   * said here, and `resume()` goes on when there is a new way.
   *
   * @default {false}
   */
  readonly final?: boolean | undefined;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** The records that were not taken; all others were. Without it: none was, or that is unknown. */
  readonly failed?: readonly FailedRecord[] | undefined;
  /**
   * Whether it was too much at once: sent again, it has to be in smaller parts.
   *
   * @default {false}
   */
  readonly tooLarge?: boolean | undefined;
  /**
   * Whether some of the records may be the reason, and the target doesn't say which: the delivery is sent again in halves, so that
   * all but those are taken. For a single record `retryable` counts.
   *
   * @default {false}
   */
  readonly split?: boolean | undefined;
}

/**
 * Thrown by a `Send` to say what is to be done about a failure: try again, when, which records, in smaller parts.
 *
 * @example A target that takes two records at a time
 * ```ts
 * import { DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const taken: number[][] = [];
 * const buffer = await MemoryBuffer.open<number>();
 * const producer = new Producer<number>({
 *   buffer,
 *   send({ records }) {
 *     if (records.length > 2) throw new DeliveryError({ reason: "at most two", tooLarge: true });
 *     taken.push([...records]);
 *   },
 * });
 * await producer.putMany([1, 2, 3, 4, 5]);
 * await producer.flush();
 * assertEquals(taken, [[1, 2], [3], [4, 5]]); // halved as often as it takes, in order
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example The target takes some records and names the others
 * ```ts
 * import { DeliveryError, MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const sent: string[][] = [];
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send({ records }) {
 *     sent.push([...records]);
 *     if (sent.length > 1) return;
 *     const failed = [{ index: 1, retryable: true, reason: "its shard is busy" }];
 *     throw new DeliveryError({ reason: "1 of 3 failed", failed });
 *   },
 *   retry: { firstDelayMs: 1 },
 * });
 * await producer.putMany(["a", "b", "c"]);
 * await producer.flush();
 * assertEquals(sent, [["a", "b", "c"], ["b"]]); // only the one is sent again
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example What an answer means, in one place
 * ```ts
 * import { DeliveryError, type DeliveryErrorData } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function meaningOf(status: number, retryAfterSeconds?: number): DeliveryErrorData {
 *   const reason = `status ${status}`;
 *   if (status === 413) return { reason, tooLarge: true };
 *   if (status !== 429 && status < 500) return { reason, retryable: false };
 *   return { reason, retryAfterMs: retryAfterSeconds && retryAfterSeconds * 1000 };
 * }
 *
 * assertEquals(new DeliveryError(meaningOf(429, 2)).retryAfterMs, 2000);
 * assertEquals(new DeliveryError(meaningOf(503)).retryable, true);
 * assertEquals(new DeliveryError(meaningOf(400)).retryable, false);
 * ```
 */
export class DeliveryError extends SluiceError {
  /** Always `"DELIVERY"`. */
  readonly code = "DELIVERY";
  /** Whose fault it is: these records', or the target's whatever is sent. */
  readonly scope: DeliveryScope;
  /** Whether sending again may help; with scope `"target"`, whether it may soon. */
  readonly retryable: boolean;
  /** Whether this way to the target is gone for good. */
  readonly final: boolean;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The records that were not taken; all others were. `undefined`: none was, or that is unknown. */
  readonly failed: readonly FailedRecord[] | undefined;
  /** Whether it was too much at once. */
  readonly tooLarge: boolean;
  /** Whether to send it again in halves, to find the records that are the reason. */
  readonly split: boolean;

  /**
   * Creates the error.
   *
   * @param data What the target said, and what to do about it.
   * @param options The cause: what the client threw.
   */
  constructor(data: DeliveryErrorData, options?: ErrorOptions) {
    super(`Cannot deliver: ${data.reason}`, options);
    this.scope = data.scope ?? "record";
    this.retryable = data.retryable ?? this.scope === "record";
    this.final = data.final ?? false;
    this.retryAfterMs = data.retryAfterMs;
    this.failed = data.failed;
    this.tooLarge = data.tooLarge ?? false;
    this.split = data.split ?? false;
  }
}

/**
 * Thrown by every call on a closed producer, and by calls that still wait when it closes.
 *
 * @example What comes too late is refused; what was put is safe in the buffer
 * ```ts
 * import { MemoryBuffer, Producer, ProducerClosedError } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: () => {} });
 * await producer.put("in time"); // the batch isn't due yet
 * await producer.close();
 * await assertRejects(() => producer.put("too late"), ProducerClosedError);
 * assertEquals(buffer.stats().pendingRecords, 1); // for the next producer
 * await buffer.close();
 * ```
 */
export class ProducerClosedError extends SluiceError {
  /** Always `"PRODUCER_CLOSED"`. */
  readonly code = "PRODUCER_CLOSED";

  /**
   * Creates the error.
   *
   * @param verb What was asked for, such as `"flush"`.
   * @param options The cause: what went wrong last with what is not delivered.
   */
  constructor(verb: string, options?: ErrorOptions) {
    super(`Cannot ${verb}: the producer is closed`, options);
  }
}

/**
 * Thrown by every call on a producer that has stopped by itself, and by calls that wait. `cause` is the reason: what the
 * target said about undeliverable records or about itself, or how the buffer failed. What isn't delivered stays in the buffer.
 *
 * @example Find out why, and get past it
 * ```ts
 * import { DeliveryError, MemoryBuffer, Producer, ProducerStoppedError } from "@sluice/buffer";
 * import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send: () => {
 *     throw new DeliveryError({ reason: "status 400: no such field", retryable: false });
 *   },
 * });
 * await producer.putMany(["a", "b"]);
 * const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
 * assertEquals(error.sequences, [1, 2]);
 * assertInstanceOf(error.cause, DeliveryError);
 * await producer.close();
 *
 * // Nothing is lost: they are still in the buffer, to be looked at, and dropped by hand if that is right.
 * const batch = await buffer.emit();
 * assertEquals([batch.id, batch.records], [error.batchId!, ["a", "b"]]);
 * await buffer.commit(batch);
 * await buffer.close();
 * ```
 */
export class ProducerStoppedError extends SluiceError {
  /** Always `"PRODUCER_STOPPED"`. */
  readonly code = "PRODUCER_STOPPED";
  /** The batch that it stopped at, if it was because of one. */
  readonly batchId: string | undefined;
  /** Sequences of the records that can't be delivered; none if the reason is another. */
  readonly sequences: readonly number[];

  /**
   * Creates the error.
   *
   * @param data Why it stopped, and at which records if it was because of some.
   * @param options The cause.
   */
  constructor(data: { reason: string; batchId?: string; sequences?: readonly number[] }, options?: ErrorOptions) {
    super(`Cannot go on delivering: ${data.reason}`, options);
    this.batchId = data.batchId;
    this.sequences = data.sequences ?? [];
  }
}
