/**
 * Runs cells: a process for each, in a fresh directory, with the package of a checkout as one file. What the command lines of
 * `run.ts` and `compare.ts` have in common is here, too.
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { availableRuntimes, runChild, type Runtime } from "../support/children.ts";
import { failureOf, type Measures, told } from "./measures.ts";
import { type Cell, ON_REQUEST, type Row, rowsIn, WORKLOADS } from "./rows.ts";

/** Time of a cell at `--scale 1`: as long as V8 takes to optimize a put, and no longer, because many rounds say more. */
const CELL_MS = 250;
/** A cell that hangs is ended after this time. */
const MAX_CELL_MS = 300_000;
/** Records that the short-lived processes of a cell put together, if one doesn't put more. */
const RECORDS_A_PROCESS_CELL = 5000;

/** What measures a time on processors, for what measures the same time by the clock. */
const CPU_MEASURES: Readonly<Record<string, string>> = { us: "cpuUs", firstMs: "firstCpuMs" };

/** What a process gets: its cell, and where. */
export interface Task {
  readonly cell: Cell;
  /** Whether it leaves the backlog that the next one finds. */
  readonly isFilling: boolean;
  /** How long to measure. */
  readonly targetMs: number;
  /** The records of a backlog or of a short-lived process. */
  readonly records: number;
  /** How many short-lived processes to start. */
  readonly processes: number;
  /** URL of the package to be measured, as one file. */
  readonly module: string;
  /** A directory of its own: empty, or with the backlog. */
  readonly directory: string;
}

/** A round of a cell: what was measured (nothing, if the package can't do it), or why it failed. */
export type Round = Measures | { readonly error: string };

/** This checkout. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Options of both commands. */
export const COMMON_OPTIONS = {
  rounds: { type: "string" },
  scale: { type: "string", default: "1" },
  rows: { type: "string" },
  cpu: { type: "boolean", default: false },
  runtimes: { type: "string" },
  dir: { type: "string" },
  json: { type: "string" },
} as const;

export function refuse(reason: string): never {
  console.error(`Cannot bench: ${reason}`);
  process.exit(2);
}

/** The names in an option, each of which has to be one of `known`. */
function namesOf<N extends string>(option: string, given: string, known: readonly N[]): readonly N[] {
  return given.split(",").map((name) => {
    return known.find((one) => one === name) ?? refuse(`--${option} takes ${known.join(", ")}, got ${name}`);
  });
}

/**
 * The rows of some workloads.
 *
 * @param isCpu Whether they compare the time on processors, where it is measured.
 */
export function chooseRows(given: string | undefined, isCpu: boolean): Row[] {
  const byDefault = WORKLOADS.filter((name) => !ON_REQUEST.includes(name));
  const chosen = given === undefined ? byDefault : namesOf("rows", given, WORKLOADS);
  const rows = rowsIn(WORKLOADS.filter((name) => chosen.includes(name)));
  if (!isCpu) return rows;
  return rows.flatMap((row) => {
    const measure = CPU_MEASURES[row.measure];
    return measure === undefined || row.cell.work === "import" ? [] : [{ ...row, measure, baseMeasure: measure }];
  });
}

/** All that are found by default, the one that runs this first. */
export function chooseRuntimes(given: string | undefined): readonly Runtime[] {
  const available = availableRuntimes();
  if (given === undefined) return available;
  const chosen = namesOf("runtimes", given, available.map(({ name }) => name));
  return available.filter(({ name }) => chosen.includes(name));
}

export function numberOf(option: string, given: string, least: number): number {
  const value = Number(given);
  return value >= least ? value : refuse(`--${option} must be a number from ${least} on, got ${given}`);
}

/**
 * Bundles the package of a checkout, with Deno or else with Bun, and with the stand-ins of `@std`, so that these needn't be fetched.
 *
 * @returns The path of the file.
 */
export function bundle(root: string, path: string, { isMinified = false } = {}): string {
  const minify = isMinified ? ["--minify"] : [];
  const [config, tsconfig] = ["deno.json", "tests/std/tsconfig.json"].map((name) => join(root, name));
  const commands = {
    deno: ["bundle", "--quiet", ...minify, "--config", config!, "-o", path, join(root, "mod.ts")],
    bun: [
      "build",
      ...minify,
      "--target=node",
      `--tsconfig-override=${tsconfig}`,
      `--outfile=${path}`,
      join(root, "mod.ts"),
    ],
  };
  for (const name of ["deno", "bun"] as const) {
    const runtime = availableRuntimes().find((one) => one.name === name);
    if (runtime === undefined) continue;
    if (spawnSync(runtime.command, commands[name], { stdio: "ignore" }).status === 0 && fs.existsSync(path)) {
      return path;
    }
  }
  return refuse(`neither Deno nor Bun can bundle ${root}`);
}

/** The package as a program gets it, minified. */
export function sizeText(directory: string): string {
  const bytes = fs.readFileSync(bundle(ROOT, join(directory, "minified.mjs"), { isMinified: true }));
  const [kb, gzippedKb] = [bytes.length, gzipSync(bytes, { level: 9 }).length].map((size) => (size / 1000).toFixed(1));
  return `The package minified, with the adapters of all runtimes: ${kb} KB, gzipped ${gzippedKb} KB`;
}

/** Runs cells below a directory. */
export class CellRunner {
  readonly #data: string;
  readonly #scale: number;

  constructor(data: string, scale: number) {
    this.#data = data;
    this.#scale = scale;
  }

  /** One round of a cell, with the package that was bundled into a file. */
  async run(cell: Cell, runtime: Runtime, packageFile: string): Promise<Round> {
    const directory = fs.mkdtempSync(join(this.#data, "cell-"));
    try {
      const task = this.#taskOf(cell, directory, packageFile);
      if (cell.work === "backlog" || cell.work === "segments") {
        const filled = await startWorker(runtime, { ...task, isFilling: true });
        if (filled.signal !== "SIGKILL" || told(filled.stdout) === undefined) return { error: failureOf(filled) };
      }
      const result = await startWorker(runtime, task);
      const measures = result.code === 0 ? told(result.stdout) : undefined;
      return measures ?? { error: failureOf(result) };
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  }

  #taskOf(cell: Cell, directory: string, packageFile: string): Task {
    const share = Math.min(1, this.#scale);
    const records = Math.max(2, Math.round(share * cell.records / 1000)) * 1000;
    return {
      cell,
      isFilling: false,
      targetMs: CELL_MS * this.#scale,
      // Whole batches, and at least two of them.
      records: cell.work === "process" ? Math.max(1, Math.round(share * cell.records / 100)) * 100 : records,
      processes: Math.max(1, Math.round(share * RECORDS_A_PROCESS_CELL / Math.max(1000, cell.records))),
      module: pathToFileURL(packageFile).href,
      directory,
    };
  }
}

function startWorker(runtime: Runtime, task: Task) {
  return runChild("tests/bench/worker.ts", [JSON.stringify(task)], { runtime, timeoutMs: MAX_CELL_MS });
}

/** The same in another order: what begins in one round is the last in the next. */
export function rotated<E>(list: readonly E[], by: number): E[] {
  const start = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(start), ...list.slice(0, start)];
}
