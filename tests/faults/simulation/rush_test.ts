/**
 * The simulation of a rush, a part of it: what it checks stands at the head of `rush.ts`.
 */

import { test } from "node:test";
import { assert } from "@std/assert";
import { runtimePhase } from "../../support/extent.ts";
import { noRushTotals, simulateRush } from "./rush.ts";

/** As many as take some seconds; each runtime has others. */
const SEEDS = 48;
const FIRST = SEEDS * runtimePhase();
/** They are taken in parts, so that a failure says more than one seed. */
const PARTS = 4;

for (let part = 0; part < PARTS; part++) {
  const from = FIRST + part * SEEDS / PARTS;
  const to = from + SEEDS / PARTS;
  test(`FileBuffer keeps its bounds in time in the rushes with seeds ${from} to ${to - 1}`, async () => {
    const totals = noRushTotals();
    for (let seed = from; seed < to; seed++) {
      const { commits, powerCuts, worst } = await simulateRush(seed);
      totals.commits += commits;
      totals.powerCuts += powerCuts;
      totals.worst = Math.max(totals.worst, worst);
    }
    // That a seed does something is a part of what is tested.
    assert(totals.commits > 100 * SEEDS / PARTS, `${totals.commits} commits`);
    assert(
      totals.powerCuts > 5 * SEEDS / PARTS && totals.worst > 0.2,
      `${totals.powerCuts} cuts, worst ${totals.worst}`,
    );
  });
}
