/**
 * When something that failed is tried again: bounds, chance, and what the other side asks for.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  BufferClosedError,
  BufferFailedError,
  BufferFullError,
  CodecError,
  DeliveryError,
  FileSystemError,
  RecordTooLargeError,
} from "../../src/errors/mod.ts";
import { type Failure, mayPass, refusalDelayMs, retryDelayMs, type RetryPolicy } from "../../src/producer/retry.ts";

const POLICY: RetryPolicy = {
  firstDelayMs: 100,
  maxDelayMs: 30_000,
  maxAttempts: Infinity,
  maxElapsedMs: Infinity,
  maxRetryAfterMs: 300_000,
};

function delay(failure: Partial<Failure>, policy: Partial<RetryPolicy> = {}): number | undefined {
  return retryDelayMs({ ...POLICY, ...policy }, { tries: 1, elapsedMs: 0, random: 1, ...failure });
}

test("retryDelayMs() doubles the bound with each try, up to the longest", () => {
  const bounds = [1, 2, 3, 4, 9, 10, 100, 10_000].map((tries) => delay({ tries }));
  assertEquals(bounds, [100, 200, 400, 800, 25_600, 30_000, 30_000, 30_000]);
  assertEquals(delay({ tries: 5_000 }, { firstDelayMs: 0 }), 0);
});

test("retryDelayMs() takes a random part of the bound, from none to all of it", () => {
  const parts = [0, 0.25, 0.5, 0.999].map((random) => delay({ tries: 4, random }));
  assertEquals(parts, [0, 200, 400, 799]);
  for (const random of [Number.NaN, -1, 2, Infinity]) assertEquals(delay({ tries: 4, random }), 800);
});

test("retryDelayMs() adds the random time to what the other side asks for", () => {
  assertEquals(delay({ retryAfterMs: 5_000, random: 0 }), 5_000);
  assertEquals(delay({ retryAfterMs: 5_000, random: 0.5 }), 5_050);
  for (const retryAfterMs of [0, -5, Number.NaN, "60" as unknown as number, undefined]) {
    assertEquals(delay({ retryAfterMs }), 100);
  }
  // A day, or for ever, is cut.
  for (const retryAfterMs of [300_001, 86_400_000, Infinity]) assertEquals(delay({ retryAfterMs }), 300_100);
  assertEquals(delay({ retryAfterMs: 5_000 }, { maxRetryAfterMs: 1_000 }), 1_100);
  assertEquals(delay({ retryAfterMs: 5_000 }, { maxRetryAfterMs: 0 }), 100);
});

test("retryDelayMs() waits as long as it may, or is asked to, when the fault doesn't pass by itself", () => {
  for (const random of [0, 0.5, 1]) assertEquals(delay({ isSteady: true, random }), 30_000);
  assertEquals(delay({ isSteady: true, tries: 99, retryAfterMs: 29_000 }), 30_000);
  assertEquals(delay({ isSteady: true, retryAfterMs: 31_000 }), 31_000);
  assertEquals(delay({ isSteady: true, retryAfterMs: 86_400_000 }), 300_000);
  // The bounds hold as always.
  assertEquals(delay({ isSteady: true, elapsedMs: 500 }, { maxElapsedMs: 1_000 }), 500);
  assertEquals(delay({ isSteady: true, tries: 3 }, { maxAttempts: 3 }), undefined);
});

test("refusalDelayMs() grows up to the longest, from a pause that is one", () => {
  const delays = [1, 2, 3, 9, 10, 99].map((tries) => refusalDelayMs(POLICY, tries));
  assertEquals(delays, [100, 200, 400, 25_600, 30_000, 30_000]);
  assertEquals(refusalDelayMs({ ...POLICY, firstDelayMs: 0 }, 2), 200);
  assertEquals(refusalDelayMs({ ...POLICY, firstDelayMs: 1_000 }, 2), 2_000);
  assertEquals(refusalDelayMs({ ...POLICY, maxDelayMs: 50 }, 1), 50);
});

test("retryDelayMs() never gives a delay that timers can't take", () => {
  const most = 2 ** 31 - 1;
  const longest = delay({ tries: 99, retryAfterMs: most }, {
    firstDelayMs: most,
    maxDelayMs: most,
    maxRetryAfterMs: most,
  });
  assertEquals(longest, most);
});

test("retryDelayMs() gives up after the last attempt", () => {
  assertEquals([1, 2, 3, 4].map((tries) => delay({ tries, random: 0 }, { maxAttempts: 3 })), [
    0,
    0,
    undefined,
    undefined,
  ]);
  assertEquals(delay({ tries: 1 }, { maxAttempts: 1 }), undefined);
});

test("retryDelayMs() makes the last attempt when the time is over, and none after it", () => {
  const policy = { maxElapsedMs: 1_000 };
  assertEquals(delay({ tries: 5, elapsedMs: 0 }, policy), 1_000);
  assertEquals(delay({ tries: 5, elapsedMs: 899.5 }, policy), 101);
  assertEquals(delay({ elapsedMs: 1_000 }, policy), undefined);
  assertEquals(delay({ elapsedMs: 0 }, { maxElapsedMs: 0 }), undefined);
  // Asked to come back when it is too late: no use in waiting.
  assertEquals(delay({ elapsedMs: 500, retryAfterMs: 501 }, policy), undefined);
  assertEquals(delay({ elapsedMs: 500, retryAfterMs: 500 }, policy), 500);
});

test("mayPass() tells failures of a buffer that end from those that don't", () => {
  const write = { errno: "EIO", operation: "write", path: "b" };
  const passing = [
    new BufferFullError({ neededBytes: 1, backlogBytes: 1, maxBacklogBytes: 1 }),
    FileSystemError.from(write),
    FileSystemError.from({ ...write, errno: "ENOSPC" }),
    FileSystemError.from({ ...write, errno: "EACCES" }),
    new DeliveryError({ reason: "no answer" }),
    new Error("of a buffer of somebody else's"),
    "text",
    undefined,
  ];
  for (const error of passing) assert(mayPass(error), String(error));
  const lasting = [
    new BufferClosedError("put"),
    new BufferFailedError("b", undefined),
    new CodecError({ operation: "encode", reason: "a cycle" }),
    new RecordTooLargeError({ payloadBytes: 2, limitBytes: 1 }),
  ];
  for (const error of lasting) assert(!mayPass(error), String(error));
});
