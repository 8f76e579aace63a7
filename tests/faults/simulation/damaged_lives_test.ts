/**
 * Damaged logs over several lives: no figure that can't be, and nothing that is both missing and delivered. What must hold is
 * said at the head of `damaged_lives.ts`.
 */

import { test } from "node:test";
import { sampled, sampleOf } from "../../support/extent.ts";
import { blocks, type Case, flips, frames, makeBases, mixed, wholeFiles } from "../corruption/cases.ts";
import { live } from "./damaged_lives.ts";

/** As in `corruption_test.ts`: the code is the same on all runtimes. */
const SAMPLE = sampleOf({ elsewhere: 13 });
const SLOW = { timeout: 120_000 };

const bases = await makeBases();
const all = [...bases.inside, ...bases.small, ...bases.blocks];

function* every(cases: Iterable<Case>, step: number): Generator<{ one: Case; seed: number }> {
  let i = 0;
  for (const one of cases) if (i++ % step === 0) yield { one, seed: i };
}

/** This run's part of every `step`-th case, each with a seed of its own. */
async function liveAll(cases: Iterable<Case>, step: number): Promise<void> {
  for (const { one, seed } of sampled(every(cases, step), SAMPLE)) await live(one, seed);
}

test("FileBuffer counts right and names nothing missing that it delivers where frames have moved", SLOW, async () => {
  for (const base of all) await liveAll(frames(base), 1);
});

test("FileBuffer counts right and names nothing missing that it delivers where bits are bad", SLOW, async () => {
  for (const base of bases.inside) await liveAll(flips(base, { spareStep: 16 }), 13);
  for (const base of bases.small) await liveAll(flips(base, { spareStep: 16 }), 61);
});

test("FileBuffer counts right and names nothing missing that it delivers where blocks have moved", SLOW, async () => {
  for (const base of bases.blocks) await liveAll(blocks(base, 16), 2);
});

test("FileBuffer counts right and names nothing missing that it delivers where segments are others", SLOW, async () => {
  for (const base of all) await liveAll(wholeFiles(base), 1);
});

test("FileBuffer counts right and names nothing missing that it delivers after several changes", SLOW, async () => {
  function* seeds(): Generator<Case> {
    for (let seed = 1; seed <= 3_000; seed++) yield mixed(all, seed);
  }
  await liveAll(seeds(), 1);
});
