/**
 * Runs the tests: `deno run -A tests/run.ts [quick|long|all] [target ...] [file ...]`.
 *
 * - `quick`, the default: what a change needs. `long`: what takes long, in full. `all`: both. `run/files.ts` says which
 *   file belongs where.
 * - A target is `deno`, which has the examples of the documentation, too, `bun`, `node` (the newest LTS line) or
 *   `oldest-node` (the oldest version supported). By default the first three, and all four when it isn't the quick run.
 * - Where files are named, these are run, and everything that they print is shown.
 *
 * - The whole of it (`all`) also has a fixed set of files on Node for Windows, where Wine is installed; `windows` runs it alone.
 *
 * Other than that: `jsr`, the tests on Deno against the published `@std` packages instead of the stand-ins; `coverage`,
 * the tests on Deno, then the line coverage of `src/`; `bench`, `bench:compare`, `bench:cli` and `bench:sinks`, no test, but the
 * benchmarks in `tests/bench/`, what follows are their options.
 *
 * Tests that start programs on other runtimes find these in the environment: SLUICE_DENO, SLUICE_BUN and SLUICE_NODE are
 * paths of executables. The last line is `N passed, N failed`, the sum over all runs, see `run/jobs.ts`. The exit code is 0
 * only if nothing failed.
 */

import { makeExamplesJob } from "./run/doc_examples_job.ts";
import { type Extent, filesOf, type Target, testFiles } from "./run/files.ts";
import { type Job, runJobs } from "./run/jobs.ts";
import { deno, findRuntime, type TestRuntime } from "./run/runtimes.ts";
import { endWine, makeWindowsJobs } from "./run/windows.ts";
import { runtimeArgs } from "./support/children.ts";

const EXTENTS: readonly Extent[] = ["quick", "long", "all"];
const TARGETS: readonly Target[] = ["deno", "bun", "node", "oldest-node"];
const OTHERS = ["windows", "jsr", "coverage", "bench", "bench:compare", "bench:cli", "bench:sinks"];

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/^\/(?=[A-Z]:)/, "");
const scratch = Deno.makeTempDirSync({ prefix: "sluice-tests-" });

/** What the command line asks for. */
interface Wanted {
  readonly extent: Extent;
  readonly targets: readonly Target[];
  /** Paths from the root; empty for those that belong to the extent. */
  readonly files: readonly string[];
}

function parse(args: readonly string[]): Wanted | undefined {
  const files = args.filter((arg) => arg.endsWith("_test.ts"));
  const extents = EXTENTS.filter((extent) => args.includes(extent));
  const targets = TARGETS.filter((target) => args.includes(target));
  const unknown = args.filter((arg) => ![...files, ...EXTENTS, ...TARGETS].includes(arg));
  if (unknown.length > 0 || extents.length > 1) {
    const known = [...EXTENTS, ...TARGETS, ...OTHERS].join(", ");
    console.error(`Cannot run ${args.join(" ")}: there are ${known}, and test files`);
    return undefined;
  }
  const extent = extents[0] ?? "quick";
  const byDefault = extent === "quick" || files.length > 0 ? TARGETS.slice(0, 3) : TARGETS;
  return { extent, targets: targets.length > 0 ? targets : byDefault, files };
}

/** Checks the types of everything, and shows what is wrong with them. The gate has done so before it comes here. */
async function checkTypes(): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet"],
    cwd: root,
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  console.log(success ? "ok      types" : "FAILED  types");
  return success;
}

async function runTests({ extent, targets, files }: Wanted): Promise<boolean> {
  console.log("Bun and Node are fetched from npm");
  const checking = extent === "quick" && files.length === 0 ? checkTypes() : true;
  const runtimes: Partial<Record<Target, TestRuntime>> = {};
  for (const target of new Set<Target>([...targets, "bun", "node"])) runtimes[target] = await findRuntime(target);
  const areTypesRight = await checking;
  // Programs that a test starts again and again are compiled once; it halves what Node takes to start one.
  const env = { ...executablesOf(runtimes), SLUICE_EXTENT: extent, NODE_COMPILE_CACHE: `${scratch}/node` };
  const tests = testFiles(`${root}tests/`);
  const jobs = targets.flatMap((target) => {
    const runtime = runtimes[target]!;
    const chosen = files.length > 0 ? files : filesOf(tests, extent, target).map((file) => `tests/${file}`);
    return chosen.map((file): Job => ({ runtime, name: file, args: runtime.argsFor(file), cwd: root, env }));
  });
  // They take few seconds, so that the quick run has them.
  if (targets.includes("deno") && files.length === 0 && extent !== "long") {
    jobs.unshift(makeExamplesJob(root, `${scratch}/examples`));
  }
  if (extent === "all" && files.length === 0) jobs.push(...await findWindowsJobs());
  return await runAndSum(jobs, { isWhole: files.length > 0, more: areTypesRight ? 0 : 1 });
}

/** Runs jobs and prints the sum, as the last line; `more` failures are counted besides those of the jobs. */
async function runAndSum(
  jobs: readonly Job[],
  { isWhole = false, more = 0 }: { readonly isWhole?: boolean; readonly more?: number } = {},
): Promise<boolean> {
  const { passed, failed } = await runJobs(jobs, { isWhole });
  console.log(`\n${passed} passed, ${failed + more} failed`);
  return failed + more === 0;
}

/** The runtimes as tests find them. */
function executablesOf({ bun, node }: Partial<Record<Target, TestRuntime>>): Record<string, string> {
  const executables: Record<string, string> = { SLUICE_DENO: Deno.execPath() };
  if (bun?.program) executables["SLUICE_BUN"] = bun.program;
  if (node?.program) executables["SLUICE_NODE"] = node.program;
  return executables;
}

async function findExecutables(): Promise<Record<string, string>> {
  return executablesOf({ bun: await findRuntime("bun"), node: await findRuntime("node") });
}

/** All tests on Deno, with its arguments changed. */
async function runOnDeno(runtime: TestRuntime, more: readonly string[]): Promise<boolean> {
  const env = await findExecutables();
  return await runAndSum(
    filesOf(testFiles(`${root}tests/`), "all", "deno").map((file): Job => {
      const [command, ...args] = runtime.argsFor(`tests/${file}`);
      return { runtime, name: `tests/${file}`, args: [command!, ...more, ...args], cwd: root, env };
    }),
  );
}

function runAgainstPublished(): Promise<boolean> {
  const config = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
  delete config.links;
  config.imports[config.name] = new URL("../mod.ts", import.meta.url).href;
  for (const key of ["name", "version", "exports", "publish", "tasks"]) delete config[key];
  Deno.writeTextFileSync(`${scratch}/deno.json`, JSON.stringify(config));
  return runOnDeno(deno({ config: `${scratch}/deno.json` }), []);
}

async function runCoverage(): Promise<boolean> {
  const isOk = await runOnDeno(deno(), [`--coverage=${scratch}/coverage`, "--coverage-raw-data-only"]);
  const args = ["coverage", `--include=^${new URL("../src/", import.meta.url)}`, `${scratch}/coverage`];
  await new Deno.Command(Deno.execPath(), { args, cwd: root, stdout: "inherit", stderr: "inherit" }).output();
  return isOk;
}

/** None where Wine isn't installed, which is said. */
async function findWindowsJobs(files?: readonly string[]): Promise<readonly Job[]> {
  const jobs = await makeWindowsJobs(root, scratch, files);
  if (typeof jobs !== "string") return jobs;
  console.log(`skipped  Node for Windows: ${jobs}`);
  return [];
}

async function runOnWindows(files: readonly string[]): Promise<boolean> {
  const jobs = await findWindowsJobs(files.length > 0 ? files : undefined);
  return jobs.length === 0 || await runAndSum(jobs, { isWhole: files.length > 0 });
}

async function runBenchmark(program: string, options: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [...runtimeArgs({ name: "deno", command: Deno.execPath() }), `${root}tests/bench/${program}`, ...options],
    env: await findExecutables(),
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return success;
}

async function run([what, ...rest]: readonly string[]): Promise<boolean> {
  if (what === "bench") return runBenchmark("run.ts", rest);
  if (what === "bench:compare") return runBenchmark("compare.ts", rest);
  if (what === "bench:cli") return runBenchmark("cli.ts", rest);
  if (what === "bench:sinks") return runBenchmark("sinks/run.ts", rest);
  if (what === "windows") return runOnWindows(rest);
  if (what === "jsr" && rest.length === 0) return runAgainstPublished();
  if (what === "coverage" && rest.length === 0) return runCoverage();
  const wanted = parse(Deno.args);
  return wanted !== undefined && await runTests(wanted);
}

try {
  Deno.exitCode = await run(Deno.args) ? 0 : 1;
} finally {
  await endWine(scratch);
  Deno.removeSync(scratch, { recursive: true });
}
