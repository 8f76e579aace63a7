/**
 * A server that stands for Kinesis, Firehose, CloudWatch Logs and EventBridge: it takes the requests of the real SDK, holds them
 * against the limits that AWS documents, and gives the answers that it is told to. Kinesis is spoken to by HTTP/2, as its client does
 * by itself, the others by HTTP/1.1.
 */

import { Buffer } from "node:buffer";
import { createServer, type Server, type ServerResponse } from "node:http";
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { currentRuntime } from "../support/children.ts";

/** An answer other than the service's own. */
export interface FakeAnswer {
  readonly status?: number;
  /** An object is sent as the SDK expects it; a text as it is, as HTML. */
  readonly body: object | string;
}

/** A record, event or entry of a request; which members it has is up to the service. */
export interface FakeEntry {
  readonly Data?: string;
  readonly PartitionKey?: string;
  readonly timestamp?: number;
  readonly message?: string;
  readonly Source?: string;
  readonly DetailType?: string;
  readonly Detail?: string;
}

/** What is used of a request, whatever the version of HTTP. */
interface Request {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end", listener: () => void): unknown;
}

/** What is used of an answer. */
interface Response extends Pick<ServerResponse, "writeHead" | "write" | "end"> {
  /** With HTTP/2. */
  readonly stream?: { readonly session?: ServerHttp2Session | undefined };
  readonly socket: { destroy(): unknown } | null;
}

interface Service {
  /** Name of the member of requests that has the entries. */
  readonly entries: string;
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly maxEntryBytes: number;
  readonly bytes: (entry: FakeEntry) => number;
  /** Why the request is refused for another reason. */
  readonly fault?: (entries: readonly FakeEntry[]) => string | undefined;
  readonly answer: (results: readonly object[]) => object;
}

const DAY_MS = 86_400_000;

function textBytes(...texts: readonly (string | undefined)[]): number {
  return texts.reduce((sum, text = "") => sum + Buffer.byteLength(text), 0);
}

function dataBytes({ Data = "", PartitionKey }: FakeEntry): number {
  return Buffer.byteLength(Data, "base64") + textBytes(PartitionKey);
}

function logFault(events: readonly FakeEntry[]): string | undefined {
  const times = events.map(({ timestamp }) => timestamp!);
  if (times.some((time, i) => i > 0 && time < times[i - 1]!)) return "Log events are not in chronological order";
  return times.at(-1)! - times[0]! >= DAY_MS ? "The batch of log events cannot span more than 24 hours" : undefined;
}

/** By the operation's name. */
const SERVICES: Readonly<Record<string, Service>> = {
  PutRecords: {
    entries: "Records",
    maxEntries: 500,
    maxBytes: 10 * 2 ** 20,
    maxEntryBytes: 10 * 2 ** 20,
    bytes: dataBytes,
    answer: (Records) => ({ FailedRecordCount: 0, Records }),
  },
  PutRecordBatch: {
    entries: "Records",
    maxEntries: 500,
    maxBytes: 4_000_000,
    maxEntryBytes: 1_024_000,
    bytes: dataBytes,
    answer: (RequestResponses) => ({ FailedPutCount: 0, RequestResponses }),
  },
  PutLogEvents: {
    entries: "logEvents",
    maxEntries: 10_000,
    maxBytes: 2 ** 20,
    maxEntryBytes: 2 ** 20,
    bytes: ({ message }) => textBytes(message) + 26,
    fault: logFault,
    answer: () => ({}),
  },
  PutEvents: {
    entries: "Entries",
    maxEntries: 10,
    maxBytes: 999_999,
    maxEntryBytes: 999_999,
    bytes: ({ Source, DetailType, Detail }) => textBytes(Source, DetailType, Detail),
    answer: (Entries) => ({ FailedEntryCount: 0, Entries }),
  },
};

/** The server. */
export class AwsFake {
  /** The entries of each request, also of those that were refused. */
  readonly requests: (readonly FakeEntry[])[] = [];
  /** What the next requests are answered, one after the other; `undefined` for the service's own answer. */
  readonly answers: (FakeAnswer | "cut" | "hang" | undefined)[] = [];
  /** Answers for single entries, by the text of their data. */
  readonly results: Map<string, object> = new Map();
  /** Called with each request that is left without an answer. */
  onHang: () => void = () => {};
  readonly #server: Server;
  readonly #kinesis: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor() {
    const onRequest = (request: Request, response: Response) => {
      const chunks: Uint8Array[] = [];
      request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      request.on("end", () => this.#answer(request, Buffer.concat(chunks).toString(), response));
    };
    this.#server = createServer(onRequest);
    this.#kinesis = createHttp2Server((request, response) => onRequest(request, response as unknown as Response));
    this.#kinesis.on("session", (session: ServerHttp2Session) => this.#sessions.add(session.on("error", () => {})));
  }

  /** Starts one on free ports. */
  static async start(): Promise<AwsFake> {
    const fake = new AwsFake();
    for (const server of [fake.#server, fake.#kinesis]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return fake;
  }

  /** Where it listens. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Where Kinesis is; not on Deno 2.9, whose HTTP/2 waits for ever for what a cut connection was to bring, and may abort. */
  get http2Url(): string | undefined {
    if (currentRuntime().name === "deno") return undefined;
    return `http://127.0.0.1:${(this.#kinesis.address() as AddressInfo).port}`;
  }

  /** Ends it, and all connections. */
  async stop(): Promise<void> {
    const closed = [this.#server, this.#kinesis].map((server) => new Promise((resolve) => server.close(resolve)));
    this.#server.closeAllConnections();
    for (const session of this.#sessions) session.destroy();
    await Promise.all(closed);
  }

  #answer(request: Request, body: string, response: Response): void {
    const operation = String(request.headers["x-amz-target"]).split(".").at(-1)!;
    const service = SERVICES[operation]!;
    const entries: readonly FakeEntry[] = JSON.parse(body)[service.entries];
    this.requests.push(entries);
    const given = this.answers.shift();
    if (given === "cut") {
      // Within the answer: where there is none, Deno's client sends the request again by itself, on another connection.
      response.writeHead(200, { "content-length": "100" });
      return void response.write("{", () => (response.stream?.session ?? response.socket)?.destroy());
    }
    if (given === "hang") return this.onHang();
    const answer = given ?? this.#judge(service, entries);
    const text = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body);
    const type = typeof answer.body === "string" ? "text/html" : "application/x-amz-json-1.1";
    response.writeHead(answer.status ?? 200, { "content-type": type }).end(text);
  }

  #judge(service: Service, entries: readonly FakeEntry[]): FakeAnswer {
    const sizes = entries.map(service.bytes);
    const faults = [
      entries.length > service.maxEntries ? `at '${service.entries}': ${entries.length} entries` : undefined,
      sizes.some((bytes) => bytes > service.maxEntryBytes) ? `an entry of ${Math.max(...sizes)} bytes` : undefined,
      sizes.reduce((sum, bytes) => sum + bytes, 0) > service.maxBytes ? "too many bytes" : undefined,
      service.fault?.(entries),
    ].filter((fault) => fault !== undefined);
    if (faults.length > 0) return { status: 400, body: { __type: "ValidationException", message: faults.join() } };
    const results = entries.map(({ Data, Detail = "" }) => {
      const given = this.results.size === 0
        ? undefined
        : this.results.get(Data === undefined ? Detail : Buffer.from(Data, "base64").toString().trim());
      return given ?? { SequenceNumber: "1", ShardId: "0", RecordId: "1", EventId: "1" };
    });
    return { body: service.answer(results) };
  }
}
