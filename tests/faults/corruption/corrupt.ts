/**
 * Damages logs in more ways than the tests have time for: `deno task corrupt [options]`, also on Bun and Node.
 *
 * Every bit and every length of both small logs, all pairs of blocks, many places in the large one, each case with all
 * its lives; then several changes at once, by seeds, for as long as wished. Each violation is shown with the case that it
 * belongs to; the exit code is 1 if there was one. The last thing printed is the table of all cases.
 *
 * - `--seeds N`: how many seeds of several changes (10,000), `--seed S`: the first of them (1)
 * - `--minutes M`: ends after so many minutes, in the middle of whatever it is at (no limit)
 * - `--kind TEXT`: only cases whose kind holds that text
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { allCases, count, makeBases } from "./cases.ts";
import { checkAll, Tally } from "./check.ts";

/** After so many violations the rest is likely to be the same. */
const MAX_VIOLATIONS = 20;
/** How often it says how far it is. */
const CASES_A_LINE = 10_000;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "Infinity" },
    kind: { type: "string", default: "" },
  },
});

/** An option as a number. */
function numberOf(name: "minutes" | "seed" | "seeds"): number {
  const value = Number(values[name]);
  if (value >= 0) return value;
  console.error(`Cannot damage logs: --${name} must be a number, got ${values[name]}`);
  process.exit(2);
}

const endsAt = performance.now() + numberOf("minutes") * 60_000;
const tally = new Tally();
let tried = 0;
let violations = 0;
const seeds = count(numberOf("seed"), numberOf("seeds"));
for (const one of allCases(await makeBases(), { blockStep: 1, samples: 100, seeds })) {
  if (performance.now() > endsAt || violations === MAX_VIOLATIONS) break;
  if (!one.kind.includes(values.kind)) continue;
  try {
    await checkAll([one], tally);
  } catch (error) {
    violations++;
    console.error(error);
  }
  if (++tried % CASES_A_LINE === 0) {
    console.log(`${tried} cases, ${violations} violations, now: ${one.kind}, ${one.name}`);
  }
}
console.log(`\n${tally}\n\n${tried} cases, ${violations} violations`);
process.exitCode = violations === 0 ? 0 : 1;
