/**
 * Deliveries made by hand, for tests of sinks: no buffer, no producer, so that a test says what comes again and when.
 */

import { test } from "node:test";
import { assertInstanceOf } from "@std/assert";
import { type Delivery, DeliveryError, type Send } from "../mod.ts";
import { type Engine, Server, whyNot } from "./engines/servers.ts";

/** The uuid in the ids of the batches, unless a test wants another one. */
export const UUID = "5c1f0f6e-2f3b-4a51-9d1a-0123456789ab";

/** What a delivery is made from. */
export interface DeliveryOptions {
  /** Which of the batch's sequences are in it; all by default. */
  readonly sequences?: readonly number[];
  readonly redelivered?: boolean;
  readonly uuid?: string;
  /** Stands for the frames that the batch is from. */
  readonly checksum?: string;
}

/** A delivery of a batch from `first` to `last`, or of a part of it. The record of sequence n is `valueOf(n)`. */
export function deliveryOf<T>(
  [first, last]: readonly [number, number],
  valueOf: (sequence: number) => T,
  { sequences, redelivered = false, uuid = UUID, checksum = "00c0ffee" }: DeliveryOptions = {},
): Delivery<T> {
  const batchId = `${uuid}-${checksum}-${first}-${last}`;
  const all = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const chosen = sequences ?? all;
  const records = chosen.map(valueOf);
  const payloads = records.map((record) => new TextEncoder().encode(JSON.stringify(record)));
  return {
    id: sequences === undefined ? batchId : `${batchId}.${chosen.join("+")}`,
    batchId,
    sequences: chosen,
    records,
    payloads,
    length: chosen.length,
    byteLength: payloads.reduce((sum, { length }) => sum + length, 0),
    redelivered,
    [Symbol.iterator]: () => records[Symbol.iterator](),
  };
}

/** Sends once, with a signal that stays silent. */
export async function send<T>(sink: Send<T>, delivery: Delivery<T>, attempt = 1): Promise<void> {
  await sink(delivery, { attempt, signal: new AbortController().signal });
}

/** Sends, and gives the DeliveryError that it must reject with. */
export async function refusalOf<T>(sink: Send<T>, delivery: Delivery<T>, attempt = 1): Promise<DeliveryError> {
  try {
    await send(sink, delivery, attempt);
  } catch (error) {
    assertInstanceOf(error, DeliveryError);
    return error;
  }
  throw new Error("it was not refused");
}

/** A test that needs a real server; skipped, with the reason, where there is none. */
export function testWithServer(engine: Engine, name: string, body: (server: Server) => Promise<void>): void {
  test(name, { timeout: 60_000 }, async (t) => {
    const why = await whyNot(engine);
    if (why !== undefined) return t.skip(why);
    const server = await Server.make(engine);
    try {
      await body(server);
    } finally {
      await server.remove();
    }
  });
}
