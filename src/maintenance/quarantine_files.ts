/**
 * The files in the quarantine: which segment each is from, and which sound frames it holds.
 *
 * To check a frame, the salt of its segment must be known. It is in the segment's header, wherever that is by now: in the
 * log or in the quarantine. Where both copies of the header are lost, the salt is computed from the frames.
 *
 * Memory: one file at a time.
 *
 * @module
 */

import { join } from "@std/path/join";
import { ifExists, readFile } from "../fs/file_helpers.ts";
import { decodeSegmentHeader, NO_RECORD_LIMIT, SEGMENT_HEADER_BYTES, unprovenHeaders } from "../wal/format.ts";
import { QUARANTINE_NAME } from "../wal/names.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { findSoundFrames, solveSalt, type SoundFrame } from "./salvage.ts";
import { headerOf, quarantineNames } from "./snapshot.ts";

/** Suffix of a new segment that is going to be moved into the log. */
export const RESTORING_SUFFIX = ".restoring";

/** A whole segment, or a region of one with its offset and length; numbered if there are several. */
const QUARANTINED = /^(\d{20}\.wal)(?:-(\d+)-\d+\.bad)?(?:-\d+)?(\.restored)?$/;

/** A file in the quarantine, as its name describes it. */
export interface QuarantinedFile {
  readonly name: string;
  /** The segment that it was, or was a part of. */
  readonly segment: string;
  /** Its offset in the segment. */
  readonly offset: number;
  /** Whether its records were restored already. */
  readonly isRestored: boolean;
}

/** What is known about the segment that a file is from. */
export interface SegmentFacts {
  /** `undefined` if the header is lost, and its remains don't say. */
  readonly uuid: string | undefined;
  readonly salt: number;
  readonly codecVersion: number | undefined;
  readonly isJson: boolean;
  /** Where the salt is from: read from the header, or computed from the frames. */
  readonly from: "header" | "frames";
}

/** A file of the quarantine and its content. */
export interface QuarantinedContent extends QuarantinedFile {
  readonly bytes: Uint8Array;
  /** `undefined` if the salt can't be determined. */
  readonly facts: SegmentFacts | undefined;
  readonly frames: readonly SoundFrame[];
}

/** The files in the quarantine, in the order of the log. */
export function listQuarantined(place: LogLocation): QuarantinedFile[] {
  const files = quarantineNames(place).flatMap((name): QuarantinedFile[] => {
    const match = QUARANTINED.exec(name);
    if (match === null) return [];
    const [, segment, offset = 0, restored] = match;
    return [{ name, segment, offset: Number(offset), isRestored: restored !== undefined }];
  });
  return files.sort((a, b) =>
    a.segment < b.segment ? -1 : a.segment > b.segment ? 1 : a.offset - b.offset || (a.name < b.name ? -1 : 1)
  );
}

/**
 * Reads a file of the quarantine, and finds its sound frames.
 *
 * @param files All files of the quarantine: another one may have the header of the segment.
 */
export function readQuarantined(
  place: LogLocation,
  file: QuarantinedFile,
  files: readonly QuarantinedFile[],
): QuarantinedContent {
  const path = join(place.directory, QUARANTINE_NAME, file.name);
  const bytes = readFile(place.fileSystem, path);
  const isHead = file.offset === 0;
  const from = isHead ? Math.min(bytes.length, SEGMENT_HEADER_BYTES) : 0;
  const heads = isHead ? [bytes] : readSegmentHeads(place, file, files);
  const facts = findHeaderFacts(heads, path) ?? solveFacts(heads, bytes, from);
  const frames = facts === undefined ? [] : findSoundFrames(bytes, { ...facts, recordLimit: NO_RECORD_LIMIT }, from);
  return { ...file, bytes, facts, frames };
}

/** What the first header says that can be read. */
function findHeaderFacts(heads: readonly Uint8Array[], path: string): SegmentFacts | undefined {
  for (const head of heads) {
    const header = headerOf(decodeSegmentHeader(head), path);
    if (header !== undefined) return { ...header, from: "header" };
  }
  return undefined;
}

/** What the frames prove, and the remains of the headers agree on. */
function solveFacts(heads: readonly Uint8Array[], bytes: Uint8Array, from: number): SegmentFacts | undefined {
  const unproven = heads.flatMap((head) => unprovenHeaders(head));
  // The salt in the remains of a header, if one frame proves it; otherwise the salt that two frames agree on.
  const salt = solveSalt(bytes, unproven.map((header) => header.salt), from);
  if (salt === undefined) return undefined;
  const agreed = <F>(field: (header: typeof unproven[0]) => F): F | undefined => {
    const values = new Set(unproven.map(field));
    return values.size === 1 ? [...values][0] : undefined;
  };
  return {
    uuid: agreed(({ uuid }) => uuid),
    salt,
    codecVersion: agreed(({ codecVersion }) => codecVersion),
    isJson: agreed(({ isJson }) => isJson) ?? false,
    from: "frames",
  };
}

/** Reads the beginning of a region's segment wherever there is one: in the log first, then in the quarantine. */
function readSegmentHeads(
  { fileSystem, directory }: LogLocation,
  { segment }: QuarantinedFile,
  files: readonly QuarantinedFile[],
): Uint8Array[] {
  const quarantined = files.filter((file) => file.segment === segment && file.offset === 0);
  const paths = [segment, ...quarantined.map(({ name }) => join(QUARANTINE_NAME, name))];
  return paths.flatMap((path) =>
    ifExists(() => readFile(fileSystem, join(directory, path), SEGMENT_HEADER_BYTES)) ?? []
  );
}
