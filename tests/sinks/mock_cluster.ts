/**
 * A cluster of three brokers that isn't ours: the one that librdkafka makes for its own tests, run by `kcat` (Debian's package of
 * that name), which also reads back what was produced. It checks and stores record batches as a broker does, and has leaders and
 * partitions. It keeps everything in memory, and has no permissions, no replicas and no idempotence.
 *
 * Clients reach it through a proxy for each broker, which can cut connections before or after a request to produce is stored. The
 * proxies have Metadata name them in place of the brokers, and translate for `@platformatic/kafka`, whose oldest version of it is
 * newer than the cluster's newest.
 */

import type { Buffer } from "node:buffer";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import {
  int32,
  Reader,
  readMetadata,
  sized,
  splitFrames,
  toMetadata2,
  writeApiVersions3,
  writeMetadata,
  writeMetadata9,
} from "./kafka_wire.ts";

/** A message, as kcat reads it. */
export interface ReadMessage {
  readonly partition: number;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** What a proxy does with a request to produce: cuts the connection before it is stored, or before or within its answer. */
export type ClusterFault = "cut" | "store-then-cut" | "store-then-cut-half";

interface Request {
  readonly apiKey: number;
  readonly version: number;
  readonly correlationId: number;
}

const PRODUCE = 0;
const METADATA = 3;
const API_VERSIONS = 18;
const NEWEST_METADATA = 2;

/** The cluster. */
export class MockCluster {
  /** What is done with the next requests to produce; when it is empty, they are passed on. */
  readonly faults: ClusterFault[] = [];
  readonly #process: ChildProcess;
  readonly #brokers: readonly string[];
  readonly #proxies: Server[] = [];
  readonly #sockets: Set<Socket> = new Set();
  /** The port of each broker's proxy, by the broker's own. */
  readonly #ports: Map<number, number> = new Map();

  private constructor(process: ChildProcess, brokers: readonly string[]) {
    this.#process = process;
    this.#brokers = brokers;
  }

  /** Starts it; `undefined` where kcat isn't installed. */
  static async start(): Promise<MockCluster | undefined> {
    const args = ["-X", "test.mock.num.brokers=3", "-b", "mock", "-P", "-t", "unused"];
    // It ends with its standard input.
    const child = spawn("kcat", args, { stdio: ["pipe", "ignore", "pipe"] });
    const brokers = await new Promise<readonly string[] | undefined>((resolve) => {
      let text = "";
      child.on("error", () => resolve(undefined)).on("close", () => resolve(undefined));
      child.stderr.on("data", (chunk) => {
        text += chunk;
        const list = /replaced with ([\d.:,]+)\n/.exec(text)?.[1];
        if (list !== undefined) resolve(list.split(","));
      });
    });
    if (brokers === undefined) return undefined;
    const cluster = new MockCluster(child, brokers);
    for (const broker of brokers) await cluster.#openProxy(Number(broker.split(":")[1]));
    return cluster;
  }

  /** The brokers, for a client: their proxies. */
  get addresses(): string[] {
    return [...this.#ports.values()].map((port) => `127.0.0.1:${port}`);
  }

  /** The brokers themselves, without faults and in the versions that they speak. */
  get directAddresses(): string[] {
    return [...this.#brokers];
  }

  /** Reads a topic from its beginning to its end. */
  read(topic: string): ReadMessage[] {
    const args = [
      "-C",
      "-b",
      this.#brokers.join(),
      "-t",
      topic,
      "-o",
      "beginning",
      "-e",
      "-q",
      "-J",
      "-X",
      "check.crcs=true",
      "-X",
      "fetch.wait.max.ms=10",
    ];
    const { status, stdout, stderr } = spawnSync("kcat", args, { encoding: "utf8", maxBuffer: 2 ** 28 });
    if (status !== 0) throw new Error(`kcat can't read ${topic}: ${stderr}`);
    return stdout.split("\n").filter((line) => line !== "").map((line) => {
      const { partition, key, payload, headers = [] } = JSON.parse(line);
      const pairs = Array.from({ length: headers.length / 2 }, (_, i) => [headers[2 * i], headers[2 * i + 1]]);
      return { partition, key, value: payload, headers: Object.fromEntries(pairs) };
    });
  }

  /** Cuts all connections and ends. A second call does nothing. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.on("close", resolve));
    this.#process.kill("SIGKILL");
    const closed = this.#proxies.map((proxy) => new Promise((resolve) => proxy.close(resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([ended, ...closed]);
  }

  async #openProxy(brokerPort: number): Promise<void> {
    const proxy = createServer((client) => this.#serve(client, brokerPort));
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    this.#proxies.push(proxy);
    this.#ports.set(brokerPort, (proxy.address() as AddressInfo).port);
  }

  #serve(client: Socket, brokerPort: number): void {
    const broker = connect(brokerPort, "127.0.0.1");
    const cut = () => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", cut).on("close", () => {
        this.#sockets.delete(socket);
        cut();
      });
    }
    /** Requests that are passed on, in order: they are answered in order. */
    const waiting: (Request & { readonly fault: ClusterFault | undefined })[] = [];
    client.on(
      "data",
      splitFrames((frame) => {
        const reader = new Reader(frame.subarray(4));
        const request = { apiKey: reader.int16(), version: reader.int16(), correlationId: reader.int32() };
        const { apiKey, version, correlationId } = request;
        if (apiKey === API_VERSIONS && version >= 3 && frame.includes("platformatic")) {
          return client.write(writeApiVersions3(correlationId));
        }
        const fault = apiKey === PRODUCE ? this.faults.shift() : undefined;
        if (fault === "cut") return cut();
        waiting.push({ ...request, fault });
        if (apiKey !== METADATA || version <= NEWEST_METADATA) return broker.write(frame);
        reader.string();
        reader.skipTags();
        broker.write(toMetadata2(correlationId, reader));
      }),
    );
    broker.on(
      "data",
      splitFrames((frame) => {
        const { fault, ...request } = waiting.shift()!;
        if (fault === "store-then-cut") return cut();
        if (fault !== "store-then-cut-half") return client.write(this.#rewrite(request, frame));
        client.write(frame.subarray(0, frame.length / 2));
        client.end();
      }),
    );
  }

  /** Replaces the brokers' ports in an answer to Metadata. */
  #rewrite({ apiKey, version, correlationId }: Request, frame: Buffer): Buffer {
    if (apiKey !== METADATA) return frame;
    const metadata = readMetadata(new Reader(frame.subarray(8)), Math.min(version, NEWEST_METADATA));
    const brokers = metadata.brokers.map((broker) => ({ ...broker, port: this.#ports.get(broker.port)! }));
    const rewritten = { ...metadata, brokers };
    if (version > NEWEST_METADATA) return writeMetadata9(correlationId, rewritten);
    return sized(int32(correlationId), writeMetadata(rewritten, version));
  }
}
