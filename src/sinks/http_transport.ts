/**
 * Ways to make a request: `fetch` everywhere, and `node:http` on Node, which takes a third of fetch's CPU time per request.
 *
 * Guarantees:
 * - No redirect is followed. A request ends with its signal.
 * - A body is read to its end, so that its connection can be used again, or cancelled when it is too long. A response that comes
 *   before the request has been sent ends the request, except, by `node:http`, a success: there the rest is sent, unless the server
 *   closes the connection. So no connection is left behind.
 * - `node:http` is used only as long as fetch is Node's own: somebody who has replaced it, or has given it a dispatcher, such as one
 *   with a proxy or with certificates, has requests made by that fetch.
 * - The request after one that was aborted, because nothing came back, has a new connection: idle ones to the same server may be as
 *   dead. `node:http` closes them all; Deno and Bun can only be kept from using one.
 * - By `node:http` no attempt is lost to a connection that the server had closed while it was idle: the request is made once more.
 *
 * `node:http` is left to Node's own global agent, which keeps connections alive and may be replaced by the user.
 *
 * @module
 */

import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type nodeProcess from "node:process";
import type { Readable } from "node:stream";
import { runtimeName } from "../base/runtime.ts";

/** A request, ready to be sent. */
export interface HttpRequest {
  readonly method: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
  readonly signal: AbortSignal;
  /** Whether somebody needs the body of a success, decoded. */
  readonly isBodyNeeded: boolean;
}

/** What is kept and read of a body. */
export interface BodyLimits {
  readonly keptBytes: number;
  readonly readBytes: number;
}

/** As much of a body as was read. */
export interface ReplyBody {
  /** The beginning. */
  readonly text: string;
  /** Bytes read. */
  readonly length: number;
  /** Whether it ended within the limit. */
  readonly isWhole: boolean;
  /** What went wrong while it was read. */
  readonly error: unknown;
}

/** A response whose body hasn't been read. */
export interface Reply {
  readonly status: number;
  /** The value of a header field; its name in lower case. */
  readonly header: (name: string) => string | null;
  /** All header fields. */
  readonly headers: () => Headers;
  /** Reads the body up to its limits, and cancels the rest; keeps also what came before an error. Never rejects. */
  readonly readBody: (limits: BodyLimits) => Promise<ReplyBody>;
}

/** Sends a request; rejects if there is no response. */
export type Transport = (url: URL, request: HttpRequest) => Promise<Reply>;

/** The part of fetch that is used. */
export type Fetch = (url: URL, init: RequestInit) => Promise<Response>;

/** What the source text of Node's own fetch shows: it loads Node's undici. */
const NODE_FETCH = "internal/deps/undici";
/** Where undici keeps the dispatcher that fetch uses. */
const DISPATCHER = Symbol.for("undici.globalDispatcher.1");
/** Errors of a connection that the server closed while it was idle. */
const STALE: readonly unknown[] = ["ECONNRESET", "EPIPE"];

/** Codings that `node:zlib` decodes on every Node that is supported. */
const DECODERS = {
  "gzip": "createGunzip",
  "x-gzip": "createGunzip",
  "deflate": "createInflate",
  "br": "createBrotliDecompress",
};

/** The transport of a sink: the user's fetch, or `node:http` on Node, or the global fetch. */
export function chooseTransport(ownFetch: Fetch | undefined): Transport {
  if (ownFetch !== undefined) return byFetch(ownFetch, () => undefined);
  const byGlobalFetch = byFetch((url, init) => fetch(url, init), makeConnection);
  if (runtimeName() !== "node") return byGlobalFetch;
  return (url, request) => (isNodeFetch() ? byNode : byGlobalFetch)(url, request);
}

/** Whether fetch is the one that came with Node, with the settings that it came with, or there is none. */
function isNodeFetch(): boolean {
  const { fetch, [DISPATCHER]: dispatcher } = globalThis as { fetch?: unknown; [DISPATCHER]?: Dispatcher };
  if (fetch !== undefined && !String(fetch).includes(NODE_FETCH)) return false;
  if (dispatcher === undefined) return true;
  // The default is an Agent without options. One with interceptors has another function `dispatch`.
  const { name, prototype } = dispatcher.constructor;
  const key = Object.getOwnPropertySymbols(dispatcher).find(({ description }) => description === "options");
  const options = key === undefined ? [key] : Object.values((dispatcher as unknown as Record<symbol, object>)[key]!);
  return name === "Agent" && dispatcher.dispatch === prototype.dispatch && key !== undefined &&
    options.every((option) => option === undefined || option === Infinity);
}

/** What undici gives requests to. */
interface Dispatcher {
  readonly constructor: { readonly name: string; readonly prototype: Dispatcher };
  readonly dispatch: unknown;
}

/** Options of fetch that have it make a connection. */
interface NewConnection {
  readonly init: object;
  close(): void;
}

function makeConnection(): NewConnection {
  const client = runtimeName() === "deno" ? deno().createHttpClient?.({ poolMaxIdlePerHost: 0 }) : undefined;
  return { init: { keepalive: false, ...(client && { client }) }, close: () => client?.close() }; // keepalive: for Bun
}

function byFetch(send: Fetch, connect: () => NewConnection | undefined): Transport {
  let isDoubtful = false;
  return async (url, { isBodyNeeded, headers, body, method, signal }) => {
    const connection = isDoubtful ? connect() : undefined;
    const end = (): void => {
      isDoubtful = signal.aborted;
      connection?.close();
    };
    const init = { method, headers, body: body as BodyInit, redirect: "manual", signal, ...connection?.init } as const;
    // An option of Bun. Elsewhere "identity" asks for a body that isn't coded.
    const decoding = isBodyNeeded ? {} : { decompress: false, headers: { "accept-encoding": "identity", ...headers } };
    const response = await Promise.resolve(send(url, { ...init, ...decoding })).catch((cause) => {
      end();
      throw cause;
    });
    return {
      status: response.status,
      header: (name) => response.headers.get(name),
      headers: () => response.headers,
      readBody: (limits) => readStream(response, limits).finally(end),
    };
  };
}

async function readStream(response: Response, limits: BodyLimits): Promise<ReplyBody> {
  const body = new BodyCollector(limits);
  try {
    const reader = response.body?.getReader();
    while (reader !== undefined) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!body.add(value)) {
        await reader.cancel();
        break;
      }
    }
    return body.end();
  } catch (cause) {
    return body.end(cause ?? new Error("the body failed without a reason"));
  }
}

/** @param isRepeated Whether this request has failed before on a connection that had been idle. */
function byNode(
  url: URL,
  { isBodyNeeded, headers, body, method, signal }: HttpRequest,
  isRepeated = false,
): Promise<Reply> {
  const { request, globalAgent } = node().getBuiltinModule(url.protocol === "https:" ? "node:https" : "node:http");
  const { "transfer-encoding": _, ...fields } = headers;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return new Promise((resolve, reject) => {
    let isAnswered = false;
    const outgoing = request(url, {
      method,
      signal,
      headers: {
        "accept": "*/*",
        "accept-encoding": isBodyNeeded ? "gzip, deflate, br" : "identity",
        "user-agent": "node", // as fetch does
        ...fields,
        "content-length": String(bytes.length),
      },
    });
    const leaveIdle = () => closeIdle(globalAgent, url);
    signal.addEventListener("abort", leaveIdle);
    // A change of protocols, which nobody has asked for, and a connection that ends without a response or an error.
    outgoing.on("upgrade", (_incoming, socket) => socket.destroy()).on("close", () => {
      signal.removeEventListener("abort", leaveIdle);
      reject(new Error("connection closed without a response"));
    });
    outgoing.on("error", (error: { readonly code?: unknown }) => {
      const isStale = outgoing.reusedSocket && !isAnswered && !signal.aborted && STALE.includes(error.code);
      if (!isStale || isRepeated) return reject(error);
      leaveIdle();
      resolve(byNode(url, { isBodyNeeded, headers, body, method, signal }, true));
    });
    outgoing.on("response", (incoming: IncomingMessage) => {
      isAnswered = true;
      const status = incoming.statusCode!;
      // Who takes a delivery before all of it has come may still be reading it; who refuses it doesn't need the rest.
      const isRestNeeded = (): boolean => status >= 200 && status < 300 && !outgoing.writableFinished;
      resolve({
        status,
        header: (name) => incoming.headersDistinct[name]?.join(", ") ?? null,
        headers: () => toHeaders(incoming.rawHeaders),
        async readBody(limits) {
          const reply = await readIncoming(isBodyNeeded ? decode(incoming) : incoming, incoming, limits, isRestNeeded);
          if (reply.error === undefined && isRestNeeded()) await sendRest(outgoing);
          if (!outgoing.writableFinished) outgoing.destroy();
          return reply;
        },
      });
    });
    outgoing.end(bytes);
  });
}

/** Waits until a request has been sent, or its connection is closed, by the server or with the attempt. */
function sendRest(outgoing: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    if (outgoing.closed) return resolve();
    outgoing.on("finish", resolve).on("close", resolve);
  });
}

/** Closes the idle connections to the server of `url`. */
function closeIdle({ freeSockets = {} }: Partial<Agent>, { protocol, hostname, port }: URL): void {
  const place = `${hostname.replace(/^\[|\]$/g, "")}:${port || (protocol === "https:" ? 443 : 80)}:`;
  for (const [name, sockets = []] of Object.entries(freeSockets)) {
    if (name.startsWith(place)) { for (const socket of [...sockets]) socket.destroy(); }
  }
}

function deno(): { createHttpClient?(options: object): { close(): void } } {
  return (globalThis as unknown as { Deno: ReturnType<typeof deno> }).Deno;
}

/** Not imported, so that bundles for edge runtimes need no such module. */
function node(): typeof nodeProcess {
  return (globalThis as unknown as { process: typeof nodeProcess }).process;
}

function readIncoming(
  body: Readable,
  incoming: IncomingMessage,
  limits: BodyLimits,
  isRestNeeded: () => boolean,
): Promise<ReplyBody> {
  return new Promise((resolve) => {
    const collector = new BodyCollector(limits);
    body.on("data", (bytes: Uint8Array) => {
      if (collector.add(bytes) || isRestNeeded()) return;
      incoming.destroy();
      resolve(collector.end());
    });
    body.on("end", () => resolve(collector.end())).on("error", (error) => resolve(collector.end(error)));
    // Behind both of them, unless neither has come.
    body.on("close", () => resolve(collector.end(new Error("aborted by the server"))));
  });
}

/** The body decoded, as far as its codings are known; what isn't known stays as it is. */
function decode(incoming: IncomingMessage): Readable {
  const codings = (incoming.headers["content-encoding"] ?? "").toLowerCase().split(",").map((coding) => coding.trim());
  const zlib = node().getBuiltinModule("node:zlib");
  const { pipeline } = node().getBuiltinModule("node:stream");
  let body: Readable = incoming;
  for (const coding of codings.reverse()) {
    if (!Object.hasOwn(DECODERS, coding)) break;
    const decoder = zlib[DECODERS[coding as keyof typeof DECODERS] as "createGunzip"]();
    // Errors of one stream destroy the next, which passes them on.
    body = pipeline(body, decoder, () => {});
  }
  return body;
}

/** Header fields of a response, which may have bytes that `Headers` refuses. */
function toHeaders(raw: readonly string[]): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    try {
      headers.append(raw[i]!, raw[i + 1]!);
    } catch {
      // Nobody can read such a field by fetch either.
    }
  }
  return headers;
}

/** Keeps the beginning of a body, and counts the rest. */
class BodyCollector {
  readonly #limits: BodyLimits;
  #decoder: TextDecoder | undefined;
  #text = "";
  #length = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Whether more is to be read. */
  add(bytes: Uint8Array): boolean {
    const { keptBytes, readBytes } = this.#limits;
    if (this.#length < keptBytes) {
      this.#decoder ??= new TextDecoder();
      this.#text += this.#decoder.decode(bytes.subarray(0, keptBytes - this.#length), { stream: true });
    }
    this.#length += bytes.length;
    return this.#length <= readBytes;
  }

  end(error?: unknown): ReplyBody {
    const text = this.#text + (this.#decoder?.decode() ?? "");
    return { text, length: this.#length, isWhole: this.#length <= this.#limits.readBytes, error };
  }
}
