/**
 * The simulation of owners that aren't alone, a part of it: what it checks stands at the head of `owners.ts`.
 */

import { test } from "node:test";
import { assert } from "@std/assert";
import { runtimePhase } from "../../support/extent.ts";
import { noOwnerTotals, simulateOwners } from "./owners.ts";

/** As many as take some seconds; each runtime has others. */
const SEEDS = 240;
const FIRST = SEEDS * runtimePhase();
/** They are taken in parts, so that a failure says more than one seed. */
const PARTS = 4;

for (let part = 0; part < PARTS; part++) {
  const from = FIRST + part * SEEDS / PARTS;
  const to = from + SEEDS / PARTS;
  test(`FileBuffer keeps its promises to several owners in the simulations with seeds ${from} to ${to - 1}`, async () => {
    const totals = noOwnerTotals();
    for (let seed = from; seed < to; seed++) {
      for (const [key, count] of Object.entries(await simulateOwners(seed))) {
        totals[key as keyof typeof totals] += count;
      }
    }
    // That a seed does something is a part of what is tested.
    assert(totals.takeovers > SEEDS / PARTS, `${totals.takeovers} takeovers`);
    assert(totals.moves > SEEDS / PARTS, `${totals.moves} moves`);
    assert(totals.named > 0 && totals.lost > SEEDS / PARTS, `${totals.named} named by ${totals.lost}`);
  });
}
