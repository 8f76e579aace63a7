/**
 * A large backlog: what it costs to leave one, to open it, and to work through it.
 *
 *     deno run -A tests/bench/backlog.ts --gigabytes 10
 *     bun --tsconfig-override=tests/std/tsconfig.json tests/bench/backlog.ts --gigabytes 10
 *     node --import ./tests/std/resolve.mjs tests/bench/backlog.ts --gigabytes 10
 *
 * It puts records of 1 KiB with `putMany`, a thousand at a time, and is killed; opens the buffer and takes the first
 * batch; opens it again and drains it, checking every record. Each of the three is a process of its own. First with a
 * tenth of the records, then with all of them: time to the first batch and memory have to be the same. All options are
 * the defaults, but `maxBacklogBytes`.
 *
 * Memory is the resident memory above what the process had before it loaded the package, the most that was seen at every
 * eighth step of a thousand records or one batch.
 *
 * - `--gigabytes N`: payload bytes of the backlog, in 10^9 (10)
 * - `--dir PATH`: a directory on the disk to be used; by default the one for temporary files
 *
 * The exit code is 1 if a record is wrong, doubled or missing. What was written is removed, also after Ctrl-C.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { FileBuffer } from "../../mod.ts";
import { currentRuntime, runChild } from "../support/children.ts";
import { describeMachine, freeBytes, makeDataDirectory } from "./machine.ts";
import { failureOf, type Measures, MemoryWatch, tell, told } from "./measures.ts";
import { type Item, Records } from "./records.ts";
import { format, tableOf } from "./report.ts";

const RECORD_BYTES = 1024;
/** Disk space that is asked for, as a multiple of the payload: framing takes less than a tenth. */
const SPACE_FACTOR = 1.1;
/** How many steps lie between two looks at the memory. */
const STEPS_A_SAMPLE = 8;
/** A phase that hangs is ended after this time. */
const MAX_PHASE_MS = 3_600_000;

/** What a process is for. */
const PHASES = ["put", "open", "drain"] as const;

const { values } = parseArgs({
  options: {
    gigabytes: { type: "string", default: "10" },
    dir: { type: "string" },
    phase: { type: "string" },
    path: { type: "string" },
    records: { type: "string" },
  },
});

/** The buffer, and when its opening began; loading the package doesn't count. */
async function open(path: string): Promise<{ buffer: FileBuffer<Item>; start: number }> {
  const { FileBuffer } = await import("../../mod.ts");
  const start = performance.now();
  const buffer = await FileBuffer.open<Item>({ path, maxBacklogBytes: Number.MAX_SAFE_INTEGER });
  return { buffer, start };
}

/** Puts so many records, and ends as a killed process does. */
async function put(path: string, count: number): Promise<void> {
  const memory = new MemoryWatch();
  const { buffer, start } = await open(path);
  const records = new Records(RECORD_BYTES);
  for (let next = 0; next < count; next += 1000) {
    await buffer.putMany(records.makeThousand(next));
    if (next / 1000 % STEPS_A_SAMPLE === 0) memory.sample();
  }
  memory.sample();
  tell({ ms: performance.now() - start, bytes: count * RECORD_BYTES, peakMiB: memory.peakMiB });
  process.kill(process.pid, "SIGKILL");
}

/** Takes the first batch, without committing it. */
async function openAndTakeOne(path: string): Promise<void> {
  const memory = new MemoryWatch();
  const { buffer, start } = await open(path);
  const openMs = performance.now() - start;
  const batch = await buffer.emit();
  new Records(RECORD_BYTES).check(batch.records, 0);
  const ms = performance.now() - start;
  memory.sample();
  tell({ ms, openMs, bytes: batch.byteLength, peakMiB: memory.peakMiB });
  await buffer.close();
}

/** Takes everything that is there. */
async function drain(path: string, count: number): Promise<void> {
  const memory = new MemoryWatch();
  const { buffer, start } = await open(path);
  const records = new Records(RECORD_BYTES);
  let taken = 0;
  let batches = 0;
  for await (const batch of buffer.batches({ flush: true })) {
    taken = records.check(batch.records, taken);
    await buffer.commit(batch);
    if (batches++ % STEPS_A_SAMPLE === 0) memory.sample();
  }
  memory.sample();
  if (taken !== count) throw new Error(`Wrong number of records: ${taken} came out of ${count}`);
  tell({ ms: performance.now() - start, bytes: count * RECORD_BYTES, peakMiB: memory.peakMiB });
  await buffer.close();
}

/** Runs a phase in a process of its own. */
async function runPhase(phase: typeof PHASES[number], path: string, count: number): Promise<Measures> {
  const args = ["--phase", phase, "--path", path, "--records", String(count)];
  const child = await runChild("tests/bench/backlog.ts", args, { timeoutMs: MAX_PHASE_MS });
  const measures = told(child.stdout);
  const isOk = phase === "put" ? child.signal === "SIGKILL" : child.code === 0;
  if (!isOk || measures === undefined) throw new Error(`Cannot ${phase} the backlog: ${failureOf(child)}`);
  return measures;
}

/** All phases with a backlog of this size, a row of the table for each. */
async function runAll(data: string, gigabytes: number): Promise<string[][]> {
  const path = join(data, "buffer");
  const count = Math.max(2, Math.round(gigabytes * 1e9 / RECORD_BYTES / 1000)) * 1000;
  const rows: string[][] = [];
  for (const phase of PHASES) {
    const { ms, openMs, bytes, peakMiB } = await runPhase(phase, path, count);
    const what = { put: "put, then killed", open: "open and take the first batch", drain: "open and drain" }[phase];
    const rate = phase === "open" ? "" : format(bytes! / ms! / 1000);
    const first = openMs === undefined ? "" : `${format(ms!)} (open() alone ${format(openMs)})`;
    rows.push([`${format(gigabytes)} GB: ${what}`, format(ms! / 1000), rate, format(peakMiB!), first]);
    console.error(`${format(gigabytes)} GB: ${what}: ${format(ms! / 1000)} s`);
  }
  fs.rmSync(path, { recursive: true });
  return rows;
}

async function main(): Promise<void> {
  const gigabytes = Number(values.gigabytes);
  if (!(gigabytes > 0)) throw new RangeError(`--gigabytes must be a number above 0, got ${values.gigabytes}`);
  const data = makeDataDirectory(values.dir);
  const [needed, free] = [gigabytes * SPACE_FACTOR, freeBytes(data) / 1e9];
  if (free < needed) {
    console.error(`Cannot leave a backlog: it needs ${format(needed)} GB of disk space, ${format(free)} GB are free`);
    process.exit(2);
  }
  const { runtimes, cores, cpu, memoryGiB, kernel, fileSystem } = describeMachine(data, [currentRuntime()]);
  console.log(`\n${runtimes}, ${cores} x ${cpu}, ${memoryGiB} GiB, ${kernel}, data on ${fileSystem}, fsync 1000\n`);
  const head = ["records of 1 KiB", "s", "MB/s", "peak memory, MiB", "to the first batch, ms"];
  console.log(tableOf([head, ...await runAll(data, gigabytes / 10), ...await runAll(data, gigabytes)]));
}

const { phase, path = "", records } = values;
if (phase === undefined) await main();
else if (phase === "put") await put(path, Number(records));
else if (phase === "open") await openAndTakeOne(path);
else await drain(path, Number(records));
