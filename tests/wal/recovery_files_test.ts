/**
 * Recovery when a file is not what its name says: headers that can't be read, a cursor that is lost, ahead or somebody
 * else's, segments of another buffer, from another time, or from a newer version.
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { DamagedLogError, UnsupportedVersionError } from "../../src/errors/mod.ts";
import { CURSOR_VERSION } from "../../src/wal/cursor_format.ts";
import { SEGMENT_VERSION } from "../../src/wal/format.ts";
import { assertSameBytes, cut, flipBit, garbage, overwrite, uint32 } from "../support/bytes.ts";
import {
  assertRows,
  hitHeader,
  makeBase,
  makeForeign,
  range,
  RECORDS,
  type Row,
  SMALL,
} from "../support/damaged_logs.ts";
import {
  assertRecovers,
  commitBatches,
  copyOf,
  CURSOR_PATH,
  CURSOR_SLOTS,
  DIRECTORY,
  drain,
  drainCopy,
  type Files,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
  texts,
} from "../support/logs.ts";

test("FileBuffer.open() needs one copy of a segment's header; without any, that segment is lost and no other", async () => {
  const base = await makeBase();
  const { path, bytes, firsts } = base;
  const rows: Row[] = [];
  for (const segment of [0, 2, 4]) {
    for (const at of [0, 12, 40, 66, 79, 80, 100, 159]) {
      rows.push({
        name: `byte ${at} of segment ${segment}`,
        files: { [path(segment)]: flipBit(bytes(segment), at, 3) },
      });
    }
    if (segment === 4) continue;
    rows.push({
      name: `both copies in segment ${segment}`,
      files: { [path(segment)]: hitHeader(bytes(segment)) },
      lost: range(firsts[segment]!, firsts[segment + 1]! - 1),
      setAside: [hitHeader(bytes(segment))],
    });
  }
  await assertRows(base, rows);
});

test("FileBuffer.open() doesn't need the cursor: without it everything on disk is delivered again", async () => {
  const base = await makeBase();
  const foreign = await makeForeign();
  const spoiled = CURSOR_SLOTS.reduce((cursor, slot) => flipBit(cursor, slot + 50), base.cursor);
  const rows: [name: string, cursor: Uint8Array | undefined][] = [
    ["none", undefined],
    ["empty", new Uint8Array(0)],
    ["zeros", new Uint8Array(12800)],
    ["garbage", garbage(12800, 1)],
    ["a bad bit in every slot", spoiled],
    ["another buffer's", foreign.cursor],
    ["too short", cut(base.cursor, 50)],
  ];
  await assertRows(base, rows.map(([name, cursor]) => ({ name, files: { [CURSOR_PATH]: cursor }, cursorLost: true })));
  const uuids = new Set<string>();
  for (const [, cursor] of [["", base.cursor], ...rows] as typeof rows) {
    const { buffer } = await openLog(copyOf(base.fileSystem, { [CURSOR_PATH]: cursor }), SMALL);
    uuids.add((await buffer.emit()).id);
  }
  assertEquals(uuids.size, 1, "the id of the first batch");
});

test("FileBuffer.open() takes the older state of a cursor whose newer slot is bad", async () => {
  // The newest state says that 15 records are committed, the one before has the third batch in flight.
  const log = await makeLog(texts(RECORDS), { maxRecords: 5, finish: (buffer) => commitBatches(buffer, 3) });
  const cursor = log.fileSystem.readFile(CURSOR_PATH);
  const firsts = new Set<number>();
  for (const slot of CURSOR_SLOTS) {
    for (const at of [0, 5, 9, 16, 30, 48, 80]) {
      const fileSystem = copyOf(log.fileSystem, { [CURSOR_PATH]: flipBit(cursor, slot + at) });
      const note = `byte ${slot + at}`;
      const drained = await drainCopy(fileSystem, SMALL);
      const first = drained.records[0]!.sequence;
      firsts.add(first);
      const acknowledged = log.acknowledged.filter(({ sequence }) => sequence >= first);
      await assertRecovers(fileSystem, { acknowledged, note }, SMALL);
      assertEquals(drained.report.cursorLost, false, note);
      if (first === 11) assertEquals(drained.batches[0], "11-15", note);
    }
  }
  assertEquals([...firsts].sort((a, b) => a - b), [11, 16]);
});

test("FileBuffer.open() goes on behind a cursor that is ahead of the log, and reports what is missing", async () => {
  // The segments are from before: a backup that was put back, or blocks that a power cut took.
  const early = await makeLog(texts(6), SMALL);
  const { fileSystem, acknowledged } = await makeLog(texts(RECORDS).slice(6), {
    ...SMALL,
    fileSystem: copyOf(early.fileSystem),
    ends: "closed",
    finish: (buffer) => commitBatches(buffer, 2),
  });
  assertEquals(acknowledged.at(-1)?.sequence, RECORDS);
  const log = copyOf(early.fileSystem, { [CURSOR_PATH]: fileSystem.readFile(CURSOR_PATH) });
  const drained = await assertRecovers(
    log,
    { acknowledged: [], mayMiss: [{ first: 1, last: 24 }], note: "ahead" },
    SMALL,
  );
  assertEquals([drained.records, drained.nextSequence], [[], 25]);
  assertEquals(drained.regions.map(({ missing }) => missing), [{ first: 11, last: 24 }]);
  await assertRejects(() => openLog(copyOf(log), { onDamage: "fail" }), DamagedLogError, "11 to 24");
});

test("FileBuffer.open() never takes a segment of another buffer for its own", async () => {
  const base = await makeBase();
  const foreign = await makeForeign();
  const { path, firsts } = base;
  const extra = (firstSequence: number) => segmentPath(firstSequence);
  const stray = foreign.bytes(2);
  const renamed = base.bytes(1);
  await assertRows(base, [
    {
      name: "in place of the first",
      files: { [path(0)]: foreign.bytes(0) },
      lost: range(1, firsts[1]! - 1),
      setAside: [foreign.bytes(0)],
    },
    {
      name: "in place of one in the middle",
      files: { [path(2)]: stray },
      lost: range(firsts[2]!, firsts[3]! - 1),
      setAside: [stray],
    },
    {
      name: "in place of the last",
      files: { [path(4)]: foreign.bytes(4) },
      lost: range(firsts[4]!, RECORDS),
      setAside: [foreign.bytes(4)],
    },
    { name: "behind the last", files: { [extra(1000)]: stray }, isDamage: true, setAside: [stray] },
    { name: "right behind the last record", files: { [extra(RECORDS + 1)]: stray }, isDamage: true, setAside: [stray] },
    {
      name: "in the middle of the records of ours",
      files: { [extra(firsts[2]! + 2)]: stray },
      isDamage: true,
      setAside: [stray],
    },
    {
      name: "in the middle of the last one's",
      files: { [extra(firsts[4]! + 2)]: stray },
      isDamage: true,
      setAside: [stray],
    },
    { name: "one of ours under another name", files: { [extra(1000)]: renamed }, isDamage: true, setAside: [renamed] },
  ]);
});

test("FileBuffer.commit() removes no segment on the word of a foreign one's name", async () => {
  const base = await makeBase();
  const foreign = await makeForeign();
  const first = base.firsts[2]!;
  // Named as if the third segment ended two records after its start.
  const fileSystem = copyOf(base.fileSystem, { [segmentPath(first + 2)]: foreign.bytes(2) });
  const { buffer } = await openLog(fileSystem, { ...SMALL, maxRecords: first + 1 });
  await commitBatches(buffer, 1);
  await buffer.close();
  const drained = await drainCopy(fileSystem.kill(), SMALL);
  const rest = base.acknowledged.filter(({ sequence }) => sequence > first + 1);
  assertEquals(drained.records, rest);
});

test("FileBuffer.commit() deletes no foreign segment, also where there is no room for a copy of it", async () => {
  const base = await makeBase();
  const foreign = await makeForeign();
  for (const isFull of [false, true]) {
    const fileSystem = copyOf(base.fileSystem, { [segmentPath(base.firsts[2]! + 2)]: foreign.bytes(2) });
    if (isFull) fileSystem.capacityBytes = 0;
    const { buffer } = await openLog(fileSystem, SMALL);
    await drain(buffer);
    await buffer.close();
    const there = fileSystem.paths().map((path) => fileSystem.readFile(path).join());
    assert(there.includes(foreign.bytes(2).join()), `${isFull ? "full" : "room"}: ${fileSystem.paths()}`);
    assertEquals(segmentsOf(fileSystem), segmentsOf(base.fileSystem).slice(-1));
  }
});

test("FileBuffer.open() is not confused by older files of its own that were copied back", async () => {
  const whole = await makeBase();
  const base = await makeLog(texts(12).map((text) => text + " again"), {
    ...SMALL,
    fileSystem: copyOf(whole.fileSystem),
    ends: "closed",
    finish: (buffer) => commitBatches(buffer, 5),
  });
  assert(segmentsOf(base.fileSystem)[0]! > segmentsOf(whole.fileSystem)[3]!);
  const pending = base.acknowledged.filter(({ sequence }) => sequence > 25);
  for (const segment of [0, 1, 2, 3]) {
    const fileSystem = copyOf(base.fileSystem, { [whole.path(segment)]: whole.bytes(segment) });
    const note = `segment ${segment} copied back`;
    const drained = await assertRecovers(fileSystem, { acknowledged: pending, note }, SMALL);
    assertEquals([drained.records, drained.regions], [pending, []], note);
  }
});

test("FileBuffer.open() gives out no sequence twice when only the name of a begun segment is left", async () => {
  for (const bytes of [new Uint8Array(0), new Uint8Array(160), new Uint8Array(99), garbage(100, 1)]) {
    const log = await makeLog([]);
    const fileSystem = copyOf(log.fileSystem, { [CURSOR_PATH]: undefined, [segmentPath(1000)]: bytes });
    const drained = await assertRecovers(fileSystem, { acknowledged: [], note: `${bytes.length} bytes` });
    assertGreaterOrEqual(drained.nextSequence, 1000, `${bytes.length} bytes`);
  }
});

test("FileBuffer.open() refuses a newer version and changes nothing", async () => {
  const base = await makeBase();
  const newerSegment = (bytes: Uint8Array) => overwrite(overwrite(bytes, 8, uint32(3)), 88, uint32(3));
  const newerCursor = CURSOR_SLOTS.reduce((cursor, slot) => overwrite(cursor, slot + 8, uint32(3)), base.cursor);
  const rows: [name: string, files: Files, path: string, version: number][] = [
    ["the newest segment", { [base.path(4)]: newerSegment(base.bytes(4)) }, base.path(4), 3],
    ["a segment behind ours", { [segmentPath(1000)]: newerSegment(base.bytes(4)) }, segmentPath(1000), 3],
    ["the cursor", { [CURSOR_PATH]: newerCursor }, CURSOR_PATH, 3],
    [
      "the cursor, and damage",
      { [CURSOR_PATH]: newerCursor, [base.path(4)]: hitHeader(base.bytes(4)) },
      CURSOR_PATH,
      3,
    ],
  ];
  for (const [name, files, path, version] of rows) {
    for (const onDamage of ["quarantine", "fail"] as const) {
      const fileSystem = copyOf(base.fileSystem, files);
      const before = snapshot(fileSystem);
      const error = await assertRejects(() => openLog(fileSystem, { onDamage }), UnsupportedVersionError);
      const supported = path === CURSOR_PATH ? CURSOR_VERSION : SEGMENT_VERSION;
      assertEquals([error.path, error.version, error.supported], [path, version, supported], name);
      assertEquals(snapshot(fileSystem), before, name);
      // The lock is free again.
      await assertRejects(() => openLog(fileSystem, { onDamage }), UnsupportedVersionError);
    }
  }
});

test("FileBuffer.emit() refuses a segment of a newer version when it comes to it, and loses nothing before", async () => {
  const base = await makeBase();
  const newer = overwrite(overwrite(base.bytes(2), 8, uint32(3)), 88, uint32(3));
  const fileSystem = copyOf(base.fileSystem, { [base.path(2)]: newer });
  const { buffer } = await openLog(fileSystem, { ...SMALL, maxRecords: 1 });
  for (let sequence = 1; sequence < base.firsts[2]!; sequence++) {
    assertEquals((await buffer.emit()).firstSequence, sequence);
    await buffer.commit();
  }
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => buffer.emit(), UnsupportedVersionError);
    assertEquals([error.path, error.version], [base.path(2), 3]);
  }
  assertEquals(await buffer.put("still taken"), RECORDS + 1);
  await buffer.close();
  assertSameBytes(fileSystem.readFile(base.path(2)), newer);
});

test("FileBuffer.open() doesn't miss what is committed in a segment that can't be read", async () => {
  const { fileSystem } = await makeLog(texts(9), { segmentBytes: 300 });
  const segments = snapshot(fileSystem);
  const last = segmentsOf(fileSystem).at(-1)!;
  const { buffer } = await openLog(fileSystem);
  await buffer.clear();
  await buffer.close();
  // The segments are there again, as after a power cut that undid their removal; only the cursor knows better.
  const { [CURSOR_PATH]: cursor } = snapshot(fileSystem);
  const path = `${DIRECTORY}/${last}`;
  const copy = copyOf(fileSystem, { ...segments, [CURSOR_PATH]: cursor, [path]: hitHeader(segments[path]!) });
  const again = await openLog(copy);
  const { damaged, recoveredRecords } = again.buffer.recovery;
  const { first, last: end } = damaged[0]!.missing ?? { first: 10, last: 10 };
  assertEquals([damaged.length, recoveredRecords, first > 9, end >= first], [1, 0, true, true]);
  await again.buffer.close();
});
