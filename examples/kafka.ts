/**
 * Lines of standard input to a topic of Kafka. Each message says in a header which record of which batch it is, so that a
 * consumer can skip copies: `kafkaIdentity()` of the same module reads it.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net --allow-env examples/kafka.ts 127.0.0.1:9092 lines < lines.txt
 *
 * In Bun and Node, install `kafkajs` and import it by that name.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import kafkajs from "npm:kafkajs@2.2.4";
import { FileBuffer, Producer } from "@sluice/buffer";
import { KAFKA, presetFor } from "@sluice/buffer/presets";
import { kafkaSink } from "@sluice/buffer/sinks/kafka";

const [broker = "127.0.0.1:9092", topic = "lines"] = process.argv.slice(2);
const kafka = new kafkajs.Kafka({ brokers: [broker], logLevel: kafkajs.logLevel.NOTHING });
const client = kafka.producer({ idempotent: true, createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
await client.connect();

const buffer = await FileBuffer.open<string>({ path: ".sluice-kafka", ...presetFor(KAFKA), maxAgeMs: 1_000 });
const producer = new Producer<string>({
  buffer,
  send: kafkaSink(client, { topic }),
  timeoutMs: 60_000, // longer than the client's own 30 seconds
  onEvent: (event) => console.error(event.type),
});

for await (const line of createInterface({ input: process.stdin })) {
  await producer.put(line); // resolves when the line is safe on disk
}
await producer.flush(); // resolves when the brokers have everything
await producer.close();
await buffer.close();
await client.disconnect();
