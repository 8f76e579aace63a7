/**
 * What is done with files again and again: opened for the length of one call, read whole, copied in part, and all of it also
 * for files that need not be there.
 *
 * Guarantees: however a call ends, a file that was opened for it is closed; only that there is no file is let pass, no other
 * failure. That a file is missing is recognised here and nowhere else: {@linkcode isNoSuchFile}, {@linkcode isNotFound}.
 *
 * @module
 */

import { FileSystemError } from "../errors/mod.ts";
import type { FileHandle, FileSystem, OpenMode } from "./file_system.ts";

/** How much is copied at a time. */
const COPY_BYTES = 256 * 1024;

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

/** Copies `length` bytes from `offset` on to the beginning of another file; fewer if there are fewer. */
export function copyBytes(
  source: FileHandle,
  { offset, length }: { readonly offset: number; readonly length: number },
  target: FileHandle,
): void {
  const chunk = new Uint8Array(Math.min(COPY_BYTES, length));
  for (let at = 0; at < length; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, length - at));
    target.write(part.subarray(0, source.read(part, offset + at)), at);
  }
}

/** Opens a file; `undefined` if there is none. */
export function openIfExists(fileSystem: FileSystem, path: string, mode: OpenMode): FileHandle | undefined {
  return ifExists(() => fileSystem.open(path, mode));
}

/** Opens a file for writing, its content untouched; where there is none, an empty one is created. */
export function openOrCreate(fileSystem: FileSystem, path: string): FileHandle {
  return openIfExists(fileSystem, path, "write") ?? fileSystem.open(path, "create");
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
  ifExists(() => fileSystem.remove(path));
}

/** What a call returns; `undefined` if it fails because there is no such file. */
export function ifExists<R>(call: () => R): R | undefined {
  try {
    return call();
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
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

/** Refuses what is no position or size: to `node:fs`, a negative position would mean "where the last call ended". */
export function checkPosition(position: number): void {
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new RangeError(`Cannot use ${position} as a position or size: it is not a whole number from 0`);
  }
}
