/**
 * `LogHealth`: one failure, the first, for everybody.
 */

import { test } from "node:test";
import { assertEquals, assertStrictEquals } from "@std/assert";
import { BufferFailedError } from "../../mod.ts";
import { LogHealth } from "../../src/wal/writer/log_health.ts";
import { DIRECTORY } from "../support/logs.ts";

const ours = { isLost: false, isStillOwner: () => true };

test("LogHealth.fail() keeps the first cause, and calls each listener once, in order", () => {
  const health = new LogHealth(DIRECTORY, ours);
  assertEquals(health.failure, undefined);
  const heard: [string, unknown][] = [];
  health.listen((failure) => {
    // Whatever fails while a failure is dealt with changes nothing.
    assertStrictEquals(health.fail(new Error("second")), failure);
    heard.push(["log", failure]);
  });
  health.listen((failure) => heard.push(["buffer", failure]));
  const cause = new Error("first");
  const failure = health.fail(cause);
  assertStrictEquals(failure.cause, cause);
  assertStrictEquals(health.failure, failure);
  assertStrictEquals(health.fail(new Error("third")), failure);
  assertEquals(heard, [["log", failure], ["buffer", failure]]);
});

test("LogHealth.fail() takes a BufferFailedError as it is", () => {
  const failure = new BufferFailedError(DIRECTORY, new Error("cause"));
  assertStrictEquals(new LogHealth(DIRECTORY, ours).fail(failure), failure);
});

test("LogHealth.fail() reports the loss of ownership where that is the cause", () => {
  const lost = new BufferFailedError(DIRECTORY, new Error("another owner"));
  const ownership = {
    isLost: false,
    isStillOwner: (): boolean => {
      ownership.isLost = true;
      health.fail(lost);
      return false;
    },
  };
  const health = new LogHealth(DIRECTORY, ownership);
  const heard: unknown[] = [];
  health.listen((failure) => heard.push(failure));
  assertStrictEquals(health.fail(new Error("no such file")), lost);
  assertEquals(heard, [lost]);
});
