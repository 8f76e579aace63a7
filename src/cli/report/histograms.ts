/**
 * Two histograms that are counted in one pass: of sizes, by powers of two, and of times, in bins that grow with the time covered.
 *
 * Guarantee: memory doesn't depend on how many records there are, how long they are, or when they were put.
 *
 * @module
 */

import type { SizeBucket, TimeBin } from "./data.ts";

/** Bars that a phone can show, too. */
export const MAX_BINS = 60;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Each is a multiple of the one before, so that bins can be merged. */
const WIDTHS_MS: readonly number[] = [
  ...[1, 10, 100, SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE],
  ...[HOUR, 6 * HOUR, 12 * HOUR, DAY, 10 * DAY, 100 * DAY, 1000 * DAY, 10_000 * DAY, 100_000 * DAY],
];

export class SizeHistogram {
  /** Of empty payloads, then of 1 byte, 2 to 3, 4 to 7, ... */
  readonly #counts: number[] = [];

  add(bytes: number): void {
    // Record limits are below 2^31, so 32 bits do.
    const bucket = 32 - Math.clz32(bytes);
    while (this.#counts.length <= bucket) this.#counts.push(0);
    this.#counts[bucket]!++;
  }

  /** From the first bucket with records to the last. */
  buckets(): SizeBucket[] {
    const first = this.#counts.findIndex((count) => count > 0);
    return this.#counts
      .map((records, i) => ({ from: i === 0 ? 0 : 2 ** (i - 1), to: 2 ** i, records }))
      .slice(Math.max(0, first));
  }
}

export class TimeHistogram {
  #width = 0;
  #bins = new Map<number, number>();
  #first = Infinity;
  #last = -Infinity;

  /** Counts `records` that were put at `time`, milliseconds since 1970. */
  add(time: number, records: number): void {
    let bin = Math.floor(time / this.widthMs);
    while (Math.max(bin, this.#last) - Math.min(bin, this.#first) >= MAX_BINS) {
      this.#widen();
      bin = Math.floor(time / this.widthMs);
    }
    this.#count(bin, records);
  }

  #widen(): void {
    const factor = WIDTHS_MS[this.#width + 1]! / WIDTHS_MS[this.#width]!;
    const bins = this.#bins;
    this.#width++;
    this.#bins = new Map();
    this.#first = Infinity;
    this.#last = -Infinity;
    for (const [bin, records] of bins) this.#count(Math.floor(bin / factor), records);
  }

  #count(bin: number, records: number): void {
    this.#first = Math.min(this.#first, bin);
    this.#last = Math.max(this.#last, bin);
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + records);
  }

  get widthMs(): number {
    return WIDTHS_MS[this.#width]!;
  }

  /** Those with records, in order. */
  bins(): TimeBin[] {
    return Array.from(this.#bins, ([bin, records]) => ({ from: bin * this.widthMs, records }))
      .sort((a, b) => a.from - b.from);
  }
}
