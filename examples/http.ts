/**
 * Lines of standard input to an HTTP server, each once if the server keeps the `Idempotency-Key`s that it has seen. Kill it,
 * restart it, take the server away: what was read is delivered in the end.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net examples/http.ts https://example.com/ingest < lines.txt
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/http.ts https://example.com/ingest < lines.txt
 *     node --import ./tests/std/resolve.mjs examples/http.ts https://example.com/ingest < lines.txt
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { FileBuffer, Producer } from "@sluice/buffer";
import { httpSink } from "@sluice/buffer/sinks/http";

const [url = "http://127.0.0.1:8080/ingest"] = process.argv.slice(2);

interface Line {
  readonly at: string;
  readonly text: string;
}

const buffer = await FileBuffer.open<Line>({ path: ".sluice-http", maxRecords: 500, maxAgeMs: 1_000 });
const producer = new Producer<Line>({
  buffer,
  send: httpSink(url, {
    gzip: true,
    headers: () => ({ authorization: "Bearer the token of now" }),
  }),
  onEvent: (event) => console.error(event.type),
});

for await (const text of createInterface({ input: process.stdin })) {
  await producer.put({ at: new Date().toISOString(), text }); // resolves when the line is safe on disk
}
await producer.flush(); // resolves when the server has everything
await producer.close();
await buffer.close();
