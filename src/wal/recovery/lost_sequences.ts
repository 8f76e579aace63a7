/**
 * Counts the sequences that recovery has found missing.
 *
 * Guarantees: ranges may overlap, and no sequence counts twice; `countFrom` is a binary search, because it is called for
 * every put and every batch.
 *
 * @module
 */

import { findRangeIndex, mergeRanges, type SequenceRange } from "../../base/sequences.ts";

/** A set of lost sequences. */
export class LostSequences {
  readonly #ranges: readonly SequenceRange[];
  /** The number of sequences in each range and all later ones. */
  readonly #counts: Float64Array;

  /** Of these ranges, in any order. */
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
    const index = findRangeIndex(next, this.#ranges);
    const range = this.#ranges.at(index);
    return range === undefined ? 0 : this.#counts[index] - Math.max(0, next - range.first);
  }
}
