/**
 * Trouble that passes makes nothing final: a file that somebody else has open for himself, or mapped, on Windows; a moment
 * without descriptors; a segment that only another user may write. Only a sync that was begun and failed is final.
 *
 * The same with real holders of files, where Windows or Wine is: `tests/windows/held_files_test.ts`.
 */

import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { BufferFailedError, BufferLockedError, FileSystemError, PermissionError } from "../../src/errors/mod.ts";
import { retryBlocking, retryWhilePassing } from "../../src/fs/retry.ts";
import type { FileHandle, FileLock, FileSystem, OpenMode } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { currentRuntime } from "../support/children.ts";
import { hitFrame, makeBase, SMALL } from "../support/damaged_logs.ts";
import { InstrumentedDisk, valuesAfterPowerCuts, valuesIn } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import {
  commitBatches,
  copyOf,
  DIRECTORY,
  drain,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  texts,
} from "../support/logs.ts";

const PASSING = ["EBUSY", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN"];
const LOSSES = `${DIRECTORY}/quarantine/losses.json`;

/** A killed log of five records, each in a segment of its own. */
async function fiveSegments(): Promise<MemoryFileSystem> {
  const { fileSystem } = await makeLog(texts(5).map((text) => text.padEnd(70)), { segmentBytes: 256 });
  assertEquals(segmentsOf(fileSystem).length, 5);
  return fileSystem;
}

/** Passes everything on to `target`, but for these methods. */
function patched<O extends object>(target: O, methods: Partial<O>): O {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(Reflect.has(methods, name) ? methods : target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A file system whose files somebody has mapped: none can be made shorter. */
function mapped(
  fileSystem: FileSystem,
  errno: string,
): { readonly fileSystem: FileSystem; readonly refused: string[] } {
  const refused: string[] = [];
  const open = (path: string, mode: OpenMode): FileHandle => {
    const handle = fileSystem.open(path, mode);
    return patched(handle, {
      truncate(size: number) {
        if (size >= handle.size()) return handle.truncate(size);
        refused.push(path);
        throw FileSystemError.from({ errno, operation: "truncate", path });
      },
    });
  };
  return { fileSystem: patched(fileSystem, { open }), refused };
}

test("FileBuffer.open() waits for files that can't be opened or replaced for the moment", async () => {
  for (const errno of PASSING) {
    for (
      const match of [
        { operation: "rename", path: "owner.json.new" },
        { operation: "rename", path: "cursor.new" },
        { operation: "open", path: "owner.json.new", mode: "create" },
        { operation: "open", path: "owner.json", mode: "read" },
        { operation: "open", path: "cursor", mode: "read" },
        { operation: "open", path: "5.wal", mode: "read" },
        { operation: "open", path: "1.wal", mode: "read" },
      ] as const
    ) {
      const disk = new InstrumentedDisk(await fiveSegments());
      disk.fail(match, errno, 3);
      const { buffer, events } = await openLog(disk.fileSystem);
      assertEquals((await drain(buffer)).map((text) => text.trim()), texts(5).map((text) => text.trim()));
      assertEquals(events.filter(({ type }) => type === "damage-found"), [], `${errno} ${JSON.stringify(match)}`);
      await buffer.close();
    }
  }
});

test("FileBuffer.open() goes on with the owner's file that is there when that can't be replaced at all", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  disk.fail({ operation: "rename", path: "owner.json.new" }, "EPERM", Infinity);
  const { buffer } = await openLog(disk.fileSystem);
  assertEquals((await drain(buffer)).length, 5);
  await assertRejects(() => openLog(disk.fileSystem), BufferLockedError);
  await buffer.close();
  const owner = JSON.parse(new TextDecoder().decode(disk.fileSystem.readFile(`${DIRECTORY}/owner.json`)));
  assertEquals(owner.pid, process.pid);
});

test("FileBuffer.open() goes on without the owner's file when another program has that for itself", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  disk.fail({ operation: "rename", path: "owner.json.new" }, "EPERM", Infinity);
  disk.fail({ operation: "open", path: "owner.json" }, "EBUSY", Infinity);
  const { buffer } = await openLog(disk.fileSystem);
  assertEquals((await drain(buffer)).length, 5);
  await buffer.close();
});

test("FileBuffer.open() still fails with what doesn't pass", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  disk.fail({ operation: "rename", path: "owner.json.new" }, "EIO");
  disk.forget();
  const error = await assertRejects(() => openLog(disk.fileSystem), FileSystemError);
  assertEquals([error.errno, disk.list("rename").length], ["EIO", 1]);
  await (await openLog(disk.fileSystem)).buffer.close();
});

test("FileBuffer.open() writes down what is lost also when losses.json is open elsewhere for the moment", async () => {
  const base = await makeBase();
  const damaged = copyOf(base.fileSystem, { [base.path(1)]: hitFrame(base.bytes(1), 1) });
  const disk = new InstrumentedDisk(damaged);
  disk.fail({ operation: "rename", path: "losses.json.new" }, "EPERM", 3);
  const { buffer, events } = await openLog(disk.fileSystem, SMALL);
  await drain(buffer);
  await buffer.close();
  assert(events.some(({ type }) => type === "damage-found"));
  assert(JSON.parse(new TextDecoder().decode(disk.fileSystem.readFile(LOSSES))).lost.length > 0);
});

test("FileBuffer.open() warns when what is lost can't be written down", async () => {
  const base = await makeBase();
  const damaged = copyOf(base.fileSystem, { [base.path(1)]: hitFrame(base.bytes(1), 1) });
  const disk = new InstrumentedDisk(damaged);
  disk.fail({ operation: "rename", path: "losses.json.new" }, "EPERM", Infinity);
  const { buffer, events } = await openLog(disk.fileSystem, SMALL);
  await drain(buffer);
  await buffer.close();
  assert(events.some(({ type }) => type === "damage-found"));
  assert(events.some((event) => event.type === "warned" && event.error.code === "PERMISSION"));
});

test("FileBuffer.open() gets past a torn tail that can't be cut off, because somebody has mapped the file", async () => {
  const fileSystem = await fiveSegments();
  const last = segmentPath(5);
  const whole = fileSystem.readFile(last);
  const torn = copyOf(fileSystem, { [last]: new Uint8Array([...whole, ...whole.subarray(80, 130)]) });
  const disk = new InstrumentedDisk(torn);
  disk.fail({ operation: "truncate" }, "EBUSY", Infinity);
  for (let i = 0; i < 2; i++) {
    const { buffer, events } = await openLog(disk.fileSystem);
    assertEquals(await buffer.put(`new ${i}`), 6 + i);
    assertEquals(events.filter(({ type }) => type === "damage-found"), []);
    await buffer.close();
  }
  assertEquals(disk.fileSystem.readFile(last).subarray(whole.length), new Uint8Array(50));
  assertEquals((await valuesIn(disk.fileSystem)).slice(5), ["new 0", "new 1"]);
});

test("FileBuffer puts, rotates and closes while its segments are mapped and can't be cut", async () => {
  for (const errno of ["EBUSY", "EPERM", "EACCES"]) {
    const disk = new MemoryFileSystem();
    const { fileSystem, refused } = mapped(disk, errno);
    const { buffer } = await openLog(fileSystem, { fsync: "always", segmentBytes: 1024 });
    for (const value of texts(30)) await buffer.put(value.padEnd(70));
    await buffer.close();
    assert(refused.length > 3);
    for (const values of await valuesAfterPowerCuts(disk)) assertEquals(values.length, 30);
  }
});

test("FileBuffer goes on after a failed write that can't be cut off, because somebody has mapped the file", async () => {
  for (const fsync of ["always", "never"] as const) {
    const disk = new InstrumentedDisk();
    const { fileSystem } = mapped(disk.fileSystem, "EBUSY");
    const { buffer } = await openLog(fileSystem, { fsync });
    await buffer.put("one");
    disk.fail({ operation: "write", path: ".wal" }, { kind: "torn", errno: "EIO", bytes: 30 });
    await assertRejects(() => buffer.put("lost ".repeat(50)), FileSystemError, "EIO");
    assertEquals(await buffer.put("two"), 2);
    assertEquals(await valuesIn(disk.fileSystem), ["one", "two"]);
    await buffer.close();
    assertEquals(await valuesIn(disk.fileSystem), ["one", "two"]);
  }
});

test("FileBuffer takes back what a failed sync leaves also where the segment is mapped", async () => {
  const disk = new InstrumentedDisk();
  const { fileSystem } = mapped(disk.fileSystem, "EBUSY");
  const { buffer } = await openLog(fileSystem, { fsync: "always" });
  await buffer.put("one");
  disk.fail({ operation: "sync", path: ".wal" });
  await assertRejects(() => buffer.put("refused"), BufferFailedError);
  await buffer.close().catch(() => {});
  assertEquals(await valuesIn(disk.fileSystem), ["one"]);
});

test("FileBuffer.flush() waits for segments of an earlier process that can't be opened for the moment", async () => {
  for (const errno of PASSING) {
    const disk = new InstrumentedDisk(await fiveSegments());
    const { buffer } = await openLog(disk.fileSystem, { fsync: 1000 });
    // For writing, and for reading where that would do.
    for (const mode of ["write", "read"] as const) {
      disk.fail({ operation: "open", path: "3.wal", mode }, errno, 3);
    }
    await buffer.flush();
    assert(disk.list("sync").includes("sync 3.wal"));
    await buffer.put("new");
    await buffer.close();
    assertEquals((await valuesIn(disk.fileSystem)).length, 6);
  }
});

/** A file system whose directories can't be opened for a sync the next `times` times; counts what was tried. */
function withoutDescriptors(fileSystem: FileSystem, errno: string): { fileSystem: FileSystem; times: number } {
  const state = {
    times: 0,
    fileSystem: patched(fileSystem, {
      syncDirectory(path: string): Promise<void> {
        if (state.times === 0) return fileSystem.syncDirectory(path);
        state.times--;
        return Promise.reject(FileSystemError.from({ errno, operation: "open", path }));
      },
    }),
  };
  return state;
}

for (const fsync of ["always", 10] as const) {
  test(`FileBuffer goes on after moments in which no directory can be opened for its sync (fsync: ${fsync})`, async () => {
    for (const errno of PASSING) {
      const memory = new MemoryFileSystem();
      const state = withoutDescriptors(memory, errno);
      const { buffer, events } = await openLog(state.fileSystem, { fsync, segmentBytes: 256 });
      for (const text of texts(5)) {
        state.times = 4;
        await buffer.put(text.padEnd(70));
        await buffer.flush();
        assertEquals(state.times, 0, errno);
      }
      assertEquals(events.filter(({ type }) => type === "failed"), []);
      for (const values of await valuesAfterPowerCuts(memory, 3)) {
        assertEquals(values, texts(5).map((text) => text.padEnd(70)), errno);
      }
      await buffer.close();
    }
  });
}

test("FileBuffer.open() gets over an owner's file that can neither be replaced nor identified, and leaves none open", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  disk.fail({ operation: "rename", path: "owner.json.new" }, "ENOSPC", Infinity);
  disk.fail({ operation: "identify", path: "owner.json" }, "EIO", 1);
  let open = 0;
  const counted = patched(disk.fileSystem as FileSystem, {
    open(path: string, mode: OpenMode): FileHandle {
      const handle = disk.fileSystem.open(path, mode);
      open++;
      return patched(handle, {
        close() {
          open--;
          handle.close();
        },
      });
    },
  });
  await assertRejects(() => openLog(counted), FileSystemError);
  assertEquals(open, 0);
});

test("FileBuffer.flush() syncs a segment that another user has written, and nobody else may write", async () => {
  if (process.platform === "win32") return;
  const disk = new InstrumentedDisk(await fiveSegments());
  const { buffer } = await openLog(disk.fileSystem, { fsync: 1000 });
  disk.fail({ operation: "open", path: "3.wal", mode: "write" }, "EACCES", Infinity);
  await buffer.flush();
  assert(disk.list("sync").includes("sync 3.wal"));
  await buffer.put("new");
  await buffer.close();
});

test("FileBuffer.commit() removes the segments behind one that can't be removed, and that one some time later", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  const { buffer, events, clock } = await openLog(disk.fileSystem, { maxRecords: 4 });
  disk.fail({ operation: "remove", path: "1.wal" }, "EBUSY", 2);
  await commitBatches(buffer, 1);
  await settle();
  assertEquals(segmentsOf(disk.fileSystem).map((name) => Number.parseInt(name)), [1, 5]);
  assertEquals(events.flatMap((event) => event.type === "warned" ? [event.error.code] : []), ["FILE_SYSTEM"]);
  // Nobody commits any more: so nothing but time brings the next attempt.
  for (const ms of [1_000, 2_000]) {
    assertEquals(segmentsOf(disk.fileSystem).length, 2);
    clock.advance(ms);
    await settle();
  }
  assertEquals(segmentsOf(disk.fileSystem).map((name) => Number.parseInt(name)), [5]);
  await buffer.close();
  assertEquals((await valuesIn(disk.fileSystem)).length, 1);
});

test("FileBuffer.commit() gives up a round in which hardly any segment can be removed", async () => {
  const { fileSystem } = await makeLog(texts(30).map((text) => text.padEnd(70)), { segmentBytes: 256 });
  const disk = new InstrumentedDisk(fileSystem);
  const { buffer, events } = await openLog(disk.fileSystem, { maxRecords: 30 });
  disk.fail({ operation: "remove" }, "EACCES", Infinity);
  disk.forget();
  await commitBatches(buffer, 1);
  await settle();
  assertEquals([disk.list("remove").length, events.filter(({ type }) => type === "warned").length], [8, 1]);
  disk.heal();
  await buffer.close();
});

test("FileBuffer keeps its segments apart from one that could not be removed: nothing is lost or comes twice", async () => {
  const disk = new InstrumentedDisk(await fiveSegments());
  const { buffer } = await openLog(disk.fileSystem, { maxRecords: 2 });
  disk.fail({ operation: "remove", path: "1.wal" }, "EBUSY", Infinity);
  await commitBatches(buffer, 2);
  await settle();
  await buffer.close();
  const again = await openLog(disk.fileSystem);
  assertEquals(again.events.filter(({ type }) => type === "damage-found"), []);
  assertEquals((await drain(again.buffer)).map((text) => text.trim()), [texts(5)[4]!.trim()]);
  await again.buffer.close();
});

test("FileBuffer.open() tries again for the lock of a process that has ended, and not for one that runs", async () => {
  const base = await fiveSegments();
  const path = `${DIRECTORY}/owner.json`;
  const notes = JSON.parse(new TextDecoder().decode(base.readFile(path)));
  const tryWith = async (pid: number, times: number): Promise<string> => {
    let attempts = 0;
    const disk = copyOf(base, { [path]: new TextEncoder().encode(JSON.stringify({ ...notes, pid })) });
    const lock = (path: string): FileLock => {
      if (++attempts <= times) throw FileSystemError.from({ errno: "EBUSY", operation: "lock", path });
      return disk.lock(path);
    };
    try {
      await (await openLog(patched<FileSystem>(disk, { lock }))).buffer.close();
      return `opened at attempt ${attempts}`;
    } catch (error) {
      assert(error instanceof BufferLockedError);
      return `refused at attempt ${attempts}`;
    }
  };
  // No process has a number above 2^22 on Linux, nor above 99,998 on macOS.
  const ended = 2 ** 22 + 1;
  // Deno can't tell without one permission more.
  const canTell = currentRuntime().name !== "deno";
  const isWindows = process.platform === "win32";
  assertEquals(await tryWith(ended, 3), canTell || isWindows ? "opened at attempt 4" : "refused at attempt 1");
  assertEquals(await tryWith(ended, Infinity), canTell || isWindows ? "refused at attempt 8" : "refused at attempt 1");
  if (canTell) assertEquals(await tryWith(process.ppid, 3), "refused at attempt 1");
});

test("retryWhilePassing() and retryBlocking() give up in the end, with the file system's error", async () => {
  const error = FileSystemError.from({ errno: "EBUSY", operation: "rename", path: "a" });
  let calls = 0;
  const call = () => {
    calls++;
    throw error;
  };
  assertEquals(await assertRejects(async () => await retryWhilePassing(call)), error);
  assertEquals(calls, 14);
  calls = 0;
  assertEquals(assertThrows(() => retryBlocking(call)), error);
  assertEquals(calls, 5);
});

test("retryWhilePassing() and retryBlocking() try once what doesn't pass, and what Deno's sandbox refuses", async () => {
  const data = { operation: "open", path: "a" };
  for (
    const error of [
      FileSystemError.from({ ...data, errno: "EIO" }),
      FileSystemError.from({ ...data, errno: "EROFS" }),
      new PermissionError({ ...data, errno: "EACCES", flag: "--allow-read=a" }),
      new TypeError("no error of a file system"),
    ]
  ) {
    let calls = 0;
    const call = () => {
      calls++;
      throw error;
    };
    await assertRejects(async () => await retryWhilePassing(call));
    assertThrows(() => retryBlocking(call));
    assertEquals(calls, 2);
  }
  assertEquals(retryWhilePassing(() => 1), 1);
});
