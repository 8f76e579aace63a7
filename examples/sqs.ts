/**
 * Puts orders and delivers them to a queue of SQS: a message for each, with an attribute that says which record it is, so that a
 * consumer can skip copies: `awsIdentity()` of the same module reads it. A FIFO queue skips those of five minutes by itself.
 *
 *     AWS_REGION=eu-central-1 QUEUE_URL=https://sqs.eu-central-1.amazonaws.com/123456789012/orders \
 *       deno run -A examples/sqs.ts
 *
 * On Bun and Node: `npm install @aws-sdk/client-sqs`, and run this file.
 */

import process from "node:process";
import { SendMessageBatchCommand, SQSClient } from "@aws-sdk/client-sqs";
import { FileBuffer, Producer } from "@sluice/buffer";
import { presetFor, SQS } from "@sluice/buffer/presets";
import { sqsSink } from "@sluice/buffer/sinks/aws";

interface Order {
  readonly item: string;
  readonly cents: number;
}

const queueUrl = process.env["QUEUE_URL"] ?? "https://sqs.eu-central-1.amazonaws.com/123456789012/orders";
// One attempt: the producer tries again, only what failed, and as long as it takes.
const client = new SQSClient({ maxAttempts: 1 });

const buffer = await FileBuffer.open<Order>({ path: "./orders-sqs.wal", ...presetFor(SQS), maxAgeMs: 500 });
const producer = new Producer({
  buffer,
  send: sqsSink<Order>(client, { command: SendMessageBatchCommand, queueUrl }),
  onEvent: (event) => event.type === "attempt-failed" && console.error(event.error),
});

for (let i = 1; i <= 200; i++) await producer.put({ item: `item ${i}`, cents: 100 * i });
await producer.flush(); // resolves when the queue has all of them
console.log(`delivered ${producer.stats().deliveredRecords} orders`);

await producer.close();
await buffer.close();
client.destroy();
