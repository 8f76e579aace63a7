/**
 * `LostSequences` and `KnownLosses`: the same answers as a walk over all of them.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { SequenceRange } from "../../src/base/sequences.ts";
import type { DamagedRegion } from "../../src/wal/recovery/damage.ts";
import { KnownLosses } from "../../src/wal/recovery/known_losses.ts";
import { LostSequences } from "../../src/wal/recovery/lost_sequences.ts";
import { seededRandom } from "../support/random.ts";

test("LostSequences count each sequence once, from any one on", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const ranges = Array.from({ length: random(8) }, (): SequenceRange => {
      const first = 1 + random(40);
      return { first, last: first + random(6) };
    });
    const sequences = new Set<number>();
    for (const { first, last } of ranges) for (let i = first; i <= last; i++) sequences.add(i);
    const lost = new LostSequences(ranges);
    for (let next = 0; next < 50; next++) {
      const count = [...sequences].filter((sequence) => sequence >= next).length;
      assertEquals(lost.countFrom(next), count, `seed ${seed}, from ${next}: ${JSON.stringify(ranges)}`);
    }
  }
});

test("KnownLosses.of() knows a region if its bytes and all that is missing were reported", () => {
  const region = { segment: "1.wal", offset: 100, length: 50, missing: { first: 5, last: 9 }, quarantined: true };
  const gap = { segment: "2.wal", offset: 0, length: 0, missing: { first: 20, last: 29 }, quarantined: false };
  const garbage = { segment: "1.wal", offset: 300, length: 7, missing: undefined, quarantined: true };
  const reported = KnownLosses.of([region, gap, garbage]);
  const has = (one: DamagedRegion, change: Partial<DamagedRegion> = {}): boolean =>
    reported.isAccepted({ ...one, ...change });
  assertEquals([has(region), has(gap), has(garbage)], [true, true, true]);
  assertEquals([has(region, { missing: { first: 6, last: 9 } }), has(region, { missing: undefined })], [true, true]);
  assertEquals([has(region, { missing: { first: 6, last: 10 } }), has(region, { length: 49 })], [false, false]);
  // What several regions together cost is reported with one of them.
  assertEquals([has(region, { segment: "2.wal" }), has(garbage, { missing: { first: 5, last: 5 } })], [false, true]);
  // Wherever it is met: the sequences are what is missing.
  assertEquals([has(gap, { segment: "9.wal", missing: { first: 21, last: 22 } })], [true]);
  assertEquals([has(gap, { missing: { first: 19, last: 22 } }), has(gap, { missing: { first: 30, last: 30 } })], [
    false,
    false,
  ]);
});
