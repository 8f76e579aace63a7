/**
 * The sequences that recovery knows not to be there.
 *
 * Guarantees: none counts twice, whatever overlaps; a question costs about as many steps as the number of runs has binary
 * digits, because it is asked with every put and every batch.
 *
 * @module
 */

import { findRangeIndex, mergeRanges, type SequenceRange } from "../../base/sequences.ts";

/** Runs of lost sequences. */
export class LostSequences {
  readonly #ranges: readonly SequenceRange[];
  /** How many sequences there are in each run and those behind it. */
  readonly #counts: Float64Array;

  /** These, in any order. */
  constructor(ranges: readonly SequenceRange[]) {
    this.#ranges = mergeRanges(ranges);
    this.#counts = new Float64Array(this.#ranges.length + 1);
    for (let i = this.#ranges.length - 1; i >= 0; i--) {
      const { first, last } = this.#ranges[i];
      this.#counts[i] = this.#counts[i + 1] + last - first + 1;
    }
  }

  /** How many of the sequences from `next` on are lost. */
  countFrom(next: number): number {
    const place = findRangeIndex(next, this.#ranges);
    const range = this.#ranges.at(place);
    return range === undefined ? 0 : this.#counts[place] - Math.max(0, next - range.first);
  }
}
