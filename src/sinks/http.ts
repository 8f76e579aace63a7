/**
 * Deliveries to an HTTP server: one request each, NDJSON by default, with the delivery's id as `Idempotency-Key`.
 *
 * ## What it guarantees
 *
 * - A delivery counts as taken when the server has answered with a status of 2xx and the answer has come to its end.
 *   Everything else is a failure: no connection, a connection that is cut before or in the middle of the answer, an
 *   attempt that is given up.
 * - The same delivery has the same key and the same body in each attempt, also after a crash. The key is written as the
 *   draft "The Idempotency-Key HTTP Header Field" asks for (draft-ietf-httpapi-idempotency-key-header-07): a string in
 *   quotes. So a server that keeps the keys, and answers for one that it has as it did the first time, gets each record
 *   once. For a server that doesn't it is at least once. What has to go in parts, because it is too large or single records
 *   failed, has a key for each part.
 * - Every answer is read to its end or given back to the connection, so that no attempt leaves a connection behind.
 *
 * ## What becomes of an answer
 *
 * | status | |
 * |---|---|
 * | 2xx | taken, but for what the option `failures` reads out of it |
 * | 413 | too much at once: to be sent in smaller parts |
 * | 408, 409, 425, 429, 5xx | to be sent again, after `Retry-After` if there is one |
 * | 302, 303, 307 | to be sent again: somebody is in between for the time being |
 * | other 3xx, other 4xx, anything else | no retry can mend it |
 *
 * 409 is what the draft has a server say while the first attempt of the same key is still at work. Redirects are never
 * followed: by the rules of fetch a POST would become a GET for some of them, whose 200 would mean nothing, and the
 * headers, tokens among them, would go to whoever is named. The option `verdict` changes any of this.
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

/**
 * What a server has answered.
 *
 * @example Read out of the answer which records were not taken
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
export interface HttpAnswer {
  /** The status code. */
  readonly status: number;
  /** The header fields. */
  readonly headers: Headers;
  /** The body as text: of a status of 2xx all of it, of others the beginning. */
  readonly body: string;
}

/**
 * What an answer means for a delivery: `"ok"`, it is taken; `"retry"`, to be sent again; `"too-large"`, to be sent in
 * smaller parts; `"refuse"`, no retry can mend it.
 *
 * @example A server that says 409 when it has the delivery already
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type HttpAnswer, httpSink, type HttpVerdict } from "@sluice/buffer/sinks/http";
 * import { assertEquals } from "@std/assert";
 *
 * function verdict({ status, body }: HttpAnswer): HttpVerdict | undefined {
 *   if (status === 409 && body.includes("duplicate")) return "ok";
 *   return status === 404 ? "retry" : undefined; // while it is being deployed; the usual for all others
 * }
 *
 * const answers = [new Response("no such route", { status: 404 }), new Response("duplicate", { status: 409 })];
 * const send = httpSink<string>({
 *   url: "https://example.com/ingest",
 *   verdict,
 *   fetch: () => Promise.resolve(answers.shift()!), // in a program: leave it out
 * });
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.put("a");
 * await producer.flush();
 * assertEquals([producer.stats().attempts, producer.stats().deliveredRecords], [2, 1]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export type HttpVerdict = "ok" | "retry" | "too-large" | "refuse";

/**
 * Options of {@linkcode httpSink}.
 *
 * @example One JSON document a delivery, with a token of now
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { httpSink, type HttpSinkOptions } from "@sluice/buffer/sinks/http";
 * import { assertEquals } from "@std/assert";
 *
 * const requests: RequestInit[] = [];
 * const options: HttpSinkOptions<{ n: number }> = {
 *   url: "https://example.com/events",
 *   method: "PUT",
 *   contentType: "application/json",
 *   headers: async () => ({ authorization: `Bearer ${await Promise.resolve("of-now")}` }),
 *   body: ({ batchId, records }) => JSON.stringify({ batchId, events: records }),
 *   async fetch(_url, init) { // in a program: leave it out
 *     requests.push(init);
 *     return new Response(null, { status: 204 });
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send: httpSink(options) });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * assertEquals(JSON.parse(String(requests[0].body)).events, [{ n: 1 }, { n: 2 }]);
 * assertEquals(new Headers(requests[0].headers).get("authorization"), "Bearer of-now");
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface HttpSinkOptions<T> extends LineOptions<T> {
  /** Where to send it. */
  readonly url: string | URL;
  /**
   * The request's method.
   *
   * @default {"POST"}
   */
  readonly method?: "POST" | "PUT" | "PATCH";
  /**
   * Header fields besides, or what makes them for each attempt, such as one with a token of now. They win over the
   * sink's own Content-Type.
   *
   * @default {none}
   */
  readonly headers?:
    | HeadersInit
    | ((delivery: Delivery<T>, context: SendContext) => HeadersInit | Promise<HeadersInit>);
  /**
   * Makes the whole body of a delivery, instead of lines: the same for the same delivery, always.
   *
   * @default {lines of NDJSON}
   */
  readonly body?: (delivery: Delivery<T>) => string | Uint8Array;
  /**
   * The body's type.
   *
   * @default {"application/x-ndjson"}
   */
  readonly contentType?: string;
  /**
   * Compresses the body and says so by Content-Encoding; the server must understand it.
   *
   * @default {false}
   */
  readonly gzip?: boolean;
  /**
   * Reads out of an answer that counts as `"ok"` which records were not taken, as the answers to Elasticsearch's `_bulk`
   * list them. None: an empty array.
   *
   * @default {all were taken}
   */
  readonly failures?: (
    answer: HttpAnswer,
    delivery: Delivery<T>,
  ) => readonly FailedRecord[] | Promise<readonly FailedRecord[]>;
  /**
   * Says what an answer means where the table at the head of this module is wrong for a server; `undefined` leaves it
   * to the table.
   *
   * @default {the table}
   */
  readonly verdict?: (answer: HttpAnswer) => HttpVerdict | undefined;
  /**
   * Sends a request.
   *
   * @default {the global fetch}
   */
  readonly fetch?: (url: URL, init: RequestInit) => Promise<Response>;
  /**
   * The time that a date in Retry-After is held against.
   *
   * @default {systemClock}
   */
  readonly clock?: Pick<Clock, "now">;
}

/** Of an answer that is no success: enough for the reason. */
const MAX_ERROR_BODY_BYTES = 16 * 1024;
/** Of a success, when `failures` or `verdict` wants to see it: room for a long list, not for a mistake. */
const MAX_BODY_BYTES: number = 64 * 2 ** 20;
/** Characters of a body that go into an error's reason. */
const MAX_REASON_CHARACTERS = 200;

/** Causes of a failure that go into its reason. */
const MAX_CAUSES = 3;

const METHODS: readonly string[] = ["POST", "PUT", "PATCH"];

const RETRIED: ReadonlySet<number> = new Set([302, 303, 307, 408, 409, 425, 429]);

/**
 * Makes a `Send` that posts each delivery to an HTTP server.
 *
 * @param options Where, and what is special about the server.
 * @returns What to give to a producer as `send`.
 * @throws {TypeError} if an option has the wrong type, `url` is none of http or https, or a header is wrong. What the returned
 * function throws: {@linkcode DeliveryError}, or the signal's reason.
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
 */
export function httpSink<T>(options: HttpSinkOptions<T>): Send<T> {
  const url = checkedUrl(options.url);
  for (const name of ["body", "failures", "verdict", "fetch", "line"] as const) {
    const given: unknown = options[name];
    if (given === undefined || typeof given === "function") continue;
    throw new TypeError(`Cannot make an HTTP sink: ${name} must be a function, got ${typeof given}`);
  }
  if (!METHODS.includes(options.method ?? "POST")) {
    throw new TypeError(`Cannot make an HTTP sink: method must be one of ${METHODS.join(", ")}, got ${options.method}`);
  }
  // A wrong name or value is refused here, instead of in every attempt.
  if (typeof options.headers !== "function") new Headers(options.headers);
  const { clock = systemClock, fetch: request = (target, init) => fetch(target, init) } = options;
  return async (delivery, context) => {
    const init = await abortable(requestOf(delivery, context, options), context.signal);
    const { answer, isWhole } = await ask(() => request(url, init), context.signal, options);
    const verdict = options.verdict?.(answer) ?? verdictOn(answer.status);
    if (verdict !== "ok") throw failureOf(answer, verdict, clock.now());
    if (!isWhole) throw new DeliveryError({ reason: `the answer, ${answer.status}, is too long to be read` });
    const failed = await options.failures?.(answer, delivery) ?? [];
    if (failed.length === 0) return;
    const reason = `the server did not take ${failed.length} of ${delivery.length} records: ${failed[0]!.reason}`;
    throw new DeliveryError({ reason, failed });
  };
}

/** Fetch refuses a name and a password in a URL on some runtimes; on none do they belong there. */
function checkedUrl(given: string | URL): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (isHttp && url.username === "" && url.password === "") return url;
  const what = isHttp ? "must not hold a name or a password" : "must be one of http or https";
  throw new TypeError(
    `Cannot make an HTTP sink: url ${what}, got ${isHttp ? url.host : JSON.stringify(String(given))}`,
  );
}

async function requestOf<T>(
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
    body = await compressed(body);
    headers.set("content-encoding", "gzip");
  }
  return { method, headers, body: body as BodyInit, redirect: "manual", signal: context.signal };
}

async function compressed(body: string | Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What came back. A body that is longer than is wanted is given up, its connection with it. */
interface Asked {
  readonly answer: HttpAnswer;
  readonly isWhole: boolean;
}

const NOTHING = { text: "", isWhole: true };

/** Sends the request and reads the answer: to its end if it is a success, because only then nothing was cut off. */
async function ask<T>(
  request: () => Promise<Response>,
  signal: AbortSignal,
  { failures, verdict }: HttpSinkOptions<T>,
): Promise<Asked> {
  try {
    const response = await request();
    const isSeen = failures !== undefined || verdict !== undefined;
    const reading = response.ok
      ? readBody(response, { keptBytes: isSeen ? MAX_BODY_BYTES : 0, readBytes: isSeen ? MAX_BODY_BYTES : Infinity })
      // A refusal counts though the connection is cut behind it: servers do that when they don't read a long body.
      : readBody(response, { keptBytes: MAX_ERROR_BODY_BYTES, readBytes: MAX_ERROR_BODY_BYTES }).catch(() => NOTHING);
    const { text, isWhole } = await reading;
    signal.throwIfAborted();
    return { answer: { status: response.status, headers: response.headers, body: text }, isWhole };
  } catch (cause) {
    signal.throwIfAborted();
    throw new DeliveryError({ reason: `the connection failed or was cut: ${causesOf(cause)}` }, { cause });
  }
}

/** What an error says, and what has caused it: fetch of Node says no more than that it failed. */
function causesOf(error: unknown): string {
  const texts: string[] = [];
  for (
    let one = error;
    one !== undefined && texts.length < MAX_CAUSES;
    one = one instanceof Error ? one.cause : undefined
  ) {
    // An error for several addresses has a code, and no message.
    texts.push(
      one instanceof Error ? one.message || String((one as { code?: unknown }).code ?? one.name) : String(one),
    );
  }
  return texts.join(": ");
}

/** Reads up to `readBytes`, keeps up to `keptBytes`, and lets go of the rest. */
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

function verdictOn(status: number): HttpVerdict {
  if (status >= 200 && status < 300) return "ok";
  if (status === 413) return "too-large";
  return status >= 500 || RETRIED.has(status) ? "retry" : "refuse";
}

function failureOf({ status, headers, body }: HttpAnswer, verdict: HttpVerdict, now: number): DeliveryError {
  const location = headers.get("location");
  const detail = location === null ? body.trim().slice(0, MAX_REASON_CHARACTERS) : `to ${location}`;
  return new DeliveryError({
    reason: `the server answered ${status}${detail === "" ? "" : `: ${detail}`}`,
    retryable: verdict !== "refuse",
    retryAfterMs: verdict === "retry" ? retryAfterMs(headers.get("retry-after"), now) : undefined,
    isTooLarge: verdict === "too-large",
  });
}
