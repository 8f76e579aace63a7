/**
 * Buffers between processes, and between runtimes where there are others: killed in the middle, opened twice, written
 * by one and read by another, left alone. No process may say anything on standard error.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertGreater, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import { type Batch, BufferLockedError, FileBuffer } from "../../mod.ts";
import {
  availableRuntimes,
  currentRuntime,
  runChild,
  type Runtime,
  runtimeArgs,
  startChild,
} from "../support/children.ts";

const PROGRAM = "tests/buffer/child.ts";
/** A program that doesn't end by itself is ended, and the test fails. */
const MAX_MS = 20_000;

async function withDirectory(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-processes-"));
  try {
    await body(join(directory, "buffer"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Runs the program to its end, which must be a good one, and gives the lines that it printed. */
async function run(
  args: readonly string[],
  options: { runtime?: Runtime; permissions?: readonly string[] } = {},
): Promise<string[]> {
  const { code, signal, stdout, stderr } = await runChild(PROGRAM, args, { timeoutMs: MAX_MS, ...options });
  const where = `${options.runtime?.name ?? "this runtime"}: ${args.join(" ")}`;
  assertEquals([stderr, code, signal], ["", 0, null], where);
  return stdout.trimEnd().split("\n");
}

/** A program that is running. */
interface Running {
  readonly child: ChildProcess;
  /** The whole lines printed so far. */
  readonly lines: readonly string[];
  /** Resolves when so many lines were printed. */
  until(count: number): Promise<void>;
  /** Ends it, by a signal or by the end of its input, and waits until it is gone. */
  end(signal?: "SIGKILL"): Promise<void>;
}

function start(args: readonly string[], runtime: Runtime): Running {
  const child = startChild(PROGRAM, args, { runtime });
  const lines: string[] = [];
  let rest = "";
  let errors = "";
  let wake = () => {};
  const closed = once(child, "close").finally(() => wake());
  child.stderr!.setEncoding("utf8").on("data", (text: string) => errors += text);
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    lines.push(...parts);
    wake();
  });
  return {
    child,
    lines,
    async until(count) {
      while (lines.length < count) {
        assertEquals([child.exitCode, child.signalCode, errors], [null, null, ""], `${runtime.name} ended early`);
        await new Promise<void>((resolve) => wake = resolve);
      }
    },
    async end(signal) {
      if (signal !== undefined) child.kill(signal);
      else child.stdin!.end();
      await closed;
      assertEquals(errors, "", runtime.name);
    },
  };
}

/** What the killed program has acknowledged must be there, once, in order; what it had in flight, under the same id. */
async function checkAfterKill(path: string, lines: readonly string[]): Promise<void> {
  const last = (word: string): string | undefined => lines.findLast((line) => line.startsWith(word))?.split(" ")[1];
  const acknowledged = Number(last("ack"));
  const committed = Number(last("commit") ?? 0);
  const buffer = await FileBuffer.open<{ n: number }>({ path, maxRecords: 3 });
  assertEquals([buffer.recovery.damaged.length, buffer.recovery.cursorLost], [0, false]);
  const batches: Batch<{ n: number }>[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batches.push(batch);
    await buffer.commit(batch);
  }
  await buffer.close();
  const [oldest] = batches;
  // The commit of the last batch may have been done and not been told.
  const emitted = last("batch");
  const isTold = emitted === undefined || oldest.firstSequence === committed + 1;
  assert(isTold || emitted!.endsWith(`-${oldest.firstSequence - 1}`), `${oldest.id} after ${emitted}`);
  if (oldest.redelivered && emitted?.split("-").at(-2) === `${oldest.firstSequence}`) assertEquals(oldest.id, emitted);
  const records = batches.flatMap((batch) => batch.records.map(({ n }, i) => [batch.firstSequence + i, n]));
  const from = oldest.firstSequence;
  assertEquals(records, records.map((_, i) => [from + i, from + i]));
  assertGreater(from + records.length, acknowledged);
}

for (const runtime of availableRuntimes()) {
  const settings = runtime.name === currentRuntime().name ? ["always", "1000", "never"] : ["1000"];
  for (const fsync of settings) {
    test(`FileBuffer.open() finds all acknowledged records when a ${runtime.name} process with fsync ${fsync} is killed`, async () => {
      await withDirectory(async (path) => {
        const running = start(["put", path, fsync], runtime);
        await running.until(300);
        await running.end("SIGKILL");
        await checkAfterKill(path, running.lines);
      });
    });
  }

  test(`FileBuffer.open() rejects while a ${runtime.name} process has it open, and succeeds right after kill -9`, async () => {
    await withDirectory(async (path) => {
      const holder = start(["hold", path], runtime);
      await holder.until(1);
      const error = await assertRejects(() => FileBuffer.open({ path }), BufferLockedError);
      assertEquals([error.path, error.owner?.pid, error.owner?.runtime], [path, holder.child.pid, runtime.name]);
      assertMatch(error.owner!.openedAt, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      await holder.end("SIGKILL");
      const buffer = await FileBuffer.open({ path });
      await buffer.close();
    });
  });

  test(`FileBuffer.open() in a ${runtime.name} process rejects while this one has it open, and not after close()`, async () => {
    await withDirectory(async (path) => {
      const buffer = await FileBuffer.open({ path });
      const [line] = await run(["open", path], { runtime });
      const { code, owner } = JSON.parse(line);
      assertEquals([code, owner.pid, owner.runtime], ["BUFFER_LOCKED", process.pid, currentRuntime().name]);
      assertEquals(await buffer.put("still ours"), 1);
      await buffer.close();
      assertEquals(await run(["open", path], { runtime }), ["opened"]);
    });
  });

  test(`FileBuffer.emit() gives the same batch on every runtime when a ${runtime.name} process has written it`, async () => {
    await withDirectory(async (path) => {
      const [id] = await run(["write", path], { runtime });
      const readers = availableRuntimes();
      for (const reader of readers.length === 1 ? readers : readers.filter(({ name }) => name !== runtime.name)) {
        assertEquals(await run(["read", path], { runtime: reader }), [`${id} true true 8`], reader.name);
      }
    });
  });
}

// What a process does for itself, each runtime in its own run of these tests.

const current = currentRuntime();

test(`FileBuffer doesn't keep a ${current.name} process alive, and an unfinished interval costs nothing`, async () => {
  await withDirectory(async (path) => {
    assertEquals(await run(["leave", path], { runtime: current }), ["1"]);
    const buffer = await FileBuffer.open<string>({ path });
    assertEquals((await buffer.emit()).records, ["a"]);
    await buffer.close();
  });
});

test(`FileBuffer.batches() keeps a ${current.name} process alive until the batch is old enough`, async () => {
  await withDirectory(async (path) => {
    assertEquals(await run(["age", path], { runtime: current }), ["old enough"]);
  });
});

test(`FileBuffer makes a ${current.name} process say nothing on standard error`, async () => {
  await withDirectory(async (path) => {
    const { code, stdout, stderr } = await runPlainly(current, ["-A"], ["all", path]);
    assertEquals([stderr, stdout, code], ["", "13\n", 0]);
  });
});

/** Runs the program without the switches that keep a runtime from asking and warning. */
async function runPlainly(
  runtime: Runtime,
  permissions: readonly string[],
  args: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const switches = runtimeArgs(runtime, permissions)
    .filter((arg) => !["--quiet", "--no-prompt", "--disable-warning=ExperimentalWarning"].includes(arg));
  const program = fileURLToPath(new URL(`../../${PROGRAM}`, import.meta.url));
  const child = spawn(runtime.command, [...switches, program, ...args], { stdio: "pipe", timeout: MAX_MS });
  child.stdin.end();
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text);
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text);
  const [code] = await once(child, "close");
  // Node up to 22.17 says so about this repository's TypeScript, not about the package.
  const aboutTypes = /^.*ExperimentalWarning: Type Stripping is.*\n\(Use `node --trace-warnings.*\n/gm;
  return { code, stdout, stderr: stderr.replaceAll(aboutTypes, "") };
}

if (current.name === "deno") {
  test("FileBuffer needs nothing but --allow-read=DIR --allow-write=DIR on Deno, and asks for nothing", async () => {
    await withDirectory(async (path) => {
      const parent = join(path, "..");
      // The directory itself, which isn't there yet; the same again; one above it, with a path below that isn't there.
      for (const [allowed, used] of [[path, path], [path, path], [parent, join(parent, "a", "b")]]) {
        const plain = await runPlainly(current, [`--allow-read=${allowed}`, `--allow-write=${allowed}`], ["all", used]);
        assertEquals(plain, { stderr: "", stdout: "13\n", code: 0 });
      }
      const permissions = [`--allow-read=${path}`, `--allow-write=${path}`];
      assertEquals(await run(["all", path], { runtime: current, permissions }), ["13"], "with --no-prompt");
    });
  });

  test("FileBuffer.open() rejects with PermissionError, which names the flag, when Deno's sandbox refuses", async () => {
    await withDirectory(async (path) => {
      const rows: readonly (readonly [readonly string[], RegExp])[] = [
        // Without any flag Deno's own `spawn()` would grant everything.
        [["--allow-env=NOTHING"], /^--allow-read\b/],
        [[`--allow-read=${path}`], /^--allow-write\b/],
        [[`--allow-write=${path}`], /^--allow-read\b/],
        [["--allow-read=/nowhere", "--allow-write=/nowhere"], /^--allow-read\b/],
      ];
      for (const [permissions, flag] of rows) {
        const [line] = await run(["open", path], { runtime: current, permissions });
        const error = JSON.parse(line);
        assertEquals([error.name, error.code], ["PermissionError", "PERMISSION"], permissions.join(" "));
        assertMatch(error.flag, flag, permissions.join(" "));
      }
    });
  });
}
