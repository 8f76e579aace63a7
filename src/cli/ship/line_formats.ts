/**
 * What a line of the input must be to become a record, and what the record is then: its bytes, unchanged.
 *
 * A buffer that is filled with lines is no different from one that a program fills with `textCodec()` or `jsonCodec()`:
 * either can open it, and deliver what the other has put.
 *
 * @module
 */

import { bytesCodec, type Codec } from "../../base/codec.ts";

/** How the input is read. */
export type LineFormat = "lines" | "ndjson";

/** What a line is: a record, nothing at all, or no record for a reason. */
export type LineVerdict = "record" | "blank" | { readonly reason: string };

/** Space, tab and carriage return: the white space of JSON, but for the line feed, which no line has in it. */
const WHITE_SPACE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0d]);

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Judges a line. As `"lines"` everything is a record, the empty line, too, and bytes that are no UTF-8. */
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
 * Payloads are the lines as they are. Decoded, which happens for dead letters alone, they are text or JSON values; what is
 * neither doesn't decode, and goes there as bytes.
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
