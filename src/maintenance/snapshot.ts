/**
 * What is in a buffer's directory, going by the names in it and the small files: no segment is read through.
 *
 * Guarantees: nothing is locked, created or changed; beside a live writer the snapshot is one that could have been seen at
 * one moment as far as it matters: everything up to the last sequence that the cursor knows is in the segments of the
 * snapshot, unless it is committed. That is so because the cursor is read before the names are: a record is in
 * its segment before the cursor knows of it, and what was removed since was committed before.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { BufferError, FileSystemError, type LockOwner, UnsupportedVersionError } from "../errors/mod.ts";
import { fileSize, isNoSuchFile, withFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { Cursor } from "../wal/cursor.ts";
import { SEGMENT_VERSION, type SegmentHeader } from "../wal/format.ts";
import { CURSOR_NAME, LOCK_NAME, OWNER_NAME, parseSegmentName, QUARANTINE_NAME, STATUS_NAME } from "../wal/names.ts";
import { readOwner } from "../wal/owner_file.ts";
import type { CursorState } from "../wal/position.ts";
import { findUuid, parseSegmentNames, readSegmentHeader, type Segment } from "../wal/segment_files.ts";

/** A writer may rotate and remove while we look: then we look again, so many times at most. */
const MAX_SNAPSHOT_ATTEMPTS = 50;
/** It may be writing to the slots of the cursor. */
const MAX_CURSOR_READS = 5;
/** Names of other files that an error mentions. */
const MAX_NAMES = 5;

/** A segment, going by its name, and the length of its file. */
export interface SnapshotSegment {
  readonly name: string;
  readonly firstSequence: number;
  readonly bytes: number;
}

/** The small files and the names: all that is known without reading a segment through. */
export interface DirectorySnapshot {
  readonly path: string;
  /** Whether this is one segment alone, given by the path of its file; there is no cursor then. */
  readonly isSingleFile: boolean;
  readonly uuid: string | undefined;
  /** `undefined` if there is none, it can't be read, or it is another buffer's. */
  readonly cursor: CursorState | undefined;
  readonly cursorState: "ok" | "missing" | "damaged" | "foreign";
  /** Who opened it last, going by `owner.json`; it need not be open any more. */
  readonly owner: LockOwner | undefined;
  /** In order. */
  readonly segments: readonly SnapshotSegment[];
  readonly quarantine: readonly { readonly name: string; readonly bytes: number }[];
}

/** Thrown for a path where no buffer is. */
export class NoBufferError extends BufferError {
  /** Always `"NOT_A_BUFFER"`. */
  readonly code = "NOT_A_BUFFER";
  /** The path that was given. */
  readonly path: string;

  /** Creates the error; `state` completes the message. */
  constructor(path: string, state: string, options?: ErrorOptions) {
    super(`Cannot read "${path}": ${state}`, options);
    this.path = path;
  }
}

/**
 * Looks at a buffer's directory.
 *
 * @throws {NoBufferError} if there is none.
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export function readDirectory(fileSystem: FileSystem, path: string): DirectorySnapshot {
  for (let look = 1;; look++) {
    try {
      // Without any of the segments that had names, there are others by now; unless these are names only.
      const { hasNames, ...snapshot } = readOnce(fileSystem, path);
      if (snapshot.segments.length > 0 || !hasNames || look === MAX_SNAPSHOT_ATTEMPTS) return snapshot;
    } catch (error) {
      if (look === MAX_SNAPSHOT_ATTEMPTS || !isNoSuchFile(error)) throw error;
    }
  }
}

/** As {@linkcode readDirectory}; the path may also be that of one segment's file. */
export function readDirectoryOrSegment(fileSystem: FileSystem, path: string): DirectorySnapshot {
  const header = readSegmentFile(fileSystem, path);
  if (header === undefined) return readDirectory(fileSystem, path);
  const { uuid, firstSequence } = header;
  return {
    path: dirname(path),
    isSingleFile: true,
    uuid,
    cursor: undefined,
    cursorState: "missing",
    owner: undefined,
    segments: [{ name: basename(path), firstSequence, bytes: fileSize(fileSystem, path) }],
    quarantine: [],
  };
}

/** Reads the cursor; again, if a writer was just writing to all of its slots. */
export function readCursor(fileSystem: FileSystem, path: string): CursorState | undefined {
  let state: CursorState | undefined;
  for (let look = 1; look <= MAX_CURSOR_READS && state === undefined; look++) state = Cursor.read(fileSystem, path);
  return state;
}

/** Looks once, and says whether there were names of segments. */
function readOnce(fileSystem: FileSystem, path: string): DirectorySnapshot & { readonly hasNames: boolean } {
  checkNames(path, listDirectory(fileSystem, path));
  const cursor = readCursor(fileSystem, path);
  const names = fileSystem.list(path);
  const named = parseSegmentNames(names);
  const found = measureSegments(fileSystem, path, named);
  const last = found.at(-1);
  const newest = last && readHeader(fileSystem, join(path, last.name));
  if (newest?.kind === "version") {
    const { version } = newest;
    throw new UnsupportedVersionError({ path: join(path, last!.name), version, supported: SEGMENT_VERSION });
  }
  const uuid = findUuid({ fileSystem, directory: path }, found, cursor);
  const isOurs = cursor !== undefined && cursor.uuid === uuid;
  const isThere = names.includes(CURSOR_NAME);
  return {
    path,
    isSingleFile: false,
    uuid,
    cursor: isOurs ? cursor : undefined,
    cursorState: isOurs ? "ok" : cursor !== undefined ? "foreign" : isThere ? "damaged" : "missing",
    owner: readOwner(fileSystem, path),
    segments: found,
    hasNames: named.length > 0,
    quarantine: listQuarantine(fileSystem, path),
  };
}

/** Those that are still there. The newest is looked at first: it goes last. */
function measureSegments(fileSystem: FileSystem, path: string, segments: readonly Segment[]): SnapshotSegment[] {
  return segments.toReversed().flatMap(({ name, firstSequence }) => {
    const bytes = sizeIfExists(fileSystem, join(path, name));
    return bytes === undefined ? [] : [{ name, firstSequence, bytes }];
  }).reverse();
}

function listDirectory(fileSystem: FileSystem, path: string): string[] {
  try {
    return fileSystem.list(path);
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
    if (error.errno === "ENOENT") throw new NoBufferError(path, "there is no such directory", { cause: error });
    if (error.errno !== "ENOTDIR") throw error;
    const state = readSegmentFile(fileSystem, path) !== undefined || parseSegmentName(basename(path)) !== undefined
      ? `it is a segment of a buffer, give the buffer's directory: "${dirname(path)}"`
      : "it is not a directory";
    throw new NoBufferError(path, state, { cause: error });
  }
}

function checkNames(path: string, names: readonly string[]): void {
  const isOurs = (name: string): boolean =>
    [CURSOR_NAME, LOCK_NAME, OWNER_NAME, STATUS_NAME].includes(name) || parseSegmentName(name) !== undefined;
  if (names.some(isOurs)) return;
  if (names.length === 0) throw new NoBufferError(path, "the directory is empty");
  const some = [...names].sort().slice(0, MAX_NAMES);
  const more = names.length > some.length ? ", ..." : "";
  throw new NoBufferError(path, `no buffer is in that directory, but other files (${some.join(", ")}${more})`);
}

/** The header of the segment in the file `path`; `undefined` if it isn't one. */
function readSegmentFile(fileSystem: FileSystem, path: string): SegmentHeader | undefined {
  try {
    const result = readHeader(fileSystem, path);
    if (result.kind === "version") {
      throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
    }
    return result.kind === "header" ? result.header : undefined;
  } catch (error) {
    // A directory, or nothing: what it is says the look at the directory.
    if (error instanceof FileSystemError) return undefined;
    throw error;
  }
}

function readHeader(fileSystem: FileSystem, path: string): ReturnType<typeof readSegmentHeader> {
  return withFile(fileSystem, path, readSegmentHeader);
}

function sizeIfExists(fileSystem: FileSystem, path: string): number | undefined {
  try {
    return fileSize(fileSystem, path);
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  }
}

function listQuarantine(fileSystem: FileSystem, path: string): { name: string; bytes: number }[] {
  const directory = join(path, QUARANTINE_NAME);
  try {
    return fileSystem.list(directory).sort().flatMap((name) => {
      const bytes = sizeIfExists(fileSystem, join(directory, name));
      return bytes === undefined ? [] : [{ name, bytes }];
    });
  } catch (error) {
    if (isNoSuchFile(error)) return [];
    throw error;
  }
}
