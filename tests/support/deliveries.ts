/**
 * Deliveries for tests of sinks, as a producer makes them, and what comes with them.
 */

import type { Codec } from "../../src/base/codec.ts";
import { jsonCodec } from "../../src/base/codec.ts";
import type { Delivery, SendContext } from "../../src/producer/delivery.ts";

/** How a delivery differs from the usual one. */
export interface DeliveryData<T> {
  /** By default the batch's id. */
  readonly id?: string;
  /** By default made from the sequences. */
  readonly batchId?: string;
  /** By default 1. */
  readonly firstSequence?: number;
  /** By default consecutive ones from `firstSequence` on. */
  readonly sequences?: readonly number[];
  /** By default `jsonCodec()`. */
  readonly codec?: Codec<T>;
  readonly redelivered?: boolean;
}

/** As a buffer makes them: uuid, checksum, first and last sequence. */
export const UUID = "0b8f2c1e-5a57-4c39-9d0e-6f2a7f6a1c11";

/** A delivery of `records`. */
export function deliveryOf<T>(records: readonly T[], data: DeliveryData<T> = {}): Delivery<T> {
  const { firstSequence = 1, codec = jsonCodec<T>(), redelivered = false } = data;
  const batchId = data.batchId ?? `${UUID}-1234abcd-${firstSequence}-${firstSequence + records.length - 1}`;
  const payloads = records.map((record) => codec.encode(record));
  return {
    id: data.id ?? batchId,
    batchId,
    sequences: data.sequences ?? records.map((_, i) => firstSequence + i),
    records,
    payloads,
    putTimes: records.map(() => 0),
    length: records.length,
    byteLength: payloads.reduce((sum, { length }) => sum + length, 0),
    redelivered,
    [Symbol.iterator]: () => records.values(),
  };
}

/** What a producer hands over besides: attempt 1, and a signal that is never aborted, unless others are given. */
export function contextOf(context: Partial<SendContext> = {}): SendContext {
  return { signal: new AbortController().signal, attempt: 1, ...context };
}
