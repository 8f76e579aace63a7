/**
 * A file for the length of one look, and files that need not be there.
 *
 * Guarantees: whatever the look comes to, the file is closed; only that there is no file is let pass, no other failure.
 *
 * @module
 */

import { FileSystemError } from "../errors/mod.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";

/** Opens a file for reading, and closes it when `use` has returned or thrown. */
export function withFile<R>(fileSystem: FileSystem, path: string, use: (handle: FileHandle) => R): R {
  const handle = fileSystem.open(path, "read");
  try {
    return use(handle);
  } finally {
    closeQuietly(handle);
  }
}

/** The length of a file. */
export function fileSize(fileSystem: FileSystem, path: string): number {
  return withFile(fileSystem, path, (handle) => handle.size());
}

/** The bytes of a file, or its first `most`. */
export function readFile(fileSystem: FileSystem, path: string, most = Infinity): Uint8Array {
  return withFile(fileSystem, path, (handle) => {
    const bytes = new Uint8Array(Math.min(handle.size(), most));
    return bytes.subarray(0, handle.read(bytes, 0));
  });
}

/** Creates a file that takes another one's place later; one that a process left unfinished there is removed first. */
export function createEmptyFile(fileSystem: FileSystem, path: string): FileHandle {
  try {
    return fileSystem.open(path, "create");
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EEXIST") throw error;
  }
  fileSystem.remove(path);
  return fileSystem.open(path, "create");
}

/** Removes a file, if it is there. */
export function removeIfExists(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch (error) {
    if (!isNoSuchFile(error)) throw error;
  }
}

/** Whether an error says that a path leads nowhere: to no file, or through something that is no directory. */
export function isNotFound(error: unknown): boolean {
  return error instanceof FileSystemError && ["ENOENT", "ENOTDIR", "ELOOP"].includes(error.errno);
}

/** Whether an error says that there is no such file. */
export function isNoSuchFile(error: unknown): boolean {
  return error instanceof FileSystemError && error.errno === "ENOENT";
}

/** Closes a file; a failure to do so is ignored. */
export function closeQuietly(handle: FileHandle | undefined): void {
  try {
    handle?.close();
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
  }
}
