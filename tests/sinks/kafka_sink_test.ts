/**
 * The Kafka sink: with the real client `kafkajs` against the scripted broker of `kafka_peer.ts`; against the types of both
 * clients, which `deno check` holds it to; and with the errors that both are known to throw.
 */

import { Buffer } from "node:buffer";
import { after, test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
// Types only, so that Bun and Node, which strip them, don't look for the packages.
import type { KafkaJS as Confluent } from "npm:@confluentinc/kafka-javascript@1.10.1";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import { DeliveryError } from "../../src/errors/mod.ts";
import { kafkaIdentity, type KafkaMessage, type KafkaProducer, kafkaSink } from "../../src/sinks/kafka.ts";
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
export function acceptsBothClients(kafkajs: KafkaJs.Producer, confluent: Confluent.Producer): KafkaProducer[] {
  return [kafkajs, confluent];
}

/** That what a consumer of either client gets can be read. */
export function readsBothClients(
  kafkajs: KafkaJs.KafkaMessage,
  confluent: Confluent.KafkaMessage,
): ReturnType<typeof kafkaIdentity>[] {
  return [kafkaIdentity(kafkajs.headers), kafkaIdentity(confluent.headers)];
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
  "kafkaSink() sends a message for each record, with the batch as key and the identity in the headers",
  WITH_CLIENT,
  async () => {
    await withClient({}, async ({ peer, producer }) => {
      await kafkaSink<Click>({ producer, topic: "clicks" })(clicks(3, 5), contextOf());
      const batchId = `${UUID}-1234abcd-5-7`;
      assertEquals(peer.batches.length, 1, "one delivery is one record batch");
      assertEquals(peer.batches[0]!.topic, "clicks");
      assertEquals(
        peer.messages.map(({ key, value, headers }) => ({ key, value, headers: { ...headers } })),
        [5, 6, 7].map((sequence, n) => ({
          key: batchId,
          value: `{"user":"user ${n}","n":${n}}`,
          headers: { "sluice-batch": batchId, "sluice-sequence": String(sequence) },
        })),
      );
      assertEquals(peer.acks, [-1]);
    });
  },
);

test("kafkaSink() puts all copies of a batch into one partition, and batches into several", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer }) => {
    const send = kafkaSink<Click>({ producer, topic: "clicks" });
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
      const send = kafkaSink<Click>({
        producer,
        topic: "clicks",
        acks: 1,
        message: ({ user, n }, { sequence }) => ({
          key: user,
          value: n === 1 ? null : `${n} at ${sequence}`,
          partition: 2,
          headers: { source: "web", "sluice-sequence": "mine" },
        }),
      });
      await send(clicks(2, 5), contextOf());
      assertEquals(
        peer.messages.map(({ partition, key, value, headers }) => [partition, key, value, headers]),
        [[5, "user 0", "0 at 5"], [6, "user 1", null]].map(([sequence, key, value]) => [2, key, value, {
          source: "web",
          "sluice-batch": `${UUID}-1234abcd-5-6`,
          "sluice-sequence": String(sequence),
        }]),
      );
      assertEquals(peer.acks, [1]);
    });
  },
);

test("kafkaSink() names batch and sequence of a part as those of the whole", WITH_CLIENT, async () => {
  await withClient({}, async ({ peer, producer }) => {
    const send = kafkaSink<Click>({ producer, topic: "clicks" });
    await send(
      deliveryOf<Click>([{ user: "a", n: 1 }], { id: "half", batchId: "whole", firstSequence: 9 }),
      contextOf(),
    );
    assertEquals(kafkaIdentity(peer.messages[0]!.headers), { batchId: "whole", sequence: 9 });
  });
});

const ANSWERS: readonly (readonly [name: string, errorCode: number, outcome: string])[] = [
  ["UNKNOWN_SERVER_ERROR", -1, "retry"],
  ["LEADER_NOT_AVAILABLE", 5, "retry"],
  ["NOT_LEADER_OR_FOLLOWER", 6, "retry"],
  ["REQUEST_TIMED_OUT", 7, "retry"],
  ["MESSAGE_TOO_LARGE", 10, "too large"],
  ["INVALID_TOPIC_EXCEPTION", 17, "final"],
  ["RECORD_LIST_TOO_LARGE", 18, "too large"],
  ["NOT_ENOUGH_REPLICAS", 19, "retry"],
  ["TOPIC_AUTHORIZATION_FAILED", 29, "final"],
  ["INVALID_RECORD", 87, "final"],
];

const outcomeOf = ({ tooLarge, retryable }: DeliveryError): string =>
  tooLarge ? "too large" : retryable ? "retry" : "final";

for (const [name, errorCode, outcome] of ANSWERS) {
  test(`kafkaSink() answered ${name}: ${outcome}`, WITH_CLIENT, async () => {
    await withClient({}, async ({ peer, producer }) => {
      peer.script.push({ errorCode });
      const send = kafkaSink<Click>({ producer, topic: "clicks" });
      const error = await assertRejects(async () => await send(clicks(2), contextOf()), DeliveryError);
      assertEquals([outcomeOf(error), error.failed, peer.batches.length], [outcome, undefined, 0]);
      assertInstanceOf(error.cause, Error);
      await send(clicks(2), contextOf({ attempt: 2 }));
      assertEquals(peer.batches.length, 1);
    });
  });
}

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
          const send = kafkaSink<Click>({ producer, topic: "clicks" });
          await send(clicks(2, 1), contextOf());
          peer.script.push(reaction, reaction);
          let attempt = 1;
          for (;; attempt++) {
            try {
              await send(clicks(2, 3), contextOf({ attempt }));
              break;
            } catch (error) {
              assertInstanceOf(error, DeliveryError);
              assertEquals(outcomeOf(error), "retry");
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
      await kafkaSink<Click>({ producer, topic: "clicks" })(clicks(2), contextOf());
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
    const send = kafkaSink<Click>({ producer, topic: "clicks" });
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

/** A producer that fails so. */
const failing = (error: unknown): KafkaProducer => ({ send: () => Promise.reject(error) });

/** Errors in the shape of `@confluentinc/kafka-javascript`, whose binding can't be built everywhere. */
test("kafkaSink() understands the errors of @confluentinc/kafka-javascript by their code", async () => {
  const shapes: readonly (readonly [code: number, outcome: string])[] = [
    [10, "too large"], // ERR_MSG_SIZE_TOO_LARGE, also from librdkafka itself
    [18, "too large"],
    [29, "final"],
    [-186, "final"], // ERR__INVALID_ARG
    [-184, "retry"], // ERR__QUEUE_FULL
    [-192, "retry"], // ERR__MSG_TIMED_OUT
    [-195, "retry"], // ERR__TRANSPORT
    [-172, "retry"], // ERR__STATE: not connected
    [-1, "retry"],
  ];
  for (const [code, outcome] of shapes) {
    const thrown = Object.assign(new Error("from librdkafka"), { name: "KafkaJSError", code, retriable: false });
    const send = kafkaSink<Click>({ producer: failing(thrown), topic: "clicks" });
    const error = await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError);
    assertEquals([code, outcomeOf(error)], [code, outcome]);
    assertEquals(error.cause, thrown);
  }
});

test("kafkaSink() finds a code behind wrapped errors, and takes what has none for a reason to try again", async () => {
  const inner = Object.assign(new Error("too large"), { code: 10 });
  const thrown: readonly (readonly [unknown, string])[] = [
    [new Error("outer", { cause: new Error("middle", { cause: inner }) }), "too large"],
    [Object.assign(new Error("refused"), { code: "ECONNREFUSED" }), "retry"],
    [Object.assign(new Error("disconnecting"), { retriable: false }), "retry"],
    ["a string", "retry"],
    [undefined, "retry"],
  ];
  const cyclic = new Error("cyclic");
  cyclic.cause = cyclic;
  for (const [error, outcome] of [...thrown, [cyclic, "retry"] as const]) {
    const send = kafkaSink<Click>({ producer: failing(error), topic: "clicks" });
    assertEquals(
      outcomeOf(await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError)),
      outcome,
    );
  }
});

test("kafkaSink() gives the client new messages in each attempt, without acks unless told", async () => {
  const given: { messages: KafkaMessage[] }[] = [];
  const producer: KafkaProducer = {
    send(record) {
      given.push(record);
      for (const message of record.messages) Object.assign(message, { headers: [], partition: -1 });
      return Promise.resolve();
    },
  };
  const send = kafkaSink<Click>({ producer, topic: "clicks" });
  const delivery = clicks(1);
  for (const attempt of [1, 2]) await send(delivery, contextOf({ attempt }));
  assert(given[0]!.messages[0] !== given[1]!.messages[0], "the same message");
  assertEquals(given.map((record) => Object.keys(record)), [["topic", "messages"], ["topic", "messages"]]);
  assertEquals(new TextDecoder().decode(delivery.payloads[0]), '{"user":"user 0","n":0}');
});

test("kafkaSink() gives the client Buffers, whatever bytes a message is made of", async () => {
  const sent: KafkaMessage[] = [];
  const producer: KafkaProducer = { send: ({ messages }) => Promise.resolve(sent.push(...messages)) };
  const bytes = new TextEncoder().encode("-ab-").subarray(1, 3);
  const message = () => ({ key: bytes, value: bytes, headers: { one: bytes, many: [bytes, "ab"], none: undefined } });
  await kafkaSink<Click>({ producer, topic: "clicks", message })(clicks(1), contextOf());
  await kafkaSink<Click>({ producer, topic: "clicks", message: () => ({ value: null }) })(clicks(1), contextOf());
  const [{ key, value, headers }, deleting] = sent as [KafkaMessage, KafkaMessage];
  for (const found of [key, value, headers!["one"], (headers!["many"] as unknown[])[0]]) {
    assertEquals([Buffer.isBuffer(found), String(found)], [true, "ab"]);
  }
  assertEquals([(headers!["many"] as unknown[])[1], headers!["none"], deleting.value], ["ab", undefined, null]);
});

test("kafkaIdentity() reads strings and buffers, and nothing that isn't the sink's", () => {
  const identity = { batchId: "b-1-2", sequence: 2 };
  assertEquals(kafkaIdentity({ "sluice-batch": "b-1-2", "sluice-sequence": "2", other: "x" }), identity);
  assertEquals(
    kafkaIdentity({ "sluice-batch": Buffer.from("b-1-2"), "sluice-sequence": new TextEncoder().encode("2") }),
    identity,
  );
  for (
    const headers of [
      undefined,
      {},
      { "sluice-batch": "b" },
      { "sluice-sequence": "2" },
      { "sluice-batch": "b", "sluice-sequence": "x" },
      { "sluice-batch": ["b", "c"], "sluice-sequence": "2" },
      { "sluice-batch": "", "sluice-sequence": "2" },
    ]
  ) assertEquals(kafkaIdentity(headers), undefined);
});

test("kafkaSink() refuses wrong options by name", () => {
  const producer: KafkaProducer = { send: () => Promise.resolve() };
  const wrong: readonly (readonly [name: string, options: Record<string, unknown>])[] = [
    ["producer", { producer: undefined }],
    ["producer", { producer: {} }],
    ["topic", { topic: "" }],
    ["topic", { topic: 7 }],
    ["acks", { acks: 0 }],
    ["acks", { acks: "all" }],
  ];
  for (const [name, options] of wrong) {
    const error = assertThrows(() => kafkaSink({ producer, topic: "clicks", ...options } as never), TypeError);
    assertStringIncludes(error.message, name);
  }
});
