/**
 * The command `top`: looks and shows at its interval, ends when told to, leaves the terminal as it was and the buffer as it
 * is; and beside a real process that has a buffer open.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertGreater, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import { FileBuffer, type FileBufferOptions, textCodec } from "../../mod.ts";
import {
  type CommandArguments,
  type CommandContext,
  OutputClosedError,
  UsageError,
} from "../../src/cli/shared/command.ts";
import { topCommand } from "../../src/cli/top.ts";
import type { TopView } from "../../src/cli/top/view.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { currentRuntime, runChild, runtimeArgs, startChild } from "../support/children.ts";
import { settle } from "../support/event_loop.ts";
import { visible } from "./top_tools.ts";

const PATH = "/data/buffer";

const ENTER = "\x1b[?1049h";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** What a command writes to, and what it has written. */
class Recorder {
  readonly writes: string[] = [];
  columns: number | undefined;
  rows: number | undefined;
  /** Thrown by the write of that number, from 1. */
  fails: { readonly at: number; readonly error: Error } | undefined;

  constructor(columns?: number, rows?: number) {
    this.columns = columns;
    this.rows = rows;
  }

  write(data: string | Uint8Array): Promise<void> {
    this.writes.push(String(data));
    return this.writes.length === this.fails?.at ? Promise.reject(this.fails.error) : Promise.resolve();
  }

  get text(): string {
    return this.writes.join("");
  }
}

interface Running {
  readonly output: Recorder;
  readonly controller: AbortController;
  readonly ended: Promise<number>;
}

/** Starts `top`, and has it look for the first time. */
async function start(
  fileSystem: FileSystem,
  clock: ManualClock,
  options: CommandArguments["options"] = {},
  output: Recorder = new Recorder(),
): Promise<Running> {
  const controller = new AbortController();
  const context: CommandContext = {
    fileSystem,
    clock,
    input: { async *[Symbol.asyncIterator]() {} },
    output,
    errors: new Recorder(),
    signal: controller.signal,
  };
  const ended = topCommand.run({ positionals: [PATH], options }, context);
  ended.catch(() => {});
  await settle();
  return { output, controller, ended };
}

function open(
  fileSystem: FileSystem,
  clock: ManualClock,
  options: Partial<FileBufferOptions<string>> = {},
): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({ path: PATH, fileSystem, clock, codec: textCodec(), fsync: "never", ...options });
}

/** Lets time pass for all of them, in steps of a tenth of a second. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    clock.advance(100);
    await settle();
  }
}

function viewsIn(output: Recorder): TopView[] {
  return output.text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** A buffer that is put into for two seconds, and `top` with these options beside it. */
async function besideWriter(options: CommandArguments["options"], output?: Recorder): Promise<Running> {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  const top = await start(fileSystem, clock, options, output);
  for (let i = 0; i < 20; i++) {
    for (let k = 0; k < 10; k++) await buffer.put("ten bytes!");
    await pass(clock, 100);
  }
  top.controller.abort();
  assertEquals(await top.ended, 0);
  await buffer.close();
  assertEquals(clock.timers, []);
  return top;
}

test("top prints a block of text an interval where there is no terminal, without a control character", async () => {
  const { output } = await besideWriter({});
  assertEquals(output.writes.length, 3);
  assertMatch(output.text, /^[\n\P{C}]*$/u);
  assertEquals(output.text.split("sluice top  /data/buffer").length, 4);
  assertMatch(output.writes[0], /^state {6}not known/m);
  assertMatch(output.writes[0], /^note {7}there is no status\.json/m);
  assertMatch(output.writes[2], /^put {12}\d+ records\/s/m);
  // Blocks stand apart.
  assert(output.writes.every((text, i) => text.startsWith("\n") === (i > 0) && text.endsWith("\n")));
});

test("top --json prints an object a line", async () => {
  const { output } = await besideWriter({ json: true, interval: "500ms" });
  const views = viewsIn(output);
  assertEquals(views.length, 5);
  assertEquals(views.map(({ source }) => source), ["directory", "directory", "status", "status", "status"]);
  const last = views[4];
  assertEquals([last.path, last.state, last.put, last.backlog.records], [
    PATH,
    "open",
    { records: 100, payloadBytes: 1000 },
    200,
  ]);
});

test("top --once looks twice and prints the second look, with rates", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  await pass(clock, 1000);
  const top = await start(fileSystem, clock, { once: true, json: true, interval: "200ms" });
  await buffer.putMany(["a", "b"]);
  // Not before the writer can have written again.
  await pass(clock, 1000);
  assertEquals(top.output.writes, []);
  await pass(clock, 300);
  assertEquals(await top.ended, 0);
  const [view, ...more] = viewsIn(top.output);
  assertEquals([view.put?.records, more], [2, []]);
  await buffer.close();

  const closed = await start(fileSystem, clock, { once: true, interval: "200ms" });
  await pass(clock, 200);
  assertEquals(await closed.ended, 0);
  assertMatch(closed.output.text, /^state {6}closed 0\.\d s ago/m);
});

test("top draws over itself on a terminal, follows its size, and gives the first screen back", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  const output = new Recorder(80, 24);
  const top = await start(fileSystem, clock, {}, output);
  await pass(clock, 1000);
  output.columns = 40;
  output.rows = 5;
  await pass(clock, 1000);
  const isKept = clock.timers.some(({ keepAlive }) => keepAlive);
  top.controller.abort();
  assertEquals([await top.ended, isKept], [0, true]);
  await buffer.close();
  const [enter, first, , small, leave, ...more] = output.writes;
  assert(enter.startsWith(ENTER) && enter.includes("\x1b[?25l"));
  assertEquals([leave, more], [LEAVE, []]);
  assert(first.startsWith("\x1b[1;1H\x1b[K\x1b[1msluice top"));
  // One row after the other, each cleared before it is written, and everything below.
  const rowsOf = (text: string) =>
    Array.from(visible(text).matchAll(/␛\[(\d+);1H␛\[([KJ])/g), ([, row, kind]) => row + kind);
  const rows = rowsOf(first);
  assertEquals(rows, rows.map((_, i) => `${i + 1}${i === rows.length - 1 ? "J" : "K"}`));
  assertEquals(rowsOf(small), ["1K", "2K", "3K", "4K", "5K"]);
  assert(!output.text.includes("\n"), "a line feed may scroll");
});

test("top gives the first screen back when the buffer vanishes, and when nobody reads any more", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  await (await open(fileSystem, clock)).close();
  const output = new Recorder(80, 24);
  const top = await start(fileSystem, clock, {}, output);
  await pass(clock, 500);
  for (const path of fileSystem.paths()) fileSystem.remove(path);
  await pass(clock, 500);
  const error = await assertRejects(() => top.ended, Error, PATH);
  assertEquals([error instanceof UsageError, output.writes.at(-1)], [false, LEAVE]);

  const closed = new Recorder(80, 24);
  closed.fails = { at: 2, error: new OutputClosedError("Cannot write: nobody reads any more") };
  await (await open(fileSystem, clock)).close();
  await assertRejects(async () => (await start(fileSystem, clock, {}, closed)).ended, OutputClosedError);
  assertEquals([closed.writes.length, closed.writes.at(-1)], [3, LEAVE]);
  assertEquals(clock.timers, []);
});

test("top --plain draws nothing over on a terminal, and has no colours", async () => {
  const { output } = await besideWriter({ plain: true }, new Recorder(40, 5));
  assertEquals(output.writes.length, 3);
  assertMatch(output.text, /^[\n\P{C}]*$/u);
  assert(output.text.split("\n").every((line) => [...line].length <= 40));
});

test("top says what is wrong before it touches the terminal", async () => {
  const clock = new ManualClock();
  const output = new Recorder(80, 24);
  await assertRejects(
    async () => (await start(new MemoryFileSystem(), clock, {}, output)).ended,
    Error,
    "no such directory",
  );
  assertEquals(output.writes, []);
  for (const interval of ["", "0", "99ms", "61m", "1h", "fast", "-1s", "1e3", "1.s", "1s "]) {
    await assertRejects(
      async () => (await start(new MemoryFileSystem(), clock, { interval })).ended,
      UsageError,
      "--interval=",
    );
  }
  for (const positionals of [[], ["a", "b"], [""]]) {
    await assertRejects(() => topCommand.run({ positionals, options: {} }, {} as CommandContext), UsageError, "PATH");
  }
});

test("top changes nothing and takes no lock, whatever it finds", async () => {
  const clock = new ManualClock();
  let fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  await buffer.put("a");
  await pass(clock, 1000);
  fileSystem = fileSystem.kill({
    onOperation({ operation, mode }) {
      const reads = ["list", "read", "size", "close"];
      assert(reads.includes(operation) || mode === "read", `${operation} ${mode}`);
    },
  });
  await buffer.close().catch(() => {});
  const contents = () => fileSystem.paths().map((path) => [path, fileSystem.readFile(path)] as const);
  for (const change of [undefined, "status.json", "cursor", "owner.json"]) {
    if (change !== undefined) fileSystem.writeFile(`${PATH}/${change}`, new TextEncoder().encode("?"));
    const before = contents();
    const top = await start(fileSystem, clock, { json: true });
    await pass(clock, 2000);
    top.controller.abort();
    assertEquals(await top.ended, 0, change);
    assertEquals(viewsIn(top.output).length, 3);
    assertEquals(contents(), before);
  }
});

test("top shows a process that was killed as silent", async () => {
  const clock = new ManualClock();
  let fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  await buffer.put("a");
  await pass(clock, 1000);
  fileSystem = fileSystem.kill();
  await buffer.close().catch(() => {});
  const top = await start(fileSystem, clock, { json: true });
  await pass(clock, 4000);
  top.controller.abort();
  await top.ended;
  assertEquals(viewsIn(top.output).map(({ state }) => state), ["open", "open", "open", "silent", "silent"]);
});

test("top goes on beside a writer that rotates and removes its segments", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock, { segmentBytes: 256, maxRecords: 3, statusMs: 100 });
  const top = await start(fileSystem, clock, { json: true, interval: "100ms" });
  for (let i = 0; i < 50; i++) {
    for (let k = 0; k < 4; k++) await buffer.put("x".repeat(50));
    await buffer.commit(await buffer.emit());
    await pass(clock, 100);
  }
  const { put, committed, trend } = viewsIn(top.output).at(-1)!;
  assertEquals([put?.records, committed?.records, trend?.kind], [40, 30, "full"]);
  await pass(clock, 300);
  top.controller.abort();
  assertEquals(await top.ended, 0);
  const views = viewsIn(top.output);
  assertEquals(views.length, 54);
  const last = views.at(-1)!;
  assertEquals([last.backlog.records, last.disk.segments, last.disk.bytes], [
    buffer.stats().pendingRecords,
    buffer.stats().segments,
    buffer.stats().diskBytes,
  ]);
  await buffer.close();
});

test("top goes on when a file vanishes at whichever of its operations", async () => {
  const clock = new ManualClock();
  let fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  await buffer.put("a");
  await buffer.close();
  for (let failing = 0, isDone = false; !isDone; failing++) {
    isDone = true;
    let count = 0;
    fileSystem = fileSystem.kill({
      onOperation({ operation }) {
        if (operation !== "open" || count++ !== failing) return;
        isDone = false;
        return { kind: "fail", errno: "ENOENT" };
      },
    });
    const top = await start(fileSystem, clock, { json: true });
    top.controller.abort();
    assertEquals([await top.ended, viewsIn(top.output).length], [0, 1], `open ${failing}`);
  }
});

// Real processes

async function withWriter(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-top-"));
  const path = join(directory, "events.wal");
  const writer = startChild("tests/cli/top_writer.ts", [path]);
  try {
    // It says so when its first status file is there.
    await new Promise<void>((resolve, reject) => {
      writer.stdout!.once("data", () => resolve());
      writer.once("error", reject).once("close", () => reject(new Error("the writer has ended")));
    });
    await body(path);
  } finally {
    const ended = new Promise((resolve) => writer.once("close", resolve));
    writer.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true });
  }
}

test("top --once and --json show what another process does", async () => {
  await withWriter(async (path) => {
    const permissions = [`--allow-read=${path}`];
    const [text, json] = await Promise.all(
      [["--once"], ["--once", "--json"]].map((options) =>
        runChild("src/cli/sluice.ts", ["top", path, "--interval=300ms", ...options], { permissions })
      ),
    );
    assertEquals([text.code, text.stderr, json.code, json.stderr], [0, "", 0, ""]);
    assertMatch(text.stdout, /^state {6}open for \d+\.\d s · (deno|bun|node) \d+ · seen \d\.\d s ago$/m);
    assertMatch(text.stdout, /^put +[\d ]+ records\/s/m);
    const view: TopView = JSON.parse(json.stdout);
    assertEquals([view.source, view.state, view.owner?.runtime], ["status", "open", currentRuntime().name]);
    assertGreater(view.put!.records, 0);
    assertGreater(view.committed!.records, 0);
  });
});

const hasScript = process.platform === "linux" &&
  spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux");

test("top leaves a real terminal as it was after Ctrl+C", { skip: !hasScript }, async () => {
  await withWriter(async (path) => {
    const runtime = currentRuntime();
    const main = fileURLToPath(new URL("../../src/cli/sluice.ts", import.meta.url));
    const top = [runtime.command, ...runtimeArgs(runtime, ["-R"]), main, "top", path, "--interval=100ms"];
    // The shell is to outlive the interrupt.
    const line = `trap : INT; stty rows 12 columns 60; ${
      top.map((word) => `'${word}'`).join(" ")
    }; echo "code $?"; stty -a`;
    const terminal = spawn("script", ["-qfec", line, "/dev/null"], { env: { ...process.env, SHELL: "/bin/sh" } });
    let text = "";
    let isInterrupted = false;
    terminal.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (isInterrupted || text.split("\x1b[1;1H").length < 4) return;
      isInterrupted = true;
      terminal.stdin.write("\x03");
    });
    await new Promise((resolve, reject) => terminal.once("close", resolve).once("error", reject));
    const [before, during, after] = visible(text).split(/␛\[\?1049[hl]/);
    assertEquals(before.trim(), "");
    assertStringIncludes(during, "sluice top");
    assert(!during.includes("␛[13;1H"), "more rows than the terminal has");
    assert(during.endsWith("␛[?7h␛[?25h"), "the cursor is not shown again");
    assertMatch(after.trim(), /^code 0\s/);
    assertMatch(after, /\bicanon\b.* echo /s);
  });
});
