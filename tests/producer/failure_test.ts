/**
 * What an answer of the target means, whatever the answer is.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { DeliveryError, type DeliveryErrorData } from "../../src/errors/mod.ts";
import { errorText } from "../../src/errors/text.ts";
import { classifyFailure, type FailureOutcome } from "../../src/producer/failure.ts";

const ALL = [0, 1, 2, 3];
const busy = (index: number) => ({ index, retryable: true, reason: "busy" });
const bad = (index: number) => ({ index, retryable: false, reason: "bad" });

interface Row {
  readonly title: string;
  readonly data: Partial<DeliveryErrorData>;
  readonly verdict: Partial<Omit<FailureOutcome, "reasons" | "undeliverable">> & { readonly lost?: readonly number[] };
}

const ROWS: readonly Row[] = [
  { title: "nothing more than that it failed", data: {}, verdict: { again: ALL } },
  { title: "not retryable", data: { retryable: false }, verdict: { lost: ALL } },
  { title: "too large", data: { tooLarge: true }, verdict: { again: ALL, isTooLarge: true } },
  {
    title: "too large and not retryable: in parts it may be",
    data: { tooLarge: true, retryable: false },
    verdict: { again: ALL, isTooLarge: true },
  },
  { title: "to be split", data: { split: true }, verdict: { again: ALL, isTooLarge: true } },
  { title: "refused, to be split", data: { split: true, retryable: false }, verdict: { again: ALL, isTooLarge: true } },
  {
    title: "to be split, and only one is left: it is no larger than it can be",
    data: { split: true, failed: [bad(0), busy(2)] },
    verdict: { again: [2], lost: [0] },
  },
  { title: "a time", data: { retryAfterMs: 7 }, verdict: { again: ALL, retryAfterMs: 7 } },
  { title: "some failed", data: { failed: [busy(2), busy(0)] }, verdict: { again: [0, 2] } },
  { title: "some failed for good", data: { failed: [bad(3), bad(1)] }, verdict: { lost: [1, 3] } },
  { title: "both", data: { failed: [bad(1), busy(3)] }, verdict: { again: [3], lost: [1] } },
  { title: "all failed", data: { failed: ALL.map(busy) }, verdict: { again: ALL } },
  {
    title: "some failed, and the error says not retryable: records know better",
    data: { failed: [busy(2)], retryable: false },
    verdict: { again: [2] },
  },
  {
    title: "some failed, too many of them at once",
    data: { failed: [bad(0), busy(1), busy(2)], tooLarge: true, retryAfterMs: 9 },
    verdict: { again: [1, 2], lost: [0], isTooLarge: true, retryAfterMs: 9 },
  },
  { title: "the target's fault", data: { scope: "target" }, verdict: { again: ALL, isTargetFault: true } },
  {
    title: "the target's fault, which passes, to be split, after a time",
    data: { scope: "target", retryable: true, split: true, retryAfterMs: 7 },
    verdict: { again: ALL, isTargetFault: true, retryAfterMs: 7 },
  },
  {
    title: "the target's fault, and some failed: the others were taken, and nothing is said of these",
    data: { scope: "target", failed: [bad(3), busy(1)] },
    verdict: { again: [1, 3], isTargetFault: true },
  },
  {
    title: "the target's fault, and too much at once: fewer may do",
    data: { scope: "target", tooLarge: true },
    verdict: { again: ALL, isTooLarge: true },
  },
  {
    title: "the target's fault, and one record that is too much at once: there are no fewer",
    data: { scope: "target", tooLarge: true, failed: [bad(2)] },
    verdict: { again: [2], isTargetFault: true },
  },
];

for (const { title, data, verdict } of ROWS) {
  test(`classifyFailure() understands: ${title}`, () => {
    const judged = classifyFailure(new DeliveryError({ reason: "no", ...data }), 4);
    const { again = [], lost = [], isTooLarge = false, isTargetFault = false, retryAfterMs } = verdict;
    assertEquals(judged.again, again);
    assertEquals(judged.undeliverable.map(({ index }) => index), lost);
    assertEquals([judged.isTooLarge, judged.isTargetFault, judged.retryAfterMs], [
      isTooLarge,
      isTargetFault,
      retryAfterMs,
    ]);
  });
}

test("classifyFailure() splits no single record: whether it is retryable counts", () => {
  const [kept, lost] = [true, false].map((retryable) =>
    classifyFailure(new DeliveryError({ reason: "no", split: true, retryable }), 1)
  );
  assertEquals([kept!.again, kept!.isTooLarge, kept!.undeliverable.length], [[0], false, 0]);
  assertEquals([lost!.again, lost!.isTooLarge, lost!.undeliverable.length], [[], false, 1]);
});

/** Lists of failed records that can't be. */
const NONSENSE: readonly (readonly [string, unknown])[] = [
  ["none", []],
  ["more than there are", [...ALL, 0].map(busy)],
  ["one twice", [busy(1), bad(1)]],
  ["behind the last", [busy(4)]],
  ["before the first", [busy(-1)]],
  ["half a record", [busy(0.5)]],
  ["not a number", [busy(Number.NaN)]],
  ["a text", [{ ...busy(0), index: "0" }]],
  ["no index", [{ retryable: true }]],
  ["nothing", [null]],
  ["undefined", [undefined]],
  ["a hole", [, busy(1)]],
  ["an index alone", [1]],
  ["no list", { length: 1, 0: busy(1) }],
];

for (const [title, failed] of NONSENSE) {
  test(`classifyFailure() takes all for failed when the failed records can't be: ${title}`, () => {
    const data = { reason: "no", failed } as DeliveryErrorData;
    assertEquals(classifyFailure(new DeliveryError(data), 4).again, ALL);
    assertEquals(classifyFailure(new DeliveryError({ ...data, retryable: false }), 4).undeliverable.length, 4);
  });
}

test("classifyFailure() sends all again when the error isn't a DeliveryError, or no error", () => {
  for (const error of [new Error("x"), "text", undefined, null, 0, { failed: [bad(0)] }, Symbol("s")]) {
    const { again, undeliverable, isTooLarge, retryAfterMs } = classifyFailure(error, 2);
    assertEquals({ again, undeliverable, isTooLarge, retryAfterMs }, {
      again: [0, 1],
      undeliverable: [],
      isTooLarge: false,
      retryAfterMs: undefined,
    });
  }
});

test("classifyFailure() keeps what is said of single records", () => {
  const { reasons, undeliverable } = classifyFailure(new DeliveryError({ reason: "no", failed: [bad(1), busy(3)] }), 4);
  assertEquals([...reasons], [[3, "busy"]]);
  assertEquals(undeliverable.map(({ reason }) => reason), ["bad"]);
});

test("errorText() has a text of bounded length for whatever is thrown", () => {
  const thrown = [new Error("why"), new TypeError(), "text", 7, undefined, null, Symbol("s"), Object.create(null)];
  assertEquals(thrown.map(errorText), [
    "why",
    "TypeError",
    "text",
    "7",
    "undefined",
    "null",
    "Symbol(s)",
    "unknown error",
  ]);
  assertEquals(errorText(new Error("x".repeat(100_000))).length, 1_000);
});
