/**
 * What `RecordBuffer` promises, as tests that every implementation has to pass: `record_buffer_test.ts` runs them.
 */

import { test } from "node:test";
import { clearImmediate, setImmediate } from "node:timers";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  type BufferOptions,
  bytesCodec,
  type Codec,
  CodecError,
  jsonCodec,
  RecordTooLargeError,
  textCodec,
} from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { isPending } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import { testExpiry } from "./expiry_conformance.ts";
import { testFullBuffer } from "./full_conformance.ts";
import { testInFlight } from "./in_flight_conformance.ts";
import { testRedelivery } from "./redelivery_conformance.ts";
import { contentOf, type Subject, type Suite, suiteOf, use } from "./subject.ts";

/** Runs every test against `subject`. */
export function testRecordBuffer(subject: Subject): void {
  const suite = suiteOf(subject);
  testPut(suite, subject);
  testPutMany(suite);
  testTurns(suite);
  testShouldEmit(suite);
  testEmit(suite);
  testCommit(suite, subject);
  testBatches(suite);
  testClear(suite, subject);
  testClose(suite, subject);
  testStats(suite, subject);
  testBatch(suite, subject);
  testFullBuffer(suite, subject);
  testInFlight(suite, subject);
  testRedelivery(suite);
  testExpiry(suite, subject);
}

function testPut(suite: Suite, subject: Subject): void {
  suite.text("put() numbers records from 1 in call order when called concurrently", {}, async ({ buffer }) => {
    assertEquals(await Promise.all([buffer.put("a"), buffer.put("b"), buffer.put("c")]), [1, 2, 3]);
    assertEquals(await buffer.put("d"), 4);
    assertEquals(await Promise.all([buffer.put("e"), buffer.putMany(["f", "g"]), buffer.put("h")]), [
      5,
      { first: 6, last: 7 },
      8,
    ]);
    assertEquals((await buffer.emit()).records, ["a", "b", "c", "d", "e", "f", "g", "h"]);
  });

  suite.json("put() encodes at the call when the record changes later", {}, async ({ buffer }) => {
    const record = { n: 1, list: [1] };
    const first = buffer.put(record);
    record.n = 2;
    record.list.push(2);
    const second = buffer.put(record);
    record.n = 3;
    await Promise.all([first, second]);
    assertEquals((await buffer.emit()).records, [{ n: 1, list: [1] }, { n: 2, list: [1, 2] }]);
  });

  test(`${subject.name}.put() takes the bytes over when the codec reuses them`, async () => {
    const shared = new Uint8Array(1);
    const codec: Codec<number> = {
      encode(record) {
        shared[0] = record;
        return shared;
      },
      decode: (payload) => payload[0],
    };
    await use(subject, { codec }, async ({ buffer }) => {
      await Promise.all([buffer.put(1), buffer.put(2), buffer.putMany([3, 4])]);
      shared[0] = 9;
      assertEquals((await buffer.emit()).records, [1, 2, 3, 4]);
    });
  });

  test(`${subject.name}.put() brings back payloads of every kind`, async () => {
    const records = [0, 1, 2, 255, 4096, 65_536, 100_000, 300_000].map((length) =>
      Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 0xff)
    );
    for (const encodeInto of [true, false]) {
      const { encode, decode, encodeInto: into } = bytesCodec();
      await use(subject, { codec: encodeInto ? { encode, decode, encodeInto: into! } : { encode, decode } }, async (
        { buffer },
      ) => {
        await Promise.all(records.map((record) => buffer.put(record)));
        await buffer.putMany(records);
        assertEquals(await drain(buffer), [...records, ...records]);
      });
    }
  });

  suite.json(
    "put() rejects with CodecError and leaves no gap when a record can't be encoded",
    {},
    async ({ buffer }) => {
      const cycle: unknown[] = [];
      cycle.push(cycle);
      await buffer.put("first");
      const bad = [undefined, () => 1, Symbol("s"), 1n, Number.NaN, cycle, { n: 1n }, { list: [undefined] }, new Map()];
      for (const record of bad) {
        const error = await assertRejects(() => buffer.put(record), CodecError);
        assertEquals([error.code, error.operation, error.index, error.sequence], [
          "CODEC",
          "encode",
          undefined,
          undefined,
        ]);
        assertInstanceOf(error.cause, TypeError);
      }
      assertEquals(await buffer.put("second"), 2);
      assertEquals((await buffer.emit()).records, ["first", "second"]);
      assertEquals(buffer.stats().rejected, bad.length);
    },
  );

  test(`${subject.name}.put() rejects with CodecError when the codec returns no bytes`, async () => {
    // deno-lint-ignore no-explicit-any
    const codec: Codec<any> = { encode: (record) => record, decode: (payload) => new Uint8Array(payload) };
    await use(subject, { codec }, async ({ buffer }) => {
      for (const record of ["text", undefined, [1], new ArrayBuffer(2)]) {
        await assertRejects(() => buffer.put(record), CodecError);
      }
      assertEquals(await buffer.put(Uint8Array.of(7)), 1);
      assertEquals((await buffer.emit()).records, [Uint8Array.of(7)]);
    });
  });

  for (const limit of [{ maxBytes: 10 }, { maxRecordBytes: 10 }, { maxBytes: 10, maxRecordBytes: 20 }]) {
    const title = `put() rejects with RecordTooLargeError when a payload is longer than ${JSON.stringify(limit)}`;
    suite.text(title, limit, async ({ buffer }) => {
      assertEquals(await buffer.put("0123456789"), 1);
      const error = await assertRejects(() => buffer.put("0123456789x"), RecordTooLargeError);
      assertEquals([error.code, error.payloadBytes, error.limitBytes, error.index], [
        "RECORD_TOO_LARGE",
        11,
        10,
        undefined,
      ]);
      assertEquals(await buffer.put("ok"), 2);
      assertEquals(await drain(buffer), ["0123456789", "ok"]);
      assertEquals(buffer.stats().rejected, 1);
    });
  }

  suite.text("put() rejects with the signal's reason when it is aborted already", {}, async ({ buffer }) => {
    const reason = new Error("given up");
    const signal = AbortSignal.abort(reason);
    assertStrictEquals(await assertRejects(() => buffer.put("a", { signal })), reason);
    assertStrictEquals(await assertRejects(() => buffer.putMany(["a"], { signal })), reason);
    assertEquals(await buffer.put("b", { signal: new AbortController().signal }), 1);
    assertEquals(await drain(buffer), ["b"]);
  });

  for (const fails of [true, false]) {
    const outcome = fails ? "fails" : "succeeds";
    suite.json(`put() keeps what it acknowledged when a record puts another while it ${outcome}`, {}, async (
      { buffer },
    ) => {
      const acknowledged: [number, unknown][] = [];
      const note = async (record: unknown, name: unknown): Promise<void> => {
        try {
          acknowledged.push([await buffer.put(record), name]);
        } catch (error) {
          assertInstanceOf(error, name === "inner" ? TypeError : CodecError);
        }
      };
      const inner: Promise<void>[] = [];
      const nested = {
        toJSON() {
          inner.push(note("inner", "inner"));
          if (fails) throw new Error("not encodable");
          return "outer";
        },
      };
      await note("before", "before");
      await note(nested, "outer");
      const many = buffer.putMany(["left", nested]).catch((error) => assertInstanceOf(error, CodecError));
      const range = await many;
      await Promise.all(inner);
      if (range) acknowledged.push([range.first, "left"], [range.last, "outer"]);
      await note("behind", "behind");
      acknowledged.sort(([a], [b]) => a - b);
      assertEquals(acknowledged.map(([sequence]) => sequence), acknowledged.map((_, i) => i + 1));
      assertEquals(await drain(buffer), acknowledged.map(([, name]) => name));
    });
  }

  for (const method of ["flush", "emit", "clear", "stats"] as const) {
    suite.json(`put() does its work when a record calls ${method}() while it is encoded`, {}, async ({ buffer }) => {
      const inner: Promise<unknown>[] = [];
      const meddling = {
        toJSON() {
          // Settled here: a put may take longer than a rejection can stay unhandled.
          inner.push(Promise.allSettled([buffer[method]()]));
          return "b";
        },
      };
      const puts = [buffer.put("a"), buffer.put(meddling), buffer.put("c")];
      assertEquals(await Promise.all(puts), [1, 2, 3]);
      await Promise.all(inner);
      assertEquals((await drain(buffer)).slice(-2), ["b", "c"]);
    });
  }
}

/** Counts how often the event loop goes round. */
function countTurns(): { readonly turns: number; stop(): void } {
  const turn = (): void => {
    counter.turns++;
    next = setImmediate(turn);
  };
  let next = setImmediate(turn);
  const counter = { turns: 0, stop: () => clearImmediate(next) };
  return counter;
}

/** A loop of awaits that never leaves the microtasks would keep timers, signals and syncs of the whole process waiting. */
function testTurns(suite: Suite): void {
  suite.text("put() lets the event loop turn when a producer does nothing but await puts", {}, async ({ buffer }) => {
    const loop = countTurns();
    let puts = 0;
    while (puts < 20_000 && loop.turns < 3) puts = await buffer.put("a");
    loop.stop();
    assert(loop.turns >= 3, `${puts} puts, ${loop.turns} turns`);
    await buffer.clear();
  });

  suite.text("put() acknowledges in call order when there are many", {}, async ({ buffer }) => {
    const order: number[] = [];
    const puts: Promise<unknown>[] = [];
    for (let i = 0; i < 1200; i++) {
      puts.push(buffer.put("a").then((sequence) => order.push(sequence)));
      if (i % 2 === 0) await Promise.resolve();
    }
    await Promise.all(puts);
    assertEquals(order, Array.from({ length: 1200 }, (_, i) => i + 1));
  });

  suite.text(
    "close() has finished every put when it resolves, also one that waits for the loop",
    {},
    async ({ buffer }) => {
      let isDone = true;
      for (let i = 0; i < 2000 && isDone; i++) {
        isDone = false;
        void buffer.put("a").then(() => isDone = true);
        for (let j = 0; j < 100 && !isDone; j++) await Promise.resolve();
      }
      await buffer.close();
      assert(isDone);
    },
  );

  suite.text("emit() and commit() let the event loop turn when a consumer does nothing else", { maxRecords: 1 }, async (
    { buffer },
  ) => {
    await buffer.putMany(Array.from({ length: 20_000 }, () => "a"));
    const loop = countTurns();
    let batches = 0;
    while (batches < 20_000 && loop.turns < 3) {
      await buffer.commit(await buffer.emit());
      batches++;
    }
    loop.stop();
    assert(loop.turns >= 3, `${batches} batches, ${loop.turns} turns`);
    await buffer.clear();
  });
}

function testPutMany(suite: Suite): void {
  suite.json("putMany() accepts none when one record can't be encoded", {}, async ({ buffer }) => {
    await buffer.put("a");
    for (const [bad, index] of [[[undefined, 1], 0], [[1, undefined, 2], 1], [[1, 2, , 3], 2]] as const) {
      const error = await assertRejects(() => buffer.putMany(bad), CodecError);
      assertEquals([error.operation, error.index], ["encode", index]);
    }
    assertEquals(await buffer.putMany(["b", "c"]), { first: 2, last: 3 });
    assertEquals(await drain(buffer), ["a", "b", "c"]);
    assertEquals(buffer.stats().rejected, 3);
  });

  suite.text("putMany() accepts none when one record is too large", { maxBytes: 10 }, async ({ buffer }) => {
    const before = buffer.put("a");
    const error = await assertRejects(() => buffer.putMany(["b", "0123456789x", "c"]), RecordTooLargeError);
    assertEquals([error.payloadBytes, error.limitBytes, error.index], [11, 10, 1]);
    assertEquals(await before, 1);
    assertEquals(await buffer.put("d"), 2);
    assertEquals(await drain(buffer), ["a", "d"]);
  });

  suite.text("putMany() rejects with RangeError when the array is empty", {}, async ({ buffer }) => {
    await assertRejects(() => buffer.putMany([]), RangeError);
    assertEquals(await buffer.put("a"), 1);
  });

  suite.text("putMany() rejects with TypeError when it isn't given an array", {}, async ({ buffer }) => {
    for (const wrong of ["text", new Set(["a"]), undefined, null, { length: 1, 0: "a" }]) {
      await assertRejects(() => buffer.putMany(wrong as unknown as string[]), TypeError);
    }
    assertEquals(await buffer.put("a"), 1);
  });

  suite.json(
    "putMany() doesn't see what happens to the array and its records after the call",
    {},
    async ({ buffer }) => {
      const records = [{ n: 1 }, { n: 2 }, { n: 3 }];
      const accepted = buffer.putMany(records);
      records[0].n = 9;
      records.length = 1;
      assertEquals(await accepted, { first: 1, last: 3 });
      assertEquals((await buffer.emit()).records, [{ n: 1 }, { n: 2 }, { n: 3 }]);
    },
  );

  suite.text("putMany() keeps the order when it is larger than a write", { maxRecords: 700 }, async ({ buffer }) => {
    const records = Array.from({ length: 3000 }, (_, i) => `${i} `.repeat(20));
    const before = buffer.put("before");
    assertEquals(await buffer.putMany(records), { first: 2, last: 3001 });
    assertEquals(await before, 1);
    await buffer.put("behind");
    assertEquals(await drain(buffer), ["before", ...records, "behind"]);
  });
}

function testShouldEmit(suite: Suite): void {
  suite.text("shouldEmit() is true from maxRecords records on", { maxRecords: 3 }, async ({ buffer }) => {
    assertFalse(buffer.shouldEmit());
    await buffer.putMany(["a", "b"]);
    assertFalse(buffer.shouldEmit());
    await buffer.put("c");
    assert(buffer.shouldEmit());
  });

  suite.text("shouldEmit() is true from maxBytes payload bytes on", { maxBytes: 10 }, async ({ buffer }) => {
    await buffer.putMany(["0123", "45678"]);
    assertFalse(buffer.shouldEmit());
    await buffer.put("9");
    assert(buffer.shouldEmit());
  });

  suite.text("shouldEmit() is true when the next record no longer fits", { maxBytes: 10 }, async ({ buffer }) => {
    await buffer.put("0123456");
    assertFalse(buffer.shouldEmit());
    await buffer.put("7890");
    assert(buffer.shouldEmit());
    await buffer.commit(await buffer.emit());
    assertFalse(buffer.shouldEmit());
  });

  suite.text(
    "shouldEmit() is true when the first record is maxAgeMs old",
    { maxAgeMs: 50 },
    async ({ buffer, clock }) => {
      clock.advance(1000);
      assertFalse(buffer.shouldEmit());
      await buffer.put("a");
      clock.advance(30);
      await buffer.put("b");
      clock.advance(19);
      assertFalse(buffer.shouldEmit());
      clock.advance(1);
      assert(buffer.shouldEmit());
    },
  );

  suite.text("shouldEmit() is true at once when maxAgeMs is 0", { maxAgeMs: 0 }, async ({ buffer }) => {
    assertFalse(buffer.shouldEmit());
    await buffer.put("a");
    assert(buffer.shouldEmit());
  });

  suite.text("shouldEmit() doesn't care when the wall clock is set", { maxAgeMs: 50 }, async ({ buffer, clock }) => {
    const wall = clock.now();
    await buffer.put("a");
    clock.setWall(wall + 86_400_000);
    assertFalse(buffer.shouldEmit());
    clock.setWall(wall - 3_600_000);
    await buffer.put("b");
    clock.advance(49);
    assertFalse(buffer.shouldEmit());
    clock.advance(1);
    assert(buffer.shouldEmit());
    await buffer.commit(await buffer.emit());
    assertFalse(buffer.shouldEmit());
  });

  suite.text("shouldEmit() is true while a batch is in flight", {}, async ({ buffer }) => {
    await buffer.put("a");
    assertFalse(buffer.shouldEmit());
    await buffer.emit();
    assert(buffer.shouldEmit());
    await buffer.commit();
    assertFalse(buffer.shouldEmit());
  });

  suite.text("shouldEmit() counts the age from the first record behind the batch in flight", { maxAgeMs: 50 }, async (
    { buffer, clock },
  ) => {
    await buffer.put("a");
    clock.advance(40);
    await buffer.emit();
    await buffer.put("b");
    clock.advance(5);
    await buffer.put("c");
    clock.advance(10);
    await buffer.commit();
    clock.advance(34);
    assertFalse(buffer.shouldEmit());
    clock.advance(1);
    assert(buffer.shouldEmit());
  });

  suite.text("shouldEmit() counts the age of what a full batch leaves over", { maxAgeMs: 50, maxRecords: 2 }, async (
    { buffer, clock },
  ) => {
    await buffer.putMany(["a", "b"]);
    clock.advance(20);
    await buffer.put("c");
    clock.advance(20);
    await buffer.commit(await buffer.emit());
    assertFalse(buffer.shouldEmit());
    clock.advance(29);
    assertFalse(buffer.shouldEmit());
    clock.advance(1);
    assert(buffer.shouldEmit());
  });
}

function testEmit(suite: Suite): void {
  suite.text("emit() gives full batches in order, then the rest", { maxRecords: 2 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b", "c", "d", "e"]);
    const seen = [];
    while (buffer.stats().pendingRecords > 0) {
      const batch = await buffer.emit();
      seen.push(contentOf(batch));
      await buffer.commit(batch);
    }
    assertEquals(seen, [
      { first: 1, last: 2, records: ["a", "b"] },
      { first: 3, last: 4, records: ["c", "d"] },
      { first: 5, last: 5, records: ["e"] },
    ]);
  });

  suite.text("emit() never exceeds maxBytes and leaves no room unused", { maxBytes: 10 }, async ({ buffer }) => {
    const lengths = [3, 3, 4, 1, 10, 9, 2, 0, 8, 0, 10, 5, 5, 1];
    await Promise.all(lengths.map((length) => buffer.put("x".repeat(length))));
    const batches: number[][] = [];
    for await (const batch of buffer.batches({ flush: true })) {
      assertEquals(batch.byteLength, batch.records.join("").length);
      batches.push(batch.records.map((record) => record.length));
      await buffer.commit(batch);
    }
    assertEquals(batches, [[3, 3, 4], [1], [10], [9], [2, 0, 8, 0], [10], [5, 5], [1]]);
  });

  suite.text("emit() rejects with BufferEmptyError when nothing is left", {}, async ({ buffer }) => {
    const error = await assertRejects(() => buffer.emit(), BufferEmptyError);
    assertEquals(error.code, "BUFFER_EMPTY");
    await buffer.put("a");
    await buffer.commit(await buffer.emit());
    await assertRejects(() => buffer.emit(), BufferEmptyError);
    await buffer.put("b");
    assertEquals((await buffer.emit()).records, ["b"]);
  });

  suite.text("emit() gives the same batch until it is committed", { maxRecords: 3 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b"]);
    const batch = await buffer.emit();
    assertFalse(batch.redelivered);
    await buffer.putMany(["c", "d"]);
    for (let i = 0; i < 2; i++) {
      const again = await buffer.emit();
      assertEquals(again.id, batch.id);
      assertEquals(contentOf(again), { first: 1, last: 2, records: ["a", "b"] });
      assert(again.redelivered);
    }
    await buffer.commit(batch);
    const next = await buffer.emit();
    assertEquals(contentOf(next), { first: 3, last: 4, records: ["c", "d"] });
    assertFalse(next.redelivered);
    assertNotEquals(next.id, batch.id);
  });

  suite.text("emit() gives one batch when called concurrently", { maxRecords: 2 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b", "c"]);
    const batches = await Promise.all([buffer.emit(), buffer.emit(), buffer.emit()]);
    assertEquals(new Set(batches.map(({ id }) => id)).size, 1);
    assertEquals(batches.map(({ redelivered }) => redelivered), [false, true, true]);
    assertEquals(buffer.stats().inFlightRecords, 2);
  });

  suite.text("emit() takes what was put before the call and nothing that was put after", {}, async ({ buffer }) => {
    const puts = [buffer.put("a"), buffer.putMany(["b", "c"])];
    const emitted = buffer.emit();
    puts.push(buffer.put("d"));
    assertEquals((await emitted).records, ["a", "b", "c"]);
    await Promise.all(puts);
    await buffer.commit();
    assertEquals((await buffer.emit()).records, ["d"]);
  });

  suite.text(
    "emit() gives ids made of a uuid, a checksum if it is needed, and the sequences",
    { maxRecords: 2 },
    async ({ buffer }) => {
      await buffer.putMany(["a", "b", "c"]);
      const first = await buffer.emit();
      await buffer.commit();
      const second = await buffer.emit();
      const uuid = first.id.slice(0, 36);
      assertMatch(uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      assertMatch(first.id.slice(36), /^(-[0-9a-f]{8})?-1-2$/);
      assertMatch(second.id.slice(36), /^(-[0-9a-f]{8})?-3-3$/);
      assertEquals(second.id.slice(0, 36), uuid);
    },
  );
}

function testCommit(suite: Suite, subject: Subject): void {
  suite.text("commit() drops exactly the batch in flight", { maxRecords: 2 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b", "c", "d"]);
    await buffer.commit(await buffer.emit());
    assertEquals(buffer.stats().pendingRecords, 2);
    await buffer.emit();
    await buffer.put("e");
    await buffer.commit();
    assertEquals(await drain(buffer), ["e"]);
  });

  suite.text(
    "commit() rejects with BatchMismatchError when the batch is stale",
    { maxRecords: 1 },
    async ({ buffer }) => {
      await buffer.putMany(["a", "b"]);
      const stale = await buffer.emit();
      await buffer.commit(stale);
      const twice = await assertRejects(() => buffer.commit(stale), BatchMismatchError);
      assertEquals([twice.code, twice.actual, twice.expected], ["BATCH_MISMATCH", stale.id, undefined]);
      const current = await buffer.emit();
      const error = await assertRejects(() => buffer.commit(stale), BatchMismatchError);
      assertEquals([error.actual, error.expected], [stale.id, current.id]);
      await buffer.commit(current);
      assertEquals(buffer.stats().batchesCommitted, 2);
    },
  );

  suite.text("commit() rejects with BatchMismatchError when no batch was emitted", {}, async ({ buffer }) => {
    await buffer.put("a");
    const error = await assertRejects(() => buffer.commit(), BatchMismatchError);
    assertEquals([error.actual, error.expected], [undefined, undefined]);
    assertEquals(await drain(buffer), ["a"]);
  });

  suite.text("commit() rejects with BatchMismatchError when the batch is another buffer's", {}, async ({ buffer }) => {
    await use(subject, { codec: textCodec() }, async ({ buffer: other }) => {
      await Promise.all([buffer.put("ours"), other.put("theirs")]);
      const [ours, theirs] = await Promise.all([buffer.emit(), other.emit()]);
      const error = await assertRejects(() => buffer.commit(theirs), BatchMismatchError);
      assertEquals([error.actual, error.expected], [theirs.id, ours.id]);
      assertEquals([buffer.stats().pendingRecords, other.stats().pendingRecords], [1, 1]);
      await buffer.commit(ours);
      await other.commit(theirs);
    });
  });

  suite.text("commit() takes any object of the same batch", {}, async ({ buffer }) => {
    await buffer.put("a");
    const first = await buffer.emit();
    const again = await buffer.emit();
    assertNotEquals(again.redelivered, first.redelivered);
    await buffer.commit(first);
    await assertRejects(() => buffer.commit(again), BatchMismatchError);
  });

  suite.text("commit() takes its turn when nothing is awaited", { maxRecords: 1 }, async ({ buffer }) => {
    void buffer.putMany(["a", "b", "c"]);
    const emitted = [buffer.emit()];
    const commits = [buffer.commit()];
    emitted.push(buffer.emit());
    commits.push(buffer.commit());
    const refused = assertRejects(() => buffer.commit(), BatchMismatchError);
    assertEquals((await Promise.all(emitted)).map(({ records }) => records), [["a"], ["b"]]);
    await Promise.all([...commits, refused]);
    assertEquals(await drain(buffer), ["c"]);
  });
}

function testBatches(suite: Suite): void {
  suite.text("batches() yields due batches and waits for more", { maxRecords: 2 }, async ({ buffer }) => {
    const batches = buffer.batches();
    await buffer.putMany(["a", "b", "c", "d", "e"]);
    for (const records of [["a", "b"], ["c", "d"]]) {
      const { value } = await batches.next();
      assertEquals(value.records, records);
      await buffer.commit(value);
    }
    const next = batches.next();
    assert(await isPending(next));
    await buffer.put("f");
    assertEquals((await next).value.records, ["e", "f"]);
    await batches.return!();
  });

  suite.text("batches() wakes when the first record is maxAgeMs old", { maxAgeMs: 50 }, async ({ buffer, clock }) => {
    const batches = buffer.batches();
    const next = batches.next();
    assert(await isPending(next));
    await buffer.put("a");
    clock.advance(30);
    await buffer.put("b");
    clock.advance(19);
    assert(await isPending(next));
    // The process has to stay alive for it.
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), [{ delayMs: 1, keepAlive: true }]);
    clock.advance(1);
    assertEquals((await next).value.records, ["a", "b"]);
    await buffer.commit();
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
    await batches.return!();
  });

  suite.text("batches() yields a lone record as often as one comes", { maxAgeMs: 50 }, async ({ buffer, clock }) => {
    const batches = buffer.batches();
    for (const record of ["a", "b", "c"]) {
      const next = batches.next();
      await buffer.put(record);
      clock.advance(49);
      assert(await isPending(next));
      clock.advance(1);
      assertEquals((await next).value.records, [record]);
      await buffer.commit();
    }
    await batches.return!();
  });

  suite.text("batches() takes the rest and ends when flush is set", { maxRecords: 2 }, async ({ buffer }) => {
    void buffer.putMany(["a", "b", "c"]);
    const seen: (readonly string[])[] = [];
    for await (const batch of buffer.batches({ flush: true })) {
      seen.push(batch.records);
      await buffer.commit(batch);
    }
    assertEquals(seen, [["a", "b"], ["c"]]);
    assertEquals(await buffer.batches({ flush: true }).next(), { value: undefined, done: true });
  });

  suite.text("batches() takes what is put during the loop when flush is set", { maxRecords: 2 }, async ({ buffer }) => {
    await buffer.put("a");
    const seen: string[] = [];
    for await (const batch of buffer.batches({ flush: true })) {
      seen.push(...batch);
      if (seen.length < 5) void buffer.put(`after ${batch.lastSequence}`);
      await buffer.commit(batch);
    }
    assertEquals(seen, ["a", "after 1", "after 2", "after 3", "after 4"]);
  });

  suite.text("batches() yields a batch again when it wasn't committed", { maxRecords: 1 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b"]);
    const seen: [string, boolean][] = [];
    for await (const batch of buffer.batches({ flush: true, redelivery: { firstDelayMs: 0 } })) {
      seen.push([batch.records[0], batch.redelivered]);
      if (seen.length % 2 === 0) await buffer.commit(batch);
    }
    assertEquals(seen, [["a", false], ["a", true], ["b", false], ["b", true]]);
  });

  suite.text("batches() goes on where it was left when a loop ends early", { maxRecords: 1 }, async ({ buffer }) => {
    await buffer.putMany(["a", "b", "c"]);
    for await (const batch of buffer.batches()) {
      assertEquals(batch.records, ["a"]);
      await buffer.commit(batch);
      break;
    }
    for await (const batch of buffer.batches()) {
      assertEquals([batch.records, batch.redelivered], [["b"], false]);
      break;
    }
    await assertRejects(async () => {
      for await (const batch of buffer.batches()) {
        assertEquals([batch.records, batch.redelivered], [["b"], true]);
        throw new Error("the target is down");
      }
    }, "the target is down");
    assertEquals(await drain(buffer), ["b", "c"]);
  });

  suite.text("batches() rejects with the signal's reason when it is aborted", { maxRecords: 2 }, async (
    { buffer, clock },
  ) => {
    const reason = new Error("enough");
    await buffer.putMany(["a", "b"]);
    const before = buffer.batches({ signal: AbortSignal.abort(reason) }).next();
    assertStrictEquals(await assertRejects(() => before), reason);
    assertEquals(buffer.stats().inFlightRecords, 0);

    await buffer.put("c");
    const controller = new AbortController();
    const batches = buffer.batches({ signal: controller.signal });
    await buffer.commit((await batches.next()).value);
    const waiting = batches.next();
    assert(await isPending(waiting));
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => waiting), reason);
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
    assertEquals(await drain(buffer), ["c"]);
  });

  suite.text("batches() ends when the buffer is closed", {}, async ({ buffer, clock }) => {
    const empty = buffer.batches().next();
    assert(await isPending(empty));
    await buffer.put("a");
    const young = buffer.batches().next();
    assert(await isPending(Promise.race([empty, young])));
    await buffer.close();
    const end = { value: undefined, done: true } as const;
    assertEquals(await empty, end);
    assertEquals(await young, end);
    assertEquals(await buffer.batches().next(), end);
    assertEquals(await buffer.batches({ flush: true }).next(), end);
    assertEquals(clock.timers, []);
  });

  suite.text(
    "batches() loses nothing and keeps the order when puts come meanwhile",
    { maxRecords: 7, maxAgeMs: 0 },
    async (
      { buffer },
    ) => {
      const total = 300;
      const produce = async (): Promise<void> => {
        for (let n = 1; n <= total; n++) {
          const put = buffer.put(String(n));
          if (n % 3 === 0) await put;
        }
      };
      const producing = produce();
      const seen: string[] = [];
      for await (const batch of buffer.batches()) {
        assertEquals(batch.firstSequence, seen.length + 1);
        seen.push(...batch);
        await buffer.commit(batch);
        if (seen.length === total) break;
      }
      await producing;
      assertEquals(seen, Array.from({ length: total }, (_, i) => String(i + 1)));
    },
  );
}

function testClear(suite: Suite, subject: Subject): void {
  suite.text(
    "clear() drops every record, in flight or not, and sequences go on",
    { maxRecords: 2 },
    async ({ buffer }) => {
      await buffer.putMany(["a", "b", "c"]);
      const batch = await buffer.emit();
      await buffer.clear();
      const { pendingRecords, pendingBytes, inFlightRecords, backlogBytes, oldestAgeMs, dropped } = buffer.stats();
      assertEquals([pendingRecords, pendingBytes, inFlightRecords, backlogBytes, oldestAgeMs, dropped], [
        0,
        0,
        0,
        0,
        0,
        0,
      ]);
      assertFalse(buffer.shouldEmit());
      await assertRejects(() => buffer.emit(), BufferEmptyError);
      const error = await assertRejects(() => buffer.commit(batch), BatchMismatchError);
      assertEquals([error.actual, error.expected], [batch.id, undefined]);
      assertEquals(await buffer.put("d"), 4);
      assertEquals(contentOf(await buffer.emit()), { first: 4, last: 4, records: ["d"] });
    },
  );

  suite.text("clear() drops what was put before the call and nothing that was put after", {}, async ({ buffer }) => {
    const puts = [buffer.put("a")];
    const cleared = buffer.clear();
    puts.push(buffer.put("b"));
    await cleared;
    assertEquals(await Promise.all(puts), [1, 2]);
    assertEquals(buffer.stats().pendingRecords, 1);
    assertEquals(await drain(buffer), ["b"]);
  });

  suite.text("clear() does nothing when the buffer is empty", {}, async ({ buffer }) => {
    await buffer.clear();
    await buffer.clear();
    assertEquals(await buffer.put("a"), 1);
  });

  suite.text("clear() restarts the age", { maxAgeMs: 50 }, async ({ buffer, clock }) => {
    await buffer.put("a");
    clock.advance(40);
    await buffer.clear();
    await buffer.put("b");
    clock.advance(49);
    assertFalse(buffer.shouldEmit());
    clock.advance(1);
    assert(buffer.shouldEmit());
  });

  // With much behind the clear, everything that an implementation keeps has been let go of once.
  test(`${subject.name}.clear() works in every state of a long life`, async () => {
    await use(subject, { codec: textCodec(), maxRecords: 1000 }, async ({ buffer }) => {
      let sequence = 0;
      for (let round = 0; round < 5; round++) {
        const records = Array.from({ length: 1500 }, (_, i) => `${round} ${i}`);
        assertEquals(await buffer.putMany(records), { first: sequence + 1, last: sequence + 1500 });
        sequence += 1500;
        assertEquals((await buffer.emit()).records, records.slice(0, 1000));
        if (round % 2 === 0) await buffer.commit();
        await buffer.clear();
      }
      assertEquals(await buffer.put("last"), sequence + 1);
      assertEquals(await drain(buffer), ["last"]);
    });
  });
}

function testClose(suite: Suite, subject: Subject): void {
  suite.text("close() finishes pending puts, and may be called again", {}, async ({ buffer }) => {
    const puts = [buffer.put("a"), buffer.put("b")];
    const closed = [buffer.close(), buffer.close()];
    assertEquals(await Promise.all(puts), [1, 2]);
    await Promise.all(closed);
    await buffer.close();
    await buffer[Symbol.asyncDispose]();
    assertEquals(buffer.stats().puts, 2);
  });

  suite.text("close() makes every later call reject with BufferClosedError", {}, async ({ buffer }) => {
    await buffer.put("a");
    const batch = await buffer.emit();
    const closed = buffer.close();
    for (const when of ["while it closes", "afterwards"]) {
      const calls: Record<string, () => Promise<unknown>> = {
        put: () => buffer.put("b"),
        putMany: () => buffer.putMany(["b"]),
        emit: () => buffer.emit(),
        commit: () => buffer.commit(batch),
        flush: () => buffer.flush(),
        clear: () => buffer.clear(),
        writable: () => buffer.writable().getWriter().write("b"),
      };
      for (const [name, call] of Object.entries(calls)) {
        const error = await assertRejects(call, BufferClosedError, "", `${name} ${when}`);
        assertEquals(error.code, "BUFFER_CLOSED", name);
      }
      assertFalse(buffer.shouldEmit());
      assertEquals(buffer.stats().pendingRecords, 1);
      await closed;
    }
    assertEquals(batch.records, ["a"], "a batch outlives its buffer");
  });

  suite.text("close() waits for what was called before it", {}, async ({ buffer }) => {
    void buffer.put("a");
    const emitted = buffer.emit();
    const committed = buffer.commit();
    const flushed = buffer.flush();
    await buffer.close();
    assertEquals((await emitted).records, ["a"]);
    await Promise.all([committed, flushed]);
    assertEquals(buffer.stats().batchesCommitted, 1);
  });

  test(`${subject.name}[Symbol.asyncDispose]() closes`, async () => {
    const place = subject.setUp();
    const clock = new ManualClock();
    const buffer = await place.open<string>({ codec: textCodec(), clock });
    const put = buffer.put("a");
    await buffer[Symbol.asyncDispose]();
    assertEquals(await put, 1);
    await assertRejects(() => buffer.put("b"), BufferClosedError);
    assertEquals(clock.timers, []);
    place.tearDown();
  });

  suite.text("flush() resolves when there is nothing to do, and after puts", {}, async ({ buffer }) => {
    await buffer.flush();
    const put = buffer.put("a");
    await Promise.all([buffer.flush(), buffer.flush()]);
    assertEquals(await put, 1);
    await buffer.flush();
  });
}

function testStats(suite: Suite, subject: Subject): void {
  const { alone, shared } = subject.overheadBytes;

  suite.text("stats() is all zeros when the buffer is new", {}, async ({ buffer, clock }) => {
    assertEquals(buffer.stats(), {
      pendingRecords: 0,
      pendingBytes: 0,
      backlogBytes: 0,
      maxBacklogBytes: 2 ** 30,
      inFlightRecords: 0,
      oldestAgeMs: 0,
      segments: 0,
      diskBytes: 0,
      lastSequence: 0,
      puts: 0,
      batchesEmitted: 0,
      batchesCommitted: 0,
      batchesRedelivered: 0,
      syncs: 0,
      syncMs: 0,
      rejected: 0,
      dropped: 0,
      expired: 0,
      quarantinedBytes: 0,
      lastProgressAt: clock.now(),
    });
    const { durationMs, ...recovery } = buffer.recovery;
    assertEquals(recovery, { recoveredRecords: 0, truncatedBytes: 0, damaged: [], cursorLost: false });
    assertEquals(durationMs, 0);
    await Promise.resolve();
  });

  suite.text("stats() counts exactly", { maxRecords: 2, maxBytes: 100 }, async ({ buffer, clock }) => {
    const start = clock.now();
    const figures = () => {
      const { pendingRecords, pendingBytes, backlogBytes, inFlightRecords, oldestAgeMs } = buffer.stats();
      return [pendingRecords, pendingBytes, backlogBytes, inFlightRecords, oldestAgeMs];
    };
    const counts = () => {
      const { puts, batchesEmitted, batchesCommitted, batchesRedelivered, rejected } = buffer.stats();
      return [puts, batchesEmitted, batchesCommitted, batchesRedelivered, rejected];
    };
    const single = 3 + alone;
    const pair = 10 + alone + shared;

    await buffer.put("one");
    clock.advance(10);
    assertEquals(figures(), [1, 3, single, 0, 10]);
    const { diskBytes } = buffer.stats();
    await buffer.putMany(["three", "seven"]);
    clock.advance(10);
    assertEquals(figures(), [3, 13, single + pair, 0, 20]);
    assertEquals(buffer.stats().lastProgressAt, start + 10);
    assertEquals(buffer.stats().diskBytes - diskBytes, subject.persists ? pair : 0);
    assertEquals(buffer.stats().segments, subject.persists ? 1 : 0);

    const first = await buffer.emit();
    assertEquals(counts(), [3, 1, 0, 0, 0]);
    assertEquals(figures().slice(0, 2), [3, 13]);
    assertEquals(figures().slice(3), [2, 10]);
    assertEquals(buffer.stats().lastProgressAt, start + 20);

    await buffer.emit();
    assertEquals(counts(), [3, 1, 0, 1, 0]);
    clock.advance(5);
    await buffer.commit(first);
    assertEquals(counts(), [3, 1, 1, 1, 0]);
    assertEquals(figures().slice(0, 2), [1, 5]);
    assertEquals(figures().slice(3), [0, 15]);
    assertEquals(buffer.stats().lastProgressAt, start + 25);

    await assertRejects(() => buffer.put("x".repeat(101)), RecordTooLargeError);
    await assertRejects(() => buffer.commit(first), BatchMismatchError);
    clock.advance(5);
    await buffer.commit(await buffer.emit());
    assertEquals(counts(), [3, 2, 2, 1, 1]);
    assertEquals(figures(), [0, 0, 0, 0, 0]);
    assertEquals(buffer.stats().lastProgressAt, start + 30);
    assertEquals(buffer.stats().quarantinedBytes, 0);
  });

  suite.text("stats() gives a plain object of its own each time", {}, async ({ buffer }) => {
    const before = buffer.stats();
    await buffer.put("a");
    assertEquals(before.puts, 0);
    assertStrictEquals(Object.getPrototypeOf(before), Object.prototype);
    assertEquals(JSON.parse(JSON.stringify(before)), before);
  });

  suite.text("stats() knows no age when everything is in flight", {}, async ({ buffer, clock }) => {
    await buffer.put("a");
    clock.advance(10);
    await buffer.emit();
    clock.advance(10);
    assertEquals(buffer.stats().oldestAgeMs, 0);
    await buffer.put("b");
    clock.advance(7);
    assertEquals(buffer.stats().oldestAgeMs, 7);
  });

  test(`${subject.name}.put() goes on when onEvent throws`, async () => {
    let calls = 0;
    const onEvent = (): void => {
      calls++;
      throw new Error("from a listener");
    };
    const options: BufferOptions<string> = {
      codec: textCodec(),
      onEvent,
      maxRecords: 1,
      maxBacklogBytes: alone + 1,
      whenFull: "drop-oldest",
    };
    await use(subject, options, async ({ buffer }) => {
      await buffer.put("a");
      assertEquals(await buffer.put("b"), 2);
      assertEquals(await drain(buffer), ["b"]);
      assert(calls >= 2, "full and drop were reported");
    });
  });

  test(`${subject.name}.subscribe() tells each listener until it leaves, whatever the others throw`, async () => {
    const options: BufferOptions<string> = {
      codec: textCodec(),
      maxRecords: 1,
      maxBacklogBytes: alone + 1,
      whenFull: "drop-oldest",
    };
    await use(subject, options, async ({ buffer }) => {
      const dropped: string[] = [];
      const listen = (name: string) =>
        buffer.subscribe((event) => {
          if (event.type !== "records-dropped") return;
          dropped.push(`${name}${event.sequences.first}`);
          throw new Error("from a listener");
        });
      const leave = [listen("a"), listen("b")];
      await buffer.putMany(["1"]);
      await buffer.put("2");
      assertEquals(dropped, ["a1", "b1"]);
      leave[0]();
      leave[0]();
      await buffer.put("3");
      assertEquals(dropped, ["a1", "b1", "b2"]);
      assertThrows(() => buffer.subscribe("log" as never), TypeError, "listener must be a function, got string");
    });
  });
}

function testBatch(suite: Suite, subject: Subject): void {
  for (const kind of ["JSON", "bytes"] as const) {
    test(`${subject.name}.emit() gives batches whose bytes are their own, with a codec for ${kind}`, async () => {
      const codec = (kind === "JSON" ? jsonCodec() : bytesCodec()) as Codec<unknown>;
      await use<unknown>(subject, { maxRecords: 1, codec }, async ({ buffer }) => {
        const [one, two] = kind === "JSON" ? ["1", "2"] : [Uint8Array.of(1), Uint8Array.of(2)];
        await buffer.put(one);
        await buffer.put(two);
        const first = await buffer.emit();
        const second = await buffer.emit({ after: first });
        // Whoever sends bytes to a worker gives the memory that they stand in away.
        structuredClone(first.payloads[0], { transfer: [first.payloads[0].buffer as ArrayBuffer] });
        assertEquals(second.records, [two]);
        assertEquals(second.payloads.length, 1);
        assertEquals(second.decode(0), two);
        await buffer.commit(first);
        await buffer.put(one);
        assertEquals((await buffer.emit({ after: second })).records, [one]);
      });
    });
  }

  suite.json(
    "emit() gives records of any length beside each other, in whatever order they are looked at",
    { maxRecords: 3 },
    async ({ buffer }) => {
      // Few are longer than most.
      const records = Array.from({ length: 36 }, (_, i) => String(i).repeat(i % 7 === 5 ? 200 : 1));
      for (const record of records) await buffer.put(record);
      const batches = [await buffer.emit()];
      while (batches.length < 12) batches.push(await buffer.emit({ after: batches.at(-1) }));
      for (const [i, batch] of batches.entries()) if (i % 2 === 0) batch.decode(1);
      for (const batch of batches.toReversed()) assertEquals(batch.payloads.length, 3);
      for (const [i, batch] of batches.entries()) {
        const expected = records.slice(3 * i, 3 * i + 3);
        assertEquals([batch.decode(0), batch.decode(1), batch.decode(2)], expected);
        assertEquals(batch.records, expected);
        assertEquals(batch.payloads.map((payload) => JSON.parse(new TextDecoder().decode(payload))), expected);
      }
    },
  );

  suite.json(
    "emit() gives a batch that can be iterated, decoded one by one, and read as bytes",
    {},
    async ({ buffer }) => {
      await buffer.putMany([{ n: 1 }, [2], "drei", null]);
      const batch = await buffer.emit();
      assertEquals([...batch], [{ n: 1 }, [2], "drei", null]);
      assertEquals(batch.records, [...batch]);
      assertStrictEquals(batch.records, batch.records);
      assertEquals([batch.length, batch.byteLength], [4, 7 + 3 + 6 + 4]);
      const texts = batch.payloads.map((payload) => new TextDecoder().decode(payload));
      assertEquals(texts, ['{"n":1}', "[2]", '"drei"', "null"]);
      assertEquals([batch.decode(0), batch.decode(3)], [{ n: 1 }, null]);
      for (const index of [-1, 4, 0.5, Number.NaN]) assertThrows(() => batch.decode(index), RangeError);
    },
  );

  suite.json("emit() gives what decode(encode(record)) gives", {}, async ({ buffer }) => {
    await buffer.put({ when: new Date(0), nothing: undefined, list: [null, -0] });
    assertEquals((await buffer.emit()).records, [{ when: "1970-01-01T00:00:00.000Z", list: [null, -0] }]);
  });

  test(`${subject.name}.emit() gives a batch that names the record that doesn't decode, and can be committed`, async () => {
    const cause = new Error("unreadable");
    const codec: Codec<string> = {
      ...textCodec(),
      decode(payload, version) {
        const text = textCodec().decode(payload, version);
        if (text.startsWith("bad")) throw cause;
        return text;
      },
    };
    await use(subject, { codec, maxRecords: 3 }, async ({ buffer }) => {
      await buffer.put("ok");
      await buffer.commit(await buffer.emit());
      await buffer.putMany(["a", "bad 1", "bad 2", "d"]);
      const batch = await buffer.emit();
      for (const read of [() => batch.records, () => [...batch], () => batch.decode(1)]) {
        const error = assertThrows(read, CodecError);
        assertEquals([error.code, error.operation, error.sequence], ["CODEC", "decode", 3]);
        assertStrictEquals(error.cause, cause);
      }
      assertEquals(batch.decode(0), "a");
      assertEquals(assertThrows(() => batch.decode(2), CodecError).sequence, 4);
      assertEquals(batch.payloads.map((payload) => textCodec().decode(payload, 0)), ["a", "bad 1", "bad 2"]);
      await buffer.commit(batch);
      assertEquals(await drain(buffer), ["d"]);
    });
  });

  test(`${subject.name}.emit() gives a batch of JSON that names the record that is none`, async () => {
    // Written by another codec; two of them would make one element of a larger text, and two of the last.
    for (const [payloads, bad] of [[["1", "[2", "3]", "4,5"], 1], [["{}", "", "7"], 1], [["1,2", "3"], 0]] as const) {
      const texts = textCodec();
      const codec = { ...jsonCodec<unknown>(), encode: (text: unknown) => texts.encode(text as string) };
      await use(subject, { codec }, async ({ buffer }) => {
        await buffer.putMany(payloads);
        const batch = await buffer.emit();
        const error = assertThrows(() => batch.records, CodecError);
        assertEquals([error.operation, error.sequence], ["decode", 1 + bad]);
        if (bad > 0) assertEquals(batch.decode(0), JSON.parse(payloads[0]));
      });
    }
  });

  test(`${subject.name}.emit() gives decode() the version of the codec that encoded`, async () => {
    const versions: number[] = [];
    const codec: Codec<string> = {
      ...textCodec(),
      version: 7,
      decode(payload, version) {
        versions.push(version);
        return textCodec().decode(payload, version);
      },
    };
    await use(subject, { codec }, async ({ buffer }) => {
      await buffer.putMany(["a", "b"]);
      assertEquals((await buffer.emit()).records, ["a", "b"]);
      assertEquals(versions, [7, 7]);
    });
  });
}
