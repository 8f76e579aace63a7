/**
 * Segments from outside: which there are, whose they are, and what can be said of one by its header and its length.
 *
 * Guarantees: nothing is changed, and no frame is believed. Recovery, the reader of a buffer and the
 * command line judge by what stands here, and so they judge alike.
 *
 * @module
 */

import { join } from "@std/path/join";
import { withFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import {
  decodeSegmentHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentHeaderResult,
} from "./format.ts";
import { parseSegmentName } from "./names.ts";
import type { CursorState } from "./position.ts";
import { estimateMaxRecords, findFilledBytes } from "./unreadable_segment.ts";

/** A segment by its name. */
export interface Segment {
  /** File name. */
  readonly name: string;
  /** The first sequence that it may hold. */
  readonly firstSequence: number;
}

/** Where segments are. */
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

/** Whether a header belongs to that buffer and to a file of that name. */
export function headerMatches(header: SegmentHeader, uuid: string, segment: Segment): boolean {
  return header.uuid === uuid && header.firstSequence === segment.firstSequence;
}

/** Opens a segment for a look into it. */
export function withSegment<R>(
  { fileSystem, directory }: LogLocation,
  { name }: Segment,
  use: (handle: FileHandle) => R,
): R {
  return withFile(fileSystem, join(directory, name), use);
}

/** The segments among the names in a directory, in order. */
export function parseSegmentNames(names: readonly string[]): Segment[] {
  const segments: Segment[] = [];
  for (const name of names) {
    const firstSequence = parseSegmentName(name);
    if (firstSequence !== undefined) segments.push({ name, firstSequence });
  }
  return segments.sort((a, b) => a.firstSequence - b.firstSequence);
}

/**
 * Whose log this is. The cursor says so, if a segment at either end agrees; else the segments win, the newest first. A
 * single file that strayed in from elsewhere is outvoted. `undefined` if there is neither.
 */
export function findUuid(
  place: LogLocation,
  segments: readonly Segment[],
  cursor: CursorState | undefined,
): string | undefined {
  const uuids = [segments.at(0), segments.at(-1)].map((segment) => {
    if (segment === undefined) return undefined;
    const result = withSegment(place, segment, readSegmentHeader);
    return result.kind === "header" ? result.header.uuid : undefined;
  });
  const [first, last] = uuids;
  if (cursor !== undefined && (uuids.includes(cursor.uuid) || (first ?? last) === undefined)) return cursor.uuid;
  return last ?? first;
}

/** What a file with the name of a segment is, before any frame of it is read. */
export type SegmentClass =
  | { readonly kind: "ours"; readonly header: SegmentHeader; readonly size: number }
  /** Its creation was interrupted before anything could be written behind the header: at most space was set aside. */
  | { readonly kind: "empty"; readonly size: number }
  | { readonly kind: "version"; readonly version: number; readonly size: number }
  /** Its header can't be read; `records`: so many it held at most. */
  | { readonly kind: "bad"; readonly size: number; readonly records: number }
  /** It is another buffer's, or belongs to another name. */
  | { readonly kind: "foreign"; readonly size: number };

/** Looks at a segment's header and length. */
export function classifySegment(handle: FileHandle, segment: Segment, uuid: string): SegmentClass {
  // In this order: beside a live writer, a file that has a header's length has all of the header, too.
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

/** Sum of a frame's payloads. */
export function payloadBytesOf(frame: Pick<FrameHeader, "length" | "count">): number {
  return frame.length - FRAME_HEADER_BYTES - frame.count * RECORD_HEADER_BYTES;
}

/** Whether all bytes of a file from one offset to another are zero. */
export function isZeroFilled(handle: FileHandle, from: number, end: number): boolean {
  const chunk = new Uint8Array(Math.min(64 * 1024, Math.max(1, end - from)));
  for (let at = from; at < end; at += chunk.length) {
    if (chunk.subarray(0, handle.read(chunk, at)).some((byte) => byte !== 0)) return false;
  }
  return true;
}
