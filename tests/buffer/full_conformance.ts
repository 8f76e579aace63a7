/**
 * The part of `RecordBuffer`'s suite that is about a full backlog: reject, block, drop-oldest, and streams that wait.
 */

import { test } from "node:test";
import { assert, assertEquals, assertFalse, assertRejects, assertStrictEquals } from "@std/assert";
import {
  BufferClosedError,
  type BufferEvent,
  BufferFullError,
  type BufferOptions,
  CodecError,
  jsonCodec,
} from "../../mod.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";
import { type Subject, type Suite, use } from "./subject.ts";

/** Runs every test against `subject`. */
export function testFullBuffer(suite: Suite, subject: Subject): void {
  testWritable(suite, subject);
  testReject(suite, subject);
  testBlock(suite, subject);
  testDropOldest(suite, subject);
  testTogether(suite, subject);
}

function testWritable(suite: Suite, subject: Subject): void {
  const { alone } = subject.overheadBytes;

  suite.text("writable() puts what is written, and leaves the buffer open", {}, async ({ buffer }) => {
    const writer = buffer.writable().getWriter();
    void writer.write("a");
    await writer.write("b");
    await writer.close();
    await buffer.put("c");
    assertEquals(await drain(buffer), ["a", "b", "c"]);
  });

  for (const whenFull of ["reject", "block"] as const) {
    suite.text(`writable() waits for space when the backlog is full and whenFull is ${whenFull}`, {
      maxBacklogBytes: 2 * (alone + 1),
      whenFull,
    }, async ({ buffer }) => {
      const writer = buffer.writable().getWriter();
      await writer.write("a");
      await writer.write("b");
      const third = writer.write("c");
      const fourth = writer.write("d");
      assert(await isPending(third));
      assert(await isPending(writer.ready));
      await buffer.commit(await buffer.emit());
      await Promise.all([third, fourth, writer.ready]);
      await writer.close();
      assertEquals(await drain(buffer), ["c", "d"]);
      assertEquals(buffer.stats().rejected, 0);
    });
  }

  suite.json("writable() is errored when a record can't be encoded", {}, async ({ buffer }) => {
    const writer = buffer.writable().getWriter();
    await writer.write("a");
    const closed = assertRejects(() => writer.closed, CodecError);
    await assertRejects(() => writer.write(undefined), CodecError);
    await closed;
    await assertRejects(() => writer.write("b"), CodecError);
    assertEquals(await buffer.put("c"), 2);
    assertEquals(await drain(buffer), ["a", "c"]);
  });

  suite.text("writable() gives up its place when it is aborted", { maxBacklogBytes: alone + 1 }, async ({ buffer }) => {
    const writer = buffer.writable().getWriter();
    await writer.write("a");
    const reason = new Error("stop");
    const waiting = assertRejects(() => writer.write("b"));
    const closed = assertRejects(() => writer.closed);
    assert(await isPending(waiting));
    await writer.abort(reason);
    await Promise.all([waiting, closed]);
    await buffer.commit(await buffer.emit());
    assertEquals(await buffer.put("c"), 2);
  });

  suite.text(
    "writable() is errored with BufferClosedError when the buffer is closed",
    { maxBacklogBytes: alone + 1 },
    async (
      { buffer },
    ) => {
      const writer = buffer.writable().getWriter();
      const other = buffer.writable().getWriter();
      await writer.write("a");
      const closed = [writer, other].map((one) => assertRejects(() => one.closed, BufferClosedError));
      const waiting = assertRejects(() => writer.write("b"), BufferClosedError);
      assert(await isPending(waiting));
      await buffer.close();
      await waiting;
      await assertRejects(() => other.write("c"), BufferClosedError);
      await Promise.all(closed);
    },
  );

  suite.text("writable() takes a pipe of any length when it is drained", { maxBacklogBytes: 5 * (alone + 3) }, async (
    { buffer },
  ) => {
    const records = Array.from({ length: 100 }, (_, i) => String(100 + i));
    const source = new ReadableStream<string>({
      pull(controller) {
        const next = records[pulled++];
        if (next === undefined) controller.close();
        else controller.enqueue(next);
      },
    });
    let pulled = 0;
    const piped = source.pipeTo(buffer.writable());
    assert(await isPending(piped));
    assert(pulled < 10, `the pipe has read ${pulled} records ahead`);
    const seen: string[] = [];
    while (seen.length < records.length) {
      seen.push(...await drain(buffer));
      await settle();
    }
    await piped;
    assertEquals(seen, records);
  });
}

function testReject(suite: Suite, subject: Subject): void {
  const { alone, shared } = subject.overheadBytes;
  const three = 3 * (alone + 1);

  suite.text("put() rejects with BufferFullError when the backlog is full", { maxBacklogBytes: three }, async (
    { buffer, events },
  ) => {
    for (const record of ["a", "b", "c"]) await buffer.put(record);
    for (let i = 0; i < 2; i++) {
      const error = await assertRejects(() => buffer.put("d"), BufferFullError);
      const { code, neededBytes, backlogBytes, maxBacklogBytes } = error;
      assertEquals([code, neededBytes, backlogBytes, maxBacklogBytes], ["BUFFER_FULL", alone + 1, three, three]);
    }
    await assertRejects(() => buffer.putMany(["d", "e"]), BufferFullError);
    assertEquals(events.filter(({ type }) => type === "backlog-filled"), [{
      type: "backlog-filled",
      backlogBytes: three,
    }]);
    const { rejected, puts, backlogBytes, pendingRecords } = buffer.stats();
    assertEquals([rejected, puts, backlogBytes, pendingRecords], [3, 3, three, 3]);
    const batch = await buffer.emit();
    await assertRejects(() => buffer.put("d"), BufferFullError, "", "a batch in flight counts");
    await buffer.commit(batch);
    assertEquals(await buffer.put("d"), 4);
    assertEquals(buffer.stats().backlogBytes, alone + 1);
  });

  suite.text("put() reports each time that the backlog becomes full", { maxBacklogBytes: alone + 1 }, async (
    { buffer, events },
  ) => {
    for (let round = 1; round <= 3; round++) {
      await buffer.put("a");
      await assertRejects(() => buffer.put("b"), BufferFullError);
      await assertRejects(() => buffer.put("c"), BufferFullError);
      assertEquals(events.filter(({ type }) => type === "backlog-filled").length, round);
      await buffer.commit(await buffer.emit());
    }
  });

  suite.text("put() rejects when puts of the same tick have filled the backlog", {
    maxBacklogBytes: alone + shared + 2,
  }, async ({ buffer }) => {
    const results = await Promise.allSettled(["a", "b", "c", "d"].map((record) => buffer.put(record)));
    assertEquals(results.map(({ status }) => status), ["fulfilled", "fulfilled", "rejected", "rejected"]);
    assertEquals(await drain(buffer), ["a", "b"]);
    assertEquals(await buffer.put("e"), 3);
  });

  for (const whenFull of ["reject", "block", "drop-oldest"] as const) {
    suite.text(`put() rejects at once when a record could never fit and whenFull is ${whenFull}`, {
      maxBacklogBytes: 100,
      whenFull,
    }, async ({ buffer }) => {
      await buffer.put("a");
      const most = 100 - alone;
      const error = await assertRejects(() => buffer.put("x".repeat(most + 1)), BufferFullError);
      assertEquals(error.neededBytes, 101);
      await assertRejects(() => buffer.putMany(["x".repeat(most), ""]), BufferFullError);
      assertEquals([buffer.stats().dropped, buffer.stats().rejected], [0, 2]);
      assertEquals(await drain(buffer), ["a"]);
      assertEquals(await buffer.put("x".repeat(most)), 2);
    });

    // Behind another put of the same tick it needs less than alone, and would wait for ever.
    suite.text(`put() rejects at once when a record could fit only behind others and whenFull is ${whenFull}`, {
      maxBacklogBytes: 100,
      whenFull,
    }, async ({ buffer }) => {
      const first = buffer.put("0123456789");
      const second = buffer.put("x".repeat(100 - alone + 1));
      await assertRejects(() => second, BufferFullError);
      assertEquals(await first, 1);
      assertEquals(buffer.stats().dropped, 0);
      assertEquals(await drain(buffer), ["0123456789"]);
    });
  }
}

function testBlock(suite: Suite, subject: Subject): void {
  const { alone } = subject.overheadBytes;
  const two: BufferOptions<string> = { maxBacklogBytes: 2 * (alone + 1), whenFull: "block" };

  suite.text("put() waits in call order when whenFull is block", { ...two, maxRecords: 1 }, async ({ buffer }) => {
    await buffer.put("a");
    await buffer.put("b");
    const order: string[] = [];
    const wait = (record: string) => buffer.put(record).then((sequence) => order.push(`${record}${sequence}`));
    const waiting = [wait("c"), wait("d"), wait(""), wait("e")];
    assert(await isPending(Promise.race(waiting)));
    assertEquals(buffer.stats().puts, 2);
    await buffer.commit(await buffer.emit());
    await waiting[0];
    // The empty one would fit, but comes after "d".
    assert(await isPending(Promise.race(waiting.slice(1))));
    assertEquals(await drain(buffer), ["b", "c", "d", "", "e"]);
    await Promise.all(waiting);
    assertEquals(order, ["c3", "d4", "5", "e6"]);
    assertEquals(buffer.stats().rejected, 0);
  });

  suite.text("put() queues behind puts that wait when it would fit itself", two, async ({ buffer }) => {
    await buffer.put("a");
    const large = buffer.put("bb");
    const small = buffer.put("c");
    assert(await isPending(Promise.race([large, small])));
    await buffer.commit(await buffer.emit());
    assertEquals(await large, 2);
    assert(await isPending(small));
    await buffer.commit(await buffer.emit());
    assertEquals(await small, 3);
  });

  suite.text("put() gives up its place when its signal is aborted", two, async ({ buffer }) => {
    await buffer.put("a");
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("no patience");
    const large = buffer.put("bb", { signal });
    const many = buffer.putMany(["b", "b"], { signal });
    const small = buffer.put("c");
    assert(await isPending(Promise.race([large, many, small])));
    const refused = [large, many].map((put) => assertRejects(() => put));
    controller.abort(reason);
    assertEquals(await Promise.all(refused), [reason, reason]);
    assertEquals(await small, 2, "whoever waits behind may be smaller");
    assertEquals(buffer.stats().rejected, 2);
    assertEquals(await drain(buffer), ["a", "c"]);
  });

  suite.text("put() doesn't care when its signal is aborted after it got in", two, async ({ buffer }) => {
    await buffer.put("aa");
    const controller = new AbortController();
    const waiting = buffer.put("b", { signal: controller.signal });
    await buffer.commit(await buffer.emit());
    assertEquals(await waiting, 2);
    controller.abort();
    assertEquals(await drain(buffer), ["b"]);
  });

  suite.text(
    "put() rejects with BufferClosedError when the buffer is closed while it waits",
    two,
    async ({ buffer }) => {
      await buffer.put("aa");
      const refused = [buffer.put("b"), buffer.putMany(["c"])].map((put) =>
        assertRejects(() => put, BufferClosedError)
      );
      await buffer.close();
      await Promise.all(refused);
      assertEquals(buffer.stats().rejected, 2);
    },
  );

  suite.text(
    "putMany() waits as one unit when whenFull is block",
    { ...two, maxBacklogBytes: 200 },
    async ({ buffer }) => {
      const fill = "x".repeat(199 - alone);
      await buffer.put(fill);
      const records = ["a", "b", "c"];
      const many = buffer.putMany(records);
      records.length = 0;
      const behind = buffer.put("d");
      assert(await isPending(Promise.race([many, behind])));
      await buffer.commit(await buffer.emit());
      assertEquals(await many, { first: 2, last: 4 });
      assertEquals(await behind, 5);
      assertEquals(await drain(buffer), ["a", "b", "c", "d"]);
    },
  );

  suite.text("put() reports each time that the backlog becomes full when puts wait", { ...two, maxRecords: 1 }, async (
    { buffer, events },
  ) => {
    await buffer.put("aa");
    const second = buffer.put("bb");
    await buffer.commit(await buffer.emit());
    await second;
    const third = buffer.put("cc");
    assertEquals(events.filter(({ type }) => type === "backlog-filled").length, 2);
    await buffer.commit(await buffer.emit());
    await third;
  });

  suite.text("put() of a listener that is told that the backlog is full waits behind the one that found it full", {
    ...two,
    maxBacklogBytes: 2 * (alone + 10),
    maxRecords: 1,
  }, async ({ buffer }) => {
    const sequences: Promise<number>[] = [];
    const unsubscribe = buffer.subscribe(({ type }) => {
      if (type === "backlog-filled") sequences.push(buffer.put("l"));
    });
    await buffer.put("a");
    sequences.push(buffer.put("x".repeat(20)));
    unsubscribe();
    for (let i = 0; i < 2; i++) await buffer.commit(await buffer.emit());
    assertEquals(await Promise.all(sequences), [3, 2]);
    assertEquals(await drain(buffer), ["l"]);
  });

  test(`${subject.name}.put() encodes once, at the call, when it has to wait`, async () => {
    let calls = 0;
    const record = {
      text: "b",
      toJSON() {
        if (++calls > 1) throw new Error("encoded twice");
        return this.text;
      },
    };
    const options: BufferOptions<unknown> = { maxBacklogBytes: alone + 3, whenFull: "block", codec: jsonCodec() };
    await use(subject, options, async ({ buffer }) => {
      await buffer.put("a");
      const waiting = buffer.put(record);
      record.text = "changed";
      await buffer.commit(await buffer.emit());
      assertEquals(await waiting, 2);
      assertEquals((await buffer.emit()).records, ["b"]);
      assertEquals(calls, 1);
    });
  });

  suite.text("clear() lets those in who wait", two, async ({ buffer }) => {
    await buffer.put("aa");
    const waiting = [buffer.put("b"), buffer.put("c")];
    assert(await isPending(Promise.race(waiting)));
    await buffer.clear();
    assertEquals(await Promise.all(waiting), [2, 3]);
    assertEquals(await drain(buffer), ["b", "c"]);
  });
}

function testDropOldest(suite: Suite, subject: Subject): void {
  const { alone } = subject.overheadBytes;
  const five: BufferOptions<string> = { maxBacklogBytes: 5 * (alone + 1), whenFull: "drop-oldest", maxRecords: 2 };
  const dropsOf = (events: readonly BufferEvent[]) => events.filter(({ type }) => type === "records-dropped");

  suite.text("put() drops the oldest whole batch when whenFull is drop-oldest", five, async ({ buffer, events }) => {
    for (const record of ["a", "b", "c", "d", "e"]) await buffer.put(record);
    assertEquals(buffer.stats().dropped, 0);
    assertEquals(await buffer.put("f"), 6);
    assertEquals(dropsOf(events), [{
      type: "records-dropped",
      reason: "backlog-full",
      sequences: { first: 1, last: 2 },
      records: 2,
      bytes: 2,
    }]);
    const { dropped, pendingRecords, pendingBytes, backlogBytes, rejected } = buffer.stats();
    assertEquals([dropped, pendingRecords, pendingBytes, backlogBytes, rejected], [2, 4, 4, 4 * (alone + 1), 0]);
    assertEquals(await drain(buffer), ["c", "d", "e", "f"]);
  });

  suite.text("put() spares the batch in flight when it drops", five, async ({ buffer, events }) => {
    for (const record of ["a", "b", "c", "d", "e"]) await buffer.put(record);
    const batch = await buffer.emit();
    for (const record of ["f", "g"]) await buffer.put(record);
    assertEquals(dropsOf(events), [{
      type: "records-dropped",
      reason: "backlog-full",
      sequences: { first: 3, last: 4 },
      records: 2,
      bytes: 2,
    }]);
    const { pendingRecords, inFlightRecords, backlogBytes } = buffer.stats();
    assertEquals([pendingRecords, inFlightRecords, backlogBytes], [5, 2, 5 * (alone + 1)]);
    assertEquals((await buffer.emit()).records, ["a", "b"]);
    await buffer.commit(batch);
    assertEquals(buffer.stats().pendingRecords, 3);
    assertEquals(await drain(buffer), ["e", "f", "g"]);
    assertEquals(buffer.stats().dropped, 2);
  });

  suite.text("put() rejects with BufferFullError when only the batch in flight could be dropped", {
    ...five,
    maxRecords: 5,
  }, async ({ buffer }) => {
    for (const record of ["a", "b", "c", "d", "e"]) await buffer.put(record);
    await buffer.emit();
    const error = await assertRejects(() => buffer.put("f"), BufferFullError);
    assertEquals([error.neededBytes, error.backlogBytes], [alone + 1, 5 * (alone + 1)]);
    assertEquals([buffer.stats().dropped, buffer.stats().rejected], [0, 1]);
    await buffer.commit();
    assertEquals(await buffer.put("g"), 6);
  });

  suite.text("put() accepts every put of a burst when whenFull is drop-oldest", five, async ({ buffer }) => {
    const puts = Array.from({ length: 20 }, (_, i) => buffer.put(String.fromCharCode(97 + i)));
    assertEquals(await Promise.all(puts), Array.from({ length: 20 }, (_, i) => i + 1));
    const { dropped, pendingRecords, backlogBytes } = buffer.stats();
    assertEquals(dropped + pendingRecords, 20);
    assert(backlogBytes <= 5 * (alone + 1));
    const kept = await drain(buffer);
    assertEquals(kept.join(""), "abcdefghijklmnopqrst".slice(-kept.length));
    assert(kept.length > 0);
  });

  suite.text("putMany() drops as much as it needs", five, async ({ buffer, events }) => {
    for (const record of ["a", "b", "c", "d", "e"]) await buffer.put(record);
    const size = 4 * (alone + 1) - alone;
    assertEquals(await buffer.putMany(["x".repeat(size)]), { first: 6, last: 6 });
    assertEquals(dropsOf(events).length, 2);
    assertEquals(await drain(buffer), ["e", "x".repeat(size)]);
  });

  suite.text("put() drops nothing when it is aborted before its turn", five, async ({ buffer }) => {
    for (const record of ["a", "b", "c", "d", "e"]) await buffer.put(record);
    const controller = new AbortController();
    const waiting = assertRejects(() => buffer.put("f", { signal: controller.signal }));
    controller.abort();
    await waiting;
    await buffer.flush();
    assertEquals(buffer.stats().dropped, 0);
    assertEquals(await drain(buffer), ["a", "b", "c", "d", "e"]);
  });

  suite.text("shouldEmit() counts the age of what is left when batches are dropped", {
    ...five,
    maxAgeMs: 50,
    maxRecords: 3,
  }, async (
    { buffer, clock },
  ) => {
    for (const record of ["a", "b", "c"]) await buffer.put(record);
    clock.advance(20);
    for (const record of ["d", "e", "f"]) await buffer.put(record);
    await buffer.put("g");
    await buffer.put("h");
    // Left over: d, put at 20, and what came after it.
    assertEquals(buffer.stats().oldestAgeMs, 0);
    await buffer.commit(await buffer.emit());
    clock.advance(49);
    assertFalse(buffer.shouldEmit());
    clock.advance(1);
    assert(buffer.shouldEmit());
  });
}

/** Producers that wait for space, some of which give up, and a consumer that is slow: nobody waits for ever. */
function testTogether(suite: Suite, subject: Subject): void {
  const { alone } = subject.overheadBytes;
  const tight: BufferOptions<string> = {
    maxBacklogBytes: 4 * (alone + 8),
    whenFull: "block",
    maxRecords: 3,
    maxAgeMs: 0,
  };

  suite.text("put() and batches() lose nothing when producers wait, give up and go on", tight, async ({ buffer }) => {
    const random = seededRandom(7);
    /** What was acknowledged, by sequence. */
    const acknowledged = new Map<number, string>();
    const produce = async (name: string): Promise<void> => {
      for (let n = 0; n < 60; n++) {
        const texts = Array.from({ length: 1 + random(3) }, (_, i) => `${name}${n}.${i}`);
        const controller = new AbortController();
        if (random(4) === 0) queueMicrotask(() => controller.abort());
        if (random(5) === 0) await settle();
        try {
          const { first } = await buffer.putMany(texts, { signal: controller.signal });
          texts.forEach((text, i) => acknowledged.set(first + i, text));
        } catch (error) {
          assertStrictEquals(error, controller.signal.reason);
        }
      }
    };
    const delivered: [number, string][] = [];
    const consume = async (): Promise<void> => {
      for await (const batch of buffer.batches({ redelivery: { firstDelayMs: 0 } })) {
        if (random(4) === 0) continue;
        delivered.push(...batch.records.map((text, i): [number, string] => [batch.firstSequence + i, text]));
        await buffer.commit(batch);
        if (random(6) === 0 || batch.records.includes("last")) break;
      }
    };
    const producing = Promise.all(["a", "b", "c", "d"].map(produce)).then(async () => {
      acknowledged.set(await buffer.put("last"), "last");
    });
    while (delivered.at(-1)?.[1] !== "last") await consume();
    await producing;
    assertEquals(delivered, [...acknowledged].sort(([a], [b]) => a - b));
    assertEquals(delivered.map(([sequence]) => sequence), delivered.map((_, i) => i + 1));
    assert(delivered.length > 100);
  });
}
