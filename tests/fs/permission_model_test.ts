/**
 * Node's permission model (`--permission`): a buffer says which flag is missing, and, where Node disables fsync under it, as Node 24
 * does, that no flag helps. Node 22.13 has the model without that, and a buffer works there.
 */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { currentRuntime, runtimeArgs } from "../support/children.ts";

const skip = currentRuntime().name !== "node" && "Node's permission model";
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Runs Node with its permission model: it may read this repository and `directory`, and write there. */
function run(directory: string, args: readonly string[]): string {
  const allowed = [root, directory].map((path) => `--allow-fs-read=${path}`);
  const flags = ["--permission", ...allowed, `--allow-fs-write=${directory}`];
  const { stdout, stderr } = spawnSync(process.execPath, [...runtimeArgs(), ...flags, ...args], { encoding: "utf8" });
  assertEquals(stderr, "");
  return stdout;
}

/** Whether this Node can sync under its permission model. */
function canSync(directory: string): boolean {
  const probe = `import * as fs from "node:fs";
    const descriptor = fs.openSync(process.argv[1] + "/probe", "w");
    try { fs.fsyncSync(descriptor); console.log("yes"); } catch (error) { console.log(error.code); }`;
  return run(directory, ["--input-type=module", "--eval", probe, directory]) === "yes\n";
}

test("under Node's permission model a buffer works, or says why not and what to do", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-permission-"));
  try {
    const elsewhere = join(tmpdir(), "sluice-elsewhere.wal");
    const syncs = canSync(directory);
    const output = run(directory, [
      fileURLToPath(new URL("permission_child.ts", import.meta.url)),
      directory,
      elsewhere,
    ]);
    const [always, never, sink, denied] = output.trimEnd().split("\n").map((line) => JSON.parse(line));
    for (const outcome of [always, never, sink]) {
      if (syncs) assertEquals(outcome, "ok");
      else {
        assertEquals([outcome.errno, outcome.flag], ["EACCES", undefined]);
        assertStringIncludes(outcome.operation, "sync");
        assertStringIncludes(outcome.message, "Node's permission model disables fsync");
        assertStringIncludes(outcome.message, "run Node without --permission");
      }
    }
    assertEquals([denied.errno, denied.flag], ["EACCES", `--allow-fs-read=${elsewhere}`]);
    assertStringIncludes(denied.message, `run again with --allow-fs-read=${elsewhere}`);
    assert(syncs || !readdirSync(directory).includes("out.ndjson.deliveries"));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
