/**
 * Sends deliveries to Kafka: a message for each record, with a header that identifies the record.
 *
 * The client is the user's own, a producer of `kafkajs`, of the promise API of `@confluentinc/kafka-javascript` (`KafkaJS`), or of
 * `@platformatic/kafka`. The first two must be connected before the first delivery.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when the client's `send()` has resolved. With `acks` at -1, the default, the in-sync replicas then
 *   have it.
 * - Each message has the header `sluice-record`: the id of the record's batch, a colon, and the record's sequence. It always
 *   identifies one record: in each attempt, in each part of a batch, after a crash of either side.
 * - Unless the user chooses keys, the batch's id is the key. So all copies of a record are in one partition, in order, and
 *   `kafkajs` sends a delivery as one record batch, which Kafka appends whole or not at all. Batches spread over the partitions.
 *   To keep the order of all records, set a `partition`, or one key for all; to keep the order for each user, device or order,
 *   use its id as the key.
 *
 * ## What the consumer has to do
 *
 * On its own this is **at least once**. An attempt may fail after the broker has stored it, and is retried. A process may die
 * between the broker's acknowledgement and the commit, and its successor sends the batch again.
 *
 * `enable.idempotence` (`idempotent: true`) covers less than its name says. It lets the broker drop what *the client itself*
 * resends inside one `send()`, by a producer id and sequence numbers that the client got when it connected (KIP-98). A new attempt
 * is a new `send()` with new sequence numbers, and a restarted process has a new producer id. The broker can't recognize either
 * as a copy. Turn it on nevertheless: it keeps the client's own retries from reordering.
 *
 * For exactly once, the consumer skips a message whose `sluice-record` it has. Keep these values with the results, in the same
 * transaction; {@linkcode kafkaIdentity} reads them as batch and sequence. Keep them as long as a copy may come: until the batch's
 * commit is durable, plus the time that the producer may be down. In a compacted topic, the value as a key does the same without
 * a consumer's help.
 *
 * ## What is made of errors
 *
 * - **Of the target**, which never makes a dead letter: no connection, no leader, too few replicas, a timeout; these pass by
 *   themselves. The topic is unknown or its name is invalid, a permission is missing, the password is wrong, a compression isn't
 *   supported; somebody has to act, so the pauses are the longest ones.
 * - **Of records**: MESSAGE_TOO_LARGE is sent in halves. INVALID_RECORD, INVALID_TIMESTAMP and CORRUPT_MESSAGE are, too, until the
 *   record at fault is left, which is refused. A `partition` that the topic doesn't have is refused with its record; `kafkajs`
 *   by itself would drop the message and report success, and `@platformatic/kafka` uses its rest by the number of partitions.
 * - **Final**: the client isn't connected, was disconnected or closed, or is fenced. The producer stops, and says so.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { Buffer } from "node:buffer";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { checkText, encodeRecords } from "./encode_records.ts";
import {
  type KafkaHeaderValue,
  type KafkaMessage,
  type KafkaProducer,
  type KafkaSendOptions,
  type PlatformaticProducer,
  toSendMessages,
} from "./kafka_client.ts";
import { toDeliveryError } from "./kafka_errors.ts";
import { identityFromText, identityToText, type RecordIdentity } from "./record_identity.ts";

export type {
  KafkaCompression,
  KafkaHeaderValue,
  KafkaMessage,
  KafkaProducer,
  KafkaSendOptions,
  PlatformaticMessage,
  PlatformaticProducer,
} from "./kafka_client.ts";
export type { RecordIdentity } from "./record_identity.ts";

/** Options of {@linkcode kafkaSink}. */
export interface KafkaSinkOptions<T> extends KafkaSendOptions {
  /**
   * Overrides parts of a record's message: its key, value, partition or further headers. What is `undefined` isn't overridden. It must always return the same for the
   * same record, or a copy may go to another partition. In a compacted topic, `{ key, value: null }` deletes a key.
   *
   * @default {the batch's id as the key, the payload as the value}
   */
  readonly message?: ((record: T, identity: RecordIdentity) => Partial<KafkaMessage>) | undefined;
}

/** Name of the header with the record's identity. */
export const RECORD_HEADER = "sluice-record";

/**
 * Makes a `Send` that sends each delivery to a topic of Kafka.
 *
 * The clients take no abort signal: after an attempt is aborted, its messages may still arrive, as copies. So let the client
 * give up first (`requestTimeout`, `retry` in kafkajs; `delivery.timeout.ms` in librdkafka).
 *
 * @param producer The client's producer, connected.
 * @param options The topic, how a record becomes a message, and what is passed on to the client.
 * @returns The function to pass to a producer as `send`. It rejects with a {@linkcode DeliveryError}, or with the signal's reason.
 * @throws {TypeError} if the producer is of no client that fits, or if an option is wrong or can't be given to this client.
 * @typeParam T The records' type.
 *
 * @example A message for each record
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { kafkaIdentity, type KafkaMessage, kafkaSink } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: const client = new Kafka({ brokers: ["localhost:9092"] }).producer(); await client.connect();
 * const sent: KafkaMessage[] = [];
 * const send = async ({ messages }: { messages: KafkaMessage[] }) => sent.push(...messages);
 * const client = { send, sendBatch: async () => {} };
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const producer = new Producer({ buffer, send: kafkaSink<{ user: string }>(client, { topic: "clicks" }) });
 * await producer.putMany([{ user: "ada" }, { user: "bob" }]);
 * await producer.flush();
 * assertEquals(sent.map(({ value }) => value?.toString()), ['{"user":"ada"}', '{"user":"bob"}']);
 * assertEquals(sent.map(({ headers }) => kafkaIdentity(headers)?.sequence), [1, 2]);
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example Keep the order of each account's records
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type KafkaMessage, type KafkaProducer, kafkaSink } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const sent: KafkaMessage[] = [];
 * // In a program: kafka.producer(), connected.
 * const client: KafkaProducer = { send: async ({ messages }) => sent.push(...messages), sendBatch: async () => {} };
 * const send = kafkaSink<{ account: string; cents: number }>(client, {
 *   topic: "payments",
 *   message: ({ account }) => ({ key: account }), // one key, one partition
 * });
 * const buffer = await MemoryBuffer.open<{ account: string; cents: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ account: "a", cents: 5 }, { account: "b", cents: 7 }, { account: "a", cents: -5 }]);
 * await producer.flush();
 * assertEquals(sent.map(({ key }) => key), ["a", "b", "a"]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function kafkaSink<T>(producer: KafkaProducer | PlatformaticProducer, options: KafkaSinkOptions<T>): Send<T> {
  const sendMessages = toSendMessages(producer, options);
  return async (delivery, { signal }) => {
    signal.throwIfAborted();
    // New messages for each attempt: @confluentinc/kafka-javascript modifies those that it gets.
    const messages = buildMessages(delivery, options);
    let answer: unknown;
    try {
      answer = await abortable(sendMessages(messages), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw toDeliveryError(error);
    }
    if (options.message !== undefined) checkPartitions(messages, answer);
  };
}

/**
 * Reads which record a message carries from the message's headers.
 *
 * @param headers The headers, as a consumer of any of the clients returns them: an object or a map, of strings or bytes.
 * @returns Batch and sequence; `undefined` if the message isn't from this sink.
 *
 * @example A consumer that handles each record once
 * ```ts
 * import { kafkaIdentity } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const known = new Set<string>(); // in a program: stored with the results, in the same transaction
 * const results: number[] = [];
 * const headers = { "sluice-record": "5f0c-7-7:7" };
 * for (const message of [{ headers, value: 1 }, { headers, value: 1 }]) { // the second one is a copy
 *   const { batchId, sequence } = kafkaIdentity(message.headers)!;
 *   if (known.has(`${batchId}:${sequence}`)) continue;
 *   known.add(`${batchId}:${sequence}`);
 *   results.push(message.value);
 * }
 * assertEquals(results, [1]);
 * ```
 */
export function kafkaIdentity(
  headers: Readonly<Record<string, KafkaHeaderValue>> | ReadonlyMap<string | Uint8Array, KafkaHeaderValue> | undefined,
): RecordIdentity | undefined {
  const value = headers instanceof Map
    ? [...headers].find(([name]) => toText(name) === RECORD_HEADER)?.[1]
    : (headers as Readonly<Record<string, KafkaHeaderValue>> | undefined)?.[RECORD_HEADER];
  return value === undefined || Array.isArray(value) ? undefined : identityFromText(toText(value));
}

function toText(value: string | Uint8Array): string {
  return typeof value === "string" ? value : Buffer.from(value).toString();
}

function buildMessages<T>(delivery: Delivery<T>, { message }: KafkaSinkOptions<T>): KafkaMessage[] {
  const { batchId, sequences, payloads } = delivery;
  if (message === undefined) {
    return payloads.map((payload, i) => ({
      key: batchId,
      value: toBuffer(payload),
      headers: { [RECORD_HEADER]: identityToText({ batchId, sequence: sequences[i]! }) },
    }));
  }
  // Outside of the loop: a payload that doesn't decode is none of a message's faults.
  const { records } = delivery;
  return encodeRecords(delivery.length, (i) => {
    const identity = { batchId, sequence: sequences[i]! };
    const own = checkMessage(message(records[i]!, identity));
    // By their defaults, also where they are there as `undefined`: kafkajs refuses the whole delivery for such a value.
    const { key = batchId, value = payloads[i]!, partition } = own ?? {};
    const headers = Object.entries(own?.headers ?? {}).flatMap(([name, header]) =>
      header === undefined ? [] : [[name, Array.isArray(header) ? header.map(toBuffer) : toBuffer(header)] as const]
    );
    return {
      ...partition === undefined ? {} : { partition },
      key: toBuffer(key),
      value: toBuffer(value),
      headers: { ...Object.fromEntries(headers), [RECORD_HEADER]: identityToText(identity) },
    };
  }, (index, fault) => `record ${index} has no message: ${fault}`);
}

/** Refuses what the clients would change silently, or fail at with all messages of the delivery. */
function checkMessage(own: Partial<KafkaMessage> | undefined): Partial<KafkaMessage> | undefined {
  if (typeof own !== "object" && own !== undefined) throw new TypeError(`message must return an object, got ${own}`);
  const { key, value, headers, partition } = own ?? {};
  if (key !== undefined && key !== null) checkData(key, "key");
  if (value !== undefined && value !== null) checkData(value, "value");
  if (partition !== undefined && (!Number.isInteger(partition) || partition < 0)) {
    throw new TypeError(`partition must be a whole number from 0, got ${String(partition)}`);
  }
  for (const [name, header] of Object.entries(headers ?? {})) {
    checkText(name, "a header's name");
    for (const one of Array.isArray(header) ? header : [header]) {
      if (one !== undefined || Array.isArray(header)) checkData(one, `header "${name}"`);
    }
  }
  return own;
}

function checkData(data: unknown, what: string): void {
  if (!(data instanceof Uint8Array)) checkText(data, what);
}

/** The clients take bytes as `Buffer`s only. */
function toBuffer<V>(value: V | Uint8Array): V | Buffer {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

/**
 * Throws for messages whose partition isn't in the answer of `kafkajs`: it drops a message for a partition that the topic doesn't
 * have, and reports success. The other clients don't answer like this, or refuse such a message.
 */
function checkPartitions(messages: readonly KafkaMessage[], answer: unknown): void {
  if (!Array.isArray(answer)) return;
  const answered = new Set(answer.map((one: { readonly partition?: unknown } | null) => one?.partition));
  const failed = messages.flatMap(({ partition }, index) =>
    partition === undefined || partition < 0 || answered.has(partition)
      ? []
      : [{ index, retryable: false, reason: `the topic has no partition ${partition}` }]
  );
  const [first] = failed;
  if (first !== undefined) throw new DeliveryError({ reason: `record ${first.index}: ${first.reason}`, failed });
}
