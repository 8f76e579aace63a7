/**
 * Sends deliveries to an HTTP server: one request each, NDJSON by default, with the delivery's id as `Idempotency-Key`.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when the server has responded with a status of 2xx, the response has ended, and it is as `expect` says.
 *   Everything else is a failure: no connection, a connection that ends before or within the response, an aborted attempt.
 * - A target that is ill makes no dead letters: only 400, 413, 422 and what the options say are faults of records.
 * - A response is judged by its status. Its body isn't decoded, unless `failures` or `verdict` is given; a body that can't be
 *   decoded is an error only for them, and only when they read it.
 * - A delivery has the same key and the same body in each attempt, also after a crash. The key has the form of the draft "The
 *   Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07), a string in quotes. A server that keeps
 *   the keys, and repeats its first response for a known one, gets each record once; any other server gets it at least once.
 *   When a delivery is sent in parts, because it is too large or single records failed or expired, each part has a key of its own.
 * - Every response body is read to its end, or cancelled after 128 KiB, so that no attempt leaves a connection behind. For `failures`
 *   and `verdict` it may be longer: 1 MiB and 4 KiB for each record, up to 64 MiB.
 * - One bad record doesn't condemn a batch: a delivery that is refused is sent again in halves until the records at fault are
 *   left. A server that refuses everything is asked less and less often, as the producer does with any target.
 * - A body of 64 KiB or more whose connection is cut six times in a row before any answer is sent again in halves: the cut may
 *   have hidden a 413. A server that had stored it without ever answering gets its records twice. Connections that can't be made
 *   split nothing.
 *
 * ## What a response means
 *
 * | status | |
 * |---|---|
 * | 2xx | acknowledged, if it is as `expect` says, except the records that the option `failures` finds in it |
 * | 413 | too large: sent again in smaller parts |
 * | 400, 422 | refused for its content: several records are sent again in halves, a single one is a permanent failure |
 * | 408, 409, 425, 429, 5xx | the target is ill: sent again after pauses that grow, or after `Retry-After` if it is given |
 * | 1xx, 302, 303, 307 | the same: a temporary intermediary responded |
 * | other 4xx, such as 401, 403, 404, 407 | the target is blocked: sent again after the longest pause |
 * | 501, 505, 507, 508, 510, 511; other 3xx; a 2xx that isn't as `expect` says | the same |
 *
 * The draft has a server respond 409 while the first attempt with the same key is still in progress. Redirects are never followed.
 * By the rules of fetch some of them would turn a POST into a GET, whose 200 would mean nothing, and the headers, tokens among
 * them, would go to the host that the redirect names.
 *
 * The option `verdict` overrides the table. A server that stores some records of a delivery that it answers with 400 needs `"refuse"`
 * for it, because in halves those records would come again. One that answers a bad record with a status of an ill target, as old
 * versions of ClickHouse do with 500 and a firewall for applications with 403, needs `"split"` for it: nothing else gets past that
 * record.
 *
 * A page of HTML with 2xx may be that of a captive portal or a proxy, which has stored nothing. Many servers send that type with what
 * they mean, so it is acknowledged, with an event `warned` of the producer. The option `expect` says what the server's own answers
 * look like; any other isn't acknowledged, and there is no warning for a type that is expected.
 *
 * ## How requests are made
 *
 * On Node by `node:http` with its global agent, which costs a third of what fetch does there; on other runtimes by the global fetch.
 * Where Node's global fetch has been replaced, or has been given another dispatcher than its own (a proxy's, a mock's, an agent with
 * certificates), that is used. The option `fetch` is used everywhere.
 *
 * Connections are kept open between deliveries, as long as the runtime does that. By `node:http` a request is made once more if the
 * server had closed its connection meanwhile. The attempt after one that timed out has a new connection: idle ones may be as dead.
 *
 * A server that responds with 2xx before it has read all of a request, and reads on, gets all of it by `node:http`. Bun's fetch cuts it
 * off there, and Deno's where the response says `Connection: close`: let such a server respond when it has read the request.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { describe } from "../base/validation.ts";
import { DeliveryError, type FailedRecord, SluiceError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import { type HttpAnswer, readExchange, toTargetError } from "./http_exchange.ts";
import { CutPolicy } from "./http_split.ts";
import { chooseTransport, type HttpRequest, type Reply } from "./http_transport.ts";
import { parseHttpUrl } from "./http_url.ts";
import {
  checkExpectation,
  classifyStatus,
  type HttpExpectation,
  type HttpVerdict,
  isHtml,
  toDeliveryError,
  unexpectedIn,
} from "./http_verdict.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { HttpAnswer } from "./http_exchange.ts";
export type { HttpExpectation, HttpVerdict } from "./http_verdict.ts";
export type { LineOptions } from "./lines.ts";

/** Header fields as `Headers` takes them. */
export type HttpHeaders = Headers | Readonly<Record<string, string>> | readonly (readonly [string, string])[];

/** Where to send a delivery: http or https, without a name or password, and with a port that fetch doesn't block. */
export type HttpUrl<T> = string | URL | ((delivery: Delivery<T>) => string | URL);

/** Options of {@linkcode httpSink}. */
export interface HttpSinkOptions<T> extends LineOptions<T> {
  /**
   * The request's method.
   *
   * @default {"POST"}
   */
  readonly method?: "POST" | "PUT" | "PATCH" | undefined;
  /**
   * Further header fields, or a function that makes them for each attempt, such as one with a fresh token. They override the
   * sink's own Content-Type.
   *
   * @default {none}
   */
  readonly headers?:
    | HttpHeaders
    | ((delivery: Delivery<T>, context: SendContext) => HttpHeaders | Promise<HttpHeaders>)
    | undefined;
  /**
   * Makes the whole body of a delivery, instead of lines. It must always make the same for the same delivery. What it throws refuses
   * the records that it throws for.
   *
   * @default {lines of NDJSON}
   */
  readonly body?: ((delivery: Delivery<T>) => string | Uint8Array) | undefined;
  /**
   * The body's type.
   *
   * @default {"application/x-ndjson"}
   */
  readonly contentType?: string | undefined;
  /**
   * Compresses the body and sets Content-Encoding; the server must support it.
   *
   * @default {false}
   */
  readonly gzip?: boolean | undefined;
  /**
   * What the response to a delivery that was stored must look like. Any other with 2xx counts as `"blocked"`.
   *
   * @default {any}
   */
  readonly expect?: HttpExpectation | undefined;
  /**
   * Finds the records that were not stored in a response that counts as `"ok"`; the responses to Elasticsearch's `_bulk` list
   * them. Returns an empty array if there are none.
   *
   * @default {all were stored}
   */
  readonly failures?:
    | ((answer: HttpAnswer, delivery: Delivery<T>) => readonly FailedRecord[] | Promise<readonly FailedRecord[]>)
    | undefined;
  /**
   * Overrides the table in this module's documentation for a response; `undefined` leaves it to the table. For example `"ok"`
   * for a 409 by which the server says that it has the delivery already, or `"refuse"` for a 400 that concerns all records alike.
   *
   * @default {the table}
   */
  readonly verdict?: ((answer: HttpAnswer) => HttpVerdict | undefined) | undefined;
  /**
   * Sends a request. With a function of your own, `url` may have any port.
   *
   * @default {node:http on Node, the global fetch elsewhere}
   */
  readonly fetch?: ((url: URL, init: RequestInit) => Promise<Response>) | undefined;
  /**
   * The time with which a date in Retry-After is compared where the response has no Date.
   *
   * @default {systemClock}
   */
  readonly clock?: Pick<Clock, "now"> | undefined;
}

const METHODS: readonly string[] = ["POST", "PUT", "PATCH"];

/**
 * Makes a `Send` that posts each delivery to an HTTP server.
 *
 * @param url Where to send deliveries, or a function that says it for each of them, always the same for the same delivery. What that
 * throws, and a URL that no request can reach, refuses the records that it is for.
 * @param options How to make requests, and how to read responses.
 * @returns The function to pass to a producer as `send`. It rejects with a {@linkcode DeliveryError}, or with the signal's reason.
 * @throws {TypeError} if an option has the wrong type, if no request can reach `url`, or if a header is malformed.
 * @typeParam T The records' type.
 *
 * @example Send two records as lines
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { httpSink } from "@sluice/buffer/sinks/http";
 * import { assertEquals, assertMatch } from "@std/assert";
 *
 * const requests: RequestInit[] = [];
 * const send = httpSink<{ n: number }>("https://example.com/ingest", {
 *   fetch(_url, init) { // in a program: leave it out
 *     requests.push(init);
 *     return Promise.resolve(new Response("", { status: 202 }));
 *   },
 * });
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * assertEquals(new TextDecoder().decode(requests[0].body as Uint8Array<ArrayBuffer>), '{"n":1}\n{"n":2}\n');
 * assertMatch(new Headers(requests[0].headers).get("idempotency-key")!, /^".+-1-2"$/); // the same in each attempt
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example One JSON document per delivery, with a fresh token
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { httpSink } from "@sluice/buffer/sinks/http";
 * import { assertEquals } from "@std/assert";
 *
 * const requests: RequestInit[] = [];
 * const send = httpSink<{ n: number }>("https://example.com/events", {
 *   method: "PUT",
 *   contentType: "application/json",
 *   headers: async () => ({ authorization: `Bearer ${await Promise.resolve("fresh")}` }),
 *   body: ({ batchId, records }) => JSON.stringify({ batchId, events: records }),
 *   async fetch(_url, init) { // in a program: leave it out
 *     requests.push(init);
 *     return new Response(null, { status: 204 });
 *   },
 * });
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * assertEquals(JSON.parse(String(requests[0].body)).events, [{ n: 1 }, { n: 2 }]);
 * assertEquals(new Headers(requests[0].headers).get("authorization"), "Bearer fresh");
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example Only the records that the response lists as failed are sent again
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type HttpAnswer, httpSink } from "@sluice/buffer/sinks/http";
 * import { assertEquals } from "@std/assert";
 *
 * // {"errors":[{"line":1,"text":"busy"}]}
 * function failures({ body }: HttpAnswer) {
 *   const { errors } = JSON.parse(body) as { errors: { line: number; text: string }[] };
 *   return errors.map(({ line, text }) => ({ index: line, retryable: text === "busy", reason: text }));
 * }
 *
 * const sent: string[] = [];
 * const send = httpSink<string>("https://example.com/bulk", {
 *   failures,
 *   async fetch(_url, { body }) { // in a program: leave it out
 *     sent.push(new TextDecoder().decode(body as Uint8Array<ArrayBuffer>));
 *     return Response.json({ errors: sent.length === 1 ? [{ line: 1, text: "busy" }] : [] });
 *   },
 * });
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.putMany(["a", "b", "c"]);
 * await producer.flush();
 * assertEquals(sent, ['"a"\n"b"\n"c"\n', '"b"\n']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function httpSink<T>(url: HttpUrl<T>, options: HttpSinkOptions<T> = {}): Send<T> {
  const { expect = {}, clock = systemClock, fetch } = options;
  const parse = (given: string | URL): URL => parseHttpUrl(given, { hasOwnFetch: fetch !== undefined });
  const fixedUrl = typeof url === "function" ? undefined : parse(url);
  const urlOf = (delivery: Delivery<T>): URL =>
    fixedUrl ?? forRecords("url", delivery, () => parse((url as (delivery: Delivery<T>) => string | URL)(delivery)));
  checkOptions(options);
  const transport = chooseTransport(fetch);
  const build = requestBuilder(options);
  const cuts = new CutPolicy();
  let wasHtml = false;
  return async (delivery, context) => {
    const { signal } = context;
    signal.throwIfAborted();
    const to = urlOf(delivery);
    const request = await build(delivery, context);
    const toError = cuts.begin(delivery, request.body.length);
    let reply: Reply;
    try {
      reply = await transport(to, request);
    } catch (cause) {
      signal.throwIfAborted();
      throw toError(cause);
    }
    const { isBodyNeeded } = request;
    const { answer, text, hasBody } = await readExchange(reply, { isBodyNeeded, records: delivery.length, signal });
    const given = await forTarget("verdict", () => options.verdict?.(answer));
    const byStatus = classifyStatus(reply.status);
    const unexpected = given === undefined && byStatus === "ok" ? unexpectedIn(reply, expect) : undefined;
    const verdict = unexpected === undefined ? given ?? byStatus : "blocked";
    if (verdict !== "ok") {
      const split = verdict === "split" && delivery.length > 1;
      throw toDeliveryError({ reply, text, verdict, split, unexpected }, clock.now());
    }
    const isSuspect = given === undefined && expect.contentType === undefined && hasBody && isHtml(reply);
    if (isSuspect && !wasHtml) {
      context.warn?.(
        `the server answered ${reply.status} with a page of HTML: is it the server? See the option expect`,
      );
    }
    wasHtml = isSuspect;
    const failed = await forTarget("failures", () => options.failures?.(answer, delivery)) ?? [];
    if (failed.length === 0) return;
    const reason = `the server did not take ${failed.length} of ${delivery.length} records: ${failed[0]!.reason}`;
    throw new DeliveryError({ reason, failed });
  };
}

/** Refuses options of the wrong type when the sink is made, instead of in every attempt. */
function checkOptions<T>(options: HttpSinkOptions<T>): void {
  for (const name of ["body", "failures", "verdict", "fetch", "line"] as const) {
    const given: unknown = options[name];
    if (given === undefined || typeof given === "function") continue;
    throw new TypeError(`Cannot make an HTTP sink: ${name} must be a function, got ${typeof given}`);
  }
  if (!METHODS.includes(options.method ?? "POST")) {
    throw new TypeError(`Cannot make an HTTP sink: method must be one of ${METHODS.join(", ")}, got ${options.method}`);
  }
  if (options.expect !== undefined) checkExpectation(options.expect);
  if (typeof options.headers !== "function") new Headers(options.headers as HeadersInit | undefined);
}

/** What makes the requests of a sink. Header fields that are the same for all are made once. */
function requestBuilder<T>(
  options: HttpSinkOptions<T>,
): (delivery: Delivery<T>, context: SendContext) => HttpRequest | Promise<HttpRequest> {
  const { method = "POST", contentType = "application/x-ndjson", gzip = false, headers, failures, verdict } = options;
  const isBodyNeeded = failures !== undefined || verdict !== undefined;
  const toFields = (given: HttpHeaders | undefined): Record<string, string> => ({
    "content-type": contentType,
    ...Object.fromEntries(new Headers(given as HeadersInit | undefined)),
  });
  const fixedFields = typeof headers === "function" ? undefined : toFields(headers);
  const complete = (
    { id }: Delivery<T>,
    { signal }: SendContext,
    fields: Record<string, string>,
    body: string | Uint8Array,
  ): HttpRequest => {
    // RFC 8941, section 3.3.3: a string in quotes, with the two escapes that JSON has for ASCII, too.
    const own = { "idempotency-key": JSON.stringify(id), ...(gzip ? { "content-encoding": "gzip" } : {}) };
    return { method, headers: { ...fields, ...own }, body, signal, isBodyNeeded };
  };
  return (delivery, context) => {
    const { signal } = context;
    const body = options.body === undefined
      ? toLines(delivery, options)
      : checkBody(forRecords("body", delivery, () => options.body!(delivery)));
    if (fixedFields !== undefined && !gzip) return complete(delivery, context, fixedFields, body);
    const made = Promise.all([
      fixedFields ?? forTarget("headers", async () => toFields(await (headers as MakeHeaders<T>)(delivery, context))),
      gzip ? compress(body) : body,
    ]);
    return abortable(made, signal).then(([fields, coded]) => complete(delivery, context, fields, coded));
  };
}

/** Refuses what fetch would send as its name, such as a promise: no record is at fault for the option. */
function checkBody(body: unknown): string | Uint8Array {
  if (typeof body === "string" || body instanceof Uint8Array) return body;
  const reason = `the option body must return a string or a Uint8Array, got ${describe(body)}`;
  throw new DeliveryError({ reason, scope: "target", retryable: false });
}

type MakeHeaders<T> = (delivery: Delivery<T>, context: SendContext) => HttpHeaders | Promise<HttpHeaders>;

/** Runs a function of the user's that looks at records: what it throws refuses them, one by one. */
function forRecords<R>(name: string, { length }: Delivery<unknown>, run: () => R): R {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    const reason = `the option ${name} failed: ${errorText(cause)}`;
    throw new DeliveryError({ reason, retryable: false, split: length > 1 }, { cause });
  }
}

/** Runs a function of the user's that looks at the target: what it throws is no record's fault. */
async function forTarget<R>(name: string, run: () => R): Promise<Awaited<R>> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw toTargetError(`the option ${name} failed: ${errorText(cause)}`, cause);
  }
}

async function compress(body: string | Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
