/**
 * What came back for a request: the response's status, header fields and as much of the body as somebody needs.
 *
 * Guarantees:
 * - A body that nobody needs isn't decoded where the runtime can leave that out, and a body that can't be decoded is no failure:
 *   the status decides. Only code that looks at such a body gets an error.
 * - A body is read to its end, so that its connection can be used again, or cancelled when it is too long, so that no connection
 *   is left behind.
 * - A success that was cut off is a failure. A failure is one wherever it was cut: servers close a connection to avoid reading a
 *   long body.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { BodyLimits, Reply } from "./http_transport.ts";

/** To read so much costs less than a new connection. */
const CHEAP_BYTES: number = 128 * 1024;
/** Of a failure's body: enough for the reason. */
const FAILURE: BodyLimits = { keptBytes: 16 * 1024, readBytes: CHEAP_BYTES };
/** Of a success's body that nobody needs. */
const UNNEEDED: BodyLimits = { keptBytes: 0, readBytes: CHEAP_BYTES };

/** Of a success's body that is needed: room for what a server may say about each record, not for a mistake. */
function neededLimits(records: number): BodyLimits {
  const bytes = Math.min(2 ** 20 + records * 4 * 1024, 64 * 2 ** 20);
  return { keptBytes: bytes, readBytes: bytes };
}

/** Causes of a failure that its reason includes. */
const MAX_CAUSES = 3;

/** Errors of the decoders in Node (codes of zlib, Brotli, Zstandard), Bun (codes) and Deno (messages). */
const DECODER_ERROR =
  /\bZ_\w+|\bZSTD_|ZlibError|(Brotli|Zstd)Decompression|Decompression failed|^(unexpected end of file|reached unexpected EOF|brotli error|invalid gzip header|corrupt (gzip|deflate) stream.*)$/im;

/** Errors of a connection that was there, and was closed or reset by the other side: Node and Bun (codes), Deno (messages). */
const CUT =
  /ECONNRESET|ECONNABORTED|EPIPE|socket hang up|UND_ERR_SOCKET|reset by peer|broken pipe|connection closed|forcibly closed|aborted by|writing a body|unexpected message/i;
/** Errors of a connection that never was. */
const NOT_CONNECTED = /connect E[A-Z]|\(Connect\)|Unable to connect|before secure TLS/i;

/** A server's response. */
export interface HttpAnswer {
  /** The status code. */
  readonly status: number;
  /** The header fields. */
  readonly headers: Headers;
  /** The body as text: all of it for a status of 2xx, the beginning for others. Throws if it can't be decoded or is too long. */
  readonly body: string;
}

/** A response, and what is known of its body. */
export interface Exchange {
  /** For the user's functions: whoever reads the `body` of it gets an error where it isn't known. */
  readonly answer: HttpAnswer;
  /** As much of the body as is kept. */
  readonly text: string;
  /** Whether it has a body. */
  readonly hasBody: boolean;
}

/**
 * Reads a response.
 *
 * @param reply The response.
 * @param options Whether the body of a success is needed, for how many records, and the signal that ends the attempt.
 * @throws {DeliveryError} if a success was cut off; the signal's reason if it is aborted.
 */
export async function readExchange(
  reply: Reply,
  { isBodyNeeded, records, signal }: {
    readonly isBodyNeeded: boolean;
    readonly records: number;
    readonly signal: AbortSignal;
  },
): Promise<Exchange> {
  const { status } = reply;
  const ok = status >= 200 && status < 300;
  const { text, length, isWhole, error } = await reply.readBody(
    !ok ? FAILURE : isBodyNeeded ? neededLimits(records) : UNNEEDED,
  );
  signal.throwIfAborted();
  const isUndecodable = error !== undefined && DECODER_ERROR.test(describeCauses(error, { codes: true }));
  if (ok && error !== undefined && !isUndecodable) throw toConnectionError(error);
  const what = isUndecodable ? `can't be decoded: ${describeCauses(error)}` : "is too long";
  const unknown = ok && !(isWhole && error === undefined)
    ? toTargetError(`the body of the response (status ${status}) ${what}`, error)
    : undefined;
  const answer = {
    status,
    get headers(): Headers {
      return reply.headers();
    },
    get body(): string {
      if (unknown !== undefined) throw unknown;
      return text;
    },
  };
  return { answer, text, hasBody: length > 0 };
}

/** The error for a fault of the target that passes by itself. */
export function toTargetError(reason: string, cause: unknown): DeliveryError {
  return new DeliveryError({ reason, scope: "target", retryable: true }, { cause });
}

/** The error for a connection that failed. */
export function toConnectionError(cause: unknown): DeliveryError {
  return toTargetError(`the connection failed or was cut: ${describeCauses(cause)}`, cause);
}

/** Whether the server had taken the connection, and then closed it. */
export function isCut(error: unknown): boolean {
  const text = describeCauses(error, { codes: true });
  return CUT.test(text) && !NOT_CONNECTED.test(text);
}

/** The messages of an error and of its causes: Node's fetch itself only says that it failed. With codes: a line each. */
export function describeCauses(error: unknown, { codes = false }: { readonly codes?: boolean } = {}): string {
  const texts: string[] = [];
  for (
    let one = error;
    one !== undefined && texts.length < MAX_CAUSES;
    one = one instanceof Error ? one.cause : undefined
  ) {
    const code = String((one as { code?: unknown } | null)?.code ?? "");
    // An error for several addresses has a code but no message.
    const text = one instanceof Error ? one.message || code || one.name : String(one);
    texts.push(codes ? `${code}\n${text}` : text);
  }
  return texts.join(codes ? "\n" : ": ");
}
