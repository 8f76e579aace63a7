/**
 * Limits of well-known targets, and the buffer options that follow from them: each batch fits into one request.
 *
 *     FileBuffer.open({ path: "./events.wal", ...presetFor(KINESIS) })
 *
 * ## What a target counts in addition to the payload
 *
 * The buffer counts payload bytes. A target counts more: keys, headers, attributes, framing, base64. For a batch of `n` records
 * with `P` payload bytes, it counts at most
 *
 *     P * bytesPerPayloadByte + n * recordOverheadBytes + requestOverheadBytes
 *
 * {@linkcode presetFor} subtracts the overhead of the largest number of records from the limit once, so that every batch fits,
 * whatever its records. The price is a part of the limit that large records leave unused: a quarter of a percent with SQS, 1 % with
 * Kinesis, 12 % with Kafka, a quarter with CloudWatch Logs. A size function for each record would avoid that, but it would have to give the same result after
 * a restart, too, for a batch to keep its end.
 *
 * Limits change, and accounts and servers have their own. Each number names its source, as of 2026. Override what differs:
 * `presetFor({ ...NATS, maxRecordBytes: 8 * 2 ** 20 })`.
 *
 * @module
 */

/** What a target accepts in one request, and what it counts. */
export interface TargetLimits {
  /** The most records in one request. */
  readonly maxRecords: number;
  /** The most bytes in one request; `undefined` where each record is a request of its own. */
  readonly maxRequestBytes?: number | undefined;
  /** The most bytes of one record, including its overhead. */
  readonly maxRecordBytes: number;
  /** An upper bound of the bytes counted for a record in addition to its payload: key, headers, attributes, framing. */
  readonly recordOverheadBytes: number;
  /**
   * Bytes counted for a request in addition to its records.
   *
   * @default {0}
   */
  readonly requestOverheadBytes?: number | undefined;
  /**
   * Bytes counted for each byte of payload: 4 / 3 where payloads travel as base64, whose padding is up to 3 bytes of
   * `recordOverheadBytes`.
   *
   * @default {1}
   */
  readonly bytesPerPayloadByte?: number | undefined;
}

/** The buffer options that a preset sets. Smaller values than these always fit as well. */
export type Preset = Readonly<Record<"maxRecords" | "maxBytes" | "maxRecordBytes", number>>;

/**
 * Amazon Kinesis Data Streams, `PutRecords`: 500 records, 10 MiB for the request including partition keys, and 1 MiB for a
 * record with its key unless the stream's `MaxRecordSizeInKiB` says otherwise, up to 10 MiB (API reference of PutRecords,
 * https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html, and "Handle large records" in the developer guide).
 * For such a stream: `{ ...KINESIS, maxRecordBytes: 10 * 2 ** 20 }`. A key has up to 256 characters: counted as 256 bytes.
 *
 * @example A batch is one PutRecords
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { KINESIS, presetFor } from "@sluice/buffer/presets";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<{ user: string }>(presetFor(KINESIS));
 * await buffer.putMany(Array.from({ length: 700 }, (_, i) => ({ user: `user-${i}` })));
 * const batch = await buffer.emit();
 * const request = {
 *   StreamName: "clicks",
 *   Records: batch.payloads.map((Data, i) => ({ Data, PartitionKey: batch.records[i].user })),
 * };
 * assertEquals(request.Records.length, 500);
 * assert(request.Records.every(({ PartitionKey }) => PartitionKey.length <= KINESIS.recordOverheadBytes));
 * await buffer.close();
 * ```
 */
export const KINESIS: TargetLimits = {
  maxRecords: 500,
  maxRequestBytes: 10 * 2 ** 20,
  maxRecordBytes: 2 ** 20,
  recordOverheadBytes: 256,
};

/**
 * Amazon Data Firehose, `PutRecordBatch`: 500 records, 4 MB for the request, 1,000 KiB for a record before base64 (API
 * reference of PutRecordBatch and Record, https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html;
 * that page says MB, others MiB; this is the smaller one). One byte for the line feed that ends each record, because Firehose
 * puts nothing between records.
 *
 * @example A line feed behind each record
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { FIREHOSE, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals, assertLessOrEqual } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>(presetFor(FIREHOSE));
 * await buffer.putMany(Array.from({ length: 50 }, () => "x".repeat(100_000)));
 * const batch = await buffer.emit();
 * const Records = batch.payloads.map((payload) => ({ Data: new Uint8Array([...payload, 0x0a]) }));
 * assertLessOrEqual(Records.reduce((sum, { Data }) => sum + Data.length, 0), 4_000_000);
 * assertEquals(Records.length, 39); // a fortieth would be too much
 * await buffer.close();
 * ```
 */
export const FIREHOSE: TargetLimits = {
  maxRecords: 500,
  maxRequestBytes: 4_000_000,
  maxRecordBytes: 1_024_000,
  recordOverheadBytes: 1,
};

/**
 * Amazon SQS, `SendMessageBatch`: 10 messages, 1,048,576 bytes for one and for all of them, attributes included (API
 * reference of SendMessageBatch,
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html). The limit was 262,144
 * bytes before August 2025, and still is in some emulators. The overhead is two attributes with the record's identity.
 *
 * @example Ten messages at a time
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { presetFor, SQS } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<{ order: number }>(presetFor(SQS));
 * await buffer.putMany(Array.from({ length: 25 }, (_, order) => ({ order })));
 * const requests: string[][] = [];
 * for await (const batch of buffer.batches({ flush: true })) {
 *   requests.push(batch.records.map((_, i) => `${batch.firstSequence + i}`)); // the Id of each entry
 *   await buffer.commit(batch);
 * }
 * assertEquals(requests.map((ids) => ids.length), [10, 10, 5]);
 * assertEquals(requests[2], ["21", "22", "23", "24", "25"]);
 * await buffer.close();
 * ```
 */
export const SQS: TargetLimits = {
  maxRecords: 10,
  maxRequestBytes: 2 ** 20,
  maxRecordBytes: 2 ** 20,
  recordOverheadBytes: 256,
};

/**
 * Google Cloud Pub/Sub, `Publish`: 1,000 messages, 10 MB for the request and for one message (Quotas and limits,
 * https://cloud.google.com/pubsub/quotas; the client libraries have 1,000 and 10,000,000 as constants). The overhead is
 * two attributes with the record's identity, a short ordering key and the framing of protocol buffers. Over REST payloads are
 * base64: `{ ...PUBSUB, bytesPerPayloadByte: 4 / 3 }`.
 *
 * @example Over REST, where payloads are Base64
 * ```ts
 * import { presetFor, PUBSUB } from "@sluice/buffer/presets";
 * import { assertEquals, assertLess } from "@std/assert";
 *
 * const grpc = presetFor(PUBSUB);
 * const rest = presetFor({ ...PUBSUB, bytesPerPayloadByte: 4 / 3 });
 * assertEquals(rest.maxBytes, Math.floor(grpc.maxBytes * 3 / 4));
 * assertLess(Math.ceil(rest.maxBytes / 3) * 4 + 1_000 * PUBSUB.recordOverheadBytes, 10_000_004);
 * ```
 */
export const PUBSUB: TargetLimits = {
  maxRecords: 1_000,
  maxRequestBytes: 10_000_000,
  maxRecordBytes: 10_000_000,
  recordOverheadBytes: 512,
};

/**
 * Apache Kafka: `message.max.bytes`, 1,048,588 by default, is the largest record batch, after compression
 * (Broker configs, https://kafka.apache.org/documentation/#brokerconfigs_message.max.bytes). A batch begins with 61 bytes
 * (https://kafka.apache.org/documentation/#recordbatch). The overhead is what `kafkaSink` adds to a record: the
 * batch's id as the key and, with the sequence, in a header, framing. Kafka doesn't limit the number of records; 500 keeps
 * the overhead small.
 *
 * @example A topic with a larger max.message.bytes
 * ```ts
 * import { KAFKA, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * const limit = 10 * 2 ** 20;
 * const preset = presetFor({ ...KAFKA, maxRequestBytes: limit, maxRecordBytes: limit });
 * assertEquals(preset.maxRecords, 500);
 * assertEquals(preset.maxBytes, limit - 61 - 500 * 256);
 * ```
 */
export const KAFKA: TargetLimits = {
  maxRecords: 500,
  maxRequestBytes: 1_048_588,
  maxRecordBytes: 1_048_588,
  recordOverheadBytes: 256,
  requestOverheadBytes: 61,
};

/**
 * NATS: `max_payload`, 1 MiB by default and up to 64 MB, for a message with its headers (Server configuration,
 * https://docs.nats.io/running-a-nats-service/configuration; the server applies it to the total size that HPUB states).
 * Each record is a message. The overhead is the headers of `natsSink()`, with `whenUnknown: "resend"` and a stream whose name has 64
 * characters.
 *
 * @example A server with a larger max_payload
 * ```ts
 * import { NATS, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(presetFor(NATS).maxRecordBytes, 2 ** 20 - 384);
 * assertEquals(presetFor({ ...NATS, maxRecordBytes: 8 * 2 ** 20 }).maxRecordBytes, 8 * 2 ** 20 - 384);
 * ```
 */
export const NATS: TargetLimits = {
  maxRecords: 1_000,
  maxRecordBytes: 2 ** 20,
  recordOverheadBytes: 384,
};

/**
 * Amazon SNS, `PublishBatch`: 10 messages, 262,144 bytes for one and for all of them, attributes included (API reference of
 * PublishBatch, https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html). A topic whose `MaximumMessageSize` is larger
 * takes up to 1 MiB: `{ ...SNS, maxRequestBytes: 2 ** 20, maxRecordBytes: 2 ** 20 }`. The overhead is the attribute with the
 * record's identity.
 *
 * @example A topic for large messages
 * ```ts
 * import { presetFor, SNS } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(presetFor(SNS).maxBytes, 262_144 - 10 * 256);
 * const large = { maxRequestBytes: 2 ** 20, maxRecordBytes: 2 ** 20 };
 * assertEquals(presetFor({ ...SNS, ...large }).maxBytes, 2 ** 20 - 10 * 256);
 * ```
 */
export const SNS: TargetLimits = {
  maxRecords: 10,
  maxRequestBytes: 2 ** 18,
  maxRecordBytes: 2 ** 18,
  recordOverheadBytes: 256,
};

/**
 * Amazon CloudWatch Logs, `PutLogEvents`: 10,000 events, 1,048,576 bytes for all of them with 26 bytes for each, and for one
 * (API reference of PutLogEvents,
 * https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html). Fewer events than the most leave
 * room for their bytes.
 *
 * @example Few large events
 * ```ts
 * import { CLOUDWATCH_LOGS, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(presetFor(CLOUDWATCH_LOGS).maxBytes, 1_048_576 - 10_000 * 26);
 * assertEquals(presetFor({ ...CLOUDWATCH_LOGS, maxRecords: 100 }).maxBytes, 1_048_576 - 100 * 26);
 * ```
 */
export const CLOUDWATCH_LOGS: TargetLimits = {
  maxRecords: 10_000,
  maxRequestBytes: 2 ** 20,
  maxRecordBytes: 2 ** 20,
  recordOverheadBytes: 26,
};

/**
 * Amazon EventBridge, `PutEvents`: 10 events, less than 1 MB for all of them (API reference of PutEvents,
 * https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html; it was 256 KB before 2026). Counted are source,
 * type and detail, and 14 bytes for a time. The overhead is a source and a type of together 256 bytes.
 *
 * @example Ten events at a time
 * ```ts
 * import { EVENTBRIDGE, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(presetFor(EVENTBRIDGE), { maxRecords: 10, maxBytes: 997_299, maxRecordBytes: 997_299 });
 * ```
 */
export const EVENTBRIDGE: TargetLimits = {
  maxRecords: 10,
  maxRequestBytes: 999_999,
  maxRecordBytes: 999_999,
  recordOverheadBytes: 270,
};

/**
 * Datadog, `POST /api/v2/logs`: 1,000 logs, 5 MB for the body before it is compressed, 1 MB for one log, which is truncated beyond
 * that (Send logs, https://docs.datadoghq.com/api/latest/logs/#send-logs). The overhead is the comma or line feed; two bytes are
 * the brackets of the array.
 *
 * @example An array of logs is one request
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { DATADOG, presetFor } from "@sluice/buffer/presets";
 * import { assertLessOrEqual } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<{ message: string }>(presetFor(DATADOG));
 * await buffer.putMany(Array.from({ length: 60 }, () => ({ message: "x".repeat(100_000) })));
 * const batch = await buffer.emit();
 * assertLessOrEqual(new TextEncoder().encode(JSON.stringify(batch.records)).length, 5_000_000);
 * await buffer.close();
 * ```
 */
export const DATADOG: TargetLimits = {
  maxRecords: 1_000,
  maxRequestBytes: 5_000_000,
  maxRecordBytes: 1_000_000,
  recordOverheadBytes: 1,
  requestOverheadBytes: 2,
};

/**
 * MySQL and MariaDB: `max_allowed_packet`, by default 64 MiB in MySQL 8 and 16 MiB in MariaDB, which counts here (MySQL reference
 * manual, https://dev.mysql.com/doc/refman/8.4/en/packet-too-large.html; MariaDB,
 * https://mariadb.com/kb/en/server-system-variables/#max_allowed_packet). The longest statement has two bytes less. The overhead is
 * the identity and the punctuation of a row, and a kilobyte for the rest of the statement. A text may double by its escapes.
 *
 * @example A server with another limit
 * ```ts
 * import { MYSQL, presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * const limit = 2 ** 26 - 2; // max_allowed_packet = 64M
 * const preset = presetFor({ ...MYSQL, maxRequestBytes: limit, maxRecordBytes: limit });
 * assertEquals(preset.maxBytes, Math.floor((limit - 1_024 - 1_000 * 256) / 2));
 * ```
 */
export const MYSQL: TargetLimits = {
  maxRecords: 1_000,
  maxRequestBytes: 2 ** 24 - 2,
  maxRecordBytes: 2 ** 24 - 2,
  recordOverheadBytes: 256,
  requestOverheadBytes: 1_024,
  bytesPerPayloadByte: 2,
};

/** The size of a batch where the target has no limit: a buffer's default. */
const DEFAULT_MAX_BYTES = 1_000_000;

/**
 * Computes buffer options with which every batch fits into one request of a target.
 *
 * @param limits One of the constants here, whole or with changes, or the limits of another target.
 * @returns `maxRecords`, `maxBytes` and `maxRecordBytes`, to be spread into the options of `open()`.
 * @throws {RangeError} if a number is out of range, or the overhead leaves no room for payload.
 *
 * @example A stream of Kinesis with short keys and larger records
 * ```ts
 * import { KINESIS, presetFor } from "@sluice/buffer/presets";
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const preset = presetFor({ ...KINESIS, maxRecordBytes: 2 * 2 ** 20, recordOverheadBytes: 40 });
 * assertEquals(preset, { maxRecords: 500, maxBytes: 10_465_760, maxRecordBytes: 2_097_112 });
 * const buffer = await MemoryBuffer.open({ ...preset, maxAgeMs: 1_000 });
 * await buffer.close();
 * ```
 *
 * @example A target that isn't in the list
 * ```ts
 * import { presetFor } from "@sluice/buffer/presets";
 * import { assertEquals } from "@std/assert";
 *
 * const preset = presetFor({
 *   maxRecords: 100,
 *   maxRequestBytes: 1_000_000,
 *   maxRecordBytes: 50_000,
 *   recordOverheadBytes: 1, // the line feed
 * });
 * assertEquals(preset, { maxRecords: 100, maxBytes: 999_900, maxRecordBytes: 49_999 });
 * ```
 */
export function presetFor(limits: TargetLimits): Preset {
  const { maxRecords, maxRequestBytes, recordOverheadBytes } = limits;
  const { requestOverheadBytes = 0, bytesPerPayloadByte = 1 } = limits;
  check("maxRecords", maxRecords, Number.isInteger(maxRecords) && maxRecords >= 1);
  check("maxRecordBytes", limits.maxRecordBytes, limits.maxRecordBytes >= 1);
  check("maxRequestBytes", maxRequestBytes, maxRequestBytes === undefined || maxRequestBytes >= 1);
  check("recordOverheadBytes", recordOverheadBytes, recordOverheadBytes >= 0);
  check("requestOverheadBytes", requestOverheadBytes, requestOverheadBytes >= 0);
  check("bytesPerPayloadByte", bytesPerPayloadByte, bytesPerPayloadByte >= 1 && bytesPerPayloadByte < Infinity);
  const payloadBytes = (counted: number): number => Math.floor(counted / bytesPerPayloadByte);
  const recordPayloadBytes = payloadBytes(limits.maxRecordBytes - recordOverheadBytes);
  const maxBytes = maxRequestBytes === undefined
    ? Math.max(recordPayloadBytes, DEFAULT_MAX_BYTES)
    : payloadBytes(maxRequestBytes - requestOverheadBytes - maxRecords * recordOverheadBytes);
  const maxRecordBytes = Math.min(recordPayloadBytes, maxBytes);
  if (maxRecordBytes < 1) {
    const overhead = `${maxRecords} times ${recordOverheadBytes} and ${requestOverheadBytes} bytes of overhead`;
    throw new RangeError(`Cannot make a preset: ${overhead} leave no room for payload; set a smaller maxRecords`);
  }
  return { maxRecords, maxBytes, maxRecordBytes };
}

function check(name: string, value: number | undefined, isRight: boolean): void {
  if (!isRight) throw new RangeError(`Cannot make a preset: ${name} is out of range, got ${value}`);
}
