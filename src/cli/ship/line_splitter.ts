/**
 * Splits chunks of bytes into lines.
 *
 * Guarantees:
 * - A line ends with LF or CRLF, which is not part of it. All other bytes are, including NULs and a CR without a LF behind it, also
 *   at the end of the input. Nothing is decoded, so nothing is changed.
 * - Behind the last line break there is a line only if there are bytes.
 * - It keeps at most the limit of a line. Of a longer line it keeps only the length.
 * - The result doesn't depend on how the input is divided into chunks.
 *
 * @module
 */

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A line of the input. */
export interface InputLine {
  /** Its number, from 1. */
  readonly number: number;
  /** Without the line break; `undefined` if it is longer than the limit. */
  readonly bytes: Uint8Array | undefined;
  /** Its length in bytes, without the line break. */
  readonly length: number;
}

/** Splits one input into lines. */
export class LineSplitter {
  readonly #maxBytes: number;
  #count = 0;
  /** The pieces of the line that has no end yet, unless it is too long, and its length. */
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** Its last byte. */
  #last = 0;

  /** Makes a splitter; `maxBytes` is the limit of one line. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns the lines that end in `chunk`. Their bytes may be views of it, so it must not change afterwards. */
  push(chunk: Uint8Array): InputLine[] {
    const lines: InputLine[] = [];
    let at = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, at)) {
      this.#add(chunk.subarray(at, end));
      lines.push(this.#take(this.#last === CARRIAGE_RETURN ? this.#length - 1 : this.#length));
      at = end + 1;
    }
    if (at < chunk.length) this.#add(chunk.subarray(at));
    return lines;
  }

  /** Ends the input; returns the line without a line break, if there is one. */
  end(): InputLine | undefined {
    return this.#length === 0 ? undefined : this.#take(this.#length);
  }

  #add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#length += piece.length;
    this.#last = piece[piece.length - 1]!;
    // One byte more than the limit may be a CR that belongs to the line break.
    if (this.#length > this.#maxBytes + 1) this.#pieces = [];
    else this.#pieces.push(piece);
  }

  /** The line that was added; the first `length` bytes belong to it. */
  #take(length: number): InputLine {
    const bytes = length > this.#maxBytes ? undefined : joined(this.#pieces, this.#length).subarray(0, length);
    this.#pieces = [];
    this.#length = 0;
    this.#last = 0;
    return { number: ++this.#count, bytes, length };
  }
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
