/**
 * Which file systems never need space to overwrite a file's bytes, by the number that statfs gives.
 *
 * Guarantees: yes only where that is certain. Not for XFS: a copy that `cp` makes shares its blocks there, and who
 * overwrites them then needs others. Not outside Linux, where the numbers mean something else.
 *
 * @module
 */

import process from "node:process";

/** Linux's numbers of ext2 to ext4, tmpfs and ramfs. */
const IN_PLACE: ReadonlySet<number> = new Set([0xef53, 0x0102_1994, 0x8584_58f6]);

/** Whether overwriting a file in the directory `path` surely needs no space. Deno must be allowed to ask for that. */
export function overwritesInPlace(path: string): boolean {
  if (process.platform !== "linux") return false;
  try {
    return IN_PLACE.has(process.getBuiltinModule("node:fs").statfsSync(path).type);
  } catch {
    return false;
  }
}
