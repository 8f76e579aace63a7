/**
 * The benchmark: what a record costs on Deno, Bun and Node, beside bare system calls, JSON lines and SQLite. It prints ratios.
 * `deno task bench [options]`, or this file on any of the three; it needs no package and no native addon.
 *
 * Each cell of a row is a process of its own. All cells are run once, then all again, for as many rounds as there is time for;
 * those that are compared right after one another. Which runtime and which cell begins changes from round to round. What comes
 * out of a buffer is checked, record by record.
 *
 * - `--rows W1,W4`: W1 put; W1s putSync; W2 put, synced; W2s putSync, synced; W3 put, emit, commit; W4 a backlog after a crash;
 *   W5 putMany; cold a short-lived process; send a producer. Only if they are named: W6 a backlog in many segments; import
 * - `--rounds N`: how often everything is done, at most (5)
 * - `--minutes N`: no round begins that wouldn't be done by then (9); there is always one
 * - `--scale X`: the time of a cell as a factor (1), more on a busy machine; below 1 the backlogs are smaller, too
 * - `--runtimes deno,bun,node`: all that are found by default: the one that runs this, and what SLUICE_DENO, SLUICE_BUN
 *   and SLUICE_NODE name
 * - `--cpu`: compares the time on processors instead, which other work on the machine disturbs less
 * - `--goals`: shows the goal of a row, and where it was missed
 * - `--dir PATH`: a directory on the disk to be measured; by default the one for temporary files
 * - `--json FILE`: writes every round of every cell
 * - `--svg FILE`: draws the main ratios; by default `tests/bench/ratios.svg` if nothing was left out
 *
 * The exit code is 1 if a cell failed; a record that is wrong, doubled or missing is a failure.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Runtime } from "../support/children.ts";
import {
  bundle,
  CellRunner,
  chooseRows,
  chooseRuntimes,
  COMMON_OPTIONS,
  numberOf,
  ROOT,
  rotated,
  type Round,
  sizeText,
} from "./cells.ts";
import { chartOf } from "./chart.ts";
import { describeMachine, makeDataDirectory } from "./machine.ts";
import { failuresOf, headOf, jsonOf, type Outcome, reportOf } from "./report.ts";
import { type Cell, cellsOf, GROUPS } from "./rows.ts";

/** A cell on a runtime, and its rounds so far. */
interface Running {
  readonly cell: Cell;
  readonly runtime: Runtime["name"];
  readonly rounds: Round[];
}

const { values } = parseArgs({
  options: {
    ...COMMON_OPTIONS,
    minutes: { type: "string", default: "9" },
    goals: { type: "boolean", default: false },
    svg: { type: "string" },
  },
});
const mostRounds = Math.floor(numberOf("rounds", values.rounds ?? "5", 1));
const mostMs = numberOf("minutes", values.minutes, 0) * 60_000;
const scale = numberOf("scale", values.scale, 0.001);
const rows = chooseRows(values.rows, values.cpu);
const runtimes = chooseRuntimes(values.runtimes);
const isWhole = values.rows === undefined && values.runtimes === undefined && !values.cpu && scale >= 1;
const svg = values.svg ?? (isWhole ? join(ROOT, "tests/bench/ratios.svg") : undefined);
const data = makeDataDirectory(values.dir);

/** Cells that are run right after one another. */
const groups: readonly (readonly Cell[])[] = GROUPS
  .map((group) => cellsOf(group).filter((cell) => cellsOf(rows).includes(cell)))
  .filter((cells) => cells.length > 0);
const results = groups.flat().flatMap((cell) =>
  runtimes.map(({ name }): Running => ({ cell, runtime: name, rounds: [] }))
);
const runner = new CellRunner(data, scale);
const packageFile = bundle(ROOT, join(data, "package.mjs"));

async function runRound(round: number): Promise<void> {
  for (const runtime of rotated(runtimes, round)) {
    for (const cells of groups) {
      for (const cell of rotated(cells, round)) {
        const running = results.find((one) => one.cell === cell && one.runtime === runtime.name)!;
        running.rounds.push(await runner.run(cell, runtime, packageFile));
      }
    }
  }
}

const machine = describeMachine(data, runtimes);
console.log(`\n${headOf({ machine })}\n`);
const start = performance.now();
let rounds = 0;
let longestMs = 0;
do {
  const before = performance.now();
  await runRound(rounds++);
  const ms = performance.now() - before;
  longestMs = Math.max(longestMs, ms);
  console.error(`round ${rounds} of ${mostRounds}: ${Math.round(ms / 1000)} s`);
} while (rounds < mostRounds && performance.now() - start + longestMs < mostMs);

const outcome: Outcome = { machine, rounds, scale, runtimes: runtimes.map(({ name }) => name), rows, results };
console.log(`\n${reportOf(outcome, { hasGoals: values.goals })}`);
if (rows.some(({ workload }) => workload === "import")) console.log(`\n${sizeText(data)}`);
if (values.json !== undefined) fs.writeFileSync(values.json, jsonOf(outcome));
if (svg !== undefined) fs.writeFileSync(svg, chartOf(outcome));
process.exitCode = failuresOf(results).length === 0 ? 0 : 1;
