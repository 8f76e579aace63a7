/**
 * `redisSink()`: its script on a real server, where it runs, and its errors and limits on a client that does what it is
 * told.
 */

import { test } from "node:test";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { redisSink } from "../../src/sinks/redis.ts";
import { loadRedis } from "../engines/clients.ts";
import { UUID } from "../support/deliveries.ts";
import { seededRandom } from "../support/random.ts";
import { FakeRedis } from "./fake_redis.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const number = (sequence: number) => sequence;

/** A client that is connected; ended when the body has ended. */
async function withClient(
  port: number,
  body: (client: Awaited<ReturnType<typeof connect>>) => Promise<void>,
): Promise<void> {
  const client = await connect(port);
  try {
    await body(client);
  } finally {
    client.destroy();
  }
}

async function connect(port: number) {
  const { createClient } = await loadRedis();
  return await createClient({ socket: { host: "127.0.0.1", port } }).connect();
}

testWithServer("redis", "redisSink() adds each record once, in order, with ids that ascend", async ({ port }) => {
  await withClient(port, async (client) => {
    const values = async (stream: string) =>
      (await client.xRange(stream, "-", "+"))!.map(({ message }) => Number(message["data"]));
    const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const results: unknown[] = [];
    const onDelivered = (result: unknown) => results.push(result);
    const sink = redisSink<number>(client, { stream: "a", onDelivered });

    // More than one call takes.
    await send(sink, batchOf([1, 2500], number));
    await send(redisSink(client, { stream: "a" }), batchOf([1, 2500], number, { redelivered: true }));
    assertEquals(await values("a"), range(1, 2500));
    const ids = (await client.xRange("a", "-", "+"))!.map(({ id }) => id.split("-").map(Number) as [number, number]);
    assertEquals(ids.map(([, sequence]) => sequence), range(1, 2500));

    // A part first, then the whole batch; and the other way round.
    await send(sink, batchOf([2501, 2510], number, { sequences: [2501, 2502, 2507] }));
    await send(sink, batchOf([2501, 2510], number, { redelivered: true }));
    await send(sink, batchOf([2501, 2510], number, { sequences: [2502, 2510], redelivered: true }));
    assertEquals((await values("a")).slice(2500), [2501, 2502, 2507, 2503, 2504, 2505, 2506, 2508, 2509, 2510]);
    assertEquals(results.slice(-3), [
      { stored: 3, duplicates: 0 },
      { stored: 7, duplicates: 3 },
      { stored: 0, duplicates: 2 },
    ]);

    // Nothing of it is known any more by the entries themselves.
    await client.xTrim("a", "MAXLEN", 0);
    await send(sink, batchOf([2501, 2510], number, { redelivered: true }));
    assertEquals(await values("a"), []);
  });
});

testWithServer(
  "redis",
  "redisSink() adds records of other buffers and other batches, whatever their sequences",
  async ({ port }) => {
    await withClient(port, async (client) => {
      const sink = redisSink<string>(client, {
        stream: "{b}",
        fields: (record, { batchId, sequence }) => ({
          record,
          sequence: String(sequence),
          bytes: new Uint8Array([0, 255]),
          batchId,
        }),
      });
      const other = UUID.replace("5", "6");
      await send(sink, batchOf([8, 9], (n) => `first ${n}`));
      await send(sink, batchOf([1, 2], (n) => `anew ${n}`, { uuid: other, redelivered: true }));
      await send(sink, batchOf([9, 9], (n) => `again ${n}`, { checksum: "0badcafe", redelivered: true }));
      await send(sink, batchOf([3, 3], (n) => `anew ${n}`, { uuid: other }));
      // A foreign entry with an id far in the future.
      await client.xAdd("{b}", "9000000000000-7", { record: "foreign" });
      await send(sink, batchOf([5, 7], (n) => `late ${n}`));
      const entries = (await client.xRange("{b}", "-", "+"))!;
      assertEquals(entries.map(({ message }) => message["record"]), [
        "first 8",
        "first 9",
        "anew 1",
        "anew 2",
        "again 9",
        "anew 3",
        "foreign",
        "late 5",
        "late 6",
        "late 7",
      ]);
      assertEquals(entries.at(-1)!.id, "9000000000001-7");
      assertEquals(await client.hLen("{b}:delivered"), 2);
    });
  },
);

testWithServer(
  "redis",
  "redisSink() adds each record once when 16 batches come in any order, whole and in parts",
  async ({ port }) => {
    await withClient(port, async (client) => {
      for (let seed = 1; seed <= 20; seed++) {
        const random = seededRandom(seed);
        const stream = `seed ${seed}`;
        const sink = redisSink<number>(client, { stream });
        const inFlight: { batch: [number, number]; left: number }[] = [];
        let next = 1;
        for (let step = 0; step < 200 || inFlight.length > 0; step++) {
          if (step < 200 && inFlight.length < 16) {
            const last = next + random(6);
            inFlight.push({ batch: [next, last], left: random(3) });
            next = last + 1;
          }
          const lane = inFlight[random(inFlight.length)]!;
          const [first, last] = lane.batch;
          const sequences = Array.from({ length: last - first + 1 }, (_, i) => first + i).filter(() => random(2) === 0);
          if (sequences.length > 0) await send(sink, batchOf(lane.batch, number, { sequences, redelivered: true }));
          if (lane.left-- > 0) continue;
          await send(sink, batchOf(lane.batch, number, { redelivered: true }));
          while (inFlight[0] !== undefined && inFlight[0].left < 0) inFlight.shift();
        }
        const entries = (await client.xRange(stream, "-", "+"))!;
        const found = entries.map(({ message }) => Number(message["data"])).sort((a, b) => a - b);
        assertEquals(found, Array.from({ length: next - 1 }, (_, i) => i + 1), stream);
        const notes = JSON.parse((await client.hGet(`{${stream}}:delivered`, UUID))!);
        assertEquals(notes.length, 32);
      }
    });
  },
);

testWithServer(
  "redis",
  "redisSink() says what can't be mended, and leaves nothing without its note",
  async ({ port }) => {
    await withClient(port, async (client) => {
      await client.set("text", "no stream");
      const wrongType = await refusalOf(redisSink<number>(client, { stream: "text" }), batchOf([1, 2], number));
      assertEquals(wrongType.retryable, false);
      const wrongNotes = redisSink<number>(client, { stream: "c", notes: "text" });
      assertEquals((await refusalOf(wrongNotes, batchOf([1, 2], number))).retryable, false);
      assertEquals(await client.exists("c"), 0);

      const sink = redisSink<number>(client, { stream: "c" });
      await send(sink, batchOf([1, 2], number));
      await client.configSet("maxmemory", "1");
      assertEquals((await refusalOf(sink, batchOf([3, 4], number))).scope, "target");
      await client.configSet("maxmemory", "0");
      await send(sink, batchOf([3, 4], number), 2);
      assertEquals(await client.xLen("c"), 4);

      // An entry is refused in the middle of a call: there is no greater time left for an id. Those before it are noted.
      const latest = "18446744073709549568";
      await client.xAdd("d", `${latest}-4`, { data: "0" });
      const full = redisSink<number>(client, { stream: "d" });
      const { retryable } = await refusalOf(full, batchOf([1, 9], number, { sequences: [5, 3] }));
      assertEquals([retryable, (await client.xRange("d", "-", "+"))!.at(-1)!.id], [false, `${latest}-5`]);
      await send(full, batchOf([1, 9], number, { sequences: [5], redelivered: true }));
      assertEquals(await client.xLen("d"), 2);
    });
  },
);

test("redisSink() reports records that have no fields, and adds the others", async () => {
  const client = new FakeRedis();
  const results: unknown[] = [];
  const sink = redisSink<number>(client, {
    stream: "a",
    fields: (record) => record === 2 ? {} : record === 3 ? { n: 3 as never } : { n: String(record) },
    onDelivered: (result) => results.push(result),
  });
  const { failed } = await refusalOf(sink, batchOf([1, 4], number));
  assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[1, false], [2, false]]);
  assertEquals(client.calls.map(({ entries }) => entries), [[
    { sequence: 1, words: ["n", "1"] },
    { sequence: 4, words: ["n", "4"] },
  ]]);
  assertEquals(results, [{ stored: 2, duplicates: 0 }]);
});

test("redisSink() bounds what one call takes, and packs it as one argument that no server refuses", async () => {
  const client = new FakeRedis();
  const sink = redisSink<string>(client, { stream: "a" });
  await send(sink, batchOf([1, 2100], () => "x"));
  await send(sink, batchOf([1, 5], () => "x".repeat(2 ** 19 - 2 ** 14)));
  await send(sink, batchOf([1, 2], () => "x".repeat(2 ** 21)));
  assertEquals(client.calls.map(({ entries }) => entries.length), [1000, 1000, 100, 2, 2, 1, 1, 1]);
  assertEquals(client.calls.map(({ isPacked }) => isPacked).lastIndexOf(true), 5);
});

for (
  const [message, retryable] of [
    ["LOADING Redis is loading the dataset in memory", true],
    ["BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", true],
    ["CLUSTERDOWN The cluster is down", true],
    ["TRYAGAIN Multiple keys request during rehashing of slot", true],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true],
    ["NOREPLICAS Not enough good replicas to write.", true],
    ["Socket closed unexpectedly", true],
    ["The client is closed", true],
    ["READONLY You can't write against a read only replica.", false],
    ["OOM command not allowed when used memory > 'maxmemory'.", false],
    ["MISCONF Errors writing to the AOF file: No space left on device", false],
    ["NOPERM this user has no permissions to run the 'eval' command", false],
    ["NOAUTH Authentication required.", false],
    ["WRONGPASS invalid username-password pair or user is disabled.", false],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", false],
    ["CROSSSLOT Keys in request don't hash to the same slot", false],
    ["ERR unknown command 'EVAL'", false],
    // Up to Redis 6 the kind is behind the place in the script.
    ["ERR Error running script (call to f_0): @user_script:5: LOADING Redis is loading the dataset", true],
    ["ERR Error running script (call to f_0): @user_script: 5: -NOPERM no permissions", false],
  ] as const
) {
  for (const way of ["the call", "a command of the script"]) {
    test(`redisSink() says of "${message}" for ${way} that it ${retryable ? "passes" : "lasts"}`, async () => {
      if (way !== "the call" && !/^[A-Z]{2}/.test(message)) return;
      const client = new FakeRedis(() => way === "the call" ? Promise.reject(new Error(message)) : [0, 0, message]);
      const refusal = await refusalOf(redisSink<number>(client, { stream: "a" }), batchOf([1, 2], number));
      assertEquals([refusal.scope, refusal.retryable, refusal.final], ["target", retryable, false]);
      assertEquals([refusal.failed, refusal.split, refusal.tooLarge], [undefined, false, false]);
    });
  }
}

test("redisSink() says of a client that is closed that this is final", async () => {
  const closed = Object.assign(new FakeRedis(() => Promise.reject(new Error("The client is closed"))), {
    isOpen: false,
  });
  const refusal = await refusalOf(redisSink<number>(closed, { stream: "a" }), batchOf([1, 2], number));
  assertEquals([refusal.scope, refusal.final], ["target", true]);
});

testWithServer("redis", "redisSink() goes on from what an earlier version has noted", async ({ port }) => {
  await withClient(port, async (client) => {
    // As version 0.1 left it after half of a batch, behind more batches than can be in flight.
    const idOf = (first: number) => `${UUID}-00c0ffee-${first}-${first + 9}`;
    const notes = Array.from({ length: 31 }, (_, i) => [idOf(1 + 10 * i), String(1 + 10 * i), String(10 + 10 * i)]);
    notes.push([idOf(311), "311", "313", "318", "318"]);
    await client.hSet("{a}:delivered", UUID, JSON.stringify(notes));
    await client.xAdd("a", "1795935852681-318", { data: "318" });
    const results: unknown[] = [];
    const sink = redisSink<number>(client, {
      stream: "a",
      onDelivered: (result) => results.push(Object.values(result)),
    });
    for (const first of [311, 301, 151, 321, 311]) await send(sink, batchOf([first, first + 9], number));
    assertEquals(results, [[6, 4], [0, 10], [0, 10], [10, 0], [0, 10]]);
    const entries = (await client.xRange("a", "-", "+"))!;
    const added = [314, 315, 316, 317, 319, 320, ...Array.from({ length: 10 }, (_, i) => 321 + i)];
    assertEquals(entries.map(({ message }) => Number(message["data"])), [318, ...added]);
  });
});

testWithServer("redis", "redisSink() takes turns with another one for the same buffer", async ({ port }) => {
  await withClient(port, async (client) => {
    const sinks = [1, 2, 3].map(() => redisSink<number>(client, { stream: "a" }));
    for (let i = 0; i < 120; i++) await send(sinks[i % 3]!, batchOf([1 + i, 1 + i], number));
    // One of many buffers, whose numbers are far apart.
    for (let i = 0; i < 120; i++) {
      const uuid = UUID.replace("0", String(i % 10));
      await send(sinks[0]!, batchOf([1 + i, 1 + i], number, { uuid, checksum: "0badcafe" }));
    }
    assertEquals(await client.xLen("a"), 240);
  });
});

test("redisSink() gives up the wait when the signal is aborted", async () => {
  const sink = redisSink<number>({ eval: () => new Promise(() => {}) }, { stream: "a" });
  const stop = new AbortController();
  const sending = sink(batchOf([1, 2], number), { attempt: 1, signal: stop.signal });
  stop.abort(new Error("enough"));
  await assertRejects(async () => await sending, Error, "enough");
});

test("redisSink() checks its options and keeps its notes in the slot of the stream", async () => {
  const client = new FakeRedis();
  assertThrows(() => redisSink(client, { stream: "" }), TypeError, "stream");
  assertThrows(() => redisSink(client, { stream: "a", notes: 1 as never }), TypeError, "notes");
  assertThrows(() => redisSink(client, { stream: "a", fields: {} as never }), TypeError, "fields");
  assertThrows(() => redisSink(client, { stream: "a", reconnect: 1 as never }), TypeError, "reconnect");
  for (const stream of ["a", "{a}b"]) {
    await send(redisSink<number>(client, { stream }), batchOf([1, 1], number));
  }
  await send(redisSink<number>(client, { stream: "a", notes: "n" }), batchOf([1, 1], number));
  assertEquals(client.calls.map(({ keys }) => keys), [["a", "{a}:delivered"], ["{a}b", "{a}b:delivered"], ["a", "n"]]);
});
