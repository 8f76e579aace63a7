/**
 * Why attempts of a producer fail, in as few values as a metric allows: `error.type` of OpenTelemetry's semantic conventions
 * (https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/).
 *
 * An error that Sluice can classify is named by what a person would do about it: `timeout`, `abandoned`, `too_large`,
 * `target_fault`, `refused`.
 * Any other is named by its code (`ECONNREFUSED`, `NO_SPACE`), its own or a cause's, or else by its class. Messages are never
 * used, and one producer has at most {@linkcode MAX_TYPES} names, so that a target's texts can't create more series.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { ProducerEvent } from "../producer/events.ts";
import { OTHER_ERROR } from "./definitions.ts";

/** More than a target has ways to fail. Each is a series. */
const MAX_TYPES = 20;
/** How deep causes are searched: a client wraps the system's error once or twice. */
const MAX_CAUSES = 5;
/** A code of the system, of Sluice or of most clients. */
const CODE = /^[A-Z][A-Z0-9_]{1,39}$/;
/** The name of a class. */
const CLASS = /^[A-Za-z_][A-Za-z0-9_.]{0,59}$/;

export type FailedAttempt = Extract<ProducerEvent, { type: "attempt-failed" }>;

/** Counts failed attempts of one producer by reason. */
export class ErrorTypeCounter {
  readonly #counts = new Map<string, number>();

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Counts a failed attempt, and returns its reason. */
  count(attempt: FailedAttempt): string {
    const precise = classifyAttempt(attempt);
    const isRoom = this.#counts.size < MAX_TYPES || this.#counts.has(precise);
    const type = isRoom ? precise : OTHER_ERROR;
    this.#counts.set(type, 1 + (this.#counts.get(type) ?? 0));
    return type;
  }
}

function classifyAttempt({ error, timedOut, abandoned }: FailedAttempt): string {
  if (abandoned) return "abandoned";
  if (timedOut) return "timeout";
  if (error instanceof DeliveryError) {
    if (error.tooLarge) return "too_large";
    if (!error.retryable) return error.scope === "target" ? "target_fault" : "refused";
  }
  return findCode(error) ?? classOf(error) ?? OTHER_ERROR;
}

/** Finds the code of the innermost cause that has one: the outer ones say less. */
function findCode(error: unknown): string | undefined {
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
