/**
 * `redisSink()`: its script on a real server, where it runs, and its errors and limits on a client that does what it is
 * told.
 */

import { test } from "node:test";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type RedisClient, redisSink } from "../../src/sinks/redis.ts";
import { loadRedis } from "../engines/clients.ts";
import { UUID } from "../support/deliveries.ts";
import { seededRandom } from "../support/random.ts";
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
      assertEquals((await refusalOf(sink, batchOf([3, 4], number))).retryable, true);
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
  const calls: (string | Uint8Array)[][] = [];
  const client: RedisClient = {
    eval: (_script, { arguments: words }) => {
      calls.push(words);
      return Promise.resolve([2, 0, ""]);
    },
  };
  const results: unknown[] = [];
  const sink = redisSink<number>(client, {
    stream: "a",
    fields: (record) => record === 2 ? {} : record === 3 ? { n: 3 as never } : { n: String(record) },
    onDelivered: (result) => results.push(result),
  });
  const { failed } = await refusalOf(sink, batchOf([1, 4], number));
  assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[1, false], [2, false]]);
  assertEquals(calls.map((words) => words.slice(3)), [["1", "2", "n", "1", "4", "2", "n", "4"]]);
  assertEquals(results, [{ stored: 2, duplicates: 0 }]);
});

test("redisSink() bounds what one call takes", async () => {
  const calls: number[] = [];
  const client: RedisClient = {
    eval: (_script, { arguments: words }) => {
      calls.push((words.length - 3) / 4);
      return Promise.resolve([0, 0, ""]);
    },
  };
  const sink = redisSink<string>(client, { stream: "a" });
  await send(sink, batchOf([1, 2100], () => "x"));
  await send(sink, batchOf([1, 5], () => "x".repeat(2 ** 19 - 6)));
  await send(sink, batchOf([1, 2], () => "x".repeat(2 ** 21)));
  assertEquals(calls, [1000, 1000, 100, 2, 2, 1, 1, 1]);
});

for (
  const [message, retryable] of [
    ["LOADING Redis is loading the dataset in memory", true],
    ["READONLY You can't write against a read only replica.", true],
    ["OOM command not allowed when used memory > 'maxmemory'.", true],
    ["MISCONF Redis is configured to save RDB snapshots", true],
    ["NOPERM this user has no permissions to run the 'eval' command", false],
    ["NOAUTH Authentication required.", false],
    ["ERR unknown command 'EVAL'", false],
    ["Socket closed unexpectedly", true],
    ["The client is closed", true],
  ] as const
) {
  test(`redisSink() says of "${message}" that trying again ${retryable ? "may help" : "won't help"}`, async () => {
    const sink = redisSink<number>({ eval: () => Promise.reject(new Error(message)) }, { stream: "a" });
    const refusal = await refusalOf(sink, batchOf([1, 2], number));
    assertEquals([refusal.retryable, refusal.failed], [retryable, undefined]);
  });
}

test("redisSink() gives up the wait when the signal is aborted", async () => {
  const sink = redisSink<number>({ eval: () => new Promise(() => {}) }, { stream: "a" });
  const stop = new AbortController();
  const sending = sink(batchOf([1, 2], number), { attempt: 1, signal: stop.signal });
  stop.abort(new Error("enough"));
  await assertRejects(async () => await sending, Error, "enough");
});

test("redisSink() checks its options and keeps its notes in the slot of the stream", async () => {
  const keys: string[][] = [];
  const client: RedisClient = {
    eval: (_script, options) => {
      keys.push(options.keys);
      return Promise.resolve([0, 0, ""]);
    },
  };
  assertThrows(() => redisSink(client, { stream: "" }), TypeError, "stream");
  assertThrows(() => redisSink(client, { stream: "a", notes: 1 as never }), TypeError, "notes");
  assertThrows(() => redisSink(client, { stream: "a", fields: {} as never }), TypeError, "fields");
  for (const stream of ["a", "{a}b"]) {
    await send(redisSink<number>(client, { stream }), batchOf([1, 1], number));
  }
  await send(redisSink<number>(client, { stream: "a", notes: "n" }), batchOf([1, 1], number));
  assertEquals(keys, [["a", "{a}:delivered"], ["{a}b", "{a}b:delivered"], ["a", "n"]]);
});
