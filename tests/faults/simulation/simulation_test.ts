/**
 * The simulation, a part of it: what it is and what it checks stands at the head of `simulation.ts`.
 */

import { createHash } from "node:crypto";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { isGate, isQuick, runtimePhase } from "../../support/extent.ts";
import { addTotals, noTotals, simulate } from "./simulation.ts";

/** As many as take about ten seconds on Deno, and one in the quick run; each runtime has others. */
const SEEDS = isQuick ? 50 : isGate ? [300, 100, 100, 100][runtimePhase()] : [600, 300, 300, 150][runtimePhase()];
const FIRST = 600 * runtimePhase();
/** They are taken in parts, so that a failure says more than one seed. */
const PARTS = 10;

for (let part = 0; part < PARTS; part++) {
  const from = FIRST + part * SEEDS / PARTS;
  const to = from + SEEDS / PARTS;
  test(`FileBuffer keeps its promises in the simulations with seeds ${from} to ${to - 1}`, async () => {
    const totals = noTotals();
    for (let seed = from; seed < to; seed++) addTotals(totals, await simulate(seed));
    // That a seed does something is a part of what is tested.
    assert(totals.kills > SEEDS / PARTS / 2, `${totals.kills} kills`);
    assert(totals.powerCuts > SEEDS / PARTS / 2, `${totals.powerCuts} power cuts`);
    assert(totals.operations > 15 * SEEDS / PARTS, `${totals.operations} operations`);
  });
}

/**
 * Seeds that have found something, and what it was. A change of the scenario gives them another run; for each there is
 * a small test of the part, too.
 */
const FOUND: readonly (readonly [number, string])[] = [
  [453, "a piece of a batch in flight is lost when what follows it is asked for"],
  [2_902, "somebody waits for records that are dropped"],
  [12_176, "a segment without a record is never synced, and comes back with what was cut off"],
  [22_897, "a batch comes back with other records than it was handed over with"],
  [53_502, "a segment whose beginning failed comes back after a power cut, in front of records"],
  [68_936, "an acknowledged record is cut off when the log fails"],
  [70_675, "what only a segment's name knows is lost with it"],
  [71_936, "a segment that is synced, but not acknowledged, is left behind a gap"],
  [270_886, "a put waits for room that damaged records have taken"],
  [1_000_276, "a segment whose beginning failed stays, in front of records"],
  [1_002_440, "emit() takes what a flush() is about to sync for synced"],
  [2_056_960, "a put whose cut could not be synced is said to have left nothing"],
  [4_020_373, "a record that was put during a sync is younger than it is"],
  [5_005_689, "what is committed is said to be missing"],
  [7_007_341, "what only a segment that was never begun speaks of is said to be missing"],
];

for (const [seed, what] of FOUND) {
  test(`FileBuffer keeps its promises in the simulation with seed ${seed}: ${what}`, async () => {
    await simulate(seed);
  });
}

test("simulate() does the same again for the same seed, down to each operation on a file", async () => {
  const distinct = new Set<string>();
  const seeds = isQuick ? 10 : 40;
  for (let seed = 0; seed < seeds; seed++) {
    const [first, second] = [await digestOf(seed), await digestOf(seed)];
    assertEquals(second, first, `seed ${seed}`);
    distinct.add(first);
  }
  assertEquals(distinct.size, seeds);
});

async function digestOf(seed: number): Promise<string> {
  const hash = createHash("sha256");
  await simulate(seed, { trace: (line) => hash.update(`${line}\n`) });
  return hash.digest("hex");
}
