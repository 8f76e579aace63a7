/**
 * Where a batch ends and when it is due. Pure: the state and the time come in, an answer goes out.
 *
 * Guarantees: it needs only totals, never the sizes of single records, so that nothing has to be kept in memory for
 * records on disk. If the pending bytes reach `maxBytes`, the next batch is full whatever the sizes are: either they
 * fit exactly, or a record is left over.
 *
 * @module
 */

import type { ResolvedOptions } from "./options.ts";

/** The thresholds of a batch. */
export type Thresholds = Pick<ResolvedOptions<unknown>, "maxRecords" | "maxBytes" | "maxAgeMs">;

/** Counts of the records that are not in flight. */
export interface Pending {
  readonly records: number;
  /** Of their payloads. */
  readonly bytes: number;
  /** When the first of them was put; `undefined` if only reading it would tell. */
  readonly oldestPutTime: number | undefined;
}

/** Whether the next batch is full: more records would not join it. */
export function isFull(pending: Pending, thresholds: Thresholds): boolean {
  return pending.records >= thresholds.maxRecords || pending.bytes >= thresholds.maxBytes;
}

/**
 * How long until the next batch is old enough: 0 if it is, `undefined` if there is none.
 *
 * The age is clamped to [0, maxAgeMs]: a put time ahead of `now`, after the clock was set back, counts as now.
 * A put time that is not known counts as old: what has lain on disk is sent rather than kept.
 */
export function msUntilOld(pending: Pending, thresholds: Thresholds, now: number): number | undefined {
  if (pending.records <= 0) return undefined;
  if (pending.oldestPutTime === undefined) return 0;
  return thresholds.maxAgeMs - ageMs(pending.oldestPutTime, thresholds, now);
}

/** Age of a batch in milliseconds, from 0 to `maxAgeMs`. */
export function ageMs(putTime: number, thresholds: Thresholds, now: number): number {
  return Math.min(Math.max(0, now - putTime), thresholds.maxAgeMs);
}

/** Whether the next batch is due: full, or old enough. */
export function isDue(pending: Pending, thresholds: Thresholds, now: number): boolean {
  if (pending.records <= 0) return false;
  return isFull(pending, thresholds) || msUntilOld(pending, thresholds, now) === 0;
}
