/**
 * The benchmark's report: ratios of the same round and runtime, their median and quartiles, goals; and the rows that it has.
 */

import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Round } from "./cells.ts";
import { chartOf } from "./chart.ts";
import { spreadOf } from "./measures.ts";
import { type Outcome, ratiosOf, reportOf, type Result } from "./report.ts";
import { cellsOf, GROUPS, rowsIn, TITLES, WORKLOADS } from "./rows.ts";

const machine = {
  cpu: "a processor",
  cores: 2,
  memoryGiB: 4,
  kernel: "a kernel",
  fileSystem: "ext4",
  loadBefore: 0,
  runtimes: ["Deno 2", "Node 24"],
};

/** All rows, with the same rounds for each cell of our own, and the same for all others. */
function outcomeOf(ours: readonly Round[], others: readonly Round[]): Outcome {
  const rows = GROUPS.flat();
  const results = cellsOf(rows).flatMap((cell) =>
    (["deno", "node"] as const).map((runtime): Result => {
      return { cell, runtime, rounds: cell.contender === "ours" ? ours : others };
    })
  );
  return { machine, rounds: ours.length, scale: 1, runtimes: ["deno", "node"], rows, results };
}

test("spreadOf() gives the median and the quartiles, between two values in proportion", () => {
  assertEquals(spreadOf([4, 1, 9, 2]), { low: 1.75, median: 3, high: 5.25 });
  assertEquals(spreadOf([5, 1, 3, 2, 4]), { low: 2, median: 3, high: 4 });
  assertEquals(spreadOf([7]), { low: 7, median: 7, high: 7 });
  assertEquals(spreadOf([]), undefined);
});

test("ratiosOf() divides measures of the same round, and leaves out rounds that lack one", () => {
  const ours: Round[] = [{ us: 10 }, { us: 30 }, { error: "it broke" }, { us: 50 }, {}];
  const others: Round[] = [{ us: 5 }, { us: 10 }, { us: 1 }, { error: "it broke" }, { us: 1 }];
  const { results, rows } = outcomeOf(ours, others);
  const row = rows.find(({ workload }) => workload === "W1")!;
  assertEquals(ratiosOf(results, row, "deno"), [2, 3]);
  assertEquals(ratiosOf(results.filter(({ cell }) => cell === row.cell), row, "deno"), []);
});

test("ratiosOf() divides what the row names: of the slowest batch by that of the median one", () => {
  const { results, rows } = outcomeOf([{ us: 1, batchMs: 2, slowestMs: 12 }], []);
  const row = rows.find(({ workload }) => workload === "W6")!;
  assertEquals(ratiosOf(results, row, "node"), [6]);
});

test("reportOf() shows the median with its quartiles, goals and where they are missed, and what failed", () => {
  const ours = [12, 10, 16, 14, { error: "it broke" }].map((us) => typeof us === "number" ? { us } : us);
  const outcome = outcomeOf(ours, ours.map(() => ({ us: 10 })));
  const text = reportOf(outcome, { hasGoals: true });
  assertMatch(text, /^How many times as long Sluice takes for a record\. Medians of 5 rounds at scale 1;/);
  assertMatch(
    text,
    /\| 120 B +\| +JSON lines \| 1\.30 \(1\.15-1\.45\) \| 1\.30 \(1\.15-1\.45\) \| 1\.15 \(missed: Deno, Node\) \|/,
  );
  // On Node there is no goal for larger records.
  assertMatch(text, /\| 16 KiB \| JSON lines \|.*\| +1 \(missed: Deno\) \|/);
  assertMatch(text, /\| batches of 1,000 \| its own put \| 1\.00 .*\| +1\.3 \|/);
  assertMatch(text, /\nFailed:\n- ours: put 120 B, batches of 1000, Deno, round 5: it broke\n/);
  assertEquals(reportOf(outcome).includes("missed"), false);
});

test("every workload has a row, every row compares two cells or two measures, and no row is there twice", () => {
  assertEquals(rowsIn(WORKLOADS).length, GROUPS.flat().length);
  for (const workload of WORKLOADS) assert(rowsIn([workload]).length > 0, TITLES[workload]);
  for (const row of rowsIn(WORKLOADS)) assert(row.cell !== row.base || row.measure !== row.baseMeasure, row.title);
  const names = GROUPS.flat().map(({ workload, title, beside }) => `${workload} ${title} beside ${beside}`);
  assertEquals(new Set(names).size, names.length);
});

test("cells of a group that do the same are one cell", () => {
  for (const group of GROUPS) {
    const cells = cellsOf(group).map((cell) => JSON.stringify(cell));
    assertEquals(new Set(cells).size, cells.length, group[0]!.title);
  }
});

test("chartOf() has a bar for each contender, runtime and panel, as long as its ratio to the bare call", () => {
  const { rows, results, ...rest } = outcomeOf([{ us: 30 }], [{ us: 60 }]);
  const raw = results.map((result) => result.cell.contender === "raw" ? { ...result, rounds: [{ us: 20 }] } : result);
  const svg = chartOf({ ...rest, rows, results: raw });
  assertEquals(svg.match(/<title>Sluice, fsync never or always, (Deno|Node): 1\.50<\/title>/g)?.length, 8);
  assertEquals(svg.match(/<title>JSON lines by hand, (Deno|Node): 3\.00<\/title>/g)?.length, 8);
  assertEquals(svg.match(/<title>SQLite in WAL mode, [^:]*: 3\.00<\/title>/g)?.length, 8);
  assertStringIncludes(svg, "Deno 2, Node 24; 2 x a processor");
});
