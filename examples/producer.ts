/**
 * A producer in front of an HTTP target that fails at random, and still gets every record exactly once.
 *
 * Records are put into a buffer, which makes batches of five. A `Producer` posts each batch as NDJSON, with the
 * delivery's id as `Idempotency-Key`. Of the requests, the target refuses some with 503, and takes some and answers 500
 * all the same, so that they come again; it keeps the keys that it has seen, and stores nothing twice. Half way through
 * the program closes everything, as if it were stopped, and begins again with what is in the buffer.
 *
 * The target runs in this process, on 127.0.0.1: there is nothing to install and nothing to start.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net=127.0.0.1 examples/producer.ts
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/producer.ts
 *     node --import ./tests/std/resolve.mjs examples/producer.ts
 *
 * Options:
 *
 *     --seed N       makes the failures repeatable: same seed, same requests and answers
 *     --records N    puts so many records instead of 30
 *     --fail-rate P  chance that a request fails, 0 to below 1; 0.4 by default
 */

import { rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Delivery, DeliveryError, FileBuffer, Producer, type ProducerEvent, type SendContext } from "../mod.ts";

interface Reading {
  readonly number: number;
}

const PATH = ".sluice-producer";
const MAX_RECORDS = 5;

const options = readOptions();
const random = makeRandom(options.seed);
/** What the target holds, and the keys of what it has taken. */
const stored: Reading[] = [];
const keys = new Set<string>();
const counts = { requests: 0, refused: 0, duplicates: 0 };

console.log(`seed ${options.seed}: ${options.records} records, batches of ${MAX_RECORDS}`);
const server = createServer(async (request, response) => {
  response.statusCode = take(String(request.headers["idempotency-key"]), await bodyOf(request));
  response.end();
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

rmSync(PATH, { recursive: true, force: true });
const half = Math.floor(options.records / 2);
await produce(1, half, { flush: false });
console.log("restart");
await produce(half + 1, options.records, { flush: true });
rmSync(PATH, { recursive: true });
server.closeAllConnections();
server.close();

const isExact = stored.length === options.records && stored.every(({ number }, index) => number === index + 1);
console.log(`${counts.requests} requests, ${counts.refused} refused, ${counts.duplicates} duplicates skipped`);
console.log(`${options.records} put, ${stored.length} stored, ${isExact ? "each once and in order" : "NOT each once"}`);
if (!isExact) process.exitCode = 1;

/** What the program does each time that it is started. */
async function produce(first: number, last: number, { flush }: { flush: boolean }): Promise<void> {
  const buffer = await FileBuffer.open<Reading>({ path: PATH, maxRecords: MAX_RECORDS, maxAgeMs: 60_000 });
  const producer = new Producer<Reading>({ buffer, send: post, retry: { firstDelayMs: 1, maxDelayMs: 20 }, onEvent });
  for (let number = first; number <= last; number++) await producer.put({ number });
  // Without it, what is not delivered stays in the buffer for the next start.
  if (flush) await producer.flush();
  await producer.close();
  await buffer.close();
}

/** Sends a delivery; says what is to be done if the target doesn't take it. */
async function post({ id, records }: Delivery<Reading>, { signal }: SendContext): Promise<void> {
  const body = records.map((record) => JSON.stringify(record)).join("\n");
  const response = await fetch(url, { method: "POST", headers: { "Idempotency-Key": id }, body, signal });
  await response.body?.cancel();
  if (response.ok) return;
  const { status } = response;
  throw new DeliveryError({ reason: `status ${status}`, retryable: status >= 500 || status === 429 });
}

function onEvent(event: ProducerEvent): void {
  if (event.type === "attempt-failed") console.log(`  attempt ${event.attempt} failed: ${event.error}`);
  if (event.type === "committed") console.log(`committed ${event.records} records`);
}

/** The target: takes what is posted, unless it fails; returns the status. */
function take(key: string, body: string): number {
  counts.requests++;
  const fails = random() < options.failRate;
  if (fails && random() < 0.5) {
    counts.refused++;
    return 503;
  }
  if (keys.has(key)) counts.duplicates++;
  else stored.push(...body.split("\n").map((line) => JSON.parse(line)));
  keys.add(key);
  return fails ? 500 : 204;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += chunk;
  return body;
}

function readOptions(): { seed: number; records: number; failRate: number } {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
      records: { type: "string", default: "30" },
      "fail-rate": { type: "string", default: "0.4" },
    },
  });
  const number = (name: keyof typeof values, isAllowed: (value: number) => boolean): number => {
    const value = Number(values[name]);
    if (!isAllowed(value)) throw new RangeError(`--${name} can't be ${values[name]}`);
    return value;
  };
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  return {
    seed: number("seed", isCount),
    records: number("records", isCount),
    failRate: number("fail-rate", (value) => value >= 0 && value < 1),
  };
}

/** Repeatable random numbers, at least 0 and below 1 (mulberry32). */
function makeRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
