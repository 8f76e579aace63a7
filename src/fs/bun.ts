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
 * Guarantees: those of `node.ts`, whose code runs here. Bun's `node:fs` differs in three ways, and the code handles all: fsync,
 * fdatasync and unlink report EINTR (they are repeated), the runtime doesn't continue a short write, and on macOS fsync and
 * fdatasync leave data in the drive's own cache, where Node and Deno ask for F_FULLFSYNC. So does {@linkcode createDriveFlush}
 * here, through `bun:ffi`: behind each sync, and unlike it in the way of the event loop for the milliseconds that the drive takes.
 *
 * Not guaranteed: on file systems that have no F_FULLFSYNC (SMB, exFAT, some of FUSE), a sync is what fsync does, as in libuv. No Mac
 * was there to try it on; the tests replace the call.
 *
 * @module
 */

import { processOfNode } from "../base/runtime.ts";
import type { FileSystem } from "./file_system.ts";
import { createNodeFileSystem, type FlushDrive } from "./node.ts";

/** Commands of fcntl on macOS: until it is on the medium; at least before anything that is written later. */
const F_FULLFSYNC = 51;
const F_BARRIERFSYNC = 85;

/** The system's fcntl, without a third argument: -1 if it fails. */
export type Fcntl = (descriptor: number, command: number) => number;

/** The part of `bun:ffi` that is used. */
interface BunFfi {
  dlopen(library: string, symbols: unknown): { readonly symbols: { readonly fcntl: Fcntl } };
}

/** The file system of this Bun process. */
export const bunFileSystem: FileSystem = createNodeFileSystem(
  "bun",
  processOfNode().platform === "darwin" ? createDriveFlush(loadFcntl) : undefined,
);

/**
 * What makes a sync reach the medium on macOS.
 *
 * @param load Gives the system's fcntl, and is called at the first sync.
 * @returns Flushes the drive of a file that fsync has succeeded for; where that isn't supported, nothing more can be done.
 */
export function createDriveFlush(load: () => Fcntl): FlushDrive {
  let fcntl: Fcntl | undefined;
  return (descriptor) => {
    fcntl ??= load();
    if (fcntl(descriptor, F_FULLFSYNC) === -1) fcntl(descriptor, F_BARRIERFSYNC);
  };
}

function loadFcntl(): Fcntl {
  const ffi = processOfNode().getBuiltinModule("bun:ffi") as unknown as BunFfi;
  return ffi.dlopen("libSystem.B.dylib", { fcntl: { args: ["i32", "i32"], returns: "i32" } }).symbols.fcntl;
}
