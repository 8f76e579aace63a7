/**
 * What an error of AWS means for a delivery: a fault of the target that passes by itself or that somebody has to mend, too much
 * at once, or records that are refused.
 *
 * The names are those of the SDK's exceptions, of the `Code` of an answer's entries, and of the common errors
 * (https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html, and the same page of each service). A record is at
 * fault only where AWS says so by such a name: what a proxy or a portal answers is never held against records.
 *
 * @module
 */

import type { DeliveryErrorData } from "../errors/mod.ts";

/** What to do about a failure. */
export type AwsFault = "passing" | "lasting" | "too-large" | "refused";

/** Throttling, and services that are away. The SDK's own list (`@smithy/service-error-classification`), and more. */
const PASSING =
  /Throttl|TooManyRequests|SlowDown|ThroughputExceeded|LimitExceeded|OverLimit|PriorRequestNotComplete|TransactionInProgress|Unavailable|InternalFailure|InternalError|InternalServer|InternalException|RequestTimeout(Exception)?$|BandwidthLimit|ReducePriority|ResourceInUse/i;

/** Permissions, credentials, keys, and what isn't there: the same for every record until somebody acts. */
const LASTING =
  /AccessDenied|NotAuthorized|Unauthorized|AuthorizationError|Forbidden|ExpiredToken|TokenRefreshRequired|RequestExpired|UnrecognizedClient|InvalidClientTokenId|InvalidAccessKeyId|InvalidSignature|SignatureDoesNotMatch|IncompleteSignature|MissingAuthenticationToken|RequestTimeTooSkewed|AuthFailure|OptInRequired|SubscriptionRequired|Credentials|TokenProvider|KMS|NotFound|NonExistentQueue|QueueDoesNotExist|QueueDeletedRecently|InvalidAddress|InvalidSecurity|InvalidAction|InvalidAccountId|Unsupported|UnknownOperation|Disabled/i;

/** A request with too many entries or bytes. */
const TOO_LARGE = /BatchRequestTooLong|TooManyEntries|RequestEntityTooLarge|RequestTooLarge|ContentTooLarge/i;

/** Something in the request is invalid. */
const REFUSED =
  /Validation|InvalidArgument|InvalidParameter|InvalidMessage|InvalidData|InvalidAttribute|InvalidBatchEntry|Malformed|Serialization|MissingParameter|TooLong|TooLarge/i;

/** In the message of a validation error: the sink's options are at fault, so that it is the same for every record. */
const OPTION =
  /\bat '(?:streamName|streamARN|deliveryStreamName|logGroupName|logStreamName|topicArn|queueUrl)'|parameter: Topic/i;

/**
 * Decides by the code and the message of an error, and the status of the answer if there was one.
 *
 * @returns What to do about it; `undefined` if nothing is known about it.
 */
export function classifyAwsFault(code: string, message: string, status?: number): AwsFault | undefined {
  if (PASSING.test(code)) return "passing";
  if (LASTING.test(code)) return "lasting";
  if (TOO_LARGE.test(code) || status === 413) return "too-large";
  if (status === 408 || status === 429 || (status !== undefined && status >= 500)) return "passing";
  if (REFUSED.test(code)) return OPTION.test(message) ? "lasting" : "refused";
  return undefined;
}

/** Translates what `client.send()` rejected with. Without a status there was no answer: the connection is at fault. */
export function toAwsErrorData(error: unknown): DeliveryErrorData {
  const { name, code, $metadata } = (error ?? {}) as {
    name?: unknown;
    code?: unknown;
    $metadata?: { httpStatusCode?: unknown };
  };
  const status = typeof $metadata?.httpStatusCode === "number" ? $metadata.httpStatusCode : undefined;
  const what = typeof name === "string" && name !== "Error" ? name : typeof code === "string" ? code : "";
  const message = error instanceof Error ? error.message : String(error);
  const reason = what === "" ? message : `${what}: ${message}`;
  // An answer that isn't AWS's may stay for long; none, or one with a good status that makes no sense, won't.
  const fault = classifyAwsFault(what, message, status) ?? ((status ?? 0) >= 400 ? "lasting" : "passing");
  switch (fault) {
    case "passing":
      return { reason, scope: "target", retryable: true };
    case "lasting":
      return { reason, scope: "target", retryable: false };
    case "too-large":
      return { reason, tooLarge: true };
    case "refused":
      // The whole request is refused, often because of one record: the producer finds it.
      return { reason, retryable: false, split: true };
  }
}
