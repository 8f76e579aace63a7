/**
 * `ship --to FILE` while the file is rotated: by renaming, by truncating, at SIGHUP, and between two runs. Each line is once in one
 * of the files.
 */

import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, realpathSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { startChild } from "../support/children.ts";
import { delivered, Feed, inputOf, newDisk, Run, ship, TO_FILE } from "./ship_tools.ts";

const AT_ONCE = [...TO_FILE, "--max-records", "1"];
const text = (fileSystem: MemoryFileSystem, path: string) => new TextDecoder().decode(fileSystem.readFile(path));

function truncate(fileSystem: MemoryFileSystem): void {
  const handle = fileSystem.open("/out/lines", "write");
  handle.truncate(0);
  handle.close();
}

test("ship goes on in a new file when its file is renamed or removed, and at the new end when it is truncated", async () => {
  const fileSystem = newDisk();
  const feed = new Feed().push("1\n2\n");
  const run = new Run(AT_ONCE, { fileSystem, input: feed });
  await run.pass();
  fileSystem.rename("/out/lines", "/out/lines.1");
  feed.push("3\n");
  await run.pass();
  assertEquals([text(fileSystem, "/out/lines.1"), delivered(fileSystem)], ["1\n2\n", "3\n"]);
  fileSystem.remove("/out/lines");
  feed.push("4\n");
  await run.pass();
  assertEquals(delivered(fileSystem), "4\n");
  truncate(fileSystem);
  feed.push("5\n").end();
  assertEquals([await run.end(), delivered(fileSystem)], [0, "5\n"]);
});

test("ship starts again after its file was renamed, also if an empty one was made", async () => {
  const fileSystem = newDisk();
  await ship(AT_ONCE, { fileSystem, input: inputOf("1\n") });
  fileSystem.rename("/out/lines", "/out/lines.1");
  fileSystem.open("/out/lines", "create").close();
  assertEquals((await ship(AT_ONCE, { fileSystem, input: inputOf("2\n") })).code, 0);
  fileSystem.rename("/out/lines", "/out/lines.2");
  assertEquals((await ship(AT_ONCE, { fileSystem, input: inputOf("3\n") })).code, 0);
  assertEquals(["/out/lines.1", "/out/lines.2", "/out/lines"].map((path) => text(fileSystem, path)), [
    "1\n",
    "2\n",
    "3\n",
  ]);
});

test("ship makes the new file at SIGHUP, and has nobody told of it once it has ended", async () => {
  const fileSystem = newDisk();
  const feed = new Feed().push("1\n");
  const run = new Run(AT_ONCE, { fileSystem, input: feed });
  await run.pass();
  fileSystem.rename("/out/lines", "/out/lines.1");
  run.hangUp();
  await run.pass();
  assertEquals(delivered(fileSystem), "");
  run.hangUp();
  feed.push("2\n").end();
  assertEquals(await run.end(), 0);
  assertEquals([text(fileSystem, "/out/lines.1"), delivered(fileSystem), run.hangups.size], ["1\n", "2\n", 0]);
  // Another target has no file: there the signal ends the process, as it always did.
  const other = new Run(["/wal", "--to", "-"], { fileSystem, input: new Feed() });
  await other.pass();
  assertEquals(other.hangups.size, 0);
  other.interrupt("SIGTERM");
  await other.end();
});

test(
  "ship lives through SIGHUP, and has each line once in one of the files",
  { timeout: 120_000, skip: process.platform === "win32" && "there is no SIGHUP" },
  async () => {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), "sluice-ship-")));
    try {
      const out = join(directory, "out");
      const args = ["ship", join(directory, "wal"), "--to", out, "--max-records", "1", "--json"];
      const permissions = [`--allow-read=${directory}`, `--allow-write=${directory}`];
      const child = startChild("src/cli/sluice.ts", args, { permissions });
      const closed = once(child, "close");
      let errors = "";
      child.stderr!.setEncoding("utf8").on("data", (text: string) => errors += text);
      const until = async (said: string) => {
        while (!errors.includes(said) && child.exitCode === null && child.signalCode === null) {
          await Promise.race([once(child.stderr!, "data"), closed]);
        }
      };
      child.stdin!.on("error", () => {}).write("1\n2\n");
      await until('"delivered":2');
      renameSync(out, `${out}.1`);
      process.kill(child.pid!, "SIGHUP");
      child.stdin!.write("3\n");
      await until('"delivered":3');
      child.stdin!.end("4\n");
      assertEquals(await closed, [0, null], errors);
      assertEquals([readFileSync(`${out}.1`, "utf8"), readFileSync(out, "utf8")], ["1\n2\n", "3\n4\n"]);
      assertEquals(existsSync(`${out}.deliveries.new`), false);
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
