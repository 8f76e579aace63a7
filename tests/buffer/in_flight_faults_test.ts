/**
 * Several batches in flight, where something goes wrong besides.
 *
 * If records of one are lost, as by a power cut without a sync, what is left of it comes back in pieces, and asking for
 * what follows a piece never costs it. Who waits for a batch behind others is told when there is none any more.
 */

import { test } from "node:test";
import { assertEquals, assertFalse, assertRejects } from "@std/assert";
import { type Batch, FileBuffer, NoSpaceError, textCodec } from "../../mod.ts";
import { MemoryFileSystem } from "../../src/testing/mod.ts";
import { FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../../src/wal/format.ts";
import { segmentName } from "../../src/wal/names.ts";
import { isPending } from "../support/event_loop.ts";

const PATH = "/buffer";
/** What a record of one byte takes, if it was put alone. */
const FRAME_BYTES = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 1;

function open(fileSystem: MemoryFileSystem): Promise<FileBuffer<string>> {
  return FileBuffer.open({ path: PATH, fileSystem, codec: textCodec(), fsync: "never", maxRecords: 3 });
}

/** Puts records one by one, hands over `batches` of three, and is killed; then `lost` is damaged. */
async function leave(records: string, { batches, lost }: { batches: number; lost: string }): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem);
  for (const record of records) await buffer.put(record);
  let after: Batch<string> | undefined;
  for (let i = 0; i < batches; i++) after = await buffer.emit({ after });
  const left = fileSystem.kill();
  await buffer.close().catch(() => {});
  damage(left, records, lost);
  return left;
}

/** Damages the frames of `lost`. */
function damage(fileSystem: MemoryFileSystem, records: string, lost: string): void {
  const path = `${PATH}/${segmentName(1)}`;
  const bytes = fileSystem.readFile(path);
  for (const record of lost) bytes[SEGMENT_HEADER_BYTES + (records.indexOf(record) + 1) * FRAME_BYTES - 1]! ^= 1;
  fileSystem.writeFile(path, bytes);
}

/** Takes what is left after another kill, each batch committed before the next. */
async function drain(fileSystem: MemoryFileSystem): Promise<string[]> {
  const buffer = await open(fileSystem.kill());
  const found: string[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    found.push(batch.records.join("") + (batch.redelivered ? "!" : ""));
    await buffer.commit(batch);
  }
  await buffer.close();
  return found;
}

const CASES: readonly {
  readonly what: string;
  readonly records: string;
  readonly batches: number;
  readonly lost: string;
  /** What comes behind one another, and what is left of it after a kill when so many of them were committed. */
  readonly asked: readonly string[];
  readonly commits: number;
  readonly left: readonly string[];
}[] = [
  {
    what: "the end of the only one",
    records: "abcd",
    batches: 1,
    lost: "c",
    asked: ["ab!"],
    commits: 0,
    left: ["ab!", "d"],
  },
  {
    what: "the end of the last one",
    records: "abcdefg",
    batches: 2,
    lost: "f",
    asked: ["abc!", "de!"],
    commits: 1,
    left: ["de!", "g"],
  },
  {
    what: "the end of the first one",
    records: "abcdefg",
    batches: 2,
    lost: "bc",
    asked: ["a!", "def!", "g"],
    commits: 0,
    left: ["a!", "def!", "g!"],
  },
  {
    what: "the middle of the first one",
    records: "abcdefg",
    batches: 2,
    lost: "b",
    asked: ["a!", "c!", "def!", "g"],
    commits: 1,
    left: ["c!", "def!", "g!"],
  },
  {
    what: "all of the first one",
    records: "abcdefg",
    batches: 2,
    lost: "abc",
    asked: ["def!", "g"],
    commits: 1,
    left: ["g!"],
  },
];

for (const { what, records, batches, lost, asked, commits, left } of CASES) {
  test(`FileBuffer.emit({ after }) loses no piece of a batch: ${what} is lost`, async () => {
    const fileSystem = (await leave(records, { batches, lost })).kill();
    const buffer = await open(fileSystem);
    const inFlight: Batch<string>[] = [];
    for (let i = 0; i < asked.length; i++) inFlight.push(await buffer.emit({ after: inFlight.at(-1) }));
    assertEquals(inFlight.map((batch) => batch.records.join("") + (batch.redelivered ? "!" : "")), asked);
    await buffer.emit({ after: inFlight.at(-1) }).catch(() => {});
    for (const batch of inFlight.slice(0, commits)) await buffer.commit(batch);
    const killed = fileSystem.kill();
    await buffer.close().catch(() => {});
    assertEquals(await drain(killed), left);
  });
}

for (
  const { lost, left } of [
    { lost: "abc", left: ["def", "g"] },
    { lost: "b", left: ["a", "c", "def", "g"] },
    { lost: "c", left: ["ab", "def", "g"] },
    { lost: "def", left: ["abc", "g"] },
    { lost: "bcdf", left: ["a", "e", "g"] },
    { lost: "abcdef", left: ["g"] },
  ]
) {
  test(`FileBuffer.commit() goes on behind a batch that was in flight: ${lost} is lost since`, async () => {
    const fileSystem = new MemoryFileSystem();
    const buffer = await open(fileSystem);
    for (const record of "abcdefg") await buffer.put(record);
    const first = await buffer.emit();
    await buffer.emit({ after: first });
    damage(fileSystem, "abcdefg", lost);
    for (const records of left) {
      const batch = await buffer.emit();
      assertEquals(batch.records.join(""), records);
      await buffer.commit(batch);
    }
    const { pendingRecords, backlogBytes, inFlightRecords } = buffer.stats();
    assertEquals({ pendingRecords, backlogBytes, inFlightRecords }, {
      pendingRecords: 0,
      backlogBytes: 0,
      inFlightRecords: 0,
    });
    await buffer.close();
    assertEquals(await drain(fileSystem), []);
  });
}

test("FileBuffer.waitUntilDue({ flush }) resolves with false when what it waits for is dropped", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open({
    path: PATH,
    fileSystem,
    codec: textCodec(),
    maxRecords: 1,
    maxBacklogBytes: 17 * FRAME_BYTES,
    whenFull: "drop-oldest",
  });
  for (const record of "abcdefghijklmnopq") await buffer.put(record);
  let after: Batch<string> | undefined;
  for (let i = 0; i < 16; i++) after = await buffer.emit({ after });
  const waiting = buffer.waitUntilDue({ after, flush: true });
  assertEquals(await isPending(waiting), true);
  // The last record makes room for one that the disk has no room for.
  fileSystem.capacityBytes = fileSystem.usedBytes;
  await assertRejects(() => buffer.put("r"), NoSpaceError);
  assertEquals(buffer.stats().dropped, 1);
  assertEquals(await isPending(waiting), false);
  assertFalse(await waiting);
  await buffer.close();
});
