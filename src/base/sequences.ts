/**
 * Ranges of sequence numbers: what they have in common, what is left of them, how many records they cover.
 *
 * Lists of ranges are in ascending order and don't overlap unless a function says otherwise.
 *
 * @module
 */

/**
 * A run of sequences, both ends included.
 *
 * @example How many records are meant
 * ```ts
 * import { MemoryBuffer, type SequenceRange } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const lengthOf = ({ first, last }: SequenceRange) => last - first + 1;
 *
 * const buffer = await MemoryBuffer.open<string>();
 * await buffer.put("one");
 * const range = await buffer.putMany(["two", "three", "four"]);
 * assertEquals(range, { first: 2, last: 4 });
 * assertEquals(lengthOf(range), 3);
 * await buffer.close();
 * ```
 */
export interface SequenceRange {
  /** The first sequence. */
  readonly first: number;
  /** The last sequence. */
  readonly last: number;
}

/** The same sequences as few ranges, in order. */
export function mergeRanges(ranges: readonly SequenceRange[]): SequenceRange[] {
  const united: { first: number; last: number }[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = united.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else united.push({ first, last });
  }
  return united;
}

/** Whether a range is a part of one of `ranges`, which are in order and don't touch. */
export function isWithinRanges({ first, last }: SequenceRange, ranges: readonly SequenceRange[]): boolean {
  const range = ranges.at(findRangeIndex(first, ranges));
  return range !== undefined && range.first <= first && last <= range.last;
}

/** The place of the first of `ranges`, in order, that ends at `sequence` or behind it; their number if there is none. */
export function findRangeIndex(sequence: number, ranges: readonly SequenceRange[]): number {
  let [from, to] = [0, ranges.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (ranges[middle].last < sequence) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Whether a range has a sequence in common with one of `ranges`, which are in order and don't touch. */
export function overlapsRanges({ first, last }: SequenceRange, ranges: readonly SequenceRange[]): boolean {
  const place = findRangeIndex(first, ranges);
  return place < ranges.length && ranges[place].first <= last;
}

/** The sequences of `ranges` that are in none of `others`; both in order, without overlaps. */
export function subtractRanges(ranges: readonly SequenceRange[], others: readonly SequenceRange[]): SequenceRange[] {
  const left: SequenceRange[] = [];
  for (const { first, last } of ranges) {
    let from = first;
    for (let i = findRangeIndex(first, others); i < others.length && others[i].first <= last; i++) {
      const other = others[i];
      if (other.first > from) left.push({ first: from, last: other.first - 1 });
      from = other.last + 1;
    }
    if (from <= last) left.push({ first: from, last });
  }
  return left;
}

export function isSequenceRange(value: Partial<SequenceRange>): value is SequenceRange {
  return Number.isSafeInteger(value.first) && Number.isSafeInteger(value.last);
}

/** The parts of ranges from `next` on. */
export function clipRanges(ranges: readonly SequenceRange[], next: number): SequenceRange[] {
  return ranges.map((range) => clipRange(range, next)).filter((range) => range !== undefined);
}

/** How many sequences there are in ranges that don't overlap. */
export function countSequences(ranges: readonly SequenceRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** The part of a range from `next` on. */
export function clipRange(range: SequenceRange | undefined, next: number): SequenceRange | undefined {
  if (range === undefined || range.last < next) return undefined;
  return { first: Math.max(range.first, next), last: range.last };
}
