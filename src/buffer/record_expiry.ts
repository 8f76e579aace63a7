/**
 * The age at which records are of no use any more: the option `maxRecordAgeMs`.
 *
 * Guarantees: ages are counted in the buffer's own time, so that a wall clock that is set expires nothing; a put time ahead of
 * the time at which the buffer was opened, by the clock of an earlier process, counts as that time.
 *
 * @module
 */

import type { ReadBatch } from "../wal/reader/log_view.ts";
import type { RecordReader } from "./record_store.ts";

/** What a {@linkcode RecordExpiry} needs of its buffer. */
export interface RecordExpiryDeps {
  readonly maxRecordAgeMs: number;
  /** The buffer's own time, in which ages are counted. */
  readonly time: () => number;
  readonly reader: Pick<RecordReader, "timeOf">;
  /** The first sequence of this process, and when it began. */
  readonly startSequence: number;
  readonly openedAt: number;
}

/** Tells how many records of a batch have expired. */
export class RecordExpiry {
  readonly #deps: RecordExpiryDeps;

  constructor(deps: RecordExpiryDeps) {
    this.#deps = deps;
  }

  /** How many records, from the first one on, have expired by now. */
  countIn({ firstSequence, count, putTimes }: Pick<ReadBatch, "firstSequence" | "count" | "putTimes">): number {
    const limit = this.#deps.time() - this.#deps.maxRecordAgeMs;
    const kept = putTimes.find(({ from, putTime }) => this.#ownTime(from, putTime) >= limit);
    return kept === undefined ? count : Math.max(0, kept.from - firstSequence);
  }

  #ownTime(sequence: number, putTime: number): number {
    const { reader, startSequence, openedAt } = this.#deps;
    const time = reader.timeOf(sequence, putTime);
    return sequence < startSequence ? Math.min(time, openedAt) : time;
  }
}
