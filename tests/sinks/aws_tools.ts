/**
 * What tests of the sinks for AWS share: clients of the real SDK for one test, and a producer with dead letters.
 */

import { deadLetterCodec, type DeliveryError, MemoryBuffer, Producer, type Send } from "../../mod.ts";
import { type AwsPackages, loadAws } from "../engines/clients.ts";
import { whyNoClients } from "../engines/servers.ts";
import { AwsFake } from "./aws_fake.ts";

/** Clients of all services. */
export interface AwsClients {
  readonly cloudWatchLogs: InstanceType<AwsPackages["cloudWatchLogs"]["CloudWatchLogsClient"]>;
  readonly eventBridge: InstanceType<AwsPackages["eventBridge"]["EventBridgeClient"]>;
  readonly firehose: InstanceType<AwsPackages["firehose"]["FirehoseClient"]>;
  readonly kinesis: InstanceType<AwsPackages["kinesis"]["KinesisClient"]>;
  readonly sns: InstanceType<AwsPackages["sns"]["SNSClient"]>;
  readonly sqs: InstanceType<AwsPackages["sqs"]["SQSClient"]>;
}

/** The packages of the SDK; the reason where they can't be had. */
export async function prepareAws(): Promise<AwsPackages | string> {
  return await whyNoClients() ?? await loadAws();
}

/** Where a test's services are. */
export interface AwsEndpoints {
  readonly url: string;
  /** Kinesis as its client wants it; by default it is at `url`, by HTTP/1.1. */
  readonly http2Url?: string | undefined;
  /** SQS and SNS; by default they are at `url`. */
  readonly messages?: string;
}

/** Gives clients of all services. */
export async function withAwsClients(
  packages: AwsPackages,
  { url, http2Url, messages = url }: AwsEndpoints,
  use: (clients: AwsClients) => Promise<void>,
): Promise<void> {
  const credentials = { accessKeyId: "key", secretAccessKey: "secret" };
  const options = { endpoint: url, region: "us-east-1", credentials, maxAttempts: 1 };
  const sqs = new packages.sqs.SQSClient({ ...options, endpoint: messages });
  const clients: AwsClients = {
    cloudWatchLogs: new packages.cloudWatchLogs.CloudWatchLogsClient(options),
    eventBridge: new packages.eventBridge.EventBridgeClient(options),
    firehose: new packages.firehose.FirehoseClient(options),
    kinesis: new packages.kinesis.KinesisClient(
      http2Url === undefined
        ? { ...options, requestHandler: sqs.config.requestHandler }
        : { ...options, endpoint: http2Url },
    ),
    sns: new packages.sns.SNSClient({ ...options, endpoint: messages }),
    sqs,
  };
  try {
    await use(clients);
  } finally {
    for (const client of Object.values(clients)) client.destroy();
  }
}

/** Delivers records by a producer, and gives the reasons of those that became dead letters, by sequence. */
export async function deliverAll<T>(send: Send<T>, records: readonly T[]): Promise<ReadonlyMap<number, string>> {
  const buffer = await MemoryBuffer.open<T>({ maxRecordBytes: 2 ** 22, maxBytes: 2 ** 23 });
  const deadLetters = await MemoryBuffer.open({ codec: deadLetterCodec(buffer.codec), maxRecordBytes: 2 ** 23 });
  const producer = new Producer<T>({ buffer, send, deadLetters, retry: { firstDelayMs: 1, maxDelayMs: 2 } });
  await producer.putMany(records);
  await producer.flush();
  await producer.close();
  const reasons = new Map<number, string>();
  for await (const batch of deadLetters.batches({ flush: true })) {
    for (const { sequence, error } of batch) reasons.set(sequence, error);
    await deadLetters.commit(batch);
  }
  await buffer.close();
  await deadLetters.close();
  return reasons;
}

/** Gives a fake server, and clients of it. */
export async function withFake(
  packages: AwsPackages,
  use: (fake: AwsFake, clients: AwsClients) => Promise<void>,
): Promise<void> {
  const fake = await AwsFake.start();
  try {
    await withAwsClients(packages, fake, (clients) => use(fake, clients));
  } finally {
    await fake.stop();
  }
}

/** How many entries each request had. */
export function countsOf({ requests }: AwsFake): number[] {
  return requests.map(({ length }) => length);
}

/** What the producer is told. */
export function verdictOf({ scope, retryable, tooLarge, split, failed }: DeliveryError) {
  return { scope, retryable, tooLarge, split, failed: failed?.map(({ index, retryable }) => [index, retryable]) };
}

/** Verdicts on whole deliveries. */
export const PASSING = { scope: "target", retryable: true, tooLarge: false, split: false, failed: undefined } as const;
export const LASTING = { ...PASSING, retryable: false } as const;
export const TOO_LARGE = { ...PASSING, scope: "record", tooLarge: true } as const;
export const REFUSED = { ...PASSING, scope: "record", retryable: false, split: true } as const;
