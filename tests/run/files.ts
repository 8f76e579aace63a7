/**
 * Which test files there are, and which of them take long. The one place that says so: what isn't listed here is run by
 * `deno task test`, whole and on each runtime.
 *
 * - The quick run has every file but those that are left out below; sampled ones try a part of their cases.
 * - The long run has every file that is listed below, in full, and all files on the oldest Node.
 * - Both together, each file once and in full, are the gate.
 */

import { readdirSync } from "node:fs";

/** How much is run: `all` is what `quick` and `long` have together, nothing twice. */
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
  "sinks/engine_examples_test.ts": "left out",
  "cli/repair_corruption_test.ts": "left out",
  "buffer/record_buffer_test.ts": "sampled",
  "producer/crash_test.ts": "sampled",
};

/** All test files below `tests`, a path that ends with a slash; relative to it. */
export function testFiles(tests: string): string[] {
  return readdirSync(tests, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith("_test.ts"))
    .sort();
}

/** Those of `files` that a run has on a runtime, the longest first. */
export function filesOf(files: readonly string[], extent: Extent, target: Target): string[] {
  const long = Object.keys(LONG_FILES);
  const others = files.filter((file) => !long.includes(file));
  if (extent === "quick") return [...long.filter((file) => LONG_FILES[file] === "sampled"), ...others];
  if (extent === "long" && target !== "oldest-node") return long;
  return [...long, ...others];
}
