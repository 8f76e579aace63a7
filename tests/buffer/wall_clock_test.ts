/**
 * The wall clock is set, forward or back, while a buffer is open; or the machine sleeps, which looks the same. Ages, batches and
 * pauses don't notice; times that are told are right by the wall clock as it is now, at once and without a restart.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Clock, FileBuffer, MemoryBuffer, Producer, type RecordBuffer } from "../../mod.ts";
import { readStatus } from "../../src/buffer/status_format.ts";
import { ManualClock, MemoryFileSystem } from "../../src/testing/mod.ts";
import { PutTimes } from "../../src/wal/put_times.ts";
import { stampClock } from "../../src/base/clock.ts";
import { runCli } from "../cli/tools.ts";
import { settle } from "../support/event_loop.ts";

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 1);
const PATH = "/events.wal";
/** Set by a person, by NTP at the start of a machine without a battery, and a hair more than nothing. */
const JUMPS: readonly number[] = [HOUR, -HOUR, 10 * 365 * 24 * HOUR, -START, 1_500, -1_500];

type Open = (clock: Clock, fileSystem?: MemoryFileSystem) => Promise<RecordBuffer<string>>;
const OPTIONS = { maxAgeMs: 5_000, maxRecords: 100 };
const BUFFERS: readonly (readonly [string, Open])[] = [
  ["MemoryBuffer", (clock) => MemoryBuffer.open<string>({ ...OPTIONS, clock })],
  [
    "FileBuffer",
    (clock, fileSystem = new MemoryFileSystem()) => {
      return FileBuffer.open<string>({ ...OPTIONS, clock, path: PATH, fileSystem });
    },
  ],
];

for (const [name, open] of BUFFERS) {
  for (const jump of JUMPS) {
    test(`${name} says right when the last progress was, after the wall clock jumped by ${jump} ms`, async () => {
      const clock = new ManualClock(START);
      const buffer = await open(clock);
      const idleMs = (): number => clock.now() - buffer.stats().lastProgressAt;
      await buffer.put("a");
      clock.advance(100);
      clock.setWall(clock.now() + jump);
      assertEquals(idleMs(), 100);
      clock.advance(100);
      assertEquals(idleMs(), 200);
      await buffer.put("b");
      assertEquals(idleMs(), 0);
      clock.advance(7);
      await buffer.commit(await buffer.emit());
      assertEquals([idleMs(), buffer.stats().lastProgressAt], [0, clock.now()]);
      await buffer.close();
    });

    test(`${name} has batches in due time, and ages right, when the wall clock jumps by ${jump} ms`, async () => {
      const clock = new ManualClock(START);
      const buffer = await open(clock);
      await buffer.put("first");
      const first = await buffer.emit();
      // Behind a batch in flight: their times are read back from the log.
      await buffer.put("a");
      clock.advance(1_000);
      clock.setWall(clock.now() + jump);
      await buffer.put("b");
      assertEquals([buffer.stats().oldestAgeMs, buffer.shouldEmit()], [1_000, true]); // `first` comes again
      await buffer.commit(first);
      clock.advance(3_999);
      assertEquals([buffer.stats().oldestAgeMs, buffer.shouldEmit()], [4_999, false]);
      const due = buffer.waitUntilDue();
      clock.advance(1);
      assertEquals([await due, buffer.stats().oldestAgeMs], [true, 5_000]);
      await buffer.close();
    });
  }
}

for (const jump of JUMPS) {
  test(`FileBuffer ages what it reads back by its own time when the wall clock jumped by ${jump} ms`, async () => {
    const clock = new ManualClock(START);
    const buffer = await FileBuffer.open<string>({
      ...OPTIONS,
      clock,
      path: PATH,
      fileSystem: new MemoryFileSystem(),
      maxRecords: 1,
    });
    for (let i = 0; i < 5; i++) {
      await buffer.put(`${i}`);
      clock.advance(100);
      if (i % 2 === 0) clock.setWall(Math.max(0, clock.now() + jump));
    }
    const ages: number[] = [];
    for (let i = 0; i < 5; i++) {
      ages.push(buffer.stats().oldestAgeMs);
      await buffer.commit(await buffer.emit());
    }
    assertEquals(ages, [500, 400, 300, 200, 100]);
    await buffer.close();
  });

  test(`FileBuffer writes put times by the wall clock as it is, after a jump of ${jump} ms`, async () => {
    const clock = new ManualClock(START);
    const fileSystem = new MemoryFileSystem();
    const buffer = await FileBuffer.open<string>({ ...OPTIONS, clock, path: PATH, fileSystem });
    await buffer.put("before");
    clock.setWall(clock.now() + jump);
    clock.advance(10);
    await buffer.put("behind");
    await buffer.close();
    const { output } = await runCli(fileSystem, ["dump", PATH, "--all", "--meta"]);
    const times = output.trim().split("\n").map((line) => Date.parse(JSON.parse(line).putTime));
    assertEquals(times, [START, START + jump + 10]);
    // The next process counts from there.
    const next = await FileBuffer.open<string>({ ...OPTIONS, clock, path: PATH, fileSystem });
    assertEquals(next.stats().oldestAgeMs, Math.max(0, clock.now() - START));
    await next.close();
  });

  test(`Producer says right until when it waits, after the wall clock jumped by ${jump} ms`, async () => {
    const clock = new ManualClock(START);
    const buffer = await MemoryBuffer.open<string>({ maxRecords: 1, clock });
    const producer = new Producer<string>({
      buffer,
      clock,
      random: () => 1,
      retry: { firstDelayMs: 8_000 },
      send(_, { attempt }) {
        if (attempt === 1) throw new Error("the target is away");
      },
    });
    await producer.put("a");
    await settle();
    assertEquals(producer.stats().backoffUntil, START + 8_000);
    clock.advance(3_000);
    clock.setWall(clock.now() + jump);
    assertEquals(producer.stats().backoffUntil, clock.now() + 5_000);
    clock.advance(4_999);
    await settle();
    assertEquals(producer.stats().attempts, 1);
    clock.advance(1);
    await settle();
    assertEquals([producer.stats().attempts, producer.stats().backoffUntil], [2, undefined]);
    await producer.close();
    await buffer.close();
  });

  test(`top shows the running program when the wall clock jumped by ${jump} ms`, async () => {
    const clock = new ManualClock(START);
    const fileSystem = new MemoryFileSystem();
    const buffer = await FileBuffer.open<string>({ ...OPTIONS, clock, path: PATH, fileSystem });
    clock.advance(60_000);
    clock.setWall(clock.now() + jump);
    await buffer.put("a");
    clock.advance(1_000); // writes the status
    const reading = readStatus(fileSystem, PATH);
    assertEquals(reading.kind === "status" && [reading.status.at, reading.status.openedAt], [clock.now(), START]);
    const watching = runCli(fileSystem, ["top", PATH, "--once", "--json"], { clock });
    await settle();
    clock.advance(1_250);
    const view = JSON.parse((await watching).output);
    assertEquals([view.source, view.state, view.backlog.records], ["status", "open", 1]);
    assertEquals([view.now - view.owner.openedAt, view.now - view.seenAt], [62_250, 250]);
    await buffer.close();
  });
}

test("FileBuffer tells one moment as one, although two clocks are never read at once", async () => {
  let wall = START;
  let monotonic = 0.25;
  const clock: Clock = { now: () => wall, monotonic: () => monotonic, setTimer: () => () => {} };
  const buffer = await MemoryBuffer.open<string>({ clock });
  await buffer.put("a");
  const { lastProgressAt } = buffer.stats();
  for (let i = 1; i < 100; i++) {
    wall = START + i + i % 3 - 1;
    monotonic = i * 1.001;
    assertEquals(buffer.stats().lastProgressAt, lastProgressAt);
  }
  await buffer.close();
});

test("PutTimes converts back what it stamped, through many jumps", () => {
  const clock = new ManualClock(START);
  const time = stampClock(clock);
  const putTimes = new PutTimes(clock);
  const stamped: { sequence: number; at: number; putTime: number }[] = [];
  for (let sequence = 1; sequence <= 60; sequence++) {
    clock.advance(17);
    clock.setWall(clock.now() + (sequence % 2 === 0 ? -2 : 3) * HOUR);
    const putTime = putTimes.stamp(sequence, time());
    assertEquals(putTime, clock.now());
    stamped.push({ sequence, at: time(), putTime });
  }
  for (const { sequence, at, putTime } of stamped) assertEquals(putTimes.timeOf(sequence, putTime), at);
  // An earlier process's stands for itself, also when more jumps than are remembered have come.
  for (let i = 0; i < 100; i++) {
    clock.setWall(clock.now() + HOUR);
    putTimes.stamp(100 + i, time());
  }
  assertEquals(putTimes.timeOf(0, 12_345), 12_345);
  assertEquals(putTimes.timeOf(199, putTimes.stamp(199, time())), time());
});
