/**
 * Which test files there are, and which of them take long. The one place that says so: what isn't listed here is run by
 * `deno task test`, whole and on each runtime.
 *
 * - The quick run has every file but those that are left out below; sampled ones try a part of their cases.
 * - The long run has every file that is listed below, in full, and on the oldest Node the others as well.
 * - The gate has each file of both once; of exhaustive tests a part of the cases, see `support/extent.ts`, and on the oldest
 *   Node only the files of `OLDEST_NODE_IN_GATE`. It must end within twenty minutes, or nobody waits for it.
 *
 * No runtime has a file whose answer another one gives already: see `ONE_RUNTIME` and `NOT_ON_OLDEST_NODE`.
 */

import { readdirSync } from "node:fs";

/** How much is run: `all` is the gate. */
export type Extent = "quick" | "long" | "all";

/** The runtimes that tests are run on. */
export type Target = "deno" | "bun" | "node" | "oldest-node";

/** What the quick run makes of a file that takes long: a sample of its cases, or nothing. */
export type QuickShare = "sampled" | "left out";

/** Files below `tests/` that take longer than a change should wait for; the longest first, which is the order of the runs. */
export const LONG_FILES: Readonly<Record<string, QuickShare>> = {
  "faults/crash_points/crash_points_test.ts": "sampled",
  "faults/corruption/corruption_test.ts": "sampled",
  "faults/simulation/damaged_lives_test.ts": "left out",
  "sinks/file_sink_crash_points_test.ts": "left out",
  "faults/simulation/simulation_test.ts": "sampled",
  "wal/recovery_faults_test.ts": "left out",
  "faults/simulation/power_cut_test.ts": "left out",
  "faults/real_disk/copy_on_write_disk_test.ts": "left out",
  "cli/repair_test.ts": "left out",
  "sinks/exactly_once_nats_test.ts": "left out",
  "sinks/exactly_once_postgres_test.ts": "left out",
  "sinks/exactly_once_redis_test.ts": "left out",
  "faults/real_disk/real_disk_test.ts": "left out",
  "wal/call_arguments_test.ts": "left out",
  "wal/recovery_cuts_test.ts": "left out",
  "examples/rabbitmq_test.ts": "left out",
  "packaging/published_types_test.ts": "left out",
  "packaging/bundles_test.ts": "left out",
  "packaging/publish_test.ts": "left out",
  "packaging/examples_test.ts": "left out",
  "faults/simulation/copy_on_write_test.ts": "left out",
  "wal/ownership_processes_test.ts": "left out",
  "cli/restore_crash_test.ts": "left out",
  "faults/kill_loop/kill_loop_test.ts": "left out",
  "buffer/processes_test.ts": "left out",
  "wal/log_faults_test.ts": "left out",
  "cli/ship_processes_test.ts": "left out",
  "cli/report_browser_test.ts": "left out",
  "examples/targets_test.ts": "left out",
  "sinks/engine_examples_test.ts": "left out",
  "cli/repair_corruption_test.ts": "left out",
  "buffer/record_buffer_test.ts": "sampled",
  "producer/crash_test.ts": "sampled",
};

/** Files that start the same compiler or server whatever runs them: Deno alone does. */
const ONE_RUNTIME: ReadonlySet<string> = new Set([
  "examples/rabbitmq_test.ts",
  "packaging/published_types_test.ts",
  "packaging/publish_test.ts",
]);

/**
 * Files that try many cases of pure code on the file system in memory. The oldest Node would repeat some of what the newest one
 * tries, in the same language; what depends on its version are its own calls, which all other files make. The same holds for producers
 * and servers that are killed, a minute's worth. Recipes also rest on packages of others, which choose for themselves what they run on.
 */
const NOT_ON_OLDEST_NODE: ReadonlySet<string> = new Set([
  "examples/targets_test.ts",
  "faults/corruption/corruption_test.ts",
  "faults/crash_points/crash_points_test.ts",
  "faults/simulation/copy_on_write_test.ts",
  "faults/simulation/damaged_lives_test.ts",
  "faults/simulation/power_cut_test.ts",
  "sinks/exactly_once_nats_test.ts",
  "sinks/exactly_once_postgres_test.ts",
  "sinks/exactly_once_redis_test.ts",
  "sinks/file_sink_crash_points_test.ts",
  "wal/call_arguments_test.ts",
  "wal/log_faults_test.ts",
  "wal/recovery_cuts_test.ts",
  "wal/recovery_faults_test.ts",
]);

/**
 * What the gate has on the oldest Node, files and rooms: those that make calls of Node's own, which is all that depends on its
 * version. The long run has the others as well.
 */
const OLDEST_NODE_IN_GATE: readonly string[] = [
  "base/",
  "buffer/",
  "cli/main_test.ts",
  "fs/",
  "metrics/",
  "packaging/public_names_test.ts",
  "producer/producer_test.ts",
  "producer/unhandled_test.ts",
  "sinks/file_rotation_test.ts",
  "sinks/file_sink_test.ts",
  "sinks/http_transport_test.ts",
  "wal/",
];

/** Whether a runtime runs a file at all. */
export function runsOn(target: Target, file: string): boolean {
  if (ONE_RUNTIME.has(file)) return target === "deno";
  return target !== "oldest-node" || !NOT_ON_OLDEST_NODE.has(file);
}

/** All test files below `tests`, a path that ends with a slash; relative to it. */
export function testFiles(tests: string): string[] {
  return readdirSync(tests, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith("_test.ts"))
    .sort();
}

/** Those of `files` that a run has on a runtime, the longest first. */
export function filesOf(files: readonly string[], extent: Extent, target: Target): string[] {
  const long = Object.keys(LONG_FILES).filter((file) => runsOn(target, file));
  const others = files.filter((file) => runsOn(target, file) && !long.includes(file));
  if (extent === "all" && target === "oldest-node") {
    return [...long, ...others].filter((file) => OLDEST_NODE_IN_GATE.some((start) => file.startsWith(start)));
  }
  if (extent === "quick") return [...long.filter((file) => LONG_FILES[file] === "sampled"), ...others];
  if (extent === "long" && target !== "oldest-node") return long;
  return [...long, ...others];
}
