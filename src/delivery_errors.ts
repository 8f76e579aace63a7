/**
 * Errors of delivering: what a target may say about records, and why a producer takes no more.
 *
 * @module
 */

import { BufferError } from "./error_base.ts";

/** A record of a delivery that the target did not take. */
export interface FailedRecord {
  /** Its position in the delivery, from 0. */
  readonly index: number;
  /** Whether sending it again may help. */
  readonly retryable: boolean;
  /** What the target said about it. */
  readonly reason: string;
}

/** What a {@linkcode DeliveryError} is made from. */
export interface DeliveryErrorData {
  /** What the target said. */
  readonly reason: string;
  /**
   * Whether sending again may help.
   *
   * @default {true}
   */
  readonly retryable?: boolean;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** The records that were not taken; all others were. Without it: none was, or nobody knows. */
  readonly failed?: readonly FailedRecord[] | undefined;
  /**
   * Whether it was too much at once: sent again, it has to be in smaller parts.
   *
   * @default {false}
   */
  readonly isTooLarge?: boolean;
}

/** To be thrown by a `Send` that knows more about a failure than that there was one. */
export class DeliveryError extends BufferError {
  /** Always `"DELIVERY"`. */
  readonly code = "DELIVERY";
  /** Whether sending again may help. */
  readonly retryable: boolean;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The records that were not taken; all others were. `undefined`: none was, or nobody knows. */
  readonly failed: readonly FailedRecord[] | undefined;
  /** Whether it was too much at once. */
  readonly isTooLarge: boolean;

  /** Creates the error; `cause` is what the client threw. */
  constructor(data: DeliveryErrorData, options?: ErrorOptions) {
    super(`Cannot deliver: ${data.reason}`, options);
    this.retryable = data.retryable ?? true;
    this.retryAfterMs = data.retryAfterMs;
    this.failed = data.failed;
    this.isTooLarge = data.isTooLarge ?? false;
  }
}

/** Thrown by every call on a closed producer, and to those who still wait when it closes. */
export class ProducerClosedError extends BufferError {
  /** Always `"PRODUCER_CLOSED"`. */
  readonly code = "PRODUCER_CLOSED";

  /** Creates the error; `verb` is what was asked for. */
  constructor(verb: string) {
    super(`Cannot ${verb}: the producer is closed`);
  }
}

/**
 * Thrown by every call on a producer that has stopped by itself, and to those who wait. `cause` is the reason: what the
 * target said of records that no retry can mend, or how the buffer failed. What isn't delivered stays in the buffer.
 */
export class ProducerStoppedError extends BufferError {
  /** Always `"PRODUCER_STOPPED"`. */
  readonly code = "PRODUCER_STOPPED";
  /** The batch that it stopped at, if it was because of one. */
  readonly batchId: string | undefined;
  /** Sequences of the records that can't be delivered; none if the reason is another. */
  readonly sequences: readonly number[];

  /** Creates the error; `reason` completes the message. */
  constructor(data: { reason: string; batchId?: string; sequences?: readonly number[] }, options?: ErrorOptions) {
    super(`Cannot go on delivering: ${data.reason}`, options);
    this.batchId = data.batchId;
    this.sequences = data.sequences ?? [];
  }
}
