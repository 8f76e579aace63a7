/**
 * Deliveries to Kafka: a message for each record, whose headers say which record of which batch it is.
 *
 * The client is the user's own: `kafkajs`, or the promise API of `@confluentinc/kafka-javascript`; of its producer only
 * `send({ topic, messages })` is used, which both have. It must be connected before the first delivery.
 *
 * ## What it guarantees
 *
 * - A delivery counts as taken when the client's `send()` has resolved: with `acks` at -1, the default of both clients,
 *   the replicas in sync have it.
 * - Each message carries the header `sluice-batch`, the id of its batch, and `sluice-sequence`, the record's number. The
 *   pair stands for one record, always: in each attempt, in each part of a batch, after a crash of either side.
 * - Unless the user chooses keys, the batch's id is the key. So all copies of a record are in one partition, and in
 *   their order there; and `kafkajs` sends a delivery as one record batch, which Kafka appends whole or not at all.
 *   Batches spread over the partitions. To keep the order of all records, give a `partition`, or one key for all; to
 *   keep the order for each user, device or order, give its id as the key.
 *
 * ## What the consumer has to do
 *
 * On its own this is **at least once**. An attempt may fail after the broker has stored it, and is made again; a process
 * may die between the broker's answer and the commit, and its successor sends the batch again.
 *
 * `enable.idempotence` (`idempotent: true`) covers less than its name says. It lets the broker drop what *the client
 * itself* sends again inside one `send()`, by a producer id and sequence numbers that the client got when it connected
 * (KIP-98). A new attempt is a new `send()`, with new sequence numbers; a process that was started anew has a new
 * producer id. The broker can't know either for a copy. Turn it on all the same: it keeps the client's own retries from
 * reordering.
 *
 * So once is up to the consumer: it skips a message whose pair of batch and sequence it has. Keep the pairs where the
 * results are, in the same transaction; {@linkcode kafkaIdentity} reads them. They have to be kept as long as a copy may
 * come: until the batch's commit was durable, and then as long as the producer was down. For a topic that is compacted,
 * a key made of both does the same without a consumer's help.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { abortable } from "../base/abortable.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";

/**
 * Header values as both clients take and give them.
 *
 * @example One header of a message, as text
 * ```ts
 * import { Buffer } from "node:buffer";
 * import type { KafkaHeaderValue } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * function textOf(value: KafkaHeaderValue): string | undefined {
 *   const one = Array.isArray(value) ? value[0] : value; // a header may stand there several times
 *   return one?.toString();
 * }
 *
 * assertEquals(textOf(Buffer.from("abc")), "abc"); // as kafkajs gives them
 * assertEquals(textOf(["first", "second"]), "first");
 * assertEquals(textOf(undefined), undefined);
 * ```
 */
export type KafkaHeaderValue = Buffer | string | (Buffer | string)[] | undefined;

/**
 * A message as both clients take it.
 *
 * @example Deletions in a compacted topic
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type KafkaMessage, kafkaSink } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * interface Change {
 *   user: string;
 *   isDeleted: boolean;
 * }
 *
 * function message({ user, isDeleted }: Change): Partial<KafkaMessage> {
 *   return isDeleted ? { key: user, value: null } : { key: user };
 * }
 *
 * const sent: KafkaMessage[] = [];
 * const client = { send: async ({ messages }: { messages: KafkaMessage[] }) => sent.push(...messages) };
 * const buffer = await MemoryBuffer.open<Change>();
 * const producer = new Producer({ buffer, send: kafkaSink<Change>({ producer: client, topic: "users", message }) });
 * await producer.putMany([{ user: "ada", isDeleted: false }, { user: "bob", isDeleted: true }]);
 * await producer.flush();
 * assertEquals(sent.map(({ key, value }) => [key, value === null]), [["ada", false], ["bob", true]]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface KafkaMessage {
  /** Decides the partition, unless `partition` does. */
  key?: Buffer | string | null;
  /** What it says; null deletes a key in a compacted topic. */
  value: Buffer | string | null;
  /** What is said about it. */
  headers?: Record<string, KafkaHeaderValue>;
  /** Where it goes, whatever its key. */
  partition?: number;
}

/**
 * The method of a producer that is used.
 *
 * @example A stand-in for tests of a program
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type KafkaProducer, kafkaSink } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const topics = new Map<string, number>();
 * const client: KafkaProducer = {
 *   send({ topic, messages }) {
 *     topics.set(topic, (topics.get(topic) ?? 0) + messages.length);
 *     return Promise.resolve();
 *   },
 * };
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send: kafkaSink<string>({ producer: client, topic: "lines" }) });
 * await producer.putMany(["a", "b"]);
 * await producer.flush();
 * assertEquals(topics.get("lines"), 2);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface KafkaProducer {
  /** Sends messages; resolves when the brokers have acknowledged all of them. */
  send(record: { topic: string; messages: KafkaMessage[]; acks?: number }): Promise<unknown>;
}

/**
 * Which record a message stands for.
 *
 * @example A consumer that takes each record once
 * ```ts
 * import { type KafkaIdentity, kafkaIdentity } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const wordOf = ({ batchId, sequence }: KafkaIdentity) => `${batchId}:${sequence}`;
 *
 * const known = new Set<string>(); // in a program: where the results are, in the same transaction
 * const results: string[] = [];
 * const copies = [1, 2].map((value) => ({ headers: { "sluice-batch": "5f0c-7-7", "sluice-sequence": "7" }, value }));
 * for (const { headers, value } of copies) {
 *   const identity = kafkaIdentity(headers);
 *   if (identity !== undefined && known.has(wordOf(identity))) continue;
 *   if (identity !== undefined) known.add(wordOf(identity));
 *   results.push(`taken: ${value}`);
 * }
 * assertEquals(results, ["taken: 1"]);
 * ```
 */
export interface KafkaIdentity {
  /** The id of the batch. */
  readonly batchId: string;
  /** The record's sequence in its buffer. */
  readonly sequence: number;
}

/**
 * Options of {@linkcode kafkaSink}.
 *
 * @example The order of each account is kept
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type KafkaMessage, kafkaSink, type KafkaSinkOptions } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * interface Payment {
 *   account: string;
 *   cents: number;
 * }
 *
 * const sent: KafkaMessage[] = [];
 * const options: KafkaSinkOptions<Payment> = {
 *   producer: { send: async ({ messages }) => sent.push(...messages) }, // in a program: kafka.producer(), connected
 *   topic: "payments",
 *   message: ({ account }) => ({ key: account }), // one key, one partition
 * };
 * const buffer = await MemoryBuffer.open<Payment>();
 * const producer = new Producer({ buffer, send: kafkaSink(options) });
 * await producer.putMany([{ account: "a", cents: 5 }, { account: "b", cents: 7 }, { account: "a", cents: -5 }]);
 * await producer.flush();
 * assertEquals(sent.map(({ key }) => key), ["a", "b", "a"]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface KafkaSinkOptions<T> {
  /** A connected producer. */
  readonly producer: KafkaProducer;
  /** Where the messages go. */
  readonly topic: string;
  /**
   * What differs from the usual message of a record: its key, value, partition or further headers. It must give the
   * same for the same record, always, or a copy may end up in another partition.
   *
   * @default {nothing: the batch's id as the key, the payload as the value}
   */
  readonly message?: (record: T, identity: KafkaIdentity) => Partial<KafkaMessage>;
  /**
   * Which replicas must have the messages: -1, all that are in sync, or 1, the leader, which loses them if it dies right
   * then. Only for `kafkajs`: `@confluentinc/kafka-javascript` wants it when the producer is made.
   *
   * @default {the client's: -1 in both}
   */
  readonly acks?: -1 | 1;
}

/**
 * Name of the header with the batch's id.
 *
 * @example Count the batches that a consumer has seen
 * ```ts
 * import { BATCH_HEADER } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const messages = ["5f0c-1-2", "5f0c-1-2", "5f0c-3-3"].map((id) => ({ headers: { "sluice-batch": id } }));
 * assertEquals(new Set(messages.map(({ headers }) => headers[BATCH_HEADER])).size, 2);
 * ```
 */
export const BATCH_HEADER = "sluice-batch";
/**
 * Name of the header with the record's sequence, in decimal digits.
 *
 * @example Find a record of a producer's buffer in the topic
 * ```ts
 * import { SEQUENCE_HEADER } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const messages = [7, 8, 9].map((n) => ({ offset: 100 + n, headers: { "sluice-sequence": String(n) } }));
 * const found = messages.find(({ headers }) => Number(headers[SEQUENCE_HEADER]) === 8);
 * assertEquals(found?.offset, 108);
 * ```
 */
export const SEQUENCE_HEADER = "sluice-sequence";

/**
 * Error codes of the protocol (https://kafka.apache.org/protocol#protocol_error_codes): what has to be sent in smaller
 * parts. MESSAGE_TOO_LARGE, which librdkafka also says by itself; RECORD_LIST_TOO_LARGE.
 */
const TOO_LARGE: ReadonlySet<number> = new Set([10, 18]);

/**
 * What the same messages will get again, from the same list: INVALID_TOPIC_EXCEPTION, INVALID_REQUIRED_ACKS,
 * TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED, INVALID_TIMESTAMP, UNSUPPORTED_VERSION,
 * UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_COMPRESSION_TYPE,
 * INVALID_RECORD. And, of librdkafka's own, ERR__INVALID_ARG.
 *
 * The clients' flag `retriable` isn't asked. `kafkajs` sets it to false on what it throws after its own retries, whatever
 * the reason, and while it disconnects; `@confluentinc/kafka-javascript` has it for transactions only, and false
 * elsewhere. A failure that is taken for final by mistake costs the order of the records, one that isn't costs attempts.
 */
const FINAL: ReadonlySet<number> = new Set([17, 21, 29, 31, 32, 35, 43, 44, 53, 76, 87, -186]);

/** Errors wrap others; nobody wraps deeper. */
const MAX_CAUSES = 8;

/**
 * Makes a `Send` that sends each delivery to a topic of Kafka.
 *
 * A client knows no signal: when an attempt is given up, its messages may still be on their way, and arrive as copies.
 * So let the client give up first (`requestTimeout`, `retry` in kafkajs; `delivery.timeout.ms` in librdkafka).
 *
 * @returns What to give to a producer as `send`.
 * @throws {TypeError} if an option has the wrong type. What the returned function throws: {@linkcode DeliveryError}, or
 * the signal's reason.
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
    // Made anew for each attempt: @confluentinc/kafka-javascript writes into the messages that it is given.
    const messages = messagesOf(delivery, options);
    // One that is there, even undefined, is refused by @confluentinc/kafka-javascript.
    const record = acks === undefined ? { topic, messages } : { topic, messages, acks };
    try {
      await abortable(Promise.resolve(producer.send(record)), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw failureOf(error);
    }
  };
}

/**
 * Reads from a message's headers which record it stands for.
 *
 * @param headers As a consumer of either client gives them.
 * @returns Batch and sequence; `undefined` if the message isn't from this sink.
 *
 * @example Skip copies
 * ```ts
 * import { kafkaIdentity } from "@sluice/buffer/sinks/kafka";
 * import { assertEquals } from "@std/assert";
 *
 * const headers = { "sluice-batch": "5f0c-7-7", "sluice-sequence": "7" };
 * assertEquals(kafkaIdentity(headers), { batchId: "5f0c-7-7", sequence: 7 });
 * assertEquals(kafkaIdentity({}), undefined);
 * ```
 */
export function kafkaIdentity(
  headers: Readonly<Record<string, KafkaHeaderValue>> | undefined,
): KafkaIdentity | undefined {
  const [batchId, sequence] = [BATCH_HEADER, SEQUENCE_HEADER].map((name) => {
    const value = headers?.[name];
    return Array.isArray(value) || value === undefined ? "" : value.toString();
  });
  return batchId !== "" && /^\d+$/.test(sequence!) ? { batchId: batchId!, sequence: Number(sequence) } : undefined;
}

function messagesOf<T>(delivery: Delivery<T>, { message }: KafkaSinkOptions<T>): KafkaMessage[] {
  const { batchId, sequences, payloads } = delivery;
  return payloads.map((payload, i) => {
    const sequence = sequences[i]!;
    const own = message?.(delivery.records[i]!, { batchId, sequence });
    return {
      key: batchId,
      value: Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength),
      ...own,
      headers: { ...own?.headers, [BATCH_HEADER]: batchId, [SEQUENCE_HEADER]: String(sequence) },
    };
  });
}

/** What a client has thrown, as a producer wants to know it. */
function failureOf(error: unknown): DeliveryError {
  const code = codeOf(error);
  const why = error instanceof Error ? error.message : String(error);
  return new DeliveryError({
    reason: code === undefined ? why : `${why} (code ${code})`,
    retryable: code === undefined || !FINAL.has(code),
    isTooLarge: code !== undefined && TOO_LARGE.has(code),
  }, { cause: error });
}

/** The code of the protocol or of librdkafka, wherever in a chain of causes it stands. */
function codeOf(error: unknown): number | undefined {
  let at: unknown = error;
  for (let depth = 0; at instanceof Error && depth < MAX_CAUSES; depth++) {
    const code: unknown = Reflect.get(at, "code");
    if (typeof code === "number") return code;
    at = at.cause;
  }
  return undefined;
}
