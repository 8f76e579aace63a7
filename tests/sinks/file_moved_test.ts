/**
 * The file sink whose file is moved away between two processes, or whose move a power cut undoes: what is in the old file, and what is
 * cut off it, before a new file takes its place.
 */

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { FileSystemError } from "../../src/errors/mod.ts";
import { type FileSink, fileSink } from "../../src/sinks/file.ts";
import { readJournal } from "../../src/sinks/file_journal.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { MemoryFileSystemOptions, MemoryOperation } from "../../src/testing/memory_process.ts";
import { textOf } from "../fs/memory_outcomes.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { seededRandom } from "../support/random.ts";

const PATH = "/out/records.ndjson";
const OLD = `${PATH}.1`;
const JOURNAL = `${PATH}.deliveries`;

/** A file system with the sink's directory. */
function newDisk(): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/out/other", new Uint8Array());
  return fileSystem;
}

const open = (fileSystem: MemoryFileSystem): Promise<FileSink<number>> =>
  fileSink<number>(PATH, { fileSystem, knownIds: 16 });
const linesOf = (...numbers: readonly number[]): string => numbers.map((n) => `${n}\n`).join("");
/** What all files have, the oldest first. */
const allOf = (fileSystem: MemoryFileSystem, ...paths: readonly string[]): string =>
  [...paths, PATH].map((path) => textOf(fileSystem, path).replace("(none)", "")).join("");

async function send(sink: FileSink<number>, ...numbers: readonly number[]): Promise<void> {
  for (const n of numbers) await sink(deliveryOf([n], { firstSequence: n + 1 }), contextOf());
}

/** Runs a process that is killed before the `nth` operation that `isIt` names. */
async function killedAt(
  disk: MemoryFileSystem,
  isIt: (operation: MemoryOperation) => boolean,
  nth: number,
  live: (fileSystem: MemoryFileSystem) => Promise<void>,
): Promise<MemoryFileSystem> {
  let left: MemoryFileSystem | undefined;
  let found = 0;
  const fileSystem: MemoryFileSystem = disk.kill({
    onOperation(operation) {
      if (isIt(operation) && ++found === nth) left = fileSystem.kill();
    },
  });
  await assertRejects(() => live(fileSystem));
  return left!;
}

test("fileSink() keeps what is in a file that is back, after a process that died before it had made another", async () => {
  const disk = newDisk();
  const sink = await open(disk);
  await send(sink, 0, 1);
  await sink.close();
  disk.rename(PATH, OLD);
  // First it finds out that there is none, then it creates one.
  const isOpen = ({ operation, path }: MemoryOperation) => operation === "open" && path === PATH;
  const left = await killedAt(disk, isOpen, 2, async (fileSystem) => void await open(fileSystem));
  left.rename(OLD, PATH);
  const next = await open(left);
  await send(next, 0, 1, 2);
  await next.close();
  assertEquals(allOf(left), linesOf(0, 1, 2));
});

test("fileSink() waits until it can look for the file that was moved away", async () => {
  // Killed before the mark behind the journal's line.
  const isJournal = ({ operation, path }: MemoryOperation) => operation === "write" && path === JOURNAL;
  for (const operation of ["list", "identify", "open"]) {
    const left = await killedAt(newDisk(), isJournal, 2, async (fileSystem) => await send(await open(fileSystem), 0));
    left.rename(PATH, OLD);
    let isFailing = true;
    const next = left.kill({
      onOperation: (one) =>
        isFailing && one.operation === operation && [OLD, "/out"].includes(one.path)
          ? { kind: "fail", errno: "EMFILE" }
          : undefined,
    });
    await assertRejects(() => open(next), FileSystemError, "EMFILE");
    isFailing = false;
    const sink = await open(next);
    await send(sink, 0, 1);
    await sink.close();
    assertEquals(allOf(next, OLD), linesOf(0, 1), operation);
  }
});

test("fileSink() looks on behind files that it can't open", async () => {
  const isJournal = ({ operation, path }: MemoryOperation) => operation === "write" && path === JOURNAL;
  const other = `${PATH}.0`;
  for (const errno of ["EACCES", "ELOOP", "ENOENT"]) {
    const disk = newDisk();
    disk.writeFile(other, new Uint8Array()); // first in the directory
    const left = await killedAt(disk, isJournal, 2, async (fileSystem) => await send(await open(fileSystem), 0));
    left.rename(PATH, OLD);
    const next = left.kill({ onOperation: ({ path }) => path === other ? { kind: "fail", errno } : undefined });
    const sink = await open(next);
    await send(sink, 0, 1);
    await sink.close();
    assertEquals(allOf(next, OLD), linesOf(0, 1), errno);
  }
});

test("fileSink() has an old file cut off for good before it goes on in another", async () => {
  const disk = newDisk();
  const sink = await open(disk);
  await send(sink, 0);
  await sink.close();
  // Killed when the lines are written, and not yet the journal's line.
  const isJournal = ({ operation, path }: MemoryOperation) => operation === "write" && path === JOURNAL;
  const left = await killedAt(disk, isJournal, 1, async (fileSystem) => await send(await open(fileSystem), 1));
  const unfinished = left.open(PATH, "write");
  await unfinished.sync();
  unfinished.close();
  await (await open(left)).close(); // cuts it off
  left.rename(PATH, OLD);
  await left.syncDirectory("/out");
  const next = await open(left);
  await send(next, 1);
  for (let seed = 0; seed < 20; seed++) {
    assertEquals(allOf(left.crash({ seed }), OLD), linesOf(0, 1), `seed ${seed}`);
  }
  await next.close();
});

/** A number of lives of a process: killed, hit by power cuts and failing operations; its file is renamed during them and in between. */
async function lives(seed: number): Promise<{ readonly found: string; readonly expected: string }> {
  const random = seededRandom(seed);
  const count = 3 + random(5);
  let disk = newDisk();
  let committed = 0;
  let renamed = 0;
  const rename = (fileSystem: MemoryFileSystem): void => {
    // Nothing proves whose file one is that had no delivery: the sink's page says so.
    if ((readJournal(fileSystem, JOURNAL)?.size ?? 0) === 0 || textOf(fileSystem, PATH) === "(none)") return;
    fileSystem.rename(PATH, `${PATH}.${++renamed}`);
    if (random(2) === 0) fileSystem.open(PATH, "create").close();
  };
  for (let life = 0; life < 7; life++) {
    const isLast = life === 6;
    const [moment, renameAt, failAt, powerSeed] = [random(90), random(150), random(150), random(1e9)];
    const isPowerCut = random(2) === 0;
    let left: MemoryFileSystem | undefined;
    let isBusy = isLast;
    const options: MemoryFileSystemOptions = {
      onOperation({ index }) {
        if (isBusy || left !== undefined) return undefined;
        isBusy = true;
        if (index === renameAt) rename(fileSystem);
        isBusy = false;
        if (index === failAt) return { kind: "fail", errno: "EIO" };
        if (index !== moment) return undefined;
        const after = isPowerCut ? fileSystem.crash({ seed: powerSeed }) : undefined;
        const killed = fileSystem.kill();
        left = after ?? killed;
        return undefined;
      },
    };
    const fileSystem: MemoryFileSystem = disk.kill(options);
    try {
      const sink = await open(fileSystem);
      for (let n = committed; n < count; n++) {
        await send(sink, n).catch(() => send(sink, n));
        if (random(3) === 0) committed = n + 1;
      }
      await sink.close();
    } catch (error) {
      if (isLast) throw error;
    }
    disk = left ?? fileSystem.kill();
    if (!isLast && random(4) === 0) rename(disk);
  }
  const old = Array.from({ length: renamed }, (_, i) => `${PATH}.${i + 1}`);
  const found = allOf(disk, ...old).trimEnd().split("\n").sort((a, b) => Number(a) - Number(b));
  return { found: found.join(), expected: Array.from({ length: count }, (_, n) => n).join() };
}

test("fileSink() has each delivery once in all files, whatever ends its processes and whenever the file is moved", async () => {
  for (let seed = 1; seed <= 1_500; seed++) {
    const { found, expected } = await lives(seed);
    assertEquals(found, expected, `seed ${seed}`);
  }
});
