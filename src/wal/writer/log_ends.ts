/**
 * The two ends of a log: behind the last record written, and behind the last one acknowledged. Only the appender moves them;
 * everybody else reads them here.
 *
 * @module
 */

import type { LogPosition } from "../position.ts";

/** The ends of one log. */
export class LogEnds {
  /** Behind the last record that was written, acknowledged or not yet. */
  written: LogPosition;
  /** Behind the last record that was acknowledged: nothing at or behind it may be handed over. */
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

  /**
   * The sequence below which headers may say that records are acknowledged; `Infinity` without a sync per put, where each
   * record is as soon as it is written.
   */
  get vouchedSequence(): number {
    return this.#isSynced ? this.acknowledged.nextSequence : Infinity;
  }
}
