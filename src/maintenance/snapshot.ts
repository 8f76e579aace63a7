/**
 * A snapshot of a buffer's directory, taken from the file names and the small files. No segment is read through.
 *
 * Guarantees: nothing is locked, created or changed. Beside a live writer the snapshot is consistent where it matters:
 * every record up to the last sequence that the cursor knows is in a segment of the snapshot, unless it is committed. The
 * order of reading makes it so: the cursor is read before the names. A record is in its segment before the cursor knows of
 * it, and a segment that was removed since then had been committed before.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { FileSystemError, type LockOwner, SluiceError, UnsupportedVersionError } from "../errors/mod.ts";
import { fileSize, ifExists, isNoSuchFile, withFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { Cursor } from "../wal/cursor.ts";
import { SEGMENT_VERSION, type SegmentHeader, type SegmentHeaderResult } from "../wal/format.ts";
import { CURSOR_NAME, LOCK_NAME, OWNER_NAME, parseSegmentName, QUARANTINE_NAME, STATUS_NAME } from "../wal/names.ts";
import { readOwner } from "../wal/owner_file.ts";
import type { CursorState } from "../wal/position.ts";
import {
  findUuid,
  type LogLocation,
  parseSegmentNames,
  readSegmentHeader,
  type Segment,
} from "../wal/segment_files.ts";

/** How often a snapshot is attempted while a live writer removes segments. */
const MAX_SNAPSHOT_ATTEMPTS = 50;
/** How often the cursor is read while a live writer is writing its slots. */
const MAX_CURSOR_READS = 5;
/** The most names of foreign files that an error mentions. */
const MAX_NAMES = 5;

/** A segment, and the length of its file. */
export interface SnapshotSegment extends Segment {
  readonly bytes: number;
}

/** What is known about a directory without reading a segment through. */
export interface DirectorySnapshot {
  readonly path: string;
  /** Whether it is a single segment, given by the path of its file. There is no cursor then. */
  readonly isSingleFile: boolean;
  readonly uuid: string | undefined;
  /** `undefined` if it is missing, unreadable, or another buffer's. */
  readonly cursor: CursorState | undefined;
  readonly cursorState: "ok" | "missing" | "damaged" | "foreign";
  /** Who opened the buffer last, going by `owner.json`. It may be closed by now. */
  readonly owner: LockOwner | undefined;
  /** In order. */
  readonly segments: readonly SnapshotSegment[];
  readonly quarantine: readonly { readonly name: string; readonly bytes: number }[];
}

/** Thrown for a path that is no buffer. */
export class NoBufferError extends SluiceError {
  readonly code = "NOT_A_BUFFER";
  readonly path: string;

  /** Creates the error; `state` completes the message. */
  constructor(path: string, state: string, options?: ErrorOptions) {
    super(`Cannot read "${path}": ${state}`, options);
    this.path = path;
  }
}

/**
 * Takes a snapshot of a buffer's directory.
 *
 * @throws {NoBufferError} if there is none.
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export function readDirectory(fileSystem: FileSystem, path: string): DirectorySnapshot {
  for (let attempt = 1;; attempt++) {
    try {
      // If none of the listed segments is left, there are newer ones by now, and another attempt is made.
      const { hasNames, ...snapshot } = readOnce(fileSystem, path);
      if (snapshot.segments.length > 0 || !hasNames || attempt === MAX_SNAPSHOT_ATTEMPTS) return snapshot;
    } catch (error) {
      if (attempt === MAX_SNAPSHOT_ATTEMPTS || !isNoSuchFile(error)) throw error;
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

/** Reads the cursor, repeatedly if a live writer was writing its slots. */
export function readCursor(fileSystem: FileSystem, path: string): CursorState | undefined {
  let state: CursorState | undefined;
  for (let i = 0; i < MAX_CURSOR_READS && state === undefined; i++) state = Cursor.read(fileSystem, path);
  return state;
}

/** Takes a snapshot, and says whether any segment was listed. */
function readOnce(fileSystem: FileSystem, path: string): DirectorySnapshot & { readonly hasNames: boolean } {
  checkNames(path, listDirectory(fileSystem, path));
  const cursor = readCursor(fileSystem, path);
  const names = fileSystem.list(path);
  const named = parseSegmentNames(names);
  // The newest is measured first, because it is removed last.
  const found = measure(fileSystem, path, named.toReversed()).reverse();
  const last = found.at(-1);
  // Throws if it is of a newer version.
  if (last !== undefined) readHeader(fileSystem, join(path, last.name));
  const location = { fileSystem, directory: path };
  const uuid = findUuid(location, found, cursor);
  const quarantined = quarantineNames(location).sort().map((name) => ({ name }));
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
    quarantine: measure(fileSystem, join(path, QUARANTINE_NAME), quarantined),
  };
}

/** The files that are still there, with their sizes. */
function measure<F extends { readonly name: string }>(
  fileSystem: FileSystem,
  directory: string,
  files: readonly F[],
): (F & { readonly bytes: number })[] {
  return files.flatMap((file) => {
    const bytes = ifExists(() => fileSize(fileSystem, join(directory, file.name)));
    return bytes === undefined ? [] : [{ ...file, bytes }];
  });
}

function listDirectory(fileSystem: FileSystem, path: string): string[] {
  try {
    return fileSystem.list(path);
  } catch (error) {
    if (isNoSuchFile(error)) throw new NoBufferError(path, "there is no such directory", { cause: error });
    if (!(error instanceof FileSystemError) || error.errno !== "ENOTDIR") throw error;
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

/** Reads the header of a segment's file; `undefined` if `path` is no such file. */
function readSegmentFile(fileSystem: FileSystem, path: string): SegmentHeader | undefined {
  try {
    return readHeader(fileSystem, path);
  } catch (error) {
    // It is a directory, or missing: reading it as a directory says which.
    if (error instanceof FileSystemError) return undefined;
    throw error;
  }
}

function readHeader(fileSystem: FileSystem, path: string): SegmentHeader | undefined {
  return withFile(fileSystem, path, (handle) => headerOf(readSegmentHeader(handle), path));
}

/** A header that was read from `path`; `undefined` if it is damaged, an error if it is of a newer version. */
export function headerOf(result: SegmentHeaderResult, path: string): SegmentHeader | undefined {
  if (result.kind === "version") {
    throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
  }
  return result.kind === "header" ? result.header : undefined;
}

/** The names in the quarantine; none if there is no quarantine. */
export function quarantineNames({ fileSystem, directory }: LogLocation): string[] {
  return ifExists(() => fileSystem.list(join(directory, QUARANTINE_NAME))) ?? [];
}
