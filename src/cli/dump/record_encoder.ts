/**
 * Writes payloads in chunks, as JSON, text, Base64 or raw bytes.
 *
 * Payloads that are known to be JSON are copied, not parsed: `JSON.stringify` leaves no line feed in them. Others are checked one by
 * one, and line feeds between their tokens become spaces, so that each payload stays one line.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { SequenceRange } from "../../base/sequences.ts";
import { CodecError } from "../../errors/mod.ts";
import type { ScannedFrame } from "../../maintenance/scan_items.ts";
import { payloadStart, recordEndIn } from "../../wal/format.ts";
import type { Output } from "../shared/command.ts";

/** The formats; the first one is the default. */
export const DUMP_FORMATS = ["json", "text", "base64", "raw"] as const;
type DumpFormat = typeof DUMP_FORMATS[number];

/** Bytes per write: enough that the calls don't matter. */
const CHUNK_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
/** Shorter payloads are copied faster byte by byte. */
const COPY_FROM_BYTES = 40;
const DIGIT_ZERO = 0x30;
const DIGIT_NINE = 0x39;

const utf8 = new TextEncoder();
const LINE_END = utf8.encode("\n");
const OBJECT_END = utf8.encode("}\n");
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Encodes records, with or without sequence and put time, and writes them to an output. */
export class RecordEncoder {
  readonly #format: DumpFormat;
  readonly #hasMeta: boolean;
  /** What ends a record. */
  readonly #end: Uint8Array;
  readonly #chunks: Chunks;
  /** The put time of the last frame, and its text: all records of a frame share it. */
  #putTime = -1;
  #time = "";

  constructor({ format, meta }: { readonly format: DumpFormat; readonly meta: boolean }, output: Output) {
    this.#format = format;
    this.#hasMeta = meta;
    this.#end = meta && format === "json" ? OBJECT_END : LINE_END;
    this.#chunks = new Chunks(output);
  }

  /** Whether there is enough for a write. */
  get isFull(): boolean {
    return this.#chunks.isFull;
  }

  /** Writes what was added; waits if the output does. */
  flush(): Promise<void> {
    return this.#chunks.flush();
  }

  /** Adds the records of a frame with these sequences. */
  add(frame: ScannedFrame, sequences: SequenceRange): void {
    const { putTime, isJson } = frame;
    const records = recordsOf(frame, sequences);
    // A frame has them in this very form.
    if (this.#format === "raw") return this.#chunks.append(records);
    if (putTime !== this.#putTime && this.#hasMeta) {
      const date = new Date(putTime);
      // A time out of a date's range is shown as a number.
      this.#time = Number.isNaN(date.getTime()) ? String(putTime) : date.toISOString();
      this.#putTime = putTime;
    }
    if (this.#format === "base64" || (this.#format === "json" && !isJson)) this.#addOneByOne(records, sequences.first);
    else if (this.#hasMeta) this.#addCopied(records, sequences.first);
    else this.#addLines(records);
  }

  /** Adds payloads that are copied as they are, a line each. */
  #addLines(records: Uint8Array): void {
    const chunks = this.#chunks;
    // A line feed is shorter than a length.
    chunks.stage(records, records.length);
    for (let at = 0; at < records.length;) {
      const start = payloadStart(at);
      at = recordEndIn(records, at);
      chunks.appendStaged(start, at);
      chunks.appendByte(LINE_FEED);
    }
  }

  /** Adds lines with sequence and put time around payloads that are copied as they are. */
  #addCopied(records: Uint8Array, first: number): void {
    const chunks = this.#chunks;
    const end = this.#end;
    let sequence = first;
    for (let at = 0; at < records.length;) {
      // Until a sequence has one digit more, all heads have one length and are staged together.
      const head = this.#headOf("record", sequence);
      const from = at;
      let count = 0;
      for (; at < records.length && count < head.fits; count++) at = recordEndIn(records, at);
      const part = records.subarray(from, at);
      chunks.stage(part, part.length + count * (head.bytes.length + end.length));
      for (let partAt = 0; partAt < part.length;) {
        const start = payloadStart(partAt);
        partAt = recordEndIn(part, partAt);
        chunks.appendFitting(head.bytes);
        head.countUp();
        chunks.appendStaged(start, partAt);
        chunks.appendFitting(end);
      }
      sequence += count;
    }
  }

  /** Adds payloads that each are checked or encoded. A view of each costs more than a copy. */
  #addOneByOne(records: Uint8Array, first: number): void {
    const chunks = this.#chunks;
    let sequence = first;
    for (let at = 0; at < records.length; sequence++) {
      const start = payloadStart(at);
      at = recordEndIn(records, at);
      const payload = records.subarray(start, at);
      const [name, text] = this.#format === "json" ? asField(payload) : ["base64", undefined] as const;
      if (this.#hasMeta) chunks.append(this.#headOf(name, sequence).bytes);
      else if (this.#format === "json" && name !== "record") {
        const reason = "it is no JSON text, take --meta, --format=text, base64 or raw";
        throw new CodecError({ operation: "decode", sequence, reason });
      }
      if (text === undefined) chunks.appendAscii(base64Of(payload));
      else chunks.append(text);
      chunks.append(this.#end);
    }
  }

  #headOf(name: "record" | "text" | "base64", sequence: number): LineHead {
    return this.#format === "json"
      ? new LineHead(`{"sequence":`, sequence, `,"putTime":${JSON.stringify(this.#time)},"${name}":`)
      : new LineHead("", sequence, `\t${this.#time}\t`);
  }
}

/** The records of a frame with these sequences, each with its length before it. */
function recordsOf(frame: ScannedFrame, { first, last }: SequenceRange): Uint8Array {
  const body = frame.body();
  let from = 0;
  for (let sequence = frame.firstSequence; sequence < first; sequence++) from = recordEndIn(body, from);
  if (last === frame.firstSequence + frame.count - 1) return body.subarray(from);
  let to = from;
  for (let sequence = first; sequence <= last; sequence++) to = recordEndIn(body, to);
  return body.subarray(from, to);
}

/** The start of a line, with a sequence that is incremented in place: a string for each would cost more than all else. */
class LineHead {
  readonly bytes: Uint8Array;
  /** How many sequences fit into the digits. */
  readonly fits: number;
  readonly #lastDigit: number;

  constructor(before: string, sequence: number, after: string) {
    const digits = String(sequence);
    this.bytes = utf8.encode(before + digits + after);
    this.fits = 10 ** digits.length - sequence;
    this.#lastDigit = before.length + digits.length - 1;
  }

  countUp(): void {
    let at = this.#lastDigit;
    for (; this.bytes[at] === DIGIT_NINE; at--) this.bytes[at] = DIGIT_ZERO;
    this.bytes[at]++;
  }
}

/**
 * The bytes of the next write. Records are staged behind the room for their output, and moved from there one by one: a view of
 * each would cost more than all else.
 */
class Chunks {
  readonly #output: Output;
  #bytes = new Uint8Array(2 * CHUNK_BYTES);
  #length = 0;
  #stagedAt = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  get isFull(): boolean {
    return this.#length >= CHUNK_BYTES;
  }

  /** Stages records, with room for that many bytes of output. */
  stage(records: Uint8Array, room: number): void {
    this.#reserve(room + records.length);
    this.#stagedAt = this.#bytes.length - records.length;
    this.#bytes.set(records, this.#stagedAt);
  }

  /** Appends a part of what is staged. */
  appendStaged(start: number, end: number): void {
    const bytes = this.#bytes;
    const at = this.#length;
    const from = this.#stagedAt + start;
    const count = end - start;
    if (count >= COPY_FROM_BYTES) bytes.copyWithin(at, from, from + count);
    else for (let i = 0; i < count; i++) bytes[at + i] = bytes[from + i];
    this.#length = at + count;
  }

  appendByte(byte: number): void {
    this.#bytes[this.#length++] = byte;
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  appendAscii(text: string): void {
    this.#reserve(text.length);
    this.#length += utf8.encodeInto(text, this.#bytes.subarray(this.#length)).written;
  }

  appendFitting(some: Uint8Array): void {
    const bytes = this.#bytes;
    const at = this.#length;
    if (some.length >= COPY_FROM_BYTES) bytes.set(some, at);
    else for (let i = 0; i < some.length; i++) bytes[at + i] = some[i];
    this.#length = at + some.length;
  }

  /** Makes room. A frame goes out in one piece, and can be long. */
  #reserve(length: number): void {
    const needed = this.#length + length;
    if (needed <= this.#bytes.length) return;
    const bytes = new Uint8Array(2 * needed);
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
  }

  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const bytes = this.#bytes.subarray(0, this.#length);
    // Before the write, so that a failed one isn't repeated.
    this.#length = 0;
    await this.#output.write(bytes);
  }
}

/** A payload as JSON in one line, else as text, else as Base64. */
function asField(payload: Uint8Array): readonly ["record" | "text" | "base64", Uint8Array] {
  let text: string;
  try {
    text = strictUtf8.decode(payload);
  } catch {
    return ["base64", utf8.encode(`"${base64Of(payload)}"`)];
  }
  try {
    JSON.parse(text);
  } catch {
    return ["text", utf8.encode(JSON.stringify(text))];
  }
  if (!payload.includes(LINE_FEED) && !payload.includes(CARRIAGE_RETURN)) return ["record", payload];
  return ["record", payload.map((byte) => byte === LINE_FEED || byte === CARRIAGE_RETURN ? SPACE : byte)];
}

/** Uses the platform's own encoder where there is one: Deno, Bun, Node from 25. */
function base64Of(bytes: Uint8Array): string {
  const { toBase64 } = bytes as { toBase64?: () => string };
  return toBase64?.call(bytes) ?? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
}
