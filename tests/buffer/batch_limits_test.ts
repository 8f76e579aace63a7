/**
 * Where a batch ends and when it is due: tables over the edges of the thresholds.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { ageMs, isDue, isFull, msUntilOld, type Pending } from "../../src/buffer/batch_limits.ts";

const THRESHOLDS = { maxRecords: 3, maxBytes: 100, maxAgeMs: 1000 };
const NOW = 50_000;

function pending(records: number, bytes: number, oldestPutTime: number | undefined = NOW): Pending {
  return { records, bytes, oldestPutTime };
}

test("isFull() is true from maxRecords and from maxBytes on", () => {
  const rows: [records: number, bytes: number, full: boolean][] = [
    [0, 0, false],
    [2, 99, false],
    [3, 0, true],
    [4, 10, true],
    [1, 99, false],
    [1, 100, true],
    [2, 101, true],
  ];
  for (const [records, bytes, full] of rows) {
    assertEquals(isFull(pending(records, bytes), THRESHOLDS), full, `${records} records, ${bytes} bytes`);
  }
});

test("ageMs() and msUntilOld() keep the age between 0 and maxAgeMs, whatever the clock says", () => {
  const rows: [putTime: number, age: number][] = [
    [NOW, 0],
    [NOW - 1, 1],
    [NOW - 999, 999],
    [NOW - 1000, 1000],
    [NOW - 1001, 1000],
    [0, 1000],
    [NOW + 1, 0],
    [NOW + 10 ** 9, 0],
  ];
  for (const [putTime, age] of rows) {
    assertEquals(ageMs(putTime, THRESHOLDS, NOW), age, `put at ${putTime}`);
    assertEquals(msUntilOld(pending(1, 1, putTime), THRESHOLDS, NOW), 1000 - age, `put at ${putTime}`);
  }
});

test("msUntilOld() is undefined without a record, and 0 when the put time isn't known", () => {
  assertEquals(msUntilOld({ records: 0, bytes: 0, oldestPutTime: 0 }, THRESHOLDS, NOW), undefined);
  assertEquals(msUntilOld({ records: 1, bytes: 0, oldestPutTime: undefined }, THRESHOLDS, NOW), 0);
});

test("isDue() is true when the next batch is full or old enough, and never without a record", () => {
  const rows: [Pending, due: boolean][] = [
    [pending(1, 1, NOW), false],
    [pending(1, 1, NOW - 999), false],
    [pending(1, 1, NOW - 1000), true],
    [pending(3, 1, NOW), true],
    [pending(1, 100, NOW), true],
    [{ records: 1, bytes: 1, oldestPutTime: undefined }, true],
    [pending(0, 0, 0), false],
    [{ records: 0, bytes: 1000, oldestPutTime: undefined }, false],
  ];
  for (const [state, due] of rows) assertEquals(isDue(state, THRESHOLDS, NOW), due, JSON.stringify(state));
  const atOnce = { ...THRESHOLDS, maxAgeMs: 0 };
  assertEquals([isDue(pending(1, 1), atOnce, NOW), isDue(pending(0, 0), atOnce, NOW)], [true, false]);
});
