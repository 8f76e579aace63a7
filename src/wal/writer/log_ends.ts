/**
 * The two ends of a log: after the last written record, and after the last acknowledged one. Only the appender moves them.
 *
 * @module
 */

import type { LogPosition } from "../position.ts";

/** The ends of one log. */
export class LogEnds {
  /** The position after the last written record, acknowledged or not. */
  written: LogPosition;
  /** The position after the last acknowledged record: nothing after it may be delivered. */
  acknowledged: LogPosition;
  readonly #isSynced: boolean;

  /**
   * Both are at `end`.
   *
   * @param isSynced Whether a record is acknowledged only after a sync.
   */
  constructor(end: LogPosition, { isSynced }: { readonly isSynced: boolean }) {
    this.written = this.acknowledged = end;
    this.#isSynced = isSynced;
  }

  /** The sequence below which records are acknowledged; `Infinity` where each is acknowledged as soon as it is written. */
  get vouchedSequence(): number {
    return this.#isSynced ? this.acknowledged.nextSequence : Infinity;
  }
}
