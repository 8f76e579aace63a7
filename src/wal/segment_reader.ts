/**
 * Reads one segment frame by frame, and tells valid bytes from bad ones.
 *
 * Guarantees:
 * - Every frame that is returned is valid (the five conditions of `format.ts`), whatever the file contains.
 * - Bad bytes are never skipped silently: they are reported as a region that ends where valid frames continue.
 * - A `putMany` that isn't complete is bad as a whole.
 * - Memory: one chunk, or one frame if that is longer. A length is checked against the record limit and the file before
 *   anything is allocated for it.
 *
 * What to do about a bad region (cut it off, quarantine it, refuse the log) is the caller's decision.
 *
 * @module
 */

import type { FileHandle } from "../fs/file_system.ts";
import {
  decodeFrameHeader,
  FLAG_CONTINUED,
  FLAG_CONTINUES,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  isFrameIntact,
  maxFrameBytes,
  maxRecordsIn,
  MIN_FRAME_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./format.ts";

/** How much is read at a time: large enough to make the calls cheap, small enough not to block the event loop. */
const CHUNK_BYTES = 256 * 1024;

/**
 * The work after which the search for the next valid frame gives up: bytes checked for frames that turned out to be none. A
 * payload full of frames, such as a log stored in a record, costs its own length once. Only a payload made for that
 * purpose, in which each header claims all that follows, costs more.
 */
const SCAN_BUDGET_BYTES = 256 * 1024 * 1024;
const SCAN_BUDGET_FACTOR = 4;

/** A valid frame. Its bytes are in the reader's buffer, and change with the next call. */
export interface Frame extends FrameHeader {
  readonly fileOffset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the frame begins in `bytes`. */
  readonly offset: number;
}

/** What comes next in a segment. */
export type SegmentItem =
  | { readonly kind: "frame"; readonly frame: Frame }
  /** The end of the data: nothing follows but `zeros` zero bytes. */
  | { readonly kind: "end"; readonly zeros: number }
  /**
   * `length` bad bytes. Valid frames follow them, unless `last`. The length is 0 where whole frames are missing without a
   * trace.
   */
  | { readonly kind: "bad"; readonly offset: number; readonly length: number; readonly last: boolean };

/** A place in a segment, as a reader has reached it. */
export interface ReaderPlace {
  readonly position: number;
  readonly expected: number;
  readonly mayContinue: boolean;
}

/** Reads the frames of one segment in order. */
export class SegmentReader {
  readonly #handle: FileHandle;
  readonly #header: SegmentHeader;
  #buffer = new Uint8Array(0);
  #view = new DataView(this.#buffer.buffer);
  /** The file offset of the buffer's first byte, and how many bytes of the file the buffer holds. */
  #bufferAt = 0;
  #buffered = 0;
  /** The offset of the next frame that came by `offer` and was not read from the file; `Infinity` if there is none. */
  #offeredAt = Infinity;
  /** The offset and the first sequence that the next frame should have. */
  #position: number;
  #expected: number;
  /** Whether the next frame may be inside a `putMany`: the frame before it says so, or is unknown. */
  #mayContinue = false;
  /** Bytes that were checked in vain since the search for a valid frame began. */
  #refusedBytes = 0;
  /** Where the last `putMany` begins that is known to be complete, and where it ends; -1 if it has left the buffer. */
  #completeFrom = -1;
  #completeUpTo = 0;
  /** The offset of the next frame of it: it was found intact then. `Infinity` if there is none. */
  #checkedAt = Infinity;

  /**
   * Reads the segment with that header from `handle`, which stays the caller's.
   *
   * @param before A reader that is used no more: its buffer is taken over. A buffer for each segment lives long enough for V8 to
   * collect it with the old generation only, and they were reason enough to do that again and again.
   */
  constructor(handle: FileHandle, header: SegmentHeader, before?: SegmentReader) {
    this.#handle = handle;
    this.#header = header;
    this.#position = SEGMENT_HEADER_BYTES;
    this.#expected = header.firstSequence;
    if (before !== undefined && before.#buffer.length <= CHUNK_BYTES) {
      this.#buffer = before.#buffer;
      this.#view = before.#view;
    }
  }

  /**
   * Copies frames that were just written at `position` into the buffer, if they follow what is in it. They are the writer's
   * own bytes, so conditions 3 and 4 are known to hold and not checked again.
   *
   * @param isFree Whether the caller has no frame of this reader in use, so that the buffer may be moved.
   */
  offer(position: number, bytes: Uint8Array, isFree: boolean): void {
    if (position !== this.#bufferAt + this.#buffered) return;
    if (this.#buffered + bytes.length > this.#buffer.length && !(isFree && this.#makeRoom(bytes.length))) return;
    if (this.#offeredAt === Infinity) this.#offeredAt = position;
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  /**
   * Moves the unread bytes to the front of the buffer. Doesn't, and returns `false`, if that makes no room for `length`
   * bytes or moves more bytes than it frees.
   */
  #makeRoom(length: number): boolean {
    const read = this.#position - this.#bufferAt;
    const unread = this.#buffered - read;
    if (unread < 0 || read < unread || unread + length > CHUNK_BYTES) return false;
    const bytes = this.#buffer;
    if (bytes.length < CHUNK_BYTES) this.#setBuffer(CHUNK_BYTES);
    this.#buffer.set(bytes.subarray(read, this.#buffered));
    this.#bufferAt = this.#position;
    this.#buffered = unread;
    return true;
  }

  #setBuffer(size: number): void {
    this.#buffer = new Uint8Array(size);
    this.#view = new DataView(this.#buffer.buffer);
  }

  /** Where it is, for {@linkcode SegmentReader.reread}. */
  get place(): ReaderPlace {
    return { position: this.#position, expected: this.#expected, mayContinue: this.#mayContinue };
  }

  /** Goes back to a place where it was, and reads the file again from there. */
  reread({ position, expected, mayContinue }: ReaderPlace): void {
    this.#position = position;
    this.#expected = expected;
    this.#mayContinue = mayContinue;
    this.#bufferAt = this.#buffered = this.#refusedBytes = 0;
    this.#forgetChecked();
  }

  /** The bytes in the buffer are others: nothing is known of them. */
  #forgetChecked(): void {
    this.#completeFrom = -1;
    this.#checkedAt = Infinity;
    this.#offeredAt = Infinity;
  }

  /** The file offset of the next frame. */
  get position(): number {
    return this.#position;
  }

  /** The sequence that follows the records read so far. */
  get expected(): number {
    return this.#expected;
  }

  /**
   * Moves to the frame at `offset` if that holds the record `sequence`, or if `offset` is the end of the data; otherwise
   * stays. The frame may be inside a `putMany`.
   */
  seek(offset: number, sequence: number, end: number): void {
    const frame = this.#frameAt(offset, end);
    const holds = frame !== undefined && frame.firstSequence <= sequence &&
      sequence < frame.firstSequence + frame.count;
    if (!holds && offset !== end) return;
    this.#position = offset;
    this.#expected = frame?.firstSequence ?? sequence;
    this.#mayContinue = true;
  }

  /**
   * Reads the next frame, or what is there instead.
   *
   * @param end Where the data of the segment ends: the file's size, or the end of what is written so far.
   */
  next(end: number): SegmentItem {
    const offset = this.#position;
    if (offset >= end) return { kind: "end", zeros: 0 };
    const frame = this.#frameAt(offset, end, offset === this.#offeredAt || offset === this.#checkedAt);
    if (frame !== undefined && this.#follows(frame) && this.#isPutManyComplete(frame, end)) {
      this.#advance(frame);
      // Checking the rest of a `putMany` may have moved the frame in the buffer, or out of it: then it is read again.
      const isInPlace = frame.bytes === this.#buffer && frame.offset === offset - this.#bufferAt;
      if (isInPlace) return { kind: "frame", frame };
      return { kind: "frame", frame: this.#frameAt(offset, end, this.#isBuffered(offset, frame.length))! };
    }
    if (frame !== undefined && this.#skipsAhead(frame)) {
      this.#expected = frame.firstSequence;
      return { kind: "bad", offset, length: 0, last: false };
    }
    if (frame === undefined && this.#isZeroFrom(offset, end)) return { kind: "end", zeros: end - offset };
    return this.#skipBad(offset, end);
  }

  /** The number of unread bytes before `end`; 0 if all of them are zero. */
  tailBytes(end: number): number {
    return this.#isZeroFrom(this.#position, end) ? 0 : end - this.#position;
  }

  /** Whether a frame comes next: it meets condition 5, and is not the continuation of a `putMany` that began elsewhere. */
  #follows(frame: FrameHeader): boolean {
    return frame.firstSequence === this.#expected && ((frame.flags & FLAG_CONTINUED) === 0 || this.#mayContinue);
  }

  /**
   * Whether whole frames are missing before `frame`. It directly follows a valid frame, so it is not a part of a payload,
   * and its sequence can be trusted.
   */
  #skipsAhead(frame: FrameHeader): boolean {
    return frame.firstSequence > this.#expected && (frame.flags & FLAG_CONTINUED) === 0;
  }

  /** Whether the `putMany` that `frame` begins is complete; true for a frame that begins none. */
  #isPutManyComplete(frame: Frame, end: number): boolean {
    const opens = (frame.flags & (FLAG_CONTINUES | FLAG_CONTINUED)) === FLAG_CONTINUES;
    if (!opens || frame.fileOffset === this.#completeFrom) return true;
    let flags = frame.flags;
    let at = frame.fileOffset + frame.length;
    let expected = frame.firstSequence + frame.count;
    while ((flags & FLAG_CONTINUES) !== 0) {
      const next = this.#frameAt(at, end);
      if (next === undefined || next.firstSequence !== expected || (next.flags & FLAG_CONTINUED) === 0) return false;
      flags = next.flags;
      at += next.length;
      expected += next.count;
    }
    this.#completeFrom = this.#isBuffered(frame.fileOffset, at - frame.fileOffset) ? frame.fileOffset : -1;
    this.#completeUpTo = at;
    return true;
  }

  #advance(frame: Frame): void {
    const isInComplete = frame.fileOffset === this.#completeFrom || frame.fileOffset === this.#checkedAt;
    this.#position = frame.fileOffset + frame.length;
    this.#checkedAt = isInComplete && this.#position < this.#completeUpTo ? this.#position : Infinity;
    // From one offered frame to the next: only their beginnings are known to be valid frames.
    if (frame.fileOffset === this.#offeredAt) {
      this.#offeredAt = this.#position < this.#bufferAt + this.#buffered ? this.#position : Infinity;
    }
    this.#expected = frame.firstSequence + frame.count;
    this.#mayContinue = (frame.flags & FLAG_CONTINUES) !== 0;
  }

  /**
   * Finds where valid frames continue. The length field of the bad frame is tried first: it is right whenever the damage is
   * in a payload, and spares a search of that payload. Otherwise every offset is tried.
   */
  #skipBad(offset: number, end: number): SegmentItem {
    const resumed = this.#findByLength(offset, end) ?? this.#findByScan(offset, end);
    if (resumed === undefined) {
      this.#position = end;
      return { kind: "bad", offset, length: end - offset, last: true };
    }
    this.#position = resumed.fileOffset;
    this.#expected = resumed.firstSequence;
    this.#mayContinue = false;
    return { kind: "bad", offset, length: resumed.fileOffset - offset, last: false };
  }

  /**
   * The frame that the length of a bad frame points to, if its sequence follows the bad one's: then the length can be
   * trusted.
   */
  #findByLength(offset: number, end: number): Frame | undefined {
    const claimed = this.#headerAt(offset, end);
    if (claimed === undefined || claimed.firstSequence !== this.#expected) return undefined;
    const frame = this.#resumeAt(offset, offset + claimed.length, end);
    return frame?.firstSequence === claimed.firstSequence + claimed.count ? frame : undefined;
  }

  /** Tries every offset after `offset`, within the budget. */
  #findByScan(offset: number, end: number): Frame | undefined {
    this.#refusedBytes = 0;
    for (let at = offset + 1; at + MIN_FRAME_BYTES <= end; at++) {
      const frame = this.#resumeAt(offset, at, end);
      if (frame !== undefined) return frame;
      if (this.#refusedBytes > SCAN_BUDGET_BYTES + SCAN_BUDGET_FACTOR * (at - offset)) return undefined;
    }
    return undefined;
  }

  /** The frame at `at`, if reading can continue there after bad bytes that begin at `badFrom`. */
  #resumeAt(badFrom: number, at: number, end: number): Frame | undefined {
    const header = this.#headerAt(at, end);
    if (header === undefined || (header.flags & FLAG_CONTINUED) !== 0) return undefined;
    const mostLost = maxRecordsIn(at - badFrom);
    if (header.firstSequence < this.#expected || header.firstSequence > this.#expected + mostLost) return undefined;
    const frame = this.#frameAt(at, end);
    return frame !== undefined && this.#isPutManyComplete(frame, end) ? frame : undefined;
  }

  /** The header at `at`, if it meets conditions 1 and 2. */
  #headerAt(at: number, end: number): FrameHeader | undefined {
    if (end - at < FRAME_HEADER_BYTES || !this.#fill(at, FRAME_HEADER_BYTES, end)) return undefined;
    return decodeFrameHeader(this.#view, at - this.#bufferAt, end - at, this.#header.recordLimit);
  }

  /** The frame at `at`, if it meets conditions 1 to 4; of one that `isIntact`, 3 and 4 are known to hold. */
  #frameAt(at: number, end: number, isIntact = false): Frame | undefined {
    const header = this.#headerAt(at, end);
    if (header === undefined || !this.#fill(at, header.length, end)) return undefined;
    const offset = at - this.#bufferAt;
    const { length, firstSequence, putTime, flags, count, unacknowledged } = header;
    const [bytes, view] = [this.#buffer, this.#view];
    const frame = { length, firstSequence, putTime, flags, count, unacknowledged, fileOffset: at, bytes, view, offset };
    if (isIntact || isFrameIntact(bytes, view, offset, frame, this.#header)) return frame;
    this.#refusedBytes += length;
    return undefined;
  }

  #isBuffered(at: number, length: number): boolean {
    return at >= this.#bufferAt && at + length <= this.#bufferAt + this.#buffered;
  }

  /**
   * Makes sure that the buffer holds `length` bytes from `at` on; `false` if the file doesn't have them. What it holds from the
   * next frame on stays, if there is room for both: a `putMany` is then read once, although it is checked before it is read.
   */
  #fill(at: number, length: number, end: number): boolean {
    if (this.#isBuffered(at, length)) return true;
    const next = this.#position;
    const isKept = this.#isBuffered(next, 1) && at >= next && at + length <= next + CHUNK_BYTES;
    const from = isKept ? next : at;
    const kept = isKept ? this.#buffer.subarray(from - this.#bufferAt, this.#buffered) : undefined;
    const wanted = Math.max(at + length, Math.min(from + CHUNK_BYTES, end)) - from;
    if (this.#buffer.length < wanted) {
      const most = Math.max(CHUNK_BYTES, maxFrameBytes(this.#header.recordLimit));
      this.#setBuffer(Math.min(most, nextPowerOfTwo(wanted)));
    }
    if (kept === undefined) this.#forgetChecked();
    else this.#buffer.set(kept);
    // What is read behind them was not offered.
    this.#offeredAt = Infinity;
    this.#bufferAt = from;
    const held = this.#buffered = kept?.length ?? 0;
    this.#buffered += this.#handle.read(this.#buffer.subarray(held, wanted), from + held);
    return this.#isBuffered(at, length);
  }

  /** Whether all bytes from `at` to `end` are zero. */
  #isZeroFrom(at: number, end: number): boolean {
    while (at < end) {
      const length = Math.min(CHUNK_BYTES, end - at);
      if (!this.#fill(at, length, end)) return true;
      if (!isZeroFilled(this.#view, at - this.#bufferAt, length)) return false;
      at += length;
    }
    return true;
  }
}

/** Compares four bytes at a time, because a megabyte of zeros may be preallocated after the last frame. */
function isZeroFilled(view: DataView, from: number, length: number): boolean {
  const end = from + length;
  let at = from;
  for (; at + 4 <= end; at += 4) if (view.getInt32(at) !== 0) return false;
  for (; at < end; at++) if (view.getUint8(at) !== 0) return false;
  return true;
}

function nextPowerOfTwo(n: number): number {
  let size = 4096;
  while (size < n) size *= 2;
  return size;
}
