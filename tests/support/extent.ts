/**
 * How much of an exhaustive test is tried in a run: on Deno all its cases, on the other runtimes a part, each its own,
 * because the code and the file system in memory are the same there. The gate tries a seventh of it on Deno and half of it
 * elsewhere, and `deno task test` less still.
 */

import process from "node:process";
import { currentRuntime } from "./children.ts";

/** Whether this is the quick run, see `tests/run/files.ts`. A file that is run by itself runs in full. */
export const isQuick: boolean = process.env["SLUICE_EXTENT"] === "quick";

/** Whether this is the gate, which has to end within twenty minutes. */
export const isGate: boolean = process.env["SLUICE_EXTENT"] === "all";
/**
 * In the gate Deno has every so-many-th case, and another runtime every so-many-th of its own. Seven and not five, because
 * some kinds of cases take turns by fives.
 */
const GATE_STEP = { deno: 7, elsewhere: 2 };

/** A part of the cases of a test, which are counted from 0. */
export interface Sample {
  /** Every how-many-th case belongs to it: 1 for all of them. */
  readonly step: number;
  has(index: number): boolean;
}

/**
 * The part of this run: all cases on Deno, every `elsewhere`-th on Bun and the newest Node, half as many on the oldest one,
 * whose engine differs least from what was tried already; less of each in the gate; every `quick`-th in the quick run.
 */
export function sampleOf({ elsewhere, quick = elsewhere }: { elsewhere: number; quick?: number }): Sample {
  const phase = runtimePhase();
  const full = phase === 0 ? 1 : phase === 3 ? 2 * elsewhere : elsewhere;
  const gate = full * (phase === 0 ? GATE_STEP.deno : GATE_STEP.elsewhere);
  const step = isQuick ? quick : isGate ? gate : full;
  return { step, has: (index) => index % step === phase % step };
}

/** The cases of this run. */
export function* sampled<T>(cases: Iterable<T>, sample: Sample): Generator<T> {
  let index = 0;
  for (const one of cases) if (sample.has(index++)) yield one;
}

/** A number for each runtime that the tests are run on, so that each has other cases and seeds: 0 for Deno. */
export function runtimePhase(): number {
  const { name } = currentRuntime();
  if (name !== "node") return name === "deno" ? 0 : 1;
  return Number.parseInt(process.versions.node) >= 24 ? 2 : 3;
}
