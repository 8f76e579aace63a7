/**
 * How payloads are written out: as JSON, text, Base64 or as they are, in chunks.
 *
 * Payloads that are known to be JSON are copied, not parsed: `JSON.stringify` leaves no line feed in them. Of others each
 * is checked, and line feeds in it, which JSON only allows between tokens, become spaces: a line stays a line.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { SequenceRange } from "../../base/sequences.ts";
import { CodecError } from "../../errors/mod.ts";
import type { ScannedFrame } from "../../maintenance/scan_items.ts";
import { RECORD_HEADER_BYTES } from "../../wal/format.ts";
import type { Output } from "../shared/command.ts";

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
const DIGIT_NINE = 0x39;

const utf8 = new TextEncoder();
const LINE_END = utf8.encode("\n");
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
  for (let at = 0; at < records.length; sequence++) {
    const start = at + RECORD_HEADER_BYTES;
    at = behind(records, at);
    if (format === "base64") chunks.appendAscii(base64Of(records.subarray(start, at)));
    else chunks.append(oneLine(records.subarray(start, at), sequence));
    chunks.append(LINE_END);
  }
}

/** Lines with sequence and put time. What is the same for all records of a frame is made once. */
class MetaText {
  readonly #format: DumpFormat;
  readonly #chunks: Chunks;
  #putTime = -1;
  #time = "";

  constructor(format: DumpFormat, chunks: Chunks) {
    this.#format = format;
    this.#chunks = chunks;
  }

  add({ putTime, isJson }: ScannedFrame, records: Uint8Array, first: number): void {
    if (putTime !== this.#putTime) this.#time = isoTime(putTime);
    this.#putTime = putTime;
    if (this.#format === "text" || (this.#format === "json" && isJson)) return this.#addCopied(records, first);
    const chunks = this.#chunks;
    let sequence = first;
    for (let at = 0; at < records.length; sequence++) {
      const start = at + RECORD_HEADER_BYTES;
      at = behind(records, at);
      const [name, text] = this.#format === "json"
        ? asField(records.subarray(start, at))
        : ["base64", undefined] as const;
      chunks.append(this.#headOf(name, sequence).bytes);
      if (text === undefined) chunks.appendAscii(base64Of(records.subarray(start, at)));
      else chunks.append(text);
      chunks.append(this.#end);
    }
  }

  /** Lines around payloads as they are. */
  #addCopied(records: Uint8Array, first: number): void {
    const chunks = this.#chunks;
    const end = this.#end;
    let head = this.#headOf("record", first);
    let sequence = first;
    for (let at = 0; at < records.length;) {
      // For a while no sequence gets a digit more: they are staged together.
      const from = at;
      const stop = head.fits;
      let count = 0;
      for (; at < records.length && count < stop; count++) at = behind(records, at);
      const part = records.subarray(from, at);
      chunks.stage(part, part.length + count * (head.bytes.length + end.length));
      for (let partAt = 0; partAt < part.length;) {
        const start = partAt + RECORD_HEADER_BYTES;
        partAt = start + lengthAt(part, partAt);
        chunks.appendFitting(head.bytes);
        head.countUp();
        chunks.appendStaged(start, partAt);
        chunks.appendFitting(end);
      }
      sequence += count;
      head = this.#headOf("record", sequence);
    }
  }

  get #end(): Uint8Array {
    return this.#format === "json" ? OBJECT_END : LINE_END;
  }

  #headOf(name: "record" | "text" | "base64", sequence: number): LineHead {
    return this.#format === "json"
      ? new LineHead(`{"sequence":`, sequence, `,"putTime":${JSON.stringify(this.#time)},"${name}":`)
      : new LineHead("", sequence, `\t${this.#time}\t`);
  }
}

/** What stands before a payload, with a sequence in it that counts up in place: a string for each would cost more than all else. */
class LineHead {
  readonly bytes: Uint8Array;
  /** For so many sequences the digits suffice. */
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

/** By the platform's own way where it has one: Deno, Bun, Node from 25. */
function base64Of(bytes: Uint8Array): string {
  const { toBase64 } = bytes as { toBase64?: () => string };
  return toBase64?.call(bytes) ?? bufferOf(bytes).toString("base64");
}

/** A payload that may be JSON, or text, or neither. */
function asField(payload: Uint8Array): readonly ["record" | "text" | "base64", Uint8Array] {
  const json = asJson(payload);
  if (json !== undefined) return ["record", json];
  const text = asText(payload);
  if (text !== undefined) return ["text", utf8.encode(JSON.stringify(text))];
  return ["base64", utf8.encode(`"${base64Of(payload)}"`)];
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

  /** Bytes that there is room for. */
  appendFitting(some: Uint8Array): void {
    const bytes = this.#bytes;
    const at = this.#length;
    if (some.length >= COPY_FROM_BYTES) bytes.set(some, at);
    else for (let i = 0; i < some.length; i++) bytes[at + i] = some[i];
    this.#length = at + some.length;
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
    // Even if this fails: nothing is written twice.
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

/** The same bytes as what knows Base64. */
function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
