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
/** A format's name. */
export type DumpFormat = typeof DUMP_FORMATS[number];

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

/** Encodes records and writes them to an output. */
export interface RecordEncoder {
  /** Whether there is enough for a write. */
  readonly isFull: boolean;
  /** Adds the records of a frame with these sequences. */
  add(frame: ScannedFrame, sequences: SequenceRange): void;
  /** Writes what was added; waits if the output does. */
  flush(): Promise<void>;
}

/** Makes an encoder for a format, with or without sequence and put time. */
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
      // A frame has them in this very form.
      if (format === "raw") chunks.append(records);
      else if (metaText !== undefined) metaText.add(frame, records, sequences.first);
      else if (format === "text" || (format === "json" && frame.isJson)) addLines(chunks, records);
      else addOneByOne(chunks, records, { format, first: sequences.first });
    },
  };
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

function addLines(chunks: Chunks, records: Uint8Array): void {
  // A line feed is shorter than a length.
  chunks.stage(records, records.length);
  for (let at = 0; at < records.length;) {
    const start = payloadStart(at);
    at = recordEndIn(records, at);
    chunks.appendStaged(start, at);
    chunks.appendByte(LINE_FEED);
  }
}

/** Calls `use` with each payload. Only where each is looked at anyway: a view of each costs more than a copy. */
function forEachPayload(
  records: Uint8Array,
  first: number,
  use: (payload: Uint8Array, sequence: number) => void,
): void {
  let sequence = first;
  for (let at = 0; at < records.length; sequence++) {
    const start = payloadStart(at);
    at = recordEndIn(records, at);
    use(records.subarray(start, at), sequence);
  }
}

function addOneByOne(
  chunks: Chunks,
  records: Uint8Array,
  { format, first }: { readonly format: DumpFormat; readonly first: number },
): void {
  forEachPayload(records, first, (payload, sequence) => {
    if (format === "base64") chunks.appendAscii(base64Of(payload));
    else chunks.append(oneLine(payload, sequence));
    chunks.append(LINE_END);
  });
}

/** Lines with sequence and put time. The part that all records of a frame share is made once. */
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
    forEachPayload(records, first, (payload, sequence) => {
      const [name, text] = this.#format === "json" ? asField(payload) : ["base64", undefined] as const;
      chunks.append(this.#headOf(name, sequence).bytes);
      if (text === undefined) chunks.appendAscii(base64Of(payload));
      else chunks.append(text);
      chunks.append(this.#end);
    });
  }

  /** Adds lines around payloads that are copied as they are. */
  #addCopied(records: Uint8Array, first: number): void {
    const chunks = this.#chunks;
    const end = this.#end;
    let head = this.#headOf("record", first);
    let sequence = first;
    for (let at = 0; at < records.length;) {
      // Until a sequence has one digit more, all heads have one length and are staged together.
      const from = at;
      const stop = head.fits;
      let count = 0;
      for (; at < records.length && count < stop; count++) at = recordEndIn(records, at);
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

/**
 * The start of a line, with a sequence that is incremented in place: a string for each would cost more than all else.
 */
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

/** Uses the platform's own encoder where there is one: Deno, Bun, Node from 25. */
function base64Of(bytes: Uint8Array): string {
  const { toBase64 } = bytes as { toBase64?: () => string };
  return toBase64?.call(bytes) ?? bufferOf(bytes).toString("base64");
}

/** A payload as JSON, else as text, else as Base64. */
function asField(payload: Uint8Array): readonly ["record" | "text" | "base64", Uint8Array] {
  const json = asJson(payload);
  if (json !== undefined) return ["record", json];
  const text = asText(payload);
  if (text !== undefined) return ["text", utf8.encode(JSON.stringify(text))];
  return ["base64", utf8.encode(`"${base64Of(payload)}"`)];
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

  /** Appends bytes for which there is room. */
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

/** A payload that must be JSON, as one line. */
function oneLine(payload: Uint8Array, sequence: number): Uint8Array {
  const line = asJson(payload);
  if (line !== undefined) return line;
  const reason = "it is no JSON text, take --meta, --format=text, base64 or raw";
  throw new CodecError({ operation: "decode", sequence, reason });
}

/** A payload as JSON in one line; `undefined` if it isn't JSON. */
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

/** ISO 8601 in UTC; a time out of a date's range is shown as a number. */
function isoTime(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

/** The same bytes as a Buffer, which can encode Base64. */
function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
