/**
 * Syncs a file that isn't open.
 *
 * Guarantees: a file that can't be opened for the moment is waited for, see `retry.ts`; the sync itself is made once. So an error
 * whose operation is `open` says that nothing was begun, and the sync may be tried again later.
 *
 * @module
 */

import process from "node:process";
import { PermissionError } from "../errors/mod.ts";
import { closeQuietly, openIfExists } from "./file_helpers.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";
import { retryBlocking, retryWhilePassing } from "./retry.ts";

/** Syncs the content of a file; does nothing if there is none. */
export async function syncFile(fileSystem: FileSystem, path: string): Promise<void> {
  const opening = retryWhilePassing(() => openForSync(fileSystem, path));
  const handle = opening instanceof Promise ? await opening : opening;
  try {
    await handle?.sync();
  } finally {
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

/** For writing, without which Windows syncs nothing. Elsewhere reading is enough, in a file that somebody else may write only. */
function openForSync(fileSystem: FileSystem, path: string): FileHandle | undefined {
  try {
    return openIfExists(fileSystem, path, "write");
  } catch (error) {
    if (process.platform === "win32" || !(error instanceof PermissionError)) throw error;
    return openIfExists(fileSystem, path, "read");
  }
}
