/**
 * `restore` that is killed, loses the power or fails at each of its operations: the next one finishes it, and every record
 * comes once, whatever a program did with the buffer in between.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { SMALL } from "../support/damaged_logs.ts";
import { copyOf, DIRECTORY, drainLog } from "../support/logs.ts";
import { interruptedCase, restoreJson, runCli, runUntil } from "./tools.ts";

/** What a program does with the buffer in between. */
type Between = (log: MemoryFileSystem) => Promise<string[]>;

const BETWEEN: Readonly<Record<string, Between>> = {
  nothing: () => Promise.resolve([]),
  "a program that drains and puts": async (log) => {
    const { records } = await drainLog(log, SMALL);
    return records.map(({ value }) => value);
  },
};

async function assertOnce(
  log: MemoryFileSystem,
  between: Between,
  expected: readonly string[],
  note: string,
): Promise<void> {
  const delivered = await between(log);
  const said = await restoreJson(log);
  delivered.push(...(await drainLog(log, SMALL)).records.map(({ value }) => value));
  const values = delivered.filter((value) => value !== "one more").sort();
  assertEquals(values, expected, `${note}: ${JSON.stringify(said.finished)}`);
  assertEquals((await restoreJson(log, "--dry-run")).restoreRecords, 0, `${note}: something is left`);
}

for (const [what, between] of Object.entries(BETWEEN)) {
  test(`restore that is killed at any operation restores each record once, with ${what} in between`, async () => {
    const { log, expected } = await interruptedCase();
    for (let at = 0, isDone = false; !isDone; at++) {
      const died = await runUntil(log, ["restore", DIRECTORY], at, (dying) => dying.kill());
      isDone = died.isDone;
      if (isDone) assert(at > 60 && died.code === 0, `only ${at} operations`);
      await assertOnce(died.left, between, expected, `killed at operation ${at}`);
    }
  });
}

test("restore that loses the power at any operation restores each record once, whatever is done in between", async () => {
  const { log, expected } = await interruptedCase();
  for (let at = 0, isDone = false; !isDone; at++) {
    let seeds = 1;
    for (let i = 0; i < seeds; i++) {
      const seed = 100 * at + i;
      const died = await runUntil(log, ["restore", DIRECTORY], at, (dying, operation) => {
        // Of names, each may be kept or undone.
        if (operation === "rename" || operation === "syncDirectory") seeds = 12;
        return dying.crash({ seed });
      });
      isDone = died.isDone;
      const between = Object.values(BETWEEN)[seed % 2]!;
      await assertOnce(died.left, between, expected, `power cut at operation ${at}, seed ${seed}`);
    }
  }
});

test("restore that fails at any operation says so, and restores each record once the next time", async () => {
  const { log, expected } = await interruptedCase();
  for (const kind of ["fail", "after"] as const) {
    for (let at = 0, isDone = false; !isDone; at++) {
      isDone = true;
      const failing: MemoryFileSystem = copyOf(log).kill({
        onOperation({ index }) {
          if (index !== at) return;
          isDone = false;
          return { kind, errno: "EIO" };
        },
      });
      const { code, output, errors } = await runCli(failing, ["restore", DIRECTORY]);
      if (code !== 0) assert(code === 3 && output === "" && errors.endsWith("EIO\n"), `${at}: ${code} ${errors}`);
      await assertOnce(failing.kill(), BETWEEN["nothing"]!, expected, `EIO ${kind} at operation ${at}`);
    }
  }
});

test("restore says that an interrupted restore is going to be finished, and that it was", async () => {
  const { log } = await interruptedCase();
  const dying: MemoryFileSystem = copyOf(log).kill({
    onOperation({ operation, to }) {
      if (operation === "rename" && to!.endsWith(".wal")) dying.kill();
    },
  });
  await runCli(dying, ["restore", DIRECTORY]);
  const left = copyOf(dying);
  const foreseen = await restoreJson(left, "--dry-run");
  assertEquals(foreseen.finished.map(({ name }) => name), ["00000000000000000006.wal"]);
  assertEquals((await restoreJson(left)).finished.map(({ records }) => records), [5]);
});
