/**
 * Syncs a file that isn't open.
 *
 * Guarantees: a file that can't be opened for the moment is waited for, see `retry.ts`; the sync itself is made once. So an error
 * whose operation is `open` says that nothing was begun, and the sync may be tried again later.
 *
 * @module
 */

import { platformName } from "../base/runtime.ts";
import { FileSystemError, PermissionError } from "../errors/mod.ts";
import { closeQuietly, openIfExists } from "./file_helpers.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";
import { retryBlocking, retryWhilePassing } from "./retry.ts";

/**
 * Syncs the content of a file; does nothing if there is none.
 *
 * @param onSecond Gets a second description before the sync, for syncs within the call while this one is under way, and
 * `undefined` when it is closed again. The system reports an error once to each description: one that is opened later may not get
 * what this sync has got. Without descriptors it goes without.
 */
export async function syncFile(
  fileSystem: FileSystem,
  path: string,
  onSecond?: (second: FileHandle | undefined) => void,
): Promise<void> {
  const opening = retryWhilePassing(() => openForSync(fileSystem, path));
  const handle = opening instanceof Promise ? await opening : opening;
  const second = onSecond && handle?.syncBlocking && openSecond(fileSystem, path);
  onSecond?.(second);
  try {
    await handle?.sync();
  } finally {
    onSecond?.(undefined);
    closeQuietly(second);
    closeQuietly(handle);
  }
}

/** As {@linkcode syncFile}, within the call. */
export function syncFileBlocking(fileSystem: FileSystem, path: string): void {
  const handle = retryBlocking(() => openForSync(fileSystem, path));
  try {
    if (handle !== undefined) handle.syncBlocking!();
  } finally {
    closeQuietly(handle);
  }
}

function openSecond(fileSystem: FileSystem, path: string): FileHandle | undefined {
  try {
    return openForSync(fileSystem, path);
  } catch (error) {
    if (error instanceof FileSystemError) return undefined;
    throw error;
  }
}

/** For writing, without which Windows syncs nothing. Elsewhere reading is enough, in a file that somebody else may write only. */
function openForSync(fileSystem: FileSystem, path: string): FileHandle | undefined {
  try {
    return openIfExists(fileSystem, path, "write");
  } catch (error) {
    if (platformName() === "win32" || !(error instanceof PermissionError)) throw error;
    return openIfExists(fileSystem, path, "read");
  }
}
