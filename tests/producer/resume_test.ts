/**
 * A producer that has stopped: puts are persisted as long as there is room, and `resume()` goes on with what it stopped at.
 */

import { assert, assertEquals, assertFalse, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import {
  BatchMismatchError,
  BufferFullError,
  DeliveryError,
  ProducerClosedError,
  ProducerStoppedError,
} from "../../mod.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { benchTest, fails, hangs, Held, ignoresSignal, left, pass, typesOf } from "./tools.ts";

const ONE = { maxRecords: 1, maxAgeMs: 0 };
const no = new DeliveryError({ reason: "status 403", retryable: false });

benchTest(
  "Producer.resume() goes on with the batch that it stopped at, and with what was put since",
  ONE,
  async (bench) => {
    const { target, events, buffer, make } = bench;
    const producer = make();
    target.will(fails(no));
    await producer.put("a");
    await assertRejects(() => producer.flush(), ProducerStoppedError);
    assertEquals([await producer.put("b"), await producer.putMany(["c", "d"])], [2, { first: 3, last: 4 }]);
    await settle();
    assertEquals([target.calls.length, producer.stats().state, buffer.stats().pendingRecords], [1, "stopped", 4]);
    producer.resume();
    assertEquals([producer.stats().state, events.at(-1)], ["running", { type: "resumed" }]);
    await producer.flush();
    assertEquals(target.records, ["a", "a", "b", "c", "d"]);
    assertEquals(target.calls[0].id, target.calls[1].id);
    assertEquals(await left(buffer), []);
  },
);

benchTest("Producer.resume() does nothing while it runs, and throws after close()", ONE, async ({ events, make }) => {
  const producer = make();
  producer.resume();
  assertEquals(typesOf(events), []);
  const closed = producer.close();
  assertThrows(() => producer.resume(), ProducerClosedError);
  await closed;
  assertThrows(() => producer.resume(), ProducerClosedError);
});

benchTest("Producer.close() with a signal ends at once what still runs from before a resume()", ONE, async (bench) => {
  const { target, buffer, make } = bench;
  const producer = make({ maxInFlight: 3 });
  target.will(hangs, hangs, fails(no));
  await producer.putMany(["a", "b", "c"]);
  await settle();
  assertEquals(producer.stats().state, "stopped");
  producer.resume();
  const closed = producer.close({ signal: AbortSignal.abort() });
  assertFalse(await isPending(closed));
  assertEquals([target.calls.length, await left(buffer)], [3, ["a", "b", "c"]]);
});

benchTest("Producer.resume() stops again at what is still refused, any number of times", ONE, async (bench) => {
  const { target, events, buffer, make } = bench;
  const producer = make();
  await producer.put("a");
  for (let i = 0; i < 3; i++) {
    target.will(fails(no));
    producer.resume();
    await assertRejects(() => producer.flush(), ProducerStoppedError, "status 403");
  }
  assertEquals(typesOf(events).filter((type) => type === "stopped" || type === "resumed"), [
    "stopped",
    "resumed",
    "stopped",
    "resumed",
    "stopped",
  ]);
  await producer.close();
  assertEquals(await left(buffer), ["a"]);
});

benchTest(
  "Producer.resume() doesn't send again what was delivered behind the batch that it stopped at",
  ONE,
  async (bench) => {
    const { target, buffer, make } = bench;
    const producer = make({ maxInFlight: 4 });
    const held = Array.from({ length: 4 }, () => new Held());
    target.will(...held.map(({ answer }) => answer));
    await producer.putMany(["a", "b", "c", "d"]);
    const flushed = assertRejects(() => producer.flush(), ProducerStoppedError);
    await settle();
    held[1].refuse(no);
    for (const i of [3, 2, 0]) held[i].take();
    await flushed;
    await settle();
    assertEquals(buffer.stats().pendingRecords, 3, "only the first is committed");
    producer.resume();
    await producer.flush();
    assertEquals(target.calls.map(({ records }) => records.join("")), ["a", "b", "c", "d", "b"]);
    assertEquals(await left(buffer), []);
  },
);

benchTest("Producer.resume() leaves out a batch that was committed by hand", ONE, async ({ target, buffer, make }) => {
  const producer = make();
  target.will(fails(no));
  await producer.putMany(["a", "b"]);
  await assertRejects(() => producer.flush(), ProducerStoppedError);
  const batch = await buffer.emit();
  assertEquals(batch.records, ["a"]);
  await buffer.commit(batch);
  await assertRejects(() => buffer.commit(batch), BatchMismatchError);
  producer.resume();
  await producer.flush();
  assertEquals(target.records, ["a", "b"]);
  // What was wrong with it is over.
  const reason = new Error("no patience");
  await producer.flush({ signal: AbortSignal.abort(reason) }).catch(() => {});
  assertEquals(reason.cause, undefined);
});

benchTest("Producer.resume() begins when the attempts of before have ended, or were given up", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ maxInFlight: 2, closeTimeoutMs: 2_000 });
  const held = new Held();
  target.will(held.answer, ignoresSignal);
  await producer.putMany(["a", "b"]);
  await settle();
  held.refuse(no);
  await settle();
  producer.resume();
  const flushed = producer.flush();
  await pass(clock, 2_000);
  assertEquals(target.calls.length, 2, "the second one may still be running");
  await pass(clock, 1_000);
  await flushed;
  assertEquals(target.calls.map(({ records }) => records.join("")), ["a", "b", "a", "b"]);
});

benchTest("Producer.close() ends a producer that was resumed a moment ago", ONE, async ({ target, buffer, make }) => {
  const producer = make();
  target.will(fails(no));
  await producer.put("a");
  await assertRejects(() => producer.flush(), ProducerStoppedError);
  producer.resume();
  await producer.close();
  assertEquals(producer.stats().state, "closed");
  assertEquals(await left(buffer), ["a"]);
});

for (const whenFull of ["block", "reject"] as const) {
  benchTest(`Producer.put() is refused by a stopped producer where there is no room (${whenFull})`, {
    ...ONE,
    whenFull,
    maxBacklogBytes: 300,
  }, async ({ target, buffer, make }) => {
    const producer = make();
    target.will(fails(no));
    await producer.put("a");
    const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
    let accepted = 1;
    let refusal: unknown;
    while (refusal === undefined) {
      await producer.put("x").then(() => accepted++, (error) => refusal = error);
      assert(accepted < 100);
    }
    assertStrictEquals(refusal, error);
    assert(accepted > 3);
    assertStrictEquals(await assertRejects(() => producer.putMany(["x"])), error);
    assertEquals(buffer.stats().pendingRecords, accepted);
    producer.resume();
    await producer.flush();
    await producer.put("the last");
    await producer.flush();
    assertEquals(target.records.length, 1 + accepted + 1);
  });
}

benchTest("Producer.put() of a stopped producer drops the oldest batch where that is what the buffer does", {
  ...ONE,
  whenFull: "drop-oldest",
  maxBacklogBytes: 300,
}, async ({ target, buffer, make }) => {
  const producer = make();
  target.will(fails(no));
  await producer.put("a");
  await assertRejects(() => producer.flush(), ProducerStoppedError);
  for (let i = 0; i < 50; i++) await producer.put(`${i}`);
  assert(buffer.stats().dropped > 10);
  producer.resume();
  await producer.flush();
  assertEquals(target.records.at(-1), "49");
  assertEquals(target.records.length, 2 + 50 - buffer.stats().dropped);
});

for (const whenFull of ["block", "reject"] as const) {
  benchTest(`RecordBuffer.put() waits or not as its option says, whatever whenFull says (${whenFull})`, {
    ...ONE,
    whenFull,
    maxBacklogBytes: 300,
  }, async ({ buffer }) => {
    let accepted = 0;
    const full = await assertRejects(async () => {
      for (; accepted < 100; accepted++) await buffer.put("a", { waits: false });
    }, BufferFullError);
    assertEquals(full.maxBacklogBytes, 300);
    await assertRejects(() => buffer.putMany(["a"], { waits: false }), BufferFullError);
    const waiting = buffer.put("b", { waits: true });
    assert(await isPending(waiting));
    await buffer.commit(await buffer.emit());
    assertEquals(await waiting, accepted + 1);
  });
}
