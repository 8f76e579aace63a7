/**
 * The runtimes that tests are run on: where they come from, how each runs one test file, and what its summary looks like.
 *
 * Bun and Node are fetched from npm by Deno itself, so that Deno (and `npx -y deno` is one) is all that it takes, and
 * nothing is installed; where that fails, installed ones do if they are new enough. Each runtime finds `@std/...` in a way
 * of its own, see `tests/std/`.
 */

import { stripVTControlCharacters } from "node:util";
import type { Target } from "./files.ts";

/** Exact, so that a run can be repeated. */
const BUN = "1.4.5";
/** The newest LTS line. */
const NODE = "24";
/** The oldest version that the package supports. */
const OLDEST_NODE = "22.13.0";
/** `deno test` with leaks counted as failures. Types are checked by `deno check`, once for all files. */
export const DENO_TEST = ["test", "--quiet", "--no-check", "--no-prompt", "--sanitize-ops", "--sanitize-resources"];

/** How many tests of a run had which end. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** A runtime that tests can be run on. */
export interface TestRuntime {
  /** Name and version. */
  readonly title: string;
  /** Path of the executable, or null if it can't be had. */
  readonly program: string | null;
  /** Arguments that run one test file, a path from the repository's root. */
  readonly argsFor: (file: string) => string[];
  /** What the summary says of each end. */
  readonly summary: Readonly<Record<keyof Counts, RegExp>>;
}

/** What every version of Node gets to run a test file. */
export const NODE_ARGS = [
  // Node up to 22.17 takes types off only when told to, and says each time that it is an experiment.
  "--experimental-strip-types",
  "--disable-warning=ExperimentalWarning",
  "--import=./tests/std/resolve.mjs",
  "--test-reporter=spec",
] as const;

/** How the summary of each runtime's tests reads; the last match counts. */
export const SUMMARIES = {
  deno: {
    passed: /\| (\d+) passed/g,
    failed: /passed.*\| (\d+) failed/g,
    skipped: /failed.*\| (\d+) ignored/g,
  },
  bun: { passed: /^ *(\d+) pass$/gm, failed: /^ *(\d+) fail$/gm, skipped: /^ *(\d+) skip$/gm },
  node: {
    passed: /^ℹ pass (\d+)$/gm,
    failed: /^ℹ (?:fail|cancelled) (\d+)$/gm,
    skipped: /^ℹ skipped (\d+)$/gm,
  },
} as const satisfies Readonly<Record<string, TestRuntime["summary"]>>;

/** Reads the summary at the end of a test runner's output. Node tells of failed and of cancelled tests on lines of their own. */
export function countsOf(output: string, summary: TestRuntime["summary"]): Counts {
  const text = stripVTControlCharacters(output);
  const total = (pattern: RegExp): number =>
    Array.from(text.matchAll(pattern), ([, digits]) => Number(digits)).reduce((sum, count) => sum + count, 0);
  return { passed: total(summary.passed), failed: total(summary.failed), skipped: total(summary.skipped) };
}

/** This Deno. */
export function deno({ config }: { readonly config?: string } = {}): TestRuntime {
  const more = config === undefined ? [] : [`--config=${config}`, "--no-lock"];
  return {
    title: `Deno ${Deno.version.deno}`,
    program: Deno.execPath(),
    argsFor: (file) => [...DENO_TEST, ...more, "--preload=tests/sanitizers.ts", "--allow-all", file],
    summary: SUMMARIES.deno,
  };
}

/** Finds the runtime of a target. */
export async function findRuntime(target: Target): Promise<TestRuntime> {
  if (target === "deno") return deno();
  if (target === "bun") {
    return {
      ...await find("Bun", { npmPackage: "bun", command: "bun", version: BUN }),
      argsFor: (file) => [
        "test",
        // By default a test has five seconds, which is little on a busy machine; no other runtime has a limit.
        "--timeout=120000",
        "--tsconfig-override=tests/std/tsconfig.json",
        `./${file}`,
      ],
      summary: SUMMARIES.bun,
    };
  }
  return {
    ...await findNode(target === "node" ? NODE : OLDEST_NODE),
    argsFor: (file) => [...NODE_ARGS, file],
    summary: SUMMARIES.node,
  };
}

/** The npm package `node` is a script that looks for this one, which is the program itself. */
function findNode(version: string): Promise<Found> {
  const os = Deno.build.os === "windows" ? "win" : Deno.build.os;
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  return find("Node", { npmPackage: `node-${os}-${arch}`, command: "node", version });
}

type Found = Pick<TestRuntime, "title" | "program">;

interface Wanted {
  readonly npmPackage: string;
  readonly command: string;
  readonly version: string;
}

/** Finds a runtime: the npm package, through `deno x`, else an installed one that is new enough. */
async function find(name: string, { npmPackage, command, version }: Wanted): Promise<Found> {
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
  const cwd = Deno.makeTempDirSync({ prefix: "sluice-find-" });
  try {
    const { success, stdout } = await new Deno.Command(program!, { args, cwd, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout) : "";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  } finally {
    Deno.removeSync(cwd, { recursive: true });
  }
}
