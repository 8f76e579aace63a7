/**
 * `MemoryFileSystem` as a disk that copies on write: what overwriting takes, and when it is given back.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { FileHandle } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { assertErrno } from "./conformance.ts";

const BLOCK = 4096;

/** A synced file of `length` bytes of 1. */
async function withFile(length: number, copyOnWrite = true): Promise<{ disk: MemoryFileSystem; file: FileHandle }> {
  const disk = new MemoryFileSystem({ copyOnWrite });
  const file = disk.open("/file", "create");
  file.write(new Uint8Array(length).fill(1), 0);
  await file.sync();
  assertEquals(disk.usedBytes, length);
  return { disk, file };
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(length).fill(2);
}

test("FileHandle.write() on a disk that copies on write takes a block for each that it overwrites, until a sync", async () => {
  const { disk, file } = await withFile(10 * BLOCK);
  file.write(bytes(2), BLOCK - 1);
  assertEquals(disk.usedBytes, 12 * BLOCK);
  // What is copied already is written to as it is.
  file.write(bytes(BLOCK), BLOCK);
  assertEquals(disk.usedBytes, 12 * BLOCK);
  await file.sync();
  assertEquals(disk.usedBytes, 10 * BLOCK);
  file.write(bytes(1), 0);
  assertEquals(disk.usedBytes, 11 * BLOCK);
  file.close();
});

test("FileHandle.write() on a disk that copies on write overwrites what fits, and throws NoSpaceError", async () => {
  const { disk, file } = await withFile(3 * BLOCK);
  disk.capacityBytes = disk.usedBytes + BLOCK;
  assertErrno(() => file.write(bytes(BLOCK + 10), 10), "ENOSPC");
  const content = disk.readFile("/file");
  assertEquals([content[9], content[10], content[BLOCK - 1], content[BLOCK]], [1, 2, 2, 1]);
  assertErrno(() => file.write(bytes(1), BLOCK), "ENOSPC");
  file.write(bytes(1), 0);
  await file.sync();
  file.write(bytes(1), BLOCK);
  file.close();
});

test("FileHandle.write() on a disk that copies on write copies no more of the last block than there is", async () => {
  const { disk, file } = await withFile(BLOCK + 100);
  file.write(bytes(10), BLOCK);
  assertEquals(disk.usedBytes, BLOCK + 200);
  disk.capacityBytes = disk.usedBytes + 5;
  // It overwrites its own copy, and grows by what fits.
  assertErrno(() => file.write(bytes(200), BLOCK), "ENOSPC");
  assertEquals(file.size(), BLOCK + 105);
  file.close();
});

test("FileHandle.truncate() on a disk that copies on write needs space for a cut inside a block", async () => {
  const { disk, file } = await withFile(3 * BLOCK);
  disk.capacityBytes = disk.usedBytes;
  assertErrno(() => file.truncate(2 * BLOCK + 1), "ENOSPC");
  assertEquals(file.size(), 3 * BLOCK);
  file.truncate(2 * BLOCK);
  assertEquals(disk.usedBytes, 2 * BLOCK);
  file.truncate(BLOCK + 1);
  assertEquals(file.size(), BLOCK + 1);
  file.close();
});

test("MemoryFileSystem.usedBytes falls by the copies, too, when a file is cut or gone", async () => {
  const { disk, file } = await withFile(3 * BLOCK);
  file.write(bytes(3 * BLOCK), 0);
  assertEquals(disk.usedBytes, 6 * BLOCK);
  file.truncate(BLOCK);
  assertEquals(disk.usedBytes, 2 * BLOCK);
  disk.writeFile("/file", bytes(10));
  assertEquals(disk.usedBytes, 10);
  file.write(bytes(1), 0);
  disk.remove("/file");
  file.close();
  assertEquals(disk.usedBytes, 0);
});

test("FileHandle.sync() gives back what was copied before it began, not what is copied meanwhile", async () => {
  const wait = Promise.withResolvers<void>();
  const disk = new MemoryFileSystem({ copyOnWrite: true, whileSyncing: () => wait.promise });
  disk.writeFile("/file", bytes(2 * BLOCK));
  const file = disk.open("/file", "write");
  file.write(bytes(1), 0);
  const synced = file.sync();
  file.write(bytes(1), BLOCK);
  wait.resolve();
  await synced;
  assertEquals(disk.usedBytes, 3 * BLOCK);
  file.close();
});

test("MemoryFileSystemOptions.copyOnWrite stays through kill() and crash(), and is off by default", async () => {
  const { disk, file } = await withFile(BLOCK);
  file.write(bytes(1), 0);
  const after = disk.crash({ seed: 1 });
  // What was copied and not synced is one block again, the old or the new one.
  assertEquals([after.copiesOnWrite("/"), disk.kill().copiesOnWrite("/")], [true, true]);
  assert(after.usedBytes <= BLOCK);
  const plain = await withFile(BLOCK, false);
  assertEquals([plain.disk.copiesOnWrite("/"), new MemoryFileSystem().copiesOnWrite("/")], [false, false]);
  plain.disk.capacityBytes = plain.disk.usedBytes;
  plain.file.write(bytes(BLOCK), 0);
  plain.file.close();
});
