/**
 * Sinks for SQS and SNS; `aws.ts` documents what all sinks for AWS have in common.
 *
 * @module
 */

import type { Send } from "../producer/delivery.ts";
import {
  type Answer,
  type AwsClient,
  type AwsCommand,
  checkAwsSink,
  type RefusedEntry,
  sendByRequests,
  toMessageText,
  utf8Length,
} from "./aws_request.ts";
import { SNS, SQS } from "./presets.ts";
import { identityToText, parseBufferUuid, type RecordIdentity } from "./record_identity.ts";

/** What the options of SQS and SNS have in common. */
export interface MessageOptions<T> {
  /** The class `SendMessageBatchCommand` of `@aws-sdk/client-sqs`, or `PublishBatchCommand` of `@aws-sdk/client-sns`. */
  readonly command: AwsCommand;
  /**
   * The text of a record's message.
   *
   * @default {the payload, which must be UTF-8}
   */
  readonly body?: ((record: T, identity: RecordIdentity) => string) | undefined;
  /**
   * The message group of a record. The target keeps the order of each group.
   *
   * @default {the buffer's uuid if the target is FIFO, else none}
   */
  readonly groupId?: ((record: T, identity: RecordIdentity) => string) | undefined;
}

/** Options of {@linkcode sqsSink}. */
export interface SqsSinkOptions<T> extends MessageOptions<T> {
  /** URL of the queue; one that ends with `.fifo` is a FIFO queue. */
  readonly queueUrl: string;
}

/** Options of {@linkcode snsSink}. */
export interface SnsSinkOptions<T> extends MessageOptions<T> {
  /** ARN of the topic; one that ends with `.fifo` is a FIFO topic. */
  readonly topicArn: string;
  /**
   * The topic's `MaximumMessageSize`, for a message and for a request.
   *
   * @default {262144}
   */
  readonly maxRequestBytes?: number | undefined;
}

/** Characters that a message can't have, see the API reference of SendMessageBatch. */
// deno-lint-ignore no-control-regex
const UNFIT = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/**
 * Makes a {@linkcode Send} that sends records to a queue of SQS, by `SendMessageBatch`: a message for each, with the attribute
 * `sluice-record` that {@linkcode awsIdentity} reads. In a FIFO queue the identity is also the `MessageDeduplicationId`.
 *
 * @param client An `SQSClient`, best with `maxAttempts: 1`.
 * @param options The command's class and the queue.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example A queue of SQS
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { awsIdentity, sqsSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { SendMessageBatchCommand, SQSClient } from "@aws-sdk/client-sqs";
 * interface Message {
 *   MessageBody: string;
 *   MessageAttributes: Record<string, { StringValue: string }>;
 * }
 * class SendMessageBatchCommand {
 *   input: { Entries: Message[] };
 *   constructor(input: SendMessageBatchCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const queue: Message[] = [];
 * const client = { // in a program: new SQSClient({ maxAttempts: 1 })
 *   async send({ input }: SendMessageBatchCommand) {
 *     queue.push(...input.Entries);
 *     return { Failed: [] };
 *   },
 * };
 * const queueUrl = "https://sqs.eu-central-1.amazonaws.com/1/orders";
 * const send = sqsSink<{ order: number }>(client, { command: SendMessageBatchCommand, queueUrl });
 * const buffer = await MemoryBuffer.open<{ order: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.put({ order: 1 });
 * await producer.flush();
 * assertEquals(queue[0].MessageBody, '{"order":1}');
 * assertEquals(awsIdentity(queue[0].MessageAttributes["sluice-record"])?.sequence, 1);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function sqsSink<T>(client: AwsClient, options: SqsSinkOptions<T>): Send<T> {
  const operation = {
    sink: "an SQS sink",
    service: "SQS",
    client: "SQSClient",
    command: "SendMessageBatchCommand",
  };
  checkAwsSink(client, options, operation, ["queueUrl"], ["body", "groupId"]);
  const { queueUrl } = options;
  return sendMessages(client, options, {
    limits: SQS,
    isFifo: queueUrl.endsWith(".fifo"),
    text: "MessageBody",
    toInput: (Entries) => ({ QueueUrl: queueUrl, Entries }),
  });
}

/**
 * Makes a {@linkcode Send} that publishes records to a topic of SNS, by `PublishBatch`: a message for each, with the attribute
 * `sluice-record` that {@linkcode awsIdentity} reads. In a FIFO topic the identity is also the `MessageDeduplicationId`.
 * A queue with raw message delivery has the attribute on its messages, any other subscriber in the notification.
 *
 * @param client An `SNSClient`, best with `maxAttempts: 1`.
 * @param options The command's class and the topic.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example A topic of SNS
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { snsSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { PublishBatchCommand, SNSClient } from "@aws-sdk/client-sns";
 * class PublishBatchCommand {
 *   input: { PublishBatchRequestEntries: { Message: string }[] };
 *   constructor(input: PublishBatchCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const messages: string[] = [];
 * const client = { // in a program: new SNSClient({ maxAttempts: 1 })
 *   async send({ input }: PublishBatchCommand) {
 *     messages.push(...input.PublishBatchRequestEntries.map(({ Message }) => Message));
 *     return { Failed: [] };
 *   },
 * };
 * const topicArn = "arn:aws:sns:eu-central-1:1:orders";
 * const send = snsSink<{ order: number }>(client, { command: PublishBatchCommand, topicArn });
 * const buffer = await MemoryBuffer.open<{ order: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.put({ order: 1 });
 * await producer.flush();
 * assertEquals(messages, ['{"order":1}']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function snsSink<T>(client: AwsClient, options: SnsSinkOptions<T>): Send<T> {
  const operation = { sink: "an SNS sink", service: "SNS", client: "SNSClient", command: "PublishBatchCommand" };
  checkAwsSink(client, options, operation, ["topicArn"], ["body", "groupId"]);
  const { topicArn, maxRequestBytes = SNS.maxRecordBytes } = options;
  return sendMessages(client, options, {
    limits: { ...SNS, maxRequestBytes, maxRecordBytes: maxRequestBytes },
    isFifo: topicArn.endsWith(".fifo"),
    text: "Message",
    toInput: (PublishBatchRequestEntries) => ({ TopicArn: topicArn, PublishBatchRequestEntries }),
  });
}

/** Name of the attribute with a record's identity. */
export const RECORD_ATTRIBUTE = "sluice-record";

/** Where SQS and SNS differ. */
interface MessageTarget {
  readonly limits: typeof SQS;
  readonly isFifo: boolean;
  /** Name of the member that has the text. */
  readonly text: string;
  toInput(entries: readonly object[]): object;
}

function sendMessages<T>(
  client: AwsClient,
  { command, body, groupId }: MessageOptions<T>,
  { limits, isFifo, text, toInput }: MessageTarget,
): Send<T> {
  return sendByRequests<T, { readonly Id: string }>(client, command, {
    limits,
    readsRecords: body !== undefined || groupId !== undefined,
    encode(payload, record, identity, index) {
      const message = toMessageText(body === undefined ? payload : body(record, identity), "body");
      if (message === "") throw new RangeError("a message can't be empty");
      if (UNFIT.test(message)) throw new TypeError("its text has a character that a message can't have");
      const id = identityToText(identity);
      const group = groupId?.(record, identity) ?? (isFifo ? parseBufferUuid(identity.batchId) : undefined);
      const entry = {
        Id: String(index),
        [text]: message,
        MessageAttributes: { [RECORD_ATTRIBUTE]: { DataType: "String", StringValue: id } },
        ...(group === undefined ? {} : { MessageGroupId: toMessageText(group, "groupId") }),
        ...(isFifo ? { MessageDeduplicationId: id } : {}),
      };
      return { entry, bytes: utf8Length(message) + RECORD_ATTRIBUTE.length + "String".length + utf8Length(id) };
    },
    toInput,
    refusedOf: ({ Failed, Successful }, entries) => refusedById(Failed, Successful, entries),
  });
}

/** Entries that an answer lists as failed; one that it lists nowhere, though it lists others, isn't known to be taken. */
function refusedById(
  failed: Answer[string],
  successful: Answer[string],
  entries: readonly { readonly Id: string }[],
): RefusedEntry[] {
  const byId = new Map<unknown, { Code?: string; Message?: string; SenderFault?: boolean }>();
  for (const one of Array.isArray(failed) ? failed : []) byId.set(one.Id, one);
  const taken = Array.isArray(successful) ? new Set(successful.map(({ Id }) => Id)) : undefined;
  return entries.flatMap(({ Id }, at): RefusedEntry[] => {
    const found = byId.get(Id);
    if (found === undefined && (taken?.has(Id) ?? Array.isArray(failed))) return [];
    const code = found?.Code ?? "the answer doesn't say what was taken";
    return [{ at, code, message: found?.Message, isSenderFault: found?.SenderFault }];
  });
}
