/**
 * One owner a buffer: takes the lock of a directory and says who holds it.
 *
 * Guarantees: a second owner is refused at once, in whichever process or runtime; the lock ends with its process. The
 * file `owner.json` beside the lock is for people: it names the owner in error messages, and nothing is decided by it,
 * because process ids are reused, and in containers they are all alike.
 *
 * @module
 */

import process from "node:process";
import { join } from "@std/path/join";
import { BufferLockedError, FileSystemError, type LockOwner } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileLock, FileSystem } from "../fs/file_system.ts";
import { readWhole, removeIfThere } from "../fs/look.ts";

/** Name of the file that is locked. */
export const LOCK_NAME = "lock";
/** Name of the file that says who holds the lock. */
export const OWNER_NAME = "owner.json";
/** More than this was not written by us. */
const MAX_OWNER_BYTES = 1024;

/**
 * Locks the buffer in `directory`.
 *
 * @param openedAt Wall time, milliseconds since 1970.
 * @throws {BufferLockedError} if it has an owner.
 */
export function lockDirectory(fileSystem: FileSystem, directory: string, openedAt: number): FileLock {
  let lock: FileLock;
  try {
    lock = fileSystem.lock(join(directory, LOCK_NAME));
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
    throw new BufferLockedError(directory, readOwner(fileSystem, directory), { cause: error });
  }
  try {
    writeOwner(fileSystem, directory, {
      pid: process.pid,
      runtime: fileSystem.name,
      openedAt: new Date(openedAt).toISOString(),
    });
  } catch (error) {
    // Only a hint for people: on a full disk the buffer must open all the same.
    if (!(error instanceof FileSystemError) || error.code !== "NO_SPACE") {
      lock.release();
      throw error;
    }
  }
  return lock;
}

function writeOwner(fileSystem: FileSystem, directory: string, owner: LockOwner): void {
  const path = join(directory, OWNER_NAME);
  removeIfThere(fileSystem, path);
  const handle = fileSystem.open(path, "create");
  try {
    handle.write(new TextEncoder().encode(JSON.stringify(owner) + "\n"), 0);
  } finally {
    closeQuietly(handle);
  }
}

/** Who is said to own the buffer; `undefined` when the file isn't there, or isn't (yet) whole. */
export function readOwner(fileSystem: FileSystem, directory: string): LockOwner | undefined {
  try {
    const bytes = readWhole(fileSystem, join(directory, OWNER_NAME), MAX_OWNER_BYTES);
    const { pid, runtime, openedAt }: Partial<LockOwner> = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof pid !== "number" || typeof runtime !== "string" || typeof openedAt !== "string") return undefined;
    return { pid, runtime, openedAt };
  } catch {
    return undefined;
  }
}
