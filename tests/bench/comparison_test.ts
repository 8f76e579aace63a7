/**
 * The comparison of two checkouts: it finds a change that is larger than the noise, says which way it goes, and calls neither noise nor
 * a machine that gets slower a change.
 */

import { test } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { mulberry32 } from "../support/random.ts";
import { comparisonText, judge, type Quad } from "./comparison.ts";

interface Machine {
  readonly random: () => number;
  /** By how much a time differs from another one of the same. */
  readonly noise: number;
  /** By how much a time is longer than the one before. */
  readonly drift?: number;
}

/** Rounds in which new takes `factor` times as long as old. */
function measure(factor: number, { random, noise, drift = 0 }: Machine, count = 4): Quad[] {
  let time = 10;
  const run = (by: number): number => (time *= 1 + drift) * by * (1 + noise * (random() + random() - 1));
  return Array.from({ length: count }, (): Quad => [run(1), run(factor), run(factor), run(1)]);
}

/** The share of runs that say `change`. */
function shareOf(change: "faster" | "slower" | undefined, factor: number, machine: Machine): number {
  const RUNS = 500;
  const said = Array.from({ length: RUNS }, () => judge(measure(factor, machine)).change);
  return said.filter((one) => one === change).length / RUNS;
}

test("judge() finds a change of a tenth in noise of a fiftieth, and which way it goes", () => {
  const machine = { random: mulberry32(1), noise: 0.02 };
  assert(shareOf("slower", 1.1, machine) > 0.99);
  assert(shareOf("faster", 0.9, machine) > 0.99);
});

test("judge() finds no change where there is none, in at least 97 of 100 runs", () => {
  for (const noise of [0.02, 0.5]) assert(shareOf(undefined, 1, { random: mulberry32(2), noise }) > 0.97, `${noise}`);
});

test("judge() finds no change that is smaller than the noise", () => {
  assert(shareOf(undefined, 1.02, { random: mulberry32(3), noise: 0.2 }) > 0.95);
});

test("judge() takes neither a machine that gets slower nor a single wild time for a change", () => {
  assertEquals(shareOf("slower", 1, { random: mulberry32(4), noise: 0.01, drift: 0.05 }), 0);
  const rounds = measure(1, { random: mulberry32(5), noise: 0.02 });
  const [a, b, c, d] = rounds[2]!;
  assertEquals(judge(rounds.with(2, [a, 20 * b, c, d])).change, undefined);
});

test("judge() asks the signed-rank test as well as the noise", () => {
  const quiet: Quad = [10, 20, 20, 10];
  assertEquals(judge([quiet, quiet]).change, undefined); // four ratios prove nothing
  assertEquals(judge([quiet, quiet, quiet]).change, "slower");
  const noisy: Quad = [10, 20, 50, 25]; // 2 in each pair, and 2.5 beside itself
  assertEquals(judge([noisy, noisy, noisy]).change, undefined);
});

test("judge() gives the ratio of new to old, and the noise as a factor", () => {
  const { ratio, low, high, noise } = judge([[10, 20, 22, 11], [10, 20, 22, 11], [10, 20, 22, 11]]);
  for (const value of [ratio, low, high]) assertAlmostEquals(value, 2, 1e-9);
  assertAlmostEquals(noise, 1.1, 1e-9);
});

test("comparisonText() says what changed, and why a row has no figure", () => {
  const rounds: Quad[] = Array.from({ length: 4 }, () => [20, 10, 10, 20]);
  const text = comparisonText([
    { title: "W1 120 B", runtime: "node", rounds },
    { title: "W1s 120 B", runtime: "bun", rounds: "not in both" },
  ]);
  assertMatch(text, /\| W1 120 B +\| Node +\| +0\.50 \| 0\.50-0\.50 \| 1\.00-1\.00 \| +faster \|/);
  assertMatch(text, /\| W1s 120 B \| +Bun \| +- \| +\| +\| not in both \|/);
  assertMatch(text, /\n\nChanged:\nW1 120 B, Node: faster, 0\.50 \(0\.50-0\.50\)$/);
  assertMatch(comparisonText([]), /Nothing changed by more than the noise\.$/);
});
