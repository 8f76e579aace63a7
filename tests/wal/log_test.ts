/**
 * The write-ahead log through `FileBuffer`: what a failed write or sync costs, what a full disk does, and where a new
 * segment begins.
 */

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { BufferClosedError, BufferFailedError, FileSystemError, NoSpaceError } from "../../src/errors/mod.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault } from "../../src/testing/memory_process.ts";
import { decodeSegmentHeader } from "../../src/wal/format.ts";
import { InstrumentedDisk, openOn, valuesAfterPowerCuts, valuesIn, watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { framesOf, HEADER_BYTES } from "../support/frames.ts";
import { assertSound, DIRECTORY, drainLog, openLog, segmentsOf, texts } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

test("FileBuffer.put() that can't be written leaves nothing behind, and gives its sequence to the next", async () => {
  const faults: (Fault | string)[] = ["EIO", "ENOSPC", { kind: "torn", errno: "EIO", bytes: 20 }, {
    kind: "after",
    errno: "EIO",
  }];
  for (const fsync of ["always", "never", 1000] as const) {
    for (const fault of faults) {
      const { buffer, disk } = await openOn({ fsync });
      disk.fail({ operation: "write", path: ".wal" }, fault);
      const note = `${fsync}, ${JSON.stringify(fault)}`;
      const failed = [buffer.put("gone"), buffer.putMany(["gone", "too"]), buffer.put("gone as well")].map(watch);
      await settle();
      assertEquals(failed.map(({ state }) => state), ["rejected", "rejected", "rejected"], note);
      const errors = failed.map(({ error }) => error);
      for (const error of errors) assertStrictEquals(error, errors[0], note);
      assertInstanceOf(errors[0], fault === "ENOSPC" ? NoSpaceError : FileSystemError, note);
      assertEquals(await valuesIn(disk.fileSystem), ["first"], note);
      if (fsync === "always") {
        for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first"], note);
      }
      assertEquals(await buffer.put("second"), 2, note);
      assertEquals(buffer.stats().rejected, 3, note);
      assertEquals(buffer.stats().pendingRecords, 2, note);
      await buffer.close();
      assertEquals(await valuesIn(disk.fileSystem), ["first", "second"], note);
    }
  }
});

test("FileBuffer fails when a failed write can't be undone: everything gets the first cause, nothing is tried again", async () => {
  for (const fsync of ["always", "never", 1000] as const) {
    const { buffer, disk, events } = await openOn({ fsync });
    const batch = await buffer.emit();
    disk.forget();
    disk.fail({ operation: "write", path: ".wal" }, { kind: "torn", errno: "EIO", bytes: 20 });
    disk.fail({ operation: "truncate" }, "EROFS");
    const error = await assertRejects(() => buffer.put("gone"), BufferFailedError);
    assertInstanceOf(error.cause, FileSystemError);
    assertEquals([error.cause.errno, error.cause.operation], ["EIO", "write"]);
    const calls = [
      () => buffer.put("x"),
      () => buffer.putMany(["x"]),
      () => buffer.emit(),
      () => buffer.commit(batch),
      () => buffer.flush(),
      () => buffer.clear(),
      () => buffer.batches().next(),
    ];
    for (const call of calls) assertStrictEquals(await assertRejects(call, BufferFailedError), error);
    assertEquals(disk.list("write", "sync"), ["write 1.wal"], "nothing is tried again");
    assertEquals(events.filter(({ type }) => type === "failed").length, 1);
    await buffer.close();
    await assertRejects(() => buffer.put("x"), BufferClosedError);
    assertEquals(await valuesIn(disk.fileSystem.kill()), ["first"], `fsync ${fsync}`);
  }
});

test("FileBuffer fails when a sync fails: all who wait get the first cause, and none of their records comes back", async () => {
  for (const kind of ["fail", "lost", "after"] as const) {
    const { buffer, disk, events } = await openOn({ segmentBytes: 300 });
    disk.fail({ operation: "sync", path: ".wal" }, { kind, errno: "EIO" });
    disk.hold();
    const puts = [buffer.put("gone"), buffer.put("gone, too")].map(watch);
    await settle();
    // While the sync is under way; they would be in the next one. The long one is in another segment.
    puts.push(...[buffer.put("late"), buffer.put("late".repeat(70))].map(watch));
    const flush = watch(buffer.flush());
    await settle();
    await disk.letGo();
    assertEquals([...puts, flush].map(({ state }) => state), Array.from({ length: 5 }, () => "rejected"), kind);
    const error = flush.error as BufferFailedError;
    for (const put of puts) assertStrictEquals(put.error, error, kind);
    assertInstanceOf(error, BufferFailedError);
    assertEquals([(error.cause as FileSystemError).errno, error.path], ["EIO", DIRECTORY]);
    assertStrictEquals(await assertRejects(() => buffer.put("x"), BufferFailedError), error);
    assertEquals(disk.list("sync"), ["sync 1.wal"], "a failed sync is not tried again");
    assertEquals([events.filter(({ type }) => type === "failed").length, buffer.stats().rejected], [1, 4 + 1]);
    await buffer.close();
    assertEquals(disk.list("sync"), ["sync 1.wal"]);
    assertEquals(await valuesIn(disk.fileSystem.kill()), ["first"], kind);
  }
});

test("FileBuffer fails when the end of a batch, or a commit, can't be synced; the batch comes back the same", async () => {
  for (const call of ["emit", "commit"] as const) {
    const { buffer, disk } = await openOn({ maxRecords: 1 });
    await buffer.put("second");
    if (call === "commit") await buffer.emit();
    disk.fail({ operation: "sync", path: "cursor" });
    const error = await assertRejects(() => buffer[call](), BufferFailedError);
    assertEquals((error.cause as FileSystemError).path, `${DIRECTORY}/cursor`);
    assertStrictEquals(await assertRejects(() => buffer.put("x"), BufferFailedError), error);
    await buffer.close();
    const values = await valuesIn(disk.fileSystem.kill());
    // The commit itself was written; only that it will last isn't known.
    assertEquals(values, call === "emit" ? ["first", "second"] : ["second"], call);
  }
});

test("FileBuffer.put() that is acknowledged stays when another one breaks the log during its sync", async () => {
  const { buffer, disk } = await openOn();
  disk.hold();
  const a = watch(buffer.put("a"));
  await settle();
  disk.fail({ operation: "write", path: ".wal" }, { kind: "torn", errno: "EIO", bytes: 3 });
  disk.fail({ operation: "truncate" });
  const b = watch(buffer.put("b"));
  await settle();
  await disk.letGo();
  assert(a.state !== "pending" && b.state === "rejected", `${a.state}, ${b.state}`);
  await buffer.close();
  const there = await valuesIn(disk.fileSystem.kill());
  assertEquals(there, a.state === "resolved" ? ["first", "a"] : ["first"]);
});

test("FileBuffer.put() never hangs when something else fails the log before its own sync does", async () => {
  const { buffer, disk } = await openOn();
  const batch = await buffer.emit();
  disk.hold();
  const put = watch(buffer.put("a"));
  await settle();
  disk.fail({ operation: "sync", path: "cursor" });
  const commit = watch(buffer.commit(batch));
  await settle();
  disk.fail({ operation: "sync", path: "cursor" });
  await disk.letGo();
  assertEquals([commit.state, put.state], ["rejected", "rejected"]);
  assertStrictEquals(put.error, commit.error);
  assertEquals(buffer.stats().rejected, 1);
  await buffer.close();
});

test("FileBuffer.flush() that fails is not counted as a put", async () => {
  const { buffer, disk } = await openOn({ fsync: "never" });
  await buffer.put("second");
  disk.fail({ operation: "sync", path: ".wal" });
  await assertRejects(() => buffer.flush(), BufferFailedError);
  assertEquals(buffer.stats().rejected, 0);
  await buffer.close();
});

test("FileBuffer on a full disk rejects puts and does everything else; puts work again once there is space", async () => {
  for (const segmentBytes of [256, 2 ** 20]) {
    const { buffer, disk } = await openOn({ segmentBytes, maxRecords: 2 });
    await buffer.put("second");
    const { fileSystem } = disk;
    fileSystem.capacityBytes = fileSystem.usedBytes + 40;
    for (let i = 0; i < 3; i++) {
      const error = await assertRejects(() => buffer.put("no room".repeat(10)), NoSpaceError);
      assertEquals([error.code, error.errno], ["NO_SPACE", "ENOSPC"]);
    }
    await assertRejects(() => buffer.putMany(texts(9)), NoSpaceError);
    const batch = await buffer.emit();
    assertEquals(batch.records, ["first", "second"]);
    fileSystem.capacityBytes = 0;
    await assertRejects(() => buffer.put("x"), NoSpaceError);
    await buffer.commit(batch);
    await buffer.flush();
    assertEquals(buffer.stats().pendingRecords, 0);
    fileSystem.capacityBytes = Infinity;
    assertEquals(await buffer.put("third".repeat(50)), 3, "the sequence of those that were refused");
    assertEquals(await buffer.put("fourth"), 4);
    await buffer.close();
    assertEquals(await valuesIn(fileSystem), ["third".repeat(50), "fourth"], `segments of ${segmentBytes}`);
  }
});

test("FileBuffer.open() on a full disk gives out what is there, and takes puts once there is space", async () => {
  const { buffer, disk } = await openOn();
  await buffer.put("second");
  disk.fileSystem.capacityBytes = disk.fileSystem.usedBytes;
  const reopened = await openLog(disk.fileSystem.kill(), { maxRecords: 1 });
  await assertRejects(() => reopened.buffer.put("x"), NoSpaceError);
  assertEquals((await reopened.buffer.emit()).records, ["first"]);
  await reopened.buffer.commit();
  assertEquals((await reopened.buffer.emit()).records, ["second"]);
  await reopened.buffer.commit();
});

test("FileBuffer that can't create the next segment leaves no half one, and goes on when it can", async () => {
  const ways: ((disk: InstrumentedDisk) => void)[] = [
    (disk) => disk.fail({ operation: "open", mode: "create" }),
    (disk) => disk.fail({ operation: "open", mode: "create" }, { kind: "after", errno: "EIO" }),
    (disk) => disk.fail({ operation: "write", path: ".wal" }, { kind: "torn", errno: "ENOSPC", bytes: 100 }),
    (disk) => {
      disk.fail({ operation: "write", path: ".wal" }, { kind: "torn", errno: "ENOSPC", bytes: 100 });
      disk.fail({ operation: "remove" });
    },
  ];
  for (const [i, way] of ways.entries()) {
    const { buffer, disk } = await openOn({ segmentBytes: 300 });
    way(disk);
    await assertRejects(() => buffer.put("no".repeat(100)), FileSystemError, "", `way ${i}`);
    assertEquals(disk.plannedFaults, 0, `way ${i}`);
    if (i === 0 || i === 2) {
      assertEquals(segmentsOf(disk.fileSystem), segmentsOf(disk.fileSystem).slice(0, 1), `way ${i}`);
    }
    assertEquals(await buffer.put("yes".repeat(70)), 2, `way ${i}`);
    assertEquals(await buffer.put("yes"), 3, `way ${i}`);
    const { fileSystem } = disk;
    assertEquals(await valuesIn(fileSystem.kill()), ["first", "yes".repeat(70), "yes"], `way ${i}`);
  }
});

test("FileBuffer begins a new segment where the one before would become too long", async () => {
  for (const segmentBytes of [256, 500, 1000]) {
    const disk = new InstrumentedDisk();
    const { buffer, events } = await openLog(disk.fileSystem, { segmentBytes });
    const random = seededRandom(segmentBytes);
    const values = texts(40).map((text, i) => text.padEnd(i === 20 ? 2000 : random(100)));
    for (const value of values) await buffer.put(value);
    const names = segmentsOf(disk.fileSystem);
    let [sequence, payloadBytes, logBytes, diskBytes] = [1, 0, 0, 0];
    for (const name of names) {
      const bytes = disk.fileSystem.readFile(`${DIRECTORY}/${name}`);
      const frames = framesOf(bytes);
      assert(bytes.length <= segmentBytes || frames.length === 1, `${name} has ${bytes.length} bytes`);
      const result = decodeSegmentHeader(bytes);
      assert(result.kind === "header");
      const { firstSequence, payloadBytesBefore, logBytesBefore, recordLimit } = result.header;
      const expected = [sequence, payloadBytes, logBytes, 16 * 2 ** 20];
      assertEquals([firstSequence, payloadBytesBefore, logBytesBefore, recordLimit], expected, name);
      assertEquals(frames[0]!.sequence, sequence, name);
      sequence += frames.length;
      payloadBytes += frames.reduce((sum, { length }) => sum + length - 32, 0);
      logBytes += bytes.length - HEADER_BYTES;
      diskBytes += bytes.length;
    }
    assertEquals(sequence, 41);
    const salts = names.map((name) => disk.fileSystem.readFile(`${DIRECTORY}/${name}`).slice(64, 68).join());
    assertEquals(new Set(salts).size, names.length, "every segment has a salt of its own");
    const created = events.flatMap((event) => event.type === "segment-created" ? [event.segment] : []);
    assertEquals(created, names);
    const { segments, diskBytes: told, pendingBytes } = buffer.stats();
    assertEquals([segments, told, pendingBytes], [names.length, diskBytes, payloadBytes]);
    await buffer.close();
    assertEquals(await valuesIn(disk.fileSystem), values);
  }
});

test("FileBuffer keeps few files open, however many segments there are", async () => {
  const { buffer, disk } = await openOn({ fsync: 1000, segmentBytes: 256, maxRecords: 10 });
  let most = 0;
  for (let i = 0; i < 200; i++) {
    await buffer.put(`${i}`.padEnd(90));
    const open = disk.operations.reduce((sum, { operation }) => {
      return sum + (operation === "open" ? 1 : operation === "close" ? -1 : 0);
    }, 0);
    most = Math.max(most, open);
  }
  assertLessOrEqual(most, 128);
  await settle();
  await buffer.close();
});

test("FileBuffer with 'always' loses nothing acknowledged to a power cut at any of its operations", async () => {
  const OPTIONS = { fsync: "always", segmentBytes: 400, maxRecords: 3 } as const;
  for (let at = 0, isDone = false; !isDone; at++) {
    let left: MemoryFileSystem | undefined;
    const dying: MemoryFileSystem = new InstrumentedDisk().fileSystem.kill({
      onOperation({ index }) {
        if (index !== at) return;
        left = dying.crash({ seed: at });
        dying.kill();
      },
    });
    const acknowledged: { sequence: number; value: string }[] = [];
    let committed = 0;
    let attempted = 0;
    try {
      const { buffer } = await openLog(dying, OPTIONS);
      for (const value of texts(12)) {
        acknowledged.push({ sequence: await buffer.put(value), value });
        if (acknowledged.length % 4 > 0) continue;
        const batch = await buffer.emit();
        attempted = batch.lastSequence;
        await buffer.commit(batch);
        committed = attempted;
      }
      await buffer.close();
    } catch (error) {
      assert(error instanceof FileSystemError || error instanceof BufferFailedError, `${error}`);
    }
    isDone = left === undefined;
    const drained = await drainLog(left ?? dying.crash({ seed: at }), OPTIONS);
    const first = drained.records[0]?.sequence ?? Infinity;
    assert(first > committed, `operation ${at}: ${first} is committed`);
    const pending = acknowledged.filter(({ sequence }) => sequence > (first > attempted ? attempted : committed));
    const perhaps = texts(12).map((value, i) => ({ sequence: i + 1, value }));
    assertSound(drained, { acknowledged: pending, perhaps, note: `operation ${at}` });
  }
});
