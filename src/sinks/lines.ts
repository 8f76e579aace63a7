/**
 * Deliveries as NDJSON, one line a record (https://github.com/ndjson/ndjson-spec): what HTTP targets, streams and files
 * are sent.
 *
 * Guarantees: the payloads are taken as they are, without decoding them; each record is one line, and each line is one
 * record: what would be two lines, or none, is reported for its record alone, before anything is sent.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";

/**
 * How records become lines.
 *
 * @example Lines that aren't JSON
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { appendSink, type LineOptions } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * const csv: LineOptions<{ at: string; celsius: number }> = { line: ({ at, celsius }) => `${at};${celsius}` };
 *
 * let file = "";
 * const buffer = await MemoryBuffer.open<{ at: string; celsius: number }>();
 * const send = appendSink<{ at: string; celsius: number }>((lines) => {
 *   file += new TextDecoder().decode(lines);
 * }, csv);
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ at: "12:00", celsius: 20.5 }, { at: "12:01", celsius: 20.6 }]);
 * await producer.flush();
 * assertEquals(file, "12:00;20.5\n12:01;20.6\n");
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface LineOptions<T> {
  /**
   * Makes the line of a record, without a line break; it must give the same for the same record, always.
   *
   * @default {the payload, as it is: with `jsonCodec` that is the record's JSON}
   */
  readonly line?: (record: T) => string;
  /**
   * Whether a record may be an empty line: all right for plain text, while readers of NDJSON skip such lines.
   *
   * @default {false}
   */
  readonly emptyLines?: boolean;
}

const LINE_FEED = 0x0a;
const encoder = new TextEncoder();

/**
 * All records of a delivery as lines.
 *
 * @throws {DeliveryError} if there are records that are no line. Its `failed` says of these that no retry can mend them,
 * and of all others that they are to be sent again, because nothing has been sent.
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
  if (faults.some((fault) => fault !== undefined)) throw refusal(faults);
  const all = new Uint8Array(lines.reduce((sum, bytes) => sum + bytes.length + 1, 0));
  let at = 0;
  for (const bytes of lines) {
    all.set(bytes, at);
    at += bytes.length;
    all[at++] = LINE_FEED;
  }
  return all;
}

function refusal(faults: readonly (string | undefined)[]): DeliveryError {
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
