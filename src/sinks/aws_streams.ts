/**
 * Sinks for Kinesis Data Streams and Data Firehose; `aws.ts` documents what all sinks for AWS have in common.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Send } from "../producer/delivery.ts";
import {
  type Answer,
  type AwsClient,
  type AwsCommand,
  checkAwsSink,
  type RefusedEntry,
  sendByRequests,
  utf8Length,
} from "./aws_request.ts";
import { checkText } from "./encode_records.ts";
import { FIREHOSE, KINESIS } from "./presets.ts";
import { identityToText, type RecordIdentity } from "./record_identity.ts";

/** Options of {@linkcode kinesisSink}. */
export interface KinesisSinkOptions<T> {
  /** The class `PutRecordsCommand` of `@aws-sdk/client-kinesis`. */
  readonly command: AwsCommand;
  /**
   * Name of the stream.
   *
   * @default {none: `streamArn` says which it is}
   */
  readonly streamName?: string | undefined;
  /**
   * ARN of the stream.
   *
   * @default {none: `streamName` says which it is}
   */
  readonly streamArn?: string | undefined;
  /**
   * The key that decides on a record's shard, at most 256 characters. It must always be the same for the same record. Records with
   * one key are in one shard.
   *
   * @default {the record's identity, which spreads the records and is read by `awsIdentity()`}
   */
  readonly partitionKey?: ((record: T, identity: RecordIdentity) => string) | undefined;
  /**
   * The data of a record. With a `partitionKey` of your own this is the place for the identity.
   *
   * @default {the payload}
   */
  readonly data?: ((record: T, identity: RecordIdentity) => Uint8Array | string) | undefined;
}

/** Options of {@linkcode firehoseSink}. */
export interface FirehoseSinkOptions<T> {
  /** The class `PutRecordBatchCommand` of `@aws-sdk/client-firehose`. */
  readonly command: AwsCommand;
  /** Name of the stream of Firehose. */
  readonly deliveryStreamName: string;
  /**
   * The data of a record, with what ends it: Firehose puts nothing between records.
   *
   * @default {the payload and a line feed}
   */
  readonly data?: ((record: T, identity: RecordIdentity) => Uint8Array | string) | undefined;
}

/**
 * Makes a {@linkcode Send} that puts records into a stream of Kinesis, by `PutRecords`.
 *
 * @param client A `KinesisClient`, best with `maxAttempts: 1`.
 * @param options The command's class, the stream, and how a record gets its key.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example A stream of Kinesis
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { awsIdentity, kinesisSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { KinesisClient, PutRecordsCommand } from "@aws-sdk/client-kinesis";
 * class PutRecordsCommand {
 *   input: { Records: { PartitionKey: string }[] };
 *   constructor(input: PutRecordsCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const keys: string[] = [];
 * const client = { // in a program: new KinesisClient({ maxAttempts: 1 })
 *   async send({ input }: PutRecordsCommand) {
 *     keys.push(...input.Records.map(({ PartitionKey }) => PartitionKey));
 *     return { FailedRecordCount: 0, Records: input.Records.map(() => ({ ShardId: "0" })) };
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const send = kinesisSink<{ user: string }>(client, { command: PutRecordsCommand, streamName: "clicks" });
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ user: "ada" }, { user: "bob" }]);
 * await producer.flush();
 * assertEquals(keys.map((key) => awsIdentity(key)?.sequence), [1, 2]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function kinesisSink<T>(client: AwsClient, options: KinesisSinkOptions<T>): Send<T> {
  const operation = {
    sink: "a Kinesis sink",
    service: "Kinesis",
    client: "KinesisClient",
    command: "PutRecordsCommand",
  };
  const name = options?.streamArn === undefined ? "streamName" : "streamArn";
  checkAwsSink(client, options, operation, [name], ["partitionKey", "data"]);
  const { command, streamName, streamArn, partitionKey, data } = options;
  return sendByRequests<T, { Data: Uint8Array; PartitionKey: string }>(client, command, {
    // How large a record may be is a setting of the stream, which refuses what is larger.
    limits: { ...KINESIS, maxRecordBytes: KINESIS.maxRequestBytes! },
    readsRecords: partitionKey !== undefined || data !== undefined,
    encode(payload, record, identity) {
      const PartitionKey = partitionKey === undefined
        ? identityToText(identity)
        : checkText(partitionKey(record, identity), "partitionKey");
      if (PartitionKey.length < 1 || PartitionKey.length > 256) {
        throw new RangeError(`partitionKey must have 1 to 256 characters, got ${PartitionKey.length}`);
      }
      const Data = data === undefined ? payload : toBytes(data(record, identity));
      return { entry: { Data, PartitionKey }, bytes: Data.length + utf8Length(PartitionKey) };
    },
    toInput: (Records) => ({ StreamName: streamName, StreamARN: streamArn, Records }),
    refusedOf: ({ Records }, entries) => refusedByPosition(Records, entries.length),
  });
}

/**
 * Makes a {@linkcode Send} that puts records into a stream of Firehose, by `PutRecordBatch`.
 *
 * @param client A `FirehoseClient`, best with `maxAttempts: 1`.
 * @param options The command's class and the stream.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example The identity in each line
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { firehoseSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { FirehoseClient, PutRecordBatchCommand } from "@aws-sdk/client-firehose";
 * class PutRecordBatchCommand {
 *   input: { Records: { Data: Uint8Array }[] };
 *   constructor(input: PutRecordBatchCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const lines: string[] = [];
 * const client = {
 *   async send({ input }: PutRecordBatchCommand) {
 *     lines.push(...input.Records.map(({ Data }) => new TextDecoder().decode(Data)));
 *     return { FailedPutCount: 0, RequestResponses: input.Records.map(() => ({ RecordId: "a" })) };
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const send = firehoseSink<{ user: string }>(client, {
 *   command: PutRecordBatchCommand,
 *   deliveryStreamName: "clicks",
 *   data: (record, { sequence }) => JSON.stringify({ sequence, ...record }) + "\n",
 * });
 * const producer = new Producer({ buffer, send });
 * await producer.put({ user: "ada" });
 * await producer.flush();
 * assertEquals(lines, ['{"sequence":1,"user":"ada"}\n']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function firehoseSink<T>(client: AwsClient, options: FirehoseSinkOptions<T>): Send<T> {
  const operation = {
    sink: "a Firehose sink",
    service: "Firehose",
    client: "FirehoseClient",
    command: "PutRecordBatchCommand",
  };
  checkAwsSink(client, options, operation, ["deliveryStreamName"], ["data"]);
  const { command, deliveryStreamName, data } = options;
  return sendByRequests<T, { Data: Uint8Array }>(client, command, {
    limits: FIREHOSE,
    readsRecords: data !== undefined,
    encode(payload, record, identity) {
      const Data = data === undefined ? Buffer.concat([payload, LINE_FEED]) : toBytes(data(record, identity));
      return { entry: { Data }, bytes: Data.length };
    },
    toInput: (Records) => ({ DeliveryStreamName: deliveryStreamName, Records }),
    refusedOf: ({ RequestResponses }, entries) => refusedByPosition(RequestResponses, entries.length),
  });
}

const LINE_FEED = new Uint8Array([0x0a]);

function toBytes(data: Uint8Array | string): Uint8Array {
  return data instanceof Uint8Array ? data : Buffer.from(checkText(data, "data"));
}

/** Entries of an answer that stand where those of the request do. An answer without them took nothing that is known. */
export function refusedByPosition(results: Answer[string], length: number): RefusedEntry[] {
  if (!Array.isArray(results) || results.length !== length) {
    const code = "the answer doesn't say what was taken";
    return Array.from({ length }, (_, at) => ({ at, code }));
  }
  return results.flatMap(({ ErrorCode: code, ErrorMessage: message }, at) => code ? [{ at, code, message }] : []);
}
