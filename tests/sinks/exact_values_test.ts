/**
 * Text and data that would become something else on their way to Redis, Kafka, NATS or a line: the record is refused with the
 * reason, and the others arrive.
 */

import { Buffer } from "node:buffer";
import { test } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { jsonCodec, textCodec } from "../../src/base/codec.ts";
import { CodecError, type DeliveryError } from "../../src/errors/mod.ts";
import type { Send } from "../../src/producer/delivery.ts";
import { exactJson } from "../../src/sinks/exact_json.ts";
import { type KafkaMessage, kafkaSink } from "../../src/sinks/kafka.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import { postgresSink, postgresTransactionSink } from "../../src/sinks/postgres.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { appendSink } from "../../src/sinks/stream.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { loadRedis } from "../engines/clients.ts";
import { FakeRedis } from "./fake_redis.ts";
import { FakeStream } from "./fake_stream.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const HALF = "half \ud83d of a pair";
const verdicts = ({ failed }: DeliveryError) => failed?.map(({ index, retryable }) => [index, retryable]);
/** The second of three records is refused, and nothing is sent. */
const SECOND_OF_THREE = [[0, true], [1, false], [2, true]];

test("redisSink() refuses fields that would be changed, with their name", async () => {
  const client = new FakeRedis();
  const cases: readonly (readonly [fields: unknown, reason: string])[] = [
    [{ text: HALF }, 'field "text" has half of a surrogate pair'],
    [{ [HALF]: "text" }, "half of a surrogate pair"],
    [{ n: 5 }, 'field "n"'],
    [{ n: NaN }, 'field "n"'],
    [{ n: 5n }, 'field "n"'],
    [{ at: new Date(0) }, 'field "at"'],
    [{ gone: undefined }, 'field "gone"'],
    [{ gone: null }, 'field "gone"'],
    [{ raw: new ArrayBuffer(2) }, 'field "raw"'],
    [{ raw: new Float64Array(2) }, 'field "raw"'],
    [new Map([["a", "b"]]), "an entry needs a field"],
    [undefined, ""],
  ];
  for (const [fields, reason] of cases) {
    const sink = redisSink<number>(client, {
      stream: "a",
      fields: (n) => (n === 2 ? fields : { n: String(n) }) as Record<string, string>,
    });
    const refusal = await refusalOf(sink, batchOf([1, 3], (n) => n));
    assertEquals(verdicts(refusal), [[1, false]], reason);
    assertStringIncludes(refusal.failed![0]!.reason, reason);
  }
});

testWithServer(
  "redis",
  "redisSink() adds the widest entry that there can be, and refuses a wider one alone",
  async ({ port }) => {
    const { createClient } = await loadRedis();
    const client = await createClient({ socket: { host: "127.0.0.1", port } }).connect();
    try {
      const sink = redisSink<number>(client, {
        stream: "wide",
        fields: (n) => Object.fromEntries(Array.from({ length: n === 2 ? 3_901 : 3_900 }, (_, i) => [`f${i}`, "x"])),
      });
      assertEquals(verdicts(await refusalOf(sink, batchOf([1, 3], (n) => n))), [[1, false]]);
      assertEquals(await client.xLen("wide"), 2);
    } finally {
      client.destroy();
    }
  },
);

/** Tells a producer of Kafka from other objects that can send. */
const sendBatch = () => Promise.resolve();

test("kafkaSink() refuses a message that the clients would change or fail at, and sends none of its delivery", async () => {
  const sent: KafkaMessage[][] = [];
  const producer = {
    send: ({ messages }: { messages: KafkaMessage[] }) => Promise.resolve(void sent.push(messages)),
    sendBatch,
  };
  const cases: readonly (readonly [message: unknown, reason: string])[] = [
    [{ key: HALF }, "key has half of a surrogate pair"],
    [{ key: 7 }, "key must be a string"],
    [{ value: HALF }, "value has half"],
    [{ value: { a: 1 } }, "value must be a string"],
    [{ headers: { a: 7 } }, 'header "a" must be a string'],
    [{ headers: { a: NaN } }, 'header "a" must be a string'],
    [{ headers: { a: null } }, 'header "a" must be a string'],
    [{ headers: { a: new Date(0) } }, 'header "a" must be a string'],
    [{ headers: { a: HALF } }, 'header "a" has half'],
    [{ headers: { a: ["fine", 7] } }, 'header "a" must be a string'],
    [{ headers: { [HALF]: "a" } }, "a header's name has half"],
    [{ partition: 1.5 }, "partition must be"],
    [7, "message must return an object"],
  ];
  for (const [message, reason] of cases) {
    const sink = kafkaSink<number>(producer, { topic: "a", message: (n) => (n === 2 ? message : {}) as KafkaMessage });
    const refusal = await refusalOf(sink, batchOf([1, 3], (n) => n));
    assertEquals(verdicts(refusal), SECOND_OF_THREE, reason);
    assertStringIncludes(refusal.failed![1]!.reason, reason);
  }
  const throwing = kafkaSink<number>(producer, {
    topic: "a",
    message(n) {
      if (n === 2) throw new Error("no message for it");
      return { key: null, headers: { a: Buffer.from("a"), b: ["c"], d: undefined } };
    },
  });
  const refusal = await refusalOf(throwing, batchOf([1, 3], (n) => n));
  assertEquals(verdicts(refusal), SECOND_OF_THREE);
  assertEquals(sent.length, 0);
  await send(throwing, batchOf([3, 3], (n) => n));
  assertEquals(sent.length, 1);
});

test("natsSink() refuses a subject that would become another one, and publishes what is before it", async () => {
  for (const subject of [HALF, "", "two words", "a\r\nPUB b 1", 7, undefined]) {
    const stream = new FakeStream();
    const sink = natsSink<number>(stream, { stream: "A", subject: (n) => (n === 2 ? subject : "a") as string });
    const refusal = await refusalOf(sink, batchOf([1, 3], (n) => n));
    // The first one isn't named, so it must be there.
    assertEquals(verdicts(refusal), [[1, false], [2, true]], String(subject));
    assertEquals(stream.texts, ["1"]);
    if (typeof subject !== "string") continue;
    assertThrows(() => natsSink(stream, { stream: "A", subject }), TypeError, "subject");
  }
});

test("a line that is no text, or none that UTF-8 can say, is refused alone", async () => {
  const written: string[] = [];
  const lineOf = (line: (n: number) => unknown): Send<number> =>
    appendSink<number>((lines) => void written.push(new TextDecoder().decode(lines)), {
      line: line as (n: number) => string,
    });
  for (const line of [HALF, undefined, null, 5, NaN, 5n, {}, new Uint8Array(2)]) {
    const refusal = await refusalAsync(lineOf((n) => n === 2 ? line : "fine"));
    assertEquals(verdicts(refusal), SECOND_OF_THREE, String(line));
  }
  const throwing = lineOf((n) => {
    if (n === 2) throw new Error("no line for it");
    return "fine";
  });
  const refusal = await refusalAsync(throwing);
  assertEquals(verdicts(refusal), SECOND_OF_THREE);
  assertStringIncludes(refusal.failed![1]!.reason, "no line for it");
  assertEquals(written, []);
  await send(throwing, batchOf([3, 3], (n) => n));
  assertEquals(written, ["fine\n"]);

  function refusalAsync(sink: Send<number>): Promise<DeliveryError> {
    return refusalOf(
      (delivery, context) => Promise.resolve().then(() => sink(delivery, context)),
      batchOf([1, 3], (n) => n),
    );
  }
});

test("a payload that doesn't decode is no refusal of the sink's: the producer is told of it", async () => {
  const bad = new CodecError({ operation: "decode", sequence: 2, reason: "no JSON" });
  const delivery = Object.defineProperty({ ...deliveryOf([1, 2, 3]) }, "records", {
    get() {
      throw bad;
    },
  });
  const client = new FakeRedis();
  const sql = {
    begin: (body: (transaction: never) => Promise<void>) =>
      body(
        { unsafe: () => Promise.resolve(Object.assign([], { count: 0 })), savepoint: () => Promise.resolve() } as never,
      ),
  };
  const producer = { send: () => Promise.resolve(), sendBatch };
  const sinks: readonly Send<number>[] = [
    redisSink<number>(client, { stream: "a", fields: () => ({ a: "b" }) }),
    kafkaSink<number>(producer, { topic: "a", message: () => ({}) }),
    natsSink<number>(new FakeStream(), { stream: "A", subject: () => "a" }),
    appendSink<number>(() => {}, { line: () => "a" }),
    postgresSink<number>(sql, { table: "a" }),
    postgresTransactionSink<number, never>(sql as never, { apply: () => Promise.resolve() }),
  ];
  for (const sink of sinks) {
    assertEquals(await assertRejects(async () => await sink(delivery, contextOf())), bad);
  }
});

test("exactJson() writes what JSON.parse() gives back, and refuses all else with its place", () => {
  const fine: unknown[] = [null, true, "", '"\\\u2028', -1.5, 1e300, 5e-324, [], {}, [[{ a: [1] }]], {
    "": 0,
    __proto__x: 1,
  }];
  for (const value of fine) {
    assertEquals(exactJson(value), JSON.stringify(value));
    assertEquals(JSON.parse(exactJson(value)), value);
  }
  assertEquals(
    exactJson([-0, 2 ** 53, 2 ** 53 + 2, 2n ** 80n, 1e21]),
    "[-0,9007199254740992,9007199254740994,1208925819614629174706176,1e+21]",
  );
  assertEquals(
    exactJson({ u: undefined, d: new Date(0), n: Object.create(null) }),
    '{"d":"1970-01-01T00:00:00.000Z","n":{}}',
  );
  const own = JSON.parse('{"__proto__":1}');
  assertEquals(exactJson(own), '{"__proto__":1}');
  for (
    const [value, place] of [[{ a: [{ "b c": NaN }] }, ".a[0].b c"], [[, 1], "[0]"], [[new Map()], "[0]"]] as const
  ) {
    assertThrows(() => exactJson(value), TypeError, place);
  }
  // The codecs' own values come through.
  for (const codec of [jsonCodec<unknown>(), textCodec()]) {
    assertEquals(exactJson(codec.decode(codec.encode("ü"), 0)), '"ü"');
  }
});
