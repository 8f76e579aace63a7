/**
 * The header field Retry-After: both forms, all notations of a date, and what is none.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { retryAfterMs } from "../../src/sinks/http_retry_after.ts";

const NOW = Date.UTC(2026, 0, 1, 0, 0, 0);
const RETRY_AFTER: readonly (readonly [value: string | null, ms: number | undefined])[] = [
  ["120", 120_000],
  ["0", 0],
  [" 7 ", 7_000],
  ["Thu, 01 Jan 2026 00:01:30 GMT", 90_000],
  ["Thursday, 01-Jan-26 00:01:30 GMT", 90_000],
  ["Thu Jan  1 00:01:30 2026", 90_000],
  ["Wed Dec 31 23:59:59 2025", 0],
  // Two digits of a year: 2076 is 50 years ahead, 2077 would be more, so it was 1977.
  ["Wednesday, 01-Jan-76 00:00:00 GMT", Date.UTC(2076, 0, 1) - NOW],
  ["Saturday, 01-Jan-77 00:00:00 GMT", 0],
  [null, undefined],
  ["", undefined],
  ["-5", undefined],
  ["1.5", undefined],
  ["soon", undefined],
  ["2026-01-01T00:01:30Z", undefined],
  ["Thu, 01 Foo 2026 00:01:30 GMT", undefined],
  ["Thu, 01 anF 2026 00:01:30 GMT", undefined],
  ["99999999999999999999", undefined],
];

test("retryAfterMs() reads seconds and the three notations of a date, and nothing else", () => {
  for (const [value, ms] of RETRY_AFTER) assertEquals(retryAfterMs(value, NOW), ms, String(value));
});
