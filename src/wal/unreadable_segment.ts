/**
 * Estimates how many records a segment with an unreadable header can have held, because their sequences must not be reused.
 *
 * Without the header there is no salt, and without the salt no frame's checksum can be verified. But frames that follow
 * each other with consecutive sequences state how many records they hold. For the remaining bytes the bound comes from
 * their length: each record takes at least the bytes of its own length field.
 *
 * Guarantees: the estimate is an upper bound, and no higher than the bytes allow, whatever the frames claim; the work is
 * bounded as well; memory for one frame; no side effect but reading.
 *
 * @module
 */

import type { FileHandle } from "../fs/file_system.ts";
import {
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  isFrameFilled,
  MAX_SHARED_FRAME_BYTES,
  maxRecordsIn,
  MIN_FRAME_BYTES,
  NO_RECORD_LIMIT,
  SEGMENT_HEADER_BYTES,
} from "./format.ts";

const CHUNK_BYTES = 64 * 1024;
/** The most that is read of a segment to check frames, as a multiple of its length. */
const READ_FACTOR = 4;

/** A segment with an unreadable header. */
export interface UnreadableSegment {
  readonly handle: FileHandle;
  /** The first sequence in its name. */
  readonly firstSequence: number;
  readonly size: number;
  /** Where the last byte that isn't zero ends. */
  readonly filledBytes: number;
}

/** A frame whose checksum can't be verified. */
interface UnverifiedFrame extends FrameHeader {
  readonly offset: number;
  readonly isTorn: boolean;
}

/** Finds where the last byte that isn't zero ends in a file of `size` bytes. */
export function findFilledBytes(handle: FileHandle, size: number): number {
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let end = size; end > 0;) {
    const from = Math.max(0, end - CHUNK_BYTES);
    let filled = handle.read(chunk.subarray(0, end - from), from);
    while (filled > 0 && chunk[filled - 1] === 0) filled--;
    if (filled > 0) return from + filled;
    end = from;
  }
  return 0;
}

/** An upper bound on the number of records that a segment held. */
export function estimateMaxRecords(segment: UnreadableSegment): number {
  const { firstSequence, size, filledBytes } = segment;
  const frames = new UnverifiedFrames(segment);
  let at = SEGMENT_HEADER_BYTES;
  let next = firstSequence;
  while (at < filledBytes) {
    const frame = frames.next(at, next);
    if (frame === undefined) break;
    if (frame.isTorn) {
      return frame.firstSequence - firstSequence + Math.max(frame.count, maxRecordsInFrame(filledBytes - frame.offset));
    }
    at = frame.offset + frame.length;
    next = frame.firstSequence + frame.count;
  }
  const known = next - firstSequence;
  if (filledBytes - at < MIN_FRAME_BYTES) return known;
  // The last frame may go on in the zeros that follow: empty records are zeros.
  return known + maxRecordsInFrame(Math.min(size, filledBytes + MAX_SHARED_FRAME_BYTES) - at);
}

/** The most records that a frame of that length can hold. */
function maxRecordsInFrame(length: number): number {
  return maxRecordsIn(length - FRAME_HEADER_BYTES);
}

/** Finds frames by their headers and lengths, without their checksums. */
class UnverifiedFrames {
  readonly #segment: UnreadableSegment;
  #leftBytes: number;

  constructor(segment: UnreadableSegment) {
    this.#segment = segment;
    this.#leftBytes = READ_FACTOR * segment.size;
  }

  /**
   * The first frame at or after offset `at` that meets two conditions. Its first sequence is `next`, or higher by no more
   * records than the skipped bytes can have held. And it is whole, or torn by the end of the data.
   */
  next(at: number, next: number): UnverifiedFrame | undefined {
    const { handle, filledBytes } = this.#segment;
    const chunk = new Uint8Array(CHUNK_BYTES);
    const view = new DataView(chunk.buffer);
    const step = CHUNK_BYTES - FRAME_HEADER_BYTES;
    for (let from = at; from < filledBytes; from += step) {
      const read = handle.read(chunk, from);
      for (let i = 0; i < step && i + FRAME_HEADER_BYTES <= read; i++) {
        const offset = from + i;
        const header = decodeFrameHeader(view, i, Infinity, NO_RECORD_LIMIT);
        if (header === undefined || header.firstSequence < next) continue;
        if (header.firstSequence > next + maxRecordsIn(offset - at)) continue;
        const isFilled = this.#isFilled(offset, header);
        if (!isFilled && offset + header.length < filledBytes) continue;
        return { ...header, offset, isTorn: !isFilled };
      }
    }
    return undefined;
  }

  /**
   * Whether the records fill the frame exactly (condition 3 of `format.ts`). In a frame of one record, the two lengths have
   * to agree; its payload may be torn.
   */
  #isFilled(at: number, header: FrameHeader): boolean {
    const length = header.count === 1 ? MIN_FRAME_BYTES : header.length;
    this.#leftBytes -= length;
    const { handle, size } = this.#segment;
    if (this.#leftBytes < 0 || at + length > size) return false;
    const bytes = new Uint8Array(length);
    handle.read(bytes, at);
    return isFrameFilled(new DataView(bytes.buffer), 0, header, NO_RECORD_LIMIT);
  }
}
