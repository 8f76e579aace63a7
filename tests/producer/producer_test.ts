/**
 * Producer: what becomes of records when all goes as it should, and when the target fails in ways that are usual.
 * Bad answers are in `faults_test.ts`, the end is in `close_test.ts`, and crashes are in
 * `crash_test.ts`.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import {
  DeliveryError,
  FileBuffer,
  MemoryBuffer,
  Producer,
  ProducerClosedError,
  type ProducerEvent,
  type ProducerOptions,
  ProducerStoppedError,
  type RecordBuffer,
  textCodec,
} from "../../mod.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { benchTest, fails, hangs, Held, pass, typesOf } from "./tools.ts";

/** No timer of a buffer is to be mistaken for one of the producer. */
const NEVER_OLD = { maxAgeMs: 2 ** 31 - 1, codec: textCodec() };
const THREE = { ...NEVER_OLD, maxRecords: 3 };
const ONE = { ...NEVER_OLD, maxRecords: 1 };

/** The buffer, with some of its methods replaced. */
function replacing(buffer: RecordBuffer<string>, methods: Partial<RecordBuffer<string>>): RecordBuffer<string> {
  return new Proxy(buffer, {
    get(real, name) {
      if (name in methods) return Reflect.get(methods, name);
      const value: unknown = Reflect.get(real, name);
      return typeof value === "function" ? value.bind(real) : value;
    },
  });
}

benchTest("Producer sends a batch when it is full, and commits it when it is taken", THREE, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  assertEquals([await producer.put("a"), await producer.put("b")], [1, 2]);
  await settle();
  assertEquals(target.records, []);
  assertEquals(await producer.putMany(["c", "d"]), { first: 3, last: 4 });
  await settle();
  assertEquals(target.records, ["abc"]);
  assertEquals(buffer.stats().pendingRecords, 4);
  held.take();
  await settle();
  assertEquals(buffer.stats().pendingRecords, 1);
  assertEquals(buffer.stats().batchesCommitted, 1);
});

benchTest(
  "Producer sends a record that is old enough when nothing else happens",
  { maxAgeMs: 5_000 },
  async (bench) => {
    const { clock, target, make } = bench;
    const producer = make();
    await producer.put("a");
    await pass(clock, 4_999);
    assertEquals(target.records, []);
    await pass(clock, 1);
    assertEquals(target.records, ["a"]);
    // And again, after a pause.
    await pass(clock, 60_000);
    await producer.put("b");
    await pass(clock, 5_000);
    assertEquals(target.records, ["a", "b"]);
  },
);

benchTest("Producer sends again after a backoff that doubles, when nothing else happens", ONE, async (bench) => {
  const { clock, target, buffer, make } = bench;
  const producer = make({ retry: { firstDelayMs: 100, maxDelayMs: 350 } });
  target.will(...Array.from({ length: 4 }, () => fails()));
  await producer.put("a");
  const gaps: number[] = [];
  for (const [i, delayMs] of [100, 200, 350, 350].entries()) {
    await settle();
    assertEquals(producer.stats().backoffUntil, clock.now() + delayMs);
    await pass(clock, delayMs - 1);
    gaps.push(target.calls.length);
    await pass(clock, 1);
    assertEquals(target.calls.length, i + 2);
  }
  assertEquals(gaps, [1, 2, 3, 4]);
  assertEquals(target.calls.map(({ attempt }) => attempt), [1, 2, 3, 4, 5]);
  assertEquals(target.calls.map(({ redelivered }) => redelivered), [false, true, true, true, true]);
  assertEquals(new Set(target.calls.map(({ id }) => id)).size, 1);
  assertEquals(buffer.stats().pendingRecords, 0);
  assertEquals(producer.stats().backoffUntil, undefined);
});

benchTest("Producer waits a random part of the backoff", ONE, async ({ clock, target, make }) => {
  const chances = [0.5, 0, 0.25];
  const producer = make({ retry: { firstDelayMs: 100 }, random: () => chances.shift() ?? 1 });
  target.will(fails(), fails(), fails());
  await producer.put("a");
  await pass(clock, 49);
  assertEquals(target.calls.length, 1);
  await pass(clock, 1);
  // The second wait is none at all.
  assertEquals(target.calls.length, 3);
  await pass(clock, 99);
  assertEquals(target.calls.length, 3);
  await pass(clock, 1);
  assertEquals(target.calls.length, 4);
});

benchTest("Producer keeps the process alive while there is something to deliver, and only then", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const keepsAlive = () => clock.timers.some(({ keepAlive }) => keepAlive);
  const producer = make();
  await settle();
  assert(!keepsAlive());
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  await settle();
  assert(keepsAlive(), "while an attempt runs");
  held.refuse(new Error("away"));
  await settle();
  assert(keepsAlive(), "while it waits to try again");
  await pass(clock, 100);
  assertEquals(target.calls.length, 2);
  assert(!keepsAlive());
});

benchTest(
  "Producer begins with what it finds, and goes on with batches in flight, as they were",
  THREE,
  async (bench) => {
    const { buffer, target, make } = bench;
    await buffer.putMany(["a", "b", "c", "d", "e", "f", "g"]);
    const first = await buffer.emit();
    const second = await buffer.emit({ after: first });
    const producer = make();
    await producer.flush();
    assertEquals(target.records, ["abc", "def", "g"]);
    assertEquals(target.calls.slice(0, 2).map(({ id }) => id), [first.id, second.id]);
    assertEquals(target.calls.map(({ redelivered }) => redelivered), [true, true, false]);
  },
);

benchTest("Producer sends what others put into the buffer", THREE, async ({ buffer, target, make }) => {
  make();
  await buffer.putMany(["a", "b", "c"]);
  await settle();
  assertEquals(target.records, ["abc"]);
});

benchTest("Producer.flush() resolves when all that was put is committed, due or not", THREE, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make();
  await producer.flush();
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  const flushed = producer.flush();
  assert(await isPending(flushed));
  assertEquals(target.records, ["a"]);
  held.take();
  await flushed;
  assertEquals(buffer.stats().pendingRecords, 0);
  await producer.flush();
});

benchTest("Producer.flush() includes puts that have not been answered yet", THREE, async ({ target, make }) => {
  const producer = make();
  void producer.put("a");
  void producer.putMany(["b", "c", "d"]);
  await producer.flush();
  assertEquals(target.records.join(""), "abcd");
});

benchTest(
  "Producer.flush() includes puts that wait for space",
  { ...NEVER_OLD, whenFull: "block", maxBacklogBytes: 100 },
  async ({ target, make }) => {
    const producer = make();
    const puts = Array.from({ length: 10 }, () => producer.put("0123456789"));
    await producer.flush();
    assertEquals(target.records.join(""), "0123456789".repeat(10));
    await Promise.all(puts);
  },
);

benchTest("Producer.flush() resolves although records are put all the time", THREE, async ({ target, make }) => {
  const producer = make();
  let count = 0;
  const busy: () => void = () => {
    if (count++ < 1_000) void producer.putMany(["x", "x"]);
    target.will(busy);
  };
  target.will(busy);
  await producer.put("a");
  await producer.flush();
  assert(count > 0 && count < 20, `resolved after ${count} batches`);
  await producer.close();
});

benchTest("Producer.flush() counts nothing twice that is being committed when it is called", ONE, async (bench) => {
  const { buffer, target, make } = bench;
  const answered = Promise.withResolvers<void>();
  const slow = replacing(buffer, {
    commit: (batch) => buffer.commit(batch).then(() => answered.promise),
  });
  const producer = make({ buffer: slow });
  await producer.put("a");
  await settle();
  // That is dropped, but nobody has been told yet.
  assertEquals(buffer.stats().pendingRecords, 0);
  const held = new Held();
  target.will(held.answer);
  await producer.put("b");
  const flushed = producer.flush();
  await settle();
  answered.resolve();
  assert(await isPending(flushed));
  held.take();
  await flushed;
  assertEquals(target.records, ["a", "b"]);
});

benchTest("Producer.flush() misses no record that is put while the loop finds nothing", THREE, async (bench) => {
  const { buffer, target, make } = bench;
  const answered = Promise.withResolvers<void>();
  const slow = replacing(buffer, {
    emit: (options) =>
      buffer.emit(options).catch(async (error) => {
        await answered.promise;
        throw error;
      }),
  });
  const producer = make({ buffer: slow, maxInFlight: 2 });
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  const first = producer.flush();
  await settle();
  // The loop has found nothing behind "a", and doesn't know it yet.
  await producer.put("b");
  const second = producer.flush();
  await settle();
  answered.resolve();
  await settle();
  assertEquals(target.records, ["a", "b"]);
  held.take();
  await Promise.all([first, second]);
});

benchTest(
  "Producer.flush() includes records behind others that were dropped",
  { ...NEVER_OLD, maxRecords: 2, whenFull: "drop-oldest", maxBacklogBytes: 200 },
  async ({ buffer, target, make }) => {
    const producer = make({ maxInFlight: 4 });
    const held = new Held();
    target.will(held.answer);
    await producer.putMany(["a", "b"]);
    await settle();
    // Batches are put and dropped before the loop gets its turn; what is left fills none.
    const puts = Array.from({ length: 9 }, () => producer.put("x".repeat(50)));
    await Promise.allSettled(puts);
    assert(buffer.stats().dropped > 0);
    const flushed = producer.flush();
    assert(await isPending(flushed));
    held.take();
    await flushed;
    assertEquals(buffer.stats().pendingRecords, 0);
  },
);

benchTest("Producer.flush() waits for no more than is there, when most was cleared", ONE, async (bench) => {
  const { buffer, target, make } = bench;
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(Array.from({ length: 1_000 }, () => "x"));
  const flushed = producer.flush();
  await settle();
  await buffer.clear();
  let count = 0;
  const busy: () => void = () => {
    if (count++ < 2_000) void producer.putMany(["y", "y"]);
    target.will(busy);
  };
  target.will(busy);
  await producer.putMany(["y", "y"]);
  held.take();
  await flushed;
  assert(count < 20, `resolved after ${count} batches`);
  await producer.close();
});

benchTest("Producer.flush() rejects when its signal is aborted, and the records arrive all the same", THREE, async (
  { target, make },
) => {
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  const abort = new AbortController();
  const flushed = producer.flush({ signal: abort.signal });
  const other = producer.flush();
  assert(await isPending(flushed));
  const reason = new Error("no patience");
  abort.abort(reason);
  assertStrictEquals(await assertRejects(() => flushed), reason);
  assertStrictEquals(await assertRejects(() => producer.flush({ signal: abort.signal })), reason);
  held.take();
  await other;
  assertEquals(target.records, ["a"]);
});

benchTest("Producer.flush() that is aborted has what went wrong last as its cause", THREE, async (bench) => {
  const { clock, target, make } = bench;
  const wrongUrl = new DeliveryError({ reason: "the server answered 503" });
  const producer = make({ retry: { firstDelayMs: 1_000 } });
  const aborted = async (signal: AbortSignal) => await assertRejects(() => producer.flush({ signal })) as Error;
  target.will(fails(new Error("first")), fails(wrongUrl));
  await producer.put("a");
  const slow = new AbortController();
  const flushed = producer.flush({ signal: slow.signal });
  await pass(clock, 1_000);
  slow.abort();
  // The reason of the signal itself: whoever compares it finds it the same.
  assertStrictEquals(await assertRejects(() => flushed), slow.signal.reason);
  assertStrictEquals(slow.signal.reason.cause, wrongUrl);
  assertEquals(slow.signal.reason.name, "AbortError");
  assertStrictEquals((await aborted(AbortSignal.abort())).cause, wrongUrl);
  assertStrictEquals((await aborted(AbortSignal.abort(new RangeError("late")))).cause, wrongUrl);
  // A cause of the user's own stays, and what is no error, or can't be changed, is left as it is.
  assertEquals((await aborted(AbortSignal.abort(new Error("late", { cause: "mine" })))).cause, "mine");
  assertEquals(await producer.flush({ signal: AbortSignal.abort("text") }).catch((reason) => reason), "text");
  const frozen = Object.freeze(new Error("frozen"));
  assertStrictEquals(await aborted(AbortSignal.abort(frozen)), frozen);
  assertEquals(frozen.cause, undefined);
  await pass(clock, 2_000);
  assertEquals(target.records, ["a", "a", "a"]);
});

benchTest(
  "Producer.flush() that is aborted has no cause that is over, and none that leads back to itself",
  ONE,
  async (bench) => {
    const { clock, target, make } = bench;
    const producer = make({ retry: { firstDelayMs: 1_000 } });
    target.will(fails());
    await producer.put("a");
    await pass(clock, 1_000);
    const late = new Error("late");
    target.will(fails(new DeliveryError({ reason: "aborted" }, { cause: late })));
    await assertRejects(() => producer.flush({ signal: AbortSignal.abort() }));
    const before = new Error("before");
    await producer.flush({ signal: AbortSignal.abort(before) }).catch(() => {});
    assertEquals(before.cause, undefined, "a was delivered");
    await producer.put("b");
    await settle();
    await producer.flush({ signal: AbortSignal.abort(late) }).catch(() => {});
    assertEquals(late.cause, undefined);
    await pass(clock, 1_000);
    assertEquals(target.records, ["a", "a", "b", "b"]);
  },
);

benchTest("Producer.flush() that is aborted keeps its cause when another batch is committed", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ maxInFlight: 2, retry: { firstDelayMs: 1_000 } });
  const held = [new Held(), new Held(), new Held()];
  const [first, second] = [new Error("first"), new Error("second")];
  target.will(...held.map(({ answer }) => answer));
  const causeNow = async (): Promise<unknown> => {
    const reason = new Error("no patience");
    await producer.flush({ signal: AbortSignal.abort(reason) }).catch(() => {});
    return reason.cause;
  };
  await producer.putMany(["a", "b"]);
  await settle();
  held[1].refuse(second);
  await settle();
  held[0].refuse(first);
  await settle();
  // The latest; it is over when "a" is committed.
  assertStrictEquals(await causeNow(), first);
  await pass(clock, 1_000);
  assertEquals([target.records, buffer.stats().pendingRecords], [["a", "b", "b", "a"], 1]);
  assertStrictEquals(await causeNow(), second);
  held[2].take();
  await settle();
  assertEquals([buffer.stats().pendingRecords, await causeNow()], [0, undefined]);
});

benchTest(
  "Producer.close() gives a flush that waits what went wrong last as its cause",
  ONE,
  async ({ target, make }) => {
    const away = new Error("the target is away");
    const producer = make({ retry: { firstDelayMs: 1_000 } });
    target.will(fails(away));
    await producer.put("a");
    const flushed = assertRejects(() => producer.flush(), ProducerClosedError);
    await settle();
    await producer.close();
    assertStrictEquals((await flushed).cause, away);
    const idle = make();
    target.will(hangs);
    const nothingWrong = assertRejects(() => idle.flush(), ProducerClosedError);
    await idle.close({ signal: AbortSignal.abort() });
    assertEquals(Object.hasOwn(await nothingWrong, "cause"), false);
  },
);

benchTest(
  "Producer.flush() resolves when the buffer is cleared, and the producer goes on",
  ONE,
  async ({ buffer, target, events, make }) => {
    const producer = make({ maxInFlight: 2 });
    const held = [new Held(), new Held()];
    target.will(...held.map(({ answer }) => answer));
    await producer.putMany(["a", "b", "c"]);
    const flushed = producer.flush();
    await settle();
    await buffer.clear();
    await producer.put("d");
    for (const one of held) one.take();
    await flushed;
    await producer.flush();
    assertEquals(target.records, ["a", "b", "d"]);
    assertEquals(typesOf(events).filter((type) => type === "commit-skipped").length, 2);
    assertEquals(producer.stats().committedRecords, 1);
  },
);

benchTest(
  "Producer.writable() puts, waits for space, and closes when all is delivered",
  { ...ONE, maxBacklogBytes: 60 },
  async ({ target, make }) => {
    const producer = make();
    const records = Array.from({ length: 20 }, (_, i) => `${i}`);
    const held = new Held();
    target.will(held.answer);
    const piped = ReadableStream.from(records).pipeTo(producer.writable());
    assert(await isPending(piped));
    assertEquals(target.records, ["0"]);
    held.take();
    await piped;
    assertEquals(target.records, records);
    assertEquals(producer.stats().committedRecords, 20);
    // The producer goes on.
    const writer = producer.writable().getWriter();
    await writer.write("again");
    await writer.abort(new Error("enough"));
    await producer.flush();
    assertEquals(target.records.at(-1), "again");
  },
);

benchTest("Producer sends up to maxInFlight batches at once, and commits them in order", ONE, async (bench) => {
  const { buffer, target, events, make } = bench;
  const producer = make({ maxInFlight: 3 });
  const held = Array.from({ length: 5 }, () => new Held());
  target.will(...held.map(({ answer }) => answer));
  await producer.putMany(["a", "b", "c", "d", "e"]);
  await settle();
  assertEquals(target.records, ["a", "b", "c"]);
  assertEquals(producer.stats().inFlightBatches, 3);
  held[2].take();
  held[1].take();
  await settle();
  // Both wait for the first.
  assertEquals(buffer.stats().batchesCommitted, 0);
  assertEquals(target.records, ["a", "b", "c"]);
  held[0].take();
  await settle();
  assertEquals(buffer.stats().batchesCommitted, 3);
  assertEquals(target.records, ["a", "b", "c", "d", "e"]);
  held[4].take();
  held[3].take();
  await producer.flush();
  const committed = events.filter((event) => event.type === "committed").map(({ batchId }) => batchId);
  assertEquals(committed, target.calls.map(({ batchId }) => batchId));
});

benchTest("Producer with maxInFlight lets one batch wait while others are sent", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ maxInFlight: 2, retry: { firstDelayMs: 1_000 } });
  target.will(fails());
  await producer.putMany(["a", "b", "c"]);
  await settle();
  assertEquals(target.records, ["a", "b"]);
  assertEquals(buffer.stats().batchesCommitted, 0);
  await pass(clock, 1_000);
  assertEquals(target.records, ["a", "b", "a", "c"]);
  assertEquals(buffer.stats().pendingRecords, 0);
});

benchTest("Producer hands over a batch as a delivery that is the batch", THREE, async ({ buffer, target, make }) => {
  const producer = make();
  let checked = 0;
  target.will((delivery) => {
    assertEquals(delivery.id, delivery.batchId);
    assertEquals(delivery.sequences, [1, 2]);
    assertEquals([...delivery], ["a", "bc"]);
    assertEquals(delivery.payloads.map((payload) => payload.length), [1, 2]);
    assertEquals([delivery.length, delivery.byteLength], [2, 3]);
    checked++;
  });
  await producer.putMany(["a", "bc"]);
  await producer.flush();
  assertEquals(checked, 1);
  assertEquals(buffer.stats().pendingRecords, 0);
});

benchTest("Producer halves what is too large, down to one record", { ...THREE, maxRecords: 5 }, async (bench) => {
  const { target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters });
  const tooLarge = fails(new DeliveryError({ reason: "too large", tooLarge: true, retryable: false }));
  // abcde, abc, ab, c (taken), de
  target.will(tooLarge, tooLarge, tooLarge, tooLarge);
  await producer.putMany(["a", "b", "c", "d", "e"]);
  await settle();
  assertEquals(target.records, ["abcde", "abc", "ab", "a", "b", "c", "de"]);
  const id = target.calls[0].batchId;
  const names = ["", ".1-3", ".1-2", ".1", ".2", ".3", ".4-5"];
  assertEquals(target.calls.map((call) => call.id), names.map((name) => id + name));
  assertEquals(target.calls.map(({ attempt }) => attempt), [1, 1, 1, 1, 1, 1, 1]);
  assertEquals(target.calls.map(({ redelivered }) => redelivered), [false, true, true, true, true, true, true]);
  assertEquals(producer.stats().halved, 3);
  assertEquals(events.find((event) => event.type === "halved")?.halves, [`${id}.1-3`, `${id}.4-5`]);
  assertEquals((await deadLetters.emit()).records.map(({ record }) => record), ["a"]);
  assertEquals(producer.stats().committedRecords, 5);
});

benchTest("Producer sends only those records again that failed", { ...THREE, maxRecords: 4 }, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make();
  const failed = (...indexes: number[]) =>
    fails(
      new DeliveryError({
        reason: "some",
        failed: indexes.map((index) => ({ index, retryable: true, reason: "busy" })),
      }),
    );
  target.will(failed(3, 0, 2), failed(1, 2), failed(0, 1));
  await producer.putMany(["a", "b", "c", "d"]);
  for (let i = 0; i < 4; i++) await pass(clock, 1_000);
  assertEquals(target.records, ["abcd", "acd", "cd", "cd"]);
  const id = target.calls[0].batchId;
  assertEquals(target.calls.map((call) => call.id), [id, `${id}.1+3-4`, `${id}.3-4`, `${id}.3-4`]);
  assertEquals(target.calls.map(({ attempt }) => attempt), [1, 1, 1, 2]);
  assertEquals(target.calls.map(({ sequences }) => sequences), [[1, 2, 3, 4], [1, 3, 4], [3, 4], [3, 4]]);
  assertEquals(producer.stats().deliveredRecords, 4);
  assertEquals(producer.stats().retries, 3);
});

benchTest("Producer puts aside what no retry can mend, before the batch is committed", THREE, async (bench) => {
  const { clock, buffer, target, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  target.will(fails(
    new DeliveryError({
      reason: "some",
      failed: [{ index: 0, retryable: true, reason: "busy" }, { index: 1, retryable: false, reason: "no such column" }],
    }),
  ));
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b", "c", "d", "e", "f"]);
  await pass(clock, 100);
  assertEquals(target.records, ["abc", "a"]);
  const [letter] = (await deadLetters.emit()).records;
  const batchId = target.calls[0].id;
  assertEquals(letter, {
    key: `${batchId}.2`,
    record: "b",
    payload: Uint8Array.of(0x62),
    codecVersion: 0,
    error: "no such column",
    attempts: 1,
    sequence: 2,
    batchId,
    time: clock.now() - 100,
  });
  assertEquals(buffer.stats().batchesCommitted, 0);
  held.take();
  await producer.flush();
  // The line goes on.
  assertEquals(target.records, ["abc", "a", "def"]);
  assertEquals(producer.stats().deadLetters, 1);
});

benchTest("Producer puts aside all of a delivery that is refused for good", THREE, async (bench) => {
  const { target, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  target.will(fails(new DeliveryError({ reason: "bad request", retryable: false })));
  await producer.putMany(["a", "b", "c", "d"]);
  await producer.flush();
  assertEquals(target.records, ["abc", "d"]);
  const letters = (await deadLetters.emit()).records;
  assertEquals(letters.map(({ record, error }) => [record, error]), [
    ["a", "Cannot deliver: bad request"],
    ["b", "Cannot deliver: bad request"],
    ["c", "Cannot deliver: bad request"],
  ]);
});

for (const [bound, attempts] of [[{ maxAttempts: 3 }, 3], [{ maxElapsedMs: 350 }, 4]] as const) {
  benchTest(`Producer gives up when the retries are used up: ${JSON.stringify(bound)}`, ONE, async (bench) => {
    const { clock, target, deadLetters, make } = bench;
    const producer = make({ retry: { firstDelayMs: 100, ...bound }, deadLetters });
    target.will(...Array.from({ length: attempts }, () => fails()));
    await producer.putMany(["a", "b"]);
    for (let i = 0; i < 12; i++) await pass(clock, 50);
    // After 100, 200 and, for want of time, 50 ms.
    assertEquals(target.records, [...Array.from({ length: attempts }, () => "a"), "b"]);
    const letters = (await deadLetters.emit()).records;
    assertEquals(letters.map(({ record, error, attempts }) => [record, error, attempts]), [
      ["a", "the target is away", attempts],
    ]);
  });
}

benchTest("Producer leaves the target alone for as long as it asks, and a random time more", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ retry: { firstDelayMs: 100 } });
  target.will(fails(new DeliveryError({ reason: "slow down", retryAfterMs: 60_000 })));
  await producer.put("a");
  await pass(clock, 60_099);
  assertEquals(target.calls.length, 1);
  await pass(clock, 1);
  assertEquals(target.calls.length, 2);
});

benchTest("Producer waits before it sends halves when the target asks for that", THREE, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ retry: { firstDelayMs: 0, maxAttempts: 1 } });
  target.will(fails(new DeliveryError({ reason: "too much", tooLarge: true, retryAfterMs: 1_000 })));
  await producer.putMany(["a", "b", "c"]);
  await pass(clock, 999);
  assertEquals(target.records, ["abc"]);
  await pass(clock, 1);
  assertEquals(target.records, ["abc", "ab", "c"]);
});

benchTest("Producer tells what happens, and adds it up", { ...THREE, maxRecords: 2 }, async (bench) => {
  const { clock, target, events, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  target.will(
    fails(),
    fails(new DeliveryError({ reason: "too large", tooLarge: true })),
    fails(new DeliveryError({ reason: "bad", retryable: false })),
  );
  await producer.putMany(["a", "b"]);
  await pass(clock, 100);
  await producer.close();
  assertEquals(typesOf(events), [
    ...["attempt-started", "attempt-failed", "backoff-started"],
    ...["attempt-started", "attempt-failed", "halved"],
    ...["attempt-started", "attempt-failed", "dead-lettered"],
    ...["attempt-started", "delivered", "committed", "closed"],
  ]);
  const batchId = target.calls[0].id;
  const until = clock.now();
  assertEquals(events[2], { type: "backoff-started", id: batchId, delayMs: 100, until });
  assertEquals(events[6], {
    type: "attempt-started",
    id: `${batchId}.1`,
    batchId,
    records: 1,
    attempt: 1,
    retry: false,
  });
  assertEquals(events.at(-2), { type: "committed", batchId, records: 2 });
  assertEquals(producer.stats(), {
    state: "closed",
    inFlightBatches: 0,
    attempts: 4,
    retries: 1,
    failedAttempts: 3,
    timeouts: 0,
    abandoned: 0,
    halved: 1,
    targetFaults: 0,
    blocks: 0,
    blockedSince: undefined,
    deliveredRecords: 1,
    deadLetters: 1,
    expiredRecords: 0,
    committedBatches: 1,
    committedRecords: 2,
    backoffUntil: undefined,
    lastError: { message: "Cannot deliver: bad", at: until },
  });
});

benchTest("Producer doesn't mind listeners and generators that throw or answer nonsense", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const chances = [Number.NaN, -1, 2];
  const producer = make({
    onEvent() {
      throw new Error("from the listener");
    },
    random: () => chances.shift()!,
  });
  target.will(fails(), fails(), fails());
  await producer.put("a");
  for (const delayMs of [100, 200, 400]) await pass(clock, delayMs);
  assertEquals(target.records, ["a", "a", "a", "a"]);
});

benchTest("Producer.subscribe() tells a listener until it leaves", ONE, async ({ make }) => {
  const producer = make();
  const types: string[] = [];
  const leave = producer.subscribe((event) => types.push(event.type));
  await producer.put("a");
  await producer.flush();
  assertEquals(types, ["attempt-started", "delivered", "committed"]);
  leave();
  await producer.put("b");
  await producer.flush();
  assertEquals(types.length, 3);
  assertThrows(() => producer.subscribe(null as never), TypeError, "listener must be a function, got null");
});

test("Producer goes on after a restart with the same ids, of parts as well", async () => {
  const fileSystem = new MemoryFileSystem();
  const ids: string[][] = [];
  for (let life = 0; life < 3; life++) {
    const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, ...THREE });
    if (life === 0) await buffer.putMany(["a", "b", "c"]);
    const seen: string[] = [];
    const producer = new Producer<string>({
      buffer,
      send(delivery) {
        seen.push(delivery.id);
        if (delivery.length > 1) throw new DeliveryError({ reason: "too large", tooLarge: true });
        // The record in the middle can't be delivered in the first two lives.
        if (life < 2 && delivery.records[0] === "b") throw new DeliveryError({ reason: "no", retryable: false });
      },
    });
    await producer.flush().catch(() => {});
    await producer.close();
    await buffer.close();
    ids.push(seen);
  }
  const [batchId] = ids[0];
  assertEquals(ids[0], [batchId, `${batchId}.1-2`, `${batchId}.1`, `${batchId}.2`]);
  assertEquals(ids[1], ids[0]);
  assertEquals(ids[2], [...ids[0], `${batchId}.3`]);
});

for (const whenUndeliverable of ["stop", "dead-letter", undefined] as const) {
  const name = `Producer with a buffer for dead letters and whenUndeliverable ${whenUndeliverable ?? "by default"}`;
  const stops = whenUndeliverable === "stop";
  benchTest(`${name} ${stops ? "stops" : "goes on"}`, {}, async ({ buffer, target, deadLetters, make }) => {
    const producer = make({ deadLetters, whenUndeliverable });
    target.will(fails(new DeliveryError({ reason: "no such column", retryable: false })));
    await producer.put("a");
    const flushed = producer.flush();
    if (stops) await assertRejects(() => flushed, ProducerStoppedError);
    else await flushed;
    await producer.close();
    const kept = [deadLetters, buffer].map((one) => one.stats().pendingRecords);
    assertEquals(kept, stops ? [0, 1] : [1, 0]);
  });
}

/** Options that are refused, with a part of what is said. */
const REFUSED: readonly (readonly [Record<string, unknown>, typeof TypeError | typeof RangeError, string])[] = [
  [{ buffer: undefined }, TypeError, "buffer must have a method put()"],
  [{ buffer: { put() {} } }, TypeError, "buffer must have a method putMany()"],
  [{ send: undefined }, TypeError, "send must be a function, got undefined"],
  [{ send: "url" }, TypeError, 'send must be a function, got "url"'],
  [{ maxInFlight: 0 }, RangeError, "maxInFlight must be a whole number from 1 to 16, got 0"],
  [{ maxInFlight: 17 }, RangeError, "maxInFlight must be a whole number from 1 to 16, got 17"],
  [{ maxInFlight: "2" }, TypeError, "maxInFlight must be a number"],
  [{ timeoutMs: 0 }, RangeError, "timeoutMs must be a whole number from 1 to"],
  [{ timeoutMs: 2 ** 31 }, RangeError, "timeoutMs must be"],
  [{ closeTimeoutMs: -1 }, RangeError, "closeTimeoutMs must be"],
  [{ retry: 3 }, TypeError, "retry must be an object, got 3"],
  [{ retry: { firstDelayMs: -1 } }, RangeError, "retry.firstDelayMs must be"],
  [{ retry: { maxDelayMs: 1.5 } }, RangeError, "retry.maxDelayMs must be"],
  [{ retry: { maxAttempts: 0 } }, RangeError, "retry.maxAttempts must be"],
  [{ retry: { maxElapsedMs: Number.NaN } }, RangeError, "retry.maxElapsedMs must be"],
  [{ retry: { maxRetryAfterMs: -1 } }, RangeError, "retry.maxRetryAfterMs must be a whole number from 0 to"],
  [{ retry: { attempts: 3 } }, TypeError, "unknown option retry.attempts"],
  [{ whenUndeliverable: "drop" }, TypeError, 'whenUndeliverable must be one of "stop", "dead-letter", got "drop"'],
  [{ whenUndeliverable: null }, TypeError, 'whenUndeliverable must be one of "stop", "dead-letter", got null'],
  [{ whenUndeliverable: "dead-letter" }, TypeError, 'whenUndeliverable is "dead-letter", but there is no deadLetters'],
  [{ deadLetters: "stop" }, TypeError, 'deadLetters must have a method put(), got "stop"'],
  [{ deadLetters: {} }, TypeError, "deadLetters must have a method put()"],
  [{ clock: {} }, TypeError, "clock must have a method now()"],
  [{ random: 0.5 }, TypeError, "random must be a function"],
  [{ onEvent: "log" }, TypeError, "onEvent must be a function"],
  [{ maxInflight: 2 }, TypeError, "unknown option maxInflight"],
];

test("Producer refuses wrong options, and names them", async () => {
  const buffer = await MemoryBuffer.open<string>();
  const good = { buffer, send() {} };
  for (const [wrong, type, text] of REFUSED) {
    const options = { ...good, ...wrong } as unknown as ProducerOptions<string>;
    assertThrows(() => new Producer(options), type, `Cannot make a producer: ${text}`);
  }
  const toItself = { ...good, deadLetters: buffer } as unknown as ProducerOptions<string>;
  assertThrows(() => new Producer(toItself), TypeError, "another buffer");
  assertThrows(
    () => new Producer(undefined as unknown as ProducerOptions<string>),
    TypeError,
    "options must be an object",
  );
  const events: ProducerEvent[] = [];
  const producer = new Producer({ ...good, retry: { maxAttempts: Infinity }, onEvent: (event) => events.push(event) });
  await producer[Symbol.asyncDispose]();
  assertEquals([producer.stats().state, typesOf(events)], ["closed", ["closed"]]);
  await buffer.close();
});
