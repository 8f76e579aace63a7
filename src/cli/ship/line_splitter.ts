/**
 * Bytes, as they come, cut into lines.
 *
 * Guarantees:
 * - A line ends with LF or CRLF; the break is no part of it. All other bytes are, NULs and a lone CR among them: nothing
 *   is decoded, so nothing is changed.
 * - Behind the last break there is a line only if there are bytes.
 * - Never more than the limit is kept of a line, however long it is: of a longer one only its length is known.
 * - How the input falls into chunks makes no difference.
 *
 * @module
 */

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A line of the input. */
export interface InputLine {
  /** Counts from 1. */
  readonly number: number;
  /** Without the line break; `undefined` if it is longer than the limit. */
  readonly bytes: Uint8Array | undefined;
  /** How many bytes it has. */
  readonly length: number;
}

/** Cuts one input into lines. */
export class LineSplitter {
  readonly #maxBytes: number;
  #count = 0;
  /** The line that has no end yet: its pieces, unless it is too long already, and their length. */
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** Its last byte. */
  #last = 0;

  /** `maxBytes` is the limit of one line. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that end in `chunk`. Their bytes may be views of it, so it must not be changed afterwards. */
  push(chunk: Uint8Array): InputLine[] {
    const lines: InputLine[] = [];
    let at = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, at)) {
      this.#add(chunk.subarray(at, end));
      lines.push(this.#take());
      at = end + 1;
    }
    if (at < chunk.length) this.#add(chunk.subarray(at));
    return lines;
  }

  /** The input has ended: the line that has no end, if there is one. */
  end(): InputLine | undefined {
    return this.#length === 0 ? undefined : this.#take();
  }

  #add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#length += piece.length;
    this.#last = piece[piece.length - 1]!;
    // One byte more than the limit may still be a CR that belongs to the break.
    if (this.#length > this.#maxBytes + 1) this.#pieces = [];
    else this.#pieces.push(piece);
  }

  #take(): InputLine {
    const length = this.#last === CARRIAGE_RETURN ? this.#length - 1 : this.#length;
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
