/**
 * Kafka: `kafkaSink()` beside the same client by hand, with the same key and the same header, which is what a consumer needs to skip
 * copies. The brokers are librdkafka's mock cluster, run by kcat; `@platformatic/kafka` needs a proxy before it, in this process.
 */

import { Buffer } from "node:buffer";
import type * as Platformatic from "npm:@platformatic/kafka@1.35.0";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import type { Delivery } from "../../../src/producer/delivery.ts";
import { type KafkaProducer, kafkaSink, type PlatformaticProducer } from "../../../src/sinks/kafka.ts";
import { loadConfluent } from "../../engines/confluent.ts";
import { MockCluster } from "../../sinks/mock_cluster.ts";
import { loadPackages } from "../../support/npm_packages.ts";
import type { BenchRecord, OpenContest, SinkContest } from "./contest.ts";

const GOAL = 0.6;
const topic = "bench";

type Loaded = { kafkajs: typeof KafkaJs; "@platformatic/kafka": typeof Platformatic };

const toBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/** By hand with `kafkajs` or `@confluentinc/kafka-javascript`. */
function byHandWith(producer: KafkaProducer) {
  return async ({ batchId, sequences, payloads }: Delivery<BenchRecord>): Promise<void> => {
    await producer.send({
      topic,
      messages: payloads.map((payload, i) => ({
        key: batchId,
        value: toBuffer(payload),
        headers: { "sluice-record": `${batchId}:${sequences[i]}` },
      })),
    });
  };
}

const HEADER = Buffer.from("sluice-record");

function byHandWithPlatformatic(producer: PlatformaticProducer) {
  return async ({ batchId, sequences, payloads }: Delivery<BenchRecord>): Promise<void> => {
    const key = Buffer.from(batchId);
    await producer.send({
      acks: -1,
      messages: payloads.map((payload, i) => ({
        topic,
        key,
        value: toBuffer(payload),
        headers: new Map([[HEADER, Buffer.from(`${batchId}:${sequences[i]}`)]]),
      })),
    });
  };
}

/** Opens the contest of a client that npm has. */
async function openWith(
  open: (loaded: Loaded, cluster: MockCluster) => Promise<OpenContest>,
): Promise<OpenContest | string> {
  const loaded = await loadPackages<Loaded>({ kafkajs: "2.2.4", "@platformatic/kafka": "1.35.0" });
  if (loaded === undefined) return "npm can't install its client";
  const cluster = await MockCluster.start();
  if (cluster === undefined) return "kcat isn't installed";
  const contest = await open(loaded.modules, cluster);
  return {
    ...contest,
    async close() {
      await contest.close();
      await cluster.stop();
      loaded.remove();
    },
  };
}

export const contests: readonly SinkContest[] = [
  {
    name: "Kafka, kafkajs",
    goal: GOAL,
    open: () =>
      openWith(async ({ kafkajs: { Kafka, logLevel, Partitioners } }, { directAddresses: brokers }) => {
        const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING });
        const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
        await producer.connect();
        const ours = kafkaSink<BenchRecord>(producer, { topic });
        return { ours, byHand: byHandWith(producer), close: () => producer.disconnect() };
      }),
  },
  {
    name: "Kafka, @platformatic/kafka",
    goal: GOAL,
    open: () =>
      openWith(({ "@platformatic/kafka": { Producer } }, { addresses: bootstrapBrokers }) => {
        const producer = new Producer({ clientId: "bench", bootstrapBrokers, autocreateTopics: true });
        const ours = kafkaSink<BenchRecord>(producer, { topic });
        return Promise.resolve({ ours, byHand: byHandWithPlatformatic(producer), close: () => producer.close() });
      }),
  },
  {
    name: "Kafka, Confluent",
    goal: GOAL,
    async open() {
      const confluent = loadConfluent();
      if (typeof confluent === "string") return confluent;
      return await openWith(async (_, { directAddresses: brokers }) => {
        const kafka = new confluent.KafkaJS.Kafka({
          kafkaJS: { brokers, logLevel: confluent.KafkaJS.logLevel.NOTHING },
        });
        const producer = kafka.producer();
        await producer.connect();
        const ours = kafkaSink<BenchRecord>(producer, { topic });
        return { ours, byHand: byHandWith(producer), close: () => producer.disconnect() };
      });
    },
  },
];
