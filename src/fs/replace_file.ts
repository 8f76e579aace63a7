/**
 * Atomic writes: a file is written beside its place, synced, and renamed over what is there.
 *
 * Guarantees:
 * - A name never stands for a part of the content, whatever fails and whenever the process or the power goes: after a crash
 *   there is the old file or the new one, whole.
 * - A failure leaves nothing behind but what can't be removed, and the error is always the first one: closing and removing
 *   what was made never replaces it by an error of their own.
 * - A file that somebody else has open for a moment, which Windows doesn't let go of, is waited for; see `retry.ts`.
 * - {@linkcode writeNewFile} replaces a file only if that is asked for, also when somebody else makes it at the same moment.
 *
 * A process that is killed may leave a file whose name ends in `.new`, which the next attempt removes, or `.tmp`; and, of
 * `writeNewFile`, in the moment between taking the name and the rename, an empty file.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import { processId } from "../base/runtime.ts";
import { FileSystemError, PermissionError } from "../errors/mod.ts";
import { closeQuietly, createEmptyFile, openIfExists } from "./file_helpers.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";
import { retryWhilePassing } from "./retry.ts";

/** How {@linkcode replaceFile} goes about it. */
export interface ReplaceOptions {
  /**
   * Where the file is written first. One that a process left unfinished there is removed.
   *
   * @default {`${path}.new`}
   */
  readonly newPath?: string;
  /**
   * What is on stable storage when it resolves: nothing, the content, or the name, too. The content always before the rename:
   * a power cut in between must not leave the name without it.
   *
   * @default {"name"}
   */
  readonly sync?: "nothing" | "content" | "name";
  /**
   * Whether the file stays open, for the caller to close, once it has its name.
   *
   * @default {false}
   */
  readonly isKeptOpen?: boolean;
}

/**
 * Replaces the file at `path`, which need not be there.
 *
 * @param write Writes the content.
 * @returns What `write` has returned.
 * @throws what `write` and the file system fail with. Until the rename the old file is there as it was; only where the name
 * can't be synced, the new one is.
 */
export async function replaceFile<R>(
  fileSystem: FileSystem,
  path: string,
  write: (handle: FileHandle) => R,
  { newPath = `${path}.new`, sync = "name", isKeptOpen = false }: ReplaceOptions = {},
): Promise<R> {
  const handle = await retryWhilePassing(() => createEmptyFile(fileSystem, newPath));
  let result: R;
  try {
    result = write(handle);
    if (sync !== "nothing") await handle.sync();
    await retryWhilePassing(() => fileSystem.rename(newPath, path));
  } catch (error) {
    discard(fileSystem, [newPath], handle);
    throw error;
  }
  try {
    if (sync === "name") await fileSystem.syncDirectory(dirname(path));
  } catch (error) {
    discard(fileSystem, [], handle);
    throw error;
  }
  if (!isKeptOpen) closeQuietly(handle);
  return result;
}

/**
 * Creates a file under a name that is free, and syncs its content; the name is to be synced by the caller.
 *
 * @param write Writes the content.
 * @returns What `write` has returned.
 * @throws {FileSystemError} with errno `EEXIST` if the name is taken; what else `write` and the file system fail with.
 */
export async function createFile<R>(
  fileSystem: FileSystem,
  path: string,
  write: (handle: FileHandle) => R,
): Promise<R> {
  const handle = await retryWhilePassing(() => fileSystem.open(path, "create"));
  try {
    const result = write(handle);
    await handle.sync();
    closeQuietly(handle);
    return result;
  } catch (error) {
    discard(fileSystem, [path], handle);
    throw error;
  }
}

/** After a failure: closes and removes what was made, as far as that works. The failure is for the caller to report. */
export function discard(fileSystem: FileSystem, paths: readonly string[], handle?: FileHandle): void {
  for (const step of [() => handle?.close(), ...paths.map((path) => () => fileSystem.remove(path))]) {
    try {
      step();
    } catch {
      // The error that led here is the one to report.
    }
  }
}

/**
 * Whether something has that name.
 *
 * @throws {FileSystemError} if that can't be found out.
 */
export function isTaken(fileSystem: FileSystem, path: string): boolean {
  try {
    const handle = openIfExists(fileSystem, path, "read");
    closeQuietly(handle);
    return handle !== undefined;
  } catch (error) {
    if (error instanceof FileSystemError && error.errno === "EISDIR") return true;
    throw error;
  }
}

/**
 * Writes a new file, for a user who has named it. The file it is written to first is this process's own: of two that write
 * the same file at once, neither removes what the other has begun.
 *
 * @param isReplacing Whether it may take the place of a file that is there.
 * @throws {FileSystemError} with errno `EEXIST` if the name is taken; what else the file system fails with.
 */
export async function writeNewFile(
  fileSystem: FileSystem,
  path: string,
  content: Uint8Array,
  isReplacing: boolean,
): Promise<void> {
  const scratch = `${path}.${processId()}.tmp`;
  try {
    await createFile(fileSystem, scratch, (handle) => handle.write(content, 0));
    const made = [scratch];
    try {
      if (!isReplacing) {
        // A rename replaces whatever is there. So the name is taken first, which only one can do.
        closeQuietly(fileSystem.open(path, "create"));
        made.push(path);
      }
      await retryWhilePassing(() => fileSystem.rename(scratch, path));
    } catch (error) {
      discard(fileSystem, made);
      throw error;
    }
    await fileSystem.syncDirectory(dirname(path));
  } catch (error) {
    throw aboutTarget(error, path);
  }
}

/** As about the file that was asked for. Deno has to allow two names in its directory: so that is the flag to give. */
function aboutTarget(error: unknown, path: string): unknown {
  if (!(error instanceof FileSystemError)) return error;
  const { errno, operation } = error;
  const isDenied = error instanceof PermissionError && error.flag !== undefined;
  const flag = isDenied ? error.flag.replace(/=.*$/s, `=${dirname(path)}`) : undefined;
  return FileSystemError.from({ errno, operation, path, flag }, error.cause);
}
