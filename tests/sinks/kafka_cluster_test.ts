/**
 * The Kafka sink with the real clients, each against librdkafka's mock cluster of three brokers, see `mock_cluster.ts`: what
 * arrives, in each compression, is read back by kcat; connections are cut before and after a delivery is stored; brokers go away.
 */

import { after, test } from "node:test";
import * as zlib from "node:zlib";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import type * as Platformatic from "npm:@platformatic/kafka@1.35.0";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import { DeliveryError, MemoryBuffer, Producer } from "../../mod.ts";
import {
  type KafkaCompression,
  kafkaIdentity,
  type KafkaProducer,
  kafkaSink,
  type PlatformaticProducer,
} from "../../src/sinks/kafka.ts";
import { loadConfluent } from "../engines/confluent.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { loadPackages } from "../support/npm_packages.ts";
import { type ClusterFault, MockCluster } from "./mock_cluster.ts";

interface Click {
  readonly n: number;
}

interface OpenClient {
  readonly producer: KafkaProducer | PlatformaticProducer;
  /** Whether compression is an option of the sink. */
  readonly takesCompression: boolean;
  close(): Promise<void>;
}

/** A client, which doesn't try again by itself. */
interface Client {
  readonly name: string;
  /** What it can compress with by itself. */
  readonly compressions: readonly KafkaCompression[];
  /** Why it can't be used here. */
  readonly missing: string | undefined;
  open(brokers: string[], compression?: KafkaCompression): Promise<OpenClient>;
}

const loaded = await loadPackages<{ kafkajs: typeof KafkaJs; "@platformatic/kafka": typeof Platformatic }>({
  kafkajs: "2.2.4",
  "@platformatic/kafka": "1.35.0",
});
const confluent = loadConfluent();
after(() => loaded?.remove());
const notFetched = loaded === undefined ? "its package can't be fetched here" : undefined;

const CLIENTS: readonly Client[] = [
  {
    name: "kafkajs",
    compressions: ["none", "gzip"],
    missing: notFetched,
    async open(brokers) {
      const { Kafka, logLevel, Partitioners } = loaded!.modules.kafkajs;
      const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { retries: 0 } });
      const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
      await producer.connect();
      return { producer, takesCompression: true, close: () => producer.disconnect() };
    },
  },
  {
    name: "@platformatic/kafka",
    compressions: ["none", "gzip", "snappy", "lz4", ..."zstdCompressSync" in zlib ? ["zstd"] as const : []],
    missing: notFetched,
    open(bootstrapBrokers) {
      const { Producer } = loaded!.modules["@platformatic/kafka"];
      const producer = new Producer({ clientId: "test", bootstrapBrokers, autocreateTopics: true, retries: 0 });
      return Promise.resolve({ producer, takesCompression: true, close: () => producer.close() });
    },
  },
  {
    name: "@confluentinc/kafka-javascript",
    // zstd where its library was there when it was built.
    compressions: ["none", "gzip", "snappy", "lz4"],
    missing: typeof confluent === "string" ? confluent : undefined,
    async open(brokers, compression = "none") {
      const { Kafka, logLevel } = (confluent as Exclude<typeof confluent, string>).KafkaJS;
      const kafka = new Kafka({ kafkaJS: { brokers, logLevel: logLevel.NOTHING, retry: { retries: 0 } } });
      // It gives up after that long; by itself after five minutes.
      const short = { "message.timeout.ms": 1_500, "reconnect.backoff.max.ms": 100 };
      const producer = kafka.producer({ "compression.codec": compression, ...short });
      await producer.connect();
      return { producer, takesCompression: false, close: () => producer.disconnect() };
    },
  },
];

/** A test for each client, with a cluster of its own; skipped, with the reason, where there is none, or no such client. */
function testWithClients(what: string, body: (client: Client, cluster: MockCluster) => Promise<void>): void {
  for (const client of CLIENTS) {
    test(`kafkaSink() ${what}: ${client.name}`, { timeout: 60_000 }, async (t) => {
      if (client.missing !== undefined) return t.skip(client.missing);
      const cluster = await MockCluster.start();
      if (cluster === undefined) return t.skip("kcat isn't installed");
      try {
        await body(client, cluster);
      } finally {
        await cluster.stop();
      }
    });
  }
}

const topic = "clicks";

const clicks = (count: number, firstSequence: number) =>
  deliveryOf<Click>(Array.from({ length: count }, (_, i) => ({ n: firstSequence + i })), { firstSequence });

testWithClients("delivers to three brokers, in each compression", async ({ open, compressions }, cluster) => {
  let sequence = 1;
  for (const compression of compressions) {
    const { producer, takesCompression, close } = await open(cluster.addresses, compression);
    const send = kafkaSink<Click>(producer, takesCompression ? { topic, compression } : { topic });
    for (let batch = 0; batch < 4; batch++, sequence += 100) await send(clicks(100, sequence), contextOf());
    await close();
  }
  const messages = cluster.read(topic);
  assert(new Set(messages.map(({ partition }) => partition)).size > 1, "all are in one partition");
  const found = messages.map(({ value, headers }) => [JSON.parse(value!).n, kafkaIdentity(headers)?.sequence]);
  assertEquals(found.sort(([a], [b]) => a - b), Array.from({ length: sequence - 1 }, (_, i) => [i + 1, i + 1]));
});

testWithClients("gets over cut connections, and copies can be told", async ({ open }, cluster) => {
  const { producer: client, close } = await open(cluster.addresses);
  const buffer = await MemoryBuffer.open<Click>({ maxRecords: 10 });
  const errors: unknown[] = [];
  const producer = new Producer<Click>({
    buffer,
    send: kafkaSink<Click>(client, { topic }),
    retry: { firstDelayMs: 1, maxDelayMs: 20 },
    onEvent: (event) => event.type === "attempt-failed" && errors.push(event.error),
  });
  const faults: readonly ClusterFault[] = ["cut", "store-then-cut", "store-then-cut-half"];
  for (let batch = 0; batch < 9; batch++) {
    cluster.faults.push(faults[batch % 3]!);
    await producer.putMany(Array.from({ length: 10 }, (_, i) => ({ n: 10 * batch + i })));
    await producer.flush();
  }
  await producer.close();
  await buffer.close();
  await close();
  assertEquals(cluster.faults, []);
  for (const error of errors) {
    assertInstanceOf(error, DeliveryError);
    assertEquals([error.scope, error.retryable], ["target", true], error.message);
  }
  const messages = cluster.read(topic);
  assert(messages.length > 90, "there are no copies");
  const values = new Map(messages.map(({ value, headers }) => {
    const { batchId, sequence } = kafkaIdentity(headers)!;
    return [`${batchId}:${sequence}`, JSON.parse(value!).n];
  }));
  assertEquals([...values.values()].sort((a, b) => a - b), [...Array(90).keys()]);
});

testWithClients("says that a client is closed, which is final", async ({ open }, cluster) => {
  const { producer, close } = await open(cluster.addresses);
  const send = kafkaSink<Click>(producer, { topic });
  await send(clicks(1, 1), contextOf());
  await close();
  const error = await assertRejects(async () => await send(clicks(1, 2), contextOf()), DeliveryError);
  assertEquals([error.scope, error.final], ["target", true]);
});

testWithClients("takes brokers that are gone for the target's fault, which passes", async ({ open }, cluster) => {
  const { producer, close } = await open(cluster.addresses);
  const send = kafkaSink<Click>(producer, { topic });
  await send(clicks(1, 1), contextOf());
  await cluster.stop();
  const error = await assertRejects(async () => await send(clicks(1, 2), contextOf()), DeliveryError);
  assertEquals([error.scope, error.retryable, error.final], ["target", true, false], error.message);
  await close();
});

testWithClients(
  "never loses a record in silence for a partition that isn't there",
  async ({ open, name }, cluster) => {
    const { producer, close } = await open(cluster.addresses);
    await kafkaSink<Click>(producer, { topic })(clicks(1, 1), contextOf());
    const send = kafkaSink<Click>(producer, { topic, message: ({ n }) => ({ partition: n === 3 ? 99 : 1 }) });
    try {
      await send(clicks(3, 2), contextOf());
      // It takes the rest by the number of partitions.
      assertEquals(name, "@platformatic/kafka");
    } catch (error) {
      assertInstanceOf(error, DeliveryError);
      assertEquals([error.scope, error.failed?.map(({ index }) => index) ?? [1], error.split], [
        "record",
        [1],
        !error.failed,
      ]);
    }
    await close();
    const found = cluster.read(topic).map(({ value }) => JSON.parse(value!).n);
    assertEquals(found.includes(3), name === "@platformatic/kafka");
  },
);
