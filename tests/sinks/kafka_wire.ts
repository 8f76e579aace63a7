/**
 * Kafka's protocol, as far as its tests need it (https://kafka.apache.org/protocol): primitive types; Metadata in its versions up to
 * 2, as librdkafka's mock cluster speaks them, and in version 9, the oldest that `@platformatic/kafka` speaks.
 */

import { Buffer } from "node:buffer";

/** A broker, as Metadata names it. */
interface Broker {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly rack: string | null;
}

interface Partition {
  readonly error: number;
  readonly index: number;
  readonly leader: number;
  readonly replicas: readonly number[];
  readonly inSync: readonly number[];
}

interface Topic {
  readonly error: number;
  readonly name: string;
  readonly isInternal: number;
  readonly partitions: readonly Partition[];
}

/** An answer to Metadata. */
export interface Metadata {
  readonly brokers: readonly Broker[];
  readonly clusterId: string | null;
  readonly controller: number;
  readonly topics: readonly Topic[];
}

/** The versions that a client of version 9 is offered: what the mock cluster has, and what is translated. */
const OFFERED: readonly (readonly [apiKey: number, min: number, max: number])[] = [[0, 0, 7], [3, 9, 9], [18, 0, 3]];

/** Reads the protocol's primitive types from a buffer. */
export class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get length(): number {
    return this.#buffer.length;
  }

  int8(): number {
    return this.#buffer.readInt8(this.#advance(1));
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#advance(2));
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#advance(4));
  }

  int64(): bigint {
    return this.#buffer.readBigInt64BE(this.#advance(8));
  }

  string(): string | null {
    const length = this.int16();
    return length < 0 ? null : this.#text(length);
  }

  array<R>(read: () => R): R[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read);
  }

  compactString(): string | null {
    const length = this.#unsignedVarint() - 1;
    return length < 0 ? null : this.#text(length);
  }

  compactArray<R>(read: () => R): R[] {
    return Array.from({ length: Math.max(0, this.#unsignedVarint() - 1) }, read);
  }

  /** Reads past tagged fields, of which clients send none. */
  skipTags(): void {
    if (this.#unsignedVarint() !== 0) throw new Error("There is a tagged field");
  }

  bytes(length: number): Reader {
    const start = this.#advance(length);
    return new Reader(this.#buffer.subarray(start, start + length));
  }

  /** Zigzag, base 128, least significant group first. */
  varint(): number {
    const value = BigInt(this.#unsignedVarint());
    return Number((value >> 1n) ^ -(value & 1n));
  }

  #unsignedVarint(): number {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = this.#buffer.readUInt8(this.#advance(1));
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  }

  varintString(): string | null {
    const length = this.varint();
    return length < 0 ? null : this.#text(length);
  }

  #text(length: number): string {
    const start = this.#advance(length);
    return this.#buffer.toString("utf8", start, start + length);
  }

  #advance(bytes: number): number {
    this.#at += bytes;
    return this.#at - bytes;
  }
}

/** Splits what a socket gets into requests or answers, each with its length in front. */
export function splitFrames(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let buffered = Buffer.alloc(0);
  return (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readInt32BE(0)) {
      const end = 4 + buffered.readInt32BE(0);
      const frame = buffered.subarray(0, end);
      buffered = buffered.subarray(end);
      onFrame(frame);
    }
  };
}

/** Reads the body of an answer to Metadata in a version up to 2. */
export function readMetadata(reader: Reader, version: number): Metadata {
  const brokers = reader.array(() => ({
    id: reader.int32(),
    host: reader.string()!,
    port: reader.int32(),
    rack: version >= 1 ? reader.string() : null,
  }));
  const clusterId = version >= 2 ? reader.string() : null;
  const controller = version >= 1 ? reader.int32() : -1;
  const topics = reader.array(() => ({
    error: reader.int16(),
    name: reader.string()!,
    isInternal: version >= 1 ? reader.int8() : 0,
    partitions: reader.array(() => ({
      error: reader.int16(),
      index: reader.int32(),
      leader: reader.int32(),
      replicas: reader.array(() => reader.int32()),
      inSync: reader.array(() => reader.int32()),
    })),
  }));
  return { brokers, clusterId, controller, topics };
}

/** The body of an answer to Metadata in a version up to 2. */
export function writeMetadata({ brokers, clusterId, controller, topics }: Metadata, version: number): Buffer {
  const since = (least: number, bytes: Buffer) => version >= least ? bytes : Buffer.alloc(0);
  return Buffer.concat([
    array(
      brokers.map(({ id, host, port, rack }) =>
        Buffer.concat([int32(id), string(host), int32(port), since(1, string(rack))])
      ),
    ),
    since(2, string(clusterId)),
    since(1, int32(controller)),
    array(topics.map(({ error, name, isInternal, partitions }) =>
      Buffer.concat([
        int16(error),
        string(name),
        since(1, Buffer.from([isInternal])),
        array(partitions.map(({ error, index, leader, replicas, inSync }) =>
          Buffer.concat([
            int16(error),
            ...[index, leader].map(int32),
            array(replicas.map(int32)),
            array(inSync.map(int32)),
          ])
        )),
      ])
    )),
  ]);
}

/** A whole answer to Metadata in version 9. */
export function writeMetadata9(correlationId: number, { brokers, clusterId, controller, topics }: Metadata): Buffer {
  const noTags = Buffer.from([0]);
  const noOperations = int32(-(2 ** 31));
  return sized(
    int32(correlationId),
    noTags,
    int32(0),
    compactArray(
      brokers.map(({ id, host, port, rack }) =>
        Buffer.concat([int32(id), compactString(host), int32(port), compactString(rack), noTags])
      ),
    ),
    compactString(clusterId),
    int32(controller),
    compactArray(topics.map(({ error, name, isInternal, partitions }) =>
      Buffer.concat([
        int16(error),
        compactString(name),
        Buffer.from([isInternal]),
        compactArray(partitions.map(({ error, index, leader, replicas, inSync }) =>
          Buffer.concat([
            int16(error),
            ...[index, leader, -1].map(int32),
            ...[replicas, inSync, []].map((ids) => compactArray(ids.map(int32))),
            noTags,
          ])
        )),
        noOperations,
        noTags,
      ])
    )),
    noOperations,
    noTags,
  );
}

/** A request of Metadata in version 2 that asks for the same as the body of one in version 9. */
export function toMetadata2(correlationId: number, body: Reader): Buffer {
  const topics = body.compactArray(() => {
    const name = body.compactString();
    body.skipTags();
    return name;
  });
  return sized(int16(3), int16(2), int32(correlationId), string("proxy"), array(topics.map(string)));
}

/** A whole answer to ApiVersions in version 3, whose header has no tags, unlike any other. */
export function writeApiVersions3(correlationId: number): Buffer {
  const offered = OFFERED.map((one) => Buffer.concat([...one.map(int16), Buffer.from([0])]));
  return sized(int32(correlationId), int16(0), compactArray(offered), int32(0), Buffer.from([0]));
}

/** A request or an answer, with its length in front. */
export function sized(...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length), body]);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

export function string(value: string | null): Buffer {
  const text = Buffer.from(value ?? "");
  return Buffer.concat([int16(value === null ? -1 : text.length), text]);
}

export function array(items: readonly Buffer[]): Buffer {
  return Buffer.concat([int32(items.length), ...items]);
}

/** The tests' names and lists are short: one byte for a length. */
function compactLength(length: number): Buffer {
  if (length > 126) throw new RangeError(`too long for one byte: ${length}`);
  return Buffer.from([length + 1]);
}

function compactString(value: string | null): Buffer {
  return value === null
    ? Buffer.from([0])
    : Buffer.concat([compactLength(Buffer.byteLength(value)), Buffer.from(value)]);
}

function compactArray(items: readonly Buffer[]): Buffer {
  return Buffer.concat([compactLength(items.length), ...items]);
}
