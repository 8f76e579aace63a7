/**
 * What an error of a client for Kafka means: which `DeliveryError` it becomes.
 *
 * The brokers' error codes (https://kafka.apache.org/protocol#protocol_error_codes) decide, and librdkafka's own, which are
 * negative. `kafkajs` and `@confluentinc/kafka-javascript` give them as `code`, `@platformatic/kafka` as `apiCode`. The clients' flags
 * (`retriable`, `canRetry`) are ignored: they say whether the client tries again, which it has done.
 *
 * Guarantee: only what a broker says about records can make dead letters. Anything else, also what isn't known, is the target's.
 *
 * @module
 */

import { DeliveryError, type DeliveryErrorData } from "../errors/mod.ts";

/** MESSAGE_TOO_LARGE, which librdkafka also reports by itself, and RECORD_LIST_TOO_LARGE. */
const TOO_LARGE: ReadonlySet<number> = new Set([10, 18]);

/**
 * CORRUPT_MESSAGE, which is also a record without a key in a compacted topic, INVALID_TIMESTAMP, INVALID_RECORD; librdkafka's
 * ERR__UNKNOWN_PARTITION. A broker refuses all of a batch for one such record, so the producer looks for it by halves.
 */
const BAD_RECORD: ReadonlySet<number> = new Set([2, 32, 87, -190]);

/**
 * Somebody has to act: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUIRED_ACKS, TOPIC_AUTHORIZATION_FAILED,
 * CLUSTER_AUTHORIZATION_FAILED, UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, UNSUPPORTED_VERSION, INVALID_REQUEST,
 * UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE,
 * TRANSACTIONAL_ID_AUTHORIZATION_FAILED, SECURITY_DISABLED, SASL_AUTHENTICATION_FAILED, UNSUPPORTED_COMPRESSION_TYPE,
 * PRODUCER_FENCED; librdkafka's ERR__UNKNOWN_TOPIC, ERR__INVALID_ARG, ERR__SSL, ERR__AUTHENTICATION, ERR__UNSUPPORTED_FEATURE. The
 * clients have tried again for a while before they report a topic that is unknown.
 */
const LASTING: ReadonlySet<number> = new Set([
  ...[3, 17, 21, 29, 31, 33, 34, 35, 42, 43, 44, 47, 48, 53, 54, 58, 76, 90],
  ...[-188, -186, -181, -169, -165],
]);

/** librdkafka's ERR__STATE: not connected, or closed; ERR__DESTROY; ERR__FATAL and ERR__FENCED, after which it never works again. */
const FINAL: ReadonlySet<number> = new Set([-172, -197, -150, -144]);

/** What has no code of a broker: a wrong password, wrong settings, an option that the client doesn't know. */
const LASTING_NAMES: ReadonlySet<unknown> = new Set([
  ...["KafkaJSSASLAuthenticationError", "KafkaJSNotImplemented", "KafkaJSNonRetriableError"],
  ...["PLT_KFK_AUTHENTICATION", "PLT_KFK_USER", "PLT_KFK_UNSUPPORTED", "PLT_KFK_UNSUPPORTED_API"],
  "PLT_KFK_UNSUPPORTED_COMPRESSION",
]);

/** Errors wrap others; no client nests them deeper. */
const MAX_DEPTH = 8;

/** Translates what a client threw. */
export function toDeliveryError(error: unknown): DeliveryError {
  const chain = [...errorsWithin(error)];
  const codes = chain.flatMap((one) => [one["apiCode"], one["code"]]).filter((code) => typeof code === "number");
  const [code] = codes;
  // A sum of errors says only that there are others.
  const told = chain.find((one) => code !== undefined && one["apiCode"] === code) ??
    chain.find((one) => !(one instanceof AggregateError));
  const why = told?.message ?? String(error);
  const reason = code === undefined ? why : `${why} (code ${code})`;
  return new DeliveryError({ reason, ...toVerdict(chain, codes) }, { cause: error });
}

function toVerdict(chain: readonly ClientError[], codes: readonly number[]): Partial<DeliveryErrorData> {
  const hasAny = (set: ReadonlySet<number>) => codes.some((code) => set.has(code));
  if (hasAny(FINAL) || chain.some(isClosed)) return { scope: "target", final: true };
  if (hasAny(LASTING)) return { scope: "target", retryable: false };
  if (hasAny(TOO_LARGE)) return { tooLarge: true };
  if (hasAny(BAD_RECORD)) return { split: true, retryable: false };
  // kafkajs also gives such a name to what it wraps.
  const isLasting = chain.some(({ name, code, cause }) =>
    cause === undefined && (LASTING_NAMES.has(name) || LASTING_NAMES.has(code))
  );
  return { scope: "target", retryable: codes.length > 0 || !isLasting };
}

type ClientError = Error & Readonly<Record<string, unknown>>;

/** A client that its owner has disconnected or closed, or never connected: no attempt can succeed. */
function isClosed({ name, message, closed }: ClientError): boolean {
  return closed === true || (name.startsWith("KafkaJS") && /producer is disconnect(ed|ing)/.test(message));
}

/** An error with its causes, and the errors that it is the sum of. */
function* errorsWithin(error: unknown, depth = 0): Generator<ClientError> {
  if (!(error instanceof Error) || depth === MAX_DEPTH) return;
  yield error as ClientError;
  yield* errorsWithin(error.cause, depth + 1);
  if (error instanceof AggregateError) { for (const one of error.errors) yield* errorsWithin(one, depth + 1); }
}
