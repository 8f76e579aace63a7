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
const RAW_HEADER_BYTES = 4;

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Writes records to an output. */
export interface RecordEncoder {
  /** Takes over consecutive records of a frame, the first of them with that sequence; waits if the output does. */
  add(frame: ScannedFrame, payloads: readonly Uint8Array[], firstSequence: number): Promise<void> | void;
  /** Resolves when everything is written. */
  flush(): Promise<void>;
}

/** What stands around a payload. */
interface Line {
  readonly before: string;
  readonly payload: Uint8Array;
  readonly after: string;
}

/** Makes one for a format, with sequence and put time or without. */
export function createEncoder(
  { format, meta }: { readonly format: DumpFormat; readonly meta: boolean },
  output: Output,
): RecordEncoder {
  const chunks = new Chunks(output);
  return {
    flush: () => chunks.flush(),
    add(frame, payloads, firstSequence) {
      const isPlain = !meta && (format === "text" || (format === "json" && frame.isJson));
      for (let i = 0; i < payloads.length; i++) {
        const payload = payloads[i];
        if (isPlain) chunks.addLine(payload);
        else if (format === "raw") chunks.addRaw(payload);
        else if (!meta) chunks.addLine(format === "base64" ? base64(payload) : oneLine(payload, firstSequence + i));
        else chunks.addAround(lineWithMeta(frame, payload, { format, sequence: firstSequence + i }));
      }
      return chunks.isFull ? chunks.flush() : undefined;
    },
  };
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

  addLine(payload: Uint8Array): void {
    this.#reserve(payload.length + 1);
    this.#bytes.set(payload, this.#length);
    this.#length += payload.length;
    this.#bytes[this.#length++] = LINE_FEED;
  }

  addRaw(payload: Uint8Array): void {
    this.#reserve(RAW_HEADER_BYTES + payload.length);
    new DataView(this.#bytes.buffer).setUint32(this.#length, payload.length, true);
    this.#bytes.set(payload, this.#length + RAW_HEADER_BYTES);
    this.#length += RAW_HEADER_BYTES + payload.length;
  }

  addAround({ before, payload, after }: Line): void {
    this.#reserve(before.length + payload.length + after.length + 1);
    this.#addAscii(before);
    this.#bytes.set(payload, this.#length);
    this.#length += payload.length;
    this.#addAscii(after);
    this.#bytes[this.#length++] = LINE_FEED;
  }

  #addAscii(text: string): void {
    this.#length += utf8.encodeInto(text, this.#bytes.subarray(this.#length)).written;
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

function lineWithMeta(
  { putTime, isJson }: ScannedFrame,
  payload: Uint8Array,
  { format, sequence }: { readonly format: DumpFormat; readonly sequence: number },
): Line {
  const time = isoTime(putTime);
  if (format !== "json") {
    return { before: `${sequence}\t${time}\t`, payload: format === "base64" ? base64(payload) : payload, after: "" };
  }
  const before = `{"sequence":${sequence},"putTime":${JSON.stringify(time)}`;
  const json = isJson ? payload : asJson(payload);
  if (json !== undefined) return { before: `${before},"record":`, payload: json, after: "}" };
  const text = asText(payload);
  return text !== undefined
    ? { before: `${before},"text":`, payload: utf8.encode(JSON.stringify(text)), after: "}" }
    : { before: `${before},"base64":"`, payload: base64(payload), after: `"}` };
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
  return utf8.encode(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("base64"));
}
