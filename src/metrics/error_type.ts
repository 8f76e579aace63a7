/**
 * Why attempts of a producer fail, as few words as a metric can bear: `error.type` of OpenTelemetry's semantic
 * conventions (https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/).
 *
 * An error is named by what a person would do about it, if Sluice knows that: `timeout`, `abandoned`, `too_large`,
 * `refused`. Else by its code (`ECONNREFUSED`, `NO_SPACE`), its own or that of a cause, or else by its class. Messages
 * never get in, and there are at most {@linkcode MAX_TYPES} names for one producer, so that nothing that a target says
 * makes more series.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { ProducerEvent } from "../producer/events.ts";
import { OTHER_ERROR } from "./definitions.ts";

/** More than a target has ways to fail; a series each. */
const MAX_TYPES = 20;
/** Causes of causes are looked at so far: a client wraps the system's error once or twice. */
const MAX_CAUSES = 5;
/** Codes of the system, of Sluice and of most clients. */
const CODE = /^[A-Z][A-Z0-9_]{1,39}$/;
/** Names of classes. */
const CLASS = /^[A-Za-z_][A-Za-z0-9_.]{0,59}$/;

/** An attempt that failed. */
export type FailedAttempt = Extract<ProducerEvent, { type: "attempt-failed" }>;

/** Counts failed attempts of one producer by reason. */
export class ErrorTypeCounter {
  readonly #counts = new Map<string, number>();

  /** How many there were of each reason. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Counts one; its reason. */
  count(attempt: FailedAttempt): string {
    const named = typeOf(attempt);
    const isRoom = this.#counts.size < MAX_TYPES || this.#counts.has(named);
    const type = isRoom ? named : OTHER_ERROR;
    this.#counts.set(type, 1 + (this.#counts.get(type) ?? 0));
    return type;
  }
}

function typeOf({ error, isTimeout, isAbandoned }: FailedAttempt): string {
  if (isAbandoned) return "abandoned";
  if (isTimeout) return "timeout";
  if (error instanceof DeliveryError) {
    if (error.isTooLarge) return "too_large";
    if (!error.retryable) return "refused";
  }
  return codeOf(error) ?? classOf(error) ?? OTHER_ERROR;
}

/** The code of the innermost cause that has one: what lies around it says less. */
function codeOf(error: unknown): string | undefined {
  let found: string | undefined;
  let current = error;
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
    const code = "code" in current ? current.code : undefined;
    if (typeof code === "string" && CODE.test(code)) found = code;
    current = current.cause;
  }
  return found;
}

function classOf(error: unknown): string | undefined {
  return error instanceof Error && CLASS.test(error.name) ? error.name : undefined;
}
