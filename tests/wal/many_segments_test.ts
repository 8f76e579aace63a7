/**
 * A log of very many segments: what is done counts, never how long it takes. Each step of a buffer's work looks at the
 * segments that it touches, not at all that there are, and keeps nobody waiting for all of them.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FileSystemError } from "../../src/errors/mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import { segmentName } from "../../src/wal/names.ts";
import { type CommitState, LOG_START, type LogPosition } from "../../src/wal/position.ts";
import { KnownLosses } from "../../src/wal/recovery/known_losses.ts";
import { Quarantine } from "../../src/wal/recovery/quarantine.ts";
import type { SegmentWriter } from "../../src/wal/segment_writer.ts";
import { LogEnds } from "../../src/wal/writer/log_ends.ts";
import { LogHealth } from "../../src/wal/writer/log_health.ts";
import { SegmentList } from "../../src/wal/writer/segment_list.ts";
import { SyncQueue } from "../../src/wal/writer/sync_queue.ts";
import { garbage } from "../support/bytes.ts";
import { InstrumentedDisk } from "../support/disk.ts";
import { settle, yieldToEventLoop } from "../support/event_loop.ts";
import { headerOf, segmentOf, UUID_A } from "../support/frames.ts";
import {
  commitBatches,
  DIRECTORY,
  drain,
  makeLog,
  type OpenLog,
  openLog,
  segmentPath,
  segmentsOf,
  texts,
} from "../support/logs.ts";
import { CountedSegments } from "./counted_segments.ts";

/** A record of one of these lengths fills a segment of the shortest length that there is. */
const ONE_EACH = { segmentBytes: 256 };
const filling = (count: number): string[] => texts(count).map((text) => text.padEnd(120));

function positionAt(nextSequence: number): LogPosition {
  return { ...LOG_START, nextSequence };
}

/** Everything before `sequence` is committed. */
function committedUpTo(sequence: number): CommitState {
  return { committed: positionAt(sequence), resume: positionAt(sequence), boundaries: [] };
}

function listOn(fileSystem: MemoryFileSystem, segments: CountedSegments["segments"] = []): SegmentList {
  const quarantine = new Quarantine(fileSystem, DIRECTORY);
  return new SegmentList({
    fileSystem,
    directory: DIRECTORY,
    uuid: UUID_A,
    quarantine,
    ownership: { verify: () => {} },
    report: () => {},
    inherited: undefined,
    segments,
    sizes: [],
    end: LOG_START,
  });
}

test("SegmentList looks at few segments for each that is begun, read, committed and removed, however many there are", async () => {
  for (const count of [64, 4096]) {
    const counted = new CountedSegments(count);
    const list = listOn(new MemoryFileSystem());
    for (const segment of counted.segments) list.append({ segment, logBytesBefore: 0, identity: undefined });
    const before = counted.looks;
    for (const [i, segment] of counted.segments.entries()) {
      assert(!list.mayDrop(committedUpTo(i + 1)));
      if (i + 1 === count) break;
      assertEquals(list.nextAfter(segment), i + 2);
      const state = committedUpTo(i + 2);
      assert(list.mayDrop(state));
      const done = list.nextDroppable(state, -1);
      assertEquals(done, segment);
      await list.remove(done!);
      assertEquals(list.nextDroppable(state, -1), undefined);
    }
    assertEquals(list.ordered.count, 1);
    const looks = (counted.looks - before) / count;
    assert(looks < 16 * Math.log2(count), `${looks} looks for each of ${count} segments`);
  }
});

test("SegmentList looks at few segments for each that was dropped behind those in flight", async () => {
  const count = 4096;
  const counted = new CountedSegments(count);
  const list = listOn(new MemoryFileSystem());
  for (const segment of counted.segments) list.append({ segment, logBytesBefore: 0, identity: undefined });
  const before = counted.looks;
  const inFlight = { committed: positionAt(1), boundaries: [positionAt(count / 2)] };
  for (let i = count / 2; i < count; i++) {
    const state = { ...inFlight, resume: positionAt(i + 1) };
    assert(list.mayDrop(state));
    const done = list.nextDroppable(state, -1);
    assertEquals(done, counted.segments[i - 1]);
    await list.remove(done!);
    assert(!list.mayDrop(state));
  }
  const looks = (counted.looks - before) / (count / 2);
  assert(looks < 16 * Math.log2(count), `${looks} looks for each`);
});

test("SegmentList looks into a file that strayed in once, however many there are and whatever is committed between them", () => {
  const strays = 500;
  const disk = new InstrumentedDisk();
  const { fileSystem } = disk;
  const counted = new CountedSegments(strays + 2);
  fileSystem.writeFile(segmentPath(1), segmentOf(headerOf()));
  for (let i = 2; i < strays + 2; i++) fileSystem.writeFile(segmentPath(i), garbage(200, i));
  fileSystem.writeFile(segmentPath(strays + 2), segmentOf(headerOf({ firstSequence: strays + 2 })));
  const list = listOn(fileSystem, counted.segments);
  disk.forget();
  const before = counted.looks;
  for (let next = 2; next < strays + 2; next++) {
    // None ends where a stray begins, and no stray ends before the next one of ours.
    assertEquals(list.nextDroppable(committedUpTo(next), -1), undefined);
    assertEquals(list.nextAfter(counted.segments[0]!), strays + 2);
  }
  assertEquals(list.nextDroppable(committedUpTo(strays + 2), -1), counted.segments[0]);
  assertEquals(disk.operations.filter(({ operation }) => operation === "open").length, strays + 1);
  const looks = (counted.looks - before) / strays;
  assert(looks < 16 * Math.log2(strays), `${looks} looks for each`);
});

/** A sync queue with so many segments of earlier processes. */
function queueOn(fileSystem: MemoryFileSystem, inherited: CountedSegments["segments"]): SyncQueue {
  return new SyncQueue({
    fileSystem,
    directory: DIRECTORY,
    clock: new ManualClock(),
    cursor: Cursor.open(fileSystem, DIRECTORY, { uuid: UUID_A, place: 1, isSynced: false }),
    inherited,
    intervalMs: undefined,
    isSynced: false,
    ownership: { verify: () => {} },
    health: new LogHealth(DIRECTORY, { isLost: false, isStillOwner: () => true }),
    ends: new LogEnds(LOG_START, { isSynced: false }),
    onSynced: () => {},
  });
}

test("SyncQueue looks at each segment of an earlier process once or twice, however many batches it takes to get to all", async () => {
  const count = 2000;
  const counted = new CountedSegments(count);
  const { fileSystem } = await makeLog(["first"]);
  const queue = queueOn(fileSystem, counted.segments);
  for (let next = 1; next <= count; next++) await queue.syncInherited(next + 1);
  assert(!queue.hasInherited);
  assert(counted.looks <= 4 * count, `${counted.looks} looks at ${count} segments`);
});

test("SyncQueue.forget() looks at no other segment than the one that is gone", async () => {
  const { fileSystem } = await makeLog(["first"]);
  const queue = queueOn(fileSystem, []);
  const count = 1000;
  let looks = 0;
  for (let i = 1; i <= count; i++) {
    const writer = {
      get name() {
        looks++;
        return segmentName(i);
      },
      close: () => {},
    };
    queue.touched(writer as unknown as SegmentWriter);
  }
  for (let i = count; i > 0; i--) queue.forget(segmentName(i));
  assertEquals(queue.dirtyWriters.size, 0);
  assert(looks <= 2 * count, `${looks} looks at ${count} writers`);
});

/** What a batch in the middle asks of the file system, with so many segments in all. */
async function operationsOfABatch(count: number, fsync: "always" | "never" | number): Promise<Record<string, number>> {
  const { fileSystem } = await makeLog(filling(count), { ...ONE_EACH, fsync: "never" });
  const disk = new InstrumentedDisk(fileSystem);
  const { buffer } = await openLog(disk.fileSystem, { ...ONE_EACH, fsync, maxRecords: 4 });
  await commitBatches(buffer, count / 8);
  await settle();
  disk.forget();
  await commitBatches(buffer, 1);
  await settle();
  const counts: Record<string, number> = {};
  for (const { operation } of disk.operations) counts[operation] = (counts[operation] ?? 0) + 1;
  await buffer.close();
  return counts;
}

test("FileBuffer asks as little of the file system for a batch, however many segments there are", async () => {
  for (const fsync of ["always", "never", 1000] as const) {
    const [few, many] = [await operationsOfABatch(32, fsync), await operationsOfABatch(1024, fsync)];
    assertEquals(many, few, `fsync ${fsync}`);
    assertEquals(few["remove"], 4, `fsync ${fsync}`);
  }
});

/** How often a disk is asked for an operation in one turn of the event loop, at most, until what `start` starts has ended. */
async function mostInATurn(disk: InstrumentedDisk, operation: string, start: () => Promise<unknown>): Promise<number> {
  let [most, isDone] = [0, false];
  disk.forget();
  const settled = start().finally(() => isDone = true);
  while (!isDone) {
    await yieldToEventLoop();
    most = Math.max(most, disk.operations.filter((one) => one.operation === operation).length);
    disk.forget();
  }
  await settled;
  return most;
}

test("FileBuffer.emit() of a batch in many segments gives the event loop turns", async () => {
  const { fileSystem } = await makeLog(filling(400), ONE_EACH);
  const disk = new InstrumentedDisk(fileSystem);
  const { buffer } = await openLog(disk.fileSystem, { ...ONE_EACH, maxRecords: 400 });
  const most = await mostInATurn(disk, "open", async () => assertEquals((await buffer.emit()).length, 400));
  // A turn of ours can lie between two of the reader's, who opens each of 16 twice: the first time for a look at its header.
  assert(most <= 80, `${most} segments opened in a turn`);
  await buffer.close();
});

test("FileBuffer.clear() of many segments removes them all, a few in each turn of the event loop", async () => {
  const disk = new InstrumentedDisk();
  const { buffer } = await openLog(disk.fileSystem, ONE_EACH);
  for (const text of filling(400)) await buffer.put(text);
  await buffer.clear();
  const most = await mostInATurn(disk, "remove", () => buffer.close());
  assert(most > 0 && most <= 80, `${most} segments removed in a turn`);
  assertEquals(segmentsOf(disk.fileSystem), [segmentName(400)]);
});

test("FileBuffer removes as many segments as are drained, while they are drained", async () => {
  const { fileSystem } = await makeLog(filling(1000), ONE_EACH);
  const { buffer } = await openLog(fileSystem, { ...ONE_EACH, maxRecords: 50 });
  let most = 0;
  for await (const batch of buffer.batches({ flush: true })) {
    await buffer.commit(batch);
    most = Math.max(most, segmentsOf(fileSystem).length - (1000 - batch.lastSequence));
  }
  assert(most <= 200, `${most} segments are there that nobody needs`);
  await buffer.close();
  assertEquals(segmentsOf(fileSystem), [segmentName(1000)]);
});

/** A buffer with one record of its own behind a log of 300 segments that a killed process left. */
async function openBehindMany(fsync: number): Promise<OpenLog & { disk: InstrumentedDisk }> {
  const { fileSystem } = await makeLog(filling(300), ONE_EACH);
  const disk = new InstrumentedDisk(fileSystem);
  const open = await openLog(disk.fileSystem, { ...ONE_EACH, fsync });
  await open.buffer.put("new");
  disk.forget();
  disk.hold();
  return { ...open, disk };
}

test("FileBuffer with an interval syncs what was put in it without waiting for the segments of an earlier process", async () => {
  const { buffer, disk, clock } = await openBehindMany(500);
  clock.advance(500);
  await settle();
  for (let syncs = 1; syncs <= 6; syncs++) await disk.release();
  assert(disk.list("sync").includes("sync 301.wal"), disk.list("sync").join(", "));
  assertEquals((await drainAfterPowerCut(disk)).at(-1), "new");
  await disk.letGo();
  await buffer.close();
  const synced = new Set(disk.list("sync"));
  for (let i = 1; i <= 301; i++) assert(synced.has(`sync ${i}.wal`), `segment ${i} is not synced`);
});

/** What is there after a power cut that leaves as little as it may. */
async function drainAfterPowerCut(disk: InstrumentedDisk): Promise<string[]> {
  const { buffer } = await openLog(disk.fileSystem.crash({ seed: 1 }), { maxRecords: 1000 });
  const records = await drain(buffer);
  await buffer.close();
  return records;
}

test("FileBuffer.flush() resolves when all segments of an earlier process are synced that are still there", async () => {
  const { buffer, disk } = await openBehindMany(500);
  await buffer.emit();
  let isFlushed = false;
  const flushing = buffer.flush().then(() => isFlushed = true);
  while (!isFlushed) {
    assert(disk.held.length > 0);
    await disk.release();
  }
  await flushing;
  const synced = new Set(disk.list("sync"));
  for (let i = 1; i <= 301; i++) assert(synced.has(`sync ${i}.wal`), `segment ${i} is not synced`);
  await disk.letGo();
  await buffer.close();
});

test("KnownLosses look at each accepted region once, however many losses are noted in between", () => {
  const count = 500;
  let looks = 0;
  const acceptedRegions = Array.from({ length: count }, (_, i) => ({
    get segment() {
      looks++;
      return segmentName(i + 1);
    },
    offset: 0,
    length: 100,
  }));
  let losses = new KnownLosses({ acceptedRegions });
  for (let i = 1; i <= count; i++) {
    const region = { segment: segmentName(i), offset: 0, length: 100 };
    assert(losses.isAccepted({ ...region, missing: undefined }));
    losses = losses.with({ lost: [{ first: 2 * i, last: 2 * i }] });
  }
  assert(losses.hasRecorded({ first: 2, last: 2 }) && !losses.hasRecorded({ first: 2, last: 3 }));
  assert(looks <= 2 * count, `${looks} looks at ${count} regions`);
});

test("FileBuffer.put() on a full disk doesn't list the directory for each put that it refuses", async () => {
  const disk = new InstrumentedDisk();
  const { buffer } = await openLog(disk.fileSystem, ONE_EACH);
  await buffer.put("first".padEnd(120));
  disk.fail({ operation: "open", mode: "create" }, "ENOSPC", Infinity);
  disk.forget();
  for (const text of filling(3)) await assertRejects(() => buffer.put(text), FileSystemError);
  assertEquals(disk.list("list"), []);
  disk.heal();
  assertEquals(await buffer.put("second"), 2);
  await buffer.close();
});
