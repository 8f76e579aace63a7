/**
 * How many records a segment held at most whose header can't be read: so many sequences can't be given out again.
 *
 * Without the header there is no salt, and without the salt no frame can be checked. But as long as frames follow each
 * other, with the next sequence each, they say how many records they hold. Where they don't, what is left is reckoned by
 * its length: each record takes the bytes of its own length at least.
 *
 * Guarantees: pure but for reading; memory for one frame; frames that claim what isn't theirs cost a bounded amount of
 * work, and don't make the answer larger than what the bytes could hold.
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
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
} from "./format.ts";

/** Where no limit is known, the length of a payload is bounded by the data alone. */
const NO_RECORD_LIMIT = 2 ** 32 - 1;
/** How much is read at a time. */
const CHUNK_BYTES = 64 * 1024;
/** So many times its length may be read of a segment. */
const READ_FACTOR = 4;
/** The shortest frame. */
const MIN_FRAME_BYTES: number = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES;

/** A segment whose header can't be read. */
export interface UnreadableSegment {
  readonly handle: FileHandle;
  /** In its name. */
  readonly firstSequence: number;
  readonly size: number;
  /** Where the last byte that isn't zero ends. */
  readonly filledBytes: number;
}

/** A frame by what it says of itself, and where it begins. */
interface UnverifiedFrame extends FrameHeader {
  readonly offset: number;
  /** Whether a part of it is missing. */
  readonly isTorn: boolean;
}

/** Where the last byte that isn't zero ends in a file of `size` bytes. */
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

/** How many records it held at most. */
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
  // Empty records at the end of a frame are zeros.
  return known + maxRecordsInFrame(Math.min(size, filledBytes + MAX_SHARED_FRAME_BYTES) - at);
}

/** How many records fit a frame of that length. */
function maxRecordsInFrame(length: number): number {
  return Math.max(0, Math.floor((length - FRAME_HEADER_BYTES) / RECORD_HEADER_BYTES));
}

/** The frames of a segment, by what they say of themselves. */
class UnverifiedFrames {
  readonly #segment: UnreadableSegment;
  #leftBytes: number;

  constructor(segment: UnreadableSegment) {
    this.#segment = segment;
    this.#leftBytes = READ_FACTOR * segment.size;
  }

  /**
   * The first frame from `at` on with a sequence from `next` on that what is in between leaves possible, and that is whole
   * or torn at the end of all that is there.
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
        if (header.firstSequence > next + Math.floor((offset - at) / RECORD_HEADER_BYTES)) continue;
        const isFilled = this.#isFilled(offset, header);
        if (!isFilled && offset + header.length < filledBytes) continue;
        return { ...header, offset, isTorn: !isFilled };
      }
    }
    return undefined;
  }

  /** Condition 3. One record says its length twice, which is enough: the rest of it may be torn. */
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
