/**
 * The file `owner.json`: who opened the buffer last, and what that owner knew about the directory and its cursor.
 *
 * Its content is for people (process, runtime, time) and for the next `open()`, which checks the cursor against it. Its
 * *identity*, the inode, is the fencing token of `ownership.ts`: each owner puts a new file there, so an owner that
 * finds another file under the name has lost the buffer.
 *
 * Guarantees: the file is replaced atomically. It is never synced. A file that is missing, torn or not ours, or that another
 * program on Windows keeps open for itself for long, counts as no information, and never keeps a buffer from opening.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, type LockOwner, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, ifExists, openIfExists, readFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileSystem } from "../fs/file_system.ts";
import { replaceFile } from "../fs/replace_file.ts";
import { isPassing, retryBlocking } from "../fs/retry.ts";
import { NEW_OWNER_NAME, OWNER_NAME } from "./names.ts";
import type { CursorState } from "./position.ts";
import type { LogLocation } from "./segment_files.ts";

/** The length of the file: constant, so that it can be rewritten in place. */
const OWNER_BYTES = 512;
/** The most bytes that are read: a longer file is not ours. */
const MAX_OWNER_BYTES = 1024;

/** The content of the file. The last three are noted when the buffer has been opened, and when it is closed. */
export interface OwnerNotes extends LockOwner {
  /** The id of this directory in the cursor. */
  readonly place?: number | undefined;
  /** The directory's inode: a copy of the directory has another one. */
  readonly inode?: number | undefined;
  /** The generation of the cursor. A valid cursor of this directory has this one or a higher one. */
  readonly generation?: number | undefined;
}

/** Reads who owns the buffer, going by the file; `undefined` if it is missing, unreadable, or not (yet) complete. */
export function readOwner(fileSystem: FileSystem, directory: string): LockOwner | undefined {
  try {
    const notes = readOwnerNotes(fileSystem, directory);
    return notes && { pid: notes.pid, runtime: notes.runtime, openedAt: notes.openedAt };
  } catch (error) {
    if (error instanceof FileSystemError) return undefined;
    throw error;
  }
}

/**
 * Reads everything that the last owner noted.
 *
 * @returns `undefined` if the file is missing, torn or not ours, or another program has it for itself.
 * @throws {FileSystemError} if the file exists and can't be read for another reason.
 */
export function readOwnerNotes(fileSystem: FileSystem, directory: string): OwnerNotes | undefined {
  let bytes: Uint8Array | undefined;
  try {
    const path = join(directory, OWNER_NAME);
    bytes = ifExists(() => retryBlocking(() => readFile(fileSystem, path, MAX_OWNER_BYTES)));
  } catch (error) {
    if (!isBusy(error)) throw error;
  }
  if (bytes === undefined) return undefined;
  try {
    const { pid, runtime, openedAt, place, inode, generation } = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof pid !== "number" || typeof runtime !== "string" || typeof openedAt !== "string") return undefined;
    const hasPlace = [place, inode, generation].every((number) => Number.isSafeInteger(number));
    return { pid, runtime, openedAt, ...(hasPlace ? { place, inode, generation } : {}) };
  } catch {
    return undefined;
  }
}

/** Whether another program has the file for itself. */
function isBusy(error: unknown): boolean {
  return error instanceof FileSystemError && error.errno === "EBUSY";
}

/** Where a cursor comes from, going by the notes of the last owner. */
export type CursorOrigin =
  /** From this directory, as the last owner left it or newer; or nothing contradicts that. */
  | "own"
  /** From another directory: most likely a copy of this one. */
  | "foreign"
  /** From this directory, but older than the last owner left it. */
  | "older";

/** Determines where a cursor comes from that was found in `directory`. */
export function findCursorOrigin(
  { place, generation }: Pick<CursorState, "place" | "generation">,
  { fileSystem, directory }: LogLocation,
): CursorOrigin {
  const notes = readOwnerNotes(fileSystem, directory);
  // Notes that were copied along with another directory say nothing about this one.
  if (notes?.place === undefined || notes.inode !== fileSystem.identify?.(directory).inode) return "own";
  if (place !== notes.place) return "foreign";
  return generation < notes.generation! ? "older" : "own";
}

/** The file of an owner. */
export interface OwnerFile {
  /** Open for {@linkcode writeOwnerNotes}. */
  readonly handle: FileHandle;
  /** Its identity; `undefined` if the file system has none. */
  readonly identity: FileIdentity | undefined;
}

/**
 * Puts a new file in place. Where there is no room for one, or another program keeps the old file open for so long that it can't
 * be replaced (on Windows), the old file stays in use.
 *
 * @returns The file; `undefined` if there is no room and no old file, or another program has the old one for itself.
 */
export async function createOwnerFile(fileSystem: FileSystem, directory: string): Promise<OwnerFile | undefined> {
  const path = join(directory, OWNER_NAME);
  const newPath = join(directory, NEW_OWNER_NAME);
  try {
    return await replaceFile(fileSystem, path, toOwnerFile, { newPath, sync: "nothing", isKeptOpen: true });
  } catch (error) {
    if (!(error instanceof NoSpaceError) && !isPassing(error)) throw error;
    let handle: FileHandle | undefined;
    try {
      handle = openIfExists(fileSystem, path, "write");
      return handle && toOwnerFile(handle);
    } catch (reason) {
      closeQuietly(handle);
      if (!isBusy(reason)) throw error;
      return undefined;
    }
  }
}

/** The identity is taken before the file is renamed: Wine gives an open file another one then. */
function toOwnerFile(handle: FileHandle): OwnerFile {
  return { handle, identity: handle.identify?.() };
}

/** Writes the notes into the file. On a full disk it stays as it is. */
export function writeOwnerNotes(handle: FileHandle, notes: OwnerNotes): void {
  const bytes = new Uint8Array(OWNER_BYTES).fill(0x20);
  bytes[OWNER_BYTES - 1] = 0x0a;
  new TextEncoder().encodeInto(JSON.stringify(notes), bytes.subarray(0, OWNER_BYTES - 1));
  try {
    handle.write(bytes, 0);
  } catch (error) {
    if (!(error instanceof NoSpaceError)) throw error;
  }
}
