/**
 * How many bytes a log's segments take, without a look at each of them.
 *
 * To open a log costs one segment, so most of them are known by their names only. What can be said of the others without
 * reading follows from the running totals in the headers: of two segments whose headers are known, the second says by how
 * many bytes of frames it is behind the first, whatever number of segments is in between.
 *
 * Guarantees: what is taken away for a segment is what was counted for it, so the sum never gets below zero, whatever
 * became of the files; of segments that are known it never says more than their files hold, nor more than was ever written
 * to them: zeros behind the last frame may be a hole, which takes nothing. Where frames were lost in a segment that is not
 * known yet, the totals count them until it is.
 *
 * Pure: no I/O. Each call costs the look-up of one segment.
 *
 * @module
 */

import { SEGMENT_HEADER_BYTES } from "./format.ts";
import type { OrderedSegments } from "./ordered_segments.ts";
import type { Segment } from "./segment_files.ts";

/** A segment that was looked at. */
export interface SegmentSize {
  readonly segment: Segment;
  /** Length of its file, or of what is in it. */
  readonly bytes: number;
  /** What its header says; `undefined` if it isn't one of this log. */
  readonly logBytesBefore: number | undefined;
}

/** A segment of this log that is known; one that is gone still says where the others are. */
interface KnownSegment {
  readonly firstSequence: number;
  readonly logBytesBefore: number;
  readonly headerBytes: number;
  frameBytes: number;
  isGone: boolean;
  /** How many segments that aren't known stand between it and the next one that is. */
  unknownAfter: number;
}

/** The bytes of a list of segments, which its owner keeps in order. */
export class DiskUsage {
  readonly #segments: OrderedSegments;
  readonly #known: KnownSegment[] = [];
  /** Bytes of files that aren't segments of this log, by their first sequence. */
  readonly #foreign = new Map<number, number>();
  #bytes = 0;

  /**
   * Of `segments`, which its owner changes; the first call for each change comes right after it.
   *
   * @param sizes Those that are known at the start, the oldest of this log among them.
   * @param end Where the next segment begins, and what its header is going to say.
   */
  constructor(
    segments: OrderedSegments,
    sizes: readonly SegmentSize[],
    end: { readonly nextSequence: number; readonly logBytes: number },
  ) {
    this.#segments = segments;
    const place = { name: "", firstSequence: end.nextSequence };
    this.#add({ segment: place, bytes: 0, logBytesBefore: end.logBytes }, true);
    for (const size of sizes) this.recordSize(size);
  }

  /** Their bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A segment of the list was looked at, for the first time or again. */
  recordSize(size: SegmentSize): void {
    const { segment: { firstSequence }, bytes, logBytesBefore } = size;
    // A reader may hold the file of one that was removed.
    if (this.#segments.findAtOrBefore(firstSequence)?.firstSequence !== firstSequence) return;
    const i = this.#indexOf(firstSequence);
    const known = this.#known[i];
    if (known?.firstSequence === firstSequence && !known.isGone) return this.#shorten(i, bytes);
    if (this.#foreign.has(firstSequence)) return;
    if (logBytesBefore !== undefined) return this.#add(size, false);
    this.#recount(i, () => {
      if (this.#known[i] !== undefined && this.#known[i].unknownAfter > 0) this.#known[i].unknownAfter--;
    });
    this.#foreign.set(firstSequence, bytes);
    this.#bytes += bytes;
  }

  /** Of a segment that is known, no more than so many bytes are filled. */
  #shorten(i: number, bytes: number): void {
    const known = this.#known[i];
    const frameBytes = Math.max(0, bytes - known.headerBytes);
    if (frameBytes < known.frameBytes) this.#recount(i, () => known.frameBytes = frameBytes);
  }

  /** The last segment has grown. */
  addToLast(bytes: number): void {
    const last = this.#known[this.#known.length - 1];
    last.frameBytes += bytes;
    this.#bytes += bytes;
  }

  /** A segment was taken out of the list. */
  remove({ firstSequence }: Segment): void {
    const stray = this.#foreign.get(firstSequence);
    if (stray !== undefined) {
      this.#foreign.delete(firstSequence);
      this.#bytes -= stray;
      return;
    }
    const i = this.#indexOf(firstSequence);
    const known = this.#known[i];
    if (known === undefined) return;
    this.#recount(i, () => {
      if (known.firstSequence === firstSequence) known.isGone = true;
      else if (known.unknownAfter > 0) known.unknownAfter--;
    });
    this.#forgetGone();
  }

  /** Those in front that are gone, and with nothing unknown behind them, say nothing any more. */
  #forgetGone(): void {
    let gone = 0;
    // The last one stays: it says where the log goes on.
    while (gone + 1 < this.#known.length && this.#known[gone].isGone && this.#known[gone].unknownAfter === 0) gone++;
    if (gone > 0) this.#known.splice(0, gone);
  }

  #add({ segment: { firstSequence }, bytes, logBytesBefore }: SegmentSize, isGone: boolean): void {
    const headerBytes = Math.min(bytes, SEGMENT_HEADER_BYTES);
    const i = this.#indexOf(firstSequence);
    const before = this.#known[i];
    const isBefore = before?.firstSequence === firstSequence;
    const behind = this.#known[isBefore ? i : i + 1];
    const known: KnownSegment = {
      firstSequence,
      logBytesBefore: logBytesBefore!,
      headerBytes,
      frameBytes: bytes - headerBytes,
      isGone,
      unknownAfter: behind === undefined ? 0 : this.#unknownBetween(firstSequence, behind.firstSequence),
    };
    this.#recount(i, () => {
      if (isBefore) this.#known[i] = known;
      else {
        if (before !== undefined) before.unknownAfter = this.#unknownBetween(before.firstSequence, firstSequence);
        this.#known.splice(i + 1, 0, known);
      }
    });
  }

  /** Does what changes the known segments at `i`, or right behind, and counts these and their neighbours anew. */
  #recount(i: number, change: () => void): void {
    const { length } = this.#known;
    let after = 0;
    for (let k = i - 1; k <= i + 1; k++) after -= this.#bytesAt(k);
    change();
    for (let k = i - 1; k <= i + 1 + this.#known.length - length; k++) after += this.#bytesAt(k);
    this.#bytes += after;
  }

  /** What the known segment at `i` takes, and those behind it that aren't known. */
  #bytesAt(i: number): number {
    const known = this.#known[i];
    if (known === undefined) return 0;
    const { logBytesBefore, headerBytes, frameBytes, isGone, unknownAfter } = known;
    const next = this.#known[i + 1];
    const room = next === undefined ? Infinity : Math.max(0, next.logBytesBefore - logBytesBefore);
    const own = Math.min(frameBytes, room);
    const rest = unknownAfter === 0 ? 0 : unknownAfter * SEGMENT_HEADER_BYTES + room - own;
    return (isGone ? 0 : headerBytes + own) + rest;
  }

  /** How many segments between two sequences are neither known nor strays. */
  #unknownBetween(after: number, before: number): number {
    let strays = 0;
    for (const first of this.#foreign.keys()) if (after < first && first < before) strays++;
    return Math.max(0, this.#segments.countBefore(before) - this.#segments.countBefore(after + 1) - strays);
  }

  /** The last known segment that begins at a sequence or before it; -1 if there is none. */
  #indexOf(firstSequence: number): number {
    return countBelow(this.#known, firstSequence + 1) - 1;
  }
}

/** How many of `items`, which are in order, begin before `firstSequence`. */
function countBelow(items: readonly { readonly firstSequence: number }[], firstSequence: number): number {
  let [from, to] = [0, items.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (items[middle].firstSequence < firstSequence) from = middle + 1;
    else to = middle;
  }
  return from;
}
