/**
 * The benchmark's cells: each of our own measures something, and what the measured package hasn't got is skipped.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assertEquals, assertGreater } from "@std/assert";
import { runChild } from "../support/children.ts";
import type { Task } from "./cells.ts";
import { type Measures, told } from "./measures.ts";
import { type Cell, cellsOf, cellText, rowsIn } from "./rows.ts";

const MODULE = new URL("../../mod.ts", import.meta.url).href;

async function run(cell: Cell, module: string): Promise<Measures | undefined> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-cell-"));
  try {
    const task: Task = { cell, isFilling: false, targetMs: 1, records: 2000, processes: 1, module, directory };
    const start = (isFilling: boolean) => runChild("tests/bench/worker.ts", [JSON.stringify({ ...task, isFilling })]);
    if (cell.work === "backlog") assertEquals((await start(true)).signal, "SIGKILL");
    const { stdout, stderr, code } = await start(false);
    assertEquals([code, stderr], [0, ""]);
    return told(stdout);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One cell for each thing that we do. */
const cells = cellsOf(rowsIn(["W1", "W1s", "W3", "W4", "W5", "send"])).filter((cell, i, all) => {
  const isSame = (one: Cell) => one.work === cell.work && one.contender === cell.contender;
  return (cell.contender === "ours" || cell.contender === "memory") && all.findIndex(isSame) === i;
});

for (const cell of cells) {
  test(`a cell measures ${cellText(cell)}`, async () => assertGreater((await run(cell, MODULE))!["us"], 0));
}

test("a cell tells nothing of a method that an older version hasn't got", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-older-"));
  const older = join(directory, "older.ts");
  writeFileSync(
    older,
    `import { FileBuffer } from ${JSON.stringify(MODULE)};
    FileBuffer.prototype.putSync = undefined;
    export { FileBuffer };\n`,
  );
  const cell = cells.find(({ work }) => work === "put-sync")!;
  assertEquals(await run(cell, pathToFileURL(older).href), {});
  rmSync(directory, { recursive: true });
});
