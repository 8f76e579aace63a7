/**
 * The Kafka sink: with the real client `kafkajs` against the scripted broker of `kafka_peer.ts`; against the types of all three
 * clients, which `deno check` holds it to; and with the errors that they are known to throw.
 */

import { Buffer } from "node:buffer";
import { after, test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
// Types only, so that Bun and Node, which strip them, don't look for the packages.
import type { KafkaJS as Confluent } from "npm:@confluentinc/kafka-javascript@1.10.1";
import type * as Platformatic from "npm:@platformatic/kafka@1.35.0";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import { deadLetterCodec, DeliveryError, MemoryBuffer, Producer } from "../../mod.ts";
import {
  kafkaIdentity,
  type KafkaMessage,
  type KafkaProducer,
  kafkaSink,
  type KafkaSinkOptions,
  type PlatformaticMessage,
  type PlatformaticProducer,
} from "../../src/sinks/kafka.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";
import { watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { KafkaPeer, type Reaction, type StoredMessage } from "./kafka_peer.ts";
import { loadPackage } from "../support/npm_packages.ts";

interface Click {
  readonly user: string;
  readonly n: number;
}

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

const loaded = await loadPackage<typeof KafkaJs>("kafkajs", "2.2.4");
after(() => loaded?.remove());
const WITH_CLIENT = { skip: loaded === undefined ? "kafkajs can't be fetched here" : false };

interface Open {
  readonly peer: KafkaPeer;
  readonly producer: KafkaJs.Producer;
}

/** Runs a broker and a connected producer that doesn't retry by itself, until `use` has ended. */
async function withClient(config: KafkaJs.ProducerConfig, use: (open: Open) => Promise<void>): Promise<void> {
  const { Kafka, logLevel, Partitioners } = loaded!.module;
  const peer = await KafkaPeer.start();
  const kafka = new Kafka({
    brokers: [peer.address],
    logLevel: logLevel.NOTHING,
    requestTimeout: 5_000,
    retry: { retries: 0 },
  });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...config });
  try {
    await producer.connect();
    await use({ peer, producer });
  } finally {
    await producer.disconnect();
    await peer.stop();
  }
}

const clicks = (count: number, firstSequence = 1) =>
  deliveryOf<Click>(Array.from({ length: count }, (_, n) => ({ user: `user ${n % 3}`, n })), { firstSequence });

/** What a consumer keeps that skips what it has: the rule of the sink's head comment. */
function deduplicated(messages: readonly StoredMessage[]): string[] {
  const seen = new Set<string>();
  return messages.flatMap(({ headers, value }) => {
    const { batchId, sequence } = kafkaIdentity(headers)!;
    const id = `${batchId} ${sequence}`;
    if (seen.has(id)) return [];
    seen.add(id);
    return [value!];
  });
}

test(
  "kafkaSink() sends a message for each record, with the batch as key and the identity in a header",
  WITH_CLIENT,
  async () => {
    await withClient({}, async ({ peer, producer }) => {
      await kafkaSink<Click>(producer, { topic: "clicks" })(clicks(3, 5), contextOf());
      const batchId = `${UUID}-1234abcd-5-7`;
      assertEquals(peer.batches.length, 1, "one delivery is one record batch");
      assertEquals(peer.batches[0]!.topic, "clicks");
      assertEquals(
        peer.messages.map(({ key, value, headers }) => ({ key, value, headers: { ...headers } })),
        [5, 6, 7].map((sequence, n) => ({
          key: batchId,
          value: `{"user":"user ${n}","n":${n}}`,
          headers: { "sluice-record": `${batchId}:${sequence}` },
        })),
      );
      assertEquals(peer.acks, [-1]);
    });
  },
);

test("kafkaSink() puts all copies of a batch into one partition, and batches into several", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer }) => {
    const send = kafkaSink<Click>(producer, { topic: "clicks" });
    for (const attempt of [1, 2, 3]) {
      for (let batch = 0; batch < 10; batch++) await send(clicks(2, 2 * batch + 1), contextOf({ attempt }));
    }
    const partitionsOf = new Map<string, Set<number>>();
    for (const { partition, messages } of peer.batches) {
      const { batchId } = kafkaIdentity(messages[0]!.headers)!;
      partitionsOf.set(batchId, (partitionsOf.get(batchId) ?? new Set()).add(partition));
    }
    assertEquals([...partitionsOf.values()].map(({ size }) => size), Array(10).fill(1));
    assert(new Set(peer.batches.map(({ partition }) => partition)).size > 1, "all batches in one partition");
  });
});

test(
  "kafkaSink() takes key, value, partition, headers and acks from the user, but not the identity",
  WITH_CLIENT,
  async () => {
    await withClient({}, async ({ peer, producer }) => {
      const send = kafkaSink<Click>(producer, {
        topic: "clicks",
        acks: 1,
        message: ({ user, n }, { sequence }) => ({
          key: user,
          value: n === 1 ? null : `${n} at ${sequence}`,
          partition: 2,
          headers: { source: "web", "sluice-record": "mine" },
        }),
      });
      await send(clicks(2, 5), contextOf());
      assertEquals(
        peer.messages.map(({ partition, key, value, headers }) => [partition, key, value, headers]),
        [[5, "user 0", "0 at 5"], [6, "user 1", null]].map(([sequence, key, value]) => [2, key, value, {
          source: "web",
          "sluice-record": `${UUID}-1234abcd-5-6:${sequence}`,
        }]),
      );
      assertEquals(peer.acks, [1]);
    });
  },
);

test("kafkaSink() names batch and sequence of a part as those of the whole", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer }) => {
    const send = kafkaSink<Click>(producer, { topic: "clicks" });
    await send(
      deliveryOf<Click>([{ user: "a", n: 1 }], { id: "half", batchId: "whole", firstSequence: 9 }),
      contextOf(),
    );
    assertEquals(kafkaIdentity(peer.messages[0]!.headers), { batchId: "whole", sequence: 9 });
  });
});

/**
 * What an error means: too large and is halved; halved until the record at fault is left, which is refused; the target's, which
 * passes by itself or lasts until somebody acts; the end.
 */
const outcomeOf = ({ scope, tooLarge, split, retryable, final }: DeliveryError): string => {
  if (scope === "target") return final ? "final" : retryable ? "passes" : "lasts";
  return tooLarge ? "too large" : split && !retryable ? "bad record" : "unexpected";
};

const ANSWERS: readonly (readonly [name: string, errorCode: number, outcome: string])[] = [
  ["UNKNOWN_SERVER_ERROR", -1, "passes"],
  ["CORRUPT_MESSAGE", 2, "bad record"],
  ["UNKNOWN_TOPIC_OR_PARTITION", 3, "lasts"],
  ["LEADER_NOT_AVAILABLE", 5, "passes"],
  ["NOT_LEADER_OR_FOLLOWER", 6, "passes"],
  ["REQUEST_TIMED_OUT", 7, "passes"],
  ["MESSAGE_TOO_LARGE", 10, "too large"],
  ["INVALID_TOPIC_EXCEPTION", 17, "lasts"],
  ["RECORD_LIST_TOO_LARGE", 18, "too large"],
  ["NOT_ENOUGH_REPLICAS", 19, "passes"],
  ["TOPIC_AUTHORIZATION_FAILED", 29, "lasts"],
  ["CLUSTER_AUTHORIZATION_FAILED", 31, "lasts"],
  ["INVALID_TIMESTAMP", 32, "bad record"],
  ["TRANSACTIONAL_ID_AUTHORIZATION_FAILED", 53, "lasts"],
  ["KAFKA_STORAGE_ERROR", 56, "passes"],
  ["SASL_AUTHENTICATION_FAILED", 58, "lasts"],
  ["UNSUPPORTED_COMPRESSION_TYPE", 76, "lasts"],
  ["INVALID_RECORD", 87, "bad record"],
];

for (const [name, errorCode, outcome] of ANSWERS) {
  test(`kafkaSink() answered ${name}: ${outcome}`, WITH_CLIENT, async () => {
    await withClient({}, async ({ peer, producer }) => {
      peer.script.push({ errorCode });
      const send = kafkaSink<Click>(producer, { topic: "clicks" });
      const error = await assertRejects(async () => await send(clicks(2), contextOf()), DeliveryError);
      assertEquals([outcomeOf(error), error.failed, peer.batches.length], [outcome, undefined, 0]);
      assertInstanceOf(error.cause, Error);
      await send(clicks(2), contextOf({ attempt: 2 }));
      assertEquals(peer.batches.length, 1);
    });
  });
}

test("kafkaSink() has one record that a broker refuses put aside, and all others delivered", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer: client }) => {
    peer.isInvalid = ({ value }) => JSON.parse(value!).n === 7;
    const buffer = await MemoryBuffer.open<Click>({ maxRecords: 50 });
    const dead = await MemoryBuffer.open({ codec: deadLetterCodec(buffer.codec) });
    const send = kafkaSink<Click>(client, { topic: "clicks" });
    const producer = new Producer<Click>({ buffer, send, deadLetters: dead, retry: { firstDelayMs: 1 } });
    await producer.putMany(clicks(50).records);
    await producer.flush();
    await producer.close();
    assertEquals(peer.messages.map(({ value }) => JSON.parse(value!).n).sort((a, b) => a - b), [
      ...[...Array(50).keys()].filter((n) => n !== 7),
    ]);
    const { records: [letter], length } = await dead.emit();
    assertEquals([length, letter!.sequence], [1, 8]);
    await buffer.close();
    await dead.close();
  });
});

const CUTS: readonly Reaction[] = ["cut", "store-then-cut", "store-then-cut-half"];

for (const reaction of CUTS) {
  for (const idempotent of [false, true]) {
    const how = `${reaction}${idempotent ? ", idempotent" : ""}`;
    test(
      `kafkaSink() sends again after a connection is lost (${how}); a consumer gets each record once`,
      WITH_CLIENT,
      async () => {
        // An idempotent producer insists on retries of its own; they are what it is for.
        const config = idempotent ? { idempotent, retry: { retries: 1, initialRetryTime: 1 } } : {};
        await withClient(config, async ({ peer, producer }) => {
          const send = kafkaSink<Click>(producer, { topic: "clicks" });
          await send(clicks(2, 1), contextOf());
          peer.script.push(reaction, reaction);
          let attempt = 1;
          for (;; attempt++) {
            try {
              await send(clicks(2, 3), contextOf({ attempt }));
              break;
            } catch (error) {
              assertInstanceOf(error, DeliveryError);
              assertEquals(outcomeOf(error), "passes");
            }
          }
          await send(clicks(2, 5), contextOf());
          assert(attempt > 1, "nothing has failed");
          const copies = reaction === "cut" ? 0 : 2;
          assertEquals(peer.batches.length, 3 + copies, "the broker has a copy of each attempt that it has stored");
          const [first] = deduplicated(peer.messages);
          assertEquals(first, '{"user":"user 0","n":0}');
          assertEquals(deduplicated(peer.messages).length, 6);
        });
      },
    );
  }
}

test(
  "kafkaSink() gets a new producer id from the broker after a restart, so that idempotence can't know a copy",
  WITH_CLIENT,
  async () => {
    const { Kafka, logLevel } = loaded!.module;
    const peer = await KafkaPeer.start();
    for (let life = 0; life < 2; life++) {
      const producer = new Kafka({ brokers: [peer.address], logLevel: logLevel.NOTHING }).producer({
        idempotent: true,
      });
      await producer.connect();
      await kafkaSink<Click>(producer, { topic: "clicks" })(clicks(2), contextOf());
      await producer.disconnect();
    }
    await peer.stop();
    const [one, other] = peer.batches;
    assert(one!.producerId !== other!.producerId, "the same producer id");
    assertEquals([one!.baseSequence, other!.baseSequence], [0, 0]);
    assertEquals(deduplicated(peer.messages).length, 2);
  },
);

test("kafkaSink() ends with the signal's reason while a broker hangs", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer }) => {
    peer.script.push("store-then-hang");
    const controller = new AbortController();
    const reason = new Error("given up");
    const send = kafkaSink<Click>(producer, { topic: "clicks" });
    const sent = watch(Promise.resolve(send(clicks(1), contextOf({ signal: controller.signal }))));
    while (peer.batches.length === 0) await settle();
    assertEquals(sent.state, "pending");
    controller.abort(reason);
    await settle();
    assertEquals(sent.error, reason);
    await peer.stop();
    await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError);
  });
});

const sendBatch = (): Promise<void> => Promise.resolve();

/** A producer that fails so. */
const failing = (error: unknown): KafkaProducer => ({ send: () => Promise.reject(error), sendBatch });

async function outcomeFor(thrown: unknown): Promise<string> {
  const send = kafkaSink<Click>(failing(thrown), { topic: "clicks" });
  const error = await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError);
  assertEquals(error.cause, thrown);
  return outcomeOf(error);
}

/** Errors in the shape of `@confluentinc/kafka-javascript`, whose binding can't be built everywhere. */
test("kafkaSink() understands the errors of @confluentinc/kafka-javascript by their code", async () => {
  const shapes: readonly (readonly [code: number, outcome: string])[] = [
    [10, "too large"], // ERR_MSG_SIZE_TOO_LARGE, also from librdkafka itself
    [18, "too large"],
    [29, "lasts"],
    [-186, "lasts"], // ERR__INVALID_ARG
    [-188, "lasts"], // ERR__UNKNOWN_TOPIC
    [-190, "bad record"], // ERR__UNKNOWN_PARTITION
    [-169, "lasts"], // ERR__AUTHENTICATION
    [-184, "passes"], // ERR__QUEUE_FULL
    [-187, "passes"], // ERR__ALL_BROKERS_DOWN
    [-192, "passes"], // ERR__MSG_TIMED_OUT
    [-195, "passes"], // ERR__TRANSPORT
    [-1, "passes"],
    [-172, "final"], // ERR__STATE: not connected, or closed
    [-150, "final"], // ERR__FATAL
  ];
  for (const [code, outcome] of shapes) {
    const thrown = Object.assign(new Error("from librdkafka"), { name: "KafkaJSError", code, retriable: false });
    assertEquals([code, await outcomeFor(thrown)], [code, outcome]);
  }
});

/** `new Producer().send()` throws a sum of sums. */
test("kafkaSink() understands the errors of @platformatic/kafka by their codes, however deep", async () => {
  const failure = (code: string, more: Record<string, unknown> = {}) =>
    Object.assign(new Error(code), { code, ...more });
  const sum = (...errors: Error[]) =>
    Object.assign(new AggregateError(errors, "several"), { code: "PLT_KFK_MULTIPLE" });
  const protocol = (apiCode: number) => sum(sum(failure("PLT_KFK_PROTOCOL", { apiCode })));
  const shapes: readonly (readonly [thrown: Error, outcome: string])[] = [
    [protocol(10), "too large"],
    [protocol(87), "bad record"],
    [protocol(29), "lasts"],
    [protocol(6), "passes"],
    // One broker's verdict on its records doesn't count as long as another one is ill.
    [sum(protocol(87), protocol(29)), "lasts"],
    [failure("PLT_KFK_NETWORK"), "passes"],
    [failure("PLT_KFK_TIMEOUT"), "passes"],
    [sum(failure("PLT_KFK_AUTHENTICATION")), "lasts"],
    [failure("PLT_KFK_UNSUPPORTED_COMPRESSION"), "lasts"],
    [failure("PLT_KFK_NETWORK", { closed: true }), "final"],
  ];
  for (const [thrown, outcome] of shapes) assertEquals(await outcomeFor(thrown), outcome, thrown.message);
  const send = kafkaSink<Click>(failing(sum(sum(failure("the real reason")))), { topic: "clicks" });
  await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError, "the real reason");
});

test("kafkaSink() finds a code behind wrapped errors, and takes what has none for the target's fault", async () => {
  const named = (name: string, cause?: Error) => Object.assign(new Error(name, { cause }), { name, retriable: false });
  const inner = Object.assign(new Error("too large"), { code: 10 });
  const cyclic = new Error("cyclic");
  cyclic.cause = cyclic;
  const thrown: readonly (readonly [unknown, string])[] = [
    [new Error("outer", { cause: new Error("middle", { cause: inner }) }), "too large"],
    [Object.assign(new Error("refused"), { code: "ECONNREFUSED" }), "passes"],
    [named("KafkaJSConnectionClosedError"), "passes"],
    [named("KafkaJSNonRetriableError", named("KafkaJSConnectionError")), "passes"],
    [named("KafkaJSNumberOfRetriesExceeded", named("KafkaJSRequestTimeoutError")), "passes"],
    [named("KafkaJSNonRetriableError", named("KafkaJSSASLAuthenticationError")), "lasts"],
    [named("KafkaJSNotImplemented"), "lasts"],
    ["a string", "passes"],
    [undefined, "passes"],
    [cyclic, "passes"],
  ];
  for (const [error, outcome] of thrown) assertEquals(await outcomeFor(error), outcome, String(error));
});

test("kafkaSink() says that a client is not connected, or was disconnected, which is final", WITH_CLIENT, async () => {
  const { Kafka, logLevel } = loaded!.module;
  const peer = await KafkaPeer.start();
  const producer = new Kafka({ brokers: [peer.address], logLevel: logLevel.NOTHING }).producer();
  const send = kafkaSink<Click>(producer, { topic: "clicks" });
  const refused = () => assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError, "is disconnected");
  assertEquals(outcomeOf(await refused()), "final");
  await producer.connect();
  await send(clicks(1), contextOf());
  await producer.disconnect();
  assertEquals(outcomeOf(await refused()), "final");
  await peer.stop();
});

test(
  "kafkaSink() refuses a partition that the topic doesn't have, which kafkajs drops in silence",
  WITH_CLIENT,
  async () => {
    await withClient({}, async ({ peer, producer }) => {
      const send = kafkaSink<Click>(producer, {
        topic: "clicks",
        message: ({ n }) => ({ partition: n === 1 ? 99 : 0 }),
      });
      const { failed } = await assertRejects(async () => await send(clicks(3), contextOf()), DeliveryError);
      assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[1, false]]);
      assertEquals(peer.messages.length, 2);
    });
  },
);

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
  assertEquals([(headers!["many"] as unknown[])[1], headers!["none"], deleting.value], ["ab", undefined, null]);
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
