/**
 * The file status.json as a buffer writes it: when, what it says, and that nobody who uses the buffer ever feels it.
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreater, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { type BufferEvent, BufferFullError, FileBuffer, type FileBufferOptions, textCodec } from "../../mod.ts";
import { StatusFile } from "../../src/buffer/status_file.ts";
import { type BufferStatus, encodeStatus, readStatus, STATUS_BYTES } from "../../src/buffer/status_format.ts";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import { STATUS_NAME } from "../../src/wal/names.ts";
import { statusWith } from "../cli/top_tools.ts";
import { settle } from "../support/event_loop.ts";
import { passing, PATH } from "./status_tools.ts";

const FILE = `${PATH}/${STATUS_NAME}`;

type Options = Partial<FileBufferOptions<string>>;

function open(fileSystem: FileSystem, clock: ManualClock, options: Options = {}): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({ path: PATH, fileSystem, clock, codec: textCodec(), fsync: "never", ...options });
}

/** What the file says; fails unless it is whole. */
function statusIn(fileSystem: FileSystem): BufferStatus {
  const reading = readStatus(fileSystem, PATH);
  assert(reading.kind === "status", JSON.stringify(reading));
  return reading.status;
}

/** A file system, and the writes to status.json on it. */
function recorded(fault?: (operation: MemoryOperation) => Fault | undefined): {
  fileSystem: MemoryFileSystem;
  writes: MemoryOperation[];
} {
  const writes: MemoryOperation[] = [];
  const fileSystem = new MemoryFileSystem({
    onOperation(operation) {
      if (operation.path === FILE && operation.operation === "write") writes.push(operation);
      return fault?.(operation);
    },
  });
  return { fileSystem, writes };
}

// When it is written

test("FileBuffer writes its figures to status.json while something changes, and a last time at its close", async () => {
  const { fileSystem, writes } = recorded();
  const clock = new ManualClock(1_000_000);
  const buffer = await open(fileSystem, clock, { maxRecords: 2, maxBacklogBytes: 5_000, maxAgeMs: 77 });
  assertEquals(writes.length, 0);
  await buffer.putMany(["aa", "b", "c"]);
  await buffer.emit();
  clock.advance(1000);
  const { pid, uuid, sync, ...status } = statusIn(fileSystem);
  assertEquals(status, {
    version: 1,
    state: "open",
    runtime: "memory",
    openedAt: 1_000_000,
    openMs: 1000,
    at: 1_001_000,
    statusMs: 1000,
    limits: { maxRecords: 2, maxBytes: 1_000_000, maxAgeMs: 77, maxBacklogBytes: 5_000, fsync: "never" },
    stats: { ...buffer.stats(), oldestAgeMs: 1000 },
    end: { nextSequence: 4, payloadBytes: 4 },
    committed: { nextSequence: 1, payloadBytes: 0 },
    inFlightBatches: 1,
    problems: [],
  });
  assertGreater(pid, 0);
  assertEquals(uuid, (await buffer.emit()).id.slice(0, 36));
  assertEquals(sync.samples, 0);
  await buffer.commit();
  clock.advance(500);
  await buffer.close();
  const closed = statusIn(fileSystem);
  assertEquals([closed.state, closed.at, closed.committed], ["closed", 1_001_500, {
    nextSequence: 3,
    payloadBytes: 3,
  }]);
  assertEquals([closed.stats.pendingRecords, closed.inFlightBatches], [1, 0]);
  assert(writes.every(({ position, length }) => position === 0 && length === STATUS_BYTES));
});

test("FileBuffer writes status.json at most once an interval, with no timer while nothing changes", async () => {
  const { fileSystem, writes } = recorded();
  const clock = new ManualClock();
  const buffer = await open(fileSystem, clock, { statusMs: 200 });
  for (let i = 1; i <= 10; i++) {
    for (let k = 0; k < 50; k++) {
      await buffer.put("a");
      assertEquals(clock.timers.map(({ keepAlive }) => keepAlive), [false]);
      clock.advance(4);
    }
    assert(writes.length <= i, `${writes.length} writes in ${i} intervals`);
  }
  assertEquals(writes.length, 10);
  clock.advance(200);
  const { length } = writes;
  assertEquals(clock.timers, []);
  clock.advance(3_600_000);
  assertEquals(writes.length, length);
  await buffer.close();
  assertEquals([writes.length, clock.timers], [length + 1, []]);
});

test("FileBuffer writes status.json for every kind of change", async () => {
  const { fileSystem, writes } = recorded();
  const clock = new ManualClock();
  const buffer = await open(fileSystem, clock, { maxRecords: 2, maxBacklogBytes: 300, maxRecordBytes: 100 });
  clock.advance(1000);
  const changes: Record<string, () => Promise<unknown>> = {
    "a put": () => buffer.put("a"),
    "puts of many": () => buffer.putMany(["b", "c"]),
    "an emit": () => buffer.emit(),
    "an emit again": () => buffer.emit(),
    "a commit": () => buffer.commit(),
    "a put that is refused": () => assertRejects(() => buffer.put("x".repeat(101))),
    "a full backlog": async () => {
      for (let i = 0; i < 5; i++) await buffer.put("x".repeat(60)).catch(() => {});
    },
    "a put that the backlog has no room for": () => assertRejects(() => buffer.put("x".repeat(60)), BufferFullError),
    "a clear": () => buffer.clear(),
  };
  for (const [what, change] of Object.entries(changes)) {
    const { length } = writes;
    await change();
    clock.advance(1000);
    assertEquals(writes.length, length + 1, what);
    assertEquals(statusIn(fileSystem).stats, buffer.stats(), what);
    assertEquals(clock.timers, [], what);
  }
  await buffer.close();
});

test("FileBuffer writes no status.json with statusMs 0, and leaves one of an earlier process alone", async () => {
  const { fileSystem, writes } = recorded();
  const clock = new ManualClock();
  for (const statusMs of [0, 1000, 0]) {
    const { length } = writes;
    const buffer = await open(fileSystem, clock, { statusMs });
    await buffer.put("a");
    assertEquals(clock.timers.length, statusMs === 0 ? 0 : 1);
    clock.advance(5000);
    await buffer.close();
    assertEquals(writes.length > length, statusMs > 0);
  }
  assertEquals(statusIn(fileSystem).state, "closed");
});

test("status.json of a process that was killed says open, and when that was", async () => {
  const clock = new ManualClock(5_000);
  let fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, clock);
  await buffer.put("a");
  clock.advance(1000);
  fileSystem = fileSystem.kill();
  clock.advance(60_000);
  assertEquals([statusIn(fileSystem).state, statusIn(fileSystem).at], ["open", 6_000]);
  await assertRejects(() => buffer.close());
});

test("FileBuffer.close() writes status.json before it gives up the lock, and never after", async () => {
  const fileSystem = new MemoryFileSystem();
  const clock = new ManualClock();
  let stateAtRelease: string | undefined;
  const buffer = await open({
    ...passing(fileSystem),
    lock(path) {
      const lock = fileSystem.lock(path);
      return {
        release() {
          stateAtRelease = statusIn(fileSystem).state;
          lock.release();
        },
      };
    },
  }, clock);
  const putting = buffer.put("a");
  await Promise.all([putting, buffer.close()]);
  assertEquals(stateAtRelease, "closed");
  clock.advance(500);
  const next = await open(fileSystem, clock);
  const openedAt = clock.now();
  clock.advance(1000);
  await assertRejects(() => buffer.put("b"));
  clock.advance(10_000);
  assertEquals([statusIn(fileSystem).state, statusIn(fileSystem).openedAt], ["open", openedAt]);
  await next.close();
});

// What goes wrong

test("FileBuffer goes on, and tells nobody, whatever happens to status.json; and writes it again when it can", async () => {
  const rotten = new TypeError("not even one of ours");
  const faults: Record<string, () => Fault | undefined> = {
    "EIO": () => ({ kind: "fail", errno: "EIO" }),
    "ENOSPC": () => ({ kind: "fail", errno: "ENOSPC" }),
    "EACCES": () => ({ kind: "fail", errno: "EACCES" }),
    "EIO afterwards": () => ({ kind: "after", errno: "EIO" }),
    "something else": () => {
      throw rotten;
    },
  };
  for (const [what, fault] of Object.entries(faults)) {
    for (const operation of ["open", "size", "write"]) {
      let isBroken = true;
      let hits = 0;
      const { fileSystem } = recorded((one) => {
        if (!isBroken || one.path !== FILE || one.operation !== operation) return undefined;
        hits++;
        return fault();
      });
      const events: BufferEvent[] = [];
      const clock = new ManualClock();
      const buffer = await open(fileSystem, clock, { onEvent: (event) => events.push(event) });
      await buffer.put("a");
      clock.advance(1000);
      clock.advance(1000);
      // Tried again without a change, because the last one is not told yet.
      assertGreater(hits, 1, `${what} ${operation}`);
      isBroken = false;
      clock.advance(1000);
      assertEquals(statusIn(fileSystem).stats.puts, 1, `${what} ${operation}`);
      assertEquals(clock.timers, []);
      isBroken = true;
      await buffer.put("b");
      await buffer.close();
      assertEquals(events.filter(({ type }) => type === "warned" || type === "failed"), []);
    }
  }
});

test("status.json goes on telling when the disk is full, because it is overwritten in place", async () => {
  const operations: string[] = [];
  const { fileSystem } = recorded(({ path, operation, mode = "" }) => {
    if (path === FILE) operations.push(`${operation} ${mode}`.trim());
    return undefined;
  });
  const clock = new ManualClock();
  const buffer = await open(fileSystem, clock);
  await buffer.put("a");
  clock.advance(1000);
  fileSystem.capacityBytes = fileSystem.usedBytes;
  await assertRejects(() => buffer.put("b"));
  clock.advance(1000);
  const { stats, at } = statusIn(fileSystem);
  assertEquals([stats.puts, stats.rejected, at], [1, 1, clock.now()]);
  await buffer.close();
  const overwriting = ["open write", "size", "write", "close"];
  const reading = ["open read", "read", "close"];
  const creating = ["open write", "open create", "size", "write", "close"];
  assertEquals(operations, [...creating, ...overwriting, ...reading, ...overwriting]);
  assertEquals(statusIn(fileSystem).state, "closed");
});

test("status.json that was deleted, or replaced by something longer, comes back", async () => {
  const fileSystem = new MemoryFileSystem();
  const clock = new ManualClock();
  const buffer = await open(fileSystem, clock);
  clock.advance(1000);
  fileSystem.remove(FILE);
  await buffer.put("a");
  clock.advance(1000);
  assertEquals(statusIn(fileSystem).stats.puts, 1);
  fileSystem.writeFile(FILE, new Uint8Array(10_000).fill(0x78));
  await buffer.put("b");
  clock.advance(1000);
  assertEquals([statusIn(fileSystem).stats.puts, fileSystem.readFile(FILE).length], [2, STATUS_BYTES]);
  await buffer.close();
});

test("FileBuffer opens a directory in which nothing but status.json is left", async () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile(FILE, encodeStatus(statusWith()));
  const buffer = await open(fileSystem, new ManualClock());
  assertEquals(await buffer.put("a"), 1);
  await buffer.close();
});

// Problems and syncs

test("status.json names the last problems: warnings, failure, damage, drops, a full backlog", async () => {
  let isBroken = false;
  const fileSystem = new MemoryFileSystem({
    onOperation({ operation, path }) {
      if (isBroken && operation === "sync" && path.endsWith(".wal")) return { kind: "fail", errno: "EIO" };
    },
  });
  const clock = new ManualClock(1_000);
  const options: Options = { maxRecords: 1, maxBacklogBytes: 200, whenFull: "drop-oldest", fsync: 1_000_000 };
  const buffer = await open(fileSystem, clock, options);
  for (let i = 0; i < 6; i++) await buffer.put("x".repeat(40));
  clock.advance(1000);
  const { dropped } = buffer.stats();
  assertGreater(dropped, 1);
  const [drop, full] = statusIn(fileSystem).problems;
  assertEquals([drop.type, drop.count, drop.at, drop.message], [
    "drop",
    dropped,
    1_000,
    `1 records, ${dropped} to ${dropped}`,
  ]);
  assertEquals([full.type, full.at], ["full", 1_000]);
  isBroken = true;
  await assertRejects(() => buffer.flush());
  clock.advance(1000);
  const { state, problems: [failed] } = statusIn(fileSystem);
  assertEquals([state, failed.type, failed.code], ["failed", "failed", "BUFFER_FAILED"]);
  assertStringIncludes(failed.message, "EIO");
  await buffer.close().catch(() => {});
});

/** A status file without a buffer, told of by the test. */
function startStatus(clock: ManualClock): { fileSystem: MemoryFileSystem; status: StatusFile } {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory(PATH);
  const { limits, stats, uuid } = statusWith();
  const status = new StatusFile({ fileSystem, directory: PATH, clock, statusMs: 1000, limits });
  const position = { nextSequence: 1, payloadBytes: 0, logBytes: 0 };
  const store = {
    uuid,
    openedAt: clock.now(),
    ends: { written: position, acknowledged: position },
    commitState: { committed: position, resume: position, boundaries: [] },
    health: { failure: undefined },
    isOwner: () => true,
  };
  status.start(store, () => stats);
  return { fileSystem, status };
}

test("status.json keeps ten kinds of problems, counts each, and cuts long messages", () => {
  const clock = new ManualClock(0);
  const { fileSystem, status } = startStatus(clock);
  for (let i = 0; i < 36; i++) {
    const error = FileSystemError.from({ errno: "EIO", operation: "remove", path: "/p".repeat(500) });
    Object.defineProperty(error, "code", { value: `CODE_${i % 12}` });
    status.note({ type: "warned", error });
    clock.advance(10);
  }
  status.close();
  const { problems } = statusIn(fileSystem);
  assertEquals(problems.length, 10);
  assertEquals(problems.map(({ code }) => code), Array.from({ length: 10 }, (_, i) => `CODE_${11 - i}`));
  // The two that had to go were counted anew each time they came back; the others went with them.
  assert(problems.every(({ message, at }, i) => message.length === 200 && at === 350 - 10 * i));
  assertLess(Math.max(...problems.map(({ count }) => count)), 4);
});

test("status.json gives the sync times of the last syncs: last, median, 99th percentile, longest", () => {
  const clock = new ManualClock();
  const { fileSystem, status } = startStatus(clock);
  const syncAfter = (durations: readonly number[]): BufferStatus["sync"] => {
    for (const durationMs of durations) status.note({ type: "synced", durationMs });
    clock.advance(1000);
    return statusIn(fileSystem).sync;
  };
  assertEquals(syncAfter([]), { samples: 0, lastMs: 0, p50Ms: 0, p99Ms: 0, maxMs: 0 });
  assertEquals(syncAfter([3, 1, 2.00049]), { samples: 3, lastMs: 2, p50Ms: 2, p99Ms: 3, maxMs: 3 });
  // What came before is forgotten.
  const many = Array.from({ length: 300 }, (_, i) => 1 + (i * 7) % 300);
  const sorted = many.slice(-256).sort((a, b) => a - b);
  assertEquals(syncAfter(many), {
    samples: 256,
    lastMs: many[299],
    p50Ms: sorted[127],
    p99Ms: sorted[253],
    maxMs: sorted[255],
  });
  status.close();
});

test("FileBuffer counts its syncs and how long they take in status.json", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem({ whileSyncing: () => clock.advance(3) });
  const buffer = await open(fileSystem, clock, { fsync: "always" });
  await buffer.put("a");
  await settle();
  clock.advance(1000);
  const { stats, sync } = statusIn(fileSystem);
  assertEquals([stats.syncs, sync.samples], [1, 1]);
  assertEquals([sync.lastMs, sync.maxMs], [stats.syncMs, stats.syncMs]);
  assertGreater(sync.lastMs, 0);
  await buffer.close();
});

test("FileBuffer opens status.json anew for each write, and leaves it closed", async () => {
  const fileSystem = new MemoryFileSystem();
  const clock = new ManualClock();
  const openHandles = new Set<FileHandle>();
  const buffer = await open({
    ...passing(fileSystem),
    open(path, mode) {
      const handle = fileSystem.open(path, mode);
      if (path !== FILE) return handle;
      const counted: FileHandle = {
        size: () => handle.size(),
        read: (into, position) => handle.read(into, position),
        write: (bytes, position) => handle.write(bytes, position),
        truncate: (size) => handle.truncate(size),
        sync: () => handle.sync(),
        close() {
          openHandles.delete(counted);
          handle.close();
        },
      };
      openHandles.add(counted);
      return counted;
    },
  }, clock);
  clock.advance(1000);
  assertEquals([statusIn(fileSystem).state, openHandles.size], ["open", 0]);
  await buffer.close();
  assertEquals(openHandles.size, 0);
});
