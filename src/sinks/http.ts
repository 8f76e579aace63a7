/**
 * Sends deliveries to an HTTP server: one request each, NDJSON by default, with the delivery's id as `Idempotency-Key`.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when the server has responded with a status of 2xx and the response has ended. Everything else is a
 *   failure: no connection, a connection that ends before or within the response, an aborted attempt.
 * - A response is judged by its status. Its body isn't decoded, unless `failures` or `verdict` is given; a body that can't be
 *   decoded is an error only for them, and only when they read it.
 * - A delivery has the same key and the same body in each attempt, also after a crash. The key has the form of the draft "The
 *   Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07), a string in quotes. A server that keeps
 *   the keys, and repeats its first response for a known one, gets each record once; any other server gets it at least once.
 *   When a delivery is sent in parts, because it is too large or single records failed, each part has a key of its own.
 * - Every response body is read to its end, or cancelled when it is long, so that no attempt leaves a connection behind.
 * - One bad record doesn't condemn a batch: a delivery that is refused is sent again in halves until the records at fault are
 *   left. After 100 refusals in a row nothing is split until the server accepts something, so that a server that refuses
 *   everything costs one request per batch.
 * - A body of 64 KiB or more whose connection is cut three times in a row before any answer is sent again in halves: the cut may
 *   have hidden a 413. A server that had stored it without ever answering gets its records twice. Connections that can't be made
 *   split nothing.
 *
 * ## What a response means
 *
 * | status | |
 * |---|---|
 * | 2xx | acknowledged, except the records that the option `failures` finds in it |
 * | 413 | too large: sent again in smaller parts |
 * | 408, 409, 425, 429, 5xx | sent again, after `Retry-After` if it is given |
 * | 1xx, 302, 303, 307 | sent again: a temporary intermediary responded |
 * | 400, 422 | refused for its content: several records are sent again in halves, a single one is a permanent failure |
 * | other 3xx, other 4xx | permanent failure, no retry |
 *
 * The draft has a server respond 409 while the first attempt with the same key is still in progress. Redirects are never followed.
 * By the rules of fetch some of them would turn a POST into a GET, whose 200 would mean nothing, and the headers, tokens among
 * them, would go to the host that the redirect names. The option `verdict` overrides the table: a server that stores some records of
 * a delivery that it answers with 400 needs `"refuse"` for it, because in halves those records would come again.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import { type HttpAnswer, readExchange, skipDecoding } from "./http_exchange.ts";
import { retryAfterMs } from "./http_retry_after.ts";
import { SplitPolicy } from "./http_split.ts";
import { parseHttpUrl } from "./http_url.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { HttpAnswer } from "./http_exchange.ts";
export type { LineOptions } from "./lines.ts";

/**
 * What a response means for a delivery: `"ok"`, it is acknowledged; `"retry"`, send it again; `"too-large"`, send it in smaller
 * parts; `"split"`, send it in smaller parts to find the records at fault, a single one being a permanent failure; `"refuse"`, a
 * permanent failure of all of it.
 */
export type HttpVerdict = "ok" | "retry" | "too-large" | "split" | "refuse";

/** Header fields as `Headers` takes them. */
export type HttpHeaders = Headers | Readonly<Record<string, string>> | readonly (readonly [string, string])[];

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
   * Makes the whole body of a delivery, instead of lines. It must always make the same for the same delivery.
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
   * @default {the global fetch}
   */
  readonly fetch?: ((url: URL, init: RequestInit) => Promise<Response>) | undefined;
  /**
   * The time with which a date in Retry-After is compared.
   *
   * @default {systemClock}
   */
  readonly clock?: Pick<Clock, "now"> | undefined;
}

/** Characters of a body that an error's reason includes. */
const MAX_REASON_CHARACTERS = 200;

const METHODS: readonly string[] = ["POST", "PUT", "PATCH"];

/** Refusals that one record may be the reason for. */
const SPLIT: ReadonlySet<number> = new Set([400, 422]);
const RETRIED: ReadonlySet<number> = new Set([302, 303, 307, 408, 409, 425, 429]);

/**
 * Makes a `Send` that posts each delivery to an HTTP server.
 *
 * @param url Where to send deliveries: http or https, without a name or password, and with a port that fetch doesn't block.
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
export function httpSink<T>(url: string | URL, options: HttpSinkOptions<T> = {}): Send<T> {
  const target = parseHttpUrl(url, { hasOwnFetch: options.fetch !== undefined });
  for (const name of ["body", "failures", "verdict", "fetch", "line"] as const) {
    const given: unknown = options[name];
    if (given === undefined || typeof given === "function") continue;
    throw new TypeError(`Cannot make an HTTP sink: ${name} must be a function, got ${typeof given}`);
  }
  if (!METHODS.includes(options.method ?? "POST")) {
    throw new TypeError(`Cannot make an HTTP sink: method must be one of ${METHODS.join(", ")}, got ${options.method}`);
  }
  // A malformed name or value is refused here, instead of in every attempt.
  if (typeof options.headers !== "function") new Headers(options.headers as HeadersInit | undefined);
  const { clock = systemClock, fetch: request = (to, init) => fetch(to, init) } = options;
  const isBodyNeeded = options.failures !== undefined || options.verdict !== undefined;
  const splits = new SplitPolicy();
  return async (delivery, context) => {
    const { signal } = context;
    const { body, ...init } = await abortable(buildRequest(delivery, context, options), signal);
    const toError = splits.begin(delivery, body.length);
    let response: Response;
    try {
      const decoding = isBodyNeeded ? {} : skipDecoding(init.headers);
      response = await request(target, { ...init, ...decoding, body: body as BodyInit });
    } catch (cause) {
      signal.throwIfAborted();
      throw toError(cause);
    }
    const { answer, text } = await readExchange(response, { isBodyNeeded, signal });
    const verdict = options.verdict?.(answer) ?? classifyStatus(answer.status);
    if (verdict !== "ok") {
      const split = verdict === "split" && splits.onRefused(delivery.length);
      const { status, headers } = response;
      throw toDeliveryError({ status, headers, text, verdict, split }, clock.now());
    }
    splits.onAccepted();
    const failed = await options.failures?.(answer, delivery) ?? [];
    if (failed.length === 0) return;
    const reason = `the server did not take ${failed.length} of ${delivery.length} records: ${failed[0]!.reason}`;
    throw new DeliveryError({ reason, failed });
  };
}

/** A request as {@linkcode httpSink} sends it. */
interface HttpRequest extends Omit<RequestInit, "body"> {
  readonly headers: Headers;
  readonly body: string | Uint8Array;
}

async function buildRequest<T>(
  delivery: Delivery<T>,
  context: SendContext,
  options: HttpSinkOptions<T>,
): Promise<HttpRequest> {
  const { method = "POST", contentType = "application/x-ndjson", gzip = false } = options;
  const given = typeof options.headers === "function" ? await options.headers(delivery, context) : options.headers;
  const headers = new Headers(given as HeadersInit | undefined);
  if (!headers.has("content-type")) headers.set("content-type", contentType);
  // RFC 8941, section 3.3.3: a string in quotes, with the two escapes that JSON has for ASCII, too.
  headers.set("idempotency-key", JSON.stringify(delivery.id));
  let body = options.body?.(delivery) ?? toLines(delivery, options);
  if (gzip) {
    body = await compress(body);
    headers.set("content-encoding", "gzip");
  }
  return { method, headers, body, redirect: "manual", signal: context.signal };
}

async function compress(body: string | Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function classifyStatus(status: number): HttpVerdict {
  if (status >= 200 && status < 300) return "ok";
  if (status === 413) return "too-large";
  if (SPLIT.has(status)) return "split";
  return status < 200 || status >= 500 || RETRIED.has(status) ? "retry" : "refuse";
}

/** What a response that is no success is to a producer. */
interface Failure extends Pick<HttpAnswer, "status" | "headers"> {
  /** The beginning of the body. */
  readonly text: string;
  readonly verdict: HttpVerdict;
  readonly split: boolean;
}

function toDeliveryError({ status, headers, text, verdict, split }: Failure, now: number): DeliveryError {
  const location = headers.get("location");
  const detail = location === null ? text.trim().slice(0, MAX_REASON_CHARACTERS) : `to ${location}`;
  return new DeliveryError({
    reason: `the server answered ${status}${detail === "" ? "" : `: ${detail}`}`,
    retryable: verdict !== "refuse" && verdict !== "split",
    retryAfterMs: verdict === "retry" ? retryAfterMs(headers.get("retry-after"), now) : undefined,
    tooLarge: verdict === "too-large",
    split,
  });
}
