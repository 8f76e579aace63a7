/**
 * Group commit and the sync interval, through `FileBuffer`: a put waits for a sync that began after its write, few syncs
 * serve many, and nothing is synced that isn't dirty. Syncs end when the test says so; time stands still unless moved.
 */

import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Batch } from "../../src/buffer/batch.ts";
import type { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { BufferFailedError, type FileSystemError } from "../../src/errors/mod.ts";
import { InstrumentedDisk, openOn, valuesAfterPowerCuts, valuesIn, watch, type Watched } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { framesOf } from "../support/frames.ts";
import { DIRECTORY, drainLog, makeLog, openLog, segmentPath, segmentsOf, texts } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

const FIRST = segmentPath(1);

test("FileBuffer.put() with 'always' resolves after a sync that began after its write", async () => {
  const { buffer, disk } = await openOn();
  disk.hold();
  const put = watch(buffer.put("second"));
  await settle();
  assertEquals(put.state, "pending");
  assertEquals(disk.list("write", "sync"), ["write 1.wal", "sync 1.wal"]);
  await disk.release();
  assertEquals([put.state, put.value], ["resolved", 2]);
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "second"]);
});

test("FileBuffer.put() during a sync waits for the next one, which starts at once and serves all who came", async () => {
  const { buffer, disk } = await openOn();
  disk.hold();
  const a = watch(buffer.put("a"));
  await settle();
  assertEquals(disk.held.length, 1);
  const b = watch(buffer.put("b"));
  await settle();
  const c = watch(buffer.put("c"));
  await settle();
  assertEquals(disk.held.length, 1, "one sync at a time");
  await disk.release(1);
  assertEquals([a.state, b.state, c.state], ["resolved", "pending", "pending"]);
  assertEquals(disk.held.length, 1, "the next one has begun");
  assert((await valuesAfterPowerCuts(disk.fileSystem)).every((values) => values.includes("a")));
  await disk.release(1);
  assertEquals([b.state, c.state, disk.held.length], ["resolved", "resolved", 0]);
  assertEquals(disk.list("sync"), ["sync 1.wal", "sync 1.wal"]);
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "a", "b", "c"]);
});

test("FileBuffer.put() calls of one tick share one write, in the order of the calls", async () => {
  for (const fsync of ["always", "never", 1000] as const) {
    const { buffer, disk } = await openOn({ fsync });
    const puts = [buffer.put("a"), buffer.putMany(["b", "c"]), buffer.put("d")];
    assertEquals(disk.list("write"), []);
    assertEquals(await Promise.all(puts), [2, { first: 3, last: 4 }, 5]);
    assertEquals(disk.list("write"), ["write 1.wal"], `fsync ${fsync}`);
    assertEquals(await valuesIn(disk.fileSystem), ["first", "a", "b", "c", "d"]);
  }
});

test("FileBuffer.put() stamps its frame with the wall time of now, also after the wall clock was set", async () => {
  const { buffer, clock, disk } = await openOn();
  const opened = clock.now();
  clock.advance(1234);
  clock.setWall(opened - 1_000_000);
  await buffer.put("second");
  const bytes = disk.fileSystem.readFile(FIRST);
  const { offset } = framesOf(bytes)[1]!;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  assertEquals(view.getUint32(offset + 16, true) + view.getUint16(offset + 20, true) * 2 ** 32, opened - 1_000_000);
});

test("FileBuffer.put() 1000 times at once needs a few syncs, not 1000", async () => {
  const { buffer, disk } = await openOn({ maxRecords: 2000 });
  disk.hold();
  const puts = texts(500).map((text) => buffer.put(text));
  await settle();
  puts.push(...texts(500).map((text) => buffer.put(text)));
  await disk.letGo();
  assertEquals(await Promise.all(puts), Array.from({ length: 1000 }, (_, i) => i + 2));
  assertEquals([disk.list("write").length, disk.list("sync").length], [2, 2]);
  assertEquals(buffer.stats().puts, 1001);
});

test("FileBuffer.put() across a rotation waits for both segments and for the name of the new one", async () => {
  const { buffer, disk } = await openOn({ segmentBytes: 300 });
  disk.hold();
  const puts = texts(6).map((text) => watch(buffer.put(text.padEnd(50))));
  await settle();
  const later = watch(buffer.put("z".repeat(250)));
  await settle();
  for (let i = 0; i < 20 && disk.held.length > 0; i++) {
    await disk.release(1);
    const acknowledged = [...puts, later].filter(({ state }) => state === "resolved").length;
    for (const values of await valuesAfterPowerCuts(disk.fileSystem, 4)) {
      assert(values.length >= 1 + acknowledged, `${acknowledged} acknowledged, ${values.length} there`);
    }
  }
  assertEquals([...puts, later].map(({ state }) => state), Array.from({ length: 7 }, () => "resolved"));
  assertEquals(segmentsOf(disk.fileSystem).length, 3);
});

test("FileBuffer with 'always' never acknowledges what a power cut can take, in any order of puts and syncs", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = seededRandom(seed);
    const { buffer, disk } = await openOn({ segmentBytes: 300 });
    disk.hold();
    const puts: ReturnType<typeof watch>[] = [];
    for (let step = 0; step < 12; step++) {
      if (random(2) === 0) puts.push(watch(buffer.put(`${step}`.padEnd(random(120)))));
      else await disk.release(1);
      if (random(2) === 0) await settle();
      const acknowledged = puts.filter(({ state }) => state === "resolved").map(({ value }) => value as number);
      const { records } = await drainLog(disk.fileSystem.crash({ seed: random(1000) }));
      const there = new Set(records.map(({ sequence }) => sequence));
      for (const sequence of [1, ...acknowledged]) {
        assert(there.has(sequence), `seed ${seed}, step ${step}: ${sequence}`);
      }
    }
  }
});

test("FileBuffer with an interval syncs once, an interval after something became dirty, and not otherwise", async () => {
  const disk = new InstrumentedDisk();
  const { buffer, clock } = await openLog(disk.fileSystem, { fsync: 500 });
  const delays = () => clock.timers.map(({ delayMs, keepAlive }) => [delayMs, keepAlive]);
  assertEquals(delays(), [], "nothing is dirty");
  await buffer.put("first");
  disk.forget();
  assertEquals(delays(), [[500, false]]);
  clock.advance(300);
  await buffer.put("second");
  await settle();
  assertEquals([delays(), disk.list("sync")], [[[200, false]], []]);
  clock.advance(199);
  await settle();
  assertEquals(disk.list("sync"), []);
  clock.advance(1);
  await settle();
  assertEquals([delays(), disk.list("sync")[0]], [[], "sync 1.wal"]);
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "second"]);
  disk.forget();
  clock.advance(5000);
  await settle();
  assertEquals([delays(), disk.operations], [[], []], "nothing happens by itself");
  const batch = await buffer.emit();
  assertEquals(delays(), [[500, false]], "the end of a batch in flight");
  clock.advance(500);
  await settle();
  await buffer.commit(batch);
  assertEquals(delays(), [[500, false]], "a commit");
  await buffer.close();
  assertEquals(delays(), []);
});

test("FileBuffer with an interval syncs again what is written during a sync", async () => {
  const { buffer, clock, disk } = await openOn({ fsync: 500 });
  await buffer.put("second");
  disk.hold();
  clock.advance(500);
  await settle();
  assertEquals(disk.held.length, 1);
  await buffer.put("third");
  assertEquals(clock.timers.length, 1);
  await disk.letGo();
  clock.advance(500);
  await settle();
  assertEquals(clock.timers, []);
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "second", "third"]);
  await buffer.close();
});

test("FileBuffer with an interval fails when its sync does, and tells who calls next", async () => {
  const { buffer, clock, disk, events } = await openOn({ fsync: 500 });
  await buffer.put("second");
  disk.fail({ operation: "sync", path: ".wal" });
  clock.advance(500);
  await settle();
  assertEquals(events.filter(({ type }) => type === "failed").length, 1);
  assertEquals(clock.timers, []);
  const error = await assertRejects(() => buffer.put("third"), BufferFailedError);
  assertEquals((error.cause as FileSystemError).operation, "sync");
  await buffer.close();
});

test("FileBuffer with 'never' syncs no segment until it is asked to, and has no timer", async () => {
  const { buffer, clock, disk } = await openOn({ fsync: "never", segmentBytes: 256 });
  for (const value of texts(5)) await buffer.put(value.padEnd(70));
  await settle();
  assertEquals([clock.timers, disk.list("sync", "syncDirectory")], [[], []]);
  await buffer.flush();
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values.length, 6);
  await buffer.close();
});

test("FileBuffer.close() makes everything durable, puts of the same tick included, unless told 'never'", async () => {
  for (const fsync of ["always", 500, "never"] as const) {
    const { buffer, disk, clock } = await openOn({ fsync, segmentBytes: 256 });
    const puts = texts(5).map((value) => buffer.put(value.padEnd(70)));
    await buffer.close();
    assertEquals(await Promise.all(puts), [2, 3, 4, 5, 6]);
    assertEquals(clock.timers, []);
    assertEquals((await valuesIn(disk.fileSystem)).length, 6);
    if (fsync === "never") continue;
    for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values.length, 6, `fsync ${fsync}`);
  }
});

test("FileBuffer syncs what was put during a sync when its own interval is over before that sync", async () => {
  const { buffer, clock, disk } = await openOn({ fsync: 1000 });
  await buffer.put("a");
  disk.hold();
  clock.advance(1000);
  await settle();
  assertEquals(disk.held.length, 1, "the sync of the first interval");
  await buffer.put("b");
  clock.advance(1000);
  await disk.letGo();
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertEquals(values, ["first", "a", "b"]);
});

test("FileBuffer.emit() with 'always' doesn't take a flush() that is under way for one that is done", async () => {
  // The process before has synced nothing.
  const { fileSystem } = await makeLog(["old", "older"]);
  const disk = new InstrumentedDisk(fileSystem);
  const { buffer } = await openLog(disk.fileSystem, { fsync: "always", maxRecords: 1 });
  disk.forget();
  disk.hold();
  const flush = watch(buffer.flush());
  const batch = watch(buffer.emit());
  await settle();
  assertEquals([flush.state, batch.state], ["pending", "pending"]);
  assertEquals(disk.held.map(({ path }) => path), [FIRST, FIRST], "the cursor waits for them");
  await disk.letGo();
  assertEquals([flush.state, (batch.value as Batch<string>).records], ["resolved", ["old"]]);
  assertEquals(disk.list("sync")[0], "sync 1.wal");
});

/** Puts texts, each with time to get as far as it can, and watches what becomes of them. */
function watchedPuts(buffer: FileBuffer<string>): { puts: Watched[]; put: (text: string) => Promise<void> } {
  const puts: Watched[] = [];
  return {
    puts,
    async put(text) {
      puts.push(watch(buffer.put(text)));
      await settle();
    },
  };
}

test("FileBuffer with 'always' that fails keeps what a sync has covered that began after it was written", async () => {
  const { buffer, disk } = await openOn({ segmentBytes: 450 });
  disk.hold();
  const { puts, put } = watchedPuts(buffer);
  await put("a");
  // The next run syncs two segments, and begins with the first of them.
  await put("b");
  await put("c".padEnd(180, "-"));
  await disk.release(1);
  assertEquals([disk.held.length, disk.list("sync").length, segmentsOf(disk.fileSystem).length], [1, 2, 2]);
  // The sync of the second one covers this, which is acknowledged by the run that follows, without another sync.
  await put("d");
  await disk.letGo();
  assertEquals(puts.map(({ state }) => state), ["resolved", "resolved", "resolved", "resolved"]);
  assertEquals(disk.list("sync"), ["sync 1.wal", "sync 1.wal", "sync 4.wal"]);
  disk.fail({ operation: "sync", path: segmentPath(4) });
  await assertRejects(() => buffer.put("e"), BufferFailedError);
  const firstLetters = (values: readonly string[]) => values.map((value) => value[0]).join("");
  assertEquals(firstLetters(await valuesIn(disk.fileSystem)), "fabcd");
  // The cut may be undone: the disk has refused to sync.
  for (const values of await valuesAfterPowerCuts(disk.fileSystem)) assertMatch(firstLetters(values), /^fabcde?$/);
});

test("FileBuffer with 'always' that fails before anything is acknowledged leaves no gap between its segments", async () => {
  const { buffer, disk } = await openOn({ segmentBytes: 350 });
  disk.hold();
  const { puts, put } = watchedPuts(buffer);
  await put("a");
  disk.fail({ operation: "syncDirectory", path: DIRECTORY }, { kind: "after", errno: "EIO" });
  await put("b");
  await put("c".padEnd(100, "-"));
  await disk.release(1);
  await disk.release(1);
  await disk.release(1);
  // The segment of "c" is synced, its name isn't; it ends here.
  await put("d".padEnd(100, "-"));
  assertEquals(disk.list("sync"), ["sync 1.wal", "sync 1.wal", "sync 4.wal"]);
  await disk.letGo();
  assertEquals(puts.map(({ state }) => state), ["resolved", "rejected", "rejected", "rejected"]);
  assertEquals(await valuesIn(disk.fileSystem), ["first", "a"]);
});

test("FileBuffer.put() with 'always' whose write fails, and the sync of the cut, too, says that the buffer has failed", async () => {
  const { buffer, disk } = await openOn();
  disk.fail({ operation: "write", path: FIRST }, { kind: "torn", errno: "ENOSPC", bytes: 30 });
  disk.fail({ operation: "sync", path: FIRST });
  const error = await assertRejects(() => buffer.put("second"), BufferFailedError);
  assertEquals((error.cause as FileSystemError).errno, "EIO");
  assertEquals(disk.plannedFaults, 0);
});

test("FileBuffer with 'always' knows the age of a record that was put during a sync, and acknowledged by the next", async () => {
  const { buffer, disk, clock } = await openOn({ maxRecords: 1 });
  await buffer.commit(await buffer.emit());
  disk.hold();
  const a = watch(buffer.put("a"));
  await settle();
  clock.advance(100);
  const b = watch(buffer.put("b"));
  await settle();
  clock.advance(1000);
  await disk.release(1);
  assertEquals([a.state, b.state], ["resolved", "pending"]);
  // Nothing is left but "b", which nobody may see yet.
  const batch = watch(buffer.emit());
  await settle();
  disk.held.splice(disk.held.findIndex(({ path }) => path.endsWith("cursor")), 1)[0]!.release();
  await settle();
  assertEquals([batch.state, b.state, buffer.stats().oldestAgeMs], ["resolved", "pending", 0]);
  await disk.letGo();
  assertEquals([b.state, buffer.stats().oldestAgeMs], ["resolved", 1000]);
});
