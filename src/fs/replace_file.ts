/**
 * Writes a file as a whole or not at all.
 *
 * Guarantees: the name never stands for a part of the content, whatever fails and whenever the process or the power goes;
 * a file that is there is replaced only if that is asked for, also when somebody else makes it at the same moment; what
 * is left of a failure is removed. A process that is killed may leave a file whose name ends in `.tmp`, and in the moment
 * between taking the name and the rename an empty file.
 *
 * @module
 */

import process from "node:process";
import { dirname } from "@std/path/dirname";
import { FileSystemError, PermissionError } from "../errors/mod.ts";
import { closeQuietly } from "./file_helpers.ts";
import type { FileSystem } from "./file_system.ts";

/**
 * Whether something has that name.
 *
 * @throws {FileSystemError} if that can't be found out.
 */
export function isTaken(fileSystem: FileSystem, path: string): boolean {
  try {
    closeQuietly(fileSystem.open(path, "read"));
    return true;
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
    if (error.errno === "ENOENT") return false;
    if (error.errno === "EISDIR") return true;
    throw error;
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
  const ours: string[] = [];
  try {
    const handle = fileSystem.open(scratch, "create");
    ours.push(scratch);
    try {
      handle.write(content, 0);
      await handle.sync();
    } finally {
      closeQuietly(handle);
    }
    if (!isReplacing) {
      // A rename replaces whatever is there. So the name is taken first, which only one can do.
      closeQuietly(fileSystem.open(path, "create"));
      ours.push(path);
    }
    fileSystem.rename(scratch, path);
    ours.length = 0;
    await fileSystem.syncDirectory(dirname(path));
  } catch (error) {
    for (const one of ours) removeQuietly(fileSystem, one);
    throw aboutTarget(error, path);
  }
}

function removeQuietly(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch (error) {
    // The first error is the one to tell.
    if (!(error instanceof FileSystemError)) throw error;
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
