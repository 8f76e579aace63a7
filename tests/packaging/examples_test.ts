/**
 * The examples, as the programs that they are: child processes of this runtime, with the permissions that their head
 * comments ask for, judged by what they print and by their exit codes.
 */

import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { tortureNdjson } from "../sinks/ndjson_torture.ts";
import { type ChildOptions, type ChildResult, runChild } from "../support/children.ts";

/** For tests that start many processes: Bun's own limit is five seconds. */
const SLOW = { timeout: 120_000 };
const HERE_ONLY = ["--allow-read=.", "--allow-write=."];

/** Calls `use` with a new directory and removes it afterwards. */
async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "sluice-examples-")));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function runDemo(cwd: string, ...args: string[]): Promise<ChildResult> {
  return runChild("examples/file_buffer.ts", args, { cwd, permissions: HERE_ONLY });
}

function runNdjson(cwd: string, args: readonly string[], options: ChildOptions = {}): Promise<ChildResult> {
  return runChild("examples/ndjson.ts", ["--target", "out.ndjson", ...args], {
    cwd,
    permissions: HERE_ONLY,
    ...options,
  });
}

/** The lines of the target file `out.ndjson`, parsed. */
function readTarget(directory: string): Record<string, unknown>[] {
  return readFileSync(join(directory, "out.ndjson"), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
}

function assertSucceeded({ code, signal, stderr }: ChildResult): void {
  assertEquals({ code, signal, stderr }, { code: 0, signal: null, stderr: "" });
}

/** The lines of the demo that begin with `word`, without it. */
function linesOf(output: string, word: string): string[] {
  return output.split("\n").filter((line) => line.startsWith(word)).map((line) => line.slice(word.length).trim());
}

test("file_buffer.ts delivers 15 records once and in order over its relaunches", async () => {
  await inDirectory(async (directory) => {
    const result = await runDemo(directory, "--seed", "1");
    assertSucceeded(result);
    const { stdout } = result;
    const numbers = Array.from({ length: 15 }, (_, i) => i + 1);
    assertEquals(linesOf(stdout, "put "), numbers.map((n) => `record ${n}, sequence ${n}`));
    assertEquals(linesOf(stdout, "emit "), [1, 4, 7, 10, 13].map((n) => `batch ${n} to ${n + 2}`));
    assertEquals(linesOf(stdout, "            "), numbers.map((n) => `record ${n}`));
    const relaunches = linesOf(stdout, "relaunch ").length;
    assert(relaunches > 0, "no relaunch: choose another seed");
    assertStringIncludes(
      stdout,
      `15 puts, ${relaunches} relaunches, 5 batches, 15 records delivered, each once and in order`,
    );
    assertEquals(readdirSync(directory), [], "something was left behind");
  });
});

test("file_buffer.ts prints the same for the same seed, and something else for another", async () => {
  await inDirectory(async (directory) => {
    const outputs: string[] = [];
    for (const seed of ["5", "5", "6"]) {
      const { stdout } = await runDemo(directory, "--seed", seed);
      outputs.push(stdout.slice(stdout.indexOf("\n")));
    }
    assertEquals(outputs[0], outputs[1]);
    assert(outputs[0] !== outputs[2], "the seed makes no difference");
  });
});

test("file_buffer.ts says before each relaunch what was put and not committed", async () => {
  await inDirectory(async (directory) => {
    const { stdout } = await runDemo(directory, "--seed", "3", "--records", "40");
    let pending = 0;
    for (const line of stdout.split("\n")) {
      if (line.startsWith("put ")) pending++;
      else if (line.startsWith("emit ")) pending = 0;
      else if (line.startsWith("relaunch ")) assertMatch(line, new RegExp(`^relaunch +${pending} uncommitted`));
    }
  });
});

test("file_buffer.ts flushes the records that fill no batch", async () => {
  await inDirectory(async (directory) => {
    const result = await runDemo(directory, "--seed", "2", "--records", "4");
    assertSucceeded(result);
    const rest = result.stdout.slice(result.stdout.indexOf("\nflush\n"));
    assertEquals(linesOf(rest, "emit "), ["batch 4 to 4"]);
    assertStringIncludes(rest, "2 batches, 4 records delivered, each once and in order");
  });
});

test("file_buffer.ts goes on in a directory that it is given", async () => {
  await inDirectory(async (directory) => {
    assertSucceeded(await runDemo(directory, "--path", "kept", "--seed", "1"));
    assert(existsSync(join(directory, "kept")));
    const second = await runDemo(directory, "--path", "kept", "--seed", "1");
    assertSucceeded(second);
    assertEquals(linesOf(second.stdout, "put ")[0], "record 1, sequence 16");
  });
});

for (const fsync of ["always", "1000", "never"]) {
  test(`crash.ts loses nothing that was acknowledged, with fsync ${fsync}`, SLOW, async () => {
    await inDirectory(async (directory) => {
      const result = await runChild("examples/crash.ts", ["--rounds", "4", "--seed", "7", "--fsync", fsync], {
        cwd: directory,
        permissions: [...HERE_ONLY, "--allow-env", "--allow-run"],
      });
      assertSucceeded(result);
      const rounds = linesOf(result.stdout, "round ");
      assertEquals(rounds.length, 4);
      for (const round of rounds) {
        const [, acknowledged, delivered] = /killed after (\d+) .* (\d+) records delivered$/.exec(round) ?? [];
        assert(Number(acknowledged) > 0 && Number(delivered) >= Number(acknowledged), round);
      }
      assertStringIncludes(result.stdout, "every acknowledged one, once, in order");
      assertEquals(readdirSync(directory), [], "something was left behind");
    });
  });
}

test("producer.ts delivers each record once and in order to a target that fails", SLOW, async () => {
  const outputs: string[] = [];
  for (const seed of ["3", "3", "4"]) {
    await inDirectory(async (directory) => {
      const result = await runChild("examples/producer.ts", ["--seed", seed, "--fail-rate", "0.6"], {
        cwd: directory,
        permissions: [...HERE_ONLY, "--allow-net=127.0.0.1"],
      });
      assertSucceeded(result);
      const { stdout } = result;
      assertStringIncludes(stdout, "30 put, 30 stored, each once and in order\n");
      assertEquals(linesOf(stdout, "committed "), Array.from({ length: 6 }, () => "5 records"));
      const [, refused, duplicates] = /(\d+) refused, (\d+) duplicates skipped/.exec(stdout) ?? [];
      assert(Number(refused) > 0 && Number(duplicates) > 0, "nothing has failed: choose another seed");
      outputs.push(stdout.slice(stdout.lastIndexOf("committed")));
      assertEquals(readdirSync(directory), [], "something was left behind");
    });
  }
  assertEquals(outputs[0], outputs[1]);
  assert(outputs[0] !== outputs[2], "the seed makes no difference");
});

test("ndjson.ts ships standard input, skips blank lines and reports what is no JSON", async () => {
  await inDirectory(async (directory) => {
    const input = '{"n":1}\n\n[2]\r\nno json\n"\u2028 3"\nnull\n6';
    const result = await runNdjson(directory, ["--max-records", "2"], { input });
    assertEquals([result.code, result.stderr], [0, "line 4 is no JSON and was skipped\n"]);
    assertStringIncludes(result.stdout, "complete up to line 7; 3 batches written, 0 skipped");
    const rows = readTarget(directory);
    assertEquals(rows.filter((row) => "line" in row), [
      { line: 1, value: { n: 1 } },
      { line: 3, value: [2] },
      { line: 5, value: "\u2028 3" },
      { line: 6, value: null },
      { line: 7, value: 6 },
    ]);
    assertEquals(rows.filter((row) => "batch" in row).map(({ lines }) => lines), [2, 2, 1]);
  });
});

test("ndjson.ts adds only what is new when it is run again", async () => {
  await inDirectory(async (directory) => {
    const first = '{"n":1}\n{"n":2}\n';
    assertSucceeded(await runNdjson(directory, [], { input: first }));
    const before = readFileSync(join(directory, "out.ndjson"), "utf8");
    const same = await runNdjson(directory, [], { input: first });
    assertSucceeded(same);
    assertStringIncludes(same.stdout, "reading from line 3\n");
    assertEquals(readFileSync(join(directory, "out.ndjson"), "utf8"), before);
    assertSucceeded(await runNdjson(directory, [], { input: first + '{"n":3}\n' }));
    assertEquals(readTarget(directory).filter((row) => "line" in row).map(({ line }) => line), [1, 2, 3]);
  });
});

test("ndjson.ts cuts an unfinished batch off the target and keeps the rest", SLOW, async () => {
  await inDirectory(async (directory) => {
    assertSucceeded(await runNdjson(directory, ["--max-records", "1"], { input: "1\n2\n" }));
    const target = join(directory, "out.ndjson");
    const whole = readFileSync(target);
    for (const tail of ['{"batch":"x-3-4","lines":2}\n{"line":3,"value":3}\n', '{"batch":"x', "\0\0\n{}\n", "\xff"]) {
      writeFileSync(target, new Uint8Array([...whole, ...new TextEncoder().encode(tail)]));
      const result = await runNdjson(directory, [], { input: "1\n2\n" });
      assertSucceeded(result);
      const length = new TextEncoder().encode(tail).length;
      assertStringIncludes(result.stdout, `2 batches, ${length} bytes of an unfinished one cut`);
      assertEquals(new Uint8Array(readFileSync(target)), new Uint8Array(whole));
    }
  });
});

test("ndjson.ts fails with the reason when the input can't be read, and with a wrong option", async () => {
  await inDirectory(async (directory) => {
    const missing = await runNdjson(directory, ["--input", "missing.ndjson"]);
    assertEquals(missing.code, 1);
    assertMatch(missing.stderr, /ENOENT|NotFound/);
    const wrong = await runNdjson(directory, ["--fail-rate", "2"]);
    assertEquals(wrong.code, 1);
    assertStringIncludes(wrong.stderr, "--fail-rate");
  });
});

test("ndjson.ts killed again and again has every line in the target, doubled only as whole batches", SLOW, async () => {
  const seed = 11;
  console.log(`seed ${seed}`);
  const report = await tortureNdjson({ lines: 5000, kills: 5, seed });
  assertMatch(report.lastLine, /^done: the target is complete up to line 4999; /);
  assert(report.resumes > 0, "no start went on in mid-input");
  assert(report.duplicates > 0, "no answer was lost, which the failure rate makes next to impossible");
});

test(
  "ndjson.ts killed again and again has every line exactly once when the target skips known batches",
  SLOW,
  async () => {
    const seed = 12;
    console.log(`seed ${seed}`);
    const report = await tortureNdjson({ lines: 5000, kills: 5, seed, dedupe: true });
    assertEquals(report.duplicates, 0);
    assert(report.resumes > 0, "no start went on in mid-input");
  },
);
