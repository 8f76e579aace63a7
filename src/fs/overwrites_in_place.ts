/**
 * Which file systems never need space to overwrite a file's bytes, by the type that statfs reports.
 *
 * Guarantees: yes only where that is certain. XFS is not among them: a copy that `cp` makes shares the file's blocks, and
 * overwriting those takes new ones. Outside Linux the answer is no, because the numbers have other meanings.
 *
 * @module
 */

import process from "node:process";

/** Types of ext2 to ext4, tmpfs and ramfs on Linux. */
const IN_PLACE: ReadonlySet<number> = new Set([0xef53, 0x0102_1994, 0x8584_58f6]);

/** Whether overwriting a file in the directory `path` surely needs no space. On Deno it takes `--allow-sys=statfs`. */
export function overwritesInPlace(path: string): boolean {
  if (process.platform !== "linux") return false;
  try {
    return IN_PLACE.has(process.getBuiltinModule("node:fs").statfsSync(path).type);
  } catch {
    return false;
  }
}
