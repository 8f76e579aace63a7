/**
 * The two ends of a producer: closed by its user, at any moment, or stopped by what it can't get past. What runs, who
 * waits, and what is left in the buffer: each is told, bounded, and there for the next producer.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import {
  deadLetterCodec,
  DeliveryError,
  MemoryBuffer,
  ProducerClosedError,
  ProducerStoppedError,
  textCodec,
} from "../../mod.ts";
import { isPending, settle } from "../support/event_loop.ts";
import {
  benchTest,
  fails,
  hangs,
  Held,
  ignoresSignal,
  KINDS,
  left,
  LONG_REASON,
  ONE_LETTER,
  pass,
  typesOf,
  useBench,
} from "./tools.ts";

const NEVER_OLD = { maxAgeMs: 2 ** 31 - 1, codec: textCodec() };
const THREE = { ...NEVER_OLD, maxRecords: 3 };
const ONE = { ...NEVER_OLD, maxRecords: 1 };

benchTest("Producer.close() leaves what isn't delivered in the buffer, for the next producer", THREE, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make();
  await producer.putMany(["a", "b"]);
  await producer.close();
  assertEquals(target.records, []);
  assertEquals(producer.stats().state, "closed");
  // The buffer stays open.
  await buffer.put("c");
  await settle();
  assertEquals(target.records, []);
  const next = make();
  await next.flush();
  assertEquals(target.records, ["abc"]);
});

benchTest("Producer refuses everything after close(), and says so", ONE, async ({ target, make }) => {
  const producer = make();
  await producer.close();
  const refused = [() => producer.put("a"), () => producer.putMany(["a"]), () => producer.flush()];
  for (const call of refused) {
    const error = await assertRejects(call, ProducerClosedError);
    assertEquals(error.code, "PRODUCER_CLOSED");
  }
  await assertRejects(() => producer.writable().getWriter().write("a"), ProducerClosedError);
  await producer.close();
  await producer.close({ signal: AbortSignal.abort() });
  await producer[Symbol.asyncDispose]();
  assertEquals(target.records, []);
});

benchTest("Producer.close() lets a running attempt finish, and commits what it delivers", ONE, async (bench) => {
  const { buffer, target, events, make } = bench;
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b"]);
  await settle();
  const closed = [producer.close(), producer.close()];
  assert(await isPending(closed[0]));
  assertEquals(producer.stats().state, "closing");
  assert(!target.calls[0].signal.aborted);
  held.take();
  await Promise.all(closed);
  assertEquals(target.records, ["a"]);
  assertEquals(await left(buffer), ["b"]);
  assertEquals(typesOf(events).filter((type) => type === "closed").length, 1);
});

benchTest("Producer.close() ends a running attempt when the grace is over", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ closeTimeoutMs: 2_000 });
  target.will(hangs);
  await producer.put("a");
  await settle();
  const closed = producer.close();
  await pass(clock, 1_999);
  assert(!target.calls[0].signal.aborted);
  await pass(clock, 1);
  await closed;
  assert(target.calls[0].signal.reason instanceof ProducerClosedError);
  assertEquals(await left(buffer), ["a"]);
});

benchTest("Producer.close() doesn't wait for ever for an attempt that ignores its signal", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ closeTimeoutMs: 2_000 });
  target.will(ignoresSignal);
  await producer.put("a");
  await settle();
  const closed = producer.close();
  await pass(clock, 2_000);
  assert(await isPending(closed));
  await pass(clock, 1_000);
  await closed;
  assertEquals(producer.stats().abandoned, 1);
  assertEquals(await left(buffer), ["a"]);
});

benchTest("Producer.close() still takes an answer that comes after the grace", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ closeTimeoutMs: 2_000 });
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  await settle();
  const closed = producer.close();
  await pass(clock, 2_500);
  held.take();
  await closed;
  assertEquals(buffer.stats().pendingRecords, 0);
});

for (const when of ["before", "during", "in a second call"] as const) {
  benchTest(`Producer.close({ signal }) gives no grace when it is aborted ${when}`, ONE, async (bench) => {
    const { clock, buffer, target, make } = bench;
    const producer = make();
    target.will(hangs);
    await producer.put("a");
    await settle();
    const abort = new AbortController();
    if (when === "before") abort.abort();
    const first = producer.close(when === "in a second call" ? {} : { signal: abort.signal });
    if (when !== "before") assert(await isPending(first));
    const second = producer.close({ signal: abort.signal });
    abort.abort();
    await Promise.all([first, second]);
    assertEquals(clock.monotonic(), 0);
    assertEquals(await left(buffer), ["a"]);
  });
}

benchTest("Producer.close() ends a backoff at once", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ retry: { firstDelayMs: 30_000 } });
  target.will(fails());
  await producer.put("a");
  await settle();
  assert(producer.stats().backoffUntil !== undefined);
  await producer.close();
  assertEquals(producer.stats().backoffUntil, undefined);
  await pass(clock, 60_000);
  assertEquals(target.records, ["a"]);
  assertEquals(await left(buffer), ["a"]);
});

benchTest("Producer.close() begins no second half, and no rest", { ...THREE, maxRecords: 4 }, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make();
  const held = new Held();
  target.will(fails(new DeliveryError({ reason: "too large", tooLarge: true })), held.answer);
  await producer.putMany(["a", "b", "c", "d"]);
  await settle();
  assertEquals(target.records, ["abcd", "ab"]);
  const closed = producer.close();
  held.take();
  await closed;
  // The target has a half of it. The batch is whole, and its halves will have the ids that they had.
  assertEquals(target.records, ["abcd", "ab"]);
  assertEquals(await left(buffer), ["a", "b", "c", "d"]);
});

for (
  const [what, error] of [
    ["failed", new Error("away")],
    ["is too large", new DeliveryError({ reason: "too large", tooLarge: true })],
    ["is refused for good", new DeliveryError({ reason: "no", retryable: false })],
  ] as const
) {
  benchTest(`Producer.close() decides nothing about a delivery that ${what} meanwhile`, THREE, async (bench) => {
    const { buffer, target, deadLetters, make } = bench;
    const producer = make({ deadLetters });
    const held = new Held();
    target.will(held.answer);
    await producer.putMany(["a", "b", "c"]);
    await settle();
    const closed = producer.close();
    held.refuse(error);
    await closed;
    assertEquals(await left(buffer), ["a", "b", "c"]);
    assertEquals(deadLetters.stats().pendingRecords, 0);
    assertEquals(producer.stats().lastError?.message, error.message);
  });
}

benchTest("Producer.close() commits all that is delivered before the first that isn't", ONE, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make({ maxInFlight: 4 });
  const held = Array.from({ length: 4 }, () => new Held());
  target.will(...held.map(({ answer }) => answer));
  await producer.putMany(["a", "b", "c", "d"]);
  await settle();
  const closed = producer.close();
  held[1].take();
  held[3].take();
  held[2].refuse(new Error("away"));
  await settle();
  held[0].take();
  await closed;
  assertEquals(buffer.stats().batchesCommitted, 2);
  // The target has d, too: it comes again with the id that it had.
  assertEquals(await left(buffer), ["c", "d"]);
});

benchTest("Producer.flush() rejects when the producer is closed before, and resolves when it is not", THREE, async (
  { target, make },
) => {
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b", "c"]);
  const first = producer.flush();
  await settle();
  void producer.put("d");
  const second = assertRejects(() => producer.flush(), ProducerClosedError, "Cannot flush: the producer is closed");
  const closed = producer.close();
  held.take();
  await Promise.all([first, second, closed]);
});

benchTest(
  "Producer.close() rejects puts and writes that wait for space",
  { ...ONE, whenFull: "block", maxBacklogBytes: 60 },
  async ({ buffer, target, make }) => {
    const producer = make();
    target.will(hangs);
    const puts = Array.from({ length: 20 }, (_, i) => producer.put(`${i}`));
    const signal = new AbortController().signal;
    const other = producer.put("with a signal of its own", { signal });
    const writer = producer.writable().getWriter();
    const write = writer.write("written");
    const flushed = producer.flush();
    for (const waiting of [other, write, flushed]) assert(await isPending(waiting));
    const closed = producer.close({ signal: AbortSignal.abort() });
    const answers = await Promise.allSettled(puts);
    const accepted = answers.filter(({ status }) => status === "fulfilled").length;
    assert(accepted > 0 && accepted < 20, `${accepted} were accepted`);
    for (const answer of answers.slice(accepted)) {
      assert(answer.status === "rejected" && answer.reason instanceof ProducerClosedError);
    }
    for (const waiting of [other, write, flushed]) await assertRejects(() => waiting, ProducerClosedError);
    await writer.closed.catch(() => {});
    await closed;
    assertEquals(await left(buffer), Array.from({ length: accepted }, (_, i) => `${i}`));
  },
);

benchTest("Producer.close() leaves puts alone that are being persisted", THREE, async ({ buffer, make }) => {
  const producer = make();
  const puts = [producer.put("a"), producer.putMany(["b", "c"])];
  await producer.close();
  await Promise.all(puts);
  assertEquals(await left(buffer), ["a", "b", "c"]);
});

benchTest(
  "Producer.close() ends the wait for a dead-letter buffer without room, and leaves the batch",
  { ...THREE, ...ONE_LETTER, forDeadLetters: { ...ONE_LETTER.forDeadLetters, whenFull: "block" } },
  async ({ clock, buffer, target, deadLetters, make }) => {
    const producer = make({ deadLetters, closeTimeoutMs: 2_000 });
    target.will(fails(new DeliveryError({ reason: LONG_REASON, retryable: false })));
    await producer.putMany(["a", "b", "c"]);
    await settle();
    const closed = producer.close();
    await pass(clock, 2_000);
    await closed;
    assertEquals(producer.stats().state, "closed");
    assertEquals(await left(buffer), ["a", "b", "c"]);
  },
);

benchTest("Producer.close() can be called by send(), by a listener, and in the tick of new Producer()", ONE, async (
  { clock, buffer, target, make },
) => {
  await buffer.putMany(["a", "b"]);
  const atOnce = make();
  await atOnce.close();
  assertEquals(target.records, []);

  const byListener = make({ onEvent: (event) => event.type === "attempt-started" && void byListener.close() });
  await settle();
  await byListener.close();
  assertEquals(target.records, ["a"]);

  target.will(() => bySend.close());
  const bySend = make();
  await settle();
  // It waits for itself: the grace ends that, and the attempt is left alone.
  await pass(clock, 5_000);
  await pass(clock, 1_000);
  await bySend.close();
  assertEquals(await left(buffer), ["b"]);
});

/** The second of three records can't be delivered. */
const poison = new DeliveryError({
  reason: "some",
  failed: [{ index: 0, retryable: true, reason: "busy" }, { index: 1, retryable: false, reason: "no such column" }],
});

benchTest("Producer stops, says why to all who ask or wait, and leaves the data where it was", THREE, async (bench) => {
  const { clock, buffer, target, events, make } = bench;
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b", "c", "d"]);
  const flushed = producer.flush();
  await settle();
  held.refuse(poison);
  const error = await assertRejects(() => flushed, ProducerStoppedError);
  const { batchId } = target.calls[0];
  assertEquals([error.code, error.batchId, error.sequences], ["PRODUCER_STOPPED", batchId, [2]]);
  assertEquals(
    error.message,
    `Cannot go on delivering: sequence 2 of batch ${batchId} is undeliverable: no such column`,
  );
  assertStrictEquals(error.cause, poison);
  const calls = [
    () => producer.flush(),
    () => producer.writable().getWriter().write("e"),
  ];
  for (const call of calls) assertStrictEquals(await assertRejects(call), error);
  assertEquals([await producer.put("e"), await producer.putMany(["f"])], [5, { first: 6, last: 6 }]);
  assertEquals(producer.stats().state, "stopped");
  assertEquals(producer.stats().lastError?.message, error.message);
  assertEquals(events.at(-1), { type: "stopped", error });
  await pass(clock, 3_600_000);
  assertEquals(target.records, ["abc"]);
  await producer.close();
  assertEquals(producer.stats().state, "closed");
  for (const call of [() => producer.put("g"), () => producer.putMany(["g"]), () => producer.flush()]) {
    assertStrictEquals(await assertRejects(call), error);
  }
  // The next one begins with the same batch.
  const next = make();
  await next.flush();
  assertEquals(target.records, ["abc", "abc", "def"]);
  assertEquals(target.calls[1].id, batchId);
  assertEquals(buffer.stats().pendingRecords, 0);
});

benchTest(
  "Producer rejects puts that wait for space when it stops",
  { ...ONE, whenFull: "block", maxBacklogBytes: 60 },
  async ({ target, make }) => {
    const producer = make();
    const held = new Held();
    target.will(held.answer);
    const puts = Array.from({ length: 20 }, (_, i) => producer.put(`${i}`));
    const write = producer.writable().getWriter().write("written");
    await settle();
    held.refuse(new DeliveryError({ reason: "no", retryable: false }));
    const answers = await Promise.allSettled([...puts, write]);
    const rejected = answers.filter((answer) => answer.status === "rejected");
    assert(rejected.length > 5 && rejected.length < 21, `${rejected.length}`);
    for (const { reason } of rejected) assert(reason instanceof ProducerStoppedError);
    await assertRejects(() => producer.flush(), ProducerStoppedError);
  },
);

benchTest("Producer that stops lets other batches finish, and commits those before", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ maxInFlight: 4, closeTimeoutMs: 2_000 });
  const held = Array.from({ length: 3 }, () => new Held());
  target.will(...held.map(({ answer }) => answer), hangs);
  await producer.putMany(["a", "b", "c", "d", "e"]);
  const told = assertRejects(() => producer.flush(), ProducerStoppedError, "sequence 2 of batch");
  await settle();
  held[1].refuse(new DeliveryError({ reason: "no", retryable: false }));
  await settle();
  // Only those before it can still be committed, and nothing new is begun.
  held[2].take();
  held[0].take();
  await pass(clock, 2_000);
  await told;
  assert(target.calls[3].signal.aborted);
  assertEquals(target.records, ["a", "b", "c", "d"]);
  assertEquals(await left(buffer), ["b", "c", "d", "e"]);
});

test("Producer keeps its first reason when several batches would stop it", () =>
  useBench("MemoryBuffer", ONE, async ({ target, events, make }) => {
    const producer = make({ maxInFlight: 2 });
    const held = [new Held(), new Held()];
    target.will(...held.map(({ answer }) => answer));
    await producer.putMany(["a", "b"]);
    await settle();
    // In one tick: neither has been told of the other.
    for (const reason of ["first", "second"]) held.pop()!.refuse(new DeliveryError({ reason, retryable: false }));
    await settle();
    await assertRejects(() => producer.flush(), ProducerStoppedError, "first");
    assertEquals(typesOf(events).filter((type) => type === "stopped").length, 1);
  }));

for (const kind of KINDS) {
  test(`Producer is closed by await using, before its buffer is (${kind})`, () =>
    useBench(kind, THREE, async ({ buffer, target, make }) => {
      {
        const stack = new AsyncDisposableStackLike();
        stack.use(await MemoryBuffer.open({ codec: deadLetterCodec<string>() }));
        const producer = stack.use(make());
        await producer.putMany(["a", "b", "c"]);
        await producer.flush();
        await stack.dispose();
        assertEquals(producer.stats().state, "closed");
      }
      assertEquals(target.records, ["abc"]);
      assertEquals(buffer.stats().pendingRecords, 0);
    }));
}

/** Disposes in reverse order, as `await using` does, which Node 22 doesn't know. */
class AsyncDisposableStackLike {
  readonly #used: AsyncDisposable[] = [];

  use<D extends AsyncDisposable>(one: D): D {
    this.#used.push(one);
    return one;
  }

  async dispose(): Promise<void> {
    for (const one of this.#used.reverse()) await one[Symbol.asyncDispose]();
  }
}
