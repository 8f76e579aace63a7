/**
 * The lock of a buffer's directory: the first of two mechanisms that keep a buffer to one owner. `ownership.ts` is the
 * second one, and works without this one.
 *
 * Guarantees: a second owner is refused at once, in any process and any runtime; the lock ends with its process.
 *
 * @module
 */

import { join } from "@std/path/join";
import { BufferLockedError, FileSystemError } from "../errors/mod.ts";
import type { FileLock, FileSystem } from "../fs/file_system.ts";
import { LOCK_NAME } from "./names.ts";
import { readOwner } from "./owner_file.ts";

/**
 * Locks the buffer in `directory`.
 *
 * @throws {BufferLockedError} if another owner holds the lock.
 */
export function lockDirectory(fileSystem: FileSystem, directory: string): FileLock {
  try {
    return fileSystem.lock(join(directory, LOCK_NAME));
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
    throw new BufferLockedError(directory, readOwner(fileSystem, directory), { cause: error });
  }
}
