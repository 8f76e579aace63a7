/**
 * The Kafka sink and the three clients' own shapes: their types, to which `deno check` holds it, what each is given, what is passed
 * on, and which objects and options are refused.
 */

import { Buffer } from "node:buffer";
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
// Types only, so that Bun and Node, which strip them, don't look for the packages.
import type { KafkaJS as Confluent } from "npm:@confluentinc/kafka-javascript@1.10.1";
import type * as Platformatic from "npm:@platformatic/kafka@1.35.0";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import {
  kafkaIdentity,
  type KafkaMessage,
  type KafkaProducer,
  kafkaSink,
  type KafkaSinkOptions,
  type PlatformaticMessage,
  type PlatformaticProducer,
} from "../../src/sinks/kafka.ts";
import { contextOf, UUID } from "../support/deliveries.ts";
import { type Click, clicks, sendBatch } from "./kafka_tools.ts";

/** Never called: that it passes the type check is the test. */
export function acceptsAllClients(
  kafkajs: KafkaJs.Producer,
  confluent: Confluent.Producer,
  platformatic: Platformatic.Producer,
): (KafkaProducer | PlatformaticProducer)[] {
  return [kafkajs, confluent, platformatic];
}

/** That what a consumer of any client gets can be read. */
export function readsAllClients(
  kafkajs: KafkaJs.KafkaMessage,
  confluent: Confluent.KafkaMessage,
  platformatic: Platformatic.Message,
  ofStrings: Platformatic.Message<string, string, string, string>,
): ReturnType<typeof kafkaIdentity>[] {
  return [kafkajs.headers, confluent.headers, platformatic.headers, ofStrings.headers].map(kafkaIdentity);
}

test("kafkaSink() gives the client new messages in each attempt, without acks unless told", async () => {
  const given: { messages: KafkaMessage[] }[] = [];
  const producer: KafkaProducer = {
    sendBatch,
    send(record) {
      given.push(record);
      for (const message of record.messages) Object.assign(message, { headers: [], partition: -1 });
      return Promise.resolve();
    },
  };
  const send = kafkaSink<Click>(producer, { topic: "clicks" });
  const delivery = clicks(1);
  for (const attempt of [1, 2]) await send(delivery, contextOf({ attempt }));
  assert(given[0]!.messages[0] !== given[1]!.messages[0], "the same message");
  assertEquals(given.map((record) => Object.keys(record)), [["topic", "messages"], ["topic", "messages"]]);
  assertEquals(new TextDecoder().decode(delivery.payloads[0]), '{"user":"user 0","n":0}');
});

test("kafkaSink() gives the client Buffers, whatever bytes a message is made of", async () => {
  const sent: KafkaMessage[] = [];
  const producer: KafkaProducer = { send: ({ messages }) => Promise.resolve(sent.push(...messages)), sendBatch };
  const bytes = new TextEncoder().encode("-ab-").subarray(1, 3);
  const message = () => ({ key: bytes, value: bytes, headers: { one: bytes, many: [bytes, "ab"], none: undefined } });
  await kafkaSink<Click>(producer, { topic: "clicks", message })(clicks(1), contextOf());
  await kafkaSink<Click>(producer, { topic: "clicks", message: () => ({ value: null }) })(clicks(1), contextOf());
  const [{ key, value, headers }, deleting] = sent as [KafkaMessage, KafkaMessage];
  for (const found of [key, value, headers!["one"], (headers!["many"] as unknown[])[0]]) {
    assertEquals([Buffer.isBuffer(found), String(found)], [true, "ab"]);
  }
  assertEquals([(headers!["many"] as unknown[])[1], "none" in headers!, deleting.value], ["ab", false, null]);
});

test("kafkaSink() has a key and a value where a message leaves them undefined", async () => {
  const sent: KafkaMessage[] = [];
  const producer: KafkaProducer = { send: ({ messages }) => Promise.resolve(sent.push(...messages)), sendBatch };
  const delivery = clicks(1);
  const message = () => ({ key: undefined, value: undefined, partition: undefined, headers: undefined }) as never;
  await kafkaSink<Click>(producer, { topic: "clicks", message })(delivery, contextOf());
  await kafkaSink<Click>(producer, { topic: "clicks" })(delivery, contextOf());
  assertEquals(sent[0], sent[1]);
});

test("kafkaSink() passes compression, acks and timeout on to kafkajs", async () => {
  const given: Record<string, unknown>[] = [];
  const producer: KafkaProducer = { send: (record) => Promise.resolve(given.push({ ...record })), sendBatch };
  const options: readonly Partial<KafkaSinkOptions<Click>>[] = [
    { acks: 1, timeoutMs: 500 },
    { compression: "gzip" },
    { compression: "zstd" },
  ];
  for (const one of options) await kafkaSink<Click>(producer, { topic: "clicks", ...one })(clicks(1), contextOf());
  assertEquals(given.map(({ messages: _, ...rest }) => rest), [
    { topic: "clicks", acks: 1, timeout: 500 },
    { topic: "clicks", compression: 1 },
    { topic: "clicks", compression: 4 },
  ]);
});

test("kafkaSink() gives @platformatic/kafka bytes, the topic in each message, and acks of all replicas", async () => {
  const given: { messages: PlatformaticMessage[]; acks?: number; compression?: string }[] = [];
  const producer: PlatformaticProducer = {
    asStream: () => {},
    send(options) {
      given.push(options);
      return Promise.resolve({ offsets: [] });
    },
  };
  await kafkaSink<Click>(producer, { topic: "clicks" })(clicks(1, 5), contextOf());
  const message = ({ user }: Click) => ({ key: user, value: null, partition: 2, headers: { a: ["b", "c"], d: "e" } });
  await kafkaSink<Click>(producer, { topic: "clicks", acks: 1, compression: "lz4", message })(
    clicks(1, 5),
    contextOf(),
  );
  const [plain, own] = given.map(({ messages }) => messages[0]!);
  const textsOf = ({ headers }: PlatformaticMessage) =>
    [...headers as Map<Buffer, Buffer>].map((pair) => pair.map(String));
  assertEquals([plain!.topic, String(plain!.key), String(plain!.value)], [
    "clicks",
    `${UUID}-1234abcd-5-5`,
    '{"user":"user 0","n":0}',
  ]);
  const identity = ["sluice-record", `${UUID}-1234abcd-5-5:5`];
  assertEquals([textsOf(plain!), plain!.partition], [[identity], undefined]);
  assertEquals([String(own!.key), own!.value as unknown, own!.partition], ["user 0", null, 2]);
  assertEquals(textsOf(own!), [["a", "b"], ["a", "c"], ["d", "e"], identity]);
  for (const [name, value] of [plain!, own!].flatMap(({ headers }) => [...headers as Map<Buffer, Buffer>])) {
    assert(Buffer.isBuffer(name) && Buffer.isBuffer(value));
  }
  assertEquals(given.map(({ acks, compression }) => [acks, compression]), [[-1, undefined], [1, "lz4"]]);
});

test("kafkaIdentity() reads strings and bytes, objects and maps, and nothing that isn't the sink's", () => {
  const identity = { batchId: "b-1-2", sequence: 2 };
  const bytes = Buffer.from("b-1-2:2");
  for (
    const headers of [
      { "sluice-record": "b-1-2:2", other: "x" },
      { "sluice-record": bytes },
      { "sluice-record": new Uint8Array(bytes) },
      new Map([["other", "x"], ["sluice-record", "b-1-2:2"]]),
      new Map([[Buffer.from("sluice-record"), bytes]]),
    ]
  ) assertEquals(kafkaIdentity(headers), identity);
  for (
    const headers of [
      undefined,
      {},
      new Map(),
      { "sluice-record": "b" },
      { "sluice-record": "b:x" },
      { "sluice-record": ":2" },
      { "sluice-record": ["b:2", "c:2"] },
    ]
  ) assertEquals(kafkaIdentity(headers), undefined);
});

test("kafkaSink() refuses what is no producer of a client that fits, and names those", () => {
  const send = () => Promise.resolve();
  const withSerializers = { send, asStream: send, [Symbol("plt.kafka.base.options")]: { serializers: { key: send } } };
  const wrong: readonly unknown[] = [
    undefined,
    null,
    {},
    () => {},
    { producer: { send, sendBatch }, topic: "clicks" }, // the options of the version before
    { send }, // AWS, a WebSocket, a mailer
    { sendBatch },
    { produce: send, connect: send, flush: send }, // the callback API of @confluentinc/kafka-javascript
    { producer: send, consumer: send, admin: send }, // new Kafka()
    { subscribe: send, run: send, connect: send }, // a consumer
    Promise.resolve({ send, sendBatch }),
  ];
  for (const producer of wrong) {
    const error = assertThrows(() => kafkaSink(producer as KafkaProducer, { topic: "clicks" }), TypeError);
    for (const name of ["kafkajs", "@confluentinc/kafka-javascript", "@platformatic/kafka"]) {
      assertStringIncludes(error.message, name);
    }
  }
  assertThrows(() => kafkaSink(withSerializers, { topic: "clicks" }), TypeError, "made without serializers");
});

test("kafkaSink() refuses wrong options by name, and those that a client takes elsewhere", () => {
  const send = () => Promise.resolve();
  const kafkajs = { send, sendBatch };
  const confluent = { send, sendBatch, flush: send };
  const platformatic = { send, asStream: send };
  const wrong: readonly (readonly [name: string, producer: KafkaProducer | PlatformaticProducer, options: unknown])[] =
    [
      ["topic", kafkajs, { topic: "" }],
      ["topic", kafkajs, { topic: 7 }],
      ["acks", kafkajs, { acks: 0 }],
      ["acks", kafkajs, { acks: "all" }],
      ["compression", kafkajs, { compression: "brotli" }],
      ["compression", platformatic, { compression: 1 }],
      ["timeoutMs", kafkajs, { timeoutMs: 0 }],
      ["timeoutMs", kafkajs, { timeoutMs: 2 ** 31 }],
      ["acks to its producer", confluent, { acks: -1 }],
      ["compression to its producer", confluent, { compression: "gzip" }],
      ["timeout to its producer", confluent, { timeoutMs: 5 }],
      ["timeout to its producer", platformatic, { timeoutMs: 5 }],
    ];
  for (const [name, producer, options] of wrong) {
    const make = () => kafkaSink(producer, { topic: "clicks", ...options as object });
    assertStringIncludes(assertThrows(make, TypeError).message, name);
  }
});
