/**
 * The simulation on disks that copy on write and fill up: what it checks stands at the head of `simulation.ts`. Not in
 * `simulation_test.ts`, because each life writes its reserve, which takes longer than all else.
 */

import { test } from "node:test";
import { assert } from "@std/assert";
import { runtimePhase } from "../../support/extent.ts";
import { addTotals, noTotals, simulate } from "./simulation.ts";

/** As many as take about five seconds; each runtime has others. */
const SEEDS = [120, 60, 60, 32][runtimePhase()];
const FIRST = 120 * runtimePhase();
const PARTS = 4;

for (let part = 0; part < PARTS; part++) {
  const from = FIRST + part * SEEDS / PARTS;
  const to = from + SEEDS / PARTS;
  test(`FileBuffer keeps its promises on disks that copy on write, with seeds ${from} to ${to - 1}`, async () => {
    const totals = noTotals();
    for (let seed = from; seed < to; seed++) addTotals(totals, await simulate(seed, { copyOnWrite: true }));
    assert(totals.kills > SEEDS / PARTS / 2, `${totals.kills} kills`);
    assert(totals.operations > 15 * SEEDS / PARTS, `${totals.operations} operations`);
  });
}
