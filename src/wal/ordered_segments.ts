/**
 * An ordered list of segments that stays fast at any length.
 *
 * Guarantees: a lookup is a binary search; appending or removing moves at most `BLOCK_SEGMENTS` entries. (In one plain
 * array, each removal at the front moves everything after it: to remove all segments of a backlog was quadratic.)
 *
 * @module
 */

import type { Segment } from "./segment_files.ts";

/** The length of a block: a compromise between the cost of a removal and the number of blocks. */
const BLOCK_SEGMENTS = 512;

/** Segments ordered by their first sequences, which are unique. */
export class OrderedSegments {
  /** Ordered within and among each other; none is empty. */
  readonly #blocks: Segment[][] = [];
  #count = 0;

  constructor(segments: Iterable<Segment> = []) {
    for (const segment of segments) this.append(segment);
  }

  get count(): number {
    return this.#count;
  }

  get last(): Segment | undefined {
    return this.#blocks.at(-1)?.at(-1);
  }

  toArray(): Segment[] {
    return this.#blocks.flat();
  }

  /** Adds a segment that begins after all others. */
  append(segment: Segment): void {
    let block = this.#blocks.at(-1);
    if (block === undefined || block.length === BLOCK_SEGMENTS) this.#blocks.push(block = []);
    block.push(segment);
    this.#count++;
  }

  remove({ firstSequence }: Segment): void {
    const [block, index] = this.#find(firstSequence);
    if (this.#blocks[block]?.[index]?.firstSequence !== firstSequence) return;
    this.#blocks[block].splice(index, 1);
    if (this.#blocks[block].length === 0) this.#blocks.splice(block, 1);
    this.#count--;
  }

  /** How many segments begin before `sequence`. */
  countBefore(sequence: number): number {
    const [block, index] = this.#find(sequence - 1);
    let count = index + 1;
    for (let i = 0; i < block; i++) count += this.#blocks[i].length;
    return count;
  }

  /** The last segment that begins at or before `sequence`. */
  findAtOrBefore(sequence: number): Segment | undefined {
    const [block, index] = this.#find(sequence);
    return this.#blocks[block]?.[index];
  }

  /** The first segment that begins after `sequence`. */
  findAfter(sequence: number): Segment | undefined {
    const [block, index] = this.#find(sequence);
    return this.#blocks[block]?.[index + 1] ?? this.#blocks[block + 1]?.[0];
  }

  /** The last segment that begins at or before `sequence`: its block, and its index in that; -1 for none. */
  #find(sequence: number): readonly [block: number, index: number] {
    const block = lastIndexAtMost(this.#blocks, ([first]) => first.firstSequence, sequence);
    return [
      block,
      block < 0 ? -1 : lastIndexAtMost(this.#blocks[block], ({ firstSequence }) => firstSequence, sequence),
    ];
  }
}

/** The index of the last of `entries`, in ascending order of their keys, whose key is at most `max`; -1 if there is none. */
export function lastIndexAtMost<E>(entries: readonly E[], keyOf: (entry: E) => number, max: number): number {
  let [from, to] = [0, entries.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (keyOf(entries[middle]) <= max) from = middle + 1;
    else to = middle;
  }
  return from - 1;
}
