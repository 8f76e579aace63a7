/**
 * Runs test files, each in a process of its own and two at a time, and tells of each when it has ended: one line, and
 * everything that it printed if it failed.
 *
 * A file counts as failed at least once when its runtime can't be had, when it ends with an error or not in time, and when
 * it shows no test at all.
 */

import { type Counts, countsOf, type TestRuntime } from "./runtimes.ts";

/** A small machine has two cores. */
const MAX_JOBS = 2;
/** The longest files take two minutes; one that hangs is ended after this time. */
const MAX_JOB_MS = 600_000;

/** A test file on a runtime. */
export interface Job {
  readonly runtime: TestRuntime;
  /** What the line calls it. */
  readonly name: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What became of a job. */
interface Outcome extends Counts {
  readonly output: string;
  /** How its process ended if not well, e.g. `exit code 1`. */
  readonly end: string | undefined;
}

/** Runs all jobs, in order as far as two at a time allow, and adds up. */
export async function runJobs(jobs: readonly Job[], { isWhole }: { readonly isWhole: boolean }): Promise<Counts> {
  const totals = new Map<string, Counts>();
  const failures: string[] = [];
  const startedAt = Date.now();
  const titleWidth = Math.max(...jobs.map(({ runtime }) => runtime.title.length));
  const queue = jobs[Symbol.iterator]();
  async function work(): Promise<void> {
    for (const job of queue) {
      const jobStartedAt = Date.now();
      const outcome = await execute(job);
      const { title } = job.runtime;
      const line = lineFor(`${title.padEnd(titleWidth)}  ${job.name}`, outcome, Date.now() - jobStartedAt);
      console.log(line);
      if (isWhole || outcome.failed > 0) console.log(`${outcome.output}\n`);
      if (outcome.failed > 0) failures.push(line);
      totals.set(title, sumOf([totals.get(title) ?? NONE, outcome]));
    }
  }
  await Promise.all(Array.from({ length: MAX_JOBS }, work));
  console.log("");
  for (const failure of failures) console.log(failure);
  for (const [title, { passed, failed, skipped }] of totals) {
    console.log(`--- ${title}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  }
  console.log(`--- ${jobs.length} runs of test files in ${Math.round((Date.now() - startedAt) / 1000)} s`);
  return sumOf([...totals.values()]);
}

const NONE: Counts = { passed: 0, failed: 0, skipped: 0 };

function sumOf(counts: readonly Counts[]): Counts {
  const sum = (key: keyof Counts): number => counts.reduce((total, one) => total + one[key], 0);
  return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
}

function lineFor(what: string, { passed, failed, skipped, end }: Outcome, ms: number): string {
  const parts = [`${passed} passed`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  if (end !== undefined) parts.push(`ended by ${end}`);
  return `${failed > 0 ? "FAILED" : "ok    "}  ${what}  ${parts.join(", ")} (${(ms / 1000).toFixed(1)} s)`;
}

async function execute({ runtime, args, cwd, env }: Job): Promise<Outcome> {
  const { program, summary } = runtime;
  if (program === null) {
    const output = "The runtime is missing: it could be neither fetched from npm nor found installed.";
    return { passed: 0, failed: 1, skipped: 0, output, end: undefined };
  }
  const child = new Deno.Command(program, {
    args: [...args],
    cwd,
    env,
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(MAX_JOB_MS),
  });
  const { code, signal, stdout, stderr } = await child.output();
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const { passed, failed, skipped } = countsOf(output, summary);
  const isOk = code === 0 && failed === 0 && passed + skipped > 0;
  const end = code === 0 ? undefined : signal ?? `exit code ${code}`;
  return { passed, failed: isOk ? 0 : Math.max(failed, 1), skipped, output: output.trimEnd(), end };
}
