/**
 * Which lines of the input are records. A record's payload is the line's bytes, unchanged.
 *
 * A buffer that is filled with lines is no different from one that a program fills with `textCodec()` or `jsonCodec()`: either can
 * open it and deliver what the other put.
 *
 * @module
 */

import { bytesCodec, type Codec } from "../../base/codec.ts";

/** The format of the input. */
export type LineFormat = "lines" | "ndjson";

/** Whether a line is a record, blank, or bad, with the reason. */
export type LineVerdict = "record" | "blank" | { readonly reason: string };

/** Space, tab and carriage return: JSON's white space, except the line feed, which no line contains. */
const WHITE_SPACE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0d]);

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Checks a line. In the format `"lines"` every line is a record, also an empty one and one that isn't UTF-8. */
export function checkLine(format: LineFormat, bytes: Uint8Array): LineVerdict {
  if (format === "lines") return "record";
  if (bytes.every((byte) => WHITE_SPACE.has(byte))) return "blank";
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return { reason: "it is no UTF-8" };
  }
  try {
    JSON.parse(text);
    return "record";
  } catch (error) {
    return { reason: `it is no JSON: ${error instanceof Error ? error.message : error}` };
  }
}

/**
 * The lines' codec: a payload is the line as it is. Only dead letters are decoded, to text or JSON values. A line that is neither
 * fails to decode; its dead letter has the bytes all the same.
 */
export function lineCodec(format: LineFormat): Codec<unknown> {
  return {
    ...bytesCodec(),
    decode(payload) {
      const text = decoder.decode(payload);
      return format === "lines" ? text : JSON.parse(text);
    },
  };
}
