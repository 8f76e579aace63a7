/**
 * The reason of a failed attempt as a metric bears it: few words, whatever a target throws.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { DeliveryError, NoSpaceError } from "../../src/errors/mod.ts";
import { ErrorTypeCounter, type FailedAttempt } from "../../src/metrics/error_type.ts";

/** What decides on the reason. */
type Failure = Pick<FailedAttempt, "error"> & Partial<Pick<FailedAttempt, "timedOut" | "abandoned">>;

const failed = (failure: Failure): FailedAttempt => ({
  type: "attempt-failed",
  id: "1",
  batchId: "1",
  attempt: 1,
  taken: 0,
  durationMs: 0,
  timedOut: false,
  abandoned: false,
  ...failure,
});

const coded = (code: unknown, cause?: unknown): Error => Object.assign(new Error("no", { cause }), { code });
class HttpError extends Error {
  override readonly name = "HttpError";
}

const REASONS: readonly (readonly [string, Failure])[] = [
  ["timeout", { error: coded("ECONNREFUSED"), timedOut: true }],
  ["abandoned", { error: new Error("no"), timedOut: true, abandoned: true }],
  ["too_large", { error: new DeliveryError({ reason: "413", tooLarge: true, retryable: false }) }],
  ["target_fault", { error: new DeliveryError({ reason: "401", scope: "target" }) }],
  ["refused", { error: new DeliveryError({ reason: "422", retryable: false }) }],
  ["DELIVERY", { error: new DeliveryError({ reason: "503" }) }],
  ["ECONNRESET", { error: new DeliveryError({ reason: "gone" }, { cause: coded("ECONNRESET") }) }],
  ["ENOSPC", { error: new TypeError("fetch failed", { cause: coded("OUTER", coded("ENOSPC")) }) }],
  ["NO_SPACE", { error: new NoSpaceError({ operation: "write", path: "/a", errno: "ENOSPC" }) }],
  ["HttpError", { error: new HttpError("status 500 of request 12345") }],
  ["TypeError", { error: Object.assign(new TypeError("no"), { code: 42 }) }],
  ["Error", { error: coded("for user 12345: no") }],
  ["_OTHER", { error: Object.assign(new Error("no"), { name: "status 500 of request 12345" }) }],
  ["_OTHER", { error: "no" }],
  ["_OTHER", { error: undefined }],
];

for (const [type, failure] of REASONS) {
  test(`ErrorTypeCounter.count() calls it ${type}: ${describe(failure)}`, () => {
    const failures = new ErrorTypeCounter();
    assertEquals(failures.count(failed(failure)), type);
    assertEquals(failures.count(failed(failure)), type);
    assertEquals([...failures.counts], [[type, 2]]);
  });
}

function describe({ error, timedOut, abandoned }: Failure): string {
  const code = error instanceof Error && "code" in error ? ` ${error.code}` : "";
  const what = error instanceof Error ? `${error.name}${code}` : String(error);
  return what + (timedOut === true ? ", timeout" : "") + (abandoned === true ? ", abandoned" : "");
}

test("ErrorTypeCounter.count() knows 20 reasons, whatever a target says, and others", () => {
  const failures = new ErrorTypeCounter();
  const types = Array.from({ length: 1_000 }, (_, n) => failures.count(failed({ error: coded(`E${n}`) })));
  assertEquals(types.slice(18, 22), ["E18", "E19", "_OTHER", "_OTHER"]);
  assertEquals(failures.count(failed({ error: coded("E0") })), "E0");
  assertEquals([failures.counts.size, failures.counts.get("E0"), failures.counts.get("_OTHER")], [21, 2, 980]);
});
