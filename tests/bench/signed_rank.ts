/**
 * The Wilcoxon signed-rank test: whether paired differences lie around zero, and where they lie, with an interval. It assumes that
 * they are symmetric, not that they are normal, and a few wild values move nothing.
 *
 * Exact, by the Walsh averages (the means of all pairs of values, each with itself as well): how many of them are positive is
 * Wilcoxon's statistic, their median is the estimate of Hodges and Lehmann, and the interval lies between two of them. See Hollander,
 * Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition, sections 3.1 to 3.3. R's `wilcox.test(x, conf.int = TRUE,
 * exact = TRUE)` gives the same.
 */

import { median } from "./measures.ts";

/** Where some differences lie. */
export interface SignedRank {
  readonly estimate: number;
  /** The interval that holds the true place with a probability of at least `level`, where there are enough values for it. */
  readonly low: number;
  readonly high: number;
  /** How probable a place at least as far from zero is if the true one is zero; from both sides. */
  readonly p: number;
}

/**
 * Tests some differences.
 *
 * @param values At least one. Fewer than six can't be told from zero at a level of 0.95.
 */
export function signedRank(values: readonly number[], level = 0.95): SignedRank {
  const averages = values.flatMap((one, i) => values.slice(i).map((other) => (one + other) / 2)).sort((a, b) => a - b);
  const chances = chancesOf(values.length);
  const above = averages.filter((average) => average > 0).length;
  const below = averages.filter((average) => average < 0).length;
  const cut = chances.findIndex((chance) => chance >= (1 - level) / 2);
  return {
    estimate: median(averages)!,
    low: averages[Math.max(0, cut - 1)]!,
    high: averages[averages.length - Math.max(1, cut)]!,
    p: Math.min(1, 2 * chances[averages.length - Math.max(above, below)]!),
  };
}

/** The chance, for each sum from 0 on, that the ranks 1 to `count` of the positive values add up to at most that. */
function chancesOf(count: number): number[] {
  const ways = new Array<number>(count * (count + 1) / 2 + 1).fill(0);
  ways[0] = 1;
  for (let rank = 1; rank <= count; rank++) {
    for (let sum = ways.length - 1; sum >= rank; sum--) ways[sum]! += ways[sum - rank]!;
  }
  let total = 0;
  return ways.map((way) => (total += way) / 2 ** count);
}
