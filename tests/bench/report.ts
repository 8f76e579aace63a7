/**
 * Rounds become figures: medians, ratios, tables in Markdown, JSON.
 *
 * The ratio of a cell says how many times as long it took as the raw calls, on the same runtime, in the same round; the
 * median of the rounds' ratios is shown. It is always about time for a record: where the figure is a rate, a ratio below
 * 1 is still the better one. A round that failed counts for nothing.
 */

import type { RuntimeName } from "../support/children.ts";
import { type Machine, titleOf } from "./machine.ts";
import { type Measures, median } from "./measures.ts";
import { type Case, type Cell, labelOf, type Way, type Workload } from "./workloads.ts";

/** A round of a cell: what was measured, or why nothing was. */
export type Round = Measures | { readonly error: string };

/** A cell with all that it gave. */
export interface Result {
  readonly cell: Cell;
  readonly rounds: readonly Round[];
}

/** The core as a program gets it, or why that isn't known. */
export type Size =
  | { readonly bundler: string; readonly bytes: number; readonly gzippedBytes: number }
  | { readonly error: string };

/** All of it. */
export interface Outcome {
  readonly machine: Machine;
  readonly rounds: number;
  readonly scale: number;
  readonly runtimes: readonly RuntimeName[];
  readonly results: readonly Result[];
  readonly size: Size | undefined;
}

/** What a table shows of its case. */
interface Figure {
  /** What it is; empty if the case's title says so. */
  readonly what: string;
  /** Names of measures, shown with slashes between. */
  readonly keys: readonly string[];
  readonly hasRatio?: boolean;
  /** Whether a case has it; by default each. */
  readonly isOf?: (one: Case) => boolean;
}

const FIGURES: Readonly<Record<Exclude<Workload, "size">, readonly Figure[]>> = {
  W1: [
    { what: "µs a record", keys: ["us"], hasRatio: true },
    {
      what: "latency p50 / p99 / p99.9, µs",
      keys: ["p50Us", "p99Us", "p999Us"],
      isOf: (one) => one.recordBytes === 120,
    },
  ],
  W1x16: [{ what: "µs a record", keys: ["us"], hasRatio: true }],
  W2: [{ what: "records/s", keys: ["perSecond"], hasRatio: true }],
  W3: [{ what: "µs a record", keys: ["us"], hasRatio: true }],
  W4: [
    { what: "open to first batch, ms", keys: ["firstMs"] },
    { what: "drained, records/s", keys: ["perSecond"] },
    { what: "memory above the runtime's own, peak / at the end, MiB", keys: ["peakMiB", "afterMiB"] },
  ],
  W5: [{ what: "MB/s", keys: ["mbPerSecond"], hasRatio: true }],
  W6: [
    { what: "put, µs", keys: ["putUs"] },
    { what: "open() / all drained / close(), ms", keys: ["openMs", "drainMs", "closeMs"] },
    { what: "a batch, median / slowest, ms / times the median", keys: ["batchMs", "slowestMs", "slowest"] },
    { what: "segments left behind", keys: ["left"] },
  ],
  parts: [
    { what: "a bare write / and JSON.stringify / and encodeInto, µs", keys: ["writeUs", "stringifyUs", "encodeUs"] },
    { what: "and framing / and checksum / and the time of the put, µs", keys: ["builderUs", "sealUs", "timeUs"] },
    { what: "and a promise, awaited / put(), the whole, µs", keys: ["promiseUs", "putUs"] },
  ],
  calls: [{ what: "stats() / shouldEmit(), ns a call", keys: ["statsNs", "shouldEmitNs"] }],
  import: [{
    what: "mod.ts / the bundle, above an empty program / the empty program itself, ms",
    keys: ["importMs", "bundleMs", "emptyMs"],
  }],
};

/** The rounds that were measured, with their numbers. */
function measured({ rounds }: Result): [number, Measures][] {
  return rounds.flatMap((round, i) => "error" in round ? [] : [[i, round as Measures] as [number, Measures]]);
}

/** The median of a measure over the rounds that have it. */
export function medianOf(result: Result, key: string): number | undefined {
  return median(measured(result).flatMap(([, round]) => round[key] ?? []));
}

/** The median of the ratios to the raw calls; undefined if these weren't measured. */
export function ratioOf(result: Result, results: readonly Result[]): number | undefined {
  const raw = results.find(({ cell }) =>
    cell.of === result.cell.of && cell.runtime === result.cell.runtime && cell.way.contender === "raw"
  );
  const ratios = measured(result).flatMap(([i, round]) => {
    const base = raw?.rounds[i];
    return base === undefined || "error" in base ? [] : [round["us"]! / (base as Measures)["us"]!];
  });
  return median(ratios);
}

/** A number with three digits that count. */
export function format(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(value >= 10 ? 1 : value >= 0.1 ? 2 : 3);
}

/** Rows of cells as a Markdown table whose columns are aligned, the first to the left. */
export function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    `| ${row.map((text, i) => i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)).join(" | ")} |`
  );
  const rule = `| ${widths.map((width, i) => i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")} |`;
  return [lines[0], rule, ...lines.slice(1)].join("\n");
}

/** What stands above all tables. */
export function headOf({ machine, rounds, scale }: Outcome): string {
  const { cpu, cores, memoryGiB, kernel, fileSystem, loadBefore, runtimes } = machine;
  return [
    runtimes.join(", "),
    `${cores} x ${cpu}, ${memoryGiB} GiB, ${kernel}, data on ${fileSystem}, load before ${loadBefore.toFixed(1)}`,
    `${rounds} round${
      rounds === 1 ? "" : "s"
    } at scale ${scale}, medians; in brackets: times what the raw limit took for a record`,
  ].join("\n");
}

/** All tables, and what failed. */
export function tablesOf(outcome: Outcome): string {
  const { results, machine, size } = outcome;
  const parts: string[] = [];
  for (const one of new Set(results.map(({ cell }) => cell.of))) {
    for (const figure of FIGURES[one.workload as Exclude<Workload, "size">]) {
      if (figure.isOf?.(one) === false) continue;
      const title = `${one.workload}: ${one.title}: ${figure.what}`;
      const where = one.workload === "calls" || one.workload === "import" ? "" : ` (${machine.fileSystem})`;
      parts.push(`${title}${where}${backlogOf(one, results)}`, tableOf(rowsOf(one, figure, outcome)));
    }
  }
  if (size !== undefined) parts.push(sizeLine(size));
  const failed = failuresOf(results);
  if (failed.length > 0) parts.push(["Failed:", ...failed].join("\n"));
  return parts.join("\n\n");
}

/** How many records the backlog of W4 or W6 had. */
function backlogOf(one: Case, results: readonly Result[]): string {
  if (one.workload !== "W4" && one.workload !== "W6") return "";
  const counts = results.filter(({ cell }) => cell.of === one).map((result) => medianOf(result, "count"));
  const count = counts.find((found) => found !== undefined);
  return count === undefined ? "" : `, ${count.toLocaleString("en-US")} records`;
}

function rowsOf(one: Case, figure: Figure, { results, runtimes }: Outcome): string[][] {
  const rows = [["", ...runtimes.map(titleOf)]];
  for (const way of one.ways) {
    const ours = results.filter(({ cell }) => cell.of === one && cell.way === way);
    if (ours.length === 0) continue;
    const texts = runtimes.map((name) => {
      const result = ours.find(({ cell }) => cell.runtime === name);
      return result === undefined ? "" : textOf(result, figure, results);
    });
    rows.push([rowLabel(one, way), ...texts]);
  }
  return rows;
}

function rowLabel({ workload }: Case, way: Way): string {
  if (workload === "calls" || workload === "import") return "Sluice";
  return workload === "W3" && way.contender === "raw" ? `${labelOf(way)}, no batches` : labelOf(way);
}

function textOf(result: Result, { keys, hasRatio = false }: Figure, results: readonly Result[]): string {
  if (measured(result).length === 0) return "failed";
  const text = keys.map((key) => {
    const value = medianOf(result, key);
    return value === undefined ? "-" : format(value);
  }).join(" / ");
  const ratio = hasRatio ? ratioOf(result, results) : undefined;
  return ratio === undefined ? text : `${text} (${format(ratio)}x)`;
}

function sizeLine(size: Size): string {
  const what = "size: mod.ts and all that it imports, with the adapters of all three runtimes";
  if ("error" in size) return `${what}: not measured, ${size.error}`;
  const [kb, gzippedKb] = [size.bytes, size.gzippedBytes].map((bytes) => (bytes / 1000).toFixed(1));
  return `${what}, minified by ${size.bundler}: ${kb} KB, gzipped ${gzippedKb} KB`;
}

/** A line for each round that failed. */
export function failuresOf(results: readonly Result[]): string[] {
  return results.flatMap((result) =>
    result.rounds.flatMap((round, i) =>
      "error" in round ? [`- ${nameOf(result.cell)}, round ${i + 1}: ${round.error}`] : []
    )
  );
}

function nameOf({ of, way, runtime }: Cell): string {
  return `${of.workload}, ${of.title}, ${labelOf(way)}, ${titleOf(runtime)}`;
}

/** Every cell with every round, as JSON. */
export function jsonOf({ results, ...rest }: Outcome): string {
  const cells = results.map(({ cell: { of, way, runtime }, rounds }) => {
    const { ways: _, ...what } = of;
    return { ...what, ...way, runtime, rounds };
  });
  return JSON.stringify({ ...rest, cells }, null, 1) + "\n";
}
