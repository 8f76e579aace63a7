/**
 * Programs of this repository as child processes, on this runtime or on another one.
 *
 * Each runtime has its own way to find what deno.json names (`@std/...`, `@sluice/buffer`) and to be kept from asking
 * questions; this is the one place that knows it. Deno, Bun and Node besides the current runtime are there when
 * `SLUICE_DENO`, `SLUICE_BUN` or `SLUICE_NODE` names their executable, as the test task does where it finds them.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { writeSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A runtime's name. */
export type RuntimeName = "deno" | "bun" | "node";

/** A runtime that can be started. */
export interface Runtime {
  readonly name: RuntimeName;
  /** Path of its executable. */
  readonly command: string;
}

/** How a program is started. */
export interface ChildOptions {
  /** Which runtime runs it; by default the current one. */
  readonly runtime?: Runtime;
  /** Deno's permission flags; by default all are given. Ignored elsewhere. */
  readonly permissions?: readonly string[];
  /** More flags for the runtime. */
  readonly flags?: readonly string[];
  /** Working directory; by default this process's. */
  readonly cwd?: string;
  /** Written to its standard input, which is closed then. */
  readonly input?: string;
  /** Sees each chunk of standard output as it comes, and may kill the child. */
  readonly onOutput?: (text: string, child: ChildProcess) => void;
  /** The child is killed after so long, so that a test fails instead of hanging; by default after two minutes. */
  readonly timeoutMs?: number;
}

/** What became of a program. */
export interface ChildResult {
  /** Exit code; `null` if a signal ended it. */
  readonly code: number | null;
  /** The signal that ended it. */
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

const root = new URL("../../", import.meta.url);

/** The runtime of this process. */
export function currentRuntime(): Runtime {
  const { deno, bun } = process.versions;
  return { name: deno !== undefined ? "deno" : bun !== undefined ? "bun" : "node", command: process.execPath };
}

/** All runtimes that can be started, the current one first. */
export function availableRuntimes(): Runtime[] {
  const current = currentRuntime();
  const found = [current];
  for (const name of ["deno", "bun", "node"] as const) {
    const command = process.env[`SLUICE_${name.toUpperCase()}`];
    if (name !== current.name && command !== undefined && command !== "") found.push({ name, command });
  }
  return found;
}

/** What has to stand before the program's name on the command line, so that it finds what deno.json names. */
export function runtimeArgs(runtime: Runtime = currentRuntime(), permissions: readonly string[] = ["-A"]): string[] {
  const path = (name: string): string => fileURLToPath(new URL(name, root));
  switch (runtime.name) {
    case "deno":
      return ["run", "--quiet", "--no-prompt", "--config", path("deno.json"), ...permissions];
    case "bun":
      return [`--tsconfig-override=${path("tests/std/tsconfig.json")}`];
    case "node":
      // Node up to 22.17 takes types off only when told to, and says each time that it is an experiment.
      return [
        "--experimental-strip-types",
        "--disable-warning=ExperimentalWarning",
        `--import=${new URL("tests/std/resolve.mjs", root).href}`,
      ];
  }
}

/**
 * Starts the program `file` (a URL, or a path from the top of the repository) and gives the process, its standard
 * streams as pipes. Whoever starts it ends it.
 */
export function startChild(file: string | URL, args: readonly string[], options: ChildOptions = {}): ChildProcess {
  const { runtime = currentRuntime(), permissions, flags = [], cwd } = options;
  const program = fileURLToPath(new URL(file, root));
  const runtimeFlags = [...runtimeArgs(runtime, permissions), ...flags];
  const clients = process.env["SLUICE_CLIENTS"];
  // The packages that the child's program imports, on Bun; Node's resolve.mjs knows the variable itself.
  const env = clients === undefined ? process.env : { ...process.env, NODE_PATH: `${clients}/node_modules` };
  return spawn(runtime.command, [...runtimeFlags, program, ...args], { cwd, env, stdio: "pipe" });
}

/** Runs the program `file` to its end, however it ends. Rejects only if it can't be started. */
export function runChild(
  file: string | URL,
  args: readonly string[],
  options: ChildOptions = {},
): Promise<ChildResult> {
  const { input = "", onOutput, timeoutMs = 120_000 } = options;
  const child = startChild(file, args, options);
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    const timer = setTimeout(() => {
      stderr += `\nkilled after ${timeoutMs} ms`;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      onOutput?.(text, child);
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => stderr += text);
    // The child may end before it has read everything: EPIPE is no failure of the test.
    child.stdin!.on("error", () => {}).end(input);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}

/** Writes a line to standard output before anything else happens: what was said may not get lost with the process. */
export function say(line: string): void {
  let rest = new TextEncoder().encode(line + "\n");
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // The pipe is full, and doesn't wait.
      if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
    }
  }
}
