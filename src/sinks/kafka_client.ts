/**
 * The clients that `kafkaSink()` takes: what it uses of each, which one an object is, and how each takes messages.
 *
 * The producers of `kafkajs` and of `@confluentinc/kafka-javascript` have the same `send()`. The Confluent one takes `acks`,
 * `timeout` and `compression` only when it is created, and refuses them even as `undefined`. The producer of `@platformatic/kafka`
 * takes bytes only, names the topic in each message, and has `acks` 1 as its default.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { describe } from "../base/validation.ts";

/** A header's value, as the clients take and return it. */
export type KafkaHeaderValue = Uint8Array | string | (Uint8Array | string)[] | undefined;

/** A message, as `kafkajs` and `@confluentinc/kafka-javascript` take it. */
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
  send(record: {
    topic: string;
    messages: KafkaMessage[];
    acks?: number;
    timeout?: number;
    compression?: number;
  }): Promise<unknown>;
  /** Not used: it tells such a producer from other objects that can send. */
  sendBatch(batch: never): Promise<unknown>;
}

/** A message, as `@platformatic/kafka` takes it; all bytes are `Buffer`s. */
export interface PlatformaticMessage {
  /** The topic. */
  topic: string;
  /** Determines the partition, unless `partition` does. */
  key?: Uint8Array;
  /** The content; null deletes a key in a compacted topic. */
  value?: Uint8Array | null;
  /** The headers. */
  headers?: Map<Uint8Array, Uint8Array> | Record<string, Uint8Array>;
  /** The partition, whatever the key. */
  partition?: number;
}

/** What the sink uses of a producer of `@platformatic/kafka`, which must be made without serializers. */
export interface PlatformaticProducer {
  /** Sends messages; resolves when the brokers have acknowledged all of them. */
  send(options: {
    messages: PlatformaticMessage[];
    acks?: number;
    compression?: KafkaCompression;
  }): Promise<unknown>;
  /** Not used: it tells such a producer from other objects that can send. */
  asStream(options?: never): unknown;
}

/** How messages are compressed. */
export type KafkaCompression = "none" | "gzip" | "snappy" | "lz4" | "zstd";

/** Options that concern the client. */
export interface KafkaSendOptions {
  /** The topic. */
  readonly topic: string;
  /**
   * Which replicas must have the messages: -1 for all in-sync replicas, 1 for the leader alone, which loses them if it dies at
   * that moment. `@confluentinc/kafka-javascript` takes it only when the producer is created.
   *
   * @default {-1}
   */
  readonly acks?: -1 | 1 | undefined;
  /**
   * How messages are compressed. `kafkajs` has gzip by itself, and the others as codecs that are added to it;
   * `@confluentinc/kafka-javascript` takes it only when the producer is created.
   *
   * @default {the client's: not at all}
   */
  readonly compression?: KafkaCompression | undefined;
  /**
   * How long the brokers wait for the replicas, in milliseconds. Only for `kafkajs`: the others take it when the producer is created.
   *
   * @default {the client's: 30_000}
   */
  readonly timeoutMs?: number | undefined;
}

/** Sends messages of a delivery by a client. Resolves with the client's answer. */
export type SendMessages = (messages: KafkaMessage[]) => Promise<unknown>;

/** A compression's number in the protocol is its place. */
const COMPRESSIONS: readonly KafkaCompression[] = ["none", "gzip", "snappy", "lz4", "zstd"];
/** `timeout` is an INT32. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const CONFLUENT = "@confluentinc/kafka-javascript";
const PLATFORMATIC = "@platformatic/kafka";

/**
 * Finds out which client a producer is of, and how to send by it.
 *
 * @throws {TypeError} if it is none that fits, or if it can't take one of the options in `send()`.
 */
export function toSendMessages(
  producer: KafkaProducer | PlatformaticProducer,
  { topic, acks, compression, timeoutMs }: KafkaSendOptions,
): SendMessages {
  if (typeof topic !== "string" || topic === "") refuse("topic must be a string that isn't empty", topic);
  if (acks !== undefined && acks !== -1 && acks !== 1) refuse("acks must be -1 or 1", acks);
  if (compression !== undefined && !COMPRESSIONS.includes(compression)) {
    refuse(`compression must be one of ${COMPRESSIONS.join(", ")}`, compression);
  }
  if (timeoutMs !== undefined && !(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
    refuse(`timeoutMs must be a whole number from 1 to ${MAX_TIMEOUT_MS}`, timeoutMs);
  }
  if (hasMethods(producer, "send", "asStream")) {
    checkSerializers(producer);
    if (timeoutMs !== undefined) refuseOption("timeoutMs", PLATFORMATIC, "timeout");
    const { send } = producer as PlatformaticProducer;
    const options = { acks: acks ?? -1, ...compression === undefined ? {} : { compression } };
    // A new object for each call: the client adds its own options to it.
    return (messages) => send.call(producer, { ...options, messages: toPlatformaticMessages(topic, messages) });
  }
  if (!hasMethods(producer, "send", "sendBatch")) {
    const fitting = `kafka.producer() of kafkajs or of KafkaJS in ${CONFLUENT}, or new Producer() of ${PLATFORMATIC}`;
    refuse(`producer must be one of ${fitting}`, producer);
  }
  const { send } = producer as KafkaProducer;
  if (hasMethods(producer, "flush")) {
    if (acks !== undefined) refuseOption("acks", CONFLUENT, "acks");
    if (compression !== undefined) refuseOption("compression", CONFLUENT, "compression");
    if (timeoutMs !== undefined) refuseOption("timeoutMs", CONFLUENT, "timeout");
  }
  const options = {
    topic,
    ...acks === undefined ? {} : { acks },
    ...timeoutMs === undefined ? {} : { timeout: timeoutMs },
    ...compression === undefined ? {} : { compression: COMPRESSIONS.indexOf(compression) },
  };
  return (messages) => send.call(producer, { ...options, messages });
}

function refuse(what: string, given: unknown): never {
  throw new TypeError(`Cannot make a Kafka sink: ${what}, got ${describe(given)}`);
}

function refuseOption(name: string, client: string, option: string): never {
  throw new TypeError(`Cannot make a Kafka sink: ${client} takes no ${name} here; give ${option} to its producer`);
}

function hasMethods(object: unknown, ...names: readonly string[]): boolean {
  return typeof object === "object" && object !== null &&
    names.every((name) => typeof Reflect.get(object, name) === "function");
}

/** A serializer gets bytes, and that for strings makes nothing of them, without an error. */
function checkSerializers(producer: object): void {
  const symbol = Object.getOwnPropertySymbols(producer).find(({ description }) => /\.options$/.test(description ?? ""));
  const options: unknown = symbol && Reflect.get(producer, symbol);
  if (typeof options !== "object" || options === null) return;
  const found = ["serializers", "registry", "beforeSerialization"].find((name) => Reflect.get(options, name) != null);
  if (found === undefined) return;
  throw new TypeError(`Cannot make a Kafka sink: the producer of ${PLATFORMATIC} must be made without ${found}`);
}

/** Keys and names of headers repeat, so each text is encoded once. */
function toPlatformaticMessages(topic: string, messages: readonly KafkaMessage[]): PlatformaticMessage[] {
  const texts = new Map<string, Buffer>();
  const toBytes = (data: Uint8Array | string): Buffer => {
    if (typeof data !== "string") return Buffer.isBuffer(data) ? data : Buffer.from(data);
    let bytes = texts.get(data);
    if (bytes === undefined) texts.set(data, bytes = Buffer.from(data));
    return bytes;
  };
  return messages.map(({ key, value, headers = {}, partition }) => {
    const list = new Map<Buffer, Buffer>();
    for (const name in headers) {
      const header = headers[name];
      if (typeof header === "string") list.set(toBytes(name), Buffer.from(header));
      // Buffers are different keys of a map, also where a name is there several times.
      else for (const one of [header ?? []].flat()) list.set(Buffer.from(name), Buffer.from(one as Uint8Array));
    }
    const message: PlatformaticMessage = {
      topic,
      value: typeof value === "string" ? Buffer.from(value) : value,
      headers: list,
    };
    if (key !== null && key !== undefined) message.key = toBytes(key);
    if (partition !== undefined) message.partition = partition;
    return message;
  });
}
