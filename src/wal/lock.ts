/**
 * The lock of a directory: the first of the two things that keep a buffer to one owner. `ownership.ts` is the second, and
 * doesn't rest on it.
 *
 * Guarantees: a second owner is refused at once, in whichever process or runtime; the lock ends with its process.
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
 * @throws {BufferLockedError} if it has an owner.
 */
export function lockDirectory(fileSystem: FileSystem, directory: string): FileLock {
  try {
    return fileSystem.lock(join(directory, LOCK_NAME));
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
    throw new BufferLockedError(directory, readOwner(fileSystem, directory), { cause: error });
  }
}
