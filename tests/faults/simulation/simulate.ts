/**
 * Runs the simulation for as long as wished: `deno task simulate [--seeds N] [--minutes M] [--seed S] [--trace]
 * [--copy-on-write]`.
 *
 * Seeds are taken one after the other, from S on (1 if it isn't given), until N are done (without a number, one if S is
 * given, else 10,000) or M minutes are over. At the end stands what was done. A violation ends it, with exit code 1, the
 * seed, and what happened in it line by line; `--seed S --trace` shows that of a seed without one.
 *
 * It runs on Bun and Node as well; `tests/README.md` says how.
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { addTotals, noTotals, simulate } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    minutes: { type: "string" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    "copy-on-write": { type: "boolean", default: false },
  },
});

/** An option as a number. */
function numberOf(name: "seeds" | "minutes" | "seed", fallback: number): number {
  const given = values[name];
  const value = given === undefined ? fallback : Number(given);
  if (Number.isFinite(value) && value >= 0) return value;
  console.error(`Cannot simulate: --${name} must be a number, got ${given}`);
  process.exit(2);
}

const first = numberOf("seed", 1);
const count = numberOf("seeds", values.minutes !== undefined ? 2 ** 31 : values.seed !== undefined ? 1 : 10_000);
const endsAt = performance.now() + numberOf("minutes", Number.MAX_SAFE_INTEGER) * 60_000;

const options = { copyOnWrite: values["copy-on-write"] };
const totals = noTotals();
const startedAt = performance.now();
let seed = first;
try {
  for (; seed < first + count && performance.now() < endsAt; seed++) {
    addTotals(totals, await simulate(seed, { ...options, ...(values.trace ? { trace: console.log } : {}) }));
  }
} catch (error) {
  process.exitCode = 1;
  if (!values.trace) await simulate(seed, { ...options, trace: console.log }).catch(() => {});
  console.log(error instanceof Error ? error.message : error);
  console.log(error instanceof Error && error.cause instanceof Error ? error.cause.stack : "");
}

const seconds = Math.round((performance.now() - startedAt) / 1000);
console.log(
  `seeds ${first} to ${seed - 1} in ${seconds} s: ${process.exitCode === 1 ? "a violation" : "no violation"}`,
);
const { kills, powerCuts, faults, operations, fileOperations, records, batches, lives } = totals;
console.log(`${operations} operations on ${lives} buffers, ${fileOperations} of the file system`);
console.log(`${kills} kills, ${powerCuts} power cuts, ${faults} faults injected`);
console.log(`${records} records put, ${batches} batches recovered`);
