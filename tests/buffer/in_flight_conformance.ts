/**
 * The part of `RecordBuffer`'s suite that is about several batches in flight, and about waiting for one to be due.
 */

import { test } from "node:test";
import { assert, assertEquals, assertFalse, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import {
  type Batch,
  BatchMismatchError,
  BufferEmptyError,
  NoBatchBehindError,
  type RecordBuffer,
  textCodec,
} from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";
import { contentOf, type Subject, type Suite, use } from "./subject.ts";

/** As many as may be in flight. */
const MOST = 16;

/** Runs every test against `subject`. */
export function testInFlight(suite: Suite, subject: Subject): void {
  testEmitAfter(suite);
  testWait(suite);
  testDropped(suite, subject);
  if (subject.persists) testReopen(subject);
}

async function putAll(buffer: RecordBuffer<string>, records: string): Promise<void> {
  for (const record of records) await buffer.put(record);
}

/** Hands over so many batches, each behind the one before. */
async function emitAll(buffer: RecordBuffer<string>, count: number, after?: Batch<string>): Promise<Batch<string>[]> {
  const batches: Batch<string>[] = [];
  for (let i = 0; i < count; i++) batches.push(await buffer.emit({ after: batches.at(-1) ?? after }));
  return batches;
}

function testEmitAfter(suite: Suite): void {
  suite.text("emit({ after }) hands over the batches that follow, each as often as it is asked for", {
    maxRecords: 2,
  }, async ({ buffer }) => {
    await putAll(buffer, "abcde");
    const batches = await emitAll(buffer, 3);
    assertEquals(batches.map((batch) => batch.records.join("")), ["ab", "cd", "e"]);
    assertEquals(batches.map(({ redelivered }) => redelivered), [false, false, false]);
    assertEquals(buffer.stats().inFlightRecords, 5);
    // What comes later joins none of them.
    await buffer.put("f");
    const again = await emitAll(buffer, 3);
    assertEquals(again.map(({ id }) => id), batches.map(({ id }) => id));
    assertEquals(again.map(({ redelivered }) => redelivered), [true, true, true]);
    const [, second] = batches;
    assertEquals(contentOf(await buffer.emit({ after: second })), contentOf(batches[2]!));
    assertEquals((await buffer.emit({ after: batches[2] })).records, ["f"]);
    assertEquals(buffer.stats().batchesEmitted, 4);
  });

  suite.text("emit({ after }) says why nothing follows: no record, or too many batches in flight", {
    maxRecords: 1,
  }, async ({ buffer }) => {
    await putAll(buffer, "a");
    const [first] = await emitAll(buffer, 1);
    const none = await assertRejects(() => buffer.emit({ after: first }), NoBatchBehindError);
    assertEquals([none.reason, none.batchId, none.inFlightBatches], ["no-records", first!.id, 1]);
    assertEquals(none.message, `Cannot emit the batch behind ${first!.id}: no record has been put behind it`);
    await putAll(buffer, "b".repeat(MOST));
    const rest = await emitAll(buffer, MOST - 1, first);
    const last = rest.at(-1)!;
    const limit = await assertRejects(() => buffer.emit({ after: last }), NoBatchBehindError);
    assertEquals([limit.reason, limit.batchId, limit.inFlightBatches], ["in-flight-limit", last.id, MOST]);
    assertEquals(
      limit.message,
      `Cannot emit the batch behind ${last.id}: ${MOST} batches are in flight, the most allowed`,
    );
    assertEquals(buffer.stats().inFlightRecords, MOST);
    await buffer.commit(first);
    assertEquals((await buffer.emit({ after: rest.at(-1) })).lastSequence, MOST + 1);
  });

  suite.text("emit({ after }) knows its batches: in flight, committed or foreign", { maxRecords: 1 }, async (
    { buffer },
  ) => {
    await putAll(buffer, "abc");
    const [first, second] = await emitAll(buffer, 2);
    await buffer.commit(first);
    await buffer.commit(second);
    // Nothing is in flight before what follows a committed batch.
    const third = await buffer.emit({ after: first });
    assertEquals(third.records, ["c"]);
    const foreign = { ...third, id: "foreign", lastSequence: 9 } as unknown as Batch<string>;
    const error = await assertRejects(() => buffer.emit({ after: foreign }), BatchMismatchError);
    assertEquals([error.operation, error.actual, error.expected], ["emit", "foreign", third.id]);
    assertEquals(error.message, `Cannot emit the batch behind foreign: batch ${third.id} is in flight`);
    const wait = await assertRejects(() => buffer.waitUntilDue({ after: foreign }), BatchMismatchError);
    assertEquals(wait.message, `Cannot wait for the batch behind foreign: batch ${third.id} is in flight`);
    await buffer.commit(third);
    // With nothing in flight and nothing put it is the buffer that is empty.
    await assertRejects(() => buffer.emit({ after: third }), BufferEmptyError);
  });

  suite.text("commit() takes only the oldest of several batches in flight", { maxRecords: 1 }, async ({ buffer }) => {
    await putAll(buffer, "abc");
    const [first, second, third] = await emitAll(buffer, 3);
    const error = await assertRejects(() => buffer.commit(second), BatchMismatchError);
    assertEquals([error.operation, error.actual, error.expected], ["commit", second!.id, first!.id]);
    await buffer.commit(first);
    assertEquals(buffer.stats().inFlightRecords, 2);
    await assertRejects(() => buffer.commit(first), BatchMismatchError);
    await buffer.commit();
    await buffer.commit(third);
    await assertRejects(() => buffer.commit(), BatchMismatchError);
    assertEquals(buffer.stats().pendingRecords, 0);
    assertEquals(buffer.stats().batchesCommitted, 3);
  });

  suite.text("clear() drops all batches in flight", { maxRecords: 1 }, async ({ buffer }) => {
    await putAll(buffer, "abc");
    const [, second] = await emitAll(buffer, 2);
    await buffer.clear();
    await assertRejects(() => buffer.commit(second), BatchMismatchError);
    assertEquals(buffer.stats().inFlightRecords, 0);
    await buffer.put("d");
    assertEquals((await buffer.emit()).firstSequence, 4);
  });
}

function testWait(suite: Suite): void {
  suite.text(
    "waitUntilDue() resolves when a batch is full, and when one is old",
    { maxRecords: 2, maxAgeMs: 50 },
    async (
      { buffer, clock },
    ) => {
      const full = buffer.waitUntilDue();
      await buffer.put("a");
      assert(await isPending(full));
      await buffer.put("b");
      assert(await full);
      const first = await buffer.emit();
      assert(await buffer.waitUntilDue(), "one that is in flight is due again");
      const old = buffer.waitUntilDue({ after: first });
      await buffer.put("c");
      assert(await isPending(old));
      clock.advance(50);
      assert(await old);
      assertEquals((await buffer.emit({ after: first })).records, ["c"]);
    },
  );

  suite.text("waitUntilDue() sets one timer for the first record's age, whatever is put behind it", {
    maxRecords: 100,
  }, async ({ buffer, clock }) => {
    const { setTimer } = ManualClock.prototype;
    let waits = 0;
    clock.setTimer = (callback, delayMs, options) => {
      if (options?.keepAlive) waits++;
      return setTimer.call(clock, callback, delayMs, options);
    };
    const full = buffer.waitUntilDue();
    await putAll(buffer, "a".repeat(99));
    assert(await isPending(full));
    assertEquals(waits, 1);
    await buffer.put("b");
    assert(await full);
    assertEquals(waits, 1);
  });

  suite.text("waitUntilDue() resolves when somebody else takes the batch", {}, async ({ buffer }) => {
    const again = buffer.waitUntilDue();
    await buffer.put("a");
    assert(await isPending(again));
    await buffer.emit();
    assertFalse(await isPending(again), "one that is in flight is due again");
    assert(await again);
  });

  suite.text("waitUntilDue() resolves when an earlier call of emit() takes the batch", {}, async ({ buffer }) => {
    await buffer.put("a");
    const emitted = buffer.emit();
    const again = buffer.waitUntilDue();
    await emitted;
    assertFalse(await isPending(again), "one that is in flight is due again");
    assert(await again);
  });

  suite.text("waitUntilDue({ flush }) waits for no record and no age", {}, async ({ buffer }) => {
    assertFalse(await buffer.waitUntilDue({ flush: true }));
    void buffer.put("a");
    assert(await buffer.waitUntilDue({ flush: true }));
    const first = await buffer.emit();
    assertFalse(await buffer.waitUntilDue({ flush: true, after: first }));
    await buffer.put("b");
    assert(await buffer.waitUntilDue({ flush: true, after: first }));
  });

  suite.text("waitUntilDue() ends with its signal, and with the buffer", {}, async ({ buffer }) => {
    const reason = new Error("given up");
    const controller = new AbortController();
    const waiting = assertRejects(() => buffer.waitUntilDue({ signal: controller.signal }));
    const other = buffer.waitUntilDue();
    await settle();
    controller.abort(reason);
    assertStrictEquals(await waiting, reason);
    assert(await isPending(other));
    await buffer.close();
    assertFalse(await other);
  });

  suite.text("waitUntilDue({ after }) waits for a commit when so many are in flight as may be", {
    maxRecords: 1,
  }, async ({ buffer }) => {
    await putAll(buffer, "a".repeat(MOST + 1));
    const batches = await emitAll(buffer, MOST);
    const waiting = buffer.waitUntilDue({ after: batches.at(-1) });
    const flushing = buffer.waitUntilDue({ after: batches.at(-1), flush: true });
    assert(await isPending(Promise.race([waiting, flushing])));
    await buffer.commit();
    assertEquals(await Promise.all([waiting, flushing]), [true, true]);
  });
}

function testDropped(suite: Suite, subject: Subject): void {
  const { alone } = subject.overheadBytes;
  suite.text("emit({ after }) goes on behind dropped records when what is in flight is committed", {
    maxRecords: 1,
    maxBacklogBytes: 3 * (alone + 1),
    whenFull: "drop-oldest",
  }, async ({ buffer }) => {
    await putAll(buffer, "abc");
    const first = await buffer.emit();
    // b goes, so that d fits: on disk no batch may begin behind the gap while a is in flight.
    await buffer.put("d");
    assertEquals(buffer.stats().dropped, 1);
    const dropped = await assertRejects(() => buffer.emit({ after: first }), NoBatchBehindError);
    assertEquals([dropped.reason, dropped.batchId, dropped.inFlightBatches], ["dropped-records", first.id, 1]);
    assertMatch(
      dropped.message,
      /: records behind it were dropped, so the batches in flight have to be committed first$/,
    );
    const waiting = buffer.waitUntilDue({ after: first });
    assert(await isPending(waiting));
    await buffer.commit(first);
    assert(await waiting);
    assertEquals((await buffer.emit({ after: first })).records, ["c"]);
    assertEquals(await drain(buffer), ["c", "d"]);
  });
}

function testReopen(subject: Subject): void {
  test(`${subject.name}.emit({ after }) hands over the same batches again after a restart with other limits`, async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const place = subject.setUp();
      try {
        const count = 1 + random(MOST);
        const committed = random(count);
        const first = await place.open({ codec: textCodec(), maxRecords: 1 + random(4) });
        await putAll(first, "abcdefghijklmnopqrstuvwxyz".repeat(3));
        const batches = await emitAll(first, count);
        for (const batch of batches.slice(0, committed)) await first.commit(batch);
        await first.close();

        const buffer = await place.open({ codec: textCodec(), maxRecords: 1 + random(9) });
        const again = await emitAll(buffer, count - committed);
        assertEquals(again.map(contentOf), batches.slice(committed).map(contentOf), `seed ${seed}`);
        assertEquals(again.map(({ id }) => id), batches.slice(committed).map(({ id }) => id), `seed ${seed}`);
        assert(again.every(({ redelivered }) => redelivered), `seed ${seed}`);
        const next = await buffer.emit({ after: again.at(-1) });
        assertEquals([next.firstSequence, next.redelivered], [batches.at(-1)!.lastSequence + 1, false]);
        for (const batch of [...again, next]) await buffer.commit(batch);
        await drain(buffer);
        await buffer.close();
      } finally {
        place.tearDown();
      }
    }
  });

  test(`${subject.name}.emit({ after }) keeps what is saved when batches are asked for at the same time`, async () => {
    await use(subject, { codec: textCodec(), maxRecords: 1 }, async ({ buffer }) => {
      await putAll(buffer, "abcd");
      const first = await buffer.emit();
      const both = await Promise.all([buffer.emit({ after: first }), buffer.emit({ after: first }), buffer.emit()]);
      assertEquals(both.map(({ firstSequence }) => firstSequence), [2, 2, 1]);
      await buffer.commit(first);
      await buffer.commit(both[0]);
      assertEquals(await drain(buffer), ["c", "d"]);
    });
  });
}
