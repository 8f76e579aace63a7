/**
 * Sends deliveries to an HTTP server: one request each, NDJSON by default, with the delivery's id as `Idempotency-Key`.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when the server has responded with a status of 2xx and the response has ended. Everything else is a
 *   failure: no connection, a connection that ends before or within the response, an aborted attempt.
 * - A delivery has the same key and the same body in each attempt, also after a crash. The key has the form of the draft "The
 *   Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07), a string in quotes. A server that keeps
 *   the keys, and repeats its first response for a known one, gets each record once; any other server gets it at least once.
 *   When a delivery is sent in parts, because it is too large or single records failed, each part has a key of its own.
 * - Every response body is read to its end or cancelled, so that no attempt leaves a connection behind.
 *
 * ## What a response means
 *
 * | status | |
 * |---|---|
 * | 2xx | acknowledged, except the records that the option `failures` finds in it |
 * | 413 | too large: sent again in smaller parts |
 * | 408, 409, 425, 429, 5xx | sent again, after `Retry-After` if it is given |
 * | 302, 303, 307 | sent again: a temporary intermediary responded |
 * | other 3xx, other 4xx, anything else | permanent failure, no retry |
 *
 * The draft has a server respond 409 while the first attempt with the same key is still in progress. Redirects are never followed.
 * By the rules of fetch some of them would turn a POST into a GET, whose 200 would mean nothing, and the headers, tokens among
 * them, would go to the host that the redirect names. The option `verdict` overrides the table.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import { retryAfterMs } from "./http_retry_after.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { LineOptions } from "./lines.ts";

/** A server's response. */
export interface HttpAnswer {
  /** The status code. */
  readonly status: number;
  /** The header fields. */
  readonly headers: Headers;
  /** The body as text: all of it for a status of 2xx, the beginning for others. */
  readonly body: string;
}

/**
 * What a response means for a delivery: `"ok"`, it is acknowledged; `"retry"`, send it again; `"too-large"`, send it in smaller
 * parts; `"refuse"`, a permanent failure.
 */
export type HttpVerdict = "ok" | "retry" | "too-large" | "refuse";

/** Options of {@linkcode httpSink}. */
export interface HttpSinkOptions<T> extends LineOptions<T> {
  /** Where to send deliveries: http or https, without a name or password. */
  readonly url: string | URL;
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
    | HeadersInit
    | ((delivery: Delivery<T>, context: SendContext) => HeadersInit | Promise<HeadersInit>)
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
   * for a 409 by which the server says that it has the delivery already.
   *
   * @default {the table}
   */
  readonly verdict?: ((answer: HttpAnswer) => HttpVerdict | undefined) | undefined;
  /**
   * Sends a request.
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

/** Of a failure's body: enough for the reason. */
const MAX_ERROR_BODY_BYTES = 16 * 1024;
/** Of a success's body, if `failures` or `verdict` needs it: room for a long list, not for a mistake. */
const MAX_BODY_BYTES: number = 64 * 2 ** 20;
/** Characters of a body that an error's reason includes. */
const MAX_REASON_CHARACTERS = 200;

/** Causes of a failure that its reason includes. */
const MAX_CAUSES = 3;

const METHODS: readonly string[] = ["POST", "PUT", "PATCH"];

const RETRIED: ReadonlySet<number> = new Set([302, 303, 307, 408, 409, 425, 429]);

/**
 * Makes a `Send` that posts each delivery to an HTTP server.
 *
 * @param options Where to send deliveries, and how to read responses.
 * @returns The function to pass to a producer as `send`. It rejects with a {@linkcode DeliveryError}, or with the signal's reason.
 * @throws {TypeError} if an option has the wrong type, if `url` is neither http nor https, or if a header is malformed.
 * @typeParam T The records' type.
 *
 * @example Send two records as lines
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { httpSink } from "@sluice/buffer/sinks/http";
 * import { assertEquals, assertMatch } from "@std/assert";
 *
 * const requests: RequestInit[] = [];
 * const send = httpSink<{ n: number }>({
 *   url: "https://example.com/ingest",
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
 * const send = httpSink<{ n: number }>({
 *   url: "https://example.com/events",
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
 * const send = httpSink<string>({
 *   url: "https://example.com/bulk",
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
export function httpSink<T>(options: HttpSinkOptions<T>): Send<T> {
  const url = parseUrl(options.url);
  for (const name of ["body", "failures", "verdict", "fetch", "line"] as const) {
    const given: unknown = options[name];
    if (given === undefined || typeof given === "function") continue;
    throw new TypeError(`Cannot make an HTTP sink: ${name} must be a function, got ${typeof given}`);
  }
  if (!METHODS.includes(options.method ?? "POST")) {
    throw new TypeError(`Cannot make an HTTP sink: method must be one of ${METHODS.join(", ")}, got ${options.method}`);
  }
  // A malformed name or value is refused here, instead of in every attempt.
  if (typeof options.headers !== "function") new Headers(options.headers);
  const { clock = systemClock, fetch: request = (target, init) => fetch(target, init) } = options;
  return async (delivery, context) => {
    const init = await abortable(buildRequest(delivery, context, options), context.signal);
    const { answer, isWhole } = await exchange(() => request(url, init), context.signal, options);
    const verdict = options.verdict?.(answer) ?? classifyStatus(answer.status);
    if (verdict !== "ok") throw toDeliveryError(answer, verdict, clock.now());
    if (!isWhole) throw new DeliveryError({ reason: `the body of the response (status ${answer.status}) is too long` });
    const failed = await options.failures?.(answer, delivery) ?? [];
    if (failed.length === 0) return;
    const reason = `the server did not take ${failed.length} of ${delivery.length} records: ${failed[0]!.reason}`;
    throw new DeliveryError({ reason, failed });
  };
}

/** Some runtimes' fetch refuses a name and a password in a URL; they belong in a header on all of them. */
function parseUrl(given: string | URL): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (isHttp && url.username === "" && url.password === "") return url;
  const what = isHttp ? "must not hold a name or a password" : "must be one of http or https";
  throw new TypeError(
    `Cannot make an HTTP sink: url ${what}, got ${isHttp ? url.host : JSON.stringify(String(given))}`,
  );
}

async function buildRequest<T>(
  delivery: Delivery<T>,
  context: SendContext,
  options: HttpSinkOptions<T>,
): Promise<RequestInit> {
  const { method = "POST", contentType = "application/x-ndjson", gzip = false } = options;
  const given = typeof options.headers === "function" ? await options.headers(delivery, context) : options.headers;
  const headers = new Headers(given);
  if (!headers.has("content-type")) headers.set("content-type", contentType);
  // RFC 8941, section 3.3.3: a string in quotes, with the two escapes that JSON has for ASCII, too.
  headers.set("idempotency-key", JSON.stringify(delivery.id));
  let body = options.body?.(delivery) ?? toLines(delivery, options);
  if (gzip) {
    body = await compress(body);
    headers.set("content-encoding", "gzip");
  }
  return { method, headers, body: body as BodyInit, redirect: "manual", signal: context.signal };
}

async function compress(body: string | Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What came back. A body that is longer than needed is cancelled, and its connection closed. */
interface Exchange {
  readonly answer: HttpAnswer;
  readonly isWhole: boolean;
}

const NO_BODY = { text: "", isWhole: true };

/** Sends the request and reads the response. A success is read to its end: only then nothing was cut off. */
async function exchange<T>(
  request: () => Promise<Response>,
  signal: AbortSignal,
  { failures, verdict }: HttpSinkOptions<T>,
): Promise<Exchange> {
  try {
    const response = await request();
    const isSeen = failures !== undefined || verdict !== undefined;
    const reading = response.ok
      ? readBody(response, { keptBytes: isSeen ? MAX_BODY_BYTES : 0, readBytes: isSeen ? MAX_BODY_BYTES : Infinity })
      // A failure status counts even if the connection ends behind it: servers close it to avoid reading a long body.
      : readBody(response, { keptBytes: MAX_ERROR_BODY_BYTES, readBytes: MAX_ERROR_BODY_BYTES }).catch(() => NO_BODY);
    const { text, isWhole } = await reading;
    signal.throwIfAborted();
    return { answer: { status: response.status, headers: response.headers, body: text }, isWhole };
  } catch (cause) {
    signal.throwIfAborted();
    throw new DeliveryError({ reason: `the connection failed or was cut: ${describeCauses(cause)}` }, { cause });
  }
}

/** The messages of an error and of its causes: Node's fetch itself only says that it failed. */
function describeCauses(error: unknown): string {
  const texts: string[] = [];
  for (
    let one = error;
    one !== undefined && texts.length < MAX_CAUSES;
    one = one instanceof Error ? one.cause : undefined
  ) {
    // An error for several addresses has a code but no message.
    texts.push(
      one instanceof Error ? one.message || String((one as { code?: unknown }).code ?? one.name) : String(one),
    );
  }
  return texts.join(": ");
}

/** Reads up to `readBytes`, keeps up to `keptBytes`, and cancels the rest. */
async function readBody(
  response: Response,
  { keptBytes, readBytes }: { keptBytes: number; readBytes: number },
): Promise<{ text: string; isWhole: boolean }> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  while (reader !== undefined && length <= readBytes) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length < keptBytes) text += decoder.decode(value.subarray(0, keptBytes - length), { stream: true });
    length += value.length;
  }
  const isWhole = length <= readBytes;
  if (!isWhole) await reader?.cancel();
  return { text: text + decoder.decode(), isWhole };
}

function classifyStatus(status: number): HttpVerdict {
  if (status >= 200 && status < 300) return "ok";
  if (status === 413) return "too-large";
  return status >= 500 || RETRIED.has(status) ? "retry" : "refuse";
}

function toDeliveryError({ status, headers, body }: HttpAnswer, verdict: HttpVerdict, now: number): DeliveryError {
  const location = headers.get("location");
  const detail = location === null ? body.trim().slice(0, MAX_REASON_CHARACTERS) : `to ${location}`;
  return new DeliveryError({
    reason: `the server answered ${status}${detail === "" ? "" : `: ${detail}`}`,
    retryable: verdict !== "refuse",
    retryAfterMs: verdict === "retry" ? retryAfterMs(headers.get("retry-after"), now) : undefined,
    tooLarge: verdict === "too-large",
  });
}
