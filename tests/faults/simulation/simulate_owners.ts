/**
 * Runs the simulation of several owners for as long as wished: `deno task simulate:owners [--operations N] [--seed S]
 * [--trace]`.
 *
 * Seeds are taken one after the other, from S on (1 if it isn't given), until N operations are done (100,000 without a
 * number; with `--trace`, one seed). A violation ends it with exit code 1, the seed, and what happened in it line by line.
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { noOwnerTotals, simulateOwners } from "./owners.ts";

const { values } = parseArgs({
  options: {
    operations: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
  },
});
const [operations, first] = [Number(values.operations), Number(values.seed)];
if (!(operations > 0) || !Number.isSafeInteger(first)) {
  console.error("Cannot simulate: --operations must be a number above 0, --seed a whole number");
  process.exit(2);
}

const totals = noOwnerTotals();
let seed = first;
try {
  do {
    const more = await simulateOwners(seed++, values.trace ? console.log : undefined);
    for (const [key, count] of Object.entries(more)) totals[key as keyof typeof totals] += count;
  } while (!values.trace && totals.operations < operations);
} catch (error) {
  process.exitCode = 1;
  if (!values.trace) await simulateOwners(seed - 1, console.log).catch(() => {});
  console.log(error instanceof Error ? error.message : error);
}
console.log(`seeds ${first} to ${seed - 1}: ${process.exitCode === 1 ? "a violation" : "no violation"}`);
console.log(
  `${totals.operations} operations, ${totals.takeovers} takeovers, ${totals.moves} moves of the directory, ` +
    `${totals.acknowledged} records acknowledged, ${totals.named} of them named by ${totals.lost} owners that lost it`,
);
