/**
 * The header field Retry-After: both forms, all notations of a date, what servers send in their place, and what is none.
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
  // Numbers of any size: what is asked for is a long wait, not none.
  ["999999999", 999_999_999_000],
  ["1000000000", 1_000_000_000_000],
  ["9999999999", 9_999_999_999_000],
  ["99999999999999999999", Number.MAX_SAFE_INTEGER],
  ["9".repeat(400), Number.MAX_SAFE_INTEGER],
  ["0000000000000007", 7_000],
  ["-5", 0],
  ["-0", 0],
  ["+5", 5_000],
  ["1.5", 1_500],
  ["0.0001", 1],
  ["2.", 2_000],
  // The field was sent twice.
  ["5, 120", 120_000],
  ["5,120 , 7.5", 120_000],
  // Dates as they are near the notations of HTTP.
  ["Thu, 1 Jan 2026 00:01:30 GMT", 90_000],
  ["thu, 01 jan 2026 00:01:30 gmt", 90_000],
  ["01 Jan 2026 00:01:30 GMT", 90_000],
  ["Thu, 01 January 2026 00:01:30 GMT", 90_000],
  ["Thu, 01-Jan-2026 00:01:30 GMT", 90_000],
  ["Thu, 01 Jan 26 00:01:30 GMT", 90_000],
  ["Thu, 01 Jan 2026 00:01:30 UTC", 90_000],
  ["Thu, 01 Jan 2026 00:01:30", 90_000],
  ["Thu, 01 Jan 2026 00:01:30 +0000", 90_000],
  ["Thu, 01 Jan 2026 01:31:30 +0130", 90_000],
  ["Wed, 31 Dec 2025 16:01:30 -0800", 90_000],
  ["Thu Jan 1 00:01:30 2026", 90_000],
  ["Thu Jan  1 00:01:30 UTC 2026", 90_000],
  ["2026-01-01T00:01:30Z", 90_000],
  ["2026-01-01T00:01:30.250Z", 90_250],
  ["2026-01-01T01:01:30+01:00", 90_000],
  // Long over, and far ahead.
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
  ["Mon, 01 Jan 0001 00:00:00 GMT", 0],
  ["Fri, 31 Dec 9999 23:59:59 GMT", Date.UTC(9999, 11, 31, 23, 59, 59) - NOW],
  [null, undefined],
  ["", undefined],
  ["soon", undefined],
  ["-", undefined],
  [".", undefined],
  [",", undefined],
  ["5, soon", undefined],
  ["1e3", undefined],
  ["0x10", undefined],
  ["Infinity", undefined],
  ["NaN", undefined],
  ["5 minutes", undefined],
  ["2026-01-01", undefined],
  ["2026-01-01T00:01:30", undefined],
  ["2026-13-01T00:01:30Z", undefined],
  ["Thu, 01 Foo 2026 00:01:30 GMT", undefined],
  ["Thu, 01 anF 2026 00:01:30 GMT", undefined],
  ["Thu, 01 Jan 2026 00:01:30 PST", undefined],
];

test("retryAfterMs() reads seconds and dates as servers send them, and nothing else", () => {
  for (const [value, ms] of RETRY_AFTER) assertEquals(retryAfterMs(value, NOW), ms, String(value));
});
