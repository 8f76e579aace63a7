/**
 * A signal that lives as long as the process, passed to thousands of calls: nothing is left on it. Listeners are counted, and so
 * are the signals that `AbortSignal.any()` would tie to it, which on Node 22 it keeps for good.
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { MemoryBuffer, Producer } from "../../mod.ts";
import { AbortCalls } from "../../src/base/abort_calls.ts";
import { abortable } from "../../src/base/abortable.ts";
import { ManualClock } from "../../src/testing/mod.ts";
import { settle } from "../support/event_loop.ts";

const ROUNDS = 2_000;

/** What is tied to signals: for each, its listeners, and signals derived from it. */
class Ties {
  readonly #listeners = new Map<EventTarget, Map<unknown, unknown>>();
  #derived = 0;
  /** The most listeners that a signal has had at one time. */
  most = 0;

  /** Runs `body` while ties are counted. */
  static async count(body: (ties: Ties) => Promise<void>): Promise<void> {
    const ties = new Ties();
    const { prototype } = EventTarget;
    const { addEventListener, removeEventListener } = prototype;
    const { any } = AbortSignal;
    prototype.addEventListener = function (type, listener, options) {
      if (this instanceof AbortSignal && type === "abort") ties.#add(this, listener);
      return Reflect.apply(addEventListener, this, [type, listener, options]);
    };
    prototype.removeEventListener = function (type, listener, options) {
      if (this instanceof AbortSignal && type === "abort") ties.#listeners.get(this)?.delete(listener);
      return Reflect.apply(removeEventListener, this, [type, listener, options]);
    };
    AbortSignal.any = (signals) => {
      ties.#derived++;
      return Reflect.apply(any, AbortSignal, [signals]);
    };
    try {
      await body(ties);
    } finally {
      Object.assign(prototype, { addEventListener, removeEventListener });
      AbortSignal.any = any;
    }
  }

  #add(signal: AbortSignal, listener: unknown): void {
    const listeners = this.#listeners.get(signal) ?? new Map();
    this.#listeners.set(signal, listeners.set(listener, undefined));
    this.most = Math.max(this.most, listeners.size);
  }

  /** On `signal`, or on all that have not aborted. */
  left(signal?: AbortSignal): number {
    const listeners = [...this.#listeners].filter(([one]) => signal === undefined || one === signal);
    const isLive = ([one]: [EventTarget, unknown]): boolean => !(one as AbortSignal).aborted;
    return listeners.filter(isLive).reduce((sum, [, { size }]) => sum + size, 0) + this.#derived;
  }
}

test("Producer leaves nothing on a signal that is passed to thousands of puts and flushes", async () => {
  await Ties.count(async (ties) => {
    const { signal } = new AbortController();
    const buffer = await MemoryBuffer.open<string>({ maxRecords: 10 });
    const producer = new Producer<string>({ buffer, send: () => {}, maxInFlight: 4 });
    await producer.flush();
    const idle = ties.left();
    for (let i = 0; i < ROUNDS; i++) await producer.put("a", { signal });
    await Promise.all(Array.from({ length: ROUNDS }, () => producer.putMany(["a", "b"], { signal })));
    await Promise.all(Array.from({ length: 100 }, () => producer.flush({ signal })));
    assertEquals([ties.left(signal), ties.left()], [0, idle]);
    await producer.close({ signal });
    await buffer.close();
    assertEquals(ties.left(), 0);
  });
});

test("Producer leaves nothing on a signal of puts that wait for space, and has few listeners meanwhile", async () => {
  await Ties.count(async (ties) => {
    const controller = new AbortController();
    const { signal } = controller;
    const buffer = await MemoryBuffer.open<string>({ maxRecords: 1, maxBacklogBytes: 100, whenFull: "block" });
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => go = resolve);
    const producer = new Producer<string>({ buffer, send: () => gate });
    const waiting = Array.from({ length: ROUNDS }, () => producer.put("0123456789", { signal }));
    await settle();
    assertGreater(ties.left(signal), 0);
    assert(ties.most <= 8, `${ties.most} listeners at a time`);
    go();
    await Promise.all(waiting);
    assertEquals(ties.left(signal), 0);
    await producer.close();
    await buffer.close();
    assertEquals(ties.left(), 0);
  });
});

test("Producer rejects waiting puts when the user's signal aborts, or when it ends, and leaves nothing on the other", async () => {
  for (const ends of ["user", "producer"] as const) {
    await Ties.count(async (ties) => {
      const controller = new AbortController();
      const { signal } = controller;
      const buffer = await MemoryBuffer.open<string>({ maxRecords: 1, maxBacklogBytes: 100, whenFull: "block" });
      const producer = new Producer<string>({
        buffer,
        send: (_, { signal }) => abortable(new Promise(() => {}), signal),
        closeTimeoutMs: 0,
      });
      const puts = Array.from({ length: 20 }, () => producer.put("0123456789", { signal }));
      const settled = Promise.allSettled(puts);
      await settle();
      if (ends === "user") controller.abort(new RangeError("enough"));
      else await producer.close();
      const rejected = (await settled).filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
      assertGreater(rejected.length, 0);
      const name = ends === "user" ? "RangeError" : "ProducerClosedError";
      assertEquals(new Set(rejected.map(({ reason }) => reason.name)), new Set([name]));
      await producer.close();
      await buffer.close();
      assertEquals(ties.left(), 0);
      await assertRejects(() => producer.put("late", { signal }));
      assertEquals(ties.left(), 0);
    });
  }
});

test("Producer leaves nothing of its attempts, retries and streams behind", async () => {
  await Ties.count(async (ties) => {
    const clock = new ManualClock();
    const buffer = await MemoryBuffer.open<string>({ maxRecords: 1, maxRecordBytes: 20, clock });
    const producer = new Producer<string>({
      buffer,
      clock,
      send(_, { attempt }) {
        if (attempt === 1) throw new Error("the target is away");
      },
      retry: { firstDelayMs: 1_000 },
    });
    await producer.flush();
    const idle = ties.left();
    for (let i = 0; i < 100; i++) {
      await producer.put("a");
      await settle();
      clock.advance(1_000);
      const writer = producer.writable().getWriter();
      // Streams that end by a write that fails, too.
      await assertRejects(() => writer.write("x".repeat(100)));
    }
    const flushed = producer.flush();
    await settle();
    clock.advance(1_000);
    await flushed;
    assertEquals([producer.stats().retries, ties.left()], [100, idle]);
    await producer.close();
    await buffer.close();
    assertEquals(ties.left(), 0);
  });
});

test("Buffer leaves nothing on a signal that is passed to thousands of waits and puts", async () => {
  await Ties.count(async (ties) => {
    const { signal } = new AbortController();
    const clock = new ManualClock();
    const buffer = await MemoryBuffer.open<string>({ maxAgeMs: 10, clock });
    for (let i = 0; i < ROUNDS; i++) {
      const due = buffer.waitUntilDue({ signal });
      await buffer.put("a", { signal });
      clock.advance(10);
      assertEquals(await due, true);
      await buffer.commit(await buffer.emit());
    }
    const batches = buffer.batches({ signal });
    await buffer.put("b");
    clock.advance(10);
    await batches.next();
    await batches.return?.();
    assertEquals(ties.left(), 0);
    await buffer.close();
  });
});

test("abortable() leaves nothing on its signal, also one that has aborted", async () => {
  await Ties.count(async (ties) => {
    const { signal } = new AbortController();
    for (let i = 0; i < ROUNDS; i++) await abortable(Promise.resolve(), signal);
    await assertRejects(() => abortable(Promise.reject(new Error("no")), signal), Error, "no");
    assertEquals(ties.left(), 0);
    await assertRejects(
      () => abortable(new Promise(() => {}), AbortSignal.abort(new Error("aborted"))),
      Error,
      "aborted",
    );
  });
});

test("AbortCalls.join() aborts with the first signal and its reason, and not after release", () => {
  const calls = new AbortCalls();
  const [one, other] = [new AbortController(), new AbortController()];
  const joined = calls.join([one.signal, other.signal]);
  const released = calls.join([one.signal, other.signal]);
  released.release();
  released.release();
  other.abort("first");
  one.abort("second");
  assertEquals([joined.signal.aborted, joined.signal.reason], [true, "first"]);
  assertEquals(released.signal.aborted, false);
  assertEquals(calls.join([new AbortController().signal, other.signal]).signal, other.signal);
});
