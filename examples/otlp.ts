/**
 * Lines of standard input to OpenTelemetry: the logs of a collector, or of whatever else takes OTLP in JSON.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net examples/otlp.ts http://127.0.0.1:4318/v1/logs < lines.txt
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/otlp.ts http://127.0.0.1:4318/v1/logs < lines.txt
 *     node --import ./tests/std/resolve.mjs examples/otlp.ts http://127.0.0.1:4318/v1/logs < lines.txt
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { deadLetterCodec, FileBuffer, Producer } from "@sluice/buffer";
import { httpSink } from "@sluice/buffer/sinks/http";

const [url = "http://127.0.0.1:4318/v1/logs"] = process.argv.slice(2);

interface Line {
  readonly at: number;
  readonly text: string;
}

const resource = { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] };

const send = httpSink<Line>(url, {
  contentType: "application/json",
  gzip: true,
  expect: { contentType: "application/json" }, // the standard demands it; a portal's page has another
  body: ({ records }) => {
    const logRecords = records.map(({ at, text }) => ({ timeUnixNano: `${at}000000`, body: { stringValue: text } }));
    return JSON.stringify({ resourceLogs: [{ resource, scopeLogs: [{ scope: { name: "sluice" }, logRecords }] }] });
  },
  // The server says how many it rejects, but not which, and forbids to send them again: all become dead letters, so that none is lost.
  failures: ({ body }, { records }) => {
    const { rejectedLogRecords = 0, errorMessage } = JSON.parse(body || "{}").partialSuccess ?? {};
    if (Number(rejectedLogRecords) === 0) return [];
    const reason = `${rejectedLogRecords} of ${records.length} rejected: ${errorMessage}`;
    return records.map((_, index) => ({ index, retryable: false, reason }));
  },
});

const buffer = await FileBuffer.open<Line>({ path: ".sluice-otlp", maxRecords: 500, maxAgeMs: 1_000 });
const deadLetters = await FileBuffer.open({ path: ".sluice-otlp-dead", codec: deadLetterCodec(buffer.codec) });
const producer = new Producer({ buffer, send, deadLetters, onEvent: (event) => console.error(event.type) });

for await (const text of createInterface({ input: process.stdin })) await producer.put({ at: Date.now(), text });
await producer.flush(); // resolves when the server has everything, or the buffer of dead letters
await producer.close();
await buffer.close();
await deadLetters.close();
