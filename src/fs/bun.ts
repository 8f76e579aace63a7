/**
 * The file system of Bun, on `node:fs`, because none of Bun's own file calls fits what a log needs:
 * - `Bun.write()` and `Bun.file().writer()` (FileSink) can't write at a position, never sync, and need a
 *   promise for each write; `Bun.write()` on a longer file leaves its end to a later truncate.
 * - `Bun.file().slice().bytes()` reads at a position, but only asynchronously and into a buffer of its own.
 * - `Bun.file().size` and `.delete()` take paths, not the open file; the first answers 0 for a missing one.
 * - `Bun.mmap()` makes a put a copy in memory that survives kill -9, at half the price of a write call (measured: 0.36
 *   against 0.73 us, encoding and checksum included). It can't be made as safe, on no file system that was tried: where a
 *   write call fails, a store ends the process by SIGBUS, which nothing in JavaScript catches. Space that was set aside
 *   before doesn't stay so: on XFS anybody's `cp` shares it (reflink), on btrfs the first write-back gives it up; a file
 *   that is cut short by somebody, or a page that can't be read back, has the same end on ext4, too. And an ext4 that has
 *   become read-only takes stores without a word, where write says EROFS: puts would be acknowledged that are lost.
 *
 * Guarantees: those of `node.ts`, whose code runs here. Two things differ in Bun's `node:fs`, and that code allows for
 * both: fsync, fdatasync and unlink report EINTR (made again), and a write that comes back short isn't continued by
 * the runtime (continued there).
 *
 * Not guaranteed: on macOS fsync leaves data in the drive's own cache unless it is asked for F_FULLFSYNC, as libuv and
 * Deno do; whether Bun does is not known.
 *
 * @module
 */

import type { FileSystem } from "./file_system.ts";
import { createNodeFileSystem } from "./node.ts";

/** The file system of this Bun process. */
export const bunFileSystem: FileSystem = createNodeFileSystem("bun");
