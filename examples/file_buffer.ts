/**
 * The classic demonstration: a producer that keeps being terminated, and a target that still gets every record once.
 *
 * Fifteen records are put into a buffer that makes batches of three. Before each put there is a 30 % chance that the
 * program is terminated and relaunched. A due batch is emitted, its records are printed, and it is committed. At the
 * end the rest is flushed, and a summary says whether every record was delivered once and in order.
 *
 * What "terminated and relaunched" is here: everything the program knows is dropped, the buffer is closed, and a new
 * `FileBuffer.open()` of the same path finds the records by itself, from the files alone. It happens inside one process,
 * so that the demonstration needs no permission to start others; `close()` is there because the lock of a buffer goes
 * with its owner, and the owner lives on. A producer that is really killed, with SIGKILL and in the middle of a put, is
 * shown by `crash.ts`.
 *
 *     deno run --allow-read=. --allow-write=. examples/file_buffer.ts
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/file_buffer.ts
 *     node --import ./tests/std/resolve.mjs examples/file_buffer.ts
 *
 * Options:
 *
 *     --seed N      makes the terminations repeatable: same seed, same output
 *     --delay MS    waits so long after each line
 *     --records N   puts so many records instead of 15
 *     --path DIR    uses and keeps this directory; records left in it by an earlier run are delivered, too. Without it,
 *                   .sluice-demo in the working directory is used and removed
 */

import { rmSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Batch, FileBuffer } from "../mod.ts";

const RELAUNCH_CHANCE = 0.3;
const MAX_RECORDS = 3;
/** Long enough that only the number of records ends a batch: the output must not depend on the time of day. */
const MAX_AGE_MS = 2 ** 31 - 1;

interface Reading {
  readonly number: number;
  readonly text: string;
}

const options = readOptions();
const random = makeRandom(options.seed);
/** What the target has got so far; the only thing that outlives a termination, because it is not the program's. */
const target = { batches: 0, records: 0, lastSequence: undefined as number | undefined, inOrder: true };

if (!options.keep) rmSync(options.path, { recursive: true, force: true });
await say(`seed ${options.seed}: ${options.records} records, batches of ${MAX_RECORDS}, in ${options.path}`);
let relaunches = 0;
let buffer = await open();
for (let number = 1; number <= options.records; number++) {
  if (random() < RELAUNCH_CHANCE) {
    relaunches++;
    await buffer.close();
    buffer = await open();
    await say(`relaunch  ${buffer.recovery.recoveredRecords} uncommitted records found`);
  }
  const record = { number, text: `record ${number}` };
  const sequence = await buffer.put(record);
  await say(`put       ${record.text}, sequence ${sequence}`);
  while (buffer.shouldEmit()) await deliver(buffer, await buffer.emit());
}
await say("flush");
for await (const batch of buffer.batches({ flush: true })) await deliver(buffer, batch);
await buffer.close();
if (!options.keep) rmSync(options.path, { recursive: true, force: true });

await say(
  `${options.records} puts, ${relaunches} relaunches, ${target.batches} batches, ${target.records} records delivered, ` +
    (target.inOrder ? "each once and in order" : "NOT once and in order"),
);
if (!target.inOrder) process.exitCode = 1;

/** What the program does each time it is launched. */
function open(): Promise<FileBuffer<Reading>> {
  return FileBuffer.open<Reading>({ path: options.path, maxRecords: MAX_RECORDS, maxAgeMs: MAX_AGE_MS });
}

/** Hands a batch to the target, then commits it. */
async function deliver(from: FileBuffer<Reading>, batch: Batch<Reading>): Promise<void> {
  await say(`emit      batch ${batch.firstSequence} to ${batch.lastSequence}`);
  for (const record of batch) await say(`            ${record.text}`);
  target.inOrder &&= batch.firstSequence === (target.lastSequence ?? batch.firstSequence - 1) + 1;
  target.lastSequence = batch.lastSequence;
  target.batches++;
  target.records += batch.length;
  await from.commit(batch);
}

async function say(line: string): Promise<void> {
  console.log(line);
  if (options.delayMs > 0) await sleep(options.delayMs);
}

function readOptions(): { seed: number; delayMs: number; records: number; path: string; keep: boolean } {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
      delay: { type: "string", default: "0" },
      records: { type: "string", default: "15" },
      path: { type: "string" },
    },
  });
  const integer = (name: "seed" | "delay" | "records"): number => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`--${name} must be a whole number`);
    return value;
  };
  return {
    seed: integer("seed"),
    delayMs: integer("delay"),
    records: integer("records"),
    path: values.path ?? ".sluice-demo",
    keep: values.path !== undefined,
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
