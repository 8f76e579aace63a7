/**
 * A scripted Kafka broker on loopback: one node that leads all partitions of every topic, and keeps what is produced to
 * them in memory. Just enough of the protocol for a real client to connect and produce, and ways to fail it.
 *
 * Made by hand from the protocol's documentation (https://kafka.apache.org/protocol: request and response headers,
 * ApiVersions, Metadata, InitProducerId and Produce in the versions below; record batches:
 * https://kafka.apache.org/documentation/#recordbatch), because no broker can be installed where the tests run. What it
 * can't show is how a real broker behaves: replication, its own checks, its deduplication of idempotent producers.
 */

import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { array, int16, int32, Reader, splitFrames, string } from "./kafka_wire.ts";

/** A message as it was stored. */
export interface StoredMessage {
  readonly partition: number;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** A record batch as it was stored. */
export interface StoredBatch {
  readonly topic: string;
  readonly partition: number;
  readonly producerId: bigint;
  readonly baseSequence: number;
  /** Bytes of the batch, all of it: what `message.max.bytes` limits. */
  readonly bytes: number;
  readonly messages: readonly StoredMessage[];
}

/**
 * What the broker does with a Produce request: stores it and says so, refuses it with an error code, stores it and cuts
 * the connection before or in the middle of its answer, cuts without storing, or stores it and never answers.
 */
export type Reaction = "store" | "store-then-cut" | "store-then-cut-half" | "cut" | "store-then-hang" | {
  readonly errorCode: number;
};

const PRODUCE = 0;
const METADATA = 3;
const API_VERSIONS = 18;
const INIT_PRODUCER_ID = 22;
const INVALID_RECORD = 87;
/** The one version of each that is spoken; the client picks it from the answer to ApiVersions. */
const VERSIONS: ReadonlyMap<number, number> = new Map([
  [PRODUCE, 3],
  [METADATA, 1],
  [API_VERSIONS, 2],
  [INIT_PRODUCER_ID, 0],
]);

/** The broker. */
export class KafkaPeer {
  /** All that was stored, in order. */
  readonly batches: StoredBatch[] = [];
  /** What is done with the next Produce requests; when it is empty, they are stored. */
  readonly script: Reaction[] = [];
  /** Which messages are refused, with all of their record batch, as INVALID_RECORD. */
  isInvalid: (message: StoredMessage) => boolean = () => false;
  /** The `acks` of each Produce request. */
  readonly acks: number[] = [];
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  readonly #partitions: number;
  #producerIds = 1000n;

  private constructor(partitions: number) {
    this.#partitions = partitions;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** Starts it. */
  static async start({ partitions = 3 }: { partitions?: number } = {}): Promise<KafkaPeer> {
    const peer = new KafkaPeer(partitions);
    await new Promise<void>((resolve) => peer.#server.listen(0, "127.0.0.1", resolve));
    return peer;
  }

  /** Host and port, for the client. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** All messages, in the order in which they were stored. */
  get messages(): StoredMessage[] {
    return this.batches.flatMap(({ messages }) => messages);
  }

  /** Cuts all connections and ends. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
    socket.on("data", splitFrames((frame) => this.#answer(socket, new Reader(frame.subarray(4)))));
  }

  #answer(socket: Socket, request: Reader): void {
    const apiKey = request.int16();
    const version = request.int16();
    const correlationId = request.int32();
    request.string();
    if (VERSIONS.get(apiKey) !== version) throw new Error(`The peer doesn't speak version ${version} of API ${apiKey}`);
    const reply = (body: Buffer, bytes = Infinity) => {
      const whole = Buffer.concat([int32(4 + body.length), int32(correlationId), body]);
      socket.write(whole.subarray(0, bytes));
    };
    if (apiKey === API_VERSIONS) return reply(this.#apiVersions());
    if (apiKey === METADATA) return reply(this.#metadata(request));
    if (apiKey === INIT_PRODUCER_ID) {
      return reply(Buffer.concat([int32(0), int16(0), int64(this.#producerIds++), int16(0)]));
    }
    this.#produce(socket, request, reply);
  }

  #apiVersions(): Buffer {
    const list = [...VERSIONS].map(([key, version]) => Buffer.concat([int16(key), int16(version), int16(version)]));
    return Buffer.concat([int16(0), array(list), int32(0)]);
  }

  #metadata(request: Reader): Buffer {
    const topics = request.array(() => request.string()!);
    const port = (this.#server.address() as AddressInfo).port;
    const broker = Buffer.concat([int32(1), string("127.0.0.1"), int32(port), string(null)]);
    const partitions = Array.from(
      { length: this.#partitions },
      (_, id) => Buffer.concat([int16(0), int32(id), int32(1), array([int32(1)]), array([int32(1)])]),
    );
    const described = topics.map((topic) =>
      Buffer.concat([int16(0), string(topic), Buffer.from([0]), array(partitions)])
    );
    return Buffer.concat([array([broker]), int32(1), array(described)]);
  }

  #produce(socket: Socket, request: Reader, reply: (body: Buffer, bytes?: number) => void): void {
    request.string();
    this.acks.push(request.int16());
    request.int32();
    const reaction = this.script.shift() ?? "store";
    const asked = typeof reaction === "object" ? reaction.errorCode : 0;
    const topics = request.array(() => {
      const topic = request.string()!;
      const partitions = request.array(() => {
        const partition = request.int32();
        const baseOffset = BigInt(this.batches.length);
        const batch = readBatch(request.bytes(request.int32()), topic, partition);
        const errorCode = asked === 0 && batch.messages.some(this.isInvalid) ? INVALID_RECORD : asked;
        if (errorCode === 0 && reaction !== "cut") this.batches.push(batch);
        return Buffer.concat([int32(partition), int16(errorCode), int64(baseOffset), int64(-1n)]);
      });
      return Buffer.concat([string(topic), array(partitions)]);
    });
    if (reaction === "store-then-hang") return;
    if (reaction === "cut" || reaction === "store-then-cut") return void socket.destroy();
    reply(Buffer.concat([array(topics), int32(0)]), reaction === "store-then-cut-half" ? 20 : undefined);
    if (reaction === "store-then-cut-half") socket.end();
  }
}

/** A record batch of magic 2, not compressed. */
function readBatch(bytes: Reader, topic: string, partition: number): StoredBatch {
  const { length } = bytes;
  bytes.bytes(8 + 4 + 4); // base offset, length, leader epoch
  const magic = bytes.bytes(1).int8();
  if (magic !== 2) throw new Error(`The peer doesn't speak record batches of magic ${magic}`);
  bytes.bytes(4 + 2 + 4 + 8 + 8); // CRC, attributes, last offset delta, two timestamps
  const producerId = bytes.int64();
  bytes.int16();
  const baseSequence = bytes.int32();
  const messages = bytes.array(() => {
    const record = bytes.bytes(bytes.varint());
    record.bytes(1);
    record.varint();
    record.varint();
    const key = record.varintString();
    const value = record.varintString();
    const headers: Record<string, string> = {};
    for (let count = record.varint(); count > 0; count--) headers[record.varintString()!] = record.varintString() ?? "";
    return { partition, key, value, headers };
  });
  return { topic, partition, producerId, baseSequence, bytes: length, messages };
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}
