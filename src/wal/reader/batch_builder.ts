/**
 * A batch while it is being read: the records so far, copied into one piece of memory of the batch's own.
 *
 * Records are kept as they stand in frames, each behind its length: so one copy a frame is enough, and the decoder
 * has four bytes before each that are no payload's.
 *
 * Small batches stand in pieces of one larger allocation, a {@linkcode BatchArena}, because V8 takes longer to make a typed
 * array than to read ten small records. A batch that is shown as bytes moves out of it first (`record_buffer.ts`): nobody outside
 * may get hold of memory that isn't the batch's alone.
 *
 * @module
 */

import { RECORD_HEADER_BYTES } from "../format.ts";
import type { LogPosition } from "../position.ts";
import type { ReadBatch } from "./log_view.ts";

/** What is known of a batch before its first record is read. */
export interface BatchStart {
  readonly start: LogPosition;
  readonly codecVersion: number;
  readonly isJson: boolean;
}

/** A batch that may need more is given memory of its own. */
const MAX_SLAB_ROOM = 4096;
const SLAB_BYTES = 64 * 1024;

/** Memory for small batches, one after the other. */
export class BatchArena {
  #bytes = new Uint8Array(0);
  #used = 0;

  /** Whether a batch of that size gets its memory here. */
  fits(length: number): boolean {
    return length <= MAX_SLAB_ROOM;
  }

  /** Memory that nobody has; still free until `keep` says how much of it is needed. */
  room(length: number): Uint8Array<ArrayBuffer> {
    if (this.#used + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    return this.#bytes.subarray(this.#used, this.#used + length);
  }

  /** The first `length` bytes of the last room are taken for good. */
  keep(length: number): void {
    this.#used += length;
  }
}

/** Collects the records of one batch. */
export class BatchBuilder {
  readonly codecVersion: number;
  /** Whether each payload so far is known to be the text of one JSON value. */
  isJson: boolean;
  /** Over the checksums of the frames so far. */
  checksum = 0;
  /** The sequence that comes next. */
  sequence: number;
  payloadBytes = 0;
  #start: LogPosition;
  readonly #bounds: number[] = [];
  readonly #arena: BatchArena;
  #isShared: boolean;
  #bytes: Uint8Array<ArrayBuffer>;
  #used = 0;

  /** Nothing is read yet; `guessedBytes` are going to be needed, or a little more. */
  constructor({ start, codecVersion, isJson }: BatchStart, guessedBytes: number, arena: BatchArena) {
    this.#start = start;
    this.sequence = start.nextSequence;
    this.codecVersion = codecVersion;
    this.isJson = isJson;
    this.#arena = arena;
    this.#isShared = arena.fits(guessedBytes);
    this.#bytes = this.#isShared ? arena.room(guessedBytes) : new Uint8Array(guessedBytes);
  }

  /** Number of records so far. */
  get records(): number {
    return this.#bounds.length / 2;
  }

  /** Notes a record that stands `offset` bytes behind the first one of those that `copy` is going to take next. */
  note(offset: number, payloadBytes: number): void {
    const at = this.#used + offset + RECORD_HEADER_BYTES;
    this.#bounds.push(at, at + payloadBytes);
    this.payloadBytes += payloadBytes;
    this.sequence++;
  }

  /** What was taken for `from` turns out to be `to`: between its ends there is nothing but its own records. */
  shift(from: LogPosition, to: LogPosition): void {
    this.#start = {
      nextSequence: this.#start.nextSequence,
      payloadBytes: this.#start.payloadBytes + to.payloadBytes - from.payloadBytes,
      logBytes: this.#start.logBytes + to.logBytes - from.logBytes,
    };
  }

  /** Copies the records that were noted: `bytes[from..to)`. */
  copy(bytes: Uint8Array, from: number, to: number): void {
    const used = this.#used + to - from;
    // One byte more: some decoders need one behind the last payload.
    if (used >= this.#bytes.length) this.#grow(used + 1);
    this.#bytes.set(bytes.subarray(from, to), this.#used);
    this.#used = used;
  }

  /** The batch, which ends at `end`. */
  toBatch(end: LogPosition): ReadBatch {
    if (this.#isShared) this.#arena.keep(this.#used + 1);
    return {
      firstSequence: this.#start.nextSequence,
      count: this.records,
      bytes: this.#bytes,
      isShared: this.#isShared,
      bounds: this.#bounds,
      payloadBytes: this.payloadBytes,
      codecVersion: this.codecVersion,
      isJson: this.isJson,
      checksum: this.checksum,
      start: this.#start,
      end,
    };
  }

  #grow(needed: number): void {
    let size = this.#bytes.length;
    while (size < needed) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = grown;
    this.#isShared = false;
  }
}
