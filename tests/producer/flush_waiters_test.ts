/**
 * `FlushWaiters`, `PromiseTracker` and `AbortCalls`: the same answers as a walk over all who wait, for a share of the work.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { AbortCalls } from "../../src/base/abort_calls.ts";
import { MemoryBuffer } from "../../src/buffer/memory_buffer.ts";
import { FlushWaiters } from "../../src/producer/flush_waiters.ts";
import { Producer } from "../../src/producer/producer.ts";
import { PromiseTracker } from "../../src/producer/promise_tracker.ts";
import { watch, type Watched } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { seededRandom } from "../support/random.ts";

/** One who waits, as a walk over all would keep it: how many records are left, once they are counted. */
interface Modelled {
  readonly watched: Watched;
  readonly abort: AbortController;
  left: number | undefined;
  isDone: boolean;
}

test("FlushWaiters resolve when as many records are committed as were pending, or none is left", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed);
    let pending = 0;
    const flushes = new FlushWaiters(() => pending);
    let waiting: Modelled[] = [];
    let probe: { readonly end: () => void; readonly counted: Modelled[]; isUndisturbed: boolean } | undefined;
    for (let step = 0; step < 120; step++) {
      const counted = waiting.filter(({ left }) => left !== undefined);
      const what = random(8);
      if (what < 2) pending += random(4);
      else if (what < 4) {
        const abort = new AbortController();
        const watched = watch(flushes.wait(Promise.resolve(), () => {}, abort.signal));
        await settle();
        flushes.count();
        // Nobody who was counted before can wait for more than is pending.
        if (pending > 0) { for (const one of counted) one.left = Math.min(one.left!, pending); }
        waiting.push({ watched, abort, left: pending, isDone: pending === 0 });
        if (probe !== undefined) probe.isUndisturbed = false;
      } else if (what === 4) {
        // Records that go another way.
        pending -= random(pending + 1);
      } else if (what === 5) {
        const records = random(pending + 1);
        pending -= records;
        flushes.onCommitted(records);
        for (const one of counted) one.left = Math.min(one.left! - records, pending);
        for (const one of counted) one.isDone ||= one.left! <= 0;
      } else if (what === 6) {
        const one = waiting.at(random(Math.max(1, waiting.length)));
        one?.abort.abort(new Error("enough"));
        waiting = waiting.filter((other) => other !== one);
        await settle();
        if (one !== undefined) assertEquals(one.watched.state, one.isDone ? "resolved" : "rejected");
      } else if (probe === undefined) probe = { end: flushes.beginProbe(), counted, isUndisturbed: true };
      else {
        const { end, counted, isUndisturbed } = probe;
        probe = undefined;
        end();
        await settle();
        // Who was counted in between waits for another probe, or for commits, and so may who waits for the same.
        for (const one of counted) one.isDone ||= isUndisturbed || one.watched.state === "resolved";
      }
      await settle();
      for (const { watched, isDone } of waiting) {
        assertEquals(watched.state, isDone ? "resolved" : "pending", `seed ${seed}, step ${step}`);
      }
      waiting = waiting.filter(({ isDone }) => !isDone);
      assertEquals(flushes.isEmpty, waiting.length === 0, `seed ${seed}, step ${step}`);
    }
    flushes.rejectAll(new Error("the end"));
    await settle();
    assert(waiting.every(({ watched }) => watched.state === "rejected"));
  }
});

test("PromiseTracker.all() resolves when all that were there are answered, whatever comes later", async () => {
  const answers = new PromiseTracker();
  const ends: (() => void)[] = [];
  const track = (): void => void answers.track(new Promise<void>((resolve) => ends.push(resolve)));
  const all = [watch(answers.all())];
  track();
  all.push(watch(answers.all()), watch(answers.all()));
  track();
  track();
  all.push(watch(answers.all()));
  track();
  const states = async (): Promise<string[]> => {
    await settle();
    return all.map(({ state }) => state);
  };
  assertEquals(await states(), ["resolved", "pending", "pending", "pending"]);
  ends[2]!();
  ends[1]!();
  assertEquals(await states(), ["resolved", "pending", "pending", "pending"], "the first one isn't answered");
  ends[0]!();
  assertEquals(await states(), ["resolved", "resolved", "resolved", "resolved"]);
  all.push(watch(answers.all()));
  answers.track(Promise.reject(new Error("an answer, too"))).catch(() => {});
  ends[3]!();
  all.push(watch(answers.all()));
  assertEquals((await states()).slice(4), ["resolved", "resolved"]);
});

test("AbortCalls are made in order, each once, with one listener for a signal", () => {
  const controller = new AbortController();
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  let listeners = 0;
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  const aborts = new AbortCalls();
  const made: string[] = [];
  const [, takeBack, takeOther] = ["a", "b", "c", "d"].map((name) => aborts.add(signal, () => made.push(name)));
  takeBack!();
  takeBack!();
  aborts.add(signal, () => {
    made.push("e");
    takeLast();
  });
  const takeLast = aborts.add(signal, () => made.push("f"));
  controller.abort();
  takeOther!();
  assertEquals([made, listeners], [["a", "c", "d", "e"], 1]);
});

test("AbortCalls leave nothing at a signal whose calls are all taken back", () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  const aborts = new AbortCalls();
  for (let i = 0; i < 3; i++) {
    const takeBacks = [aborts.add(signal, () => {}), aborts.add(signal, () => {})];
    assertEquals(listeners, 1);
    for (const takeBack of takeBacks) takeBack();
    assertEquals(listeners, 0);
  }
});

test("MemoryBuffer.put() that waits with a signal that many have adds no listener of its own", async () => {
  const buffer = await MemoryBuffer.open<string>({ maxBacklogBytes: 100, whenFull: "block" });
  const controller = new AbortController();
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  let listeners = 0;
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  const puts = Array.from({ length: 100 }, () => watch(buffer.put("x".repeat(40), { signal })));
  await settle();
  assertEquals(listeners, 1);
  const waiting = puts.filter(({ state }) => state === "pending");
  assert(waiting.length > 90);
  controller.abort(new Error("enough"));
  await settle();
  assert(waiting.every(({ state }) => state === "rejected"));
  await buffer.close();
});

test("Producer.flush() asks each put once, however many flushes wait for it", async () => {
  const inner = await MemoryBuffer.open<string>();
  let asked = 0;
  const put = inner.put.bind(inner);
  inner.put = (...args) => {
    const promise = put(...args);
    const then = promise.then.bind(promise) as unknown as (...handlers: readonly unknown[]) => unknown;
    const counted = (...handlers: readonly unknown[]): unknown => {
      asked++;
      return then(...handlers);
    };
    return Object.assign(promise, { then: counted as unknown as typeof promise.then });
  };
  const producer = new Producer<string>({ buffer: inner, send: () => {} });
  const count = 200;
  const flushes: Promise<void>[] = [];
  for (let i = 0; i < count; i++) {
    void producer.put(`${i}`);
    flushes.push(producer.flush());
  }
  await Promise.all(flushes);
  assert(asked <= 3 * count, `${count} puts were asked ${asked} times`);
  await producer.close();
  await inner.close();
});
