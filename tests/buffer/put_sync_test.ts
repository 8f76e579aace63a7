/**
 * `putSync()` and `flushSync()`: order, durability, what they refuse, and what becomes of them beside a sync that is under way.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path/join";
import {
  BufferClosedError,
  BufferFailedError,
  BufferFullError,
  CodecError,
  FileBuffer,
  type FileBufferOptions,
  FileSystemError,
  type LocalBuffer,
  MemoryBuffer,
  NoSpaceError,
  RecordTooLargeError,
} from "../../mod.ts";
import { type Fault, MemoryFileSystem, type MemoryFileSystemOptions } from "../../src/testing/mod.ts";

const PATH = "/b";

/** A buffer on a file system in memory. */
async function openOn(
  fsync: "always" | "never",
  { disk = {}, ...options }: Partial<FileBufferOptions<string>> & { disk?: MemoryFileSystemOptions } = {},
): Promise<{ buffer: FileBuffer<string>; fileSystem: MemoryFileSystem }> {
  const fileSystem = new MemoryFileSystem(disk);
  const buffer = await FileBuffer.open<string>({ path: PATH, fileSystem, fsync, statusMs: 0, ...options });
  return { buffer, fileSystem };
}

/** The records that another process finds. */
async function recordsIn(fileSystem: MemoryFileSystem): Promise<string[]> {
  const buffer = await FileBuffer.open<string>({ path: PATH, fileSystem, statusMs: 0 });
  const records: string[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    records.push(...batch);
    await buffer.commit(batch);
  }
  await buffer.close();
  return records;
}

const BUFFERS: readonly (readonly [name: string, open: (limits: object) => Promise<LocalBuffer<string>>])[] = [
  ["MemoryBuffer", (limits) => MemoryBuffer.open<string>(limits)],
  ["FileBuffer with 'always'", async (limits) => (await openOn("always", limits)).buffer],
  ["FileBuffer with 'never'", async (limits) => (await openOn("never", limits)).buffer],
];

for (const [name, open] of BUFFERS) {
  test(`${name}.putSync() comes behind the puts before it, and in front of those after it`, async () => {
    const buffer = await open({});
    const before = [buffer.put("a"), buffer.putMany(["b", "c"])];
    assertEquals(buffer.putSync("d"), 4);
    assertEquals(buffer.stats().pendingRecords, 4);
    const after = buffer.put("e");
    assertEquals(buffer.putSync("f"), 6);
    assertEquals(await Promise.all([...before, after]), [1, { first: 2, last: 3 }, 5]);
    buffer.flushSync();
    assertEquals((await buffer.emit()).records, ["a", "b", "c", "d", "e", "f"]);
    await buffer.close();
  });

  test(`${name}.putSync() leaves nothing of what it refuses`, async () => {
    const buffer = await open({ maxBytes: 100, maxBacklogBytes: 1000 });
    assertThrows(() => buffer.putSync((() => {}) as unknown as string), CodecError);
    assertThrows(() => buffer.putSync("x".repeat(200)), RecordTooLargeError);
    assertEquals(buffer.putSync("a"), 1);
    assertEquals([buffer.stats().rejected, buffer.stats().pendingRecords], [2, 1]);
    await buffer.close();
    assertThrows(() => buffer.putSync("b"), BufferClosedError);
    assertThrows(() => buffer.flushSync(), BufferClosedError);
  });

  for (const whenFull of ["reject", "block", "drop-oldest"] as const) {
    test(`${name}.putSync() never waits for space, with "${whenFull}"`, async () => {
      const buffer = await open({ whenFull, maxBacklogBytes: 150 });
      assertEquals(buffer.putSync("x".repeat(60)), 1);
      assertThrows(() => buffer.putSync("y".repeat(80)), BufferFullError);
      assertEquals([buffer.stats().rejected, buffer.stats().pendingRecords], [1, 1]);
      await buffer.commit(await buffer.emit());
      assertEquals(buffer.putSync("z".repeat(80)), 2);
      await buffer.close();
    });
  }
}

test("FileBuffer.putSync() doesn't overtake a put that waits for space", async () => {
  const { buffer } = await openOn("never", { whenFull: "block", maxBacklogBytes: 150 });
  buffer.putSync("x".repeat(60));
  const waiting = buffer.put("y".repeat(60));
  assertThrows(() => buffer.putSync("z"), BufferFullError);
  await buffer.commit(await buffer.emit());
  assertEquals([await waiting, buffer.putSync("z")], [2, 3]);
  await buffer.close();
});

test("FileBuffer.putSync() with 'always' survives a power cut at once, and the puts of its tick with it", async () => {
  const { buffer, fileSystem } = await openOn("always");
  void buffer.put("a").catch(() => {});
  buffer.putSync("b");
  for (let seed = 0; seed < 20; seed++) {
    assertEquals(await recordsIn(fileSystem.crash({ seed })), ["a", "b"], `${seed}`);
  }
});

test("FileBuffer.putSync() with 'never' survives a kill, and flushSync() makes it survive a power cut", async () => {
  const { buffer, fileSystem } = await openOn("never", { segmentBytes: 256 });
  for (const record of ["a", "b".repeat(100), "c".repeat(100), "d"]) buffer.putSync(record);
  buffer.flushSync();
  for (let seed = 0; seed < 20; seed++) {
    const found = await recordsIn(fileSystem.crash({ seed }));
    assertEquals(found.map((record) => record[0]).join(""), "abcd", `${seed}`);
  }
});

test("FileBuffer.flushSync() syncs nothing where all is synced, and a listener that is told of a sync may call it", async () => {
  const { buffer } = await openOn("never");
  const told: string[] = [];
  buffer.subscribe(({ type }) => {
    told.push(type);
    if (type === "synced") buffer.flushSync();
  });
  await buffer.put("a");
  told.length = 0;
  for (let i = 0; i < 3; i++) buffer.flushSync();
  assertEquals([told, buffer.stats().syncs], [["synced"], 1]);
  await buffer.close();
});

test("FileBuffer.flushSync() covers what an earlier process left unsynced", async () => {
  const { buffer, fileSystem } = await openOn("never");
  await buffer.put("a");
  const killed = fileSystem.kill();
  const again = await FileBuffer.open<string>({ path: PATH, fileSystem: killed, fsync: "never", statusMs: 0 });
  again.flushSync();
  for (let seed = 0; seed < 20; seed++) assertEquals(await recordsIn(killed.crash({ seed })), ["a"], `${seed}`);
});

test("FileBuffer.putSync() beside a sync that fails and gets the error doesn't take lost bytes for synced", async () => {
  let fault: Fault | undefined;
  const held: (() => void)[] = [];
  const disk: MemoryFileSystemOptions = {
    onOperation({ operation, path }) {
      if (operation !== "sync" || !path.endsWith(".wal")) return;
      const now = fault;
      fault = undefined;
      return now;
    },
    whileSyncing: ({ operation }) =>
      operation === "sync" ? new Promise((resolve) => void held.push(resolve)) : undefined,
  };
  const fileSystem = new MemoryFileSystem(disk);
  const opening = FileBuffer.open<string>({ path: PATH, fileSystem, fsync: "always", statusMs: 0 });
  const untilDone = async (promise: Promise<unknown>): Promise<void> => {
    let isDone = false;
    void promise.then(() => isDone = true, () => isDone = true);
    while (!isDone) {
      held.pop()?.();
      await new Promise((resolve) => setTimeout(resolve));
    }
  };
  await untilDone(opening);
  const buffer = await opening;
  await untilDone(buffer.put("first"));
  // The sync of "a" has the error already, and nobody has been told.
  fault = { kind: "lost", errno: "EIO" };
  const a = buffer.put("a");
  const rejected = assertRejects(() => a, BufferFailedError);
  while (held.length === 0) await new Promise((resolve) => setTimeout(resolve));
  assertThrows(() => buffer.putSync("b"), BufferFailedError);
  assertThrows(() => buffer.putSync("c"), BufferFailedError);
  held.pop()!();
  await rejected;
});

for (const [what, isInherited] of [["a closed segment", false], ["a segment of an earlier process", true]] as const) {
  test(`FileBuffer.flushSync() beside a flush that gets the error doesn't take lost bytes for synced: ${what}`, async () => {
    let fault: Fault | undefined = { kind: "lost", errno: "EIO" };
    const held = Promise.withResolvers<void>();
    let isHeld = false;
    const disk: MemoryFileSystemOptions = {
      onOperation({ operation, path }) {
        if (operation !== "sync" || !path.endsWith(".wal")) return;
        const now = fault;
        fault = undefined;
        return now;
      },
      whileSyncing({ path }) {
        isHeld ||= path.endsWith(".wal");
        return path.endsWith(".wal") ? held.promise : undefined;
      },
    };
    const first = await openOn("never", { disk: isInherited ? {} : disk, segmentBytes: 256 });
    for (let i = 0; i < 4; i++) await first.buffer.put("x".repeat(100));
    const buffer = !isInherited ? first.buffer : await FileBuffer.open<string>({
      path: PATH,
      fileSystem: first.fileSystem.kill(disk),
      fsync: "never",
      statusMs: 0,
    });
    const rejected = assertRejects(() => buffer.flush(), BufferFailedError);
    while (!isHeld) await new Promise((resolve) => setTimeout(resolve));
    assertThrows(() => buffer.flushSync(), BufferFailedError);
    held.resolve();
    await rejected;
  });
}

test("FileBuffer.putSync() with 'always' fails for good when its sync does, and takes its record back", async () => {
  let isBroken = false;
  const { buffer, fileSystem } = await openOn("always", {
    disk: {
      onOperation: ({ operation, path }) =>
        isBroken && operation === "sync" && path.endsWith(".wal") ? { kind: "fail", errno: "EIO" } : undefined,
    },
  });
  buffer.putSync("a");
  isBroken = true;
  const error = assertThrows(() => buffer.putSync("b"), BufferFailedError);
  assertInstanceOf(error.cause, FileSystemError);
  assertThrows(() => buffer.putSync("c"), BufferFailedError);
  assertEquals(await recordsIn(fileSystem.kill()), ["a"]);
});

test("FileBuffer.putSync() with 'always' lives on where the directory can't be opened for its sync, and where the disk is full", async () => {
  let errno: string | undefined;
  const { buffer, fileSystem } = await openOn("always", {
    disk: {
      onOperation: ({ operation, path }) => {
        if (errno === "EMFILE" && operation === "syncDirectory") {
          throw FileSystemError.from({ errno, operation: "open", path });
        }
        return errno === "ENOSPC" && operation === "write" ? { kind: "torn", errno, bytes: 3 } : undefined;
      },
    },
  });
  errno = "EMFILE";
  const together = buffer.put("with it");
  const refused = assertThrows(() => buffer.putSync("a"), FileSystemError);
  assertEquals(refused.errno, "EMFILE");
  await assertRejects(() => together, FileSystemError);
  errno = undefined;
  assertEquals(buffer.putSync("b"), 1);
  errno = "ENOSPC";
  assertThrows(() => buffer.putSync("c"), NoSpaceError);
  errno = undefined;
  assertEquals(buffer.putSync("d"), 2);
  assertEquals(await recordsIn(fileSystem.crash({ seed: 1 })), ["b", "d"]);
});

test("a file system that can't sync within a call is named where one is needed, and nowhere else", async () => {
  const inner = new MemoryFileSystem();
  const fileSystem = new Proxy(inner, {
    get(target, name) {
      if (name === "syncDirectoryBlocking") return undefined;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const buffer = await FileBuffer.open<string>({ path: PATH, fileSystem, fsync: "never", statusMs: 0 });
  assertEquals(buffer.putSync("a"), 1);
  assertThrows(() => buffer.flushSync(), TypeError, "syncDirectoryBlocking");
  await buffer.close();
  const synced = await FileBuffer.open<string>({ path: PATH, fileSystem, fsync: "always", statusMs: 0 });
  assertThrows(() => synced.putSync("b"), TypeError, "syncDirectoryBlocking");
  assertEquals(await synced.put("c"), 2);
  await synced.close();
});

test("FileBuffer.putSync() and flushSync() work on this runtime's own file system", async () => {
  const path = mkdtempSync(join(tmpdir(), "sluice-sync-"));
  try {
    for (const fsync of ["always", 1000, "never"] as const) {
      const buffer = await FileBuffer.open<string>({ path, fsync, segmentBytes: 256 });
      const first = buffer.putSync("a");
      for (let i = 1; i < 20; i++) assertEquals(buffer.putSync("x".repeat(i)), first + i);
      void buffer.put("b");
      buffer.flushSync();
      assertEquals(buffer.stats().pendingRecords, 21);
      await buffer.commit(await buffer.emit());
      await buffer.close();
    }
  } finally {
    rmSync(path, { recursive: true });
  }
});
