/**
 * `LogReader`: the answer depends on the position alone, in whatever order and however close together positions are asked for.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { textCodec } from "../../mod.ts";
import { stampClock } from "../../src/base/clock.ts";
import { FileStore } from "../../src/buffer/file_store.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { LOG_START, type LogPosition } from "../../src/wal/position.ts";
import type { ReadLimits, ReadResult } from "../../src/wal/reader/log_view.ts";
import { flipBit } from "../support/bytes.ts";
import { framesOf } from "../support/frames.ts";
import { copyOf, DIRECTORY, segmentPath, segmentsOf } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

const codec = textCodec();
const RECORDS = 300;
const ALL: ReadLimits = { maxRecords: Infinity, maxBytes: Infinity, before: Infinity, mayEndEarly: true };

function openStore(fileSystem: MemoryFileSystem, clock = new ManualClock()): Promise<FileStore> {
  return FileStore.open({
    path: DIRECTORY,
    fileSystem,
    clock,
    time: stampClock(clock),
    fsync: "never",
    segmentBytes: 700,
    reserveBytes: 0,
    recordLimit: 10_000,
    codecVersion: 0,
    isJson: false,
    onDamage: "quarantine",
    tell: () => {},
    onChange: () => {},
    onClosing: () => {},
  });
}

/** A record, and where it stands. */
interface Written {
  readonly text: string;
  readonly putTime: number;
}

/** Writes records of several lengths, one to five at a time, each time at another. */
async function write(store: FileStore, clock: ManualClock, random: (below: number) => number): Promise<Written[]> {
  const written: Written[] = [];
  while (written.length < RECORDS) {
    clock.advance(1 + random(5));
    const count = Math.min(1 + random(5), RECORDS - written.length);
    for (let i = 0; i < count; i++) {
      const text = `${written.length} `.padEnd(random(50), ".");
      store.appender.builder.add(codec, text);
      written.push({ text, putTime: clock.now() });
    }
    await store.appender.accept(count);
  }
  return written;
}

/** Reads records one by one; each with where it was asked for. */
async function readAll(store: FileStore): Promise<{ readonly from: LogPosition; readonly result: ReadResult }[]> {
  const results = [];
  for (let from = LOG_START;;) {
    const result = await store.reader.read(from, { ...ALL, maxRecords: 1 });
    if (result.next.nextSequence === from.nextSequence) return results;
    results.push({ from, result });
    from = result.next;
  }
}

/** What a result says. */
function contentOf({ batch, next }: ReadResult) {
  if (batch === undefined) return { texts: [], next };
  const { bytes, bounds, start, end } = batch;
  const texts = Array.from(
    { length: batch.count },
    (_, i) => codec.decode(bytes.subarray(bounds[2 * i], bounds[2 * i + 1]), 0),
  );
  return { texts, start, end, next };
}

/** A question at random, and its answer. */
function someRead(random: (below: number) => number, written: readonly Written[], positions: readonly LogPosition[]) {
  const first = random(positions.length);
  const limits = {
    maxRecords: random(3) === 0 ? Infinity : 1 + random(40),
    maxBytes: random(3) === 0 ? Infinity : random(500),
    before: random(3) === 0 ? 1 + random(RECORDS) : Infinity,
    mayEndEarly: random(2) === 0,
  };
  let last = first;
  let bytes = 0;
  while (last < written.length && last + 1 < limits.before && last - first < limits.maxRecords) {
    bytes += written[last]!.text.length;
    if (last > first && bytes > limits.maxBytes) break;
    last++;
  }
  const texts = written.slice(first, last).map(({ text }) => text);
  const [start, end] = [positions[first]!, positions[last]!];
  const expected = last === first ? { texts, next: start } : { texts, start, end, next: end };
  return { from: start, limits, expected };
}

for (const isOverlapping of [false, true]) {
  const how = isOverlapping ? "calls overlap" : "one call follows the other";
  test(`LogReader gives at each position what is there, in any order, when ${how}`, async () => {
    const clock = new ManualClock();
    const random = seededRandom(isOverlapping ? 2 : 1);
    const store = await openStore(new MemoryFileSystem(), clock);
    const written = await write(store, clock, random);
    assert(store.figures().segments > 16, "a long batch opens as many as give the event loop a turn");
    const positions = [LOG_START, ...(await readAll(store)).map(({ result }) => result.next)];
    assertEquals(positions.length, RECORDS + 1);
    let later = 0;
    let pending: Promise<void>[] = [];
    for (let i = 0; i < 600; i++) {
      const { from, limits, expected } = someRead(random, written, positions);
      const index = random(positions.length);
      const result = store.reader.read(from, limits);
      if (result instanceof Promise) later++;
      if (!isOverlapping) await result;
      const putTime = store.reader.putTimeAt(positions[index]!);
      const check = async (): Promise<void> => {
        assertEquals(contentOf(await result), expected, `call ${i}`);
        assertEquals(await putTime, written[index]?.putTime, `call ${i}`);
      };
      pending.push(check());
      if (isOverlapping && i % 20 < 19) continue;
      await Promise.all(pending);
      pending = [];
    }
    assert(later > 20, `${later} calls had to wait`);
    await store.close();
  });
}

test("LogReader gives the same on both sides of damage, in any order", async () => {
  const clock = new ManualClock();
  const random = seededRandom(3);
  const fileSystem = new MemoryFileSystem();
  const made = await openStore(fileSystem, clock);
  await write(made, clock, random);
  await made.close();
  const path = `${DIRECTORY}/${segmentsOf(fileSystem)[5]}`;
  const segment = fileSystem.readFile(path);
  const { offset } = framesOf(segment)[1]!;
  const damaged = copyOf(fileSystem, { [path]: flipBit(segment, offset + 40) });
  const store = await openStore(copyOf(damaged));
  const expected = await readAll(store);
  await store.close();
  const read = expected.filter(({ result }) => result.batch !== undefined).length;
  assert(read < RECORDS && read > RECORDS - 10, `${read} records are left`);
  const again = await openStore(damaged);
  for (let i = 0; i < 1000; i++) {
    const { from, result } = expected[random(expected.length)]!;
    const actual = await again.reader.read(from, { ...ALL, maxRecords: 1 });
    assertEquals(contentOf(actual), contentOf(result), `call ${i}`);
  }
  await again.close();
});

test("LogReader leaves out nothing that is put while damage at the end of the log is set aside", async () => {
  const fileSystem = new MemoryFileSystem();
  const store = await openStore(fileSystem);
  const put = (text: string): Promise<number> => {
    store.appender.builder.add(codec, text);
    return store.appender.accept(1);
  };
  await put("lost");
  const path = segmentPath(1);
  const bytes = fileSystem.readFile(path);
  const [frame] = framesOf(bytes);
  const last = frame!.offset + frame!.length - 1;
  const file = fileSystem.open(path, "write");
  file.write(flipBit(bytes, last).subarray(last, last + 1), last);
  file.close();
  // The copy to the quarantine takes a while, and the put a moment.
  const [skipped, sequence] = await Promise.all([store.reader.read(LOG_START, ALL), put("kept")]);
  assertEquals([skipped.batch, sequence], [undefined, 2]);
  assertEquals(contentOf(await store.reader.read(skipped.next, ALL)).texts, ["kept"]);
  await store.close();
});
