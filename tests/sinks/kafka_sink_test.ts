/**
 * The Kafka sink with the real client `kafkajs` against the scripted broker of `kafka_peer.ts`: what is stored, every answer, cut
 * connections, a broker that hangs.
 */

import { after, test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
// Types only, so that Bun and Node, which strip them, don't look for the packages.
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import { deadLetterCodec, DeliveryError, MemoryBuffer, Producer } from "../../mod.ts";
import { kafkaIdentity, kafkaSink } from "../../src/sinks/kafka.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";
import { watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { loadPackage } from "../support/npm_packages.ts";
import { KafkaPeer, type Reaction, type StoredMessage } from "./kafka_peer.ts";
import { type Click, clicks, outcomeOf } from "./kafka_tools.ts";

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
