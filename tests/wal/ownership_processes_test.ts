/**
 * One owner per buffer on real disks and between processes: what POSIX, users, `mv`, `cp -al`, symbolic links and `chdir` do
 * to a lock and to a path. The same on a file system in memory: `ownership_test.ts`.
 */

import type { ChildProcess } from "node:child_process";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import {
  FileBuffer,
  type FileSystem,
  type Fsync,
  MemoryBuffer,
  OwnershipLostError,
  Producer,
  textCodec,
} from "../../mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import { fileSink } from "../../src/sinks/file.ts";
import { availableRuntimes, type Runtime, startChild } from "../support/children.ts";

const isWindows = process.platform === "win32";
const native = await detectFileSystem();
/** Of everybody who has no rights: on Linux "nobody". */
const NOBODY = 65534;

/** A directory of its own, without symbolic links in its name. */
async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "sluice-owner-")));
  const here = process.cwd();
  try {
    await body(directory);
  } finally {
    process.chdir(here);
    rmSync(directory, { recursive: true });
  }
}

function open(path: string, fsync: Fsync = "always", fileSystem: FileSystem = native): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({ path, codec: textCodec(), fsync, maxRecords: 7, segmentBytes: 1024, fileSystem });
}

/** Everything in a buffer, in order; and what it has reported. */
async function drain(path: string): Promise<{ values: string[]; problem: string | undefined; isDamaged: boolean }> {
  const values: string[] = [];
  let isDamaged = false;
  const buffer = await FileBuffer.open<string>({
    path,
    codec: textCodec(),
    onEvent: ({ type }) => isDamaged ||= type === "damage-found",
  });
  for await (const batch of buffer.batches({ flush: true })) {
    values.push(...batch.records);
    await buffer.commit(batch);
  }
  await buffer.close();
  return { values, problem: buffer.recovery.cursorProblem, isDamaged };
}

/** A process that owns a buffer, or tries to. */
class Owner {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #onLine = (): void => {};

  constructor(runtime: Runtime, args: readonly string[]) {
    this.#child = startChild("tests/wal/ownership_child.ts", args, { runtime });
    this.#ended = once(this.#child, "close");
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => this.#add(`stderr ${text}`));
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#add(line));
  }

  #add(line: string): void {
    this.lines.push(line);
    this.#onLine();
  }

  /** Waits until it has said so many lines. */
  async said(count: number): Promise<void> {
    while (this.lines.length < count) await new Promise<void>((resolve) => this.#onLine = resolve);
  }

  /** Has it do something, and waits for the answer. */
  async ask(line: string): Promise<string> {
    const before = this.lines.length;
    this.#child.stdin!.write(`${line}\n`);
    await this.said(before + 1);
    return this.lines.at(-1)!;
  }

  /** What it has acknowledged. */
  get acknowledged(): string[] {
    return this.lines.filter((line) => line.startsWith("ack ")).map((line) => line.slice(4));
  }

  async end(): Promise<void> {
    this.#child.stdin!.end();
    await this.#ended;
  }
}

async function startOwner(runtime: Runtime, ...args: string[]): Promise<Owner> {
  const owner = new Owner(runtime, args);
  await owner.said(1);
  return owner;
}

for (const runtime of availableRuntimes()) {
  test(`FileBuffer.open() refuses a lock that a ${runtime.name} process may not write, and says what to do`, async () => {
    if (isWindows) return;
    await withDirectory(async (directory) => {
      const isRoot = process.getuid!() === 0;
      const path = join(directory, "b");
      await (await open(path)).close();
      chmodSync(directory, 0o755);
      for (const mode of [0o444, 0o644]) {
        // Another user's with 644, its own with 444.
        if (!isRoot && mode === 0o644) continue;
        for (const name of ["", ...readdirSync(path)]) if (isRoot) chownSync(join(path, name), NOBODY, NOBODY);
        chmodSync(join(path, "lock"), mode);
        if (mode === 0o644) chownSync(join(path, "lock"), 0, 0);
        const owners = [];
        for (const name of ["a", "b"]) {
          owners.push(await startOwner(runtime, path, name, "always", ...(isRoot ? [`${NOBODY}`] : [])));
        }
        for (const owner of owners) {
          assert(/^err PERMISSION .*lock.*chown.*chmod/.test(owner.lines[0]!), owner.lines.join("\n"));
          await owner.end();
        }
      }
    });
  });

  test(`FileBuffer with always loses nothing when its lock is dropped by a read and a ${runtime.name} process comes`, async () => {
    if (isWindows) return;
    for (const how of ["readFile", "cp"]) {
      await withDirectory(async (directory) => {
        const path = join(directory, "b");
        const first = await open(path);
        const acknowledged: string[] = [];
        const put = async (value: string): Promise<void> => {
          await first.put(value);
          acknowledged.push(value);
        };
        for (let n = 1; n <= 20; n++) await put(`a${n}`);
        if (how === "readFile") readFileSync(join(path, "lock"));
        else cpSync(path, join(directory, "backup"), { recursive: true });
        const second = await startOwner(runtime, path, "b", "always");
        assertEquals(second.lines, ["open"], `the lock holds although somebody has closed its file: ${how}`);
        for (let n = 0; n < 20; n++) await second.ask("put");
        const error = await assertRejects(() => put("too late"), OwnershipLostError);
        assertEquals(error.unconfirmed, undefined);
        await assertRejects(() => first.emit(), OwnershipLostError);
        for (let n = 0; n < 20; n++) await second.ask("put");
        await assertRejects(() => first.close(), OwnershipLostError).catch(() => {});
        await second.end();
        // The record that came too late was written where the second owner doesn't read: it is set aside, and said.
        const { values } = await drain(path);
        assertEquals([...values].sort(), [...acknowledged, ...second.acknowledged].sort());
        assertEquals(new Set(values).size, 60);
      });
    }
  });
}

test("FileBuffer with both owners in two processes, writing at once: each record is acknowledged and there, or neither", async () => {
  if (isWindows) return;
  const runtimes = availableRuntimes();
  for (const [i, runtime] of runtimes.entries()) {
    for (const fsync of ["always", "200"]) {
      await withDirectory(async (directory) => {
        const path = join(directory, "b");
        const first = await startOwner(runtime, path, "a", fsync);
        for (let n = 0; n < 30; n++) await first.ask("put");
        // The lock is taken away by another file under its name, which a moved or restored directory comes to as well.
        unlinkSync(join(path, "lock"));
        const second = await startOwner(runtimes[(i + 1) % runtimes.length]!, path, "b", fsync);
        for (let n = 0; n < 60; n++) {
          await Promise.all([first.ask(n % 10 === 9 ? "commit" : "put"), second.ask("put")]);
        }
        const taken = first.lines.filter((line) => line === "done").length;
        await Promise.all([first.end(), second.end()]);
        assertEquals(taken, 0, "a former owner has committed");
        assert(first.lines.some((line) => line.startsWith("err OWNERSHIP_LOST")), first.lines.at(-1));
        const { values, isDamaged } = await drain(path);
        const expected = [...first.acknowledged, ...second.acknowledged].filter((value) => !values.includes(value));
        // With an interval, what the former owner wrote before it noticed is set aside, and said.
        if (fsync === "always") assertEquals(expected, []);
        else assert(expected.length === 0 || isDamaged, `${expected.join()} are gone without a word`);
        assertEquals(new Set(values).size, values.length, "twice");
      });
    }
  }
});

test("FileBuffer goes on where it is after chdir, and after a symbolic link on its way was switched", async () => {
  if (isWindows) return;
  for (const fsync of ["always", 1000] as const) {
    await withDirectory(async (directory) => {
      for (const name of ["one", "two", "elsewhere"]) mkdirSync(join(directory, name));
      symlinkSync("one", join(directory, "current"));
      process.chdir(directory);
      for (const path of ["relative", "current/b"]) {
        const buffer = await open(path, fsync);
        await buffer.put("a".repeat(600));
        process.chdir(join(directory, "elsewhere"));
        unlinkSync(join(directory, "current"));
        symlinkSync("two", join(directory, "current"));
        // Into a new segment, and the cursor.
        for (const letter of ["b", "c", "d"]) await buffer.put(letter.repeat(600));
        const batch = await buffer.emit();
        await buffer.commit(batch);
        await buffer.put("e".repeat(600));
        await buffer.close();
        unlinkSync(join(directory, "current"));
        symlinkSync("one", join(directory, "current"));
        process.chdir(directory);
        const { values, isDamaged } = await drain(path);
        assertEquals([values, isDamaged], [["e".repeat(600)], false]);
      }
      assertEquals([readdirSync(join(directory, "elsewhere")), readdirSync(join(directory, "two"))], [[], []]);
    });
  }
});

for (const makes of ["nothing", "a directory", "another buffer"] as const) {
  test(`FileBuffer fails, and touches nothing, when its directory is renamed or removed and ${makes} takes its name`, async () => {
    if (isWindows) return;
    for (const how of ["renamed", "removed"] as const) {
      for (const fsync of ["always", 50] as const) {
        await withDirectory(async (directory) => {
          const path = join(directory, "b");
          const buffer = await open(path, fsync);
          for (const letter of ["a", "b", "c", "d"]) await buffer.put(letter.repeat(400));
          const batch = await buffer.emit();
          await buffer.flush();
          if (how === "renamed") renameSync(path, join(directory, "moved"));
          else rmSync(path, { recursive: true });
          if (makes === "a directory") mkdirSync(path);
          if (makes === "another buffer") {
            const other = await open(path);
            for (const letter of ["x", "y", "z"]) await other.put(letter.repeat(400));
            await other.close();
          }
          await assertRejects(() => buffer.commit(batch), OwnershipLostError);
          await assertRejects(() => buffer.put("e".repeat(600)), OwnershipLostError);
          await buffer.close().catch(() => {});
          const content = makes === "nothing" ? [] : readdirSync(path);
          if (makes === "another buffer") {
            assertEquals((await drain(path)).values.map(([letter]) => letter), ["x", "y", "z"]);
          } else assertEquals(content, []);
          if (how === "removed") return;
          const { values, isDamaged } = await drain(join(directory, "moved"));
          assertEquals([values.map(([letter]) => letter), isDamaged], [["a", "b", "c", "d"], false]);
        });
      }
    }
  });
}

test("cp -al of a buffer: draining the copy takes nothing from the original", async () => {
  if (process.platform !== "linux") return;
  await withDirectory(async (directory) => {
    const path = join(directory, "b");
    const buffer = await open(path);
    for (let n = 1; n <= 12; n++) await buffer.put(`${n}`);
    await buffer.commit(await buffer.emit());
    await buffer.close();
    assertEquals(spawnSync("cp", ["-al", path, join(directory, "copy")]).status, 0);
    const copy = await drain(join(directory, "copy"));
    assertEquals([copy.values, copy.problem, copy.isDamaged], [["8", "9", "10", "11", "12"], "shared", false]);
    const original = await drain(path);
    assertEquals([original.values, original.isDamaged], [["8", "9", "10", "11", "12"], false]);
  });
});

test("fileSink() goes on with its file after chdir", async () => {
  await withDirectory(async (directory) => {
    mkdirSync(join(directory, "elsewhere"));
    process.chdir(directory);
    const sink = await fileSink<string>("out.ndjson", { knownIds: 16 });
    const buffer = await MemoryBuffer.open<string>();
    const producer = new Producer({ buffer, send: sink });
    process.chdir(join(directory, "elsewhere"));
    // So many that the journal is replaced on the way.
    for (let n = 0; n < 40; n++) {
      await producer.put(`${n}`);
      await producer.flush();
    }
    await producer.close();
    await sink.close();
    assertEquals(readdirSync(join(directory, "elsewhere")), []);
    assertEquals(readFileSync(join(directory, "out.ndjson"), "utf8").split("\n").length, 41);
  });
});
