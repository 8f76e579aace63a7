/**
 * The faults that `MemoryFileSystem` injects, its full disk, and what it offers to look inside.
 */

import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { NoSpaceError } from "../../src/errors/mod.ts";
import type { FileHandle } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import { assertErrno, assertRejectsErrno, bytesOf, contentOf } from "./conformance.ts";
import { logText, outcomes, textOf, withLog } from "./memory_outcomes.ts";

/** Runs every operation once, with `fault` in the one called `name`. */
async function runAll(
  fault: Fault | undefined,
  name: string,
): Promise<{ fileSystem: MemoryFileSystem; errors: string[]; seen: MemoryOperation[] }> {
  const seen: MemoryOperation[] = [];
  const fileSystem = new MemoryFileSystem({
    onOperation(operation) {
      seen.push(operation);
      return operation.operation === name ? fault : undefined;
    },
  });
  fileSystem.writeFile("/d/log", bytesOf("abc"));
  fileSystem.writeFile("/d/old", bytesOf("old"));
  const errors: string[] = [];
  const attempt = async (call: () => unknown): Promise<void> => {
    try {
      await call();
    } catch (error) {
      errors.push(`${(error as MemoryOperation).operation} ${(error as { errno: string }).errno}`);
    }
  };
  let file: FileHandle | undefined;
  await attempt(() => file = fileSystem.open("/d/log", "write"));
  await attempt(() => fileSystem.list("/d"));
  await attempt(() => fileSystem.makeDirectory("/d/e"));
  await attempt(() => fileSystem.rename("/d/old", "/d/new"));
  await attempt(() => fileSystem.remove("/d/new"));
  await attempt(() => fileSystem.syncDirectory("/d"));
  await attempt(() => fileSystem.lock("/d/lock"));
  if (file !== undefined) {
    const { size, read, write, truncate, sync, close } = file;
    await attempt(() => size.call(file));
    await attempt(() => read.call(file, new Uint8Array(2), 1));
    await attempt(() => write.call(file, bytesOf("XYZ"), 2));
    await attempt(() => truncate.call(file, 4));
    await attempt(() => sync.call(file));
    await attempt(() => close.call(file));
  }
  return { fileSystem, errors, seen };
}

test("MemoryFileSystemOptions.onOperation() sees each operation before it is carried out", async () => {
  const { errors, seen } = await runAll(undefined, "");
  assertEquals(errors, []);
  assertEquals(seen, [
    { operation: "open", path: "/d/log", mode: "write", index: 0 },
    { operation: "list", path: "/d", index: 1 },
    { operation: "makeDirectory", path: "/d/e", index: 2 },
    { operation: "rename", path: "/d/old", to: "/d/new", index: 3 },
    { operation: "remove", path: "/d/new", index: 4 },
    { operation: "syncDirectory", path: "/d", index: 5 },
    { operation: "lock", path: "/d/lock", index: 6 },
    { operation: "size", path: "/d/log", index: 7 },
    { operation: "read", path: "/d/log", position: 1, length: 2, index: 8 },
    { operation: "write", path: "/d/log", position: 2, length: 3, index: 9 },
    { operation: "truncate", path: "/d/log", length: 4, index: 10 },
    { operation: "sync", path: "/d/log", index: 11 },
    { operation: "close", path: "/d/log", index: 12 },
  ]);
});

test("MemoryFileSystem operations fail without effect when a fault says so", async () => {
  const whole = { paths: ["/d/lock", "/d/log"], log: "abXY" };
  const rows: [name: string, after: { paths?: string[]; log?: string }, ...alsoFailing: string[]][] = [
    ["open", { log: "abc" }],
    ["list", {}],
    ["makeDirectory", {}],
    ["rename", { paths: ["/d/lock", "/d/log", "/d/old"] }, "remove ENOENT"],
    ["remove", { paths: ["/d/lock", "/d/log", "/d/new"] }],
    ["syncDirectory", {}],
    ["lock", { paths: ["/d/log"] }],
    ["size", {}],
    ["read", {}],
    ["write", { log: "abc\0" }],
    ["truncate", { log: "abXYZ" }],
    ["sync", {}],
    ["close", {}],
  ];
  for (const [name, after, ...alsoFailing] of rows) {
    const { fileSystem, errors } = await runAll({ kind: "fail", errno: "EIO" }, name);
    assertEquals(errors, [`${name} EIO`, ...alsoFailing]);
    const expected = { ...whole, ...after };
    assertEquals([fileSystem.paths(), textOf(fileSystem, "/d/log")], [expected.paths, expected.log], name);
    if (name === "sync") assert(outcomes(fileSystem, (crashed) => textOf(crashed, "/d/log")).includes("abc"));
  }
});

test("MemoryFileSystem operations are carried out and then fail when a fault says so", async () => {
  for (
    const name of ["rename", "remove", "makeDirectory", "lock", "write", "truncate", "sync", "syncDirectory", "close"]
  ) {
    const { fileSystem, errors } = await runAll({ kind: "after", errno: "EIO" }, name);
    assertEquals(errors, [`${name} EIO`]);
    assertEquals([fileSystem.paths(), textOf(fileSystem, "/d/log")], [["/d/lock", "/d/log"], "abXY"], name);
    if (name === "sync") assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/d/log")), ["abXY"]);
    if (name === "lock") fileSystem.kill().lock("/d/lock").release();
  }
});

test("FileHandle.write() writes the first bytes and fails when a fault tears it", async () => {
  const { fileSystem, errors } = await runAll({ kind: "torn", errno: "EIO", bytes: 1 }, "write");
  assertEquals([errors, textOf(fileSystem, "/d/log")], [["write EIO"], "abX\0"]);
});

test("FileHandle.sync() loses the bytes at the next crash when a fault marks the pages clean", async () => {
  let fault: Fault | undefined;
  const fileSystem = new MemoryFileSystem({ onOperation: ({ operation }) => operation === "sync" ? fault : undefined });
  fileSystem.writeFile("/log", bytesOf("abc"));
  const file = fileSystem.open("/log", "write");
  file.write(bytesOf("lost"), 3);
  fault = { kind: "lost", errno: "EIO" };
  await assertRejectsErrno(() => file.sync(), "EIO");
  // As on Linux: it reads well, and the next sync says that all is well.
  fault = undefined;
  await file.sync();
  assertEquals(contentOf(file), "abclost");
  assertEquals(textOf(fileSystem.kill(), "/log"), "abclost");
});

test("FileHandle.sync() makes later writes stable after one whose bytes are lost", async () => {
  let fault: Fault | undefined = { kind: "lost", errno: "EIO" };
  const fileSystem = new MemoryFileSystem({ onOperation: ({ operation }) => operation === "sync" ? fault : undefined });
  fileSystem.writeFile("/log", bytesOf("abc"));
  const file = fileSystem.open("/log", "write");
  file.write(bytesOf("lost"), 3);
  await assertRejectsErrno(() => file.sync(), "EIO");
  assertEquals(outcomes(fileSystem, logText), ["abc"]);
  fault = undefined;
  file.write(bytesOf("!"), 7);
  await file.sync();
  assertEquals(outcomes(fileSystem, logText), ["abc\0\0\0\0!"]);
});

test("MemoryFileSystemOptions.onOperation() may kill the process before the operation", () => {
  let next: MemoryFileSystem | undefined;
  const fileSystem: MemoryFileSystem = new MemoryFileSystem({
    onOperation({ operation }) {
      if (operation === "write") next = fileSystem.kill();
    },
  });
  const file = fileSystem.open("/log", "create");
  assertErrno(() => file.write(bytesOf("abc"), 0), "EBADF");
  assertEquals(textOf(next!, "/log"), "");
});

test("MemoryFileSystemOptions.onOperation() throws through the operation, and can't tear what isn't a write", async () => {
  const throwing = new MemoryFileSystem({
    onOperation: () => {
      throw new RangeError("mine");
    },
  });
  assertThrows(() => throwing.list("/"), RangeError, "mine");
  const faults: Fault[] = [{ kind: "torn", errno: "EIO", bytes: 1 }, { kind: "lost", errno: "EIO" }];
  for (const fault of faults) {
    const fileSystem = new MemoryFileSystem({ onOperation: () => fault });
    assertThrows(() => fileSystem.list("/"), TypeError, fault.kind);
    await assertRejects(() => fileSystem.syncDirectory("/"), TypeError, fault.kind);
  }
});

test("FileHandle.write() writes what fits and throws NoSpaceError when the disk is full", () => {
  const fileSystem = new MemoryFileSystem({ capacityBytes: 10 });
  const file = fileSystem.open("/log", "create");
  file.write(bytesOf("abcdef"), 0);
  assertInstanceOf(assertErrno(() => file.write(bytesOf("ghijklm"), 6), "ENOSPC"), NoSpaceError);
  assertEquals([contentOf(file), fileSystem.usedBytes], ["abcdefghij", 10]);
  // Names and overwriting need no space; a write over the end writes the part before it.
  const other = fileSystem.open("/other", "create");
  assertErrno(() => other.write(bytesOf("x"), 0), "ENOSPC");
  assertErrno(() => file.write(bytesOf("XYZ"), 8), "ENOSPC");
  assertEquals([contentOf(file), other.size()], ["abcdefghXY", 0]);
  file.truncate(9);
  other.write(bytesOf("x"), 0);
  fileSystem.capacityBytes = 15;
  file.write(bytesOf("jklmn"), 9);
  assertEquals([contentOf(file), fileSystem.usedBytes], ["abcdefghXjklmn", 15]);
  fileSystem.capacityBytes = 0;
  assertErrno(() => file.write(bytesOf("No"), 13), "ENOSPC");
  file.write(bytesOf("A"), 0);
  assertEquals(contentOf(file), "AbcdefghXjklmN");
  assertThrows(() => fileSystem.capacityBytes = -1, RangeError);
});

test("FileHandle.truncate() makes a hole, which takes space when it is written to", () => {
  const fileSystem = new MemoryFileSystem({ capacityBytes: 10 });
  const file = fileSystem.open("/log", "create");
  file.write(bytesOf("abc"), 0);
  file.truncate(1000);
  assertEquals([file.size(), fileSystem.usedBytes], [1000, 3]);
  file.write(bytesOf("defg"), 3);
  assertEquals([file.size(), fileSystem.usedBytes], [1000, 7]);
  assertErrno(() => file.write(bytesOf("hijk"), 7), "ENOSPC");
  assertEquals([file.size(), fileSystem.usedBytes], [1000, 10]);
  file.truncate(5);
  assertEquals([contentOf(file), fileSystem.usedBytes], ["abcde", 5]);
  file.truncate(8);
  assertEquals([contentOf(file), fileSystem.usedBytes], ["abcde\0\0\0", 5]);
  assertEquals(fileSystem.crash({ seed: 1 }).usedBytes <= 10, true);
});

test("MemoryFileSystem.usedBytes falls when a file is gone for good", () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/a", bytesOf("12345"));
  fileSystem.writeFile("/b", bytesOf("123"));
  fileSystem.writeFile("/b", bytesOf("12"));
  assertEquals(fileSystem.usedBytes, 7);
  const file = fileSystem.open("/a", "write");
  fileSystem.remove("/a");
  file.write(bytesOf("6"), 5);
  assertEquals(fileSystem.usedBytes, 8);
  file.close();
  assertEquals(fileSystem.usedBytes, 2);
  fileSystem.writeFile("/a", bytesOf("12345"));
  fileSystem.rename("/b", "/a");
  assertEquals(fileSystem.usedBytes, 2);
  fileSystem.open("/a", "read");
  fileSystem.remove("/a");
  const next = fileSystem.kill();
  assertEquals(next.usedBytes, 0);
  fileSystem.writeFile("/c", bytesOf("1234"));
  assertEquals(next.crash({ seed: 1, capacityBytes: 6 }).usedBytes, 4);
});

test("MemoryFileSystem.capacityBytes stays through kill() and crash() unless they set it", () => {
  const fileSystem = new MemoryFileSystem({ capacityBytes: 10 });
  assertEquals(fileSystem.crash({ seed: 1 }).capacityBytes, 10);
  assertEquals(fileSystem.crash({ seed: 1, capacityBytes: 5 }).capacityBytes, 5);
  assertEquals([fileSystem.capacityBytes, fileSystem.kill().capacityBytes], [10, 10]);
});

test("MemoryFileSystem.writeFile() puts files there as if they had always been", () => {
  const { fileSystem, file } = withLog("abc");
  file.write(bytesOf("not synced"), 0);
  fileSystem.writeFile("/log", bytesOf("new"));
  fileSystem.writeFile("d\\e/../f", bytesOf("other"));
  assertEquals(fileSystem.paths(), ["/d/f", "/log"]);
  assertEquals(outcomes(fileSystem, (crashed) => `${logText(crashed)} ${textOf(crashed, "/d/f")}`), ["new other"]);
  assertEquals(contentOf(file), "new");
  assertErrno(() => fileSystem.writeFile("/d", bytesOf("")), "EISDIR");
  assertErrno(() => fileSystem.writeFile("/log/x", bytesOf("")), "ENOTDIR");
});

test("MemoryFileSystem.readFile() gives a copy, or throws when there is no file", () => {
  const { fileSystem } = withLog("abc");
  const bytes = fileSystem.readFile("log");
  bytes.fill(0);
  assertNotEquals(fileSystem.readFile("/log"), bytes);
  assertErrno(() => fileSystem.readFile("/none"), "ENOENT");
  assertErrno(() => fileSystem.readFile("/"), "EISDIR");
});
