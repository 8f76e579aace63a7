/**
 * Puts readings and delivers them to a stream of NATS JetStream, each once and in order, whatever is killed meanwhile.
 *
 *     nats-server -js &
 *     deno run -A examples/nats.ts
 *
 * On Bun and Node: `npm install @nats-io/transport-node @nats-io/jetstream`, and run this file.
 */

import process from "node:process";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { FileBuffer, Producer } from "@sluice/buffer";
import { natsSink } from "@sluice/buffer/sinks/nats";

interface Reading {
  readonly sensor: string;
  readonly value: number;
}

// The first connection is waited for, and a lost one is made again, for ever. Without -1 the client closes itself after
// 10 attempts, and the producer stops, because a closed client never connects again.
const connection = await connect({
  servers: process.env["NATS_URL"] ?? "nats://127.0.0.1:4222",
  waitOnFirstConnect: true,
  maxReconnectAttempts: -1,
});
const client = jetstream(connection);
// The stream takes what this producer sends, and nothing else. From server 2.12 on, `allow_atomic: true` keeps the order
// even if somebody else publishes.
const manager = await client.jetstreamManager();
await manager.streams.add({ name: "READINGS", subjects: ["readings.>"] });

const buffer = await FileBuffer.open<Reading>({ path: "./readings-nats.wal", maxAgeMs: 500 });
const producer = new Producer({
  buffer,
  send: natsSink<Reading>(client, { stream: "READINGS", subject: ({ sensor }) => `readings.${sensor}` }),
  onEvent: (event) => event.type === "attempt-failed" && console.error(event.error),
});

for (let value = 1; value <= 1000; value++) await producer.put({ sensor: `s${value % 3}`, value });
await producer.flush(); // resolves when the stream has all of them
console.log(`delivered ${producer.stats().deliveredRecords} readings`);

await producer.close();
await buffer.close();
await connection.close();
