/**
 * Compares this checkout with another one: `deno task bench:compare OTHER [options]`, or this file on Deno, Bun or Node. It says which
 * rows of the benchmark changed by more than the noise that it measured meanwhile; how is said in `comparison.ts`.
 *
 * OTHER is a directory with a checkout, or whatever `git archive` takes: a branch, a tag, a commit. Both are measured by this
 * checkout's benchmark through their `mod.ts`; what the other one hasn't got is skipped. Each measurement is a process of its own. The
 * checkout itself (`.`) as OTHER shows what it finds where nothing changed.
 *
 * - `--rows W1,W3`: as of the benchmark; all by default, which takes a quarter of an hour
 * - `--rounds N`: how often each is run twice in each checkout (4); fewer than three can't show a change
 * - `--scale X`, `--cpu`, `--runtimes deno,bun,node`, `--dir PATH`, `--json FILE`: as of the benchmark
 *
 * The exit code is 1 if a cell failed here; 0 otherwise, whatever changed.
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join, resolve } from "node:path";
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
  refuse,
  ROOT,
  type Round,
} from "./cells.ts";
import { type Compared, comparisonText, type Quad } from "./comparison.ts";
import { describeMachine, makeDataDirectory } from "./machine.ts";
import { headOf } from "./report.ts";
import { type Cell, cellText, type Row } from "./rows.ts";

/** A cell on a runtime, and four runs of it for each round. */
interface Running {
  readonly cell: Cell;
  readonly runtime: Runtime;
  readonly runs: Round[];
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: COMMON_OPTIONS });
const [other] = positionals;
if (other === undefined || positionals.length > 1) refuse("it takes one other checkout, a directory or a name of git");
const rounds = Math.floor(numberOf("rounds", values.rounds ?? "4", 1));
const rows = ownRows(chooseRows(values.rows, values.cpu));
const runtimes = chooseRuntimes(values.runtimes);
const data = makeDataDirectory(values.dir);
const runner = new CellRunner(data, numberOf("scale", values.scale, 0.001));

/** Our own side of the rows, each once. */
function ownRows(rows: readonly Row[]): Row[] {
  const key = ({ cell, measure }: Row) => JSON.stringify([cell, measure]);
  return [...new Map(rows.map((row) => [key(row), row])).values()];
}

/** The directory of the other checkout; that of a name of git is made, without what git knows about it. */
function findCheckout(name: string): string {
  if (fs.existsSync(join(name, "mod.ts"))) return resolve(name);
  const [archive, directory] = [join(data, "other.tar"), join(data, "other")];
  fs.mkdirSync(directory);
  const commands = [["git", "archive", "--output", archive, name], ["tar", "-xf", archive, "-C", directory]] as const;
  for (const [command, ...args] of commands) {
    const { status, stderr } = spawnSync(command, args, { cwd: ROOT, encoding: "utf8" });
    if (status !== 0) refuse(`there is no checkout ${name}: ${stderr?.trim() ?? `${command} isn't there`}`);
  }
  return directory;
}

/** The rounds of a row, or why there is nothing to compare. */
function roundsOf(row: Row, { runs }: Running): Quad[] | string {
  const values = runs.map((run) => "error" in run ? undefined : (run as Record<string, number>)[row.measure]);
  const quads = Array.from({ length: rounds }, (_, round) => values.slice(4 * round, 4 * round + 4));
  const whole = quads.filter((quad): quad is number[] => quad.every((value) => value !== undefined));
  if (whole.length > 0) return whole as unknown as Quad[];
  const failed = runs.find((run): run is { error: string } => "error" in run);
  return failed === undefined ? "not in both" : `failed: ${failed.error}`;
}

const files = {
  old: bundle(findCheckout(other), join(data, "old.mjs")),
  new: bundle(ROOT, join(data, "new.mjs")),
};
const cells = [...new Set(rows.map(({ cell }) => cell))];
const running = runtimes.flatMap((runtime) => cells.map((cell): Running => ({ cell, runtime, runs: [] })));
console.log(`\n${headOf({ machine: describeMachine(data, runtimes) })}, new is ${ROOT}, old is ${other}\n`);
for (let round = 0; round < rounds; round++) {
  const start = performance.now();
  for (const { cell, runtime, runs } of running) {
    for (const which of ["old", "new", "new", "old"] as const) {
      const run = await runner.run(cell, runtime, files[which]);
      runs.push(run);
      if ("error" in run) console.error(`${cellText(cell)}, ${runtime.name}, ${which}: ${run.error}`);
      if ("error" in run && which === "new") process.exitCode = 1;
    }
  }
  console.error(`round ${round + 1} of ${rounds}: ${Math.round((performance.now() - start) / 1000)} s`);
}

const compared = rows.flatMap((row) =>
  runtimes.map((runtime): Compared => ({
    title: `${row.workload} ${row.title}`,
    runtime: runtime.name,
    rounds: roundsOf(row, running.find((one) => one.cell === row.cell && one.runtime === runtime)!),
  }))
);
console.log(`\n${comparisonText(compared)}`);
if (values.json !== undefined) fs.writeFileSync(values.json, JSON.stringify(compared, null, 1) + "\n");
