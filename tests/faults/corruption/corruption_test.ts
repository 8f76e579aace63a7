/**
 * Damaged logs, thousands of them: none makes the buffer deliver a wrong record, lose one without a word, hang or ask for
 * huge memory. What must hold is said at the head of `check.ts`, what is tried in `cases.ts`.
 *
 * All bits and all lengths of a small log are tried here; `corrupt.ts` tries more of everything. The last test prints
 * how many cases of each kind there were, and what came of them.
 */

import { test } from "node:test";
import { assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { flipBit } from "../../support/bytes.ts";
import { sampled, sampleOf } from "../../support/extent.ts";
import {
  blocks,
  type Case,
  cuts,
  extremes,
  flips,
  frames,
  makeBases,
  mixed,
  nestedHeaders,
  samples,
  wholeFiles,
} from "./cases.ts";
import { check, checkAll, Tally } from "./check.ts";

/**
 * The code that is tried is the same on all runtimes, and so is the file system, which is in memory: on one of them all
 * cases are tried, on the others every thirteenth, each its own: a bit of nearly every byte, and all eight in turn.
 */
const SAMPLE = sampleOf({ elsewhere: 13, quick: 41 });
/** Where there are so many cases, each gets fewer lives. */
const MANY = { alternates: true };
/** Thousands of cases take some seconds, and Bun gives a test five. */
const SLOW = { timeout: 120_000 };

const tally = new Tally();
const bases = await makeBases();
const [closed, killed] = bases.small;

const some = (cases: Iterable<Case>): Iterable<Case> => sampled(cases, SAMPLE);

test("FileBuffer survives any flipped bit of a small log", SLOW, async () => {
  await checkAll(some(flips(closed, { spareStep: 16 })), tally, MANY);
});

test("FileBuffer survives any flipped bit at the end of a log that was not closed", SLOW, async () => {
  await checkAll(some(flips(killed, { onlyUnknown: true })), tally, MANY);
});

test("FileBuffer survives a small log's files cut to any length", SLOW, async () => {
  await checkAll(some(cuts(closed, { spareStep: 16 })), tally, MANY);
  await checkAll(some(cuts(killed, { onlyUnknown: true })), tally, MANY);
});

test("FileBuffer survives bad bits, cuts and zeros in a log of long frames", SLOW, async () => {
  await checkAll(some(samples(bases.large, 10, 1)), tally);
});

test("FileBuffer survives blocks that are zeroed, garbled, doubled, lost or swapped", SLOW, async () => {
  for (const base of bases.blocks) await checkAll(some(blocks(base, 16)), tally, MANY);
});

test("FileBuffer survives whole frames that have moved, with the cursor between them", SLOW, async () => {
  for (const base of [...bases.inside, ...bases.blocks]) await checkAll(some(frames(base)), tally, MANY);
});

test(
  "FileBuffer survives segments that are empty, half there, gone, renamed, stale or another buffer's",
  SLOW,
  async () => {
    const all = SAMPLE.step === 1 ? [...bases.small, ...bases.blocks] : [closed, bases.blocks[1]];
    for (const base of all) await checkAll(wholeFiles(base), tally);
  },
);

test("FileBuffer takes no frame out of a payload, whatever happens to the frame around it", SLOW, async () => {
  for (const base of bases.nested) await checkAll(some(nestedHeaders(base)), tally, { ...MANY, watchesArrays: true });
});

test("FileBuffer believes no length that is out of bounds", SLOW, async () => {
  await checkAll(some(extremes(closed)), tally, { ...MANY, watchesArrays: true });
});

test("FileBuffer survives several changes at once", SLOW, async () => {
  function* seeds(): Generator<Case> {
    for (let seed = 1; seed <= 300; seed++) yield mixed([...bases.small, ...bases.blocks], seed);
  }
  await checkAll(some(seeds()), tally);
});

test("check() notices records that are wrong, gone without a word, or never put", async () => {
  const { segments, records } = closed;
  const { path, bytes } = segments[1]!;
  const one: Case = { kind: "none", name: "nothing", base: closed, files: {}, inPlace: true };
  const withRecords = (changed: typeof records): Case => ({ ...one, base: { ...closed, records: changed } });
  assertEquals(await check(one), { delivery: "whole", refusal: "not refused" });
  const damaged = await check({ ...one, files: { [path]: flipBit(bytes, bytes.length - 1) } });
  assertEquals(damaged, { delivery: "loss reported", refusal: "refused by emit()" });
  const wrong = records.with(8, { ...records[8]!, value: "other" });
  await assertRejects(() => check(withRecords(wrong)), Error, "record 9");
  const more = [...records, { sequence: records.length + 1, value: "never there" }];
  await assertRejects(() => check(withRecords(more)), Error, "the last segment is as it was");
  await assertRejects(() => check(withRecords(records.slice(0, -1))), Error, `record ${records.length}`);
});

test("FileBuffer had damaged logs of all kinds, with all outcomes", () => {
  console.log(`\n${tally}\n`);
  const kinds: readonly (readonly [kind: string, least: number])[] = [
    ["bit flipped", 11_000],
    ["file cut", 1_800],
    ["tail zeroed", 180],
    ["block zeroed", 80],
    ["block garbled", 80],
    ["block duplicated", 900],
    ["block taken out", 80],
    ["blocks swapped", 400],
    ["frames moved", 1_000],
    ["segment empty", 50],
    ["segment gone", 60],
    ["half a header", 300],
    ["segment renamed", 100],
    ["segment copied", 70],
    ["stale segment back", 10],
    ["foreign segment", 280],
    ["cursor lost", 20],
    ["cursor half lost", 20],
    ["log in a payload", 2_000],
    ["extreme length", 1_500],
    ["several changes", 300],
  ];
  const outcomes = [
    ["whole", 9_500],
    ["bytes reported", 300],
    ["loss reported", 9_000],
    ["tail cut", 400],
    ["not refused", 3_400],
    ["refused by open()", 1_400],
    ["refused by emit()", 2_700],
  ] as const;
  const leastOf = (least: number) => SAMPLE.step === 1 ? least : 1;
  for (const [kind, least] of kinds) assertGreaterOrEqual(tally.count(kind), leastOf(least), kind);
  for (const [outcome, least] of outcomes) {
    assertGreaterOrEqual(tally.count(undefined, outcome), leastOf(least), outcome);
  }
  assertGreaterOrEqual(tally.count(), 20_000 / SAMPLE.step);
});
