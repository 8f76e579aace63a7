/**
 * What the answers of JetStream and the errors of its client mean: whose fault, and whether trying again may help.
 *
 * A message that is too large is its record's fault. All else is the target's: a stream that is missing or full, a lost connection,
 * a permission. So nothing but a record that can't be stored ever becomes a dead letter.
 *
 * Error codes: `server/errors.json` of https://github.com/nats-io/nats-server.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";

/** The message is larger than the stream's limit. */
const MESSAGE_EXCEEDS_MAXIMUM = 10054;
/** The subject belongs to another stream. */
const STREAM_NOT_MATCH = 10060;
/** The stream's last message isn't the expected one. */
const WRONG_LAST: readonly unknown[] = [10070, 10071];
/**
 * Somebody has to act: no resources (10023), no memory (10028), no JetStream for this account or server (10039, 10076), no storage
 * (10047), no such stream (10059), another stream's subject, a stream that is full (10077) or sealed (10109).
 */
const LASTING: readonly unknown[] = [10023, 10028, 10039, 10047, 10059, STREAM_NOT_MATCH, 10076, 10077, 10109];
/** Messages for an atomic batch are missing: the stream's leader has changed, or one was for another stream. */
const INCOMPLETE_BATCH = 10176;
/** An atomic batch is larger than this server allows. */
const TOO_LARGE_BATCH = 10199;
/** What only an atomic batch is refused for: the stream or the server takes none, or not with what is in it. */
const ATOMIC_REFUSALS: readonly unknown[] = [10174, 10175, 10177, 10179, 10200, 10201];
/** Errors of the client, by name: its owner has closed it, or it has given up. */
const CLOSED: readonly unknown[] = ["ClosedConnectionError", "DrainingConnectionError"];
/** Errors of the client, by name: somebody has to act. */
const REFUSED: readonly unknown[] = [
  "AuthorizationError",
  "JetStreamNotEnabled",
  "PermissionViolationError",
  "UserAuthenticationExpiredError",
];

/** An answer of JetStream that says why a message wasn't stored. @internal */
export class JetStreamRefusal extends Error {
  override readonly name = "JetStreamRefusal";
  /** The server's error code. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Whether the stream's end wasn't where the message expected it. @internal */
export function isWrongLast(error: unknown): boolean {
  return WRONG_LAST.includes(codeOf(error));
}

/** Whether it is surely this record that can't be stored. @internal */
export function isRecordFault(error: unknown, isSubjectOfRecord: boolean): boolean {
  const code = codeOf(error);
  // The client itself refuses what is larger than the server's limit.
  return code === MESSAGE_EXCEEDS_MAXIMUM || nameOf(error) === "InvalidArgumentError" ||
    (isSubjectOfRecord && code === STREAM_NOT_MATCH);
}

/** Whether the messages may be stored one by one, but not as an atomic batch. @internal */
export function isAtomicRefusal(error: unknown): boolean {
  return ATOMIC_REFUSALS.includes(codeOf(error));
}

/** Whether the server hasn't got all messages of an atomic batch. @internal */
export function isIncompleteBatch(error: unknown): boolean {
  return codeOf(error) === INCOMPLETE_BATCH;
}

/** Whether fewer messages in an atomic batch would do. @internal */
export function isTooManyTogether(error: unknown): boolean {
  return codeOf(error) === TOO_LARGE_BATCH;
}

/** Whether the answer proves that the message wasn't stored; a wait that ended proves nothing. @internal */
export function isAnswer(error: unknown): boolean {
  return typeof codeOf(error) === "number" || nameOf(error) === "InvalidArgumentError";
}

/** Whether no answer came in time, as on a connection that is silently dead. @internal */
export function isTimeout(error: unknown): boolean {
  return nameOf(error) === "TimeoutError";
}

/** A fault of the target, as what a producer understands. @internal */
export function toTargetError(error: unknown): DeliveryError {
  if (error instanceof DeliveryError) return error;
  const options = { cause: error };
  const names = [nameOf(error), nameOf((error as { cause?: unknown } | undefined)?.cause)];
  if (names.some((name) => CLOSED.includes(name))) {
    const reason = `${errorText(error)}: the client was closed by its owner, or has given up reconnecting`;
    return new DeliveryError({ reason, scope: "target", final: true }, options);
  }
  const code = codeOf(error);
  // Without a leader nobody answers a request, and the client calls that "not enabled", without a code of the server.
  const hasNoResponders = names.includes("NoResponders") || names.includes("NoRespondersError") ||
    /503|no responders/i.test(String((error as { cause?: Error } | undefined)?.cause?.message ?? ""));
  const lasts = LASTING.includes(code) || names.some((name) => REFUSED.includes(name));
  return new DeliveryError(
    { reason: errorText(error), scope: "target", retryable: !lasts || hasNoResponders },
    options,
  );
}

/** One record failed permanently. Those behind it must be sent again without it. @internal */
export function toRefusal(index: number, behind: readonly number[], cause: unknown): DeliveryError {
  const reason = errorText(cause);
  const failed = [
    { index, retryable: false, reason },
    ...behind.map((at) => ({ index: at, retryable: true, reason: "a record before it was refused" })),
  ];
  return new DeliveryError({ reason, failed }, { cause });
}

function errorText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}

function nameOf(error: unknown): unknown {
  return (error as { name?: unknown } | undefined)?.name;
}
