/**
 * Reads one segment, frame by frame, and tells good bytes from bad ones.
 *
 * Guarantees: every frame that is returned is valid (the five conditions of `format.ts`), whatever is in the file; bad
 * bytes are reported as a region, together with the place where valid frames go on, and never skipped silently;
 * a `putMany` that is not whole is bad as a whole. Memory: one chunk, or one frame if that is longer; nothing is
 * allocated on the word of a length that wasn't checked against the limit and the file.
 *
 * What to do about a bad region (cut it, set it aside, refuse) is for the caller to decide.
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
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./format.ts";

/** How much is read at a time: large enough that the calls don't count, small enough not to hold the loop up. */
const CHUNK_BYTES = 256 * 1024;

/**
 * A scan ends when checking what only looks like frames has cost so much. A payload full of frames, such as a log that is
 * stored in a record, costs its own length once; only one that is made for it, each header claiming all that follows,
 * gets further.
 */
const SCAN_BUDGET_BYTES = 256 * 1024 * 1024;
const SCAN_BUDGET_FACTOR = 4;

/** A valid frame. Its bytes are the reader's: they change with the next call. */
export interface Frame extends FrameHeader {
  /** Where it begins in the file. */
  readonly fileOffset: number;
  /** Holds the frame. */
  readonly bytes: Uint8Array;
  /** A view of all of `bytes`. */
  readonly view: DataView;
  /** Where the frame begins in `bytes`. */
  readonly offset: number;
}

/** What comes next in a segment. */
export type SegmentItem =
  | { readonly kind: "frame"; readonly frame: Frame }
  /** No byte is left, or only zeros are. `zeros` says how many. */
  | { readonly kind: "end"; readonly zeros: number }
  /**
   * `length` bad bytes; valid frames go on behind them, unless `last`. 0 bytes if frames are missing without a trace.
   */
  | { readonly kind: "bad"; readonly offset: number; readonly length: number; readonly last: boolean };

/** Reads the frames of one segment in order. */
export class SegmentReader {
  readonly #handle: FileHandle;
  readonly #header: SegmentHeader;
  #buffer = new Uint8Array(0);
  #view = new DataView(this.#buffer.buffer);
  /** The file offset of the buffer's first byte, and how many bytes of the file are in it. */
  #bufferAt = 0;
  #buffered = 0;
  /** Where the next frame begins that was offered, and has never been on a disk; `Infinity` if there is none. */
  #offeredAt = Infinity;
  /** Where the next frame should begin, and the sequence that it should have. */
  #position: number;
  #expected: number;
  /** Whether the frame before says that the next one belongs to it, or nothing is known about the frame before. */
  #mayContinue = false;
  /** Bytes of what looked like frames and wasn't, since the scan began. */
  #refusedBytes = 0;
  /** Up to here groups were found to be whole. */
  #completeUpTo = 0;

  /** Reads from `handle`, which stays the caller's, the segment with that header. */
  constructor(handle: FileHandle, header: SegmentHeader) {
    this.#handle = handle;
    this.#header = header;
    this.#position = SEGMENT_HEADER_BYTES;
    this.#expected = header.firstSequence;
  }

  /**
   * Takes over frames that were just written at `position`, if they follow what is in the buffer. They are the writer's
   * own bytes, sealed a moment ago: conditions 3 and 4 need not be checked for them.
   *
   * @param isFree Whether no frame is in use any more.
   */
  offer(position: number, bytes: Uint8Array, isFree: boolean): void {
    if (position !== this.#bufferAt + this.#buffered) return;
    if (this.#buffered + bytes.length > this.#buffer.length && !(isFree && this.#makeRoom(bytes.length))) return;
    if (this.#offeredAt === Infinity) this.#offeredAt = position;
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  /**
   * Moves what is not read yet to the front of the buffer; false if there is no room for `length` bytes even then, or if
   * more would have to be moved than room is gained.
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

  /** File offset of the next frame. */
  get position(): number {
    return this.#position;
  }

  /** The sequence that follows what was read. */
  get expected(): number {
    return this.#expected;
  }

  /**
   * Goes to the frame of the record `sequence`, which is said to be at `offset`; stays where it is if it isn't there. On
   * the word of a cursor the frame may well be in the middle of a group.
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
   * Reads what follows.
   *
   * @param end Where the data of the segment ends: the file's size, or what is written so far.
   */
  next(end: number): SegmentItem {
    const offset = this.#position;
    if (offset >= end) return { kind: "end", zeros: 0 };
    const frame = this.#frameAt(offset, end, offset === this.#offeredAt);
    if (frame !== undefined && this.#follows(frame) && this.#isPutManyComplete(frame, end)) {
      this.#advance(frame);
      // Checking the group has moved the buffer on.
      return { kind: "frame", frame: this.#isBuffered(offset, frame.length) ? frame : this.#frameAt(offset, end)! };
    }
    if (frame !== undefined && this.#skipsAhead(frame)) {
      this.#expected = frame.firstSequence;
      return { kind: "bad", offset, length: 0, last: false };
    }
    if (frame === undefined && this.#isZeroFrom(offset, end)) return { kind: "end", zeros: end - offset };
    return this.#skipBad(offset, end);
  }

  /** How many bytes there are from here to `end`; none if all of them are zero. */
  tailBytes(end: number): number {
    return this.#isZeroFrom(this.#position, end) ? 0 : end - this.#position;
  }

  /** Condition 5 of a valid frame, and its place in a group. */
  #follows(frame: FrameHeader): boolean {
    return frame.firstSequence === this.#expected && ((frame.flags & FLAG_CONTINUED) === 0 || this.#mayContinue);
  }

  /**
   * Whether whole frames are missing before `frame`. It stands right behind a valid frame, so it can't be a part of
   * somebody's payload, and what it says may be believed.
   */
  #skipsAhead(frame: FrameHeader): boolean {
    return frame.firstSequence > this.#expected && (frame.flags & FLAG_CONTINUED) === 0;
  }

  /** Whether the group that `frame` opens is there whole. */
  #isPutManyComplete(frame: Frame, end: number): boolean {
    const opens = (frame.flags & (FLAG_CONTINUES | FLAG_CONTINUED)) === FLAG_CONTINUES;
    if (!opens || frame.fileOffset < this.#completeUpTo) return true;
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
    this.#completeUpTo = at;
    return true;
  }

  #advance(frame: Frame): void {
    this.#position = frame.fileOffset + frame.length;
    // From one offered frame to the next: no other place may be taken for the beginning of one.
    if (frame.fileOffset === this.#offeredAt) {
      this.#offeredAt = this.#position < this.#bufferAt + this.#buffered ? this.#position : Infinity;
    }
    this.#expected = frame.firstSequence + frame.count;
    this.#mayContinue = (frame.flags & FLAG_CONTINUES) !== 0;
  }

  /**
   * Finds where valid frames go on. First the frame that the bad one's own length points to, which is right whenever the
   * damage is in a payload, and spares a look inside it; else every offset is tried.
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

  /** The frame that a bad one's header points to, if that frame is the very next one: then the header can be believed. */
  #findByLength(offset: number, end: number): Frame | undefined {
    const claimed = this.#headerAt(offset, end);
    if (claimed === undefined || claimed.firstSequence !== this.#expected) return undefined;
    const frame = this.#resumeAt(offset, offset + claimed.length, end);
    return frame?.firstSequence === claimed.firstSequence + claimed.count ? frame : undefined;
  }

  /** Tries every offset behind a bad one. */
  #findByScan(offset: number, end: number): Frame | undefined {
    this.#refusedBytes = 0;
    for (let at = offset + 1; at + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES <= end; at++) {
      const frame = this.#resumeAt(offset, at, end);
      if (frame !== undefined) return frame;
      if (this.#refusedBytes > SCAN_BUDGET_BYTES + SCAN_BUDGET_FACTOR * (at - offset)) return undefined;
    }
    return undefined;
  }

  /** The frame at `at` if reading can go on there, behind bad bytes that begin at `badFrom`. */
  #resumeAt(badFrom: number, at: number, end: number): Frame | undefined {
    const header = this.#headerAt(at, end);
    if (header === undefined || (header.flags & FLAG_CONTINUED) !== 0) return undefined;
    const mostLost = Math.floor((at - badFrom) / RECORD_HEADER_BYTES);
    if (header.firstSequence < this.#expected || header.firstSequence > this.#expected + mostLost) return undefined;
    const frame = this.#frameAt(at, end);
    return frame !== undefined && this.#isPutManyComplete(frame, end) ? frame : undefined;
  }

  /** The header at `at`, conditions 1 and 2. */
  #headerAt(at: number, end: number): FrameHeader | undefined {
    if (end - at < FRAME_HEADER_BYTES || !this.#fill(at, FRAME_HEADER_BYTES, end)) return undefined;
    return decodeFrameHeader(this.#view, at - this.#bufferAt, end - at, this.#header.recordLimit);
  }

  /** The frame at `at`, conditions 1 to 4; of one that was offered, 3 and 4 are known. */
  #frameAt(at: number, end: number, isOffered = false): Frame | undefined {
    const header = this.#headerAt(at, end);
    if (header === undefined || !this.#fill(at, header.length, end)) return undefined;
    const offset = at - this.#bufferAt;
    const { length, firstSequence, putTime, flags, count, unacknowledged } = header;
    if (!isOffered && !isFrameIntact(this.#buffer, this.#view, offset, header, this.#header)) {
      this.#refusedBytes += length;
      return undefined;
    }
    const [bytes, view] = [this.#buffer, this.#view];
    return { length, firstSequence, putTime, flags, count, unacknowledged, fileOffset: at, bytes, view, offset };
  }

  #isBuffered(at: number, length: number): boolean {
    return at >= this.#bufferAt && at + length <= this.#bufferAt + this.#buffered;
  }

  /** Gets `length` bytes from `at` into the buffer; false if the file doesn't have them. */
  #fill(at: number, length: number, end: number): boolean {
    if (this.#isBuffered(at, length)) return true;
    const wanted = Math.max(length, Math.min(CHUNK_BYTES, end - at));
    if (this.#buffer.length < wanted) {
      const most = Math.max(CHUNK_BYTES, maxFrameBytes(this.#header.recordLimit));
      this.#setBuffer(Math.min(most, nextPowerOfTwo(wanted)));
    }
    this.#buffered = 0;
    this.#bufferAt = at;
    this.#offeredAt = Infinity;
    this.#buffered = this.#handle.read(this.#buffer.subarray(0, wanted), at);
    return this.#buffered >= length;
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

/** Four bytes at a time: a megabyte of them may be set aside behind the last frame. */
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
