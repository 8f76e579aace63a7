/**
 * Packs records into frames, in one reused arena, ready for a single write call.
 *
 * Guarantees: payloads are encoded where they are written from, without a copy if the codec can do that; a record that fails
 * to encode, or is withdrawn, leaves nothing; a frame of several records is at most 64 KiB long; the records of a group (a
 * `putMany`) share one frame, or have frames of their own, linked by flags. Pure: no I/O. `seal` fills in sequences, salt and
 * checksums last, when the segment is known.
 *
 * @module
 */

import type { Codec } from "../../base/codec.ts";
import {
  checkedPart,
  encodeFrameHeader,
  FLAG_CONTINUED,
  FLAG_CONTINUES,
  FRAME_HEADER_BYTES,
  MAX_SHARED_FRAME_BYTES,
  payloadBytesIn,
  payloadStart,
  RECORD_HEADER_BYTES,
  recordEnd,
  unacknowledgedBefore,
} from "../format.ts";

/** The arena's initial size: a write of this size costs 50 us, so a tick seldom collects more. */
const ARENA_BYTES = 256 * 1024;
/**
 * An arena that has grown beyond this is released only after several writes in a row that need less than a quarter of it: a
 * new one for each big put would cost more than all else about the put.
 */
const MAX_KEPT_ARENA_BYTES = 4 * 1024 * 1024;
const SMALL_WRITES_BEFORE_SHRINKING = 16;
/** Views of the arena up to this length are kept: making one costs as much as all else about a short write. */
const CACHED_VIEWS = 4096;
/** The room for a record that is encoded in place. A longer payload comes from `encode`, and is copied. */
const ENCODE_ROOM_BYTES = 64 * 1024;
/** Where the payload of the first record begins. */
const FIRST_RECORD = payloadStart(FRAME_HEADER_BYTES);

/** What {@linkcode FrameBuilder.seal} fills in. */
export interface SealOptions {
  /** The sequence of the first record. */
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly putTime: number;
  /** The salt of their segment. */
  readonly salt: number;
  /** Records below this sequence are acknowledged; `Infinity` where each is acknowledged as soon as it is written. */
  readonly acknowledged: number;
}

/** A frame under construction. */
interface OpenFrame {
  start: number;
  count: number;
  flags: number;
}

/** Builds the frames of one write. */
export class FrameBuilder {
  #bytes = new Uint8Array(ARENA_BYTES);
  #view = new DataView(this.#bytes.buffer);
  /** Views of the arena's first bytes, and of what the checksum of the first frame covers, by length. */
  #views: (Uint8Array | undefined)[] = new Array(CACHED_VIEWS);
  #checkedViews: (Uint8Array | undefined)[] = new Array(CACHED_VIEWS);
  /** Where the first record is encoded. */
  #firstRoom = this.#bytes.subarray(FIRST_RECORD, FIRST_RECORD + ENCODE_ROOM_BYTES);
  #used = 0;
  #smallWrites = 0;
  /** Reused for all frames. */
  readonly #header = { length: 0, firstSequence: 0, putTime: 0.5, flags: 0, count: 0, unacknowledged: 0 };
  /** The first `#frameCount` are in use; the others are kept for reuse. */
  readonly #frames: OpenFrame[] = [];
  #frameCount = 0;
  #records = 0;
  /** Whether the next record may join the last frame. */
  #mayShare = false;
  /** The number of the first frame of the open group; `undefined` without one. */
  #groupFrom: number | undefined;
  /** The state at `savepoint`. */
  #begunUsed = 0;
  #begunFrames = 0;
  #begunCount = 0;
  #begunRecords = 0;
  #begunMayShare = false;

  /** Bytes of all frames so far. */
  get length(): number {
    return this.#used;
  }

  get records(): number {
    return this.#records;
  }

  /** Bytes of their payloads. */
  get payloadBytes(): number {
    return payloadBytesIn(this.#used - this.#frameCount * FRAME_HEADER_BYTES, this.#records);
  }

  /** The frames. Valid until the next `add` or `reset`. */
  get bytes(): Uint8Array {
    const length = this.#used;
    if (length >= CACHED_VIEWS) return this.#bytes.subarray(0, length);
    return this.#views[length] ??= this.#bytes.subarray(0, length);
  }

  /**
   * Adds a record.
   *
   * @returns The length of its payload.
   * @throws What the codec throws; the record leaves nothing then.
   */
  add<T>(codec: Codec<unknown, T>, record: T): number {
    const before = this.#used;
    let at = this.#openFrame();
    let payloadBytes = -1;
    try {
      if (codec.encodeInto !== undefined) {
        const room = at === FIRST_RECORD ? this.#firstRoom : this.#roomAt(at);
        payloadBytes = codec.encodeInto(record, room);
        if (!Number.isInteger(payloadBytes) || payloadBytes > room.length) {
          throw new RangeError(`encodeInto() returned ${payloadBytes} for a room of ${room.length} bytes`);
        }
      }
      if (payloadBytes < 0) {
        const payload = codec.encode(record);
        if (!(payload instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
        payloadBytes = payload.length;
        this.#reserve(at + payloadBytes);
        this.#bytes.set(payload, at);
      }
    } catch (error) {
      this.#dropEmptyFrame(before);
      throw error;
    }
    let frame = this.#frames[this.#frameCount - 1];
    if (frame.count > 0 && at + payloadBytes - frame.start > MAX_SHARED_FRAME_BYTES) {
      at = this.#moveToNextFrame(at, payloadBytes);
      frame = this.#frames[this.#frameCount - 1];
    }
    this.#view.setUint32(at - RECORD_HEADER_BYTES, payloadBytes, true);
    this.#used = at + payloadBytes;
    frame.count++;
    this.#records++;
    return payloadBytes;
  }

  /** Begins a group: all records until `endGroup` belong together. */
  beginGroup(): void {
    this.#mayShare = false;
    this.#groupFrom = this.#frameCount;
  }

  /** Ends the group: links its frames by flags if there are several. */
  endGroup(): void {
    const from = this.#groupFrom ?? this.#frameCount;
    for (let i = from; i < this.#frameCount; i++) {
      if (i > from) this.#frames[i].flags |= FLAG_CONTINUED;
      if (i + 1 < this.#frameCount) this.#frames[i].flags |= FLAG_CONTINUES;
    }
    this.#groupFrom = undefined;
    this.#mayShare = false;
  }

  /** Notes the state that `rollback` restores. */
  savepoint(): void {
    this.#begunUsed = this.#used;
    this.#begunFrames = this.#frameCount;
    this.#begunCount = this.#frameCount > 0 ? this.#frames[this.#frameCount - 1].count : 0;
    this.#begunRecords = this.#records;
    this.#begunMayShare = this.#mayShare;
  }

  /** Removes everything added since `savepoint`. */
  rollback(): void {
    this.#used = this.#begunUsed;
    this.#frameCount = this.#begunFrames;
    if (this.#frameCount > 0) this.#frames[this.#frameCount - 1].count = this.#begunCount;
    this.#records = this.#begunRecords;
    this.#mayShare = this.#begunMayShare;
    this.#groupFrom = undefined;
  }

  /** Removes everything added since `savepoint`, and returns copies of the payloads. */
  withdraw(): Uint8Array[] {
    const payloads = this.#payloadsSinceSavepoint();
    this.rollback();
    return payloads;
  }

  #payloadsSinceSavepoint(): Uint8Array[] {
    const payloads: Uint8Array[] = [];
    for (let i = Math.max(0, this.#begunFrames - 1); i < this.#frameCount; i++) {
      const { start, count } = this.#frames[i];
      let at = start + FRAME_HEADER_BYTES;
      for (let record = 0; record < count; record++) {
        const end = recordEnd(this.#view, at);
        if (at >= this.#begunUsed) payloads.push(this.#bytes.slice(payloadStart(at), end));
        at = end;
      }
    }
    return payloads;
  }

  /** Fills in the headers of all frames. May be called again, with other values, before the frames are written. */
  seal({ sequence, putTime, salt, acknowledged }: SealOptions): void {
    let firstSequence = sequence;
    for (let i = 0; i < this.#frameCount; i++) {
      const { start, count, flags } = this.#frames[i];
      const end = i + 1 < this.#frameCount ? this.#frames[i + 1].start : this.#used;
      const header = this.#header;
      header.length = end - start;
      header.firstSequence = firstSequence;
      header.putTime = putTime;
      header.flags = flags;
      header.count = count;
      // Avoids arithmetic on infinity, which an engine does in floating point.
      header.unacknowledged = acknowledged === Infinity ? 0 : unacknowledgedBefore(firstSequence, acknowledged);
      const checked = start === 0 ? this.#checkedView(end) : undefined;
      encodeFrameHeader(this.#bytes, this.#view, start, header, salt, checked);
      firstSequence += count;
    }
  }

  reset(): void {
    this.#smallWrites = this.#used * 4 > this.#bytes.length ? 0 : this.#smallWrites + 1;
    this.#used = 0;
    this.#frameCount = 0;
    this.#records = 0;
    this.#mayShare = false;
    this.#groupFrom = undefined;
    if (this.#bytes.length > MAX_KEPT_ARENA_BYTES && this.#smallWrites >= SMALL_WRITES_BEFORE_SHRINKING) {
      this.#setArena(new Uint8Array(ARENA_BYTES));
    }
  }

  /** Returns where the next payload goes: in the last frame if it may grow, otherwise in a new one. */
  #openFrame(): number {
    if (!this.#mayShare || this.#used - this.#frames[this.#frameCount - 1].start >= MAX_SHARED_FRAME_BYTES) {
      this.#pushFrame();
      this.#mayShare = true;
      return this.#used + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES;
    }
    return this.#used + RECORD_HEADER_BYTES;
  }

  #pushFrame(): void {
    const index = this.#frameCount++;
    if (index === this.#frames.length) this.#frames.push({ start: 0, count: 0, flags: 0 });
    const frame = this.#frames[index];
    frame.start = this.#used;
    frame.count = 0;
    frame.flags = 0;
  }

  /** After a failed record: removes the frame that was opened for it. */
  #dropEmptyFrame(used: number): void {
    if (this.#frames[this.#frameCount - 1].count > 0) return;
    this.#frameCount--;
    this.#used = used;
    this.#mayShare = false;
  }

  /** Where a record behind others is encoded. */
  #roomAt(at: number): Uint8Array {
    this.#reserve(at + ENCODE_ROOM_BYTES);
    return this.#bytes.subarray(at, at + ENCODE_ROOM_BYTES);
  }

  /** Moves a payload that makes a shared frame too long into a new frame; returns where the payload begins now. */
  #moveToNextFrame(at: number, payloadBytes: number): number {
    const moved = at + FRAME_HEADER_BYTES;
    this.#reserve(moved + payloadBytes);
    this.#bytes.copyWithin(moved, at, at + payloadBytes);
    this.#pushFrame();
    return moved;
  }

  /** Grows the arena to at least `length` bytes; its content stays. */
  #reserve(length: number): void {
    if (length <= this.#bytes.length) return;
    let size = this.#bytes.length;
    while (size < length) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes);
    this.#setArena(grown);
  }

  /** What the checksum covers after the CRC field of a frame that takes the arena's first `length` bytes. */
  #checkedView(length: number): Uint8Array {
    if (length >= CACHED_VIEWS) return checkedPart(this.#bytes, 0, length);
    return this.#checkedViews[length] ??= checkedPart(this.#bytes, 0, length);
  }

  #setArena(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.#views = new Array(CACHED_VIEWS);
    this.#checkedViews = new Array(CACHED_VIEWS);
    this.#firstRoom = bytes.subarray(FIRST_RECORD, FIRST_RECORD + ENCODE_ROOM_BYTES);
  }
}
