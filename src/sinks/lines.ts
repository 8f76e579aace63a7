/**
 * Deliveries as NDJSON, one line per record (https://github.com/ndjson/ndjson-spec): what HTTP servers, streams and files get.
 *
 * Guarantees: payloads are used as they are, without decoding. Each record is one line, and each line is one record: a record
 * that would be two lines, or an empty one, is reported as failed before anything is sent.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";

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
): Uint8Array<ArrayBuffer> {
  const lines = line === undefined ? delivery.payloads : delivery.records.map((record) => encoder.encode(line(record)));
  const faultOf = (bytes: Uint8Array): string | undefined => {
    if (bytes.length === 0 && !emptyLines) return "it is empty";
    return bytes.includes(LINE_FEED) ? "it has a line break in it" : undefined;
  };
  const faults = lines.map(faultOf);
  if (faults.some((fault) => fault !== undefined)) throw toRefusal(faults);
  const all = new Uint8Array(lines.reduce((sum, bytes) => sum + bytes.length + 1, 0));
  let at = 0;
  for (const bytes of lines) {
    all.set(bytes, at);
    at += bytes.length;
    all[at++] = LINE_FEED;
  }
  return all;
}

function toRefusal(faults: readonly (string | undefined)[]): DeliveryError {
  const first = faults.findIndex((fault) => fault !== undefined);
  return new DeliveryError({
    reason: `record ${first} can't be written as one line, because ${faults[first]}; see the option line`,
    failed: faults.map((fault, index) => ({
      index,
      retryable: fault === undefined,
      reason: fault === undefined ? "not sent, because of another record" : `no line: ${fault}`,
    })),
  });
}
