/**
 * What the sinks for AWS make of a delivery: requests within the limits of a service, and only what wasn't taken is sent again. With
 * the real SDK, against a server that checks the limits and answers as it is told; see `aws_fake.ts`.
 */

import { Buffer } from "node:buffer";
import { test } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DeliveryError, type Send } from "../../mod.ts";
import { bytesCodec } from "../../src/base/codec.ts";
import { cloudWatchLogsSink, eventBridgeSink, firehoseSink, kinesisSink } from "../../src/sinks/aws.ts";
import type { AwsPackages } from "../engines/clients.ts";
import { deliveryOf } from "../support/deliveries.ts";
import type { AwsFake } from "./aws_fake.ts";
import {
  type AwsClients,
  countsOf,
  deliverAll,
  PASSING,
  prepareAws,
  verdictOf,
  withFake as withFakeOf,
} from "./aws_tools.ts";
import { batchOf, refusalOf, send } from "./tools.ts";

const packages = await prepareAws();
const SKIP = { skip: typeof packages === "string" ? packages : false, timeout: 60_000 };
const { cloudWatchLogs, eventBridge, firehose, kinesis } = packages as AwsPackages;

function withFake(use: (fake: AwsFake, clients: AwsClients) => Promise<void>): Promise<void> {
  return withFakeOf(packages as AwsPackages, use);
}

function toKinesis<T>({ kinesis: client }: AwsClients): Send<T> {
  return kinesisSink<T>(client, { command: kinesis.PutRecordsCommand, streamName: "clicks" });
}

function toFirehose<T>({ firehose: client }: AwsClients): Send<T> {
  return firehoseSink<T>(client, { command: firehose.PutRecordBatchCommand, deliveryStreamName: "clicks" });
}

function toLogs<T extends { at: number; text?: string }>({ cloudWatchLogs: client }: AwsClients): Send<T> {
  return cloudWatchLogsSink<T>(client, {
    command: cloudWatchLogs.PutLogEventsCommand,
    logGroupName: "shop",
    logStreamName: "web",
    timestamp: ({ at }) => at,
    message: ({ at, text = `at ${at}` }) => text,
  });
}

function toEvents<T>({ eventBridge: client }: AwsClients): Send<T> {
  const options = { command: eventBridge.PutEventsCommand, source: "shop", detailType: "placed" };
  return eventBridgeSink<T>(client, options);
}

function textOf(data = ""): string {
  return Buffer.from(data, "base64").toString();
}

test(
  "requests hold as many records as a service takes, and a record as many bytes",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      /** A sink, the bytes that a record grows by, the most entries of a request and the most bytes of one. */
      const cases = [
        [toKinesis<Uint8Array>(clients), 49, 500, 10 * 2 ** 20],
        [toFirehose<Uint8Array>(clients), 1, 500, 1_024_000],
      ] as const;
      for (const [sink, overhead, maxEntries, maxEntryBytes] of cases) {
        const deliver = (lengths: readonly number[]) => {
          fake.requests.length = 0;
          const codec = bytesCodec();
          const records = lengths.map((length) => new Uint8Array(length - overhead));
          // A batch's id has nine digits less than the overhead of a key.
          return send(sink, deliveryOf(records, { codec, batchId: "b".repeat(47), sequences: lengths.map(() => 1) }));
        };
        await deliver(Array(maxEntries).fill(100));
        assertEquals(countsOf(fake), [maxEntries]);
        await deliver(Array(maxEntries + 1).fill(100));
        assertEquals(countsOf(fake), [maxEntries, 1]);
        await deliver([maxEntryBytes]);
        const error = await assertRejects(() => deliver([100, maxEntryBytes + 1, 100]), DeliveryError);
        assertEquals(error.failed!.map(({ index, retryable }) => [index, retryable]), [[1, false]]);
        assertEquals(countsOf(fake), [2]);
      }
    }),
);

test(
  "log events are sent by time, within their limits of count, bytes and time",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const sink = toLogs(clients);
      const deliver = async (records: { at: number; text?: string }[]) => {
        fake.requests.length = 0;
        await send(sink, deliveryOf(records));
        return countsOf(fake);
      };
      assertEquals(await deliver([{ at: 5 }, { at: 3 }, { at: 9 }, { at: 3 }]), [4]);
      assertEquals(fake.requests[0]!.map(({ timestamp }) => timestamp), [3, 3, 5, 9]);
      const day = 86_400_000;
      assertEquals(await deliver([{ at: 2 * day }, { at: 1 }, { at: day }, { at: day + 1 }]), [2, 2]);
      assertEquals(await deliver(Array.from({ length: 10_001 }, () => ({ at: 1 }))), [10_000, 1]);
      const text = "é".repeat(2 ** 18 - 13);
      assertEquals(await deliver([{ at: 1, text }, { at: 1, text }]), [2]);
      assertEquals(await deliver([{ at: 1, text }, { at: 1, text: `${text}.` }]), [1, 1]);
      assertEquals(await deliver([{ at: 1, text: "x".repeat(2 ** 20 - 26) }]), [1]);
    }),
);

test(
  "log events that come too late are refused one by one, and so are those that can't be events",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const rejectedLogEventsInfo = {
        tooOldLogEventEndIndex: 1,
        expiredLogEventEndIndex: 2,
        tooNewLogEventStartIndex: 4,
      };
      fake.answers.push({ body: { rejectedLogEventsInfo } });
      const records = [{ at: 50 }, { at: 30 }, { at: 10 }, { at: 40 }, { at: 20 }, { at: -1 }, { at: 1, text: "" }];
      const { failed, scope } = await refusalOf(toLogs(clients), deliveryOf(records));
      assertEquals(failed!.map(({ index, retryable }) => [index, retryable]), [0, 2, 4, 5, 6].map((i) => [i, false]));
      assertEquals(scope, "record");
      assertEquals(failed!.map(({ reason }) => /too new|too old|expired|whole number|empty/.exec(reason)?.[0]), [
        "too new",
        "too old",
        "expired",
        "whole number",
        "empty",
      ]);
    }),
);

test(
  "events go ten at a time, in less than 1 MB, and a detail that is no object is refused alone",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const sink = toEvents<object | number>(clients);
      await send(sink, deliveryOf(Array.from({ length: 21 }, (_, order) => ({ order }))));
      assertEquals(countsOf(fake), [10, 10, 1]);
      const detail = (bytes: number) => ({ a: "x".repeat(bytes - '{"a":""}'.length - "shopplaced".length) });
      fake.requests.length = 0;
      await send(sink, deliveryOf([detail(499_999), detail(500_000)]));
      await send(sink, deliveryOf([detail(500_000), detail(500_000)]));
      assertEquals(countsOf(fake), [2, 1, 1]);
      const { failed } = await refusalOf(sink, deliveryOf([{ a: 1 }, 5, detail(1_000_000), { a: 2 }]));
      assertEquals(failed!.map(({ index, retryable }) => [index, retryable]), [[1, false], [2, false]]);
    }),
);

test(
  "only the records that an answer reports as failed are sent again, or refused",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const results = {
        PutRecords: toKinesis<number>(clients),
        PutRecordBatch: toFirehose<number>(clients),
      };
      for (const [name, sink] of Object.entries(results)) {
        fake.results.set("2", { ErrorCode: "ProvisionedThroughputExceededException", ErrorMessage: "slow down" });
        fake.results.set("4", { ErrorCode: "InternalFailure", ErrorMessage: "Internal Service Failure" });
        const throttled = await refusalOf(sink, batchOf([1, 5], (n) => n));
        assertEquals(verdictOf(throttled), { ...PASSING, failed: [[1, true], [3, true]] }, name);
        assertStringIncludes(
          throttled.message,
          "2 of 5 records were not taken; ProvisionedThroughputExceededException",
        );
        fake.results.set("4", { ErrorCode: "KMSInvalidStateException" });
        assertEquals(verdictOf(await refusalOf(sink, batchOf([1, 5], (n) => n))).retryable, false, name);
        fake.results.set("4", { ErrorCode: "InvalidArgumentException" });
        const mixed = verdictOf(await refusalOf(sink, batchOf([1, 5], (n) => n)));
        assertEquals(mixed, { ...PASSING, scope: "record", failed: [[1, true], [3, false]] }, name);
        fake.results.clear();
      }
    }),
);

test(
  "a producer sends again what was throttled, and nothing that was taken",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      fake.results.set('{"n":3}', { ErrorCode: "ThrottlingException" });
      fake.results.set('{"n":7}', { ErrorCode: "MalformedDetail", ErrorMessage: "no" });
      const seen: number[][] = [];
      const sink = toEvents<{ n: number }>(clients);
      const records = Array.from({ length: 30 }, (_, n) => ({ n }));
      const reasons = await deliverAll<{ n: number }>(async (delivery, context) => {
        fake.requests.length = 0;
        try {
          await sink(delivery, context);
        } finally {
          seen.push(fake.requests.flat().map(({ Detail }) => JSON.parse(Detail!).n));
          fake.results.delete('{"n":3}');
        }
      }, records);
      assertEquals([...reasons], [[8, "MalformedDetail: no"]]);
      // Nothing behind the first ten is sent while one of them may still be taken.
      assertEquals(seen, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [3, ...Array.from({ length: 20 }, (_, i) => 10 + i)]]);
    }),
);

test("what requests before a failed one have taken isn't sent again", SKIP, () =>
  withFake(async (fake, clients) => {
    const sink = toFirehose<number>(clients);
    for (
      const [answer, scope, retryable] of [
        [{ status: 503, body: { __type: "ServiceUnavailableException" } }, "target", true],
        [{ status: 400, body: { __type: "AccessDeniedException" } }, "target", false],
        [{ status: 400, body: { __type: "ValidationException" } }, "record", true],
        ["cut", "target", true],
      ] as const
    ) {
      fake.answers.push(undefined, answer);
      const error = await refusalOf(sink, batchOf([1, 1_200], (n) => n));
      assertEquals([error.scope, error.retryable], [scope, retryable]);
      const rest = Array.from({ length: 700 }, (_, i) => [500 + i, true]);
      assertEquals(error.failed!.map(({ index, retryable }) => [index, retryable]), rest);
    }
    fake.answers.push(undefined, "cut");
    fake.requests.length = 0;
    const records = Array.from({ length: 1_200 }, (_, n) => n);
    assertEquals((await deliverAll(sink, records)).size, 0);
    assertEquals(countsOf(fake), [500, 500, 500, 200]);
    const [first = [], , ...others] = fake.requests;
    assertEquals([first, ...others].flat().map(({ Data }) => Number(textOf(Data))), records);
  }));

test("a record that an option throws for is refused alone", async () => {
  const sent: number[] = [];
  class PutRecordsCommand {
    readonly input: { Records: object[] };
    constructor(input: { Records: object[] }) {
      this.input = input;
    }
  }
  const client = {
    send({ input: { Records } }: PutRecordsCommand) {
      sent.push(Records.length);
      return Promise.resolve({ Records: Records.map(() => ({ ShardId: "0" })) });
    },
  };
  const keys = ["ok", "", "x".repeat(257), 5, undefined, "\ud800", "ok"];
  const sink = kinesisSink<number>(client, {
    command: PutRecordsCommand,
    streamArn: "arn:aws:kinesis:eu-central-1:1:stream/clicks",
    partitionKey(n) {
      if (n === 7) throw new Error("no key");
      return keys[n] as string;
    },
  });
  const { failed, scope } = await refusalOf(sink, batchOf([0, 7], (n) => n));
  assertEquals(failed!.map(({ index, retryable }) => [index, retryable]), [1, 2, 3, 4, 5, 7].map((i) => [i, false]));
  assertEquals([scope, sent], ["record", [2]]);
});
