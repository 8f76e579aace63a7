/**
 * Lines of standard input to Loki, each once: Loki skips a line that it has with the same time, so each has a time of its own.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net examples/loki.ts http://127.0.0.1:3100 < lines.txt
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/loki.ts http://127.0.0.1:3100 < lines.txt
 *     node --import ./tests/std/resolve.mjs examples/loki.ts http://127.0.0.1:3100 < lines.txt
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { deadLetterCodec, FileBuffer, Producer } from "@sluice/buffer";
import { httpSink } from "@sluice/buffer/sinks/http";

const [url = "http://127.0.0.1:3100"] = process.argv.slice(2);

interface Line {
  readonly at: number;
  readonly text: string;
}

const send = httpSink<Line>(`${url}/loki/api/v1/push`, {
  contentType: "application/json",
  gzip: true,
  expect: { status: 204 },
  body({ records, sequences }) {
    // Nanoseconds: the milliseconds, then the end of the sequence, the same in each attempt.
    const values = records.map(({ at, text }, i) => [`${at}${String(sequences[i]! % 1e6).padStart(6, "0")}`, text]);
    return JSON.stringify({ streams: [{ stream: { service_name: "shop" }, values }] });
  },
  // Too much at once for the servers behind the one that answers. A line that is too old or too long is refused with 400.
  verdict: ({ status, body }) => status === 500 && body.includes("larger than max") ? "too-large" : undefined,
});

const buffer = await FileBuffer.open<Line>({ path: ".sluice-loki", maxRecords: 500, maxAgeMs: 1_000 });
const deadLetters = await FileBuffer.open({ path: ".sluice-loki-dead", codec: deadLetterCodec(buffer.codec) });
const producer = new Producer({ buffer, send, deadLetters, onEvent: (event) => console.error(event.type) });

for await (const text of createInterface({ input: process.stdin })) await producer.put({ at: Date.now(), text });
await producer.flush(); // resolves when Loki has everything, or the buffer of dead letters
await producer.close();
await buffer.close();
await deadLetters.close();
