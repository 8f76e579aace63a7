/**
 * Runs the tests on Deno, Bun and Node: `deno run -A tests/run.ts [target ...]`, where a target is
 *
 * - `deno`: the tests, then every example of the documentation; `bun`; `node`. These three when none is given.
 * - `jsr`: the tests on Deno against the published `@std` packages instead of the stand-ins.
 * - `coverage`: the tests on Deno, then the line coverage of `src/`.
 * - `bench`, `bench:cli`: no test, but a benchmark, `tests/bench/run.ts` or `cli.ts`. Only alone; what follows are its
 *   options.
 *
 * Bun and Node are fetched from npm by Deno itself, so that Deno (and `npx -y deno` is one) is all that it takes, and
 * nothing is installed; where that fails, installed ones do if they are new enough. Each runtime is told where to
 * find `@std/...` in its own way, see `tests/std/`. Tests that start programs on other runtimes find these in the
 * environment: SLUICE_DENO, SLUICE_BUN and SLUICE_NODE are paths of executables.
 *
 * Deno and Bun run one test after the other; so, when both are asked for, they run side by side, and what Bun prints comes
 * behind what Deno does. Node runs two files at a time.
 *
 * The last line is `N passed, N failed`, the sum over all runs. A run counts as failed at least once when its runtime
 * can't be had, when it ends with an error or not in time, and when it shows no test that passed. The exit code is 0 only
 * if nothing failed.
 */

import { stripVTControlCharacters } from "node:util";
import { documentedFiles, examplesOf } from "./packaging/doc_examples.ts";
import { runtimeArgs } from "./support/children.ts";

/** Exact, so that a run can be repeated. */
const BUN = "1.4.5";
/** The newest LTS line, and the oldest version that the package supports, which is of the line before. */
const NODES = ["24", "22.13.0"];
/** A run takes a few minutes; one that hangs is ended after this time. */
const MAX_RUN_MS = 720_000;

interface Runtime {
  /** Name and version. */
  readonly title: string;
  /** Path of the executable, or null if it can't be had. */
  readonly program: string | null;
}

/** One run of a test runner. */
interface Run extends Runtime {
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The numbers in the runner's summary; all matches of a pattern are added up. */
  readonly passed: RegExp;
  readonly failed: RegExp;
}

interface Outcome {
  readonly passed: number;
  readonly failed: number;
}

const root = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/^\/(?=[A-Z]:)/, "");
const scratch = Deno.makeTempDirSync({ prefix: "sluice-tests-" });

/** `deno test` with leaks counted as failures. */
const DENO_TEST = ["test", "--quiet", "--no-prompt", "--sanitize-ops", "--sanitize-resources"];
const DENO_TESTS = [...DENO_TEST, "--preload=tests/sanitizers.ts", "--allow-all"];
const DENO_SUMMARY = { passed: /\| (\d+) passed/g, failed: /passed.*\| (\d+) failed/g };

/** What each target runs. One that can run beside another prints when its turn has come. */
const targets: Readonly<Record<string, (turn?: Promise<unknown>) => Promise<Outcome[]>>> = {
  deno: async () => [await execute(denoTests("tests", ["tests"])), await execute(denoExamples())],
  bun: async (turn) => [await execute(bunTests(), turn)],
  async node() {
    const outcomes = [];
    for (const version of NODES) outcomes.push(await execute(nodeTests(await findNode(version))));
    return outcomes;
  },
  async jsr() {
    const config = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
    delete config.links;
    config.imports[config.name] = new URL("../mod.ts", import.meta.url).href;
    for (const key of ["name", "version", "exports", "publish", "tasks"]) delete config[key];
    Deno.writeTextFileSync(`${scratch}/deno.json`, JSON.stringify(config));
    return [await execute(denoTests("published packages", [`--config=${scratch}/deno.json`, "--no-lock", "tests"]))];
  },
  async coverage() {
    const outcome = await execute(
      denoTests("coverage", [`--coverage=${scratch}/coverage`, "--coverage-raw-data-only", "tests"]),
    );
    await show([
      Deno.execPath(),
      "coverage",
      `--include=^${new URL("../src/", import.meta.url)}`,
      `${scratch}/coverage`,
    ]);
    return [outcome];
  },
  bench: () => bench("run.ts"),
  "bench:cli": () => bench("cli.ts"),
};

function denoTests(what: string, args: readonly string[]): Run {
  return {
    title: `Deno ${Deno.version.deno}, ${what}`,
    program: Deno.execPath(),
    args: [...DENO_TESTS, ...args],
    ...DENO_SUMMARY,
  };
}

/**
 * Every example becomes a module, with its code on the lines on which it stands in its file, so that an error shows the
 * place; one test imports each. `deno test --doc` would do as well, but starts anew for each example, which takes ten
 * times as long. They get a directory of their own, and the two permissions that the package needs, for that alone.
 */
function denoExamples(): Run {
  const cwd = `${scratch}/examples`;
  Deno.mkdirSync(cwd);
  const examples = documentedFiles(root)
    .flatMap((file) => examplesOf(file, Deno.readTextFileSync(root + file)))
    .filter(({ isIgnored }) => !isIgnored);
  const tests = examples.map(({ file, line, code }) => {
    const name = `${file.replaceAll("/", ".")}.${line}.ts`;
    Deno.writeTextFileSync(`${cwd}/${name}`, "\n".repeat(line - 1) + code);
    return `Deno.test("${file}:${line}", async () => void await import("./${name}"));\n`;
  });
  Deno.writeTextFileSync(`${cwd}/examples_test.ts`, tests.join(""));
  return {
    title: `Deno ${Deno.version.deno}, examples of the documentation`,
    program: Deno.execPath(),
    args: [...DENO_TEST, `--config=${root}deno.json`, "--allow-read=.", "--allow-write=.", "examples_test.ts"],
    cwd,
    env: { TMPDIR: cwd },
    ...DENO_SUMMARY,
  };
}

function bunTests(): Run {
  return {
    ...bun,
    // By default a test has five seconds, which is little on a busy machine; no other runtime has a limit.
    args: ["test", "--timeout=120000", "--tsconfig-override=tests/std/tsconfig.json", "./tests"],
    passed: /^ *(\d+) pass$/gm,
    failed: /^ *(\d+) fail$/gm,
  };
}

function nodeTests(node: Runtime): Run {
  return {
    ...node,
    args: [
      // Node up to 22.17 takes types off only when told to, and says each time that it is an experiment.
      "--experimental-strip-types",
      "--disable-warning=ExperimentalWarning",
      "--import=./tests/std/resolve.mjs",
      "--test-reporter=spec",
      // By default one core is left alone, which is one of two on a small machine.
      "--test-concurrency=2",
      "--test",
      "tests/**/*_test.ts",
    ],
    passed: /^ℹ pass (\d+)$/gm,
    failed: /^ℹ (?:fail|cancelled) (\d+)$/gm,
  };
}

function findBun(): Promise<Runtime> {
  return find("Bun", { npmPackage: "bun", command: "bun", version: BUN });
}

/** The npm package `node` is a script that looks for this one, which is the program itself. */
function findNode(version: string): Promise<Runtime> {
  const os = Deno.build.os === "windows" ? "win" : Deno.build.os;
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  return find("Node", { npmPackage: `node-${os}-${arch}`, command: "node", version });
}

interface Wanted {
  readonly npmPackage: string;
  readonly command: string;
  readonly version: string;
}

/** Finds a runtime: the npm package, through `deno x`, else an installed one that is new enough. */
async function find(name: string, { npmPackage, command, version }: Wanted): Promise<Runtime> {
  const ask = ["-p", "process.execPath + ' ' + (process.versions.bun ?? process.versions.node)"];
  const fetched = [Deno.execPath(), "x", "--quiet", "--yes", "--allow-all", `npm:${npmPackage}@${version}`];
  for (const way of [fetched, [command]]) {
    const [, program, found] = /^(.+) (\S+)$/m.exec(await outputOf([...way, ...ask])) ?? [];
    if (program !== undefined && isAtLeast(found!, version)) return { title: `${name} ${found}`, program };
  }
  return { title: `${name} ${version}`, program: null };
}

function isAtLeast(version: string, minimum: string): boolean {
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  return compare(version, minimum) >= 0;
}

/** Runs a command and returns what it wrote to stdout; nothing when it failed. */
async function outputOf([program, ...args]: readonly string[]): Promise<string> {
  try {
    const { success, stdout } = await new Deno.Command(program!, { args, cwd: scratch, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout) : "";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

async function show([program, ...args]: readonly string[]): Promise<void> {
  await new Deno.Command(program!, { args, cwd: root, stdout: "inherit", stderr: "inherit" }).output();
}

/** Runs a benchmark with the rest of the command line. */
async function bench(program: string): Promise<Outcome[]> {
  const args = [
    ...runtimeArgs({ name: "deno", command: Deno.execPath() }),
    `${root}tests/bench/${program}`,
    ...benchArgs,
  ];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args,
    env: executables,
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return code === 0 ? [] : [{ passed: 0, failed: 1 }];
}

/** Does one run, shows its output while it comes, or when `turn` has come, and counts. */
async function execute(run: Run, turn?: Promise<unknown>): Promise<Outcome> {
  if (run.program === null) {
    await turn;
    console.log(`\n--- ${run.title} is missing: it could be neither fetched from npm nor found installed`);
    return { passed: 0, failed: 1 };
  }
  if (turn === undefined) console.log(`\n==> ${run.title}`);
  const startedAt = Date.now();
  const child = new Deno.Command(run.program, {
    args: [...run.args],
    cwd: run.cwd ?? root,
    env: { ...executables, ...run.env },
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(MAX_RUN_MS),
  }).spawn();
  const [stdout, stderr, { code, signal }] = await Promise.all([
    collect(child.stdout, turn === undefined ? Deno.stdout : undefined),
    collect(child.stderr, turn === undefined ? Deno.stderr : undefined),
    child.status,
  ]);
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  if (turn !== undefined) {
    await turn;
    console.log(`\n==> ${run.title}\n${stdout}${stderr}`);
  }
  const output = stripVTControlCharacters(stdout + stderr);
  const passed = total(output, run.passed);
  const failed = total(output, run.failed);
  const isOk = code === 0 && failed === 0 && passed > 0;
  const outcome = { passed, failed: isOk ? 0 : Math.max(failed, 1) };
  const end = code === 0 ? "" : `, ended by ${signal ?? `exit code ${code}`}`;
  console.log(`\n--- ${run.title}: ${outcome.passed} passed, ${outcome.failed} failed in ${seconds} s${end}`);
  return outcome;
}

async function collect(stream: ReadableStream<Uint8Array>, copyTo: typeof Deno.stdout | undefined): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    if (copyTo !== undefined) {
      for (let written = 0; written < chunk.length;) written += await copyTo.write(chunk.subarray(written));
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

function total(output: string, pattern: RegExp): number {
  return Array.from(output.matchAll(pattern), ([, digits]) => Number(digits)).reduce((sum, count) => sum + count, 0);
}

const isBench = Deno.args[0]?.startsWith("bench") ?? false;
const benchArgs = isBench ? Deno.args.slice(1) : [];
const names = isBench ? [Deno.args[0]!] : Deno.args.length > 0 ? Deno.args : ["deno", "bun", "node"];
const unknown = names.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0) {
  console.error(`Cannot run ${unknown.join(", ")}: the targets are ${Object.keys(targets).join(", ")}`);
  Deno.exit(2);
}
const bun = await findBun();
const node = await findNode(NODES[0]!);
const executables: Record<string, string> = { SLUICE_DENO: Deno.execPath() };
if (bun.program !== null) executables["SLUICE_BUN"] = bun.program;
if (node.program !== null) executables["SLUICE_NODE"] = node.program;

const outcomes: Outcome[] = [];
try {
  for (let i = 0; i < names.length; i++) {
    const running = targets[names[i]!]!();
    const beside = names[i] === "deno" && names[i + 1] === "bun" ? targets[names[++i]!]!(running) : undefined;
    outcomes.push(...await running, ...await beside ?? []);
  }
} finally {
  Deno.removeSync(scratch, { recursive: true });
}
const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
if (outcomes.length > 0) console.log(`\n${passed} passed, ${failed} failed`);
Deno.exitCode = failed === 0 ? 0 : 1;
