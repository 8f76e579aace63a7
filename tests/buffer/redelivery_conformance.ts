/**
 * The part of `RecordBuffer`'s suite that is about batches that a loop leaves uncommitted: `batches()` pauses before it yields
 * one of them again, each time longer, and ends the pause as soon as there is nothing to wait for.
 */

import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import type { Batch, BatchesOptions, RecordBuffer } from "../../mod.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { isPending } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import type { Suite } from "./subject.ts";

/** Every record is a batch of its own, due at once. */
const SINGLE = { maxRecords: 1 };

/** Runs every test. */
export function testRedelivery(suite: Suite): void {
  testPause(suite);
  testEndOfPause(suite);
  testOptions(suite);
}

/** A loop that has been given a batch and doesn't commit it. */
async function takeOne(
  buffer: RecordBuffer<string>,
  options?: BatchesOptions,
): Promise<{ batches: AsyncIterableIterator<Batch<string>>; batch: Batch<string> }> {
  const batches = buffer.batches(options);
  return { batches, batch: (await batches.next()).value };
}

/** Asserts that the loop is given the same batch again after exactly this pause. */
async function assertPause(
  delayMs: number,
  { batches, batch, clock }: {
    batches: AsyncIterableIterator<Batch<string>>;
    batch: Batch<string>;
    clock: ManualClock;
  },
): Promise<void> {
  const next = batches.next();
  clock.advance(delayMs - 1);
  assert(await isPending(next), `less than ${delayMs} ms`);
  // The process has to stay alive for it.
  assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), [{ delayMs: 1, keepAlive: true }]);
  clock.advance(1);
  const { value } = await next;
  assertEquals([value.id, value.redelivered], [batch.id, true], `after ${delayMs} ms`);
}

function testPause(suite: Suite): void {
  suite.text("batches() pauses twice as long each time before a batch comes again, up to 30 seconds", SINGLE, async (
    { buffer, clock },
  ) => {
    await buffer.putMany(["a", "b"]);
    const first = await takeOne(buffer);
    for (const delayMs of [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]) {
      await assertPause(delayMs, { ...first, clock });
    }
    // A commit ends it: the next batch comes at once, and begins with the first pause.
    await buffer.commit(first.batch);
    const { value: second } = await first.batches.next();
    assertEquals([second.records, second.redelivered], [["b"], false]);
    await assertPause(100, { batches: first.batches, batch: second, clock });
    await first.batches.return!();
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
  });

  suite.text("batches() pauses with flush as well, and ends when the batch is committed", SINGLE, async (
    { buffer, clock },
  ) => {
    await buffer.put("a");
    const taken = await takeOne(buffer, { flush: true });
    await assertPause(100, { ...taken, clock });
    await buffer.commit(taken.batch);
    assertEquals(await taken.batches.next(), { value: undefined, done: true });
  });

  suite.text("batches() doesn't pause for a batch that another loop has left", SINGLE, async ({ buffer }) => {
    await buffer.put("a");
    const left = await takeOne(buffer);
    await left.batches.return!();
    const again = await takeOne(buffer);
    assertEquals([again.batch.id, again.batch.redelivered], [left.batch.id, true]);
    await again.batches.return!();
  });
}

function testEndOfPause(suite: Suite): void {
  suite.text(
    "batches() goes on at once when the batch is committed during the pause, or was about to be",
    SINGLE,
    async (
      { buffer, clock },
    ) => {
      await buffer.putMany(["a", "b", "c"]);
      const { batches, batch } = await takeOne(buffer);
      const next = batches.next();
      assert(await isPending(next));
      await buffer.commit(batch);
      const { value } = await next;
      assertEquals(value.records, ["b"]);
      // Nobody waits for it, as in a loop without `await`.
      const committing = buffer.commit(value);
      assertEquals((await batches.next()).value.records, ["c"]);
      await committing;
      await batches.return!();
      assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
    },
  );

  suite.text(
    "batches() waits for new records when the buffer is cleared during the pause",
    SINGLE,
    async ({ buffer }) => {
      await buffer.put("a");
      const { batches } = await takeOne(buffer);
      const next = batches.next();
      await buffer.clear();
      assert(await isPending(next));
      await buffer.put("b");
      assertEquals((await next).value.records, ["b"]);
      await batches.return!();
    },
  );

  suite.text("batches() goes on pausing when records are put", SINGLE, async ({ buffer, clock }) => {
    await buffer.put("a");
    const { batches, batch } = await takeOne(buffer);
    const next = batches.next();
    clock.advance(60);
    await buffer.put("b");
    clock.advance(39);
    assert(await isPending(next));
    clock.advance(1);
    assertEquals((await next).value.id, batch.id);
    await batches.return!();
  });

  suite.text("batches() rejects with the signal's reason when it is aborted during the pause", SINGLE, async (
    { buffer, clock },
  ) => {
    await buffer.put("a");
    const controller = new AbortController();
    const { batches } = await takeOne(buffer, { signal: controller.signal });
    const next = batches.next();
    assert(await isPending(next));
    const reason = new Error("enough");
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => next), reason);
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
    assertEquals(await drain(buffer), ["a"]);
  });

  suite.text("batches() ends when the buffer is closed during the pause", SINGLE, async ({ buffer, clock }) => {
    await buffer.put("a");
    const { batches } = await takeOne(buffer);
    const next = batches.next();
    assert(await isPending(next));
    await buffer.close();
    assertEquals(await next, { value: undefined, done: true });
    assertEquals(clock.timers, []);
  });
}

function testOptions(suite: Suite): void {
  suite.text("batches() takes the pauses of its option", SINGLE, async ({ buffer, clock }) => {
    await buffer.put("a");
    const bounded = await takeOne(buffer, { redelivery: { firstDelayMs: 5, maxDelayMs: 12 } });
    for (const delayMs of [5, 10, 12, 12]) await assertPause(delayMs, { ...bounded, clock });
    await bounded.batches.return!();

    const none = await takeOne(buffer, { redelivery: { firstDelayMs: 0 } });
    for (let i = 0; i < 3; i++) assertEquals((await none.batches.next()).value.id, none.batch.id);
    await none.batches.return!();

    const byDefault = await takeOne(buffer, { redelivery: { firstDelayMs: undefined, maxDelayMs: undefined } });
    await assertPause(100, { ...byDefault, clock });
    await byDefault.batches.return!();
  });

  suite.text("batches() throws for pauses that make no sense", {}, ({ buffer }) => {
    const wrong: [unknown, typeof TypeError | typeof RangeError, string][] = [
      ["often", TypeError, 'redelivery must be an object, got "often"'],
      [{ firstDelayMs: "5" }, TypeError, 'redelivery.firstDelayMs must be a number, got "5"'],
      [{ firstDelayMs: -1 }, RangeError, "redelivery.firstDelayMs must be a whole number from 0 to 2147483647, got -1"],
      [{ maxDelayMs: 2 ** 31 }, RangeError, "redelivery.maxDelayMs must be a whole number from 0 to 2147483647"],
      [{ minDelayMs: 1 }, TypeError, "unknown option redelivery.minDelayMs"],
    ];
    for (const [redelivery, type, message] of wrong) {
      const options = { redelivery } as BatchesOptions;
      assertThrows(() => buffer.batches(options), type, `Cannot take batches: ${message}`);
    }
    return Promise.resolve();
  });
}
