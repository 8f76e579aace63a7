/**
 * Presets at their edge: the fullest batch that a buffer makes with a preset is one request, with the longest identity that there
 * is, and the target takes it. On servers where there are some: emulators of SQS and SNS, NATS, MariaDB; else on a fake that has the
 * documented limits.
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Delivery, Send } from "../../mod.ts";
import { bytesCodec } from "../../src/base/codec.ts";
import {
  cloudWatchLogsSink,
  eventBridgeSink,
  firehoseSink,
  kinesisSink,
  snsSink,
  sqsSink,
} from "../../src/sinks/aws.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import * as presets from "../../src/sinks/presets.ts";
import { startAwsServers } from "../engines/aws_servers.ts";
import { loadJetStream, loadNats } from "../engines/clients.ts";
import { deliveryOf, UUID } from "../support/deliveries.ts";
import { loadPackage } from "../support/npm_packages.ts";
import { AwsFake } from "./aws_fake.ts";
import { type AwsClients, prepareAws, withAwsClients } from "./aws_tools.ts";
import { refusalOf, send, testWithServer } from "./tools.ts";

const { presetFor } = presets;
const aws = await prepareAws();
const servers = typeof aws === "string" ? aws : await startAwsServers();
const mysql2 = await loadPackage<{ createConnection(options: object): MySqlConnection }>("mysql2", "3.24.6");
const mariadbd = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd"].find((path) => existsSync(path));

/** What is used of a connection of `mysql2`. */
interface MySqlConnection {
  format(sql: string, values: readonly unknown[]): string;
  query(sql: string, done: (error: Error | null) => void): void;
  on(event: "error", listener: () => void): void;
  destroy(): void;
}

/** A delivery of payloads, with the longest identities. */
function deliver(payloads: readonly Uint8Array[]): Delivery<Uint8Array> {
  const last = Number.MAX_SAFE_INTEGER;
  const firstSequence = last - payloads.length + 1;
  const batchId = `${UUID}-1234abcd-${last - 1}-${last}`;
  return deliveryOf(payloads, { batchId, firstSequence, codec: bytesCodec() });
}

/** As many records and bytes as a preset lets into a batch. */
function fullest({ maxRecords, maxBytes }: presets.Preset, fill: (length: number) => Uint8Array): Uint8Array[] {
  const each = Math.floor(maxBytes / maxRecords);
  return Array.from({ length: maxRecords }, (_, i) => fill(i === 0 ? maxBytes - each * (maxRecords - 1) : each));
}

function letters(length: number): Uint8Array {
  return new Uint8Array(length).fill("x".charCodeAt(0));
}

function jsonObject(length: number): Uint8Array {
  return new TextEncoder().encode(`{"a":"${"x".repeat(length - 8)}"}`);
}

/** Sinks whose records have the largest overhead, and how the bytes of a batch are filled. */
type MakeSink = (clients: AwsClients) => Send<Uint8Array>;
const ON_FAKE: Readonly<Record<string, readonly [presets.TargetLimits, MakeSink, typeof letters]>> =
  typeof aws === "string" ? {} : {
    KINESIS: [presets.KINESIS, ({ kinesis }) =>
      kinesisSink(kinesis, {
        command: aws.kinesis.PutRecordsCommand,
        streamName: "a",
        partitionKey: () => "k".repeat(256),
      }), letters],
    FIREHOSE: [
      presets.FIREHOSE,
      ({ firehose }) =>
        firehoseSink(firehose, { command: aws.firehose.PutRecordBatchCommand, deliveryStreamName: "a" }),
      letters,
    ],
    CLOUDWATCH_LOGS: [presets.CLOUDWATCH_LOGS, ({ cloudWatchLogs }) =>
      cloudWatchLogsSink(cloudWatchLogs, {
        command: aws.cloudWatchLogs.PutLogEventsCommand,
        logGroupName: "a",
        logStreamName: "a",
        timestamp: () => 1,
      }), letters],
    EVENTBRIDGE: [presets.EVENTBRIDGE, ({ eventBridge }) =>
      eventBridgeSink(eventBridge, {
        command: aws.eventBridge.PutEventsCommand,
        source: "s".repeat(142),
        detailType: "d".repeat(128),
      }), jsonObject],
  };

test("the fullest batches for Kinesis, Firehose, CloudWatch Logs and EventBridge are a request to the last byte", {
  skip: typeof aws === "string" ? aws : false,
  timeout: 60_000,
}, async () => {
  const fake = await AwsFake.start();
  const counts = () => fake.requests.splice(0).map(({ length }) => length);
  try {
    await withAwsClients(aws as Exclude<typeof aws, string>, fake, async (clients) => {
      for (const [name, [limits, makeSink, fill]] of Object.entries(ON_FAKE)) {
        const preset = presetFor(limits);
        const sink = makeSink(clients);
        const full = fullest(preset, fill);
        await send(sink, deliver(full));
        await send(sink, deliver([fill(preset.maxRecordBytes)]));
        assertEquals(counts(), [preset.maxRecords, 1], name);
        await send(sink, deliver([...full.slice(0, -1), fill(full.at(-1)!.length + 1)]));
        assertEquals(counts(), [preset.maxRecords - 1, 1], name);
      }
    });
  } finally {
    await fake.stop();
  }
});

test("the fullest batches for SQS and SNS are one request, and so is the largest message", {
  skip: typeof servers === "string" ? servers : false,
  timeout: 60_000,
}, async () => {
  const { sns, sqs } = aws as Exclude<typeof aws, string>;
  const { kinesis: url, messages } = servers as Exclude<typeof servers, string>;
  await withAwsClients(aws as Exclude<typeof aws, string>, { url, messages }, async (clients) => {
    const { QueueUrl } = await clients.sqs.send(new sqs.CreateQueueCommand({ QueueName: "edge" }));
    const { TopicArn } = await clients.sns.send(new sns.CreateTopicCommand({ Name: "edge" }));
    let requests = 0;
    const counted = (client: { send(command: never): Promise<unknown> }) => ({
      send(command: never): Promise<unknown> {
        requests++;
        return client.send(command);
      },
    });
    const sinks: [presets.TargetLimits, Send<Uint8Array>][] = [
      [presets.SQS, sqsSink(counted(clients.sqs), { command: sqs.SendMessageBatchCommand, queueUrl: QueueUrl! })],
      [presets.SNS, snsSink(counted(clients.sns), { command: sns.PublishBatchCommand, topicArn: TopicArn! })],
    ];
    for (const [limits, sink] of sinks) {
      const preset = presetFor(limits);
      requests = 0;
      await send(sink, deliver(fullest(preset, letters)));
      await send(sink, deliver([letters(preset.maxRecordBytes)]));
      assertEquals(requests, 2);
      // The identity takes 115 bytes of the overhead.
      await send(sink, deliver([letters(limits.maxRecordBytes - 115)]));
      const { failed } = await refusalOf(sink, deliver([letters(limits.maxRecordBytes - 114)]));
      assertEquals(failed?.map(({ retryable }) => retryable), [false]);
    }
  });
});

testWithServer(
  "nats",
  "NATS leaves room for the headers of natsSink(), with the longest names that it counts on",
  async (server) => {
    const { connect } = await loadNats();
    const { jetstream } = await loadJetStream();
    const connection = await connect({ servers: `127.0.0.1:${server.port}` });
    try {
      const client = jetstream(connection);
      const { streams } = await client.jetstreamManager();
      const stream = "S".repeat(64);
      await streams.add({ name: stream, subjects: ["edge"] });
      assertEquals(connection.info!.max_payload, presets.NATS.maxRecordBytes);
      const { maxRecordBytes } = presetFor(presets.NATS);
      const sink = natsSink<Uint8Array>(client, { stream, subject: "edge", whenUnknown: "resend" });
      await send(sink, deliver([letters(1), letters(maxRecordBytes)]));
      const { state } = await streams.info(stream);
      assertEquals(state.messages, 2);
    } finally {
      await connection.close();
    }
  },
);

test("the fullest batch for MySQL is a statement that MariaDB takes, even if each byte is escaped", {
  skip: mysql2 === undefined
    ? "mysql2 can't be fetched here"
    : mariadbd === undefined
    ? "mariadbd isn't installed"
    : false,
  timeout: 60_000,
}, () =>
  withMariaDb(async (connection) => {
    const run = (sql: string) => new Promise<Error | null>((resolve) => connection.query(sql, resolve));
    const columns = "record VARCHAR(255) COLLATE ascii_bin PRIMARY KEY, payload LONGTEXT";
    assertEquals(await run("CREATE DATABASE d"), null);
    assertEquals(await run(`CREATE TABLE d.records (${columns})`), null);
    const maxRequestBytes = MAX_ALLOWED_PACKET - 2;
    const preset = presetFor({ ...presets.MYSQL, maxRequestBytes, maxRecordBytes: maxRequestBytes });
    const delivery = deliver(fullest(preset, (length) => new Uint8Array(length).fill(0x27)));
    const rows = delivery.sequences.map((
      sequence,
      i,
    ) => [`${delivery.batchId}:${sequence}`, new TextDecoder().decode(delivery.payloads[i])]);
    const statement = connection.format("INSERT IGNORE INTO d.records (record, payload) VALUES ?", [rows]);
    assert(statement.length <= maxRequestBytes, `${statement.length} bytes`);
    assert(statement.length > maxRequestBytes - 160 * delivery.length, `${statement.length}: more room than is needed`);
    assertEquals(await run(statement), null);
    const padded = (length: number) => `DO '${"x".repeat(length - "DO ''".length)}'`;
    assertEquals(await run(padded(maxRequestBytes)), null);
    assert(await run(padded(maxRequestBytes + 1)) !== null);
  }));

/** Of the server: the least that the preset's records fit into, for speed. */
const MAX_ALLOWED_PACKET = 2 ** 20;

/** A server without accounts and without the tables that an installation has, which takes no time to start. */
async function withMariaDb(use: (connection: MySqlConnection) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-mariadb-"));
  const socket = join(directory, "s");
  const flags = ["--no-defaults", "--user=root", "--skip-grant-tables", "--skip-networking", "--innodb=OFF"];
  const own = ["--default-storage-engine=Aria", `--max-allowed-packet=${MAX_ALLOWED_PACKET}`];
  const args = [...flags, ...own, `--datadir=${directory}`, `--socket=${socket}`];
  const child = spawn(mariadbd!, args, { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    let output = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (output.includes("ready for connections")) resolve();
      });
      child.once("close", () => reject(new Error(`mariadbd doesn't start: ${output}`)));
    });
    const connection = mysql2!.module.createConnection({ socketPath: socket, user: "root" });
    // The server ends the connection after a statement that is too long.
    connection.on("error", () => {});
    try {
      await use(connection);
    } finally {
      connection.destroy();
    }
  } finally {
    child.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true, force: true });
    mysql2!.remove();
  }
}
