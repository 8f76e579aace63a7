/**
 * The part of `RecordBuffer`'s suite that is about the age of records: put times, and what `maxRecordAgeMs` drops.
 */

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { BufferEmptyError, type BufferEvent, type BufferOptions, NoBatchBehindError, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { drain } from "../support/logs.ts";
import type { Subject, Suite } from "./subject.ts";

const LIMITED: BufferOptions<string> = { maxRecordAgeMs: 1_000, maxRecords: 3 };

function dropsOf(events: readonly BufferEvent[]): unknown[] {
  return events.flatMap((event) =>
    event.type === "records-dropped" ? [[event.reason, event.sequences, event.records]] : []
  );
}

/** Runs every test against `subject`. */
export function testExpiry(suite: Suite, subject: Subject): void {
  suite.text(
    "putTimes says of each record of a batch when it was put",
    { maxRecords: 5 },
    async ({ buffer, clock }) => {
      const start = clock.now();
      await buffer.putMany(["a", "b"]);
      clock.advance(10);
      await buffer.put("c");
      await buffer.put("d");
      clock.advance(5);
      await buffer.putMany(["e", "f", "g"]);
      const first = await buffer.emit();
      assertEquals(first.putTimes, [start, start, start + 10, start + 10, start + 15]);
      const second = await buffer.emit({ after: first });
      assertEquals([second.records, second.putTimes], [["f", "g"], [start + 15, start + 15]]);
      assertEquals([first.expiredRecords, second.expiredRecords], [0, 0]);
    },
  );

  suite.text(
    "emit() drops what is older than maxRecordAgeMs, and tells it",
    LIMITED,
    async ({ buffer, clock, events }) => {
      for (const record of ["a", "b", "c", "d"]) await buffer.put(record);
      clock.advance(500);
      await buffer.put("e");
      clock.advance(500);
      assertEquals((await buffer.emit()).records, ["a", "b", "c"]);
      await buffer.commit();
      clock.advance(1);
      assertEquals((await buffer.emit()).records, ["e"]);
      assertEquals(dropsOf(events), [["expired", { first: 4, last: 4 }, 1]]);
      const { expired, dropped, pendingRecords, inFlightRecords } = buffer.stats();
      assertEquals([expired, dropped, pendingRecords, inFlightRecords], [1, 0, 1, 1]);
    },
  );

  suite.text(
    "emit() finds nothing where all have expired, however many",
    LIMITED,
    async ({ buffer, clock, events }) => {
      for (let i = 0; i < 10; i++) await buffer.put(`${i}`);
      clock.advance(1_001);
      await assertRejects(() => buffer.emit(), BufferEmptyError);
      const { expired, pendingRecords, backlogBytes, lastSequence } = buffer.stats();
      assertEquals([expired, pendingRecords, backlogBytes, lastSequence], [10, 0, 0, 10]);
      assertEquals(dropsOf(events).length, 4);
      assertEquals(await buffer.put("new"), 11);
      assertEquals(await drain(buffer), ["new"]);
    },
  );

  suite.text(
    "a batch in flight keeps what expires in it, and counts it",
    LIMITED,
    async ({ buffer, clock, events }) => {
      await buffer.put("a");
      clock.advance(600);
      await buffer.putMany(["b", "c"]);
      const batch = await buffer.emit();
      assertEquals(batch.expiredRecords, 0);
      clock.advance(600);
      assertEquals([batch.expiredRecords, (await buffer.emit()).id], [1, batch.id]);
      clock.advance(600);
      assertEquals([batch.expiredRecords, dropsOf(events).length], [3, 0]);
      await buffer.commit(batch);
    },
  );

  suite.text("emit() hands expired records over with expired: keep", LIMITED, async ({ buffer, clock, events }) => {
    await buffer.putMany(["a", "b"]);
    clock.advance(2_000);
    await buffer.put("c");
    const batch = await buffer.emit({ expired: "keep" });
    assertEquals([batch.records, batch.expiredRecords], [["a", "b", "c"], 2]);
    assertEquals(dropsOf(events), []);
    const wrong = { expired: "forget" } as unknown as { expired: "keep" };
    await assertRejects(async () => await buffer.emit(wrong), TypeError, "expired");
  });

  suite.text(
    "records that expire behind a batch in flight are dropped, and the next one comes after its commit",
    LIMITED,
    async ({ buffer, clock }) => {
      for (const record of ["a", "b", "c", "d"]) await buffer.put(record);
      const first = await buffer.emit();
      clock.advance(1_001);
      await buffer.put("e");
      await assertRejects(() => buffer.emit({ after: first }), NoBatchBehindError);
      await buffer.commit(first);
      assertEquals((await buffer.emit()).records, ["e"]);
      assertEquals(buffer.stats().expired, 1);
    },
  );

  suite.text("a wall clock that is set expires nothing", LIMITED, async ({ buffer, clock }) => {
    clock.setWall(clock.now() - 3_600_000);
    await buffer.put("a");
    clock.setWall(clock.now() + 2 * 3_600_000);
    await buffer.put("b");
    clock.setWall(clock.now() - 2 * 3_600_000);
    await buffer.put("c");
    assertEquals((await buffer.emit()).records, ["a", "b", "c"]);
  });

  if (subject.persists) testRestart(subject);
}

function testRestart(subject: Subject): void {
  test(`${subject.name}.open() counts the age of what was put by a clock that was ahead from then on`, async () => {
    const place = subject.setUp();
    const options = { codec: textCodec(), ...LIMITED };
    const before = await place.open({ ...options, clock: new ManualClock() });
    await before.put("a");
    await before.close();
    const clock = new ManualClock(Date.UTC(2025, 0, 1));
    const buffer = await place.open({ ...options, clock });
    clock.advance(1_000);
    assertEquals((await buffer.emit({ expired: "keep" })).expiredRecords, 0);
    clock.advance(1);
    assertEquals((await buffer.emit()).expiredRecords, 1);
    await buffer.close();
    place.tearDown();
  });

  test(`${subject.name}.open() finds records of an earlier process with their ages`, async () => {
    const place = subject.setUp();
    const clock = new ManualClock();
    const options = { codec: textCodec(), clock, ...LIMITED };
    const before = await place.open(options);
    const start = clock.now();
    await before.put("a");
    clock.advance(700);
    await before.putMany(["b", "c"]);
    await before.close();
    clock.advance(400);
    const buffer = await place.open(options);
    const batch = await buffer.emit();
    assertEquals([batch.records, batch.putTimes], [["b", "c"], [start + 700, start + 700]]);
    await buffer.close();
    place.tearDown();
  });
}
