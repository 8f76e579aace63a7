/**
 * How fast `verify` and `dump` read a log, beside a plain read of the same files: `deno task bench:cli`, or this file on any
 * runtime.
 *
 * Each runtime makes a log of its own and reads it in turns: the files as they are, in chunks of the same size as the
 * commands use and without looking at a byte; then with each command, whose output is counted and thrown away. All in
 * one process and in the page cache, so that what is measured is the commands' own work. The median of the rounds counts;
 * what comes out of `dump` is checked by its length.
 *
 * - `--megabytes N`: size of the log (200)
 * - `--rounds N`: how often everything is done (5)
 * - `--bytes N`: length of a record, about (100)
 */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { systemClock } from "../../src/base/clock.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { main } from "../../src/cli/main.ts";
import type { CommandContext, Output } from "../../src/cli/shared/command.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { availableRuntimes, currentRuntime, runChild } from "../support/children.ts";

const CHUNK_BYTES = 256 * 1024;
const MEGABYTE = 1_000_000;

const { values: options } = parseArgs({
  options: {
    megabytes: { type: "string", default: "200" },
    rounds: { type: "string", default: "5" },
    bytes: { type: "string", default: "100" },
    here: { type: "boolean", default: false },
  },
});

/** Writes a log of about so many megabytes; returns how many bytes `dump` must write. */
async function makeLog(path: string): Promise<number> {
  const buffer = await FileBuffer.open<{ n: number; text: string }>({ path, fsync: "never", maxBacklogBytes: 2 ** 40 });
  const text = "x".repeat(Math.max(0, Number(options.bytes) - 22));
  let outputBytes = 0;
  for (let n = 1_000_000; buffer.stats().diskBytes < Number(options.megabytes) * MEGABYTE; n += 100) {
    const records = Array.from({ length: 100 }, (_, i) => ({ n: n + i, text }));
    await buffer.putMany(records);
    outputBytes += records.reduce((sum, record) => sum + JSON.stringify(record).length + 1, 0);
  }
  await buffer.close();
  return outputBytes;
}

/** Reads all segments, and does nothing with them. */
function readPlain(fileSystem: FileSystem, path: string): number {
  const chunk = new Uint8Array(CHUNK_BYTES);
  let bytes = 0;
  for (const name of readdirSync(path).filter((name) => name.endsWith(".wal"))) {
    const handle = fileSystem.open(join(path, name), "read");
    for (let at = 0, length = -1; length !== 0; at += length) bytes += length = handle.read(chunk, at);
    handle.close();
  }
  return bytes;
}

/** Runs a command, and returns how many bytes it wrote. */
async function run(fileSystem: FileSystem, args: readonly string[]): Promise<number> {
  let bytes = 0;
  const output: Output = {
    columns: undefined,
    write: (data) => {
      bytes += data.length;
      return Promise.resolve();
    },
  };
  const input = (async function* () {})();
  const { signal } = new AbortController();
  const context: CommandContext = { fileSystem, clock: systemClock, input, output, errors: output, signal };
  const code = await main(args, context);
  if (code !== 0) throw new Error(`sluice ${args.join(" ")} ended with ${code}`);
  return bytes;
}

function medianOf(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}

/** Measures on this runtime, and prints a line a case. */
async function measureHere(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-cli-"));
  const path = join(directory, "buffer");
  try {
    const fileSystem = await detectFileSystem();
    const dumped = await makeLog(path);
    const cases: readonly (readonly [name: string, body: () => number | Promise<number>, outputBytes?: number])[] = [
      ["plain read", () => readPlain(fileSystem, path)],
      ["verify", () => run(fileSystem, ["verify", path])],
      ["dump", () => run(fileSystem, ["dump", path]), dumped],
      ["dump --meta", () => run(fileSystem, ["dump", path, "--meta"])],
      ["dump --format=raw", () => run(fileSystem, ["dump", path, "--format=raw"])],
      ["dump --format=base64", () => run(fileSystem, ["dump", path, "--format=base64"])],
    ];
    const times = cases.map((): number[] => []);
    const logBytes = readPlain(fileSystem, path);
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const [i, [name, body, expected]] of cases.entries()) {
        const startedAt = performance.now();
        const bytes = await body();
        times[i]!.push(performance.now() - startedAt);
        if (expected !== undefined && bytes !== expected) throw new Error(`${name}: ${bytes} bytes, not ${expected}`);
      }
    }
    const plainMs = medianOf(times[0]!);
    console.log(`${currentRuntime().name}, ${Math.round(logBytes / MEGABYTE)} MB, records of ${options.bytes} bytes`);
    for (const [i, [name]] of cases.entries()) {
      const ms = medianOf(times[i]!);
      const rate = String(Math.round(logBytes / MEGABYTE / (ms / 1000))).padStart(6);
      console.log(`  ${name.padEnd(22)}${rate} MB/s  ${(ms / plainMs).toFixed(1).padStart(5)} times the plain read`);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (options.here) {
  await measureHere();
} else {
  const { megabytes, rounds, bytes } = options;
  const args = ["--here", "--megabytes", megabytes, "--rounds", rounds, "--bytes", bytes];
  for (const runtime of availableRuntimes()) {
    const { code, stdout, stderr } = await runChild("tests/bench/cli.ts", args, { runtime, timeoutMs: 600_000 });
    process.stdout.write(stdout + stderr);
    if (code !== 0) process.exitCode = 1;
  }
}
