/**
 * The disk usage of a log's segments, without opening each of them.
 *
 * A log is opened by reading one segment, so most segments are known by their names only. Their total size follows from the
 * running totals in the headers: of two segments whose headers are known, the difference of their `logBytesBefore` is the
 * bytes of all frames between the two headers, however many segments lie in between.
 *
 * Guarantees:
 * - The sum never goes below zero, whatever became of the files: a removal subtracts exactly what was counted for that
 *   segment.
 * - A known segment counts at most the length of its file, and at most the frames that were written to it. Zeros after its
 *   last frame may be a hole, which takes no space.
 *
 * Limit: frames that were lost from a segment count until that segment is known.
 *
 * Pure: no I/O. Each call costs the lookup of one segment.
 *
 * @module
 */

import { SEGMENT_HEADER_BYTES } from "./format.ts";
import { lastIndexAtMost, type OrderedSegments } from "./ordered_segments.ts";
import type { Segment } from "./segment_files.ts";

/** The size of a segment that was opened. */
export interface SegmentSize {
  readonly segment: Segment;
  /** The length of its file, or of its header and frames. */
  readonly bytes: number;
  /** The frame bytes before it, from its header; `undefined` if it is no segment of this log. */
  readonly logBytesBefore: number | undefined;
}

/** A segment of this log whose header is known. After its removal it still bounds the segments beside it. */
interface KnownSegment {
  readonly firstSequence: number;
  readonly logBytesBefore: number;
  readonly headerBytes: number;
  frameBytes: number;
  isRemoved: boolean;
  /** The number of segments between it and the next known one. */
  unknownAfter: number;
}

/** The disk usage of a list of segments. */
export class DiskUsage {
  readonly #segments: OrderedSegments;
  readonly #known: KnownSegment[] = [];
  /** Bytes of files that are no segments of this log, by the first sequence in their name. */
  readonly #foreign = new Map<number, number>();
  #bytes = 0;

  /**
   * For `segments`, which stays the caller's. Each change of that list is followed by the call that reports it.
   *
   * @param sizes The sizes that are known already, among them that of the oldest segment of this log.
   * @param end Where the next segment is going to begin.
   */
  constructor(
    segments: OrderedSegments,
    sizes: readonly SegmentSize[],
    end: { readonly nextSequence: number; readonly logBytes: number },
  ) {
    this.#segments = segments;
    const next = { name: "", firstSequence: end.nextSequence };
    this.#add({ segment: next, bytes: 0, logBytesBefore: end.logBytes }, true);
    for (const size of sizes) this.recordSize(size);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Records the size of a segment of the list, which was opened for the first time or again. */
  recordSize(size: SegmentSize): void {
    const { segment: { firstSequence }, bytes, logBytesBefore } = size;
    // A reader may still have the file of a removed segment open.
    if (this.#segments.findAtOrBefore(firstSequence)?.firstSequence !== firstSequence) return;
    const i = this.#indexOf(firstSequence);
    const known = this.#known[i];
    if (known?.firstSequence === firstSequence && !known.isRemoved) return this.#shorten(i, bytes);
    if (this.#foreign.has(firstSequence)) return;
    if (logBytesBefore !== undefined) return this.#add(size, false);
    this.#recount(i, () => {
      if (known !== undefined && known.unknownAfter > 0) known.unknownAfter--;
    });
    this.#foreign.set(firstSequence, bytes);
    this.#bytes += bytes;
  }

  /** Lowers the size of a known segment to `bytes`, if it is higher. */
  #shorten(i: number, bytes: number): void {
    const known = this.#known[i];
    const frameBytes = Math.max(0, bytes - known.headerBytes);
    if (frameBytes < known.frameBytes) this.#recount(i, () => known.frameBytes = frameBytes);
  }

  /** Adds bytes that were appended to the last segment. */
  addToLast(bytes: number): void {
    const last = this.#known[this.#known.length - 1];
    last.frameBytes += bytes;
    this.#bytes += bytes;
  }

  /** Subtracts a segment that was removed from the list. */
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
      if (known.firstSequence === firstSequence) known.isRemoved = true;
      else if (known.unknownAfter > 0) known.unknownAfter--;
    });
    this.#forgetRemoved();
  }

  /** Forgets the oldest known segments that are removed, up to the first one that still bounds an unknown segment. */
  #forgetRemoved(): void {
    let removed = 0;
    // The last one stays: it is the end of the log.
    while (
      removed + 1 < this.#known.length && this.#known[removed].isRemoved && this.#known[removed].unknownAfter === 0
    ) removed++;
    if (removed > 0) this.#known.splice(0, removed);
  }

  #add({ segment: { firstSequence }, bytes, logBytesBefore }: SegmentSize, isRemoved: boolean): void {
    const headerBytes = Math.min(bytes, SEGMENT_HEADER_BYTES);
    const i = this.#indexOf(firstSequence);
    const before = this.#known[i];
    const isBefore = before?.firstSequence === firstSequence;
    const next = this.#known[isBefore ? i : i + 1];
    const known: KnownSegment = {
      firstSequence,
      logBytesBefore: logBytesBefore!,
      headerBytes,
      frameBytes: bytes - headerBytes,
      isRemoved,
      unknownAfter: next === undefined ? 0 : this.#unknownBetween(firstSequence, next.firstSequence),
    };
    this.#recount(i, () => {
      if (isBefore) this.#known[i] = known;
      else {
        if (before !== undefined) before.unknownAfter = this.#unknownBetween(before.firstSequence, firstSequence);
        this.#known.splice(i + 1, 0, known);
      }
    });
  }

  /** Makes a change to the known segments at `i` and `i + 1`, and updates the sum for these and their neighbours. */
  #recount(i: number, change: () => void): void {
    const { length } = this.#known;
    let after = 0;
    for (let k = i - 1; k <= i + 1; k++) after -= this.#bytesAt(k);
    change();
    for (let k = i - 1; k <= i + 1 + this.#known.length - length; k++) after += this.#bytesAt(k);
    this.#bytes += after;
  }

  /** The bytes of the known segment at `i`, and of the unknown ones between it and the next known one. */
  #bytesAt(i: number): number {
    const known = this.#known[i];
    if (known === undefined) return 0;
    const { logBytesBefore, headerBytes, frameBytes, isRemoved, unknownAfter } = known;
    const next = this.#known[i + 1];
    const room = next === undefined ? Infinity : Math.max(0, next.logBytesBefore - logBytesBefore);
    const own = Math.min(frameBytes, room);
    const rest = unknownAfter === 0 ? 0 : unknownAfter * SEGMENT_HEADER_BYTES + room - own;
    return (isRemoved ? 0 : headerBytes + own) + rest;
  }

  /** The number of segments between two known ones, without files of another log. */
  #unknownBetween(after: number, before: number): number {
    let strays = 0;
    for (const first of this.#foreign.keys()) if (after < first && first < before) strays++;
    return Math.max(0, this.#segments.countBefore(before) - this.#segments.countBefore(after + 1) - strays);
  }

  /** The index of the last known segment that begins at or before a sequence; -1 if there is none. */
  #indexOf(firstSequence: number): number {
    return lastIndexAtMost(this.#known, (known) => known.firstSequence, firstSequence);
  }
}
