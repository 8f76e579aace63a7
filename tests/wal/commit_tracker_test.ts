/**
 * Commits and the removal of segments, through `FileBuffer`: durable first, unlinked second, and whatever fails can be
 * done again.
 */

import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { BufferEmptyError, FileSystemError } from "../../src/errors/mod.ts";
import type { MemoryOperation } from "../../src/testing/memory_process.ts";
import { segmentName } from "../../src/wal/names.ts";
import { hitHeader } from "../support/damaged_logs.ts";
import { InstrumentedDisk, openOn, shortName, valuesAfterPowerCuts, valuesIn, watch } from "../support/disk.ts";
import { settle, yieldToEventLoop } from "../support/event_loop.ts";
import { commitBatches, DIRECTORY, drainLog, openLog, segmentPath, segmentsOf, texts } from "../support/logs.ts";

const FIRST = segmentPath(1);

/** Syncs of the cursor, and what depends on them, in order. */
function cursorStory(operations: readonly MemoryOperation[]): string[] {
  return operations
    .filter(({ operation, path }) => operation === "remove" || path.endsWith("/cursor"))
    .filter(({ operation }) => ["write", "sync", "remove"].includes(operation))
    .map(({ operation, path }) => `${operation} ${shortName(path)}`);
}

test("FileBuffer.commit() has the cursor synced before a segment is removed, whatever the setting", async () => {
  for (const fsync of ["always", "never", 1000] as const) {
    const disk = new InstrumentedDisk();
    const { buffer, events } = await openLog(disk.fileSystem, { fsync, segmentBytes: 256, maxRecords: 2 });
    for (const value of texts(10)) await buffer.put(value.padEnd(70));
    const names = segmentsOf(disk.fileSystem);
    assertEquals(names.length, 10);
    disk.forget();
    for (let i = 0; i < 5; i++) {
      await buffer.commit(await buffer.emit());
      await settle();
      const story = cursorStory(disk.operations);
      const removed = story.findIndex((line) => line.startsWith("remove"));
      assert(story.lastIndexOf("write cursor", removed) < story.lastIndexOf("sync cursor", removed), story.join(", "));
      disk.forget();
    }
    // The last one stays: its name keeps the sequences.
    assertEquals(segmentsOf(disk.fileSystem), names.slice(-1), `fsync ${fsync}`);
    const removed = events.flatMap((event) => event.type === "segment-removed" ? [event.segment] : []);
    assertEquals(removed, names.slice(0, -1));
    const { segments, diskBytes } = buffer.stats();
    assertEquals([segments, diskBytes], [1, disk.fileSystem.readFile(`${DIRECTORY}/${names.at(-1)}`).length]);
    await buffer.close();
  }
});

test("FileBuffer.commit() removes nothing while the sync of the cursor is under way", async () => {
  const { buffer, disk } = await openOn({ fsync: "never", segmentBytes: 256, maxRecords: 2 });
  for (const value of texts(4)) await buffer.put(value.padEnd(70));
  await buffer.flush();
  disk.hold();
  await commitBatches(buffer, 1);
  await settle();
  assertEquals([disk.held.map(({ path }) => shortName(path)), disk.list("remove")], [["cursor"], []]);
  const lengths = (await valuesAfterPowerCuts(disk.fileSystem)).map(({ length }) => length);
  assert(lengths.includes(5) && lengths.every((length) => length === 3 || length === 5), lengths.join());
  await disk.letGo();
  assertEquals(disk.list("remove").length, 2);
  await buffer.close();
});

test("FileBuffer.commit() tells of a segment that can't be removed, and tries again with the next", async () => {
  const { buffer, disk, events } = await openOn({ segmentBytes: 256, maxRecords: 1 });
  for (const value of texts(4)) await buffer.put(value.padEnd(70));
  disk.fail({ operation: "remove" }, "EACCES", Infinity);
  for (let i = 0; i < 2; i++) {
    await commitBatches(buffer, 1);
    await settle();
  }
  const warnings = events.flatMap((event) => event.type === "warned" ? [event.error.code] : []);
  assertEquals(new Set(warnings), new Set(["PERMISSION"]));
  assert(warnings.length >= 2, `${warnings.length} warnings`);
  assertEquals([segmentsOf(disk.fileSystem).length, buffer.stats().segments], [5, 5]);
  disk.heal();
  await commitBatches(buffer, 1);
  await settle();
  assertEquals([segmentsOf(disk.fileSystem).length, buffer.stats().segments], [2, 2]);
  await buffer.close();
  assertEquals((await valuesIn(disk.fileSystem)).map((value) => value.trim()), ["record 3 ++", "record 4 +++"]);
});

test("FileBuffer.commit() takes a segment that is gone already for removed", async () => {
  const { buffer, disk, events } = await openOn({ segmentBytes: 256, maxRecords: 1 });
  for (const value of texts(2)) await buffer.put(value.padEnd(70));
  const batch = await buffer.emit();
  disk.fileSystem.remove(FIRST);
  await buffer.commit(batch);
  await settle();
  assertEquals(events.filter(({ type }) => type === "warned"), []);
  assertEquals(buffer.stats().segments, 2);
  await buffer.close();
});

test("FileBuffer.commit() that can't be written rejects, and the batch can be committed again", async () => {
  for (const fsync of ["always", "never", 1000] as const) {
    for (const fault of ["EIO", { kind: "torn", errno: "EIO", bytes: 30 }] as const) {
      const { buffer, disk } = await openOn({ fsync, maxRecords: 1 });
      await buffer.put("second");
      const batch = await buffer.emit();
      for (let i = 0; i < 2; i++) {
        disk.fail({ operation: "write", path: "cursor" }, fault);
        const error = await assertRejects(() => buffer.commit(batch), FileSystemError);
        assertEquals([error.code, error.errno], ["FILE_SYSTEM", "EIO"]);
        assertEquals((await buffer.emit()).id, batch.id);
        assertEquals(await valuesIn(disk.fileSystem), ["first", "second"]);
      }
      await buffer.commit(batch);
      assertEquals((await buffer.emit()).records, ["second"]);
      await buffer.close();
      assertEquals(await valuesIn(disk.fileSystem), ["second"]);
    }
  }
});

test("FileBuffer.emit() that can't save the end of the batch rejects, and gives the same records the next time", async () => {
  for (const fsync of ["always", "never"] as const) {
    const { buffer, disk } = await openOn({ fsync, maxRecords: 2 });
    await buffer.putMany(["second", "third"]);
    disk.fail({ operation: "write", path: "cursor" });
    await assertRejects(() => buffer.emit(), FileSystemError, "EIO");
    assertEquals(buffer.stats().inFlightRecords, 0);
    assertEquals((await buffer.emit()).records, ["first", "second"]);
    await buffer.commit();
    assertEquals((await buffer.emit()).records, ["third"]);
    await buffer.close();
  }
});

test("FileBuffer.emit() that can't read rejects, loses nothing, and works when the disk does", async () => {
  const values = texts(12).map((value) => value.padEnd(70));
  for (const operation of ["open", "read", "size"] as const) {
    const disk = new InstrumentedDisk();
    const { buffer } = await openLog(disk.fileSystem, { segmentBytes: 256, maxRecords: 3 });
    for (const value of values) await buffer.put(value);
    const delivered: string[] = [];
    let failures = 0;
    while (delivered.length < values.length) {
      disk.fail({ operation, path: ".wal", ...(operation === "open" ? { mode: "read" } : {}) });
      try {
        const batch = await buffer.emit();
        disk.heal();
        delivered.push(...batch.records);
        await buffer.commit(batch);
      } catch (error) {
        assertInstanceOf(error, FileSystemError);
        failures++;
        disk.heal();
        const batch = await buffer.emit();
        delivered.push(...batch.records);
        await buffer.commit(batch);
      }
    }
    assertEquals(delivered, values, operation);
    assert(operation === "size" || failures > 0, operation);
    await buffer.close();
  }
});

test("FileBuffer that loses its directory while segments are removed removes no other, and says so once", async () => {
  const { buffer, disk, events } = await openOn({ fsync: "never", segmentBytes: 256 });
  for (const value of texts(200)) await buffer.put(value.padEnd(120));
  const names = segmentsOf(disk.fileSystem);
  await buffer.clear();
  while (disk.list("remove").length === 0) await yieldToEventLoop();
  const left = segmentsOf(disk.fileSystem);
  assert(left.length > 100 && left.length < names.length, `${left.length} of ${names.length}`);
  const owner = `${DIRECTORY}/owner.json`;
  const bytes = disk.fileSystem.readFile(owner);
  disk.fileSystem.remove(owner);
  disk.fileSystem.writeFile(owner, bytes);
  for (let i = 0; i < 20; i++) await settle();
  assertEquals(segmentsOf(disk.fileSystem), left);
  const failures = events.flatMap((event) => event.type === "failed" ? [event.error.name] : []);
  assertEquals(failures, ["OwnershipLostError"]);
  await buffer.close().catch(() => {});
});

test("FileBuffer drops what is committed also when the last commit comes while segments are being removed", async () => {
  for (let turns = 0; turns < 12; turns++) {
    const { buffer, disk } = await openOn({ fsync: "never", segmentBytes: 256, maxRecords: 1 });
    for (const value of texts(4)) await buffer.put(value.padEnd(70));
    disk.hold();
    await commitBatches(buffer, 2);
    const last = watch(buffer.emit().then((batch) => buffer.commit(batch)));
    await disk.letGo();
    for (let i = 0; i < turns; i++) await Promise.resolve();
    await settle();
    assertEquals(last.state, "resolved");
    assertEquals(segmentsOf(disk.fileSystem).length, 2, `after ${turns} turns`);
    await buffer.close();
  }
});

test("FileBuffer.commit() that was flushed stays, also if the process is killed, goes on, and the power is cut", async () => {
  for (const later of [0, 1, 2, 3]) {
    const first = await openOn({ fsync: 1000, maxRecords: 1 });
    for (const value of texts(9)) await first.buffer.put(value);
    await commitBatches(first.buffer, 2);
    await first.buffer.flush();
    await commitBatches(first.buffer, later);
    const fileSystem = first.disk.fileSystem.kill();
    const { buffer } = await openLog(fileSystem, { fsync: 1000, maxRecords: 1 });
    await commitBatches(buffer, 1);
    for (let seed = 0; seed < 200; seed++) {
      const { records } = await drainLog(fileSystem.crash({ seed }));
      assert(records[0]!.sequence > 2, `seed ${seed}, ${later} commits later: ${records[0]!.sequence} came back`);
    }
  }
});

test("FileBuffer.put() that waits gets the room of what turns out to be unreadable", async () => {
  const text = (letter: string) => letter.repeat(100);
  const disk = new InstrumentedDisk();
  const { buffer: left } = await openLog(disk.fileSystem, { segmentBytes: 256 });
  for (const letter of ["a", "b"]) await left.put(text(letter));
  // Behind the second segment there is one without a record.
  disk.fail({ operation: "write", index: disk.operations.length + 6 });
  await assertRejects(() => left.put(text("c")), FileSystemError);
  const fileSystem = disk.fileSystem.kill();
  assertEquals(segmentsOf(fileSystem), [1, 2, 3].map(segmentName));
  fileSystem.writeFile(segmentPath(2), hitHeader(fileSystem.readFile(segmentPath(2))));
  const { buffer } = await openLog(fileSystem, { whenFull: "block", maxBacklogBytes: 250 });
  const put = watch(buffer.put(text("d")));
  await buffer.commit(await buffer.emit());
  await settle();
  assertEquals(put.state, "pending");
  await assertRejects(() => buffer.emit(), BufferEmptyError);
  await settle();
  assertEquals([put.state, put.value], ["resolved", 3]);
  assertEquals((await buffer.emit()).records, [text("d")]);
  await buffer.close();
});
