/**
 * Sends deliveries to Kafka: a message for each record, with headers that identify the record and its batch.
 *
 * The client is the user's own: `kafkajs`, or the promise API of `@confluentinc/kafka-javascript`. The sink uses only
 * `send({ topic, messages })` of its producer, which both have. It must be connected before the first delivery.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when the client's `send()` has resolved. With `acks` at -1, the default of both clients, the
 *   in-sync replicas then have it.
 * - Each message has the header `sluice-batch`, the id of its batch, and `sluice-sequence`, the record's number. The pair always
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
 * For exactly once, the consumer skips a message whose pair of batch and sequence it has. Keep the pairs with the results, in
 * the same transaction; {@linkcode kafkaIdentity} reads them. Keep them as long as a copy may come: until the batch's commit is
 * durable, plus the time that the producer may be down. In a compacted topic, a key made of both does the same without a
 * consumer's help.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { abortable } from "../base/abortable.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { checkText, encodeRecords } from "./encode_records.ts";

/** A header's value, as both clients take and return it. */
export type KafkaHeaderValue = Uint8Array | string | (Uint8Array | string)[] | undefined;

/** A message, as both clients take it. */
export interface KafkaMessage {
  /** Determines the partition, unless `partition` does. */
  key?: Uint8Array | string | null;
  /** The content; null deletes a key in a compacted topic. */
  value: Uint8Array | string | null;
  /** The headers. */
  headers?: Record<string, KafkaHeaderValue>;
  /** The partition, whatever the key. */
  partition?: number;
}

/** What the sink uses of a producer of `kafkajs` or `@confluentinc/kafka-javascript`. */
export interface KafkaProducer {
  /** Sends messages; resolves when the brokers have acknowledged all of them. */
  send(record: { topic: string; messages: KafkaMessage[]; acks?: number }): Promise<unknown>;
}

/** The record that a message carries. */
export interface KafkaIdentity {
  /** The id of its batch. */
  readonly batchId: string;
  /** The record's sequence in its buffer. */
  readonly sequence: number;
}

/** Options of {@linkcode kafkaSink}. */
export interface KafkaSinkOptions<T> {
  /** A connected producer. */
  readonly producer: KafkaProducer;
  /** The topic. */
  readonly topic: string;
  /**
   * Overrides parts of a record's message: its key, value, partition or further headers. It must always return the same for the
   * same record, or a copy may go to another partition. In a compacted topic, `{ key, value: null }` deletes a key.
   *
   * @default {the batch's id as the key, the payload as the value}
   */
  readonly message?: ((record: T, identity: KafkaIdentity) => Partial<KafkaMessage>) | undefined;
  /**
   * Which replicas must have the messages: -1 for all in-sync replicas, 1 for the leader alone, which loses them if it dies at
   * that moment. Only for `kafkajs`: `@confluentinc/kafka-javascript` takes it when the producer is created.
   *
   * @default {the client's: -1 in both}
   */
  readonly acks?: -1 | 1 | undefined;
}

/** Name of the header with the batch's id. */
export const BATCH_HEADER = "sluice-batch";
/** Name of the header with the record's sequence, in decimal digits. */
export const SEQUENCE_HEADER = "sluice-sequence";

/**
 * Error codes of the protocol (https://kafka.apache.org/protocol#protocol_error_codes) for messages that must be sent in smaller
 * parts: MESSAGE_TOO_LARGE, which librdkafka also reports by itself, and RECORD_LIST_TOO_LARGE.
 */
const TOO_LARGE: ReadonlySet<number> = new Set([10, 18]);

/**
 * Permanent errors, from the same list: INVALID_TOPIC_EXCEPTION, INVALID_REQUIRED_ACKS,
 * TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED, INVALID_TIMESTAMP, UNSUPPORTED_VERSION,
 * UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_COMPRESSION_TYPE,
 * INVALID_RECORD. And, of librdkafka's own, ERR__INVALID_ARG.
 *
 * The clients' flag `retriable` is ignored. `kafkajs` sets it to false on what it throws after its own retries, whatever the
 * reason, and while it disconnects. `@confluentinc/kafka-javascript` sets it for transactions only. A temporary failure taken
 * for a permanent one costs the order of the records; the reverse mistake only costs attempts.
 */
const PERMANENT: ReadonlySet<number> = new Set([17, 21, 29, 31, 32, 35, 43, 44, 53, 76, 87, -186]);

/** Errors wrap others; no client nests them deeper. */
const MAX_CAUSES = 8;

/**
 * Makes a `Send` that sends each delivery to a topic of Kafka.
 *
 * The clients take no abort signal: after an attempt is aborted, its messages may still arrive, as copies. So let the client
 * give up first (`requestTimeout`, `retry` in kafkajs; `delivery.timeout.ms` in librdkafka).
 *
 * @param options The client's producer, the topic, and how a record becomes a message.
 * @returns The function to pass to a producer as `send`. It rejects with a {@linkcode DeliveryError}, or with the signal's reason.
 * @throws {TypeError} if an option has the wrong type.
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
 * const client = { send: async ({ messages }: { messages: KafkaMessage[] }) => sent.push(...messages) };
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const producer = new Producer({ buffer, send: kafkaSink<{ user: string }>({ producer: client, topic: "clicks" }) });
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
 * import { type KafkaMessage, kafkaSink } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const sent: KafkaMessage[] = [];
 * const send = kafkaSink<{ account: string; cents: number }>({
 *   producer: { send: async ({ messages }) => sent.push(...messages) }, // in a program: kafka.producer(), connected
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
export function kafkaSink<T>(options: KafkaSinkOptions<T>): Send<T> {
  const { producer, topic, acks } = options;
  if (typeof producer?.send !== "function") {
    throw new TypeError("Cannot make a Kafka sink: producer must have a method send()");
  }
  if (typeof topic !== "string" || topic === "") {
    throw new TypeError(`Cannot make a Kafka sink: topic must be a string that isn't empty, got ${typeof topic}`);
  }
  if (acks !== undefined && acks !== -1 && acks !== 1) {
    throw new TypeError(`Cannot make a Kafka sink: acks must be -1 or 1, got ${acks}`);
  }
  return async (delivery, { signal }) => {
    signal.throwIfAborted();
    // New messages for each attempt: @confluentinc/kafka-javascript modifies those that it gets.
    const messages = buildMessages(delivery, options);
    // @confluentinc/kafka-javascript refuses a property `acks`, even if it is undefined.
    const record = acks === undefined ? { topic, messages } : { topic, messages, acks };
    try {
      await abortable(Promise.resolve(producer.send(record)), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw toDeliveryError(error);
    }
  };
}

/**
 * Reads which record a message carries from the message's headers.
 *
 * @param headers The headers, as a consumer of either client returns them.
 * @returns Batch and sequence; `undefined` if the message isn't from this sink.
 *
 * @example A consumer that handles each record once
 * ```ts
 * import { kafkaIdentity } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const known = new Set<string>(); // in a program: stored with the results, in the same transaction
 * const results: number[] = [];
 * const headers = { "sluice-batch": "5f0c-7-7", "sluice-sequence": "7" };
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
  headers: Readonly<Record<string, KafkaHeaderValue>> | undefined,
): KafkaIdentity | undefined {
  const [batchId, sequence] = [BATCH_HEADER, SEQUENCE_HEADER].map((name) => {
    const value = headers?.[name];
    if (Array.isArray(value) || value === undefined) return "";
    return typeof value === "string" ? value : Buffer.from(value).toString();
  });
  return batchId !== "" && /^\d+$/.test(sequence!) ? { batchId: batchId!, sequence: Number(sequence) } : undefined;
}

function buildMessages<T>(delivery: Delivery<T>, { message }: KafkaSinkOptions<T>): KafkaMessage[] {
  const { batchId, sequences, payloads } = delivery;
  // Outside of the loop: a payload that doesn't decode is none of a message's faults.
  const records = message === undefined ? undefined : delivery.records;
  return encodeRecords(delivery.length, (i) => {
    const sequence = sequences[i]!;
    const own = records === undefined ? undefined : checkMessage(message!(records[i]!, { batchId, sequence }));
    const { key, value, ...rest } = { key: batchId, value: payloads[i]!, ...own };
    const headers = Object.entries(own?.headers ?? {}).map(([name, header]) =>
      [name, Array.isArray(header) ? header.map(toBuffer) : toBuffer(header)] as const
    );
    return {
      ...rest,
      key: toBuffer(key),
      value: toBuffer(value),
      headers: { ...Object.fromEntries(headers), [BATCH_HEADER]: batchId, [SEQUENCE_HEADER]: String(sequence) },
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

/** Translates what a client threw. */
function toDeliveryError(error: unknown): DeliveryError {
  const code = findCode(error);
  const why = error instanceof Error ? error.message : String(error);
  return new DeliveryError({
    reason: code === undefined ? why : `${why} (code ${code})`,
    retryable: code === undefined || !PERMANENT.has(code),
    tooLarge: code !== undefined && TOO_LARGE.has(code),
  }, { cause: error });
}

/** Finds the protocol's or librdkafka's code in a chain of causes. */
function findCode(error: unknown): number | undefined {
  let at: unknown = error;
  for (let depth = 0; at instanceof Error && depth < MAX_CAUSES; depth++) {
    const code: unknown = Reflect.get(at, "code");
    if (typeof code === "number") return code;
    at = at.cause;
  }
  return undefined;
}
