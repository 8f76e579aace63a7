/**
 * The shortest way into PostgreSQL: payloads that are JSON already, sent as they are, without decoding a record.
 *
 * It stores what the way by rows stores (`postgres_rows.ts`), or isn't taken. It isn't taken for records that are sent again alone,
 * for a payload with a number that JSON and JavaScript write with other digits, and for a column that isn't `jsonb`: the server
 * refuses the statement then. Only the digits of a fraction that was put as text (`putEncoded()`) are kept as they are, such as 1.0.
 *
 * @module
 */

import type { Delivery } from "../producer/delivery.ts";
import { MAX_STATEMENT_CHARACTERS, MAX_STATEMENT_ROWS, type Target } from "./postgres_rows.ts";

/**
 * A number of 16 digits, or with an exponent of three. `JSON.stringify()` rounds large integers to fewer digits than they have, and
 * a text may have a number that is infinite as a record's. Text that looks like one costs time, nothing else.
 */
const UNUSUAL_NUMBER = /(?:^|[[:,\s])-?\d+(?:\d{15}|(?:\.\d+)?[eE]\+?\d{3})/;
const COMMA = 0x2c;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The statement that inserts payloads, with the columns that a record has by default. */
export function payloadStatement({ into, conflict }: Target): string {
  // The first value is never taken: it makes the server compare the types, and refuse a column that isn't jsonb. A record that is
  // null is no value.
  const record = `case when false then (null::${into})."record" else nullif(payload, 'null') end`;
  return `insert into ${into} ("batch_id", "sequence", "record") ` +
    `select $1::text, $2::text::bigint + place, ${record} ` +
    `from jsonb_array_elements($3::text::jsonb) with ordinality as payloads (payload, place) ` +
    `on conflict (${conflict}) do nothing`;
}

/** The parameters of that statement; `undefined` where the records must be looked at. */
export function payloadParameters(delivery: Delivery<unknown>): string[] | undefined {
  const { json, batchId, sequences, length, byteLength } = delivery;
  if (json !== true || length > MAX_STATEMENT_ROWS || byteLength > MAX_STATEMENT_CHARACTERS) return undefined;
  const first = sequences[0]!;
  if (sequences.at(-1)! - first !== length - 1) return undefined;
  const bytes = new Uint8Array(byteLength + length);
  let at = 0;
  for (const payload of delivery.payloads) {
    bytes.set(payload, at);
    at += payload.length;
    bytes[at++] = COMMA;
  }
  const text = decoder.decode(bytes.subarray(0, at - 1));
  return UNUSUAL_NUMBER.test(text) ? undefined : [batchId, String(first - 1), `[${text}]`];
}
