/**
 * How payloads are written out: as JSON, text, Base64 or as they are, in chunks.
 *
 * Payloads that are known to be JSON are copied, not parsed: `JSON.stringify` leaves no line feed in them. Of others each
 * is checked, and line feeds in it, which JSON only allows between tokens, become spaces: a line stays a line.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { CodecError } from "../errors.ts";
import type { SequenceRange } from "../wal/damage.ts";
import { RECORD_HEADER_BYTES } from "../wal/format.ts";
import type { Output } from "./command.ts";
import type { ScannedFrame } from "./scan.ts";

/** The formats; the first one is the default. */
export const DUMP_FORMATS = ["json", "text", "base64", "raw"] as const;
/** The name of a format. */
export type DumpFormat = typeof DUMP_FORMATS[number];

/** So much is written at a time: large enough that the calls don't count. */
const CHUNK_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
/** Fewer bytes are copied faster one by one. */
const COPY_FROM_BYTES = 40;
const DIGIT_ZERO = 0x30;
/** Of a safe integer. */
const MOST_DIGITS = 16;

const utf8 = new TextEncoder();
const NOTHING = new Uint8Array(0);
const LINE_END = utf8.encode("\n");
const OBJECT_START = utf8.encode(`{"sequence":`);
const OBJECT_END = utf8.encode("}\n");
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Writes records to an output. */
export interface RecordEncoder {
  /** Whether enough has gathered for a write. */
  readonly isFull: boolean;
  /** Takes over the records of a frame with these sequences. */
  add(frame: ScannedFrame, sequences: SequenceRange): void;
  /** Writes what has gathered; waits if the output does. */
  flush(): Promise<void>;
}

/** Makes one for a format, with sequence and put time or without. */
export function createEncoder(
  { format, meta }: { readonly format: DumpFormat; readonly meta: boolean },
  output: Output,
): RecordEncoder {
  const chunks = new Chunks(output);
  const metaText = meta ? new MetaText(format, chunks) : undefined;
  return {
    get isFull() {
      return chunks.isFull;
    },
    flush: () => chunks.flush(),
    add(frame, sequences) {
      const records = recordsOf(frame, sequences);
      // In a frame they stand as they do in this format.
      if (format === "raw") chunks.append(records);
      else if (metaText !== undefined) metaText.add(frame, records, sequences.first);
      else if (format === "text" || (format === "json" && frame.isJson)) addLines(chunks, records);
      else addOneByOne(chunks, records, { format, first: sequences.first });
    },
  };
}

/** The records of a frame with these sequences, each behind its length. */
function recordsOf(frame: ScannedFrame, { first, last }: SequenceRange): Uint8Array {
  const body = frame.body();
  let from = 0;
  for (let sequence = frame.firstSequence; sequence < first; sequence++) from = behind(body, from);
  if (last === frame.firstSequence + frame.count - 1) return body.subarray(from);
  let to = from;
  for (let sequence = first; sequence <= last; sequence++) to = behind(body, to);
  return body.subarray(from, to);
}

/** Where the record that begins at `at` ends. */
function behind(records: Uint8Array, at: number): number {
  return at + RECORD_HEADER_BYTES + lengthAt(records, at);
}

/** Reads 4 bytes, little-endian; a view for each frame costs more. */
function lengthAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

function addLines(chunks: Chunks, records: Uint8Array): void {
  // A line feed takes less room than a length.
  chunks.stage(records, records.length);
  for (let at = 0; at < records.length;) {
    const start = at + RECORD_HEADER_BYTES;
    at = start + lengthAt(records, at);
    chunks.appendStaged(start, at);
    chunks.appendByte(LINE_FEED);
  }
}

function addOneByOne(
  chunks: Chunks,
  records: Uint8Array,
  { format, first }: { readonly format: DumpFormat; readonly first: number },
): void {
  let sequence = first;
  for (let at = 0; at < records.length; at = behind(records, at)) {
    const payload = records.subarray(at + RECORD_HEADER_BYTES, behind(records, at));
    chunks.append(format === "base64" ? base64(payload) : oneLine(payload, sequence));
    chunks.append(LINE_END);
    sequence++;
  }
}

/** Lines with sequence and put time. What is the same for all records of a frame is made once. */
class MetaText {
  readonly #format: DumpFormat;
  readonly #chunks: Chunks;
  #time = "";
  /** What stands between sequence and payload, by the name of the payload's field. */
  #middles: Partial<Record<"record" | "text" | "base64", Uint8Array>> = {};

  constructor(format: DumpFormat, chunks: Chunks) {
    this.#format = format;
    this.#chunks = chunks;
  }

  add({ putTime, isJson, count }: ScannedFrame, records: Uint8Array, first: number): void {
    const time = isoTime(putTime);
    if (time !== this.#time) this.#middles = {};
    this.#time = time;
    const isJsonCopied = this.#format === "json" && isJson;
    if (this.#format === "text" || isJsonCopied) {
      return this.#addCopied(records, { first, count, isJson: isJsonCopied });
    }
    let sequence = first;
    for (let at = 0; at < records.length; at = behind(records, at)) {
      const payload = records.subarray(at + RECORD_HEADER_BYTES, behind(records, at));
      if (this.#format === "json") this.#addAsJson(payload, sequence);
      else {this.#chunks.appendLine({
          open: NOTHING,
          sequence,
          middle: this.#tabs(),
          text: base64(payload),
          close: LINE_END,
        });}
      sequence++;
    }
  }

  /** Lines around payloads as they are. */
  #addCopied(
    records: Uint8Array,
    { first, count, isJson }: { readonly first: number; readonly count: number; readonly isJson: boolean },
  ): void {
    const chunks = this.#chunks;
    const middle = isJson ? this.#field("record") : this.#tabs();
    const [open, close] = isJson ? [OBJECT_START, OBJECT_END] : [NOTHING, LINE_END];
    chunks.stage(records, records.length + count * (open.length + MOST_DIGITS + middle.length + close.length));
    let sequence = first;
    for (let at = 0; at < records.length; sequence++) {
      const start = at + RECORD_HEADER_BYTES;
      at = start + lengthAt(records, at);
      chunks.appendFitting(open);
      chunks.appendNumber(sequence);
      chunks.appendFitting(middle);
      chunks.appendStaged(start, at);
      chunks.appendFitting(close);
    }
  }

  /** A payload that may be JSON, or text, or neither. */
  #addAsJson(payload: Uint8Array, sequence: number): void {
    const json = asJson(payload);
    const text = json === undefined ? asText(payload) : undefined;
    const [name, value] = json !== undefined
      ? ["record", json] as const
      : text !== undefined
      ? ["text", utf8.encode(JSON.stringify(text))] as const
      : ["base64", utf8.encode(`"${toBase64(payload)}"`)] as const;
    const middle = this.#field(name);
    this.#chunks.appendLine({ open: OBJECT_START, sequence, middle, text: value, close: OBJECT_END });
  }

  #field(name: "record" | "text" | "base64"): Uint8Array {
    return this.#middles[name] ??= utf8.encode(`,"putTime":${JSON.stringify(this.#time)},"${name}":`);
  }

  #tabs(): Uint8Array {
    return this.#middles.text ??= utf8.encode(`\t${this.#time}\t`);
  }
}

/** A line with a sequence in it. */
interface NumberedLine {
  readonly open: Uint8Array;
  readonly sequence: number;
  readonly middle: Uint8Array;
  readonly text: Uint8Array;
  readonly close: Uint8Array;
}

/**
 * Bytes that are gathered for a write. Records are staged behind the room for what is made of them, and moved from there one
 * by one: a view of each would cost more than all else.
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

  /** Gets records ready, and room for so many bytes to be made of them. */
  stage(records: Uint8Array, room: number): void {
    this.#reserve(room + records.length);
    this.#stagedAt = this.#bytes.length - records.length;
    this.#bytes.set(records, this.#stagedAt);
  }

  /** Takes over a part of what is staged. */
  appendStaged(start: number, end: number): void {
    const bytes = this.#bytes;
    const from = this.#stagedAt + start;
    const count = end - start;
    if (count >= COPY_FROM_BYTES) bytes.copyWithin(this.#length, from, from + count);
    else for (let i = 0; i < count; i++) bytes[this.#length + i] = bytes[from + i];
    this.#length += count;
  }

  appendByte(byte: number): void {
    this.#bytes[this.#length++] = byte;
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A few bytes that there is room for. */
  appendFitting(few: Uint8Array): void {
    const bytes = this.#bytes;
    for (let i = 0; i < few.length; i++) bytes[this.#length + i] = few[i];
    this.#length += few.length;
  }

  /** Digit by digit, where there is room: a string for each record would cost more than all else. */
  appendNumber(value: number): void {
    let digits = 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
    const start = this.#length;
    this.#length += digits;
    for (let at = this.#length - 1, rest = value; at >= start; at--, rest = Math.floor(rest / 10)) {
      this.#bytes[at] = DIGIT_ZERO + rest % 10;
    }
  }

  appendLine({ open, sequence, middle, text, close }: NumberedLine): void {
    this.#reserve(open.length + MOST_DIGITS + middle.length + text.length + close.length);
    this.appendFitting(open);
    this.appendNumber(sequence);
    this.appendFitting(middle);
    this.append(text);
    this.appendFitting(close);
  }

  /** Makes room: what is in a frame goes out together, and a frame can be long. */
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
    // The stream may still hold the bytes of before: they are not written over.
    this.#bytes = new Uint8Array(2 * CHUNK_BYTES);
    this.#length = 0;
    await this.#output.write(bytes);
  }
}

/** A payload that has to be JSON, in one line. */
function oneLine(payload: Uint8Array, sequence: number): Uint8Array {
  const line = asJson(payload);
  if (line !== undefined) return line;
  const reason = "it is no JSON text, take --meta, --format=text, base64 or raw";
  throw new CodecError({ operation: "decode", sequence, reason });
}

/** A payload as JSON in one line; `undefined` if it is no JSON. */
function asJson(payload: Uint8Array): Uint8Array | undefined {
  try {
    JSON.parse(strictUtf8.decode(payload));
  } catch {
    return undefined;
  }
  if (!payload.includes(LINE_FEED) && !payload.includes(CARRIAGE_RETURN)) return payload;
  return payload.map((byte) => byte === LINE_FEED || byte === CARRIAGE_RETURN ? SPACE : byte);
}

function asText(payload: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(payload);
  } catch {
    return undefined;
  }
}

/** ISO 8601, in UTC; what no date can be is shown as a number. */
function isoTime(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

function base64(payload: Uint8Array): Uint8Array {
  return utf8.encode(toBase64(payload));
}

function toBase64(payload: Uint8Array): string {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("base64");
}
