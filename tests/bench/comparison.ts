/**
 * Two checkouts compared: which rows changed by more than the noise of the same run. Pure.
 *
 * A round runs a cell four times: old, new, new, old. It gives two ratios of new to old, each of processes that ran right after one
 * another, so that a machine that gets slower or faster meanwhile favours neither. And it gives two ratios of a checkout to itself,
 * which is the noise. A row has changed when both hold:
 *
 * 1. its ratios are not around 1, by the signed-rank test at 0.05; and
 * 2. their middle is farther from 1 than anything inside the interval of the ratios of a checkout to itself.
 */

import type { RuntimeName } from "../support/children.ts";
import { titleOf } from "./machine.ts";
import { format, tableOf } from "./report.ts";
import { type SignedRank, signedRank } from "./signed_rank.ts";

/** Above this, ratios may lie around 1. */
const MAX_P = 0.05;

/** Lower than that of the test: of eight ratios of a checkout to itself, one may be wild. */
const NOISE_LEVEL = 0.8;

/** One measure in a round, in the order old, new, new, old. */
export type Quad = readonly [number, number, number, number];

/** What the rounds say. */
export interface Verdict {
  /** New to old: the middle of the ratios, and the interval. */
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
  /** How far from 1 the ratio of a checkout to itself may be, as a factor of at least 1. */
  readonly noise: number;
  readonly change: "faster" | "slower" | undefined;
}

/** Judges the rounds of a measure that is a time; fewer than three can't show a change. */
export function judge(rounds: readonly Quad[]): Verdict {
  const changes = signedRank(rounds.flatMap(([a, b, c, d]) => [Math.log(b / a), Math.log(c / d)]));
  const same = signedRank(rounds.flatMap(([a, b, c, d]) => [Math.log(d / a), Math.log(c / b)]), NOISE_LEVEL);
  const noise = Math.max(Math.abs(same.low), Math.abs(same.high));
  return {
    ratio: Math.exp(changes.estimate),
    low: Math.exp(changes.low),
    high: Math.exp(changes.high),
    noise: Math.exp(noise),
    change: changeOf(changes, noise),
  };
}

function changeOf({ estimate, p }: SignedRank, noise: number): Verdict["change"] {
  if (p > MAX_P || Math.abs(estimate) <= noise) return undefined;
  return estimate < 0 ? "faster" : "slower";
}

/** A row on one runtime: its rounds, or why there are none. */
export interface Compared {
  readonly title: string;
  readonly runtime: RuntimeName;
  readonly rounds: readonly Quad[] | string;
}

/** The table, and what changed in a line each. */
export function comparisonText(compared: readonly Compared[]): string {
  const changes: string[] = [];
  const lines = compared.map(({ title, runtime, rounds }) => {
    if (typeof rounds === "string") return [title, titleOf(runtime), "-", "", "", rounds];
    const { ratio, low, high, noise, change } = judge(rounds);
    const interval = `${format(low)}-${format(high)}`;
    if (change !== undefined) changes.push(`${title}, ${titleOf(runtime)}: ${change}, ${format(ratio)} (${interval})`);
    return [title, titleOf(runtime), format(ratio), interval, `${format(1 / noise)}-${format(noise)}`, change ?? ""];
  });
  const table = tableOf([["", "", "new / old", "interval", "noise", ""], ...lines]);
  return `${table}\n\n${
    changes.length === 0 ? "Nothing changed by more than the noise." : ["Changed:", ...changes].join("\n")
  }`;
}
