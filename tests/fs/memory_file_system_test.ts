/**
 * What `MemoryFileSystem` leaves of a process that dies and of a power cut: each point of its fault model as a truth.
 * That it is a proper file system is shown by the conformance suite in `adapters_test.ts`.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { seededRandom } from "../support/random.ts";
import { assertErrno, assertRejectsErrno, bytesOf, contentOf } from "./conformance.ts";
import { logText, outcomes, SEEDS, textOf, withLog } from "./memory_outcomes.ts";

test("MemoryFileSystem.kill() keeps everything written and frees locks", () => {
  const { fileSystem, file } = withLog("");
  file.write(bytesOf("not synced"), 0);
  fileSystem.open("/new", "create").close();
  fileSystem.lock("/lock");
  const next = fileSystem.kill();
  assertEquals(next.paths(), ["/lock", "/log", "/new"]);
  assertEquals(textOf(next, "/log"), "not synced");
  next.lock("/lock").release();
  // Written is not synced: the power can still go.
  assertEquals(outcomes(next, (crashed) => String(crashed.paths().includes("/new"))), ["false", "true"]);
  assert(outcomes(next, logText).includes(""));
});

test("MemoryFileSystem.kill() leaves nothing that the dead process could do", async () => {
  const { fileSystem, file } = withLog("abc");
  const lock = fileSystem.lock("/lock");
  file.write(bytesOf("d"), 3);
  const sync = assertRejectsErrno(() => file.sync(), "EBADF");
  const syncDirectory = assertRejectsErrno(() => fileSystem.syncDirectory("/"), "EBADF");
  const next = fileSystem.kill();
  await sync;
  await syncDirectory;
  assert(outcomes(next, logText).includes("abc"));

  assertErrno(() => file.size(), "EBADF");
  assertErrno(() => file.read(new Uint8Array(1), 0), "EBADF");
  assertErrno(() => file.write(bytesOf("x"), 0), "EBADF");
  assertErrno(() => file.truncate(0), "EBADF");
  await assertRejectsErrno(() => file.sync(), "EBADF");
  file.close();
  assertErrno(() => fileSystem.open("/log", "write"), "EBADF");
  assertErrno(() => fileSystem.list("/"), "EBADF");
  assertErrno(() => fileSystem.makeDirectory("/d"), "EBADF");
  assertErrno(() => fileSystem.rename("/log", "/x"), "EBADF");
  assertErrno(() => fileSystem.remove("/log"), "EBADF");
  assertErrno(() => fileSystem.lock("/lock"), "EBADF");
  await assertRejectsErrno(() => fileSystem.syncDirectory("/"), "EBADF");
  const nextLock = next.lock("/lock");
  lock.release();
  assertErrno(() => next.lock("/lock"), "EBUSY");
  nextLock.release();
  assertEquals(textOf(next, "/log"), "abcd");
});

test("MemoryFileSystem.crash() keeps what was synced, whatever the seed", async () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory("/a/b");
  await fileSystem.syncDirectory("/");
  await fileSystem.syncDirectory("/a");
  const file = fileSystem.open("/a/b/file", "create");
  await fileSystem.syncDirectory("/a/b");
  file.write(bytesOf("abc"), 0);
  file.truncate(10_000);
  file.truncate(5);
  file.write(bytesOf("X"), 1);
  await file.sync();
  assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/a/b/file")), ["aXc\0\0"]);
});

test("MemoryFileSystem.crash() keeps, loses or tears a write that was not synced", () => {
  const { fileSystem, file } = withLog("....");
  file.write(bytesOf("abcd"), 4);
  assertEquals(outcomes(fileSystem, logText), [
    "....",
    "....\0\0\0\0", // the size without the bytes
    "....a",
    "....a\0\0\0",
    "....ab",
    "....ab\0\0",
    "....abc",
    "....abc\0",
    "....abcd",
  ]);
});

test("MemoryFileSystem.crash() leaves old bytes where a write over them is lost", () => {
  const { fileSystem, file } = withLog("12345678");
  file.write(bytesOf("abc"), 2);
  assertEquals(outcomes(fileSystem, logText), ["12345678", "12a45678", "12ab5678", "12abc678"]);
});

test("MemoryFileSystem.crash() tears at sectors and pages, in any order", () => {
  const { fileSystem, file } = withLog("");
  file.write(new Uint8Array(100).fill(1), 0);
  file.write(new Uint8Array(12_188).fill(1), 100);
  const patterns = outcomes(fileSystem, (crashed) => {
    const bytes = crashed.readFile("/log");
    let pattern = "";
    for (let i = 0; i < bytes.length; i += 512) {
      const unit = bytes.subarray(i, i + 512);
      pattern += unit.every((byte) => byte === 1) ? "1" : unit.every((byte) => byte === 0) ? "0" : "x";
    }
    return pattern;
  });
  assert(patterns.includes("1".repeat(24)), "all of it");
  assert(patterns.includes(""), "nothing");
  assert(patterns.some((pattern) => /^1+0+$/.test(pattern)), "a beginning, then zeros");
  assert(patterns.some((pattern) => /^[1x]0*1{8}0{8}$/.test(pattern)), "the first page missing, the second there");
  assert(patterns.some((pattern) => /101/.test(pattern)), "a sector missing between others");
  assert(patterns.some((pattern) => /^1+x0+$/.test(pattern)), "cut at a byte");
});

test("MemoryFileSystem.crash() loses earlier writes and keeps later ones for some seeds", () => {
  const { fileSystem, file } = withLog("");
  for (let i = 0; i < 4; i++) file.write(bytesOf("abcd"[i]!), i);
  const found = outcomes(fileSystem, logText);
  assert(found.includes("abcd") && found.includes("") && found.includes("ab"));
  assert(found.includes("\0b\0d") && found.includes("\0\0\0d"));
});

test("MemoryFileSystem.crash() keeps all of many changes for some seeds, and none for others", () => {
  const { fileSystem, file } = withLog("");
  for (let i = 0; i < 1_000; i++) file.write(bytesOf("x"), i);
  const lengths = outcomes(fileSystem, (crashed) => logText(crashed).replaceAll("\0", "").length.toString());
  assert(lengths.includes("0") && lengths.includes("1000"));
});

test("MemoryFileSystem.crash() keeps or undoes a truncate that was not synced", () => {
  const { fileSystem, file } = withLog("abcdef");
  file.truncate(2);
  assertEquals(outcomes(fileSystem, logText), ["ab", "abcdef"]);
  const grown = withLog("ab");
  grown.file.truncate(4);
  assertEquals(outcomes(grown.fileSystem, logText), ["ab", "ab\0\0"]);
});

test("MemoryFileSystem.crash() keeps or undoes a create, and a synced file may have no name", async () => {
  const fileSystem = new MemoryFileSystem();
  const file = fileSystem.open("/new", "create");
  file.write(bytesOf("abc"), 0);
  await file.sync();
  assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/new")), ["(none)", "abc"]);
  await fileSystem.syncDirectory("/");
  assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/new")), ["abc"]);
});

test("MemoryFileSystem.crash() keeps or undoes a remove", async () => {
  const { fileSystem } = withLog("abc");
  fileSystem.remove("/log");
  assertEquals(outcomes(fileSystem, logText), ["(none)", "abc"]);
  await fileSystem.syncDirectory("/");
  assertEquals(outcomes(fileSystem, logText), ["(none)"]);
});

test("MemoryFileSystem.crash() keeps or undoes a rename, but never half of it", async () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/a/from", bytesOf("new"));
  fileSystem.writeFile("/b/to", bytesOf("old"));
  fileSystem.rename("/a/from", "/b/to");
  const describe = (crashed: MemoryFileSystem) => `${textOf(crashed, "/a/from")} ${textOf(crashed, "/b/to")}`;
  assertEquals(outcomes(fileSystem, describe), ["(none) new", "new old"]);
  await fileSystem.syncDirectory("/a");
  assertEquals(outcomes(fileSystem, describe), ["(none) new"]);
});

test("MemoryFileSystem.crash() keeps no change of a name without those before it on the same name", () => {
  const { fileSystem } = withLog("old");
  fileSystem.rename("/log", "/renamed");
  fileSystem.open("/log", "create").close();
  const describe = (crashed: MemoryFileSystem) => `${logText(crashed)} ${textOf(crashed, "/renamed")}`;
  // Never the new file without the renamed one: the old content would be gone for good.
  assertEquals(outcomes(fileSystem, describe), [" old", "(none) old", "old (none)"]);
});

test("FileSystem.syncDirectory() takes along what a rename from another directory came after", async () => {
  const { fileSystem } = withLog("new");
  fileSystem.makeDirectory("/d");
  await fileSystem.syncDirectory("/");
  fileSystem.open("/d/target", "create").close();
  fileSystem.rename("/log", "/d/target");
  fileSystem.open("/d/later", "create").close();
  await fileSystem.syncDirectory("/");
  assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/d/target")), ["new"]);
  assertEquals(outcomes(fileSystem, (crashed) => textOf(crashed, "/d/later")), ["", "(none)"]);
});

test("MemoryFileSystem.crash() loses a directory whose own name was not synced", async () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory("/d");
  fileSystem.open("/d/file", "create").close();
  await fileSystem.syncDirectory("/d");
  assertEquals(outcomes(fileSystem, (crashed) => crashed.paths().join()), ["", "/d/file"]);
  await fileSystem.syncDirectory("/");
  assertEquals(outcomes(fileSystem, (crashed) => crashed.paths().join()), ["/d/file"]);
});

test("MemoryFileSystem.crash() leaves the crashed one as it is, and a state that crashes into itself", () => {
  const { fileSystem, file } = withLog("abc");
  file.write(bytesOf("def"), 3);
  fileSystem.lock("/lock");
  for (let seed = 0; seed < SEEDS; seed++) {
    const crashed = fileSystem.crash({ seed });
    crashed.lock("/lock").release();
    crashed.writeFile("/lock", bytesOf(""));
    for (let again = 0; again < 5; again++) {
      assertEquals(crashed.crash({ seed: again }).readFile("/log"), crashed.readFile("/log"));
    }
    crashed.open("/log", "write").truncate(0);
  }
  assertEquals(contentOf(file), "abcdef");
  assertErrno(() => fileSystem.lock("/lock"), "EBUSY");
});

test("MemoryFileSystem.crash() depends on nothing but the calls and the seed", () => {
  const state = (seed: number): string => {
    const { fileSystem, file } = withLog("abc");
    for (let i = 0; i < 50; i++) {
      file.write(new Uint8Array(1_000).fill(i), i * 700);
      fileSystem.open(`/file ${i}`, "create").close();
    }
    const crashed = fileSystem.crash({ seed });
    return `${crashed.paths()} ${crashed.readFile("/log")}`;
  };
  const states = new Set<string>();
  for (let seed = 0; seed < 50; seed++) {
    assertEquals(state(seed), state(seed));
    states.add(state(seed));
  }
  assert(states.size > 30, `50 seeds gave ${states.size} states`);
});

test("MemoryFileSystem.crash() leaves only bytes that were there, for random programs and seeds", async () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const { fileSystem, file } = withLog("");
    let stable: number[] = [];
    /** For each position, the bytes that were written there since the last sync. */
    let written: Set<number>[] = [];
    let truncated = false;
    for (let step = random(40); step >= 0; step--) {
      const choice = random(10);
      const position = random(3_000);
      if (choice < 6) {
        const bytes = new Uint8Array(1 + random(2_000)).fill(1 + random(255));
        file.write(bytes, position);
        for (let i = 0; i < bytes.length; i++) (written[position + i] ??= new Set()).add(bytes[i]!);
      } else if (choice < 8) {
        file.truncate(position);
        truncated = true;
      } else {
        await file.sync();
        stable = [...fileSystem.readFile("/log")];
        written = [];
        truncated = false;
      }
    }
    for (let crash = 0; crash < 10; crash++) {
      const bytes = fileSystem.crash({ seed: crash }).readFile("/log");
      const message = `seed ${seed}, crash ${crash}`;
      if (!truncated) assert(bytes.length >= stable.length, message);
      bytes.forEach((byte, i) => {
        const known = byte === stable[i] || written[i]?.has(byte);
        assert(known || (byte === 0 && (i >= stable.length || truncated)), `${message}, byte ${i} is ${byte}`);
      });
      if (written.length === 0 && !truncated) assertEquals([...bytes], stable, message);
    }
  }
});

test("FileHandle.sync() covers what was written before the call, from the moment it resolves", async () => {
  let finish = () => {};
  const fileSystem = new MemoryFileSystem({
    whileSyncing: (operation) => {
      assertEquals(operation, { operation: "sync", path: "/log", index: 2 });
      return new Promise((resolve) => finish = resolve);
    },
  });
  fileSystem.writeFile("/log", bytesOf(""));
  const file = fileSystem.open("/log", "write");
  file.write(bytesOf("a"), 0);
  const sync = file.sync();
  file.write(bytesOf("b"), 1);
  assertEquals(outcomes(fileSystem, logText).includes(""), true);
  finish();
  await sync;
  assertEquals(outcomes(fileSystem, logText), ["a", "a\0", "ab"]);
});

test("FileHandle.sync() rejects with EBADF when the handle is closed meanwhile", async () => {
  const { fileSystem, file } = withLog("");
  file.write(bytesOf("a"), 0);
  const sync = assertRejectsErrno(() => file.sync(), "EBADF");
  file.close();
  await sync;
  assert(outcomes(fileSystem, logText).includes(""));
});

test("FileSystem.syncDirectory() covers what was done before the call, from the moment it resolves", async () => {
  let finish = () => {};
  const fileSystem = new MemoryFileSystem({ whileSyncing: () => new Promise((resolve) => finish = resolve) });
  fileSystem.open("/a", "create").close();
  const sync = fileSystem.syncDirectory("/");
  fileSystem.open("/b", "create").close();
  assert(outcomes(fileSystem, (crashed) => crashed.paths().join()).includes(""));
  finish();
  await sync;
  assertEquals(outcomes(fileSystem, (crashed) => crashed.paths().join()), ["/a", "/a,/b"]);
});

test("FileSystem.lock() of memory is lost when a handle of the lock file is closed, as POSIX locks are", () => {
  const fileSystem = new MemoryFileSystem();
  const lock = fileSystem.lock("/lock");
  fileSystem.open("/lock", "read").close();
  const second = fileSystem.lock("/lock");
  lock.release();
  assertErrno(() => fileSystem.lock("/lock"), "EBUSY");
  second.release();
});
