/**
 * The file system of Bun, on `node:fs`. None of Bun's own file calls fits a log:
 * - `Bun.write()` and `Bun.file().writer()` (FileSink) can't write at a position, never sync, and need a promise for each write.
 *   `Bun.write()` on a longer file leaves its end to a later truncate.
 * - `Bun.file().slice().bytes()` reads at a position, but only asynchronously and into a buffer of its own.
 * - `Bun.file().size` and `.delete()` take paths, not the open file; the first gives 0 for a missing one.
 * - `Bun.mmap()` would make a put a copy in memory that survives kill -9, at half the price of a write call (measured: 0.36
 *   against 0.73 us, encoding and checksum included). It isn't safe on any file system that was tried. Where a write call fails,
 *   a store ends the process by SIGBUS, which JavaScript can't catch. Preallocated space doesn't stay reserved: on XFS any `cp`
 *   shares it (reflink), on btrfs the first write-back gives it up. A file that somebody truncates, or a page that can't be
 *   read back, ends the same way on ext4, too. And an ext4 that has become read-only silently accepts stores, where write says
 *   EROFS: lost puts would be acknowledged.
 *
 * Guarantees: those of `node.ts`, whose code runs here. Bun's `node:fs` differs in two ways, and that code handles both: fsync,
 * fdatasync and unlink report EINTR (they are repeated), and the runtime doesn't continue a short write (that code does).
 *
 * Not guaranteed: on macOS, fsync leaves data in the drive's own cache unless F_FULLFSYNC is requested, as libuv and Deno do;
 * whether Bun does is unknown.
 *
 * @module
 */

import type { FileSystem } from "./file_system.ts";
import { createNodeFileSystem } from "./node.ts";

/** The file system of this Bun process. */
export const bunFileSystem: FileSystem = createNodeFileSystem("bun");
