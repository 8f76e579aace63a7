/**
 * The lock of a buffer's directory: the first of two mechanisms that keep a buffer to one owner. `ownership.ts` is the
 * second one, and works without this one.
 *
 * Guarantees: a second owner is refused at once, in any process and any runtime; the lock ends with its process. Windows may
 * free it only some moments after that. So where the owner is known to have ended, or nobody can tell on Windows, the lock is
 * tried again for a short time.
 *
 * @module
 */

import { join } from "@std/path/join";
import { platformName, processOfNode, runtimeName } from "../base/runtime.ts";
import { BufferLockedError, FileSystemError, type LockOwner } from "../errors/mod.ts";
import type { FileLock, FileSystem } from "../fs/file_system.ts";
import { wait } from "../fs/retry.ts";
import { LOCK_NAME } from "./names.ts";
import { readOwner } from "./owner_file.ts";

/** Pauses between attempts to take the lock of an owner that has ended, in milliseconds. */
const PAUSES_MS: readonly number[] = [0, 5, 10, 20, 40, 75, 100];

/**
 * Locks the buffer in `directory`.
 *
 * @throws {BufferLockedError} if another owner holds the lock.
 */
export async function lockDirectory(fileSystem: FileSystem, directory: string): Promise<FileLock> {
  const path = join(directory, LOCK_NAME);
  for (let attempt = 0;; attempt++) {
    try {
      return fileSystem.lock(path);
    } catch (error) {
      if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
      const owner = readOwner(fileSystem, directory);
      if (attempt === PAUSES_MS.length || !mayHaveEnded(owner)) {
        throw new BufferLockedError(directory, owner, { cause: error });
      }
    }
    await wait(PAUSES_MS[attempt]);
  }
}

/** Whether the process that holds the lock, going by `owner.json`, has ended, or may have and the lock with it in a moment. */
function mayHaveEnded(owner: LockOwner | undefined): boolean {
  const isWindows = platformName() === "win32";
  // Deno would ask for `--allow-run`.
  if (owner === undefined || runtimeName() === "deno") return isWindows;
  try {
    processOfNode().kill(owner.pid, 0);
    return false;
  } catch (error) {
    return (error as { code?: unknown }).code === "ESRCH";
  }
}
