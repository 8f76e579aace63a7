/**
 * Sends deliveries to AWS: Kinesis Data Streams, Data Firehose, SQS, SNS, CloudWatch Logs and EventBridge.
 *
 * The client is the user's own, of AWS SDK v3, and so is the class of the command that the sink sends:
 *
 *     import { KinesisClient, PutRecordsCommand } from "@aws-sdk/client-kinesis";
 *
 *     const client = new KinesisClient({ maxAttempts: 1 });
 *     const send = kinesisSink(client, { command: PutRecordsCommand, streamName: "clicks" });
 *
 * `maxAttempts: 1`, because the producer tries again, only what failed, and as long as it takes. More attempts do no harm, but
 * they hide throttling and use up the time of an attempt. The attempt's signal is passed on as `abortSignal`.
 *
 * On Deno, give `KinesisClient` a `requestHandler: new NodeHttpHandler()` of `@smithy/node-http-handler`. By itself it speaks HTTP/2, and
 * with Deno 2.9 a request whose connection is cut then hangs until the attempt's timeout.
 *
 * ## What a delivery becomes
 *
 * As many requests as the service's limits of count and bytes demand, one after the other: a batch may be larger than a request,
 * and one that the presets make is one request. A record that is larger than the service takes is refused alone.
 *
 * ## What is made of answers
 *
 * - Of a request that was taken in part, only the records that the answer reports as failed are sent again, or refused. So a
 *   record may arrive behind others of its request. Nothing behind a request is sent before all of it is taken or refused.
 * - Throttling, 5xx, an internal failure and a lost connection are faults of the target that pass by themselves.
 * - Permissions, credentials, keys of KMS, and a stream, queue, topic or log group that isn't there are faults of the target that
 *   last until somebody acts. Neither kind makes a dead letter.
 * - A request that is too large is sent in halves. One that is refused as invalid is, too, until the record at fault is left.
 *
 * ## The identity, and what a consumer does with it
 *
 * These services don't recognise a copy, except FIFO queues and topics for five minutes. A consumer that has to handle each record
 * once skips identities that it has, and keeps them with its results.
 *
 * | Service         | Where the identity is                                                                       |
 * | --------------- | ------------------------------------------------------------------------------------------- |
 * | Kinesis         | the partition key, unless `partitionKey` is set; then put it into `data`                    |
 * | Firehose        | nowhere by itself: put it into `data`                                                       |
 * | SQS, SNS        | the message attribute `sluice-record`; with FIFO the `MessageDeduplicationId`, too          |
 * | CloudWatch Logs | nowhere by itself: put it into `message`                                                    |
 * | EventBridge     | nowhere by itself: put it into `detail`                                                     |
 *
 * The limits and the form of requests and answers are those of the services' API references, see `presets.ts`.
 *
 * @module
 */

import { identityFromText, type RecordIdentity } from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export {
  cloudWatchLogsSink,
  type CloudWatchLogsSinkOptions,
  eventBridgeSink,
  type EventBridgeSinkOptions,
} from "./aws_events.ts";
export {
  type MessageOptions,
  RECORD_ATTRIBUTE,
  snsSink,
  type SnsSinkOptions,
  sqsSink,
  type SqsSinkOptions,
} from "./aws_messages.ts";
export type { AwsClient, AwsCommand } from "./aws_request.ts";
export { firehoseSink, type FirehoseSinkOptions, kinesisSink, type KinesisSinkOptions } from "./aws_streams.ts";
export type { RecordIdentity } from "./record_identity.ts";

/**
 * Reads which record a consumer has: from the partition key of a record of Kinesis, or the attribute `sluice-record` of a message.
 *
 * @param value The key or attribute, as the SDK or an event of Lambda has it.
 * @returns Batch and sequence; `undefined` if the value isn't from these sinks.
 *
 * @example A consumer that handles each record once
 * ```ts
 * import { awsIdentity } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(awsIdentity("5f0c-7-7:7"), { batchId: "5f0c-7-7", sequence: 7 }); // a partition key
 * assertEquals(awsIdentity({ StringValue: "5f0c-7-7:7" })?.sequence, 7); // of a message received by the SDK
 * assertEquals(awsIdentity({ stringValue: "5f0c-7-7:7" })?.sequence, 7); // of a message in an event of Lambda
 * assertEquals(awsIdentity({ Value: "5f0c-7-7:7" })?.sequence, 7); // of a notification of SNS
 * assertEquals(awsIdentity(undefined), undefined);
 * ```
 */
export function awsIdentity(
  value: string | {
    readonly StringValue?: string | undefined;
    readonly stringValue?: string | undefined;
    readonly Value?: string | undefined;
  } | undefined,
): RecordIdentity | undefined {
  const text = typeof value === "string" ? value : value?.StringValue ?? value?.stringValue ?? value?.Value;
  return identityFromText(text ?? "");
}
