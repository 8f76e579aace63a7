/**
 * The file `owner.json`: who opened the buffer last, and what that owner knew of the directory and of its cursor.
 *
 * Its content is for people (process, runtime, time) and for the next `open()`, which holds the cursor against it. Its
 * *identity*, the inode, is what `ownership.ts` rests on: each owner puts a new file there, so that whoever finds another
 * file under the name isn't the owner any more.
 *
 * Guarantees: it is replaced in one step; nothing is synced; a file that is missing, torn or somebody else's says that
 * nothing is known, and never keeps a buffer from opening.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, type LockOwner, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, createEmptyFile, isNoSuchFile, readFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { NEW_OWNER_NAME, OWNER_NAME } from "./names.ts";
import type { CursorState } from "./position.ts";
/** Its length, always the same, so that it can be rewritten in place. */
const OWNER_BYTES = 512;
/** More than this was not written by us. */
const MAX_OWNER_BYTES = 1024;

/** What an owner knew of the place it worked in, when it had opened the buffer and when it closed it. */
export interface DirectoryNotes {
  /** What the cursor calls this directory. */
  readonly place: number;
  /** The directory's inode: in a copy of the directory it is another one. */
  readonly inode: number;
  /** The generation of the cursor; a valid cursor of this directory has no lower one. */
  readonly generation: number;
}

/** What the file says. */
export interface OwnerNotes extends LockOwner, Partial<DirectoryNotes> {}

/** Who is said to own the buffer; `undefined` when the file isn't there, can't be read, or isn't (yet) whole. */
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
 * All that the last owner has noted.
 *
 * @throws {FileSystemError} if the file is there and can't be read.
 */
export function readOwnerNotes(fileSystem: FileSystem, directory: string): OwnerNotes | undefined {
  let bytes: Uint8Array;
  try {
    bytes = readFile(fileSystem, join(directory, OWNER_NAME), MAX_OWNER_BYTES);
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  }
  try {
    const { pid, runtime, openedAt, place, inode, generation } = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof pid !== "number" || typeof runtime !== "string" || typeof openedAt !== "string") return undefined;
    const hasPlace = [place, inode, generation].every((number) => Number.isSafeInteger(number));
    return { pid, runtime, openedAt, ...(hasPlace ? { place, inode, generation } : {}) };
  } catch {
    return undefined;
  }
}

/** Whose a cursor is, going by what the last owner has noted. */
export type CursorOrigin =
  /** This directory's own, as the last owner left it or newer; or nothing speaks against it. */
  | "own"
  /** Of another directory: a copy of this one, most likely. */
  | "foreign"
  /** This directory's, but older than the last owner left it. */
  | "older";

/** Whose a cursor is that was found in `directory`. */
export function findCursorOrigin(
  { place, generation }: Pick<CursorState, "place" | "generation">,
  { fileSystem, directory }: { readonly fileSystem: FileSystem; readonly directory: string },
): CursorOrigin {
  const notes = readOwnerNotes(fileSystem, directory);
  // Notes that came here with a copy of another directory say nothing about this one.
  if (notes?.place === undefined || notes.inode !== fileSystem.identify?.(directory).inode) return "own";
  if (place !== notes.place) return "foreign";
  return generation < notes.generation! ? "older" : "own";
}

/**
 * Puts a new file there. Where there is no room for one, the old one is taken over; where there is none either, nothing is.
 *
 * @returns The file, open for {@linkcode writeOwnerNotes}.
 */
export function createOwnerFile(fileSystem: FileSystem, directory: string): FileHandle | undefined {
  const path = join(directory, OWNER_NAME);
  const newPath = join(directory, NEW_OWNER_NAME);
  let handle: FileHandle | undefined;
  try {
    handle = createEmptyFile(fileSystem, newPath);
    fileSystem.rename(newPath, path);
    return handle;
  } catch (error) {
    closeQuietly(handle);
    if (!(error instanceof NoSpaceError)) throw error;
  }
  try {
    return fileSystem.open(path, "write");
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  }
}

/** Writes what it says. On a full disk it says nothing. */
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
