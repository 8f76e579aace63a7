/**
 * The clock of the process, under fake timers that replace some sources of time and not others: batches come when the fake time is
 * advanced, never before, and time never goes back.
 */

import process from "node:process";
import { mock, test } from "node:test";
import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { FileBuffer, MemoryBuffer, Producer, type RecordBuffer, systemClock } from "../../mod.ts";
import { stampClock } from "../../src/base/clock.ts";
import { ManualClock, MemoryFileSystem } from "../../src/testing/mod.ts";
import { settle } from "../support/event_loop.ts";
import { type FakeTimers, installFakeTimers, type TimeSource } from "../support/fake_timers.ts";

/** As test libraries do it: sinon, vitest and jest; node:test and Deno's FakeTime; and what else can be chosen. */
const COMBINATIONS: readonly (readonly TimeSource[])[] = [
  ["setTimeout", "Date", "performance"],
  ["setTimeout", "Date"],
  ["setTimeout", "performance"],
  ["setTimeout"],
];

/** `node:test`'s own. On Deno its setImmediate also stops the event loop's turns that `node:timers` gives, as no other fake does. */
function mockTimers(): FakeTimers {
  mock.timers.enable(process.versions.deno === undefined ? undefined : { apis: ["setTimeout", "Date"] });
  return { advance: (ms) => mock.timers.tick(ms), restore: () => mock.timers.reset() };
}

/** Bun's own, which replace nothing that could be seen. */
async function bunTimers(): Promise<FakeTimers> {
  const { vi } = await import("bun:" + "test");
  vi.useFakeTimers();
  return { advance: (ms) => vi.advanceTimersByTime(ms), restore: () => vi.useRealTimers() };
}

const FAKES: readonly (readonly [string, () => FakeTimers | Promise<FakeTimers>])[] = [
  ...COMBINATIONS.map((sources) => [`fake ${sources.join(", ")}`, () => installFakeTimers(sources)] as const),
  ["timers that are numbers", () => installFakeTimers(["setTimeout", "Date"], { hasNumbers: true })],
  ["node:test's mock.timers", mockTimers],
  ...process.versions.bun === undefined ? [] : [["bun:test's fake timers", bunTimers] as const],
];

const BUFFERS: readonly (readonly [string, () => Promise<RecordBuffer<string>>])[] = [
  ["MemoryBuffer", () => MemoryBuffer.open<string>({ maxAgeMs: 5_000 })],
  [
    "FileBuffer",
    () => FileBuffer.open<string>({ path: "/b", maxAgeMs: 5_000, fileSystem: new MemoryFileSystem() }),
  ],
];

for (const [name, install] of FAKES) {
  for (const [bufferName, open] of BUFFERS) {
    test(`${bufferName} has a batch when the fake time has come (${name})`, async () => {
      // Opened before, as a program does that a test imports.
      const buffer = await open();
      const fakes = await install();
      try {
        for (let round = 0; round < 3; round++) {
          await buffer.put("a");
          let isDue = false;
          const waiting = buffer.waitUntilDue().then(() => isDue = true);
          await settle();
          fakes.advance(4_000);
          await settle();
          assertEquals(isDue, false);
          fakes.advance(1_000);
          await waiting;
          assertGreaterOrEqual(buffer.stats().oldestAgeMs, 5_000);
          await buffer.commit(await buffer.emit());
        }
      } finally {
        fakes.restore();
      }
      await buffer.close();
    });
  }

  test(`Producer delivers and retries when the fake time has come (${name})`, async () => {
    const fakes = await install();
    try {
      const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 5_000 });
      const sent: string[] = [];
      const producer = new Producer<string>({
        buffer,
        send({ records }, { attempt }) {
          if (attempt === 1) throw new Error("the target is away");
          sent.push(...records);
        },
        retry: { firstDelayMs: 1_000 },
      });
      await producer.put("a");
      await settle();
      assertEquals(producer.stats().attempts, 0);
      fakes.advance(5_000);
      await settle();
      assertEquals([producer.stats().attempts, sent.length], [1, 0]);
      fakes.advance(1_000);
      await settle();
      assertEquals(sent, ["a"]);
      await producer.close();
      await buffer.close();
    } finally {
      fakes.restore();
    }
  });
}

for (const [name, install] of FAKES.filter(([name]) => name !== "fake setTimeout")) {
  test(`Buffer.shouldEmit() is right at once, without a timer (${name})`, async () => {
    const fakes = await install();
    try {
      const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 60_000 });
      await buffer.put("a");
      fakes.advance(59_000);
      assertEquals(buffer.shouldEmit(), false);
      fakes.advance(1_000);
      assertEquals(buffer.shouldEmit(), true);
      await buffer.close();
    } finally {
      fakes.restore();
    }
  });
}

test("systemClock.monotonic() never goes back, nor far ahead, when fake timers come and go", async () => {
  const step = 3_600_000;
  for (const [name, install] of FAKES) {
    const before = systemClock.monotonic();
    const fakes = await install();
    const faked = systemClock.monotonic();
    assertGreaterOrEqual(faked, before, name);
    assertLess(faked - before, step, name);
    fakes.advance(step);
    const advanced = systemClock.monotonic();
    assertGreaterOrEqual(advanced, faked, name);
    fakes.restore();
    const restored = systemClock.monotonic();
    assertGreaterOrEqual(restored, advanced, name);
    assertLess(restored - advanced, step, name);
  }
});

test("systemClock.monotonic() goes on when a timer was fired ahead of it and the fakes are gone", async () => {
  const fakes = installFakeTimers(["setTimeout"]);
  const start = systemClock.monotonic();
  systemClock.setTimer(() => {}, 3_600_000);
  fakes.advance(3_600_000);
  const ahead = systemClock.monotonic();
  assertGreaterOrEqual(ahead, start + 3_600_000);
  fakes.restore();
  // Real time counts from there on: it doesn't stand still for an hour.
  const first = systemClock.monotonic();
  while (systemClock.monotonic() === first) await new Promise((resolve) => setTimeout(resolve));
  assert(systemClock.monotonic() > ahead);
});

test("systemClock.monotonic() doesn't follow a Date that alone is replaced, or set", () => {
  const fakes = installFakeTimers(["Date"]);
  const start = systemClock.monotonic();
  fakes.advance(3_600_000);
  assertLess(systemClock.monotonic() - start, 3_600_000);
  fakes.restore();
});

test("systemClock.monotonic() never goes back when a fake Date is set back", () => {
  const fakes = installFakeTimers(["setTimeout", "Date"]);
  fakes.advance(1_000);
  const start = systemClock.monotonic();
  fakes.advance(-500_000);
  const back = systemClock.monotonic();
  assertEquals(back, start);
  fakes.advance(7);
  assertEquals(systemClock.monotonic(), start + 7);
  fakes.restore();
});

test("systemClock.setTimer() proves nothing by a timer longer than timers can be", () => {
  const fakes = installFakeTimers(["setTimeout"]);
  const start = systemClock.monotonic();
  // Real ones fire at once.
  for (const delayMs of [2 ** 31, Infinity, NaN]) systemClock.setTimer(() => {}, delayMs);
  fakes.advance(2 ** 32);
  assertLess(systemClock.monotonic() - start, 3_600_000);
  fakes.restore();
});

test("stampClock() ignores jumps of the wall clock", () => {
  const clock = new ManualClock(5_000);
  const time = stampClock(clock);
  clock.setWall(1e12);
  clock.advance(10);
  assertEquals(time(), 5_010);
  clock.setWall(0);
  clock.advance(10);
  assertEquals(time(), 5_020);
});
