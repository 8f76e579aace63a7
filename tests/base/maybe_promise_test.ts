/**
 * `andThen`: at once with a value, later with a promise.
 */

import { test } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { andThen } from "../../src/base/maybe_promise.ts";

test("andThen() goes on within the call when the value is there", () => {
  assertEquals(andThen(1, (n) => n + 1), 2);
  assertEquals(andThen(undefined, () => "done"), "done");
  const failure = new Error("at once");
  assertStrictEquals(
    assertThrows(() =>
      andThen(1, () => {
        throw failure;
      })
    ),
    failure,
  );
});

test("andThen() goes on when the promise resolves, and not when it rejects", async () => {
  const steps: string[] = [];
  const later = andThen(Promise.resolve(1), (n) => {
    steps.push("next");
    return n + 1;
  });
  steps.push("behind the call");
  assertInstanceOf(later, Promise);
  assertEquals(await later, 2);
  assertEquals(steps, ["behind the call", "next"]);
  const failure = new Error("later");
  const refused = andThen(Promise.reject(failure), () => steps.push("never"));
  assertStrictEquals(await assertRejects(async () => await refused), failure);
  assertEquals(steps.length, 2);
});
