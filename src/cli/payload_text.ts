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
const SET_FROM_BYTES = 40;
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
  /** Takes over consecutive records of a frame, the first of them with that sequence; waits if the output does. */
  add(frame: ScannedFrame, payloads: readonly Uint8Array[], firstSequence: number): Promise<void> | void;
  /** Resolves when everything is written. */
  flush(): Promise<void>;
}

/** Makes one for a format, with sequence and put time or without. */
export function createEncoder(
  { format, meta }: { readonly format: DumpFormat; readonly meta: boolean },
  output: Output,
): RecordEncoder {
  const chunks = new Chunks(output);
  const frames = meta ? new MetaText(format, chunks) : undefined;
  return {
    flush: () => chunks.flush(),
    add(frame, payloads, firstSequence) {
      frames?.begin(frame);
      const isPlain = format === "text" || (format === "json" && frame.isJson);
      for (let i = 0; i < payloads.length; i++) {
        const payload = payloads[i];
        if (frames !== undefined) frames.add(payload, firstSequence + i);
        else if (isPlain) chunks.add(payload, NOTHING, LINE_END);
        else if (format === "raw") chunks.add(payload, lengthOf(payload), NOTHING);
        else chunks.add(format === "base64" ? base64(payload) : oneLine(payload, firstSequence + i), NOTHING, LINE_END);
      }
      return chunks.isFull ? chunks.flush() : undefined;
    },
  };
}

/** Lines with sequence and put time. What is the same for all records of a frame is made once. */
class MetaText {
  readonly #format: DumpFormat;
  readonly #chunks: Chunks;
  #isJson = false;
  #time = "";
  /** What stands between sequence and payload, by the name of the payload's field. */
  #middles: Partial<Record<"record" | "text" | "base64", Uint8Array>> = {};

  constructor(format: DumpFormat, chunks: Chunks) {
    this.#format = format;
    this.#chunks = chunks;
  }

  begin({ putTime, isJson }: ScannedFrame): void {
    this.#isJson = isJson;
    const time = isoTime(putTime);
    if (time === this.#time) return;
    this.#time = time;
    this.#middles = {};
  }

  add(payload: Uint8Array, sequence: number): void {
    if (this.#format !== "json") {
      const middle = this.#middles.text ??= utf8.encode(`\t${this.#time}\t`);
      const text = this.#format === "base64" ? base64(payload) : payload;
      this.#chunks.addNumbered({ open: NOTHING, sequence, middle, payload: text, close: LINE_END });
      return;
    }
    const json = this.#isJson ? payload : asJson(payload);
    if (json !== undefined) return this.#addField("record", json, sequence);
    const text = asText(payload);
    if (text !== undefined) return this.#addField("text", utf8.encode(JSON.stringify(text)), sequence);
    this.#addField("base64", utf8.encode(`"${toBase64(payload)}"`), sequence);
  }

  #addField(name: "record" | "text" | "base64", payload: Uint8Array, sequence: number): void {
    const middle = this.#middles[name] ??= utf8.encode(`,"putTime":${JSON.stringify(this.#time)},"${name}":`);
    this.#chunks.addNumbered({ open: OBJECT_START, sequence, middle, payload, close: OBJECT_END });
  }
}

/** A line that begins with a sequence, or nearly. */
interface NumberedLine {
  readonly open: Uint8Array;
  readonly sequence: number;
  readonly middle: Uint8Array;
  readonly payload: Uint8Array;
  readonly close: Uint8Array;
}

/** Bytes that are gathered for a write. */
class Chunks {
  readonly #output: Output;
  #bytes = new Uint8Array(2 * CHUNK_BYTES);
  #length = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  get isFull(): boolean {
    return this.#length >= CHUNK_BYTES;
  }

  add(payload: Uint8Array, before: Uint8Array, after: Uint8Array): void {
    this.#reserve(before.length + payload.length + after.length);
    this.#append(before);
    this.#append(payload);
    this.#append(after);
  }

  addNumbered({ open, sequence, middle, payload, close }: NumberedLine): void {
    this.#reserve(open.length + MOST_DIGITS + middle.length + payload.length + close.length);
    this.#append(open);
    this.#appendNumber(sequence);
    this.#append(middle);
    this.#append(payload);
    this.#append(close);
  }

  #append(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length >= SET_FROM_BYTES) this.#bytes.set(bytes, this.#length);
    else for (let i = 0; i < length; i++) this.#bytes[this.#length + i] = bytes[i];
    this.#length += length;
  }

  /** Digit by digit: a string for each record costs more than all else. */
  #appendNumber(value: number): void {
    let digits = 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
    let at = this.#length += digits;
    for (let rest = value; at > this.#length - digits; rest = Math.floor(rest / 10)) {
      this.#bytes[--at] = DIGIT_ZERO + rest % 10;
    }
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

/** Four bytes, little-endian. */
function lengthOf({ length }: Uint8Array): Uint8Array {
  return Uint8Array.of(length, length >>> 8, length >>> 16, length >>> 24);
}
