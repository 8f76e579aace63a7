/**
 * Records in memory, laid out as in a log: each payload behind its length, in pieces of a fixed size.
 *
 * Guarantees: a record costs its payload and four bytes, and at most as much again at the end of a piece; a payload is encoded where it stays if the codec can do that, and is
 * copied once to be read; what is released costs nothing, and its memory is used again. Pure: no I/O, no time.
 *
 * @module
 */

import type { Codec } from "../base/codec.ts";
import { payloadStart, RECORD_HEADER_BYTES, recordEnd } from "../wal/format.ts";
import { LOG_START, type LogPosition } from "../wal/position.ts";
import type { PutTimeRun, ReadBatch, ReadLimits } from "../wal/reader/log_view.ts";

/** The size of a piece. A record that is longer has one of its own. */
const PIECE_BYTES = 256 * 1024;
/** Some bytes of the log. */
interface Piece {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where in the log it begins. */
  readonly start: number;
  used: number;
  /** The put time of the records from a sequence on, up to the next entry. */
  readonly times: PutTimeRun[];
}

/** A place in a piece. */
interface Place {
  readonly index: number;
  readonly piece: Piece;
  readonly at: number;
}

/** What was read: a batch without what only the buffer knows. */
type ReadRecords = Omit<ReadBatch, "codecVersion" | "isJson">;

/** Records in order, with their put times. */
export class MemoryRecords {
  /** In order; only the last one grows. */
  #pieces: Piece[] = [];
  /** A released piece, to be used again. */
  #spare: Piece | undefined;
  /** After the last record added. */
  #end: LogPosition = LOG_START;
  #savepoint: LogPosition = LOG_START;

  /** The position after the last record added. */
  get end(): LogPosition {
    return this.#end;
  }

  /** Adds a record that is put at `putTime`; returns its payload's length. If the codec throws, nothing of the record stays. */
  add<T>(codec: Codec<unknown, T>, record: T, putTime: number): number {
    const payloadBytes = this.#encodeInPlace(codec, record) ?? this.#encodeAndCopy(codec, record);
    const piece = this.#pieces[this.#pieces.length - 1];
    piece.view.setUint32(piece.used, payloadBytes, true);
    const bytes = RECORD_HEADER_BYTES + payloadBytes;
    piece.used += bytes;
    const { nextSequence, payloadBytes: before, logBytes } = this.#end;
    if (piece.times.at(-1)?.putTime !== putTime) piece.times.push({ from: nextSequence, putTime });
    this.#end = {
      nextSequence: nextSequence + 1,
      payloadBytes: before + payloadBytes,
      logBytes: logBytes + bytes,
    };
    return payloadBytes;
  }

  /** Begins something that may have to be undone. */
  savepoint(): void {
    this.#savepoint = this.#end;
  }

  /** Takes back what was added since `savepoint`. */
  rollback(): void {
    const { nextSequence, logBytes } = this.#end = this.#savepoint;
    while (this.#pieces.length > 0 && this.#pieces.at(-1)!.start >= logBytes) this.#keepSpare(this.#pieces.pop()!);
    const piece = this.#pieces.at(-1);
    if (piece === undefined) return;
    piece.used = Math.min(piece.used, logBytes - piece.start);
    while (piece.times.length > 0 && piece.times.at(-1)!.from >= nextSequence) piece.times.pop();
  }

  /** Takes back what was added since `savepoint`, and returns copies of the payloads. */
  withdraw(): Uint8Array[] {
    const limits = { maxRecords: Infinity, maxBytes: Infinity, before: this.#end.nextSequence };
    const { bytes, bounds } = this.read(this.#savepoint, limits) ?? { bytes: new Uint8Array(), bounds: [] };
    this.rollback();
    return bounds.flatMap((start, i) => i % 2 === 0 ? [bytes.slice(start, bounds[i + 1])] : []);
  }

  /** When the record at a position was put. It must be here. */
  putTimeAt({ nextSequence, logBytes }: LogPosition): number {
    const { times } = this.#findPiece(logBytes).piece;
    return times.findLast(({ from }) => from <= nextSequence)!.putTime;
  }

  /** Copies records from a position on: at least one, however long; `undefined` if there is none. */
  read(start: LogPosition, { maxRecords, maxBytes, before }: Omit<ReadLimits, "mayEndEarly">): ReadRecords | undefined {
    const count = Math.min(maxRecords, Math.min(before, this.#end.nextSequence) - start.nextSequence);
    if (count <= 0) return undefined;
    const from = this.#findPiece(start.logBytes);
    const bounds: number[] = [];
    let pieces = 0;
    let read = 0;
    let payloadBytes = 0;
    for (let { piece, at } = from; bounds.length < 2 * count;) {
      if (at === piece.used) {
        piece = this.#pieces[from.index + ++pieces];
        at = 0;
        continue;
      }
      const length = recordEnd(piece.view, at) - payloadStart(at);
      if (bounds.length > 0 && payloadBytes + length > maxBytes) break;
      bounds.push(read + RECORD_HEADER_BYTES, read + RECORD_HEADER_BYTES + length);
      payloadBytes += length;
      read += RECORD_HEADER_BYTES + length;
      at += RECORD_HEADER_BYTES + length;
    }
    const end = {
      nextSequence: start.nextSequence + bounds.length / 2,
      payloadBytes: start.payloadBytes + payloadBytes,
      logBytes: start.logBytes + read,
    };
    const putTimes = this.#putTimes(this.#pieces.slice(from.index, from.index + pieces + 1), start, end);
    const content = {
      bytes: this.#copy(from, read),
      isShared: false,
      bounds,
      payloadBytes,
      putTimes,
      checksum: undefined,
    };
    return { firstSequence: start.nextSequence, count: bounds.length / 2, ...content, start, end };
  }

  #putTimes(pieces: readonly Piece[], start: LogPosition, end: LogPosition): PutTimeRun[] {
    const runs = pieces.flatMap(({ times }) => times).filter(({ from }) => from < end.nextSequence);
    const first = runs.findLastIndex(({ from }) => from <= start.nextSequence);
    return runs.slice(first);
  }

  /** Releases the records before a position. */
  release({ logBytes }: LogPosition): void {
    let done = 0;
    while (done < this.#pieces.length && this.#pieces[done].start + this.#pieces[done].used <= logBytes) done++;
    // The last one is written to, and was released if it is full.
    if (done === this.#pieces.length && done > 0 && this.#hasRoom(this.#pieces[done - 1])) done--;
    if (done > 0) {
      this.#keepSpare(this.#pieces[done - 1]);
      this.#pieces.splice(0, done);
    }
  }

  /** Releases everything. */
  clear(): void {
    this.#pieces = [];
    this.#spare = undefined;
  }

  /** Encodes a record behind the others, its length left out; `undefined` if the codec can't, or there is no room. */
  #encodeInPlace<T>(codec: Codec<unknown, T>, record: T): number | undefined {
    if (codec.encodeInto === undefined) return undefined;
    const last = this.#pieces.at(-1);
    const piece = last !== undefined && this.#hasRoom(last) ? last : this.#addPiece(PIECE_BYTES);
    const room = piece.bytes.subarray(payloadStart(piece.used));
    const length = codec.encodeInto(record, room);
    if (!Number.isInteger(length) || length > room.length) {
      throw new RangeError(`encodeInto() returned ${length} for a room of ${room.length} bytes`);
    }
    return length < 0 ? undefined : length;
  }

  #encodeAndCopy<T>(codec: Codec<unknown, T>, record: T): number {
    const payload = codec.encode(record);
    if (!(payload instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    const needed = RECORD_HEADER_BYTES + payload.length;
    let piece = this.#pieces.at(-1);
    if (piece === undefined || piece.used + needed > piece.bytes.length) {
      piece = this.#addPiece(Math.max(PIECE_BYTES, needed));
    }
    piece.bytes.set(payload, payloadStart(piece.used));
    return payload.length;
  }

  /** Whether a record may fit behind the others. */
  #hasRoom({ used, bytes }: Piece): boolean {
    return used + RECORD_HEADER_BYTES < bytes.length;
  }

  /** Adds a piece; an empty one is replaced. */
  #addPiece(size: number): Piece {
    if (this.#pieces.at(-1)?.used === 0) this.#keepSpare(this.#pieces.pop()!);
    const { bytes, view } = size === PIECE_BYTES && this.#spare !== undefined ? this.#spare : newBytes(size);
    if (size === PIECE_BYTES) this.#spare = undefined;
    const piece = { bytes, view, start: this.#end.logBytes, used: 0, times: [] };
    this.#pieces.push(piece);
    return piece;
  }

  #keepSpare(piece: Piece): void {
    if (piece.bytes.length === PIECE_BYTES) this.#spare = piece;
  }

  /** The piece that holds what begins at `logBytes`, and where in it. */
  #findPiece(logBytes: number): Place {
    // What is read next is near the front: behind what is in flight.
    const behind = this.#pieces.findIndex(({ start }) => start > logBytes);
    const index = (behind < 0 ? this.#pieces.length : behind) - 1;
    const piece = this.#pieces[index];
    return { index, piece, at: logBytes - piece.start };
  }

  /** Copies `length` bytes of the log, and one byte more. */
  #copy({ index, piece, at }: Place, length: number): Uint8Array {
    const into = new Uint8Array(length + 1);
    for (let done = 0; done < length; piece = this.#pieces[++index], at = 0) {
      const end = Math.min(piece.used, at + length - done);
      into.set(piece.bytes.subarray(at, end), done);
      done += end - at;
    }
    return into;
  }
}

function newBytes(size: number): Pick<Piece, "bytes" | "view"> {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}
