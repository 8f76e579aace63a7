/**
 * What `redisSink()` does when no answer comes: whose fault it is, and when the client is to reconnect. On a client without a server.
 */

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { DeliveryError, ProducerClosedError } from "../../src/errors/mod.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { type FakeCall, FakeRedis } from "./fake_redis.ts";
import { batchOf, refusalOf, send } from "./tools.ts";

const number = (sequence: number) => sequence;

test("redisSink() has a client reconnect after an attempt in which nothing came back, and only then", async () => {
  const calls: string[] = [];
  const silence = () => new Promise<never>(() => {});
  let answer: () => unknown = silence;
  const client = Object.assign(new FakeRedis(() => answer()), {
    isOpen: true,
    isReady: true,
    destroy() {
      calls.push("destroy");
      this.isOpen = false;
    },
    connect() {
      calls.push("connect");
      this.isOpen = true;
      return Promise.resolve();
    },
  });
  const sink = redisSink<number>(client, { stream: "a" });
  const begin = (reason: Error) => {
    const controller = new AbortController();
    const ended = (async () => await sink(batchOf([1, 2], number), { attempt: 1, signal: controller.signal }))();
    return async () => {
      controller.abort(reason);
      await assertRejects(() => ended, Error, reason.message);
    };
  };
  const timeout = new DeliveryError({ reason: "no answer within 30000 ms" });
  // The producer ends.
  await begin(new ProducerClosedError("flush"))();
  // Another call was answered meanwhile, be it with an error.
  for (const reply of [() => [2, 0, ""], () => Promise.reject(new Error("OOM used memory"))]) {
    answer = silence;
    const end = begin(timeout);
    answer = reply;
    await send(sink, batchOf([3, 4], number)).catch(() => {});
    await end();
  }
  assertEquals(calls, []);
  // Two attempts in flight leave the connection once.
  answer = silence;
  const ends = [begin(timeout), begin(timeout)];
  for (const end of ends) await end();
  assertEquals(calls, ["destroy"]);
  answer = () => [2, 0, ""];
  await send(sink, batchOf([1, 2], number));
  assertEquals(calls, ["destroy", "connect"]);
  // Left, it isn't closed by its owner; closed by its owner, it isn't connected again.
  client.isOpen = false;
  answer = () => Promise.reject(new Error("The client is closed"));
  assertEquals((await refusalOf(sink, batchOf([1, 2], number))).final, true);
  assertEquals(calls, ["destroy", "connect"]);
});

test("redisSink() refuses a record that cuts the connection three times, though the server answers between", async () => {
  const cut = () => Promise.reject(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
  let answer: (call: FakeCall) => unknown;
  const client = new FakeRedis((call) => answer(call));
  const sink = redisSink<string>(client, { stream: "a" });
  const batch = batchOf([1, 41], (sequence) => sequence === 20 ? "x".repeat(2 ** 20) : "x");
  const refuse = async (): Promise<unknown[]> => {
    const { scope, retryable, failed } = await refusalOf(sink, batch);
    return [scope, retryable, failed?.map((one) => [one.index, one.retryable])];
  };
  const lost: unknown[] = ["target", true, undefined];
  // The server is away: no fault of the record's, however often.
  answer = cut;
  for (let attempt = 0; attempt < 5; attempt++) assertEquals(await refuse(), lost);
  const takeSmall = ({ entries, isPacked }: FakeCall) => isPacked ? [entries.length, 0, ""] : cut();
  answer = takeSmall;
  for (let attempt = 0; attempt < 2; attempt++) assertEquals(await refuse(), lost);
  // It comes through after all, and is counted from the beginning.
  answer = ({ entries }) => [entries.length, 0, ""];
  await send(sink, batch);
  answer = takeSmall;
  for (let attempt = 0; attempt < 2; attempt++) assertEquals(await refuse(), lost);
  assertEquals(await refuse(), ["record", false, [[19, false]]]);
  assertEquals(
    client.calls.at(-1)!.entries.map(({ sequence }) => sequence),
    Array.from({ length: 21 }, (_, i) => 21 + i),
  );
});
