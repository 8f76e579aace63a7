/**
 * What the sinks for AWS make of answers: whose fault an error is, and what it takes to be sent again. With the real SDK, against a
 * server that answers as it is told; see `aws_fake.ts`. And the clients, commands and options that they refuse.
 */

import { test } from "node:test";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { Send } from "../../mod.ts";
import {
  type AwsCommand,
  cloudWatchLogsSink,
  eventBridgeSink,
  firehoseSink,
  kinesisSink,
  snsSink,
  sqsSink,
} from "../../src/sinks/aws.ts";
import type { AwsPackages } from "../engines/clients.ts";
import { contextOf } from "../support/deliveries.ts";
import type { AwsFake } from "./aws_fake.ts";
import {
  type AwsClients,
  countsOf,
  LASTING,
  PASSING,
  prepareAws,
  REFUSED,
  TOO_LARGE,
  verdictOf,
  withFake as withFakeOf,
} from "./aws_tools.ts";
import { batchOf, refusalOf } from "./tools.ts";

const packages = await prepareAws();
const SKIP = { skip: typeof packages === "string" ? packages : false, timeout: 60_000 };
const { cloudWatchLogs, eventBridge, firehose, kinesis, sns, sqs } = packages as AwsPackages;

function withFake(use: (fake: AwsFake, clients: AwsClients) => Promise<void>): Promise<void> {
  return withFakeOf(packages as AwsPackages, use);
}

function toKinesis<T>({ kinesis: client }: AwsClients): Send<T> {
  return kinesisSink<T>(client, { command: kinesis.PutRecordsCommand, streamName: "clicks" });
}

function toFirehose<T>({ firehose: client }: AwsClients): Send<T> {
  return firehoseSink<T>(client, { command: firehose.PutRecordBatchCommand, deliveryStreamName: "clicks" });
}

test(
  "errors tell faults of the target that pass, those that last, and records that are refused",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const passing =
        "ProvisionedThroughputExceededException ThrottlingException Throttling SlowDown RequestLimitExceeded " +
        "LimitExceededException KMSThrottlingException ServiceUnavailable ServiceUnavailableException InternalFailure " +
        "ResourceInUseException TooManyRequestsException OverLimit";
      const lasting =
        "AccessDeniedException ResourceNotFoundException UnrecognizedClientException ExpiredTokenException " +
        "InvalidSignatureException KMSDisabledException KMSAccessDeniedException KMSInvalidStateException NotFound " +
        "KMSNotFoundException MissingAuthenticationTokenException AWS.SimpleQueueService.NonExistentQueue OptInRequired " +
        "InvalidClientTokenId SignatureDoesNotMatch AuthorizationError NotAuthorized SomethingUnheardOf";
      const refused = "ValidationException InvalidArgumentException InvalidParameterException SerializationException";
      const tooLarge = "AWS.SimpleQueueService.BatchRequestTooLong RequestEntityTooLarge";
      const sink = toKinesis<number>(clients);
      for (
        const [names, verdict] of [[passing, PASSING], [lasting, LASTING], [refused, REFUSED], [
          tooLarge,
          TOO_LARGE,
        ]] as const
      ) {
        for (const name of names.split(" ")) {
          fake.answers.push({ status: 400, body: { __type: name, message: "because" } });
          const error = await refusalOf(sink, batchOf([1, 3], (n) => n));
          assertEquals(verdictOf(error), verdict, name);
          assertStringIncludes(error.message, "because");
        }
      }
    }),
);

test("what isn't AWS's answer is never held against records", SKIP, () =>
  withFake(async (fake, clients) => {
    const portal = "<html>Please sign in</html>";
    const sink = toKinesis<number>(clients);
    const answers = [200, 302, 500, 502, 503, 504, 429, 408].map((status) =>
      [{ status, body: portal }, PASSING] as const
    );
    const others = [400, 401, 403, 404, 407].map((status) => [{ status, body: portal }, LASTING] as const);
    for (const [answer, verdict] of [...answers, ...others, ["cut", PASSING] as const]) {
      fake.answers.push(answer);
      assertEquals(verdictOf(await refusalOf(sink, batchOf([1, 3], (n) => n))), verdict, JSON.stringify(answer));
    }
    fake.answers.push({ status: 413, body: portal });
    assertEquals(verdictOf(await refusalOf(sink, batchOf([1, 3], (n) => n))), TOO_LARGE);
  }));

test("an answer that doesn't say what was taken counts for nothing", async () => {
  for (const answer of [undefined, {}, { Records: [] }, { Records: [{}] }, { Records: "no" }, { Failed: 5 }]) {
    const client = { send: () => Promise.resolve(answer) };
    class Request {}
    const sinks = [
      kinesisSink<number>(client, { command: Request, streamName: "a" }),
      sqsSink<number>(client, { command: Request, queueUrl: "https://a/b" }),
      snsSink<number>(client, { command: Request, topicArn: "a" }),
    ];
    for (const sink of sinks) {
      const error = await refusalOf(sink, batchOf([1, 2], (n) => n));
      assertEquals(verdictOf(error), { ...PASSING, failed: [[0, true], [1, true]] }, JSON.stringify(answer));
    }
  }
});

test("SQS and SNS say by a flag whose fault a failed entry is", async () => {
  class Request {}
  const failed = (fault: object) => ({
    send: () => Promise.resolve({ Successful: [{ Id: "0" }], Failed: [{ Id: "1", ...fault }] }),
  });
  const verdict = async (fault: object) => {
    const sink = sqsSink<number>(failed(fault), { command: Request, queueUrl: "https://a/b" });
    const { scope, failed: records } = await refusalOf(sink, batchOf([1, 2], (n) => n));
    return [scope, records!.map(({ index, retryable }) => [index, retryable])];
  };
  assertEquals(await verdict({ Code: "Unheard", SenderFault: true }), ["record", [[1, false]]]);
  assertEquals(await verdict({ Code: "Unheard", SenderFault: false }), ["target", [[1, true]]]);
  assertEquals(await verdict({ Code: "InternalError", SenderFault: false }), ["target", [[1, true]]]);
  assertEquals(await verdict({ Code: "AccessDenied", SenderFault: true }), ["target", [[1, true]]]);
  assertEquals(await verdict({ Code: "RequestThrottled", SenderFault: true }), ["target", [[1, true]]]);
});

test(
  "an attempt that is aborted ends at once, and sends no further request",
  SKIP,
  () =>
    withFake(async (fake, clients) => {
      const controller = new AbortController();
      const reason = new Error("the attempt is over");
      fake.answers.push(undefined, "hang");
      fake.onHang = () => controller.abort(reason);
      const attempt = Promise.resolve(
        toFirehose<number>(clients)(
          batchOf([1, 1_200], (n) => n),
          contextOf({ signal: controller.signal }),
        ),
      );
      assertEquals(await attempt.catch((error) => error), reason);
      assertEquals(countsOf(fake), [500, 500]);
    }),
);

test(
  "clients, commands and options that don't fit are refused when the sink is made",
  SKIP,
  () =>
    withFake((_, clients) => {
      const command = kinesis.PutRecordsCommand as AwsCommand;
      const v2 = { makeRequest() {}, putRecords() {} };
      const cases: readonly (readonly [expected: string, make: () => unknown])[] = [
        ["AWS SDK v3, KinesisClient", () => kinesisSink(null as never, { command, streamName: "a" })],
        ["AWS SDK v2", () => kinesisSink(v2 as never, { command, streamName: "a" })],
        ["a client for SQS", () => kinesisSink(clients.sqs, { command, streamName: "a" })],
        ["got PutRecordsCommand", () => sqsSink(clients.sqs, { command, queueUrl: "a" })],
        ["command: PublishBatchCommand", () => snsSink(clients.sns, { command: undefined as never, topicArn: "a" })],
        ["options must be an object", () => kinesisSink(clients.kinesis, undefined as never)],
        ["streamName must be a string", () => kinesisSink(clients.kinesis, { command })],
        [
          "partitionKey",
          () => kinesisSink(clients.kinesis, { command, streamName: "a", partitionKey: "user" as never }),
        ],
        ["timestamp must be a function", () =>
          cloudWatchLogsSink(clients.cloudWatchLogs, {
            command: cloudWatchLogs.PutLogEventsCommand,
            logGroupName: "a",
            logStreamName: "b",
          } as never)],
        [
          "detailType",
          () => eventBridgeSink(clients.eventBridge, { command: eventBridge.PutEventsCommand, source: "a" } as never),
        ],
      ];
      for (const [expected, make] of cases) {
        assertStringIncludes(assertThrows(make, TypeError).message, expected);
      }
      sqsSink(clients.sqs, { command: sqs.SendMessageBatchCommand, queueUrl: "https://a/b" });
      snsSink(clients.sns, { command: sns.PublishBatchCommand, topicArn: "a" });
      return Promise.resolve();
    }),
);
