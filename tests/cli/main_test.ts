/**
 * The program itself, as a process on this runtime: its exit codes, its streams, its signals, and what it may do.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { InterruptedError, interruptingSignals } from "../../src/cli/shared/terminal.ts";
import { VERSION } from "../../src/cli/shared/version.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { type ChildOptions, type ChildResult, currentRuntime, runChild, startChild } from "../support/children.ts";
import { makeBase } from "../support/damaged_logs.ts";
import { read } from "./reading.ts";

const PROGRAM = "src/cli/sluice.ts";
const { name: runtime } = currentRuntime();
const RECORDS = 300;
const SLOW = { timeout: 120_000 };
const directory = mkdtempSync(join(tmpdir(), "sluice-cli-"));
const path = join(directory, "buffer");

after(() => rmSync(directory, { recursive: true }));

/** Runs the program; on Deno with leave to read, and nothing else. */
function run(args: readonly string[], options: ChildOptions = {}): Promise<ChildResult> {
  return runChild(PROGRAM, args, { permissions: ["-R"], ...options });
}

/** A log of records of 100 kB: more of them than can be on their way at once. */
async function makeLarge(): Promise<void> {
  const buffer = await FileBuffer.open<string>({ path, fsync: "never" });
  for (let i = 0; i < RECORDS; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
}

await makeLarge();

/** Every file of the log, by name. */
function files(): Record<string, Uint8Array> {
  return Object.fromEntries(readdirSync(path).map((name) => [name, new Uint8Array(readFileSync(join(path, name)))]));
}

test("the program reads with leave to read and nothing else, and changes no byte", SLOW, async () => {
  const before = files();
  const [inspected, verified, dumped] = await Promise.all([
    run(["inspect", path, "--json"]),
    run(["verify", path]),
    run(["dump", path]),
  ]);
  assertEquals([inspected.code, inspected.stderr], [0, ""]);
  assertEquals(JSON.parse(inspected.stdout).pending.records, RECORDS);
  assertEquals([verified.code, verified.stderr], [0, ""]);
  assertStringIncludes(verified.stdout, "verdict   sound\n");
  assertEquals([dumped.code, dumped.stderr], [0, ""]);
  assertEquals(dumped.stdout.length, RECORDS * 100_003);
  assertEquals(files(), before);
});

test("the program ends quietly, with 141, when nobody reads any more", SLOW, async () => {
  const child = startChild(PROGRAM, ["dump", path], { permissions: ["-R"] });
  let errors = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => errors += text);
  child.stdout!.once("data", () => child.stdout!.destroy());
  const code = await new Promise((resolve) => child.on("close", resolve));
  assertEquals([code, errors], [141, ""]);
});

test("the program ends in order also at Ctrl+Break and when the console is closed, on Windows", () => {
  assertEquals(interruptingSignals("win32"), ["SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"]);
  // Elsewhere closing the terminal ends it, by the system's default; and SIGBREAK isn't known.
  for (const platform of ["linux", "darwin"]) assertEquals(interruptingSignals(platform), ["SIGINT", "SIGTERM"]);
  const codes = interruptingSignals("win32").map((signal) => new InterruptedError(signal).exitCode);
  assertEquals(codes, [130, 143, 149, 129]);
});

test("the program ends with 130 at Ctrl+C, also when it waits for a reader, and 143 at SIGTERM", SLOW, async () => {
  // Windows has no signals between processes: there each of them ends a process at once.
  if (process.platform === "win32") return;
  for (const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    const child = startChild(PROGRAM, ["dump", path], { permissions: ["-R"] });
    // A chunk is taken, and then nobody reads for a while.
    await new Promise<void>((resolve) =>
      child.stdout!.once("data", () => {
        child.stdout!.pause();
        resolve();
      })
    );
    // Deno reports a process that it sent a signal to as ended by it, whatever its exit code.
    process.kill(child.pid!, signal);
    const ended = new Promise((resolve) => child.on("close", resolve));
    // What is on its way is still read.
    child.stdout!.resume();
    assertEquals(await ended, expected, signal);
  }
});

test("the program says what is wrong in one line, and by its exit code", SLOW, async () => {
  const [missing, usage, nothing] = await Promise.all([
    run(["verify", join(directory, "nowhere")]),
    run(["verfy", path]),
    run([]),
  ]);
  assertEquals([missing.code, missing.stdout], [3, ""]);
  assertEquals(missing.stderr, `sluice: Cannot read "${join(directory, "nowhere")}": there is no such directory\n`);
  assertEquals([usage.code, usage.stdout], [2, ""]);
  assertEquals(usage.stderr, "sluice: Cannot run verfy: there is no such command, did you mean verify?\n");
  assertEquals([nothing.code, nothing.stdout], [2, ""]);
  assertEquals(nothing.stderr, "sluice: Cannot run: no command is given, see --help\n");
});

test("the program names Deno's flag when it may not read", { ...SLOW, skip: runtime !== "deno" }, async () => {
  const { code, stdout, stderr } = await run(["inspect", path], { permissions: ["--allow-read=/nowhere"] });
  assertEquals([code, stdout], [3, ""]);
  assertStringIncludes(stderr, `run again with --allow-read=${path}`);
  assertEquals(stderr.split("\n").length, 2);
});

test("the program runs under a name that is a link, too", { ...SLOW, skip: process.platform === "win32" }, async () => {
  const link = join(directory, "sluice.ts");
  symlinkSync(fileURLToPath(new URL(`../../${PROGRAM}`, import.meta.url)), link);
  const { code, stdout, stderr } = await runChild(new URL(`file://${link}`), ["--version"], { permissions: ["-R"] });
  // Deno and Bun resolve what it imports beside the link, where nothing is.
  if (runtime === "node") assertEquals([code, stdout, stderr], [0, `sluice ${VERSION} (format 2)\n`, ""]);
});

test("--version says what deno.json does", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../deno.json", import.meta.url), "utf8"));
  assertEquals(VERSION, version);
  const { code, output } = await read(new MemoryFileSystem(), ["--version"]);
  assertEquals([code, output], [0, `sluice ${version} (format 2)\n`]);
});

test("every command has a help with its options, and is in the overview", async () => {
  const { fileSystem } = await makeBase();
  const { output } = await read(fileSystem, ["--help"]);
  const [, listed] = /Commands:\n([^]*?)\n\n/.exec(output)!;
  const names = listed!.split("\n").flatMap((line) => /^ {2}(\w+)/.exec(line)?.[1] ?? []);
  assert(names.length >= 3, output);
  for (const name of names) {
    for (const args of [[name, "--help"], [name, "/buffer", "-h"], ["help", name], ["--help", name]]) {
      const help = await read(fileSystem, args);
      assertEquals([help.code, help.errors], [0, ""], args.join(" "));
      assertStringIncludes(help.output, `Usage: sluice ${name} `);
      assertStringIncludes(help.output, "--json");
    }
  }
});
