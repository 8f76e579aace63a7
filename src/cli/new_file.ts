/**
 * Writes a file as a whole or not at all.
 *
 * Guarantees: the name never stands for a part of the content, whatever fails and whenever the process ends; a file that
 * is there is replaced only if that is asked for, also when somebody makes it at the same moment; what is left of a
 * failure is removed, and after the end of the process at most a file whose name ends in `.tmp`.
 *
 * @module
 */

import process from "node:process";
import { dirname } from "@std/path/dirname";
import { FileSystemError, fileSystemError, PermissionError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileSystem } from "../fs/file_system.ts";

/**
 * Whether something has that name.
 *
 * @throws {PermissionError} if that may not be looked at.
 */
export function isTaken(fileSystem: FileSystem, path: string): boolean {
  try {
    closeQuietly(fileSystem.open(path, "read"));
    return true;
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
    if (error.errno === "ENOENT") return false;
    if (error instanceof PermissionError) throw error;
    return true;
  }
}

/**
 * Writes a new file.
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
  const scratch = `${path}.${process.pid}.tmp`;
  try {
    await writeScratch(fileSystem, scratch, content);
    try {
      // A rename replaces whatever is there. So the name is taken first, which only one can do.
      if (!isReplacing) fileSystem.open(path, "create").close();
      fileSystem.rename(scratch, path);
    } catch (error) {
      fileSystem.remove(scratch);
      throw error;
    }
    await fileSystem.syncDirectory(dirname(path));
  } catch (error) {
    throw aboutTarget(error, path);
  }
}

async function writeScratch(fileSystem: FileSystem, path: string, content: Uint8Array): Promise<void> {
  const handle = fileSystem.open(path, "create");
  try {
    handle.write(content, 0);
    await handle.sync();
  } catch (error) {
    fileSystem.remove(path);
    throw error;
  } finally {
    closeQuietly(handle);
  }
}

/** As about the file that was asked for. Deno has to allow two names in its directory: so that is the flag to give. */
function aboutTarget(error: unknown, path: string): unknown {
  if (!(error instanceof FileSystemError)) return error;
  const { errno, operation } = error;
  const isDenied = error instanceof PermissionError && error.flag !== undefined;
  const flag = isDenied ? error.flag.replace(/=.*$/s, `=${dirname(path)}`) : undefined;
  return fileSystemError({ errno, operation, path, flag }, error.cause);
}
