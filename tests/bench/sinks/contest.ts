/**
 * A contest between a sink and what a good user writes by hand, with the same client and the same guarantee. Types only; each file
 * beside this one has the contests of one target, and `run.ts` runs them.
 */

import type { Delivery, Send } from "../../../src/producer/delivery.ts";

/** A record of the bench: 120 bytes of JSON. */
export interface BenchRecord {
  readonly id: number;
  readonly text: string;
}

/** The two ways to one target. */
export interface SinkContest {
  /** Such as `"NATS"`. */
  readonly name: string;
  /** The least share of the records a second by hand that the sink is to reach. */
  readonly goal: number;
  /** Starts what is needed. Where that isn't installed, `undefined`, or the reason in words. */
  open(): Promise<OpenContest | string | undefined>;
}

/** A contest whose target runs. Each way is called with one delivery at a time, and ends when the target has acknowledged it. */
export interface OpenContest {
  /** The sink. */
  readonly ours: Send<BenchRecord>;
  /** The same by hand: the records, as objects or as their encoded bytes, whichever is quicker. */
  byHand(delivery: Delivery<BenchRecord>): Promise<void>;
  close(): Promise<void>;
}
