/**
 * A batch while it is being read: the records so far, copied into one piece of memory.
 *
 * Records are kept as in frames, each after its length. So one copy per frame is enough, and the decoder may use the four
 * bytes before each payload.
 *
 * Small batches share one larger allocation, a {@linkcode BatchArena}, because V8 takes longer to create a typed array than to
 * read ten small records. Payloads are copied out of it before a caller sees them (`batch.ts`).
 *
 * @module
 */

import { RECORD_HEADER_BYTES } from "../format.ts";
import type { LogPosition } from "../position.ts";
import type { PutTimeRun, ReadBatch } from "./log_view.ts";

/** A batch that may need more gets memory of its own. */
const MAX_SLAB_ROOM = 4096;
const SLAB_BYTES = 64 * 1024;

/** Memory that small batches share. */
export class BatchArena {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** How much of it belongs to batches. */
  used = 0;

  /** Whether a batch of that size is small enough. */
  fits(length: number): boolean {
    return length <= MAX_SLAB_ROOM;
  }

  /** Makes sure that `length` bytes are unused. */
  makeRoom(length: number): void {
    if (this.used + length <= this.bytes.length) return;
    this.bytes = new Uint8Array(SLAB_BYTES);
    this.used = 0;
  }
}

export class BatchBuilder {
  readonly codecVersion: number;
  /** Whether each payload so far is known to be the text of one JSON value. */
  isJson: boolean;
  /** A checksum over those of the frames so far. */
  checksum = 0;
  /** The sequence that comes next. */
  sequence: number;
  payloadBytes = 0;
  #start: LogPosition;
  readonly #bounds: number[] = [];
  #putTimes: PutTimeRun[] = [];
  #lastPutTime = -1;
  readonly #arena: BatchArena;
  #isShared: boolean;
  /** The batch's memory is `#bytes[#from..#to)`, of which it uses what is before `#used`. */
  #bytes: Uint8Array<ArrayBuffer>;
  #from: number;
  #used: number;
  #to: number;

  /** An empty batch, with memory for `guessedBytes`. */
  constructor(
    { start, codecVersion, isJson }: Pick<ReadBatch, "start" | "codecVersion" | "isJson">,
    guessedBytes: number,
    arena: BatchArena,
  ) {
    this.#start = start;
    this.sequence = start.nextSequence;
    this.codecVersion = codecVersion;
    this.isJson = isJson;
    this.#arena = arena;
    this.#isShared = arena.fits(guessedBytes);
    if (this.#isShared) arena.makeRoom(guessedBytes);
    this.#bytes = this.#isShared ? arena.bytes : new Uint8Array(guessedBytes);
    this.#from = this.#used = this.#isShared ? arena.used : 0;
    this.#to = this.#from + guessedBytes;
  }

  get records(): number {
    return this.#bounds.length / 2;
  }

  /** Notes a record that begins `offset` bytes after the first of those that the next `copy` takes. */
  note(offset: number, payloadBytes: number): void {
    const at = this.#used + offset + RECORD_HEADER_BYTES;
    this.#bounds.push(at, at + payloadBytes);
    this.payloadBytes += payloadBytes;
    this.sequence++;
  }

  /** Notes when the records from the next one on were put. */
  notePutTime(putTime: number): void {
    if (putTime === this.#lastPutTime) return;
    this.#lastPutTime = putTime;
    const run = { from: this.sequence, putTime };
    // Mostly the only one: an array that grows takes more memory.
    if (this.#putTimes.length === 0) this.#putTimes = [run];
    else this.#putTimes.push(run);
  }

  /** Corrects the totals of the start: what was taken for position `from` is `to`. */
  shift(from: LogPosition, to: LogPosition): void {
    this.#start = {
      nextSequence: this.#start.nextSequence,
      payloadBytes: this.#start.payloadBytes + to.payloadBytes - from.payloadBytes,
      logBytes: this.#start.logBytes + to.logBytes - from.logBytes,
    };
  }

  /** Copies the records that were noted: `bytes[from..to)`. */
  copy(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    // One byte more: some decoders need one after the last payload.
    if (this.#used + length >= this.#to) this.#grow(length + 1);
    this.#bytes.set(bytes.subarray(from, to), this.#used);
    this.#used += length;
  }

  toBatch(end: LogPosition): ReadBatch {
    if (this.#isShared) this.#arena.used = this.#used + 1;
    return {
      firstSequence: this.#start.nextSequence,
      count: this.records,
      bytes: this.#bytes,
      isShared: this.#isShared,
      bounds: this.#bounds,
      payloadBytes: this.payloadBytes,
      putTimes: this.#putTimes,
      codecVersion: this.codecVersion,
      isJson: this.isJson,
      checksum: this.checksum,
      start: this.#start,
      end,
    };
  }

  /** Moves the batch to larger memory of its own, with room for `added` more bytes. */
  #grow(added: number): void {
    const from = this.#from;
    const used = this.#used - from;
    let size = this.#to - from;
    while (size < used + added) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes.subarray(from, this.#used));
    if (from > 0) this.#bounds.forEach((bound, i, bounds) => bounds[i] = bound - from);
    this.#bytes = grown;
    this.#from = 0;
    this.#used = used;
    this.#to = size;
    this.#isShared = false;
  }
}
