/**
 * What a response means for a delivery: the table by status, what a success must look like, and the error for a producer.
 *
 * Guarantee: only 400, 413 and 422 are taken for faults of records. Any other failure is one of the target, which makes no dead
 * letters out of records.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import { retryAfterMs } from "./http_retry_after.ts";
import type { Reply } from "./http_transport.ts";

/**
 * What a response means for a delivery: `"ok"`, it is acknowledged; `"retry"`, the target is ill for a while, send it again;
 * `"blocked"`, the target takes nothing until somebody acts, send it again after the longest pause; `"too-large"`, send it in smaller
 * parts; `"split"`, send it in smaller parts to find the records at fault, a single one being a permanent failure; `"refuse"`, a
 * permanent failure of all of it.
 */
export type HttpVerdict = "ok" | "retry" | "blocked" | "too-large" | "split" | "refuse";

/** What the response to a delivery that was stored must look like. What isn't given isn't looked at. */
export interface HttpExpectation {
  /** Its status, or several of them, each from 200 to 299. */
  readonly status?: number | readonly number[] | undefined;
  /** Its media type, such as `"application/json"`, without parameters. */
  readonly contentType?: string | undefined;
  /** The name of a header field that it must have, such as one that no other server sends. */
  readonly header?: string | undefined;
}

/** Characters of a body that an error's reason includes. */
const MAX_REASON_CHARACTERS = 200;
/** What no text has: bytes that aren't UTF-8, and control characters. A body may come compressed though nobody asked for that. */
const NO_TEXT = /\ufffd|[^\P{Cc}\s]/u;

/** Refusals that one record may be the reason for. */
const SPLIT: ReadonlySet<number> = new Set([400, 422]);
/** These pass, apart from 1xx and 5xx. */
const RETRIED: ReadonlySet<number> = new Set([302, 303, 307, 408, 409, 425, 429]);
/** Of 5xx: what doesn't pass by itself, such as a full disk and a network that asks for a login. */
const BLOCKED: ReadonlySet<number> = new Set([501, 505, 507, 508, 510, 511]);

/** The verdict by status alone. */
export function classifyStatus(status: number): HttpVerdict {
  if (status >= 200 && status < 300) return "ok";
  if (status === 413) return "too-large";
  if (SPLIT.has(status)) return "split";
  return (status < 200 || status >= 500 || RETRIED.has(status)) && !BLOCKED.has(status) ? "retry" : "blocked";
}

/**
 * Checks an option `expect`.
 *
 * @throws {TypeError} if no response could meet it.
 */
export function checkExpectation({ status, contentType, header }: HttpExpectation): void {
  for (const one of [status ?? []].flat()) {
    if (Number.isInteger(one) && one >= 200 && one < 300) continue;
    throw new TypeError(`Cannot make an HTTP sink: expect.status must be from 200 to 299, got ${one}`);
  }
  for (const [name, given] of Object.entries({ contentType, header })) {
    if (given === undefined || (typeof given === "string" && given.trim() !== "")) continue;
    throw new TypeError(`Cannot make an HTTP sink: expect.${name} must be a text, got ${JSON.stringify(given)}`);
  }
  if (header !== undefined) new Headers().has(header);
}

/** How a success differs from what it must look like; `undefined` if it doesn't. */
export function unexpectedIn(reply: Reply, { status, contentType, header }: HttpExpectation): string | undefined {
  const expected = [status ?? []].flat();
  if (expected.length > 0 && !expected.includes(reply.status)) return `the status isn't ${expected.join(" or ")}`;
  const type = mediaType(reply);
  if (contentType !== undefined && type !== contentType.trim().toLowerCase()) {
    return `its type is ${type || "missing"}, not ${contentType}`;
  }
  if (header === undefined || reply.header(header.trim().toLowerCase()) !== null) return undefined;
  return `it has no header field ${header}`;
}

/** Whether a response is a page for people, such as a captive portal's. */
export function isHtml(reply: Reply): boolean {
  return ["text/html", "application/xhtml+xml"].includes(mediaType(reply));
}

function mediaType(reply: Reply): string {
  return (reply.header("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
}

/** What a response that is no success is to a producer. */
export interface Failure {
  readonly reply: Reply;
  /** The beginning of the body. */
  readonly text: string;
  readonly verdict: Exclude<HttpVerdict, "ok">;
  /** Whether to look for the records at fault. */
  readonly split: boolean;
  /** Why a success isn't one. */
  readonly unexpected: string | undefined;
}

/** The error for a producer, at a wall time. */
export function toDeliveryError({ reply, text, verdict, split, unexpected }: Failure, now: number): DeliveryError {
  const { status, header } = reply;
  const location = header("location");
  const beginning = text.trim().slice(0, MAX_REASON_CHARACTERS);
  const detail = unexpected ?? (location === null ? (NO_TEXT.test(beginning) ? "" : beginning) : `to ${location}`);
  const isTarget = verdict === "retry" || verdict === "blocked";
  return new DeliveryError({
    reason: `the server answered ${status}${detail === "" ? "" : `: ${detail}`}`,
    scope: isTarget ? "target" : "record",
    retryable: verdict === "retry" || verdict === "too-large",
    retryAfterMs: isTarget ? retryAfterMs(header("retry-after"), now, header("date")) : undefined,
    tooLarge: verdict === "too-large",
    split,
  });
}
