/**
 * Rounds become ratios, and ratios a table in Markdown, or JSON.
 *
 * A ratio says how many times as long Sluice took for a record as what stands beside it, on the same runtime, in the same round. The
 * median of the rounds is shown, with the quartiles in brackets. A round that failed counts for nothing.
 */

import type { RuntimeName } from "../support/children.ts";
import type { Round } from "./cells.ts";
import { type Machine, titleOf } from "./machine.ts";
import { type Spread, spreadOf } from "./measures.ts";
import { type Cell, cellsOf, cellText, type Row, TITLES } from "./rows.ts";

/** A cell on one runtime, with what each round of it gave. */
export interface Result {
  readonly cell: Cell;
  readonly runtime: RuntimeName;
  readonly rounds: readonly Round[];
}

/** All of it. */
export interface Outcome {
  readonly machine: Machine;
  readonly rounds: number;
  readonly scale: number;
  readonly runtimes: readonly RuntimeName[];
  readonly rows: readonly Row[];
  readonly results: readonly Result[];
}

/** A measure of a cell in each round; undefined where there is none. */
function valuesOf(
  results: readonly Result[],
  cell: Cell,
  runtime: RuntimeName,
  measure: string,
): (number | undefined)[] {
  const result = results.find((one) => one.cell === cell && one.runtime === runtime);
  return result?.rounds.map((round) => "error" in round ? undefined : round[measure] as number | undefined) ?? [];
}

/** What a ratio is of. */
type Pair = Pick<Row, "cell" | "base" | "measure" | "baseMeasure">;

/** The ratio of two measures in each round that has both. */
export function ratiosOf(results: readonly Result[], pair: Pair, runtime: RuntimeName): number[] {
  const bases = valuesOf(results, pair.base, runtime, pair.baseMeasure);
  return valuesOf(results, pair.cell, runtime, pair.measure).flatMap((value, round) => {
    const base = bases[round];
    return value === undefined || base === undefined ? [] : [value / base];
  });
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

/** Where it was measured. */
export function headOf({ machine }: Pick<Outcome, "machine">): string {
  const { cpu, cores, memoryGiB, kernel, fileSystem, loadBefore, runtimes } = machine;
  return [
    runtimes.join(", "),
    `${cores} x ${cpu}, ${memoryGiB} GiB, ${kernel}, data on ${fileSystem}, load before ${loadBefore.toFixed(1)}`,
  ].join("\n");
}

/** The table of ratios, and what failed. `hasGoals` adds a column: the goal, and where it was missed. */
export function reportOf(outcome: Outcome, { hasGoals = false } = {}): string {
  const { rows, results, runtimes, rounds, scale } = outcome;
  const tables = [...new Set(rows.map(({ workload }) => workload))].flatMap((workload) => {
    const lines = rows.filter((row) => row.workload === workload).map((row) => {
      const spreads = runtimes.map((runtime) => spreadOf(ratiosOf(results, row, runtime)));
      const goal = hasGoals ? [goalText(row, runtimes, spreads)] : [];
      return [row.title, row.beside, ...spreads.map(spreadText), ...goal];
    });
    const head = ["", "beside", ...runtimes.map(titleOf), ...hasGoals ? ["goal"] : []];
    return [`${workload}: ${TITLES[workload]}`, tableOf([head, ...lines])];
  });
  const of = `${rounds} round${rounds === 1 ? "" : "s"} at scale ${scale}`;
  const failed = failuresOf(results);
  return [
    `How many times as long Sluice takes for a record. Medians of ${of}; half of the rounds lie in the brackets`,
    ...tables,
    ...failed.length > 0 ? [["Failed:", ...failed].join("\n")] : [],
  ].join("\n\n");
}

function spreadText(spread: Spread | undefined): string {
  return spread === undefined ? "-" : `${format(spread.median)} (${format(spread.low)}-${format(spread.high)})`;
}

/** `1.15` if all runtimes have it, else with those that don't. */
function goalText(
  { goal, goalOn }: Row,
  runtimes: readonly RuntimeName[],
  spreads: readonly (Spread | undefined)[],
): string {
  if (goal === undefined) return "";
  const missed = runtimes.filter((name, i) => {
    return (goalOn?.includes(name) ?? true) && spreads[i] !== undefined && spreads[i].median > goal;
  });
  return missed.length === 0 ? `${goal}` : `${goal} (missed: ${missed.map(titleOf).join(", ")})`;
}

/** A line for each round that failed. */
export function failuresOf(results: readonly Result[]): string[] {
  return results.flatMap(({ cell, runtime, rounds }) =>
    rounds.flatMap((round, i) =>
      "error" in round ? [`- ${cellText(cell)}, ${titleOf(runtime)}, round ${i + 1}: ${round.error}`] : []
    )
  );
}

/** Every cell with every round, as JSON. */
export function jsonOf({ rows, results, ...rest }: Outcome): string {
  const cells = cellsOf(rows);
  const indexed = rows.map((row) => ({ ...row, cell: cells.indexOf(row.cell), base: cells.indexOf(row.base) }));
  const measured = results.map((result) => ({ ...result, cell: cells.indexOf(result.cell) }));
  return JSON.stringify({ ...rest, cells, rows: indexed, results: measured }, null, 1) + "\n";
}
