/**
 * `repair` and `restore` on the logs of `cases.ts`, damaged in several ways at once: whatever the buffer did
 * before, afterwards there is nothing to do, `onDamage: "fail"` delivers everything, and no record comes twice.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { OnDamage } from "../../src/wal/recovery/damage.ts";
import {
  type Base,
  blocks,
  type Case,
  extremes,
  flips,
  latin1,
  makeBases,
  mixed,
  wholeFiles,
} from "../faults/corruption/cases.ts";
import { copyOf, DIRECTORY, type LogRecord, openLog } from "../support/logs.ts";
import { runCli } from "./tools.ts";

/** Seeds that found something: what two losses hide of each other, places in files that had moved, dropped records. */
const FOUND = [8, 65, 101, 145, 173, 201];
const FIRST_SEED = 1000;
const SEEDS = 25;
/** Of the other kinds, every so many-th case. */
const EVERY = 5003;

/** How far a buffer came with the damaged log before it was repaired: not at all, halfway, to its end. */
const SHARES = [0, 0.5, 1];

async function deliver(log: MemoryFileSystem, base: Base, onDamage: OnDamage, most = Infinity): Promise<LogRecord[]> {
  const { buffer } = await openLog(log, { ...base.options, codec: latin1, onDamage });
  const delivered: LogRecord[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batch.records.forEach((value, i) => delivered.push({ sequence: batch.firstSequence + i, value }));
    await buffer.commit(batch);
    if (delivered.length >= most) break;
  }
  await buffer.close();
  return delivered;
}

async function json(log: MemoryFileSystem, ...args: string[]): Promise<Record<string, unknown>> {
  const { code, output, errors } = await runCli(log, [...args, DIRECTORY, "--json"]);
  assert(code < 2, errors);
  return JSON.parse(output);
}

async function check({ base, files }: Case): Promise<void> {
  const damaged = copyOf(base.fileSystem, files);
  if ((await runCli(damaged, ["repair", DIRECTORY, "--dry-run"])).code === 3) return; // A newer version, says its header.
  const { dryRun: _, ...foreseen } = await json(damaged, "repair", "--dry-run");
  const expected = await deliver(copyOf(damaged), base, "quarantine");
  for (const share of SHARES) {
    const log = copyOf(damaged);
    const delivered = share === 0 ? [] : await deliver(log, base, "quarantine", Math.ceil(expected.length * share));
    const { dryRun: _, ...done } = await json(log, "repair");
    assertEquals((await json(log, "repair", "--dry-run"))["nothingToDo"], true);
    if (share === 0) {
      assertEquals(done, foreseen);
      assertEquals(await deliver(copyOf(log), base, "fail"), expected);
    }
    await json(log, "restore");
    const left = base.records.map(({ value }) => value);
    for (const { value } of [...delivered, ...await deliver(log, base, "fail")]) {
      const at = left.indexOf(value);
      assert(at >= 0, `${value.slice(0, 20)} comes twice, or never was`);
      left.splice(at, 1);
    }
  }
}

async function checkAll(cases: Iterable<Case>): Promise<void> {
  for (const one of cases) {
    try {
      await check(one);
    } catch (cause) {
      throw new Error(`${one.kind}, ${one.name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
}

function* every(n: number, cases: Iterable<Case>): Generator<Case> {
  let i = 0;
  for (const one of cases) if (i++ % n === 0) yield one;
}

test("repair and restore cope with several changes at once", async () => {
  const { small, blocks } = await makeBases();
  const bases = [...small, ...blocks];
  console.log(`seeds from ${FIRST_SEED}`);
  const seeds = [...FOUND, ...Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i)];
  await checkAll(seeds.map((seed) => mixed(bases, seed)));
});

test("repair and restore cope with every kind of damage", async () => {
  const bases = await makeBases();
  for (const base of bases.small) await checkAll(every(EVERY, flips(base)));
  for (const base of bases.small) await checkAll(every(100, extremes(base)));
  for (const base of bases.blocks) {
    await checkAll(every(100, wholeFiles(base)));
    await checkAll(every(EVERY, blocks(base, 1)));
  }
});
