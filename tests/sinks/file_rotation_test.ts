/**
 * The file sink while others handle its files: rotated by renaming, by copying and truncating, removed, replaced, behind links, in a
 * directory that is replaced; at every step of a delivery, and with a process that is killed in between. And on a system that
 * refuses to replace an open file, as Windows does.
 */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { BufferLockedError, DeliveryError, FileSystemError } from "../../src/errors/mod.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { type FileSink, fileSink } from "../../src/sinks/file.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { textOf } from "../fs/memory_outcomes.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { InstrumentedDisk, trackHandles } from "../support/disk.ts";

const PATH = "/out/records.ndjson";
const OLD = `${PATH}.1`;
const JOURNAL = `${PATH}.deliveries`;

/** A file system with the sink's directory. */
function newDisk(): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/out/other", new Uint8Array());
  return fileSystem;
}

const open = (fileSystem: FileSystem, path = PATH, knownIds?: number): Promise<FileSink<number>> =>
  fileSink<number>(path, { fileSystem, knownIds });

/** Delivery number n has the records 10n and 10n + 1. */
const linesOf = (...numbers: readonly number[]): string => numbers.map((n) => `${10 * n}\n${10 * n + 1}\n`).join("");

async function send(sink: FileSink<number>, ...numbers: readonly number[]): Promise<void> {
  for (const n of numbers) await sink(deliveryOf([10 * n, 10 * n + 1], { firstSequence: 2 * n + 1 }), contextOf());
}

/** Sends until it is taken, as a producer does. */
async function persist(sink: FileSink<number>, ...numbers: readonly number[]): Promise<void> {
  for (const n of numbers) {
    for (let tries = 0;; tries++) {
      try {
        await send(sink, n);
        break;
      } catch (error) {
        if (!(error instanceof FileSystemError || error instanceof DeliveryError) || tries === 5) throw error;
      }
    }
  }
}

const put = (fileSystem: MemoryFileSystem, path: string, text: string): void =>
  fileSystem.writeFile(path, new TextEncoder().encode(text));

function truncate(fileSystem: FileSystem, path: string, size = 0): void {
  const handle = fileSystem.open(path, "write");
  handle.truncate(size);
  handle.close();
}

/** What others do to the file, and what is in it, behind the two deliveries before it, when two more were made. */
const ROTATIONS: readonly {
  readonly name: string;
  readonly rotate: (fileSystem: MemoryFileSystem) => void;
  readonly file: string;
  readonly old?: string;
}[] = [
  {
    name: "renamed",
    rotate: (fileSystem) => fileSystem.rename(PATH, OLD),
    file: linesOf(2, 3),
    old: linesOf(0, 1),
  },
  {
    name: "renamed, and an empty one made",
    rotate(fileSystem) {
      fileSystem.rename(PATH, OLD);
      fileSystem.open(PATH, "create").close();
    },
    file: linesOf(2, 3),
    old: linesOf(0, 1),
  },
  {
    name: "renamed, and one with content made",
    rotate(fileSystem) {
      fileSystem.rename(PATH, OLD);
      put(fileSystem, PATH, "a head\n");
    },
    file: `a head\n${linesOf(2, 3)}`,
    old: linesOf(0, 1),
  },
  {
    name: "replaced by a longer one",
    rotate(fileSystem) {
      put(fileSystem, "/out/new", "x\n".repeat(50));
      fileSystem.rename("/out/new", PATH);
    },
    file: "x\n".repeat(50) + linesOf(2, 3),
  },
  { name: "removed", rotate: (fileSystem) => fileSystem.remove(PATH), file: linesOf(2, 3) },
  {
    name: "copied and truncated",
    rotate(fileSystem) {
      fileSystem.writeFile(OLD, fileSystem.readFile(PATH));
      truncate(fileSystem, PATH);
    },
    file: linesOf(2, 3),
    old: linesOf(0, 1),
  },
  {
    name: "truncated behind a line",
    rotate: (fileSystem) => truncate(fileSystem, PATH, linesOf(0).length),
    file: linesOf(0, 2, 3),
  },
  {
    name: "removed with its journal and lock",
    rotate: (fileSystem) => ["", ".deliveries", ".lock"].forEach((suffix) => fileSystem.remove(PATH + suffix)),
    file: linesOf(2, 3),
  },
  {
    name: "left alone, and its journal removed",
    rotate: (fileSystem) => fileSystem.remove(JOURNAL),
    file: linesOf(0, 1, 2, 3),
  },
  {
    name: "left alone, and its journal renamed",
    rotate: (fileSystem) => fileSystem.rename(JOURNAL, `${JOURNAL}.1`),
    file: linesOf(0, 1, 2, 3),
  },
  {
    name: "left alone, with a second name",
    rotate: (fileSystem) => fileSystem.link(PATH, OLD),
    file: linesOf(0, 1, 2, 3),
    old: linesOf(0, 1, 2, 3),
  },
];

for (const { name, rotate, file, old } of ROTATIONS) {
  for (const later of ["the same sink", "the next one"] as const) {
    test(`fileSink(): its file is ${name} between two deliveries, the last of which comes by ${later}`, async () => {
      const disk = newDisk();
      const { fileSystem, openPaths } = trackHandles(disk);
      let sink = await open(fileSystem);
      await send(sink, 0, 1);
      rotate(disk);
      await send(sink, 2, 0, 1);
      if (later === "the next one") {
        await sink.close();
        sink = await open(fileSystem);
        assertEquals(sink.truncatedBytes, 0);
      }
      await send(sink, 3, 2, 1, 0);
      assertEquals(textOf(disk, PATH), file);
      if (old !== undefined) assertEquals(textOf(disk, OLD), old);
      // The names are locked, and known, as before.
      await assertRejects(() => open(fileSystem), BufferLockedError);
      await sink.close();
      const last = await open(fileSystem);
      await send(last, 3);
      await last.close();
      assertEquals(textOf(disk, PATH), file);
      assertEquals(openPaths(), []);
    });
  }
}

/** What becomes of the file at one step of the deliveries, and what holds then. */
const SUDDEN: readonly {
  readonly name: string;
  readonly rotate: (fileSystem: MemoryFileSystem) => void;
  readonly assertSound: (file: string, old: string, note: string) => void;
}[] = [
  {
    name: "renamed",
    rotate: (fileSystem) => fileSystem.rename(PATH, OLD),
    assertSound: (file, old, note) => assertEquals(old + file, linesOf(0, 1, 2, 3, 4), note),
  },
  {
    name: "renamed and made",
    rotate(fileSystem) {
      fileSystem.rename(PATH, OLD);
      fileSystem.open(PATH, "create").close();
    },
    assertSound: (file, old, note) => assertEquals(old + file, linesOf(0, 1, 2, 3, 4), note),
  },
  {
    name: "removed",
    rotate: (fileSystem) => fileSystem.remove(PATH),
    // What was acknowledged before is gone with it; nothing after it is.
    assertSound: (file, _, note) => assert(linesOf(0, 1, 2, 3, 4).endsWith(file) && file.includes(linesOf(4)), note),
  },
  {
    name: "copied and truncated",
    rotate(fileSystem) {
      fileSystem.writeFile(OLD, fileSystem.readFile(PATH));
      truncate(fileSystem, PATH);
    },
    // A delivery that is under way may be in both, or whole in one; there is never a piece of a line, nor a zero.
    assertSound(file, old, note) {
      assert(linesOf(0, 1, 2, 3, 4).endsWith(file) && file.includes(linesOf(4)), `${note}: ${JSON.stringify(file)}`);
      assert((old + file).startsWith(linesOf(0, 1)), note);
    },
  },
];

for (const { name, rotate, assertSound } of SUDDEN) {
  test(`fileSink() keeps its promise when the file is ${name} at any step of a delivery`, async () => {
    let points = 0;
    for (let moment = 0, isOver = false; !isOver; moment++) {
      isOver = true;
      let steps = -1;
      const fileSystem: MemoryFileSystem = newDisk().kill({
        onOperation() {
          if (steps < 0 || steps++ !== moment) return;
          steps = -1;
          isOver = false;
          rotate(fileSystem);
        },
      });
      const sink = await open(fileSystem);
      await send(sink, 0, 1);
      steps = 0;
      await persist(sink, 2, 3);
      steps = -1;
      await persist(sink, 4, 2, 3);
      assertSound(textOf(fileSystem, PATH), textOf(fileSystem, OLD).replace("(none)", ""), `step ${moment}`);
      await sink.close();
      points++;
    }
    assert(points > 10, `only ${points} points`);
  });
}

for (const isCreated of [false, true]) {
  const how = isCreated ? "renamed and made" : "renamed";
  test(`fileSink() has each delivery once when it is killed at any step, and the file then ${how}`, async () => {
    let points = 0;
    for (let moment = 0, isOver = false; !isOver; moment++) {
      for (const powerSeed of [undefined, 1, 2, 3, 4]) {
        let left: MemoryFileSystem | undefined;
        let steps = -1;
        const fileSystem: MemoryFileSystem = newDisk().kill({
          onOperation() {
            if (steps < 0 || steps++ !== moment) return;
            const after = powerSeed === undefined ? undefined : fileSystem.crash({ seed: powerSeed });
            const killed = fileSystem.kill();
            left = after ?? killed;
          },
        });
        const sink = await open(fileSystem);
        await send(sink, 0, 1);
        steps = 0;
        try {
          await send(sink, 2, 3);
        } catch (error) {
          if (left === undefined) throw error;
        }
        isOver = left === undefined;
        if (left === undefined) break;
        left.rename(PATH, OLD);
        if (isCreated) left.open(PATH, "create").close();
        const next = await open(left);
        await send(next, 2, 3, 4);
        await next.close();
        assertEquals(textOf(left, OLD) + textOf(left, PATH), linesOf(0, 1, 2, 3, 4), `${moment}, ${powerSeed}`);
        points++;
      }
    }
    assert(points > 40, `only ${points} points`);
  });
}

test("fileSink() tries again soon when somebody else creates the file that was moved away, at the same moment", async () => {
  let isDue = false;
  const fileSystem: MemoryFileSystem = newDisk().kill({
    onOperation({ operation }) {
      // The sink's own rename: of the journal that no longer names the file.
      if (!isDue || operation !== "rename") return;
      isDue = false;
      fileSystem.writeFile(PATH, new Uint8Array());
    },
  });
  const sink = await open(fileSystem);
  await send(sink, 0);
  fileSystem.rename(PATH, OLD);
  isDue = true;
  const { scope, retryable } = await assertRejects(() => send(sink, 1), DeliveryError, "EEXIST");
  assertEquals([scope, retryable], ["target", true]);
  await send(sink, 1);
  assertEquals([textOf(fileSystem, OLD), textOf(fileSystem, PATH)], [linesOf(0), linesOf(1)]);
  await sink.close();
});

test("fileSink() cuts a failed delivery off the file that is renamed before it comes again", async () => {
  for (const path of [PATH, JOURNAL]) {
    for (const kind of ["fail", "after"] as const) {
      const disk = new InstrumentedDisk(newDisk());
      const sink = await open(disk.fileSystem);
      await send(sink, 0);
      disk.fail({ operation: "sync", path }, { kind, errno: "EIO" });
      await assertRejects(() => send(sink, 1), DeliveryError);
      disk.fileSystem.rename(PATH, OLD);
      await send(sink, 1, 2);
      assertEquals(textOf(disk.fileSystem, OLD) + textOf(disk.fileSystem, PATH), linesOf(0, 1, 2), `${path} ${kind}`);
      await sink.close();
    }
  }
});

test("fileSink() never cuts a file that only has the number of the one that was moved away", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0);
  await sink.close();
  fileSystem.rename(PATH, OLD);
  put(fileSystem, OLD, "somebody else's, and longer\n");
  const next = await open(fileSystem);
  await send(next, 0, 1);
  await next.close();
  assertEquals(textOf(fileSystem, OLD), "somebody else's, and longer\n");
  assertEquals(textOf(fileSystem, PATH), linesOf(1));
});

test("fileSink() recognizes a copy of its file, and cuts off what it didn't deliver", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  await sink.close();
  fileSystem.remove(PATH);
  put(fileSystem, PATH, `${linesOf(0, 1)}20\n2`);
  const next = await open(fileSystem);
  assertEquals(next.truncatedBytes, 4);
  await send(next, 1, 2);
  await next.close();
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1, 2));
});

test("fileSink() doesn't run into the last line of a file that has taken the place of its own", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0);
  fileSystem.rename(PATH, OLD);
  put(fileSystem, PATH, "half a li");
  for (let i = 0; i < 2; i++) await assertRejects(() => send(sink, 1), DeliveryError, "no line break");
  put(fileSystem, PATH, "half a line\n");
  await send(sink, 1);
  assertEquals(textOf(fileSystem, PATH), `half a line\n${linesOf(1)}`);
  await sink.close();
});

test("fileSink() reads a journal of the version that didn't name its file", async () => {
  const fileSystem = newDisk();
  put(fileSystem, PATH, `${linesOf(0)}1`);
  const batch = "0b8f2c1e-5a57-4c39-9d0e-6f2a7f6a1c11-1234abcd-1-2";
  put(fileSystem, JOURNAL, `0ba8d3fc 0 "sluice-deliveries/1"\n726c67ba 4 "${batch}"\n`);
  const sink = await open(fileSystem);
  assertEquals(sink.truncatedBytes, 1);
  await send(sink, 0, 1);
  await sink.close();
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1));
});

test("fileSink().reopen() leaves a file that was rotated, and makes the new one", async () => {
  const disk = newDisk();
  const { fileSystem, openPaths } = trackHandles(disk);
  const sink = await open(fileSystem);
  await send(sink, 0);
  const count = openPaths().length;
  await sink.reopen();
  disk.rename(PATH, OLD);
  await sink.reopen();
  await sink.reopen();
  assertEquals([textOf(disk, PATH), openPaths().length], ["", count]);
  await sink.close();
  await assertRejects(() => sink.reopen(), DeliveryError);
  assertEquals(openPaths(), []);
});

test("fileSink() notices a truncation also on a file system that can't identify files", async () => {
  const disk = newDisk();
  const { fileSystem: whole } = trackHandles(disk);
  const { identify: _, resolve: __, ...rest } = whole;
  const fileSystem: FileSystem = {
    ...rest,
    open(path, mode) {
      const { identify: _, ...handle } = whole.open(path, mode);
      return handle;
    },
  };
  const sink = await open(fileSystem);
  await send(sink, 0);
  truncate(disk, PATH);
  await assertRejects(() => send(sink, 1), DeliveryError, "it has 0 bytes");
  await sink.close();
});

test("fileSink() delivers on a file system that doesn't count the names of a file", async () => {
  const disk = newDisk();
  const { fileSystem: whole } = trackHandles(disk);
  const fileSystem: FileSystem = {
    ...whole,
    open(path, mode) {
      const handle = whole.open(path, mode);
      return { ...handle, identify: () => ({ ...handle.identify!(), links: 0 }) };
    },
  };
  const sink = await open(fileSystem);
  await send(sink, 0);
  disk.rename(PATH, OLD);
  await send(sink, 1);
  await sink.close();
  assertEquals([textOf(disk, OLD), textOf(disk, PATH)], [linesOf(0), linesOf(1)]);
});

test("fileSink() replaces no file that is open, as Windows demands", async () => {
  const disk = newDisk();
  const { fileSystem: tracked, openPaths } = trackHandles(disk);
  const fileSystem: FileSystem = {
    ...tracked,
    rename(from, to) {
      if (openPaths().includes(to)) throw FileSystemError.from({ errno: "EPERM", operation: "rename", path: from });
      tracked.rename(from, to);
    },
  };
  const numbers = Array.from({ length: 100 }, (_, n) => n);
  let sink = await open(fileSystem, PATH, 16);
  await send(sink, ...numbers.slice(0, 60));
  await sink.close();
  sink = await open(fileSystem, PATH, 16);
  await send(sink, ...numbers.slice(55, 100));
  assertEquals(textOf(disk, PATH), linesOf(...numbers));
  disk.remove(JOURNAL);
  await send(sink, 99, 100);
  await sink.close();
  assertEquals(textOf(disk, PATH), linesOf(...numbers, 100));
});

/** On this runtime's own file system, in a directory of its own. */
function testOnDisk(name: string, body: (directory: string) => Promise<void>): void {
  test(
    name,
    { skip: process.platform === "win32" && "an open file can't be renamed or linked like that there" },
    async () => {
      const directory = mkdtempSync(join(tmpdir(), "sluice-"));
      try {
        await body(directory);
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
}

testOnDisk(
  "fileSink() follows its name on a real disk: renamed, removed, truncated, its directory replaced",
  async (top) => {
    const directory = join(top, "logs");
    mkdirSync(directory);
    const path = join(directory, "out.ndjson");
    const sink = await fileSink<number>(path);
    const read = (name: string) => readFileSync(name, "utf8");
    await send(sink, 0);
    renameSync(path, `${path}.1`);
    await send(sink, 1);
    assertEquals([read(`${path}.1`), read(path)], [linesOf(0), linesOf(1)]);
    truncateSync(path);
    await send(sink, 2);
    assertEquals(read(path), linesOf(2));
    rmSync(path);
    await send(sink, 3);
    assertEquals(read(path), linesOf(3));
    renameSync(path, `${path}.1`);
    writeFileSync(path, "before\n");
    await send(sink, 4);
    assertEquals(read(path), `before\n${linesOf(4)}`);
    // As long as there is no directory, nothing counts as delivered.
    renameSync(directory, `${directory}.old`);
    await assertRejects(() => send(sink, 5), DeliveryError, "ENOENT");
    mkdirSync(directory);
    await send(sink, 5, 4);
    assertEquals([read(path), read(join(`${directory}.old`, "out.ndjson"))], [linesOf(5), `before\n${linesOf(4)}`]);
    await assertRejects(() => fileSink<number>(path), BufferLockedError);
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
    await send(sink, 6);
    await sink.close();
    assertEquals(read(path), linesOf(6));
    const next = await fileSink<number>(path);
    await send(next, 0, 1, 2, 3, 4, 5, 6);
    await next.close();
    assertEquals(read(path), linesOf(6));
  },
);

testOnDisk("fileSink() follows a symbolic link to the file that it leads to", async (directory) => {
  const path = join(directory, "current");
  const target = (n: number) => join(directory, `log.${n}`);
  const linkTo = (n: number) => {
    symlinkSync(target(n), `${path}.link`);
    renameSync(`${path}.link`, path);
  };
  writeFileSync(target(1), "");
  linkTo(1);
  const sink = await fileSink<number>(path);
  await send(sink, 0);
  writeFileSync(target(2), "");
  linkTo(2);
  await send(sink, 1);
  // A link to a file that isn't there yet.
  linkTo(3);
  await assertRejects(() => send(sink, 2), DeliveryError, "EEXIST");
  writeFileSync(target(3), "");
  await send(sink, 2);
  renameSync(target(3), target(4));
  assert(!existsSync(target(3)));
  writeFileSync(target(3), "");
  await send(sink, 3);
  await sink.close();
  assertEquals([1, 2, 3, 4].map((n) => readFileSync(target(n), "utf8")), [
    linesOf(0),
    linesOf(1),
    linesOf(3),
    linesOf(2),
  ]);
});
