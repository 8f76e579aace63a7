/**
 * FileBuffer across a restart, and what it does to its directory: what one process leaves, the next one finds.
 *
 * A restart here is a close, or a kill (nothing is lost that the operating system has), or a power cut (nothing is lost
 * that was synced). What every single operation of it may do wrong is the matter of other tests.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
  assertLessOrEqual,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "@std/path/join";
import {
  type Batch,
  BatchMismatchError,
  BufferEmptyError,
  type BufferEvent,
  bytesCodec,
  FileBuffer,
  type FileBufferOptions,
  jsonCodec,
  NoSpaceError,
  textCodec,
} from "../../mod.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { MemoryFileSystemOptions, MemoryOperation } from "../../src/testing/memory_process.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/wal/format.ts";
import { filledBytes } from "../support/bytes.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";

const PATH = "/data/buffer";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

type Options<T> = Partial<FileBufferOptions<T>>;

/** Opens a buffer of strings on a clock that stands still. */
function open(fileSystem: FileSystem, options: Options<string> = {}): Promise<FileBuffer<string>> {
  const clock = new ManualClock();
  // What it does is the matter of status_file_test.ts; here it would be one more timer and one more file.
  return FileBuffer.open<string>({ path: PATH, fileSystem, codec: textCodec(), clock, statusMs: 0, ...options });
}

/** The ways for a process to end, with the file system as the next one finds it. */
const ENDS: Record<string, (buffer: FileBuffer<string>, fileSystem: MemoryFileSystem) => Promise<MemoryFileSystem>> = {
  async "is closed"(buffer, fileSystem) {
    await buffer.close();
    return fileSystem;
  },
  "is killed": (_buffer, fileSystem) => Promise.resolve(fileSystem.kill()),
  async "is closed before the power goes"(buffer, fileSystem) {
    await buffer.close();
    return fileSystem.crash({ seed: 1 });
  },
  async "has flushed before the power goes"(buffer, fileSystem) {
    await buffer.flush();
    const after = fileSystem.crash({ seed: 2 });
    fileSystem.kill();
    return after;
  },
};

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
}

/** Names and sizes of the segments on disk. */
function segmentsOf(fileSystem: MemoryFileSystem): Map<string, number> {
  const paths = fileSystem.paths().filter((path) => path.endsWith(".wal"));
  return new Map(paths.map((path) => [path.slice(PATH.length + 1), filledBytes(fileSystem.readFile(path))]));
}

/** Figures about the disk must be what is on it. */
function assertDiskFigures(buffer: FileBuffer<string>, fileSystem: MemoryFileSystem): void {
  const sizes = [...segmentsOf(fileSystem).values()];
  const { segments, diskBytes } = buffer.stats();
  assertEquals([segments, diskBytes], [sizes.length, sizes.reduce((sum, size) => sum + size, 0)]);
}

/** Remembers what a file system is asked to do. */
function recorder(): { operations: MemoryOperation[]; options: MemoryFileSystemOptions } {
  const operations: MemoryOperation[] = [];
  return { operations, options: { onOperation: (operation) => void operations.push(operation) } };
}

for (const [end, finish] of Object.entries(ENDS)) {
  test(`FileBuffer.open() finds everything again, under the same ids, when the process before ${end}`, async () => {
    let fileSystem = new MemoryFileSystem();
    let buffer = await open(fileSystem, { maxRecords: 3 });
    await buffer.putMany(numbers(1, 4));
    for (const text of numbers(5, 8)) await buffer.put(text);
    await buffer.commit(await buffer.emit());
    const { id } = await buffer.emit();
    assertEquals(buffer.stats().pendingRecords, 5);

    fileSystem = await finish(buffer, fileSystem);
    const reopened = await open(fileSystem, { maxRecords: 3 });
    const { durationMs: _, ...recovery } = reopened.recovery;
    assertEquals(recovery, { recoveredRecords: 5, truncatedBytes: 0, damaged: [], cursorLost: false });
    const { pendingRecords, pendingBytes, inFlightRecords, puts } = reopened.stats();
    assertEquals([pendingRecords, pendingBytes, inFlightRecords, puts], [5, 5, 3, 0]);
    assert(reopened.shouldEmit());
    assertEquals(await reopened.put("9"), 9);
    const again = await reopened.emit();
    assertEquals([again.id, again.redelivered, again.records], [id, true, ["4", "5", "6"]]);
    await reopened.commit(again);
    const next = await reopened.emit();
    assertEquals([next.redelivered, next.records], [false, ["7", "8", "9"]]);
    assertEquals([next.id.slice(0, 37), next.id.slice(45)], [id.slice(0, 37), "-7-9"]);
    await reopened.close();

    buffer = await open(fileSystem);
    assertEquals(await drain(buffer), ["7", "8", "9"]);
    await buffer.close();
  });

  test(`FileBuffer.commit() stands when the process before ${end}`, async () => {
    for (const fsync of ["always", 1000, "never"] as const) {
      let fileSystem = new MemoryFileSystem();
      let buffer = await open(fileSystem, { fsync, maxRecords: 2 });
      await buffer.putMany(numbers(1, 5));
      await buffer.commit(await buffer.emit());
      await buffer.commit(await buffer.emit());
      // Closing doesn't sync with "never": a power cut may take all of it.
      if (fsync === "never") await buffer.flush();
      fileSystem = await finish(buffer, fileSystem);
      buffer = await open(fileSystem, { fsync, maxRecords: 2 });
      assertEquals(buffer.stats().pendingRecords, 1);
      assertEquals(await drain(buffer), ["5"]);
      await buffer.close();
      buffer = await open(fileSystem, { fsync });
      await assertRejects(() => buffer.emit(), BufferEmptyError);
      assertEquals(await buffer.put("6"), 6);
      await buffer.close();
    }
  });
}

test("FileBuffer.emit() gives the batch in flight as it was when the thresholds have changed", async () => {
  for (const thresholds of [{ maxRecords: 1 }, { maxRecords: 100 }, { maxBytes: 3 }, { maxAgeMs: 0, maxRecords: 4 }]) {
    const fileSystem = new MemoryFileSystem();
    let buffer = await open(fileSystem, { maxRecords: 5 });
    await buffer.putMany(["aa", "bb"]);
    const { id } = await buffer.emit();
    await buffer.putMany(["cc", "dd"]);
    await buffer.close();
    // Twice, as only the first process after it could remember it by other means.
    for (let i = 0; i < 2; i++) {
      buffer = await open(fileSystem, thresholds);
      const batch = await buffer.emit();
      assertEquals([batch.id, batch.records], [id, ["aa", "bb"]], JSON.stringify(thresholds));
      await buffer.close();
    }
    buffer = await open(fileSystem, thresholds);
    assertEquals(await drain(buffer), ["aa", "bb", "cc", "dd"]);
    await buffer.close();
  }
});

test("FileBuffer.commit() refuses the batch in flight until this process has emitted it", async () => {
  const fileSystem = new MemoryFileSystem();
  let buffer = await open(fileSystem);
  await buffer.put("a");
  const earlier = await buffer.emit();
  await buffer.close();
  buffer = await open(fileSystem);
  await assertRejects(() => buffer.commit(), BatchMismatchError);
  await buffer.emit();
  await buffer.commit(earlier);
  assertEquals(buffer.stats().pendingRecords, 0);
  await buffer.close();
});

test("FileBuffer.put() never uses a sequence twice when everything was committed or cleared", async () => {
  const fileSystem = new MemoryFileSystem();
  let next = 1;
  let uuid: string | undefined;
  for (const way of ["commit", "clear", "leave", "clear", "commit", "clear"]) {
    for (const segmentBytes of [256, 2 ** 20]) {
      const buffer = await open(fileSystem, { segmentBytes, maxRecords: 100 });
      assertEquals(await buffer.putMany(numbers(1, 30)), { first: next, last: next + 29 });
      next += 30;
      const batch = await buffer.emit();
      uuid ??= batch.id.slice(0, 36);
      assertEquals(batch.id.slice(0, 36), uuid);
      if (way === "commit") await drain(buffer);
      if (way === "clear") await buffer.clear();
      assertEquals(way === "leave", buffer.stats().pendingRecords > 0);
      await buffer.close();
    }
  }
  const buffer = await open(fileSystem);
  assertEquals(buffer.stats().pendingRecords, 0);
  assertEquals(await buffer.put("last"), next);
  await buffer.close();
});

test("FileBuffer.clear() stands across a restart, and drops the batch in flight", async () => {
  for (const [end, finish] of Object.entries(ENDS)) {
    let fileSystem = new MemoryFileSystem();
    let buffer = await open(fileSystem, { maxRecords: 2, segmentBytes: 256 });
    for (const text of numbers(1, 20)) await buffer.put(text);
    await buffer.emit();
    await buffer.clear();
    await buffer.put("21");
    fileSystem = await finish(buffer, fileSystem);
    buffer = await open(fileSystem);
    assertEquals([buffer.recovery.recoveredRecords, buffer.stats().inFlightRecords], [1, 0], end);
    const batch = await buffer.emit();
    assertEquals([batch.records, batch.firstSequence, batch.redelivered], [["21"], 21, false], end);
    await buffer.close();
  }
});

test("FileBuffer.open() finds puts that close() found unfinished", async () => {
  const fileSystem = new MemoryFileSystem();
  let buffer = await open(fileSystem, { fsync: "always" });
  const puts = numbers(1, 10).map((text) => buffer.put(text));
  await buffer.close();
  assertEquals(await Promise.all(puts), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  buffer = await open(fileSystem.crash({ seed: 3 }));
  assertEquals(await drain(buffer), numbers(1, 10));
  await buffer.close();
});

test("FileBuffer.writable() has everything on stable storage when the stream is closed", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const fileSystem = new MemoryFileSystem();
    let buffer = await open(fileSystem);
    await ReadableStream.from(numbers(1, 20)).pipeTo(buffer.writable());
    const after = fileSystem.crash({ seed });
    await buffer.close();
    buffer = await open(after);
    assertEquals(await drain(buffer), numbers(1, 20), `seed ${seed}`);
    await buffer.close();
  }
});

interface AgeRow {
  readonly title: string;
  /** How far the wall clock is moved besides, while no process runs. */
  readonly jumpMs: number;
  /** How long after the second open the batch becomes due, when 2 of 5 seconds had passed. */
  readonly dueAfterMs: number;
}

const AGES: readonly AgeRow[] = [
  { title: "goes on where it was", jumpMs: 0, dueAfterMs: 3000 },
  { title: "counts the time in between", jumpMs: 2999, dueAfterMs: 1 },
  { title: "is reached at once when the clock was set forward a day", jumpMs: DAY_MS, dueAfterMs: 0 },
  { title: "starts again when the clock was set back an hour", jumpMs: -HOUR_MS, dueAfterMs: 5000 },
  { title: "starts again when the clock was set back before 1970", jumpMs: -Date.UTC(2026, 0, 2), dueAfterMs: 5000 },
];

for (const { title, jumpMs, dueAfterMs } of AGES) {
  test(`FileBuffer: the age of a batch ${title} across a restart`, async () => {
    const fileSystem = new MemoryFileSystem();
    const before = new ManualClock();
    let buffer = await open(fileSystem, { clock: before, maxAgeMs: 5000 });
    await buffer.put("a");
    before.advance(2000);
    await buffer.put("b");
    await buffer.close();

    const clock = new ManualClock(before.now() + jumpMs);
    buffer = await open(fileSystem, { clock, maxAgeMs: 5000 });
    const next = buffer.batches().next();
    if (dueAfterMs > 0) {
      clock.advance(dueAfterMs - 1);
      assertFalse(buffer.shouldEmit());
      assert(await isPending(next));
      clock.advance(1);
    }
    assert(buffer.shouldEmit());
    assertEquals((await next).value.records, ["a", "b"]);
    await buffer.close();
    assertEquals(clock.timers, []);
  });
}

test("FileBuffer: the age of every batch from before starts again when the clock was set back", async () => {
  const fileSystem = new MemoryFileSystem();
  const before = new ManualClock();
  let buffer = await open(fileSystem, { clock: before });
  for (const text of numbers(1, 5)) await buffer.put(text);
  await buffer.close();

  const clock = new ManualClock(before.now() - HOUR_MS);
  buffer = await open(fileSystem, { clock, maxRecords: 2, maxAgeMs: 5000 });
  assertEquals(buffer.stats().oldestAgeMs, 0);
  clock.advance(1000);
  for (let i = 0; i < 2; i++) await buffer.commit(await buffer.emit());
  assertEquals(buffer.stats().oldestAgeMs, 1000);
  clock.advance(3999);
  assertFalse(buffer.shouldEmit());
  clock.advance(1);
  assert(buffer.shouldEmit());
  assertEquals((await buffer.emit()).records, ["5"]);
  await buffer.close();
});

test("FileBuffer: what is put after a restart is as old as it is, behind what was in flight", async () => {
  const fileSystem = new MemoryFileSystem();
  const before = new ManualClock();
  let buffer = await open(fileSystem, { clock: before, maxRecords: 1 });
  await buffer.put("a");
  await buffer.emit();
  before.advance(700);
  await buffer.put("b");
  await buffer.close();

  const clock = new ManualClock(before.now() + 300);
  buffer = await open(fileSystem, { clock, maxRecords: 5, maxAgeMs: 5000 });
  assertEquals([buffer.stats().oldestAgeMs, buffer.stats().inFlightRecords], [300, 1]);
  await buffer.commit(await buffer.emit());
  clock.advance(4699);
  assertFalse(buffer.shouldEmit());
  clock.advance(1);
  assert(buffer.shouldEmit());
  await buffer.close();
});

test("FileBuffer.emit() gives a record from before alone when it is larger than maxBytes now", async () => {
  const fileSystem = new MemoryFileSystem();
  let buffer = await open(fileSystem);
  await buffer.putMany(["a", "b".repeat(50), "c", "d"]);
  await buffer.close();
  buffer = await open(fileSystem, { maxBytes: 10, maxRecordBytes: 10 });
  const batches: (readonly string[])[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batches.push(batch.records);
    await buffer.commit(batch);
  }
  assertEquals(batches, [["a"], ["b".repeat(50)], ["c", "d"]]);
  await buffer.close();
});

test("FileBuffer.put() takes larger records when maxRecordBytes is larger than at the last open", async () => {
  const fileSystem = new MemoryFileSystem();
  const records: string[] = [];
  for (const maxRecordBytes of [10, 100_000, 20]) {
    const buffer = await open(fileSystem, { maxRecordBytes });
    assertEquals(buffer.recovery.recoveredRecords, records.length);
    for (const text of ["small", "x".repeat(maxRecordBytes)]) {
      records.push(text);
      assertEquals(await buffer.put(text), records.length);
    }
    await assertRejects(() => buffer.put("x".repeat(maxRecordBytes + 1)));
    await buffer.close();
  }
  const buffer = await open(fileSystem);
  assertEquals(await drain(buffer), records);
  await buffer.close();
});

test("FileBuffer.commit() removes segments that it has done with", async () => {
  const fileSystem = new MemoryFileSystem();
  const events: BufferEvent[] = [];
  let buffer = await open(fileSystem, { segmentBytes: 256, maxRecords: 10, onEvent: (event) => events.push(event) });
  for (const text of numbers(1, 100)) await buffer.put(text);
  const created = segmentsOf(fileSystem);
  assertGreater(created.size, 30);
  assertEquals([...created.keys()][0], "00000000000000000001.wal");
  for (const size of created.values()) assert(size <= 256, `a segment of ${size} bytes`);
  assertDiskFigures(buffer, fileSystem);

  for (let batches = 0; batches < 5; batches++) await buffer.commit(await buffer.emit());
  await buffer.flush();
  await settle();
  assertDiskFigures(buffer, fileSystem);
  assertLess(segmentsOf(fileSystem).size, created.size / 2 + 2);
  assertEquals(buffer.stats().pendingRecords, 50);
  await buffer.close();

  buffer = await open(fileSystem, { segmentBytes: 256, onEvent: (event) => events.push(event) });
  assertDiskFigures(buffer, fileSystem);
  assertEquals(await drain(buffer), numbers(51, 100));
  await buffer.close();
  assertEquals(segmentsOf(fileSystem).size, 1);

  const removed = events.flatMap((event) => event.type === "segment-removed" ? [event.segment] : []);
  assertEquals(new Set(removed).size, removed.length);
  assert([...created.keys()].slice(0, -1).every((name) => removed.includes(name)), "each but the last is reported");
});

test("FileBuffer.commit() syncs the cursor before it removes a segment", async () => {
  const { operations, options } = recorder();
  const fileSystem = new MemoryFileSystem(options);
  const buffer = await open(fileSystem, { segmentBytes: 256, fsync: "never", maxRecords: 1000 });
  for (const text of numbers(1, 20)) await buffer.put(text);
  const batch = await buffer.emit();
  operations.length = 0;
  await buffer.commit(batch);
  await buffer.close();
  const steps = operations
    .filter(({ path, operation }) => path.endsWith("/cursor") && operation !== "close" || operation === "remove")
    .map(({ operation }) => operation);
  assertEquals(steps.slice(0, 2), ["write", "sync"]);
  assertGreater(steps.indexOf("remove"), steps.indexOf("sync"));
});

test("FileBuffer.open() costs the same number of file operations however many segments there are", async () => {
  const costs: { operations: number; bytesRead: number }[] = [];
  for (const records of [50, 500]) {
    const { operations, options } = recorder();
    let fileSystem = new MemoryFileSystem();
    let buffer = await open(fileSystem, { segmentBytes: 256, maxRecords: 7 });
    for (const text of numbers(1, records)) await buffer.put(text.padStart(5));
    await buffer.emit();
    await buffer.close();
    fileSystem = fileSystem.kill(options);
    buffer = await open(fileSystem, { segmentBytes: 256 });
    assertGreater(buffer.stats().segments, records / 4);
    assertEquals(await buffer.put("more"), records + 1);
    assertEquals((await buffer.emit()).length, 7);
    const reads = operations.filter(({ operation }) => operation === "read");
    costs.push({
      operations: operations.length,
      bytesRead: reads.reduce((sum, { length }) => sum + length!, 0),
    });
    await buffer.close();
  }
  assertEquals(costs[0].operations, costs[1].operations);
  assertEquals(costs[0].bytesRead, costs[1].bytesRead);
});

test("FileBuffer.stats() has no more backlog than the disk when every segment has lost its records", async () => {
  const fileSystem = new MemoryFileSystem();
  const options: Options<string> = { maxRecords: 1, segmentBytes: 1500 };
  const buffer = await open(fileSystem, options);
  for (let i = 0; i < 10; i++) await buffer.put("x".repeat(300));
  await buffer.commit(await buffer.emit());
  await buffer.close();
  const segments = fileSystem.list(PATH).filter((name) => name.endsWith(".wal")).map((name) => join(PATH, name));
  assertEquals(segments.length, 3);
  for (const path of segments) {
    const file = fileSystem.open(path, "write");
    file.truncate(SEGMENT_HEADER_BYTES);
    file.close();
  }
  // The cursor says where the log ended, so its positions go on from there.
  const reopened = await open(fileSystem, options);
  const bytes = segments.reduce((sum, path) => sum + fileSystem.readFile(path).length, 0);
  assertLessOrEqual(reopened.stats().backlogBytes, bytes);
  for (let i = 0; i < 10; i++) await reopened.put("y".repeat(300));
  assertEquals((await drain(reopened)).length, 10);
  assertEquals(reopened.stats().backlogBytes, 0);
  await reopened.close();
});

test("FileBuffer.stats() and shouldEmit() make no file operation", async () => {
  const { operations, options } = recorder();
  const fileSystem = new MemoryFileSystem(options);
  const buffer = await open(fileSystem, { segmentBytes: 256 });
  for (const text of numbers(1, 50)) await buffer.put(text);
  await buffer.emit();
  operations.length = 0;
  assertEquals(buffer.stats().pendingRecords, 50);
  assert(buffer.shouldEmit());
  assertEquals(operations, []);
  await buffer.close();
});

test("FileBuffer.put() reads nothing, whatever the backlog", async () => {
  const { operations, options } = recorder();
  const fileSystem = new MemoryFileSystem(options);
  const buffer = await open(fileSystem, { segmentBytes: 1024 });
  await buffer.putMany(numbers(1, 500));
  operations.length = 0;
  for (const text of numbers(501, 600)) await buffer.put(text);
  assertEquals(operations.filter(({ operation }) => operation === "read"), []);
  assertEquals(await drain(buffer), numbers(1, 600));
  await buffer.close();
});

test("FileBuffer.emit() reads from the disk, where nothing is kept in memory", async () => {
  const fileSystem = new MemoryFileSystem();
  const events: BufferEvent[] = [];
  const buffer = await open(fileSystem, { segmentBytes: 256, onEvent: (event) => events.push(event) });
  for (const text of ["a", "b", "c"]) await buffer.put(text.repeat(150));
  const [, second] = segmentsOf(fileSystem).keys();
  const bytes = fileSystem.readFile(`${PATH}/${second}`);
  bytes[bytes.length - 1] ^= 1;
  fileSystem.writeFile(`${PATH}/${second}`, bytes);
  assertEquals(await drain(buffer), ["a".repeat(150), "c".repeat(150)]);
  assertEquals(events.filter(({ type }) => type === "damage-found").length, 1);
  await buffer.close();
});

test("FileBuffer keeps less than 8 bytes a record in memory while the backlog grows", async () => {
  const path = mkdtempSync(join(tmpdir(), "sluice-memory-"));
  try {
    const buffer = await FileBuffer.open<Uint8Array>({ path, codec: bytesCodec(), segmentBytes: 2 ** 20 });
    const records = Array.from({ length: 5000 }, () => new Uint8Array(8));
    for (let i = 0; i < 20; i++) await buffer.putMany(records);
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 200; i++) await buffer.putMany(records);
    assertEquals(buffer.stats().pendingRecords, 1_100_000);
    const grownBytes = process.memoryUsage().heapUsed - before;
    assertLess(grownBytes, 8 * 1_000_000, `the heap grew by ${grownBytes} bytes`);
    await buffer.clear();
    await buffer.close();
  } finally {
    rmSync(path, { recursive: true });
  }
});

test("FileBuffer.put() resolves after a sync that began after its write when fsync is always", async () => {
  const syncs: (() => void)[] = [];
  const steps: string[] = [];
  let isHeld = false;
  const fileSystem = new MemoryFileSystem({
    onOperation({ operation, path }) {
      if (path.endsWith(".wal") && (operation === "write" || operation === "sync")) steps.push(operation);
    },
    whileSyncing: () => isHeld ? new Promise<void>((resolve) => syncs.push(resolve)) : undefined,
  });
  const buffer = await open(fileSystem, { fsync: "always" });
  await buffer.put("the first of a segment");
  isHeld = true;
  steps.length = 0;
  const first = buffer.put("a");
  assert(await isPending(first));
  assertEquals(steps, ["write", "sync"]);
  // These come while the sync runs, which doesn't cover them; one more covers both.
  const others = [buffer.put("b"), buffer.put("c")];
  assert(await isPending(Promise.race([first, ...others])));
  assertEquals(steps, ["write", "sync", "write"]);
  assertEquals(buffer.stats().puts, 1);
  isHeld = false;
  syncs.shift()!();
  assertEquals(await first, 2);
  assertEquals(await Promise.all(others), [3, 4]);
  assertEquals(steps, ["write", "sync", "write", "sync"]);
  assertEquals(buffer.stats().syncs, 3);
  await buffer.close();
});

test("FileBuffer syncs as often as fsync says", async () => {
  for (const [fsync, syncs] of [["always", [1, 2, 2, 3]], [1000, [0, 0, 1, 2]], ["never", [0, 0, 0, 1]]] as const) {
    const clock = new ManualClock();
    const buffer = await open(new MemoryFileSystem(), { fsync, clock });
    const counts: number[] = [];
    await buffer.put("a");
    counts.push(buffer.stats().syncs);
    // One tick, one write, one sync.
    await Promise.all(numbers(1, 10).map((text) => buffer.put(text)));
    counts.push(buffer.stats().syncs);
    assertEquals(clock.timers, fsync === 1000 ? [{ delayMs: 1000, keepAlive: false }] : []);
    clock.advance(1000);
    await settle();
    counts.push(buffer.stats().syncs);
    await buffer.put("b");
    await buffer.flush();
    counts.push(buffer.stats().syncs);
    assertEquals(counts, [...syncs], `fsync ${fsync}`);
    clock.advance(1000);
    await buffer.close();
    assertEquals(clock.timers, []);
  }
});

test("FileBuffer sets no timer when there is nothing to sync", async () => {
  const clock = new ManualClock();
  const fileSystem = new MemoryFileSystem();
  let buffer = await open(fileSystem, { clock, fsync: 1000 });
  await buffer.put("a");
  clock.advance(1000);
  await settle();
  assertEquals(clock.timers, []);
  clock.advance(5000);
  assertEquals([clock.timers, buffer.stats().syncs], [[], 1]);
  await buffer.commit(await buffer.emit());
  assertEquals(clock.timers, [{ delayMs: 1000, keepAlive: false }]);
  await buffer.close();
  buffer = await open(fileSystem, { clock, fsync: 1000 });
  await buffer.close();
  assertEquals(clock.timers, []);
});

test("FileBuffer.open() brings records into today's shape when the codec's version has changed", async () => {
  type Person = { name: string; from: number };
  const fileSystem = new MemoryFileSystem();
  const codecs = [0, 1, 2].map((version) =>
    jsonCodec<Person>({
      version,
      migrate: (payload, from) => ({ name: (payload as Person).name.toUpperCase(), from }),
    })
  );
  const openWith = (version: number) =>
    FileBuffer.open<Person>({ path: PATH, fileSystem, codec: codecs[version], clock: new ManualClock() });
  for (const version of [0, 1, 0, 2]) {
    const buffer = await openWith(version);
    await buffer.putMany([{ name: `v${version}a`, from: version }, { name: `v${version}b`, from: version }]);
    if (version === 1) await buffer.put({ name: "v1c", from: 1 });
    await buffer.close();
  }
  const buffer = await openWith(2);
  const batches: Batch<Person>[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batches.push(batch);
    await buffer.commit(batch);
  }
  const named = (from: number, ...names: string[]): Person[] => names.map((name) => ({ name, from }));
  assertEquals(batches.map(({ records }) => records), [
    named(0, "V0A", "V0B"),
    named(1, "V1A", "V1B", "V1C"),
    named(0, "V0A", "V0B"),
    named(2, "v2a", "v2b"),
  ]);
  await buffer.close();
});

test("FileBuffer.open() reports what it recovered before anything else", async () => {
  const fileSystem = new MemoryFileSystem();
  const events: BufferEvent[] = [];
  let buffer = await open(fileSystem, { onEvent: (event) => events.push(event) });
  assertEquals(events.map(({ type }) => type), ["recovered"]);
  await buffer.putMany(["a", "b"]);
  await buffer.close();
  events.length = 0;
  buffer = await open(fileSystem, { onEvent: (event) => events.push(event) });
  assertEquals(events, [{ type: "recovered", report: buffer.recovery }]);
  assertEquals(buffer.recovery.recoveredRecords, 2);
  await buffer.close();
});

test("FileBuffer.open() delivers everything again when the cursor is gone", async () => {
  const fileSystem = new MemoryFileSystem();
  let buffer = await open(fileSystem, { maxRecords: 2 });
  await buffer.putMany(numbers(1, 5));
  const committed = await buffer.emit();
  await buffer.commit(committed);
  await buffer.close();
  fileSystem.remove(`${PATH}/cursor`);
  buffer = await open(fileSystem, { maxRecords: 2 });
  assertEquals([buffer.recovery.cursorLost, buffer.recovery.recoveredRecords], [true, 5]);
  const again = await buffer.emit();
  assertEquals([again.id, again.records], [committed.id, ["1", "2"]]);
  assertEquals(await drain(buffer), numbers(1, 5));
  assertEquals(await buffer.put("6"), 6);
  await buffer.close();
  buffer = await open(fileSystem);
  assertFalse(buffer.recovery.cursorLost);
  assertEquals(await drain(buffer), ["6"]);
  await buffer.close();
});

test("FileBuffer.open() gives every new buffer a uuid of its own", async () => {
  const ids = new Set<string>();
  for (let i = 0; i < 3; i++) {
    const buffer = await open(new MemoryFileSystem());
    await buffer.put("a");
    ids.add((await buffer.emit()).id);
    await buffer.close();
  }
  assertEquals(ids.size, 3);
  assertNotEquals(ids.has(""), true);
});

test("FileBuffer keeps nothing in its directory but what is documented", async () => {
  const fileSystem = new MemoryFileSystem();
  for (let i = 0; i < 3; i++) {
    const buffer = await open(fileSystem, { statusMs: 1000 });
    await buffer.putMany(["a", "b"]);
    await drain(buffer);
    await buffer.close();
  }
  const names = fileSystem.paths().map((path) => path.slice(PATH.length + 1));
  assertEquals(names.filter((name) => !name.endsWith(".wal")), ["cursor", "lock", "owner.json", "status.json"]);
  assertEquals(segmentsOf(fileSystem).size, 1);
});

/** Counts the files that are open. */
function countingHandles(fileSystem: FileSystem): { counting: FileSystem; handles: Set<string> } {
  const handles = new Set<string>();
  let count = 0;
  const counting: FileSystem = {
    name: fileSystem.name,
    open(path, mode) {
      const handle = fileSystem.open(path, mode);
      const name = `${++count} ${path}`;
      handles.add(name);
      return {
        size: () => handle.size(),
        read: (into, position) => handle.read(into, position),
        write: (bytes, position) => handle.write(bytes, position),
        truncate: (size) => handle.truncate(size),
        sync: () => handle.sync(),
        close() {
          handles.delete(name);
          handle.close();
        },
      };
    },
    list: (path) => fileSystem.list(path),
    makeDirectory: (path) => fileSystem.makeDirectory(path),
    rename: (from, to) => fileSystem.rename(from, to),
    remove: (path) => fileSystem.remove(path),
    syncDirectory: (path) => fileSystem.syncDirectory(path),
    lock(path) {
      const lock = fileSystem.lock(path);
      handles.add(path);
      return {
        release() {
          handles.delete(path);
          lock.release();
        },
      };
    },
  };
  return { counting, handles };
}

test("FileBuffer.close() leaves no file open and the lock free", async () => {
  const { counting, handles } = countingHandles(new MemoryFileSystem());
  for (const fsync of ["always", 1000, "never", "always"] as const) {
    for (const records of [1, 4, 9, 30]) {
      const clock = new ManualClock();
      const buffer = await open(counting, { fsync, clock, segmentBytes: 256, maxRecords: 3 });
      for (const text of numbers(1, records)) await buffer.put(text);
      // Segments go while they are still to be synced, while they are being synced, and after it.
      for (let batch = 0; batch < 9 && buffer.stats().pendingRecords > 1; batch++) {
        if (batch === 3) clock.advance(1000);
        await buffer.commit(await buffer.emit());
        if (batch !== 3) await settle();
      }
      if (buffer.stats().pendingRecords > 0) await buffer.emit();
      assertGreater(handles.size, 1);
      await buffer.close();
      assertEquals([...handles], [], `fsync ${fsync}, ${records} records`);
    }
  }
});

test("FileBuffer keeps few files open when segments are many", async () => {
  const { counting, handles } = countingHandles(new MemoryFileSystem());
  for (const fsync of ["always", 1000, "never"] as const) {
    const buffer = await open(counting, { fsync, segmentBytes: 256, maxRecords: 3 });
    let most = 0;
    for (const text of numbers(1, 200)) {
      await buffer.put(text);
      most = Math.max(most, handles.size);
    }
    await buffer.commit(await buffer.emit());
    assertGreater(buffer.stats().segments, 50);
    // The lock, the cursor, a segment to read from, one to write to and a few to sync.
    assertLess(most, 25, `fsync ${fsync}: ${most} files`);
    await buffer.close();
  }
});

test("FileBuffer syncs at the interval when a producer does nothing but await puts", async () => {
  const path = mkdtempSync(join(tmpdir(), "sluice-starve-"));
  try {
    const buffer = await FileBuffer.open<string>({ path, fsync: 1 });
    const enough = 200_000;
    let puts = 0;
    while (puts < enough && buffer.stats().syncs < 3) puts = await buffer.put("a");
    assertLess(puts, enough, "puts without a sync");
    await buffer.clear();
    await buffer.close();
  } finally {
    rmSync(path, { recursive: true });
  }
});

test("FileBuffer.put() that waits is not forgotten when the disk refuses the one before it", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { whenFull: "block", maxBacklogBytes: 100, maxRecords: 1, fsync: "never" });
  await buffer.put("a".repeat(60));
  const batch = await buffer.emit();
  const waiting = [buffer.put("b".repeat(60)), buffer.put("c".repeat(60))];
  fileSystem.capacityBytes = fileSystem.usedBytes;
  await buffer.commit(batch);
  for (const put of waiting) await assertRejects(() => put, NoSpaceError);
  fileSystem.capacityBytes = Infinity;
  assertEquals(await buffer.put("d"), 2);
  await buffer.close();
});

test("FileBuffer tells of each sync and how long it took", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { fsync: "always" });
  const durations: number[] = [];
  buffer.subscribe((event) => {
    if (event.type === "synced") durations.push(event.durationMs);
  });
  await buffer.put("a");
  await buffer.put("b");
  const { syncs, syncMs } = buffer.stats();
  assertEquals(durations.length, syncs);
  assertEquals(durations.reduce((sum, one) => sum + one, 0), syncMs);
  assertEquals(syncs, 2);
  await buffer.close();
});

test("FileBuffer.open() resolves when the first cursor is durable, content and name", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const fileSystem = new MemoryFileSystem();
    await FileBuffer.open<string>({ path: "/b", fileSystem, fsync: "never", statusMs: 0 });
    assertEquals(Cursor.read(fileSystem.crash({ seed }), "/b")?.lastSequence, 0, `seed ${seed}`);
  }
});
