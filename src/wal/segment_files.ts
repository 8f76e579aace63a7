/**
 * Segment files seen from outside: which there are, whose they are, and what header and length say about each.
 *
 * Read-only, and no frame is trusted. Recovery, the reader of a buffer and the command line all use these functions, so
 * they come to the same conclusions.
 *
 * @module
 */

import { join } from "@std/path/join";
import { withFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader, type SegmentHeaderResult } from "./format.ts";
import { parseSegmentName } from "./names.ts";
import type { CursorState } from "./position.ts";
import { estimateMaxRecords, findFilledBytes } from "./unreadable_segment.ts";

/** A segment, as its file name describes it. */
export interface Segment {
  /** File name. */
  readonly name: string;
  /** The first sequence that it may hold. */
  readonly firstSequence: number;
}

/** Where the files of a log are. */
export interface LogLocation {
  readonly fileSystem: FileSystem;
  /** The buffer's directory. */
  readonly directory: string;
}

/** Reads the header of a segment. */
export function readSegmentHeader(handle: FileHandle): SegmentHeaderResult {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  return decodeSegmentHeader(bytes.subarray(0, handle.read(bytes, 0)));
}

/** Whether a header has the buffer's uuid and the first sequence in the file's name. */
export function headerMatches(header: SegmentHeader, uuid: string, segment: Segment): boolean {
  return header.uuid === uuid && header.firstSequence === segment.firstSequence;
}

/** Reads the header of a segment; `undefined` if it is unreadable, or is that of another log or of another segment. */
export function readOwnHeader(handle: FileHandle, segment: Segment, uuid: string): SegmentHeader | undefined {
  const result = readSegmentHeader(handle);
  return result.kind === "header" && headerMatches(result.header, uuid, segment) ? result.header : undefined;
}

/** Opens a segment for reading, and closes it when `use` has returned or thrown. */
export function withSegment<R>(
  { fileSystem, directory }: LogLocation,
  { name }: Segment,
  use: (handle: FileHandle) => R,
): R {
  return withFile(fileSystem, join(directory, name), use);
}

/** The segments among the names in a directory, ordered by their first sequence. */
export function parseSegmentNames(names: readonly string[]): Segment[] {
  const segments: Segment[] = [];
  for (const name of names) {
    const firstSequence = parseSegmentName(name);
    if (firstSequence !== undefined) segments.push({ name, firstSequence });
  }
  return segments.sort((a, b) => a.firstSequence - b.firstSequence);
}

/**
 * Determines the uuid of a log. It is the cursor's, if the first or the last segment has the same, or neither can be read.
 * Otherwise it is that of the last readable one of these two. So a single foreign file is outvoted.
 *
 * @returns `undefined` if neither the cursor nor a segment says it.
 */
export function findUuid(
  location: LogLocation,
  segments: readonly Segment[],
  cursor: CursorState | undefined,
): string | undefined {
  const uuids = [segments.at(0), segments.at(-1)].map((segment) => {
    if (segment === undefined) return undefined;
    const result = withSegment(location, segment, readSegmentHeader);
    return result.kind === "header" ? result.header.uuid : undefined;
  });
  const [first, last] = uuids;
  if (cursor !== undefined && (uuids.includes(cursor.uuid) || (first ?? last) === undefined)) return cursor.uuid;
  return last ?? first;
}

/** What a file with the name of a segment is, going by its header and its length. */
export type SegmentClass =
  | { readonly kind: "ours"; readonly header: SegmentHeader; readonly size: number }
  /** Its creation was interrupted: nothing follows the header but preallocated zeros. */
  | { readonly kind: "empty"; readonly size: number }
  /** It is of a newer version. */
  | { readonly kind: "version"; readonly version: number; readonly size: number }
  /** Both copies of its header are damaged. `records` is an upper bound on the number of records in it. */
  | { readonly kind: "bad"; readonly size: number; readonly records: number }
  /** Its header is another buffer's, or that of a segment with another name. */
  | { readonly kind: "foreign"; readonly size: number };

/** Classifies a segment by its header and its length. */
export function classifySegment(handle: FileHandle, segment: Segment, uuid: string): SegmentClass {
  // The size first: a live writer may be creating the file, and once it has the length of a header, the header is complete.
  const size = handle.size();
  const result = readSegmentHeader(handle);
  if (result.kind === "version") return { kind: "version", version: result.version, size };
  if (size < SEGMENT_HEADER_BYTES) return { kind: "empty", size };
  if (result.kind === "header") {
    return headerMatches(result.header, uuid, segment)
      ? { kind: "ours", header: result.header, size }
      : { kind: "foreign", size };
  }
  const filledBytes = findFilledBytes(handle, size);
  if (filledBytes <= SEGMENT_HEADER_BYTES) return { kind: "empty", size };
  const { firstSequence } = segment;
  return { kind: "bad", size, records: estimateMaxRecords({ handle, firstSequence, size, filledBytes }) };
}
