/**
 * What a figure depends on besides the program: processor, kernel, file system, versions; and the directory for the data.
 *
 * The data has to be on the disk that is to be measured. A file system in memory is refused unless somebody asks for that
 * directory by name, because a sync costs nothing there and all figures would look good.
 */

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import { join, sep } from "node:path";
import process from "node:process";
import type { Runtime } from "../support/children.ts";

/** Where figures were measured. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** Type of the file system that the data was on. */
  readonly fileSystem: string;
  /** Processes that were waiting for a processor in the minute before; more than 0.5 disturbs. */
  readonly loadBefore: number;
  /** Names and versions. */
  readonly runtimes: readonly string[];
}

export function describeMachine(directory: string, runtimes: readonly Runtime[]): Machine {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model ?? "unknown processor",
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()}`,
    fileSystem: fileSystemOf(directory),
    loadBefore: os.loadavg()[0]!,
    runtimes: runtimes.map(({ name, command }) => {
      const { stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
      return `${titleOf(name)} ${/\d+\.\d+\.\d+\S*/.exec(stdout ?? "")?.[0] ?? "?"}`;
    }),
  };
}

/** A runtime's name as its makers write it. */
export function titleOf(name: Runtime["name"]): string {
  return name[0]!.toUpperCase() + name.slice(1);
}

/**
 * The type of the file system that a directory is on, such as `ext4`: that of the longest mount point above it.
 * `unknown` on systems without `/proc`.
 */
export function fileSystemOf(directory: string): string {
  if (!fs.existsSync("/proc/self/mountinfo")) return "unknown";
  const path = fs.realpathSync(directory);
  let type = "unknown";
  let longest = 0;
  for (const line of fs.readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    // ID PARENT DEVICE ROOT MOUNT_POINT OPTIONS [FIELDS ...] - TYPE SOURCE OPTIONS
    const [before = "", after = ""] = line.split(" - ");
    const mountPoint = (before.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, octal) => {
      return String.fromCharCode(parseInt(octal, 8));
    });
    const isAbove = mountPoint === sep || path === mountPoint || path.startsWith(mountPoint + sep);
    if (mountPoint === "" || !isAbove || mountPoint.length < longest) continue;
    longest = mountPoint.length;
    type = after.split(" ")[0]!;
  }
  return type;
}

/** Bytes that may still be written to the disk of a directory. */
export function freeBytes(directory: string): number {
  const { bavail, bsize } = fs.statfsSync(directory);
  return bavail * bsize;
}

/**
 * Makes a directory for the data, which is removed when this process ends, also by Ctrl-C.
 *
 * @param parent Where; without it the directory for temporary files, which must not be in memory.
 */
export function makeDataDirectory(parent: string | undefined): string {
  const directory = fs.mkdtempSync(join(parent ?? os.tmpdir(), "sluice-bench-"));
  process.on("exit", () => fs.rmSync(directory, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
  const type = fileSystemOf(directory);
  if (parent === undefined && (type === "tmpfs" || type === "ramfs")) {
    console.error(`Cannot measure in ${os.tmpdir()}: it is in memory (${type}). Choose a disk with --dir PATH`);
    process.exit(2);
  }
  return directory;
}
