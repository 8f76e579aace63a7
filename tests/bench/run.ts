/**
 * The benchmark: what a record costs on Deno, Bun and Node, beside the bare system calls and what else comes with the
 * runtimes. `deno task bench [options]`, or this file on any of the three; it needs no package and no native addon.
 *
 * Each cell of the tables is a process of its own. All cells are run once, then all again, for so many rounds, each case
 * on all runtimes and by all contenders close together; who begins changes from round to round. What comes out of a
 * buffer is checked, record by record.
 *
 * - `--rounds N`: how often everything is done (3)
 * - `--scale X`: the time of a cell as a factor (1); below 1 the backlogs of W4 and W6 are smaller, too
 * - `--segments N`: segments of the backlog of W6 (100,000)
 * - `--only W1,W4`: W1 put; W1x16 16 at a time; W2 synced; W3 put, emit, commit; W4 a backlog after a crash; W5 putMany;
 *   W6 a backlog in many segments; parts of a put; calls; import; size
 * - `--contenders ours,raw`: of `raw`, `json-lines`, `sqlite`, `ours`; without `raw` there are no ratios
 * - `--runtimes deno,bun,node`: all that are found by default: the one that runs this, and what SLUICE_DENO, SLUICE_BUN
 *   and SLUICE_NODE name
 * - `--dir PATH`: a directory on the disk to be measured; by default the one for temporary files
 * - `--json FILE`, `--svg FILE`: writes every round of every cell, and an image of the main ratios
 *
 * The exit code is 1 if a cell failed; a record that is wrong, doubled or missing is a failure.
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { availableRuntimes, type ChildResult, runChild, type Runtime } from "../support/children.ts";
import { chartOf } from "./chart.ts";
import { describeMachine, makeDataDirectory } from "./machine.ts";
import { failureOf, type Measures, told } from "./measures.ts";
import { failuresOf, headOf, jsonOf, type Outcome, type Round, type Size, tablesOf } from "./report.ts";
import { CASES, type Cell, CONTENDERS, type Task, taskOf, type Workload, WORKLOADS } from "./workloads.ts";

/** A cell that hangs is ended after this time. */
const MAX_CELL_MS = 300_000;
const WORKER = "tests/bench/worker.ts";
/** What a process leaves behind before the one that is measured begins. */
const FILLINGS: Readonly<Partial<Record<Workload, Task["workload"]>>> = { W4: "fill", W6: "fill-segments" };

/** A cell and its rounds so far. */
interface Running {
  readonly cell: Cell;
  readonly rounds: Round[];
}

function refuse(reason: string): never {
  console.error(`Cannot bench: ${reason}`);
  process.exit(2);
}

/** The names in an option, each of which has to be one of `known`; all of them if the option isn't given. */
function namesOf<N extends string>(option: string, given: string | undefined, known: readonly N[]): readonly N[] {
  if (given === undefined) return known;
  return given.split(",").map((name) => {
    return known.find((one) => one === name) ?? refuse(`--${option} takes ${known.join(", ")}, got ${name}`);
  });
}

function numberOf(option: string, given: string, least: number): number {
  const value = Number(given);
  return value >= least ? value : refuse(`--${option} must be a number from ${least} on, got ${given}`);
}

/** The cells, those that belong together one after the other. */
function cellsOf(runtimes: readonly Runtime[]): Running[] {
  return CASES.filter(({ workload }) => workloads.includes(workload)).flatMap((of) =>
    runtimes.flatMap(({ name: runtime }) =>
      of.ways.filter(({ contender }) => contenders.includes(contender)).map((way) => ({
        cell: { of, way, runtime },
        rounds: [],
      }))
    )
  );
}

/** The same in another order: whoever begins in one round is the last in the next. */
function rotated<E>(list: readonly E[], by: number): E[] {
  const start = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(start), ...list.slice(0, start)];
}

/** Runs the worker to its end. */
function startWorker(runtime: Runtime, task: Task): Promise<ChildResult> {
  return runChild(WORKER, [JSON.stringify(task)], { runtime, timeoutMs: MAX_CELL_MS });
}

/** One round of one cell, in a fresh directory. */
async function runCell(cell: Cell, runtime: Runtime): Promise<Measures | { error: string }> {
  const directory = fs.mkdtempSync(join(data, "cell-"));
  try {
    const task = taskOf(cell, { scale, segments, directory, bundle: fs.existsSync(bundle) ? bundle : undefined });
    const filling = FILLINGS[cell.of.workload];
    let before: Measures = {};
    if (filling !== undefined) {
      const filled = await startWorker(runtime, { ...task, workload: filling });
      const measures = told(filled.stdout);
      if (filled.signal !== "SIGKILL" || measures === undefined) return { error: failureOf(filled) };
      before = measures;
    }
    const result = await startWorker(runtime, task);
    const measures = result.code === 0 ? told(result.stdout) : undefined;
    return measures === undefined ? { error: failureOf(result) } : { ...before, ...measures };
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function runRound(round: number, cells: readonly Running[]): Promise<void> {
  for (const of of new Set(cells.map(({ cell }) => cell.of))) {
    const start = performance.now();
    const together = cells.filter(({ cell }) => cell.of === of);
    for (const runtime of rotated(runtimes, round)) {
      const here = together.filter(({ cell }) => cell.runtime === runtime.name);
      for (const { cell, rounds } of rotated(here, round)) rounds.push(await runCell(cell, runtime));
    }
    const seconds = Math.round((performance.now() - start) / 1000);
    console.error(`round ${round + 1} of ${totalRounds}, ${of.workload}: ${of.title}, ${seconds} s`);
  }
}

/** Bundles the core with Deno, or else with Bun, and with the stand-ins of `@std`, so that these needn't be fetched. */
function makeBundle(): Size {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const commands = {
    deno: ["bundle", "--quiet", "--minify", "--config", join(root, "deno.json"), "-o", bundle, join(root, "mod.ts")],
    bun: [
      ...["build", "--minify", "--target=node", `--tsconfig-override=${join(root, "tests/std/tsconfig.json")}`],
      ...[`--outfile=${bundle}`, join(root, "mod.ts")],
    ],
  };
  for (const name of ["deno", "bun"] as const) {
    const runtime = availableRuntimes().find((one) => one.name === name);
    if (runtime === undefined) continue;
    const { status } = spawnSync(runtime.command, commands[name], { stdio: "ignore" });
    if (status !== 0 || !fs.existsSync(bundle)) continue;
    const bytes = fs.readFileSync(bundle);
    return { bundler: `${name} bundle`, bytes: bytes.length, gzippedBytes: gzipSync(bytes, { level: 9 }).length };
  }
  return { error: "because neither Deno nor Bun is there that can bundle it" };
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    scale: { type: "string", default: "1" },
    segments: { type: "string" },
    only: { type: "string" },
    contenders: { type: "string" },
    runtimes: { type: "string" },
    dir: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
  },
});
const totalRounds = Math.floor(numberOf("rounds", values.rounds, 1));
const scale = numberOf("scale", values.scale, 0.001);
const segments = values.segments === undefined ? undefined : Math.floor(numberOf("segments", values.segments, 1));
const workloads = namesOf("only", values.only, WORKLOADS);
const contenders = namesOf("contenders", values.contenders, CONTENDERS);
const available = availableRuntimes();
const chosen = namesOf("runtimes", values.runtimes, available.map(({ name }) => name));
const runtimes = available.filter(({ name }) => chosen.includes(name));
const data = makeDataDirectory(values.dir);
const bundle = join(data, "bundle.mjs");

const cells = cellsOf(runtimes);
const outcome: Outcome = {
  machine: describeMachine(data, runtimes),
  rounds: totalRounds,
  scale,
  runtimes: runtimes.map(({ name }) => name),
  results: cells,
  size: workloads.includes("size") || workloads.includes("import") ? makeBundle() : undefined,
};
console.log(`\n${headOf(outcome)}\n`);
for (let round = 0; round < totalRounds; round++) await runRound(round, cells);
console.log(`\n${tablesOf(outcome)}`);
if (values.json !== undefined) fs.writeFileSync(values.json, jsonOf(outcome));
if (values.svg !== undefined) fs.writeFileSync(values.svg, chartOf(outcome));
process.exitCode = failuresOf(cells).length === 0 ? 0 : 1;
