/**
 * Which file systems never need space to overwrite a file's bytes, by the type that the system reports.
 *
 * Guarantees: yes only where that is certain. XFS is not among them: a copy that `cp` makes shares the file's blocks, and
 * overwriting those takes new ones. Outside Linux the answer is no, because the numbers have other meanings.
 *
 * @module
 */

import { platformName, processOfNode } from "../base/runtime.ts";

/** Types of ext2 to ext4, tmpfs and ramfs on Linux. */
const IN_PLACE: ReadonlySet<number> = new Set([0xef53, 0x0102_1994, 0x8584_58f6]);
/** Their names in the list of mounts. */
const NAMES_IN_PLACE: ReadonlySet<string> = new Set(["ext2", "ext3", "ext4", "tmpfs", "ramfs"]);

/** Whether overwriting a file in the directory `path` surely needs no space. On Deno it takes `--allow-sys=statfs`. */
export function overwritesInPlace(path: string): boolean {
  if (platformName() !== "linux") return false;
  try {
    return IN_PLACE.has(processOfNode().getBuiltinModule("node:fs").statfsSync(path).type);
  } catch {
    return false;
  }
}

/**
 * The same, by Linux's list of mounts.
 *
 * @param mounts The content of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
 * @param device The device that the files are on: "major:minor".
 */
export function isMountedInPlace(mounts: string, device: string): boolean {
  const mount = mounts.split("\n").map((line) => line.split(" ")).find((fields) => fields[2] === device);
  return mount !== undefined && NAMES_IN_PLACE.has(mount[mount.indexOf("-") + 1]);
}
