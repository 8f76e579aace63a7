/**
 * One cell, in a process of its own: `worker.ts TASK`, a `Task` as JSON. It tells its measures in one line; none at all if the
 * module that is measured has no such method.
 *
 * Times are of as many operations as fill the time of a cell. How many these are is found while warming up, which takes as long
 * again: before it, V8 has not yet optimized a put. No look at the clock is inside the loop that is timed.
 */

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentRuntime } from "../support/children.ts";
import type { Task } from "./cells.ts";
import type { Contender, OpenOptions } from "./contenders/contender.ts";
import { type Measures, median, tell } from "./measures.ts";
import { Records } from "./records.ts";
import type { ContenderName, Work } from "./rows.ts";

/** The timed loop writes no more, so that it measures calls and not a system that is full of unwritten pages. */
const MAX_BYTES = 128_000_000;
/** What fills caches before short-lived processes are timed, of compiled code for instance. */
const WARM_UP_RECORDS = 100;

const task: Task = JSON.parse(process.argv[2]!);
const { cell } = task;
const records = new Records(cell.recordBytes);
/** Index of the next record to be put. */
let next = 0;

type Open = (options: OpenOptions) => Promise<Contender> | Contender;

/** Loaded only now: none waits for the modules of another. */
const openers: Readonly<Record<ContenderName, () => Promise<{ open: Open }>>> = {
  raw: () => import("./contenders/raw.ts"),
  "json-lines": () => import("./contenders/json_lines.ts"),
  sqlite: () => import("./contenders/sqlite.ts"),
  ours: () => import("./contenders/ours.ts"),
  memory: () => import("./contenders/ours.ts"),
};

/** Does so many operations. */
type Operations = (count: number) => Promise<void> | void;

type Drainable = Contender & Required<Pick<Contender, "shouldEmit" | "emit" | "commit" | "isEmpty">>;

async function timeMs(operations: Operations, count: number): Promise<number> {
  const start = performance.now();
  await operations(count);
  return performance.now() - start;
}

/** The time of this process on a processor. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Warms up and measures; operations come in so many as `step` says. It is warm after a time on the processor, which a busy machine
 * takes longer to give.
 */
async function measure(operations: Operations, step = 1): Promise<Measures> {
  const { targetMs } = task;
  const most = MAX_BYTES / cell.recordBytes;
  const cpuStart = cpuMs();
  let tried = step;
  let ms = await timeMs(operations, tried);
  let [done, spent] = [tried, ms];
  while (cpuMs() - cpuStart < targetMs && spent < 3 * targetMs && done < most) {
    if (ms < targetMs / 10) tried *= 2;
    ms = await timeMs(operations, tried);
    [done, spent] = [done + tried, spent + ms];
  }
  const count = Math.max(1, Math.round(Math.min(most, tried * targetMs / ms) / step)) * step;
  const cpuBefore = cpuMs();
  const us = await timeMs(operations, count) * 1000 / count;
  return { us, cpuUs: (cpuMs() - cpuBefore) * 1000 / count };
}

/** Each writer puts its next record when its last one is acknowledged. */
function put(contender: Contender): Promise<Measures> {
  const write = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const index = next++;
      const done = contender.put(records.make(index), index);
      if (done !== undefined) await done;
    }
  };
  const { writers } = cell;
  if (writers === 1) return measure(write);
  return measure(
    async (count) => void await Promise.all(Array.from({ length: writers }, () => write(count / writers))),
    writers,
  );
}

async function putSync({ putSync }: Contender): Promise<Measures> {
  if (putSync === undefined) return {};
  return await measure((count) => {
    for (let i = 0; i < count; i++) putSync(records.make(next++));
  });
}

/** Always the same thousand objects; their bytes are not looked at again. */
function putThousands(contender: Contender): Promise<Measures> {
  return measure(async (count) => {
    for (let i = 0; i < count; i += 1000) {
      const done = contender.putMany(records.pool);
      if (done !== undefined) await done;
    }
  }, 1000);
}

async function putEmitCommit(contender: Contender): Promise<Measures> {
  const queue = asDrainable(contender);
  let taken = 0;
  const measures = await measure(async (count) => {
    for (let i = 0; i < count; i++) {
      const done = queue.put(records.make(next), next);
      next++;
      if (done !== undefined) await done;
      if (queue.shouldEmit()) taken = await takeBatch(queue, taken);
    }
  }, cell.maxRecords);
  if (taken !== next || !queue.isEmpty()) throw new Error(`Wrong number of records: ${taken} came out of ${next}`);
  return measures;
}

/** The time ends when all that was put has been sent. */
async function putSend(contender: Contender): Promise<Measures> {
  if (contender.startSending === undefined) return {};
  const producer = contender.startSending();
  const measures = await measure(async (count) => {
    for (let i = 0; i < count; i++, next++) await contender.put(records.make(next), next);
    await producer.flush();
  }, cell.maxRecords);
  if (producer.sent() !== next) throw new Error(`Wrong number of records: ${producer.sent()} were sent of ${next}`);
  await producer.close();
  return measures;
}

function asDrainable(contender: Contender): Drainable {
  const { shouldEmit, emit, commit, isEmpty } = contender;
  if (!shouldEmit || !emit || !commit || !isEmpty) throw new TypeError(`Cannot drain ${cell.contender}`);
  return { ...contender, shouldEmit, emit, commit, isEmpty };
}

/** Takes and commits the next batch, which has to be full and right. */
async function takeBatch(queue: Drainable, first: number): Promise<number> {
  const emitted = queue.emit();
  const batch = emitted instanceof Promise ? await emitted : emitted;
  if (batch.length !== cell.maxRecords) throw new Error(`Wrong batch: ${batch.length} records`);
  const end = records.check(batch, first);
  const committed = queue.commit();
  if (committed instanceof Promise) await committed;
  return end;
}

/** Leaves the backlog, a segment for each record if it has to be, and ends without closing anything. */
async function fill(open: () => Promise<Contender>): Promise<never> {
  const contender = await open();
  while (next < task.records) {
    const isMany = cell.work === "backlog";
    const done = isMany ? contender.putMany(records.makeThousand(next)) : contender.put(records.make(next), next);
    if (done !== undefined) await done;
    next += isMany ? 1000 : 1;
  }
  tell({ count: next });
  process.kill(process.pid, "SIGKILL");
  return await new Promise(() => {});
}

/** The clock starts with the opening; the contender's module is loaded already. */
async function drain(open: () => Promise<Contender>): Promise<Measures> {
  const start = performance.now();
  const cpuStart = cpuMs();
  const queue = asDrainable(await open());
  const times: number[] = [];
  const first = await queue.emit();
  const [firstMs, firstCpuMs] = [performance.now() - start, cpuMs() - cpuStart];
  let taken = records.check(first, 0);
  await queue.commit();
  const drainStart = performance.now();
  const cpuBefore = cpuMs();
  while (taken < task.records) {
    const before = performance.now();
    taken = await takeBatch(queue, taken);
    times.push(performance.now() - before);
  }
  const drained = taken - first.length;
  const us = (performance.now() - drainStart) * 1000 / drained;
  const cpuUs = (cpuMs() - cpuBefore) * 1000 / drained;
  if (!queue.isEmpty()) throw new Error(`Wrong number of records: more than ${task.records} came out`);
  await queue.close();
  return { firstMs, firstCpuMs, us, cpuUs, batchMs: median(times)!, slowestMs: Math.max(...times) };
}

/** Starts processes and waits for the end of each: its time is all that there is between. */
function runProcesses(): Measures {
  const { name, command } = currentRuntime();
  const flags = { deno: ["run", "--no-config", "--no-lock", "-A"], bun: [], node: ["--no-warnings"] }[name];
  const run = (args: readonly string[]) => {
    const start = performance.now();
    const { status, stdout, stderr } = spawnSync(command, [...flags, ...args], { encoding: "utf8" });
    if (status !== 0) throw new Error(`a process ended with ${status}: ${stderr}`);
    return { us: (performance.now() - start) * 1000, cpuUs: Number(stdout) };
  };
  const argsFor = (i: number, count: number): string[] => {
    if (cell.work === "process") {
      const program = fileURLToPath(new URL("cold.mjs", import.meta.url));
      return [program, cell.contender, task.module, join(task.directory, String(i)), String(count)];
    }
    const empty = join(task.directory, "empty.mjs");
    writeFileSync(empty, "export {};\n");
    return [cell.contender === "ours" ? fileURLToPath(task.module) : empty];
  };
  run(argsFor(0, WARM_UP_RECORDS));
  const times = Array.from({ length: task.processes }, (_, i) => run(argsFor(i + 1, task.records)));
  const [us, cpuUs] = [median(times.map((one) => one.us))!, median(times.map((one) => one.cpuUs))!];
  return cell.work === "import" ? { us } : { us, cpuUs };
}

const WORKS: Readonly<
  Record<Exclude<Work, "backlog" | "segments" | "process" | "import">, (c: Contender) => Promise<Measures>>
> = {
  put,
  "put-sync": putSync,
  "put-many": putThousands,
  "put-emit-commit": putEmitCommit,
  "put-send": putSend,
};

async function work(): Promise<Measures> {
  const { work } = cell;
  if (work === "process" || work === "import") return runProcesses();
  const { open } = await openers[cell.contender]();
  // What the module is made of is loaded before the clock starts.
  if (cell.contender === "ours") await import(task.module);
  const { module, directory } = task;
  const openIt = async () => await open({ cell, module, directory, pool: records.pool });
  if (task.isFilling) return await fill(openIt);
  if (work === "backlog" || work === "segments") return await drain(openIt);
  const contender = await openIt();
  const measures = await WORKS[work](contender);
  await contender.close();
  return measures;
}

tell(await work());
