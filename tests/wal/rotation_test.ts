/**
 * The beginning of a segment, when it fails: a segment ends where the next one begins, so what a failed attempt leaves
 * behind, or a power cut brings back, must not hide records that were put in front of it. Through `FileBuffer`.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FileSystemError, NoSpaceError } from "../../src/errors/mod.ts";
import type { Fault } from "../../src/testing/memory_process.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import { encodeSegmentHeader } from "../../src/wal/format.ts";
import { segmentName } from "../../src/wal/names.ts";
import { InstrumentedDisk, openOn, type OpenOnDisk, valuesAfterPowerCuts, valuesIn, watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { HEADER_BYTES, headerOf } from "../support/frames.ts";
import { DIRECTORY, makeLog, openLog, segmentPath, segmentsOf } from "../support/logs.ts";

/** The segment has room for one record more, but not for a long one. */
const SMALL = { segmentBytes: 300 };
const LONG = "long".padEnd(200, "-");
const SECOND = segmentPath(2);

/** The header of the second segment is written, wholly or in part, and its write fails. */
const HEADER_FAULTS: readonly Fault[] = [
  { kind: "fail", errno: "EIO" },
  { kind: "after", errno: "EIO" },
  { kind: "torn", errno: "EIO", bytes: 100 },
  { kind: "torn", errno: "EIO", bytes: 159 },
];

async function failToBegin(fault: Fault, { isLeft }: { isLeft: boolean }): Promise<OpenOnDisk> {
  const opened = await openOn(SMALL);
  const { buffer, disk } = opened;
  disk.fail({ operation: "write", path: SECOND }, fault);
  if (isLeft) disk.fail({ operation: "remove", path: SECOND });
  await assertRejects(() => buffer.put(LONG), FileSystemError, "EIO");
  assertEquals(disk.plannedFaults, 0);
  return opened;
}

test("FileBuffer.put() after a segment that was begun in part and is still there writes nothing in front of it", async () => {
  for (const fault of HEADER_FAULTS) {
    const { buffer, disk } = await failToBegin(fault, { isLeft: true });
    assertEquals(await buffer.put("short"), 2);
    assertEquals(await buffer.put("more"), 3);
    assertEquals(segmentsOf(disk.fileSystem), [segmentName(1), segmentName(2)]);
    assertEquals(await valuesIn(disk.fileSystem), ["first", "short", "more"]);
    await buffer.close();
    assertEquals(await valuesIn(disk.fileSystem), ["first", "short", "more"]);
  }
});

test("FileBuffer.put() after a segment that was begun and removed survives a power cut that brings it back", async () => {
  for (const fault of HEADER_FAULTS) {
    const { buffer, disk } = await failToBegin(fault, { isLeft: false });
    assertEquals(await buffer.put("short"), 2);
    for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "short"]);
    await buffer.close();
  }
});

test("FileBuffer.put() goes on in the segment before when there is no file to be had, with what fits", async () => {
  const { buffer, disk } = await openOn(SMALL);
  disk.fail({ operation: "open", path: SECOND }, "ENOSPC");
  await assertRejects(() => buffer.put(LONG), NoSpaceError);
  assertEquals(await buffer.put("short"), 2);
  assertEquals(segmentsOf(disk.fileSystem), [segmentName(1)]);
  assertEquals(await buffer.put(LONG), 3);
  assertEquals(await valuesIn(disk.fileSystem), ["first", "short", LONG]);
  await buffer.close();
});

test("FileBuffer.put() begins the segment that a failed open() has created all the same", async () => {
  for (const isListed of [true, false]) {
    const { buffer, disk } = await openOn(SMALL);
    disk.fail({ operation: "open", path: SECOND }, { kind: "after", errno: "EIO" });
    if (!isListed) disk.fail({ operation: "list" });
    await assertRejects(() => buffer.put(LONG), FileSystemError, "EIO");
    assertEquals(await buffer.put("short"), 2);
    assertEquals(segmentsOf(disk.fileSystem), [segmentName(1), segmentName(2)]);
    assertEquals(await valuesIn(disk.fileSystem), ["first", "short"]);
    await buffer.close();
  }
});

test("FileBuffer.put() never writes over a file of the next segment's name that is another buffer's", async () => {
  const { fileSystem } = await makeLog(["first"]);
  const foreign = encodeSegmentHeader(headerOf({ firstSequence: 2 }));
  fileSystem.writeFile(SECOND, foreign);
  const disk = new InstrumentedDisk(fileSystem);
  // Recovery can't set it aside.
  disk.fail({ operation: "rename", path: SECOND });
  const { buffer } = await openLog(disk.fileSystem);
  for (let i = 0; i < 2; i++) await assertRejects(() => buffer.put("second"), FileSystemError, "EEXIST");
  assertEquals(disk.fileSystem.readFile(SECOND), foreign);
  assert(buffer.stats().rejected === 2);
  assertEquals((await buffer.emit()).records, ["first"]);
  await buffer.close();
  // The next open() can.
  assertEquals(await valuesIn(disk.fileSystem), ["first"]);
  const again = await openLog(disk.fileSystem);
  assertEquals(await again.buffer.put("second"), 2);
  await again.buffer.close();
  assert(disk.fileSystem.paths().some((path) => path.startsWith(`${DIRECTORY}/quarantine/`)));
});

/** A log with one record, and a segment in which the write of the second was cut off. */
async function withEmptySegment(): Promise<InstrumentedDisk> {
  const { buffer, disk } = await openOn(SMALL);
  disk.fileSystem.capacityBytes = disk.fileSystem.usedBytes + HEADER_BYTES + 10;
  await assertRejects(() => buffer.put(LONG), NoSpaceError);
  disk.fileSystem.capacityBytes = Infinity;
  assertEquals(segmentsOf(disk.fileSystem), [segmentName(1), segmentName(2)]);
  assertEquals(disk.fileSystem.readFile(SECOND).length, HEADER_BYTES);
  return new InstrumentedDisk(disk.fileSystem);
}

test("FileBuffer.flush() syncs a segment without a record, too, or what was cut off there may come back", async () => {
  for (const fsync of [1000, "always"] as const) {
    const disk = await withEmptySegment();
    const { buffer } = await openLog(disk.fileSystem, { fsync });
    disk.forget();
    await buffer.flush();
    assertEquals(disk.list("sync"), ["sync 1.wal", "sync 2.wal"]);
    await buffer.close();
  }
});

test("FileBuffer.open() writes down what the name of a segment without a record says, before that can be lost", async () => {
  const disk = await withEmptySegment();
  disk.fileSystem.remove(segmentPath(1));
  const before = Cursor.read(disk.fileSystem, DIRECTORY)!;
  assertEquals(before.lastSequence, 0);
  const { buffer } = await openLog(disk.fileSystem);
  assertEquals(Cursor.read(disk.fileSystem.crash({ seed: 1 }), DIRECTORY)!.lastSequence, 1);
  await buffer.close();
});

test("FileBuffer with 'always' that fails leaves no name of a segment that it could not begin", async () => {
  const { buffer, disk } = await openOn(SMALL);
  disk.fail({ operation: "sync", path: segmentPath(1) }, { kind: "after", errno: "EIO" });
  disk.hold();
  const short = watch(buffer.put("short"));
  await settle();
  disk.fail({ operation: "write", path: segmentPath(3) }, { kind: "after", errno: "EIO" });
  disk.fail({ operation: "remove", path: segmentPath(3) });
  const long = watch(buffer.put(LONG));
  await settle();
  await disk.letGo();
  assertEquals([short.state, long.state, disk.plannedFaults], ["rejected", "rejected", 0]);
  const again = await openLog(disk.fileSystem.kill());
  // With that name there, record 2 would be said to be missing.
  assertEquals([again.buffer.recovery.recoveredRecords, again.buffer.recovery.damaged], [1, []]);
  await again.buffer.close();
});
