/**
 * Segments in the order of their first sequences, however many there are.
 *
 * Guarantees: a look-up compares with about as many as the number of all has binary digits; to add one behind the others, or
 * to take one out, wherever it stands, moves at most `BLOCK_SEGMENTS` of them. A plain array moves all that are left for
 * each that goes from its front, which made removing the segments of a backlog quadratic.
 *
 * @module
 */

import type { Segment } from "./segment_files.ts";

/** So many stand in one array: few enough to be moved for one that goes, so many that the arrays are few. */
const BLOCK_SEGMENTS = 512;

/** Ordered segments; no two begin with the same sequence. */
export class OrderedSegments {
  /** Each in order, as they are among themselves; none is empty. */
  readonly #blocks: Segment[][] = [];
  #count = 0;

  /** These, which are in order. */
  constructor(segments: Iterable<Segment> = []) {
    for (const segment of segments) this.append(segment);
  }

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** The one behind all others. */
  get last(): Segment | undefined {
    return this.#blocks.at(-1)?.at(-1);
  }

  /** All of them, in order, in an array of its own. */
  toArray(): Segment[] {
    return this.#blocks.flat();
  }

  /** Adds one that begins behind all others. */
  append(segment: Segment): void {
    let block = this.#blocks.at(-1);
    if (block === undefined || block.length === BLOCK_SEGMENTS) this.#blocks.push(block = []);
    block.push(segment);
    this.#count++;
  }

  /** Takes one out, if it is there. */
  remove({ firstSequence }: Segment): void {
    const [block, index] = this.#find(firstSequence);
    if (this.#blocks[block]?.[index]?.firstSequence !== firstSequence) return;
    this.#blocks[block].splice(index, 1);
    if (this.#blocks[block].length === 0) this.#blocks.splice(block, 1);
    this.#count--;
  }

  /** How many begin before `sequence`. */
  countBefore(sequence: number): number {
    const [block, index] = this.#find(sequence - 1);
    let count = index + 1;
    for (let i = 0; i < block; i++) count += this.#blocks[i].length;
    return count;
  }

  /** The last one that begins at `sequence` or before. */
  findAtOrBefore(sequence: number): Segment | undefined {
    const [block, index] = this.#find(sequence);
    return this.#blocks[block]?.[index];
  }

  /** The first one that begins behind `sequence`. */
  findAfter(sequence: number): Segment | undefined {
    const [block, index] = this.#find(sequence);
    return this.#blocks[block]?.[index + 1] ?? this.#blocks[block + 1]?.[0];
  }

  /** Where the last one stands that begins at `sequence` or before: its block and its place there; -1 for none. */
  #find(sequence: number): readonly [block: number, index: number] {
    const block = lastIndexAtMost(this.#blocks, ([first]) => first.firstSequence, sequence);
    return [
      block,
      block < 0 ? -1 : lastIndexAtMost(this.#blocks[block], ({ firstSequence }) => firstSequence, sequence),
    ];
  }
}

/** The place of the last of `entries` whose key is at most `most`; -1 if there is none. The keys ascend. */
function lastIndexAtMost<E>(entries: readonly E[], keyOf: (entry: E) => number, most: number): number {
  let [from, to] = [0, entries.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (keyOf(entries[middle]) <= most) from = middle + 1;
    else to = middle;
  }
  return from - 1;
}
