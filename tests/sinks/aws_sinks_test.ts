/**
 * Sinks for AWS with the real SDK against emulators: `kinesalite` for Kinesis, `fauxqs` for SQS and SNS. What arrives, with which
 * identity, and what is made of records and targets that are refused.
 */

import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bytesCodec } from "../../src/base/codec.ts";
import { awsIdentity, kinesisSink, snsSink, sqsSink } from "../../src/sinks/aws.ts";
import { type AwsServers, startAwsServers } from "../engines/aws_servers.ts";
import type { AwsPackages } from "../engines/clients.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { type AwsClients, deliverAll, prepareAws, withAwsClients } from "./aws_tools.ts";
import { batchOf, refusalOf, send, withExample } from "./tools.ts";

const packages = await prepareAws();
const servers = typeof packages === "string" ? packages : await startAwsServers();
const SKIP = { skip: typeof servers === "string" ? servers : false, timeout: 60_000 };

const { kinesis, sns, sqs } = packages as AwsPackages;

function withServers(use: (clients: AwsClients) => Promise<void>): Promise<void> {
  const { kinesis: url, messages } = servers as AwsServers;
  return withAwsClients(packages as AwsPackages, { url, messages }, use);
}

/** Makes a stream of Kinesis. */
async function makeStream(client: AwsClients["kinesis"], StreamName: string, ShardCount: number): Promise<void> {
  await client.send(new kinesis.CreateStreamCommand({ StreamName, ShardCount }));
  for (;;) {
    const { StreamDescription } = await client.send(new kinesis.DescribeStreamCommand({ StreamName }));
    if (StreamDescription?.StreamStatus === "ACTIVE") return;
  }
}

/** All records of a stream, shard by shard. */
async function readStream(
  client: AwsClients["kinesis"],
  StreamName: string,
): Promise<{ key: string; text: string }[][]> {
  const { Shards } = await client.send(new kinesis.ListShardsCommand({ StreamName }));
  return await Promise.all(Shards!.map(async ({ ShardId }) => {
    const first = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" } as const;
    const { ShardIterator } = await client.send(new kinesis.GetShardIteratorCommand(first));
    const { Records } = await client.send(new kinesis.GetRecordsCommand({ ShardIterator }));
    return Records!.map(({ PartitionKey, Data }) => ({ key: PartitionKey!, text: new TextDecoder().decode(Data) }));
  }));
}

/** All messages of a queue. */
async function readQueue(client: AwsClients["sqs"], QueueUrl: string) {
  const messages = [];
  for (;;) {
    const { Messages = [] } = await client.send(
      new sqs.ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ["All"] }),
    );
    if (Messages.length === 0) return messages;
    messages.push(...Messages);
    const Entries = Messages.map(({ ReceiptHandle }, i) => ({ Id: `${i}`, ReceiptHandle }));
    await client.send(new sqs.DeleteMessageBatchCommand({ QueueUrl, Entries }));
  }
}

async function makeQueue(client: AwsClients["sqs"], QueueName: string): Promise<string> {
  const Attributes = QueueName.endsWith(".fifo") ? { FifoQueue: "true" } : undefined;
  const { QueueUrl } = await client.send(new sqs.CreateQueueCommand({ QueueName, Attributes }));
  return QueueUrl!;
}

test(
  "kinesisSink() spreads records over the shards, and a consumer knows each by its key",
  SKIP,
  () =>
    withServers(async ({ kinesis: client }) => {
      await makeStream(client, "spread", 3);
      const sink = kinesisSink<number>(client, { command: kinesis.PutRecordsCommand, streamName: "spread" });
      const delivery = batchOf([1, 1_200], (n) => n);
      await send(sink, delivery);
      const shards = await readStream(client, "spread");
      assert(shards.every(({ length }) => length > 200), `${shards.map(({ length }) => length)}`);
      const found = shards.flat().map(({ key, text }) => ({ ...awsIdentity(key)!, value: Number(text) }));
      found.sort((a, b) => a.sequence - b.sequence);
      const { batchId } = delivery;
      assertEquals(found, Array.from(delivery, (value) => ({ batchId, sequence: value, value })));
    }),
);

test(
  "kinesisSink() keeps the order of records with a key of their own",
  SKIP,
  () =>
    withServers(async ({ kinesis: client }) => {
      await makeStream(client, "users", 2);
      const sink = kinesisSink<{ user: string; at: number }>(client, {
        command: kinesis.PutRecordsCommand,
        streamName: "users",
        partitionKey: ({ user }) => user,
        data: ({ at }, { sequence }) => `${sequence}:${at}`,
      });
      await send(sink, batchOf([1, 700], (at) => ({ user: `user ${at % 5}`, at })));
      const records = (await readStream(client, "users")).flat();
      for (let user = 0; user < 5; user++) {
        const own = records.filter(({ key }) => key === `user ${user}`).map(({ text }) => text);
        assertEquals(own, Array.from({ length: 140 }, (_, i) => 5 * i + (user || 5)).map((at) => `${at}:${at}`));
      }
    }),
);

test(
  "a record that the stream doesn't take is found, and only it becomes a dead letter",
  SKIP,
  () =>
    withServers(async ({ kinesis: client }) => {
      await makeStream(client, "large", 1);
      const sink = kinesisSink<string>(client, { command: kinesis.PutRecordsCommand, streamName: "large" });
      const records = Array.from({ length: 9 }, (_, i) => i === 4 ? "x".repeat(2 ** 20) : `record ${i}`);
      const reasons = await deliverAll(sink, records);
      assertEquals([...reasons.keys()], [5]);
      assertStringIncludes(reasons.get(5)!, "ValidationException");
      const texts = (await readStream(client, "large")).flat().map(({ text }) => JSON.parse(text));
      assertEquals(texts.sort(), records.filter(({ length }) => length < 100));
    }),
);

test(
  "a stream that isn't there, and a name that can't be, are faults of the target that last",
  SKIP,
  () =>
    withServers(async ({ kinesis: client }) => {
      for (const streamName of ["missing", "not a name"]) {
        const sink = kinesisSink<number>(client, { command: kinesis.PutRecordsCommand, streamName });
        const { scope, retryable, split, failed } = await refusalOf(sink, batchOf([1, 5], (n) => n));
        assertEquals([scope, retryable, split, failed], ["target", false, false, undefined], streamName);
      }
    }),
);

test(
  "sqsSink() sends ten messages at a time, and a consumer knows each by its attribute",
  SKIP,
  () =>
    withServers(async ({ sqs: client }) => {
      const queueUrl = await makeQueue(client, "orders");
      const sink = sqsSink<number>(client, { command: sqs.SendMessageBatchCommand, queueUrl });
      const delivery = batchOf([1, 25], (n) => n);
      await send(sink, delivery);
      const found = (await readQueue(client, queueUrl)).map(({ Body, MessageAttributes }) => ({
        ...awsIdentity(MessageAttributes!["sluice-record"])!,
        value: Number(Body),
      }));
      found.sort((a, b) => a.sequence - b.sequence);
      assertEquals(found, Array.from(delivery, (n) => ({ batchId: delivery.batchId, sequence: n, value: n })));
    }),
);

test(
  "sqsSink() refuses the record that a queue doesn't take, and sends the others",
  SKIP,
  () =>
    withServers(async ({ sqs: client }) => {
      const queueUrl = await makeQueue(client, "picky");
      const Attributes = { MaximumMessageSize: "1024" };
      await client.send(new sqs.SetQueueAttributesCommand({ QueueUrl: queueUrl, Attributes }));
      const sink = sqsSink<Uint8Array>(client, { command: sqs.SendMessageBatchCommand, queueUrl });
      const texts = ["good", "a\0b", "", "x".repeat(1_024), "gut gemäß", "good"];
      const records = [...texts.map((text) => new TextEncoder().encode(text)), Uint8Array.of(0xff)];
      const { failed, scope } = await refusalOf(sink, deliveryOf(records, { codec: bytesCodec() }));
      assertEquals(failed!.map(({ index, retryable }) => [index, retryable]), [1, 2, 3, 6].map((i) => [i, false]));
      assertEquals(scope, "record");
      assertStringIncludes(failed![2]!.reason, "Message must be shorter");
      assertEquals((await readQueue(client, queueUrl)).map(({ Body }) => Body).sort(), [
        "good",
        "good",
        "gut gemäß",
      ]);
    }),
);

test(
  "a FIFO queue has each record once and in order, however often it is sent",
  SKIP,
  () =>
    withServers(async ({ sqs: client }) => {
      const queueUrl = await makeQueue(client, "orders.fifo");
      const sink = sqsSink<number>(client, { command: sqs.SendMessageBatchCommand, queueUrl });
      const delivery = batchOf([1, 25], (n) => n);
      await send(sink, delivery);
      await send(sink, delivery, 2);
      const numbers = Array.from(delivery);
      assertEquals((await readQueue(client, queueUrl)).map(({ Body }) => Number(Body)), numbers);
    }),
);

test(
  "sqs.ts delivers all of its orders, and again when it is run again",
  SKIP,
  () =>
    withServers(async ({ sqs: client }) => {
      await makeQueue(client, "example");
      const { messages: AWS_ENDPOINT_URL } = servers as AwsServers;
      const QUEUE_URL = `${AWS_ENDPOINT_URL}/000000000000/example`;
      const credentials = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret", AWS_REGION: "us-east-1" };
      const variables = { ...credentials, AWS_ENDPOINT_URL, QUEUE_URL };
      Object.assign(process.env, variables);
      try {
        await withExample("sqs", async (run) => {
          for (let runs = 0; runs < 2; runs++) {
            const { code, stdout, stderr } = await run();
            assertEquals([stderr, code, stdout], ["", 0, "delivered 200 orders\n"]);
          }
        });
      } finally {
        for (const name of Object.keys(variables)) delete process.env[name];
      }
      const found = (await readQueue(client, QUEUE_URL)).map(({ MessageAttributes }) =>
        awsIdentity(MessageAttributes!["sluice-record"])!.sequence
      );
      assertEquals(found.sort((a, b) => a - b), Array.from({ length: 400 }, (_, i) => i + 1));
    }),
);

test("snsSink() publishes messages whose subscribers know each record", SKIP, () =>
  withServers(async (clients) => {
    const queueUrl = await makeQueue(clients.sqs, "subscriber");
    const { TopicArn } = await clients.sns.send(new sns.CreateTopicCommand({ Name: "orders" }));
    const wanted = { QueueUrl: queueUrl, AttributeNames: ["QueueArn" as const] };
    const { Attributes } = await clients.sqs.send(new sqs.GetQueueAttributesCommand(wanted));
    const subscription = { TopicArn, Protocol: "sqs", Endpoint: Attributes!["QueueArn"] };
    await clients.sns.send(new sns.SubscribeCommand(subscription));
    const sink = snsSink<number>(clients.sns, { command: sns.PublishBatchCommand, topicArn: TopicArn! });
    const delivery = batchOf([1, 12], (n) => n);
    await send(sink, delivery);
    const notices = (await readQueue(clients.sqs, queueUrl)).map(({ Body }) => JSON.parse(Body!));
    const found = notices.map(({ Message, MessageAttributes }) => ({
      ...awsIdentity(MessageAttributes["sluice-record"])!,
      value: Number(Message),
    }));
    found.sort((a, b) => a.sequence - b.sequence);
    assertEquals(found, Array.from(delivery, (n) => ({ batchId: delivery.batchId, sequence: n, value: n })));
  }));

test("a queue or topic that isn't there, and a server that isn't, are faults of the target", SKIP, async () => {
  const { messages } = servers as AwsServers;
  const delivery = batchOf([1, 5], (n) => n);
  const refusals = async (clients: AwsClients) => {
    const topicArn = "arn:aws:sns:us-east-1:000000000000:missing";
    const sinks = [
      sqsSink<number>(clients.sqs, {
        command: sqs.SendMessageBatchCommand,
        queueUrl: `${messages}/000000000000/missing`,
      }),
      snsSink<number>(clients.sns, { command: sns.PublishBatchCommand, topicArn }),
    ];
    const errors = await Promise.all(sinks.map((sink) => refusalOf(sink, delivery)));
    return errors.map(({ scope, retryable, failed }) => [scope, retryable, failed]);
  };
  await withServers(async (clients) =>
    assertEquals(await refusals(clients), Array(2).fill(["target", false, undefined]))
  );
  await withAwsClients(packages as AwsPackages, { url: "http://127.0.0.1:1" }, async (clients) => {
    const sink = kinesisSink<number>(clients.kinesis, { command: kinesis.PutRecordsCommand, streamName: "a" });
    const { scope, retryable } = await refusalOf(sink, delivery);
    assertEquals([scope, retryable], ["target", true]);
  });
});
