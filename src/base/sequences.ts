/**
 * Ranges of sequences: union, difference, overlap, search and count.
 *
 * Lists of ranges are ascending and don't overlap, unless a function says otherwise.
 *
 * @module
 */

/** A run of sequences, both ends included. */
export interface SequenceRange {
  /** The first sequence. */
  readonly first: number;
  /** The last sequence. */
  readonly last: number;
}

/** Merges ranges in any order: the same sequences, in as few ranges as possible, ascending. */
export function mergeRanges(ranges: readonly SequenceRange[]): SequenceRange[] {
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged;
}

/** Whether a range lies within one of `ranges`, which are ascending and have gaps between them. */
export function isWithinRanges({ first, last }: SequenceRange, ranges: readonly SequenceRange[]): boolean {
  const range = ranges.at(findRangeIndex(first, ranges));
  return range !== undefined && range.first <= first && last <= range.last;
}

/** The index of the first of `ranges`, ascending, that ends at or after `sequence`; `ranges.length` if there is none. */
export function findRangeIndex(sequence: number, ranges: readonly SequenceRange[]): number {
  let [from, to] = [0, ranges.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (ranges[middle].last < sequence) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Whether a range overlaps one of `ranges`, which are ascending and have gaps between them. */
export function overlapsRanges({ first, last }: SequenceRange, ranges: readonly SequenceRange[]): boolean {
  const index = findRangeIndex(first, ranges);
  return index < ranges.length && ranges[index].first <= last;
}

/** The sequences of `ranges` that are in none of `others`. Both are ascending, without overlaps. */
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

/** Whether a parsed value has both ends of a range. */
export function isSequenceRange(value: Partial<SequenceRange>): value is SequenceRange {
  return Number.isSafeInteger(value.first) && Number.isSafeInteger(value.last);
}

/** The ranges without the sequences below `from`. */
export function clipRanges(ranges: readonly SequenceRange[], from: number): SequenceRange[] {
  return ranges.map((range) => clipRange(range, from)).filter((range) => range !== undefined);
}

/** How many sequences there are in ranges without overlaps. */
export function countSequences(ranges: readonly SequenceRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** The range without the sequences below `from`; `undefined` if none is left. */
export function clipRange(range: SequenceRange | undefined, from: number): SequenceRange | undefined {
  if (range === undefined || range.last < from) return undefined;
  return { first: Math.max(range.first, from), last: range.last };
}
