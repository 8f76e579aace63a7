/**
 * One cell, in a process of its own: `worker.ts TASK`, a `Task` as JSON. It tells its measures in one line.
 *
 * Times are of as many operations as fill the time of a cell. How many these are is found while warming up, for a third
 * of that time. No look at the clock is inside the loop that is timed; latencies of single puts come from a second pass.
 */

import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentRuntime, runtimeArgs } from "../support/children.ts";
import { type Measures, median, MemoryWatch, quantile, tell } from "./measures.ts";
import { measureParts } from "./parts.ts";
import { type Item, Records } from "./records.ts";
import type { Contender, ContenderName, OpenOptions, Task } from "./workloads.ts";

/** The timed loop writes no more, so that it measures calls and not a system that is full of unwritten pages. */
const MAX_BYTES = 128_000_000;
/** Single puts whose time is taken. */
const MAX_LATENCIES = 50_000;

const task: Task = JSON.parse(process.argv[2]!);
const memory = new MemoryWatch();
const records = new Records(task.recordBytes);
/** Index of the next record to be put. */
let next = 0;

/** Loaded only now, so that the memory that they take counts. */
const openers: Readonly<Record<ContenderName, () => Promise<{ open: Open }>>> = {
  raw: () => import("./contenders/raw.ts"),
  "json-lines": () => import("./contenders/json_lines.ts"),
  sqlite: () => import("./contenders/sqlite.ts"),
  ours: () => import("./contenders/ours.ts"),
};

type Open = (options: OpenOptions) => Promise<Contender> | Contender;

/** Does so many operations. */
type Operations = (count: number) => Promise<void>;

interface Drainable extends Contender {
  readonly shouldEmit: () => boolean;
  readonly emit: () => Promise<readonly Item[]> | readonly Item[];
  readonly commit: () => Promise<void> | void;
  readonly isEmpty: () => boolean;
}

async function timeMs(operations: Operations, count: number): Promise<number> {
  const start = performance.now();
  await operations(count);
  return performance.now() - start;
}

/** Warms up and measures. `step`: operations come in so many; `most`: there are no more than these. */
async function measure(operations: Operations, { step = 1, most = MAX_BYTES / task.recordBytes } = {}): Promise<{
  count: number;
  microseconds: number;
}> {
  let tried = step;
  let ms = await timeMs(operations, tried);
  for (let done = tried, spent = ms; spent < task.targetMs / 3 && done < most / 2; done += tried, spent += ms) {
    if (ms < task.targetMs / 10) tried *= 2;
    ms = await timeMs(operations, tried);
  }
  const wanted = Math.min(most, tried * task.targetMs / ms);
  const count = Math.max(1, Math.round(wanted / step)) * step;
  return { count, microseconds: await timeMs(operations, count) * 1000 / count };
}

/** W1; latencies of the shortest records only. */
async function putOneByOne(contender: Contender): Promise<Measures> {
  const { count, microseconds } = await measure(async (n) => {
    for (let i = 0; i < n; i++) {
      const done = contender.put(records.make(next), next);
      next++;
      if (done !== undefined) await done;
    }
  });
  if (task.recordBytes > 120) return { count, us: microseconds };
  const latencies = new Float64Array(Math.min(MAX_LATENCIES, Math.max(100, Math.floor(count / 3))));
  for (let i = 0; i < latencies.length; i++) {
    const start = performance.now();
    const done = contender.put(records.make(next), next);
    if (done !== undefined) await done;
    latencies[i] = (performance.now() - start) * 1000;
    next++;
  }
  latencies.sort();
  const [p50Us, p99Us, p999Us] = [0.5, 0.99, 0.999].map((part) => quantile(latencies, part));
  return { count, us: microseconds, p50Us: p50Us!, p99Us: p99Us!, p999Us: p999Us! };
}

/** W1x16: `writers` puts in one tick, then all are waited for. */
async function putTogether(contender: Contender): Promise<Measures> {
  const { writers } = task;
  const { count, microseconds } = await measure(async (n) => {
    for (let i = 0; i < n; i += writers) {
      const waits: Promise<unknown>[] = [];
      for (let k = 0; k < writers; k++, next++) {
        const done = contender.put(records.make(next), next);
        if (done !== undefined) waits.push(done);
      }
      if (waits.length > 0) await Promise.all(waits);
    }
  }, { step: writers });
  return { count, us: microseconds };
}

/** W2: each writer puts its next record when its last one is acknowledged. */
async function putByWriters(contender: Contender): Promise<Measures> {
  const { writers } = task;
  const write = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) {
      const index = next++;
      const done = contender.put(records.make(index), index);
      if (done !== undefined) await done;
    }
  };
  const { count, microseconds } = await measure(
    async (n) => void await Promise.all(Array.from({ length: writers }, () => write(n / writers))),
    { step: writers },
  );
  return { count, us: microseconds, perSecond: 1e6 / microseconds };
}

/** W3. Contenders that know no batches only put. */
async function putEmitCommit(contender: Contender): Promise<Measures> {
  const { maxRecords } = task;
  let taken = 0;
  const { count, microseconds } = await measure(async (n) => {
    for (let i = 0; i < n; i++) {
      const done = contender.put(records.make(next), next);
      next++;
      if (done !== undefined) await done;
      if (contender.shouldEmit?.()) taken = await takeBatch(contender as Drainable, taken);
    }
  }, { step: maxRecords });
  if (isDrainable(contender) && (taken !== next || !contender.isEmpty())) {
    throw new Error(`Wrong number of records: ${taken} came out of ${next}`);
  }
  return { count, us: microseconds };
}

/** Takes and commits the next batch, which has to be full and right. */
async function takeBatch(contender: Drainable, first: number): Promise<number> {
  const emitted = contender.emit();
  const batch = emitted instanceof Promise ? await emitted : emitted;
  if (batch.length !== task.maxRecords) throw new Error(`Wrong batch: ${batch.length} records`);
  const end = records.check(batch, first);
  const committed = contender.commit();
  if (committed instanceof Promise) await committed;
  return end;
}

function isDrainable(contender: Contender): contender is Drainable {
  return contender.emit !== undefined;
}

/** Puts the backlog of W4, and ends without closing anything. */
async function fill(contender: Contender): Promise<Measures> {
  while (next < task.backlog) {
    const done = contender.putMany(records.makeThousand(next));
    if (done !== undefined) await done;
    next += 1000;
  }
  tell({ count: next });
  process.kill(process.pid, "SIGKILL");
  return await new Promise(() => {});
}

/** W4. The clock starts with the opening; the contender's module is loaded already. */
async function drain(open: () => Promise<Contender>): Promise<[Contender, Measures]> {
  const start = performance.now();
  const contender = await open();
  if (!isDrainable(contender)) throw new TypeError(`Cannot drain ${task.way.contender}`);
  const first = await contender.emit();
  const firstMs = performance.now() - start;
  let taken = records.check(first, 0);
  await contender.commit();
  memory.sample();

  const drainStart = performance.now();
  for (let batches = 1; taken < task.backlog; batches++) {
    taken = await takeBatch(contender, taken);
    if (batches % 16 === 0) memory.sample();
  }
  const seconds = (performance.now() - drainStart) / 1000;
  memory.sample();
  if (!contender.isEmpty()) throw new Error(`Wrong number of records: more than ${task.backlog} came out`);
  const perSecond = (taken - first.length) / seconds;
  return [contender, { count: taken, firstMs, perSecond, peakMiB: memory.peakMiB, afterMiB: memory.nowMiB }];
}

/** Puts the backlog of W6, each record into a segment of its own, and ends without closing anything. */
async function fillSegments(contender: Contender): Promise<Measures> {
  const start = performance.now();
  while (next < task.backlog) {
    const done = contender.put(records.make(next), next);
    next++;
    if (done !== undefined) await done;
  }
  tell({ putUs: (performance.now() - start) * 1000 / next });
  process.kill(process.pid, "SIGKILL");
  return await new Promise(() => {});
}

/** W6. A batch's time is that of its `emit()` and its `commit()`, with whatever else is done meanwhile. */
async function drainSegments(open: () => Promise<Contender>): Promise<Measures> {
  const start = performance.now();
  const contender = await open();
  const openMs = performance.now() - start;
  if (!isDrainable(contender)) throw new TypeError(`Cannot drain ${task.way.contender}`);
  const times: number[] = [];
  const drainStart = performance.now();
  for (let taken = 0; taken < task.backlog;) {
    const start = performance.now();
    const batch = await contender.emit();
    await contender.commit();
    times.push(performance.now() - start);
    taken = records.check(batch, taken);
  }
  const drainMs = performance.now() - drainStart;
  if (!contender.isEmpty()) throw new Error(`Wrong number of records: more than ${task.backlog} came out`);
  const closeStart = performance.now();
  await contender.close();
  const closeMs = performance.now() - closeStart;
  const [batchMs, slowestMs] = [median(times)!, Math.max(...times)];
  const left = readdirSync(task.directory).filter((name) => name.endsWith(".wal")).length;
  return { count: task.backlog, openMs, drainMs, batchMs, slowestMs, slowest: slowestMs / batchMs, closeMs, left };
}

/** W5: always the same thousand objects; their bytes are not looked at again. */
async function putThousands(contender: Contender): Promise<Measures> {
  const { count, microseconds } = await measure(async (n) => {
    for (let i = 0; i < n; i += 1000) {
      const done = contender.putMany(records.pool);
      if (done !== undefined) await done;
    }
  }, { step: 1000 });
  return { count, us: microseconds, mbPerSecond: task.recordBytes / microseconds };
}

/** What a loop pays for asking, with some records waiting. */
async function askOften(): Promise<Measures> {
  const { FileBuffer } = await import("../../mod.ts");
  const buffer = await FileBuffer.open({ path: task.directory, fsync: "never" });
  await buffer.putMany(records.makeThousand(0).slice(0, 10));
  let sum = 0;
  const ask = async (call: () => unknown): Promise<number> => {
    const { microseconds } = await measure((n) => {
      for (let i = 0; i < n; i++) if (call()) sum++;
      return Promise.resolve();
    }, { most: 1e8 });
    return microseconds * 1000;
  };
  const measures = { statsNs: await ask(() => buffer.stats()), shouldEmitNs: await ask(() => buffer.shouldEmit()) };
  if (sum === 0) throw new Error("Wrong answer: no figures");
  await buffer.close();
  return measures;
}

/**
 * Starts processes that import the package and processes that do nothing, in turn. Doing nothing in TypeScript costs
 * more than in JavaScript on Node, so each is compared with its like.
 */
function importInProcesses(): Measures {
  const runtime = currentRuntime();
  const [emptyTs, emptyJs] = ["empty.ts", "empty.mjs"].map((name) => join(task.directory, name)) as [string, string];
  for (const file of [emptyTs, emptyJs]) writeFileSync(file, "export {};\n");
  const full = fileURLToPath(new URL("../../mod.ts", import.meta.url));
  const run = (file: string): number => {
    const start = performance.now();
    const { status } = spawnSync(runtime.command, [...runtimeArgs(runtime), file], { stdio: "ignore" });
    if (status !== 0) throw new Error(`Cannot run ${file}: exit code ${status}`);
    return performance.now() - start;
  };
  const files = [emptyTs, full, emptyJs, ...task.bundle === undefined ? [] : [task.bundle]];
  // The first ones fill caches, of transpiled files for instance.
  for (const file of files) run(file);
  const times = files.map((): number[] => []);
  for (let i = 0; i < task.processes; i++) files.forEach((file, k) => times[k]!.push(run(file)));
  const [emptyTsMs = 0, fullMs = 0, emptyMs = 0, bundleMs] = times.map((one) => median(one));
  const measures = { count: task.processes, importMs: fullMs - emptyTsMs, emptyMs };
  return bundleMs === undefined ? measures : { ...measures, bundleMs: bundleMs - emptyMs };
}

async function work(): Promise<Measures> {
  if (task.workload === "parts") return await measureParts(task.directory, records, Math.ceil(40 * task.targetMs));
  if (task.workload === "calls") return await askOften();
  if (task.workload === "import") return importInProcesses();
  const { open } = await openers[task.way.contender]();
  const { directory, maxRecords, segmentBytes, way: { setting } } = task;
  const openIt = async () => await open({ directory, maxRecords, segmentBytes, setting, pool: records.pool });
  if (task.workload === "W6") return await drainSegments(openIt);
  const [contender, measures] = task.workload === "W4" ? await drain(openIt) : await useOpen(await openIt());
  await contender.close();
  return measures;
}

async function useOpen(contender: Contender): Promise<[Contender, Measures]> {
  const workloads: Readonly<Record<string, (contender: Contender) => Promise<Measures>>> = {
    W1: putOneByOne,
    W1x16: putTogether,
    W2: putByWriters,
    W3: putEmitCommit,
    W5: putThousands,
    fill,
    "fill-segments": fillSegments,
  };
  return [contender, await workloads[task.workload]!(contender)];
}

tell(await work());
