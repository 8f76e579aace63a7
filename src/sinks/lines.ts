/**
 * Deliveries as NDJSON, one line per record (https://github.com/ndjson/ndjson-spec): what HTTP servers, streams and files get.
 *
 * Guarantees: payloads are used as they are, without decoding. Each record is one line, and each line is one record: a record
 * that would be two lines, an empty one, or none that UTF-8 can say is reported as failed before anything is sent.
 *
 * @module
 */

import type { Delivery } from "../producer/delivery.ts";
import { checkText, encodeRecords } from "./encode_records.ts";

/** How records become lines. */
export interface LineOptions<T> {
  /**
   * Makes the line of a record, without a line break. It must always make the same for the same record.
   *
   * @default {the payload, as it is: with `jsonCodec` that is the record's JSON}
   */
  readonly line?: ((record: T) => string) | undefined;
  /**
   * Whether a record may be an empty line. Plain text may have them; readers of NDJSON skip them.
   *
   * @default {false}
   */
  readonly emptyLines?: boolean | undefined;
}

const LINE_FEED = 0x0a;
const encoder = new TextEncoder();

/**
 * Encodes all records of a delivery as lines.
 *
 * @throws {DeliveryError} if a record is not exactly one line. Its `failed` lists such records as permanent failures, and all
 * others as retryable, because nothing was sent.
 */
export function toLines<T>(
  delivery: Delivery<T>,
  { line, emptyLines = false }: LineOptions<T>,
): Uint8Array {
  if (line === undefined) {
    const joined = joinPayloads(delivery.payloads, emptyLines);
    if (joined !== undefined) return joined;
  }
  // Outside of the loop: a payload that doesn't decode is none of a line's faults.
  const records = line === undefined ? undefined : delivery.records;
  const { payloads } = delivery;
  const lines = encodeRecords(delivery.length, (index) => {
    const bytes = records === undefined ? payloads[index]! : encoder.encode(checkText(line!(records[index]!), "it"));
    if (bytes.length === 0 && !emptyLines) throw new TypeError("it is empty");
    if (bytes.includes(LINE_FEED)) throw new TypeError("it has a line break in it");
    return bytes;
  }, (index, fault) => `record ${index} can't be written as one line, because ${fault}; see the option line`);
  const all = new Uint8Array(lines.reduce((sum, bytes) => sum + bytes.length + 1, 0));
  let at = 0;
  for (const bytes of lines) {
    all.set(bytes, at);
    at += bytes.length;
    all[at++] = LINE_FEED;
  }
  return all;
}

/** The payloads as lines; `undefined` if one of them is no line. */
function joinPayloads(payloads: readonly Uint8Array[], emptyLines: boolean): Uint8Array | undefined {
  let length = payloads.length;
  for (const payload of payloads) {
    if (payload.length === 0 && !emptyLines) return undefined;
    length += payload.length;
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const payload of payloads) {
    all.set(payload, at);
    at += payload.length;
    // A line break before this one is in the payload.
    all[at] = LINE_FEED;
    if (all.indexOf(LINE_FEED, at - payload.length) !== at) return undefined;
    at++;
  }
  return all;
}
