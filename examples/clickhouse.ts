/**
 * Rows, a line of JSON each from standard input, to a table of ClickHouse. With the argument `once` each is there once: for a server
 * that knows `insert_deduplication_token`, and a table that is replicated or has `non_replicated_deduplication_window`.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net examples/clickhouse.ts http://127.0.0.1:8123 clicks once < clicks.ndjson
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/clickhouse.ts http://127.0.0.1:8123 clicks once < clicks.ndjson
 *     node --import ./tests/std/resolve.mjs examples/clickhouse.ts http://127.0.0.1:8123 clicks once < clicks.ndjson
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { deadLetterCodec, FileBuffer, Producer, textCodec } from "@sluice/buffer";
import { httpSink } from "@sluice/buffer/sinks/http";

const [url = "http://127.0.0.1:8123", table = "clicks", once] = process.argv.slice(2);

const query = new URLSearchParams({ query: `INSERT INTO ${table} FORMAT JSONEachRow` });
const send = httpSink<string>(({ id }) => `${url}/?${query}${once ? `&insert_deduplication_token=${id}` : ""}`, {
  gzip: true,
  expect: { header: "x-clickhouse-server-display-name" }, // a portal's page has none
  // A bad row is refused with 400 or, for ever, with 500. The message names it.
  verdict: ({ status, body }) =>
    status >= 400 && /at row \d+|while read(ing)? the value of key/.test(body) ? "split" : undefined,
});

const buffer = await FileBuffer.open({
  path: ".sluice-clickhouse",
  codec: textCodec(),
  maxRecords: 10_000,
  maxAgeMs: 1_000,
});
const deadLetters = await FileBuffer.open({ path: ".sluice-clickhouse-dead", codec: deadLetterCodec(buffer.codec) });
const producer = new Producer({ buffer, send, deadLetters, onEvent: (event) => console.error(event.type) });

for await (const json of createInterface({ input: process.stdin })) await producer.put(json);
await producer.flush(); // resolves when the table has everything, or the buffer of dead letters
await producer.close();
await buffer.close();
await deadLetters.close();
