/**
 * The signed-rank test: what is printed in a book, what every assignment of signs gives, and where its interval ends.
 */

import { test } from "node:test";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { mulberry32 } from "../support/random.ts";
import { signedRank } from "./signed_rank.ts";

/** Hollander, Wolfe and Chicken, table 3.1: Hamilton's depression scale of nine patients before and after a tranquilizer. */
const BEFORE = [1.83, 0.5, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.3];
const AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];

test("signedRank() gives the book's estimate, interval and chance", () => {
  const { estimate, low, high, p } = signedRank(BEFORE.map((before, i) => before - AFTER[i]!));
  assertAlmostEquals(estimate, 0.46, 1e-9);
  assertAlmostEquals(low, 0.01, 1e-9);
  assertAlmostEquals(high, 0.786, 1e-9);
  assertEquals(p, 0.0390625);
});

test("signedRank() gives the chance that counting all assignments of signs gives", () => {
  const random = mulberry32(7);
  for (let count = 1; count <= 10; count++) {
    const values = Array.from({ length: count }, () => random() - 0.3);
    assertAlmostEquals(signedRank(values).p, chanceByCounting(values), 1e-12, `${values}`);
  }
});

/** From both sides: how many of the assignments have a sum of positive ranks as far from the middle as this one. */
function chanceByCounting(values: readonly number[]): number {
  const sizes = values.map(Math.abs).sort((a, b) => a - b);
  const middle = values.length * (values.length + 1) / 4;
  const distance = (isPositive: (rank: number) => boolean) =>
    Math.abs(sizes.reduce((sum, _, i) => sum + (isPositive(i + 1) ? i + 1 : 0), 0) - middle);
  const found = distance((rank) => values.includes(sizes[rank - 1]!));
  const all = Array.from(
    { length: 2 ** values.length },
    (_, signs) => distance((rank) => (signs >> (rank - 1)) % 2 === 1),
  );
  return all.filter((one) => one >= found).length / all.length;
}

test("the interval of signedRank() has the places that the test doesn't reject", () => {
  const random = mulberry32(11);
  for (const count of [6, 8, 12, 20]) {
    const values = Array.from({ length: count }, () => random() + random());
    const { low, high, estimate } = signedRank(values);
    const chanceAt = (place: number): number => signedRank(values.map((value) => value - place)).p;
    assert(low < estimate && estimate < high);
    for (const [inside, outside] of [[low + 1e-9, low - 1e-9], [high - 1e-9, high + 1e-9]] as const) {
      assert(chanceAt(inside) > 0.05, `${count} values, ${inside} is inside`);
      assert(chanceAt(outside) <= 0.05, `${count} values, ${outside} is outside`);
    }
  }
});

test("signedRank() tells from zero what has one sign, if there are six of them, and nothing where all are zero", () => {
  assertEquals(signedRank([1, 2, 3, 4, 5]).p, 0.0625);
  assertEquals(signedRank([-1, -2, -3, -4, -5, -6]).p, 0.03125);
  assertEquals(signedRank([0, 0, 0, 0, 0, 0]), { estimate: 0, low: 0, high: 0, p: 1 });
  assertEquals(signedRank([3]), { estimate: 3, low: 3, high: 3, p: 1 });
});
