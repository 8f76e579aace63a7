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
import { UnsupportedVersionError } from "../errors/mod.ts";
import { ifExists, readFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import {
  decodeSegmentHeader,
  NO_RECORD_LIMIT,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  unprovenHeaders,
} from "../wal/format.ts";
import { QUARANTINE_NAME } from "../wal/names.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { findSoundFrames, solveSalt, type SoundFrame } from "./salvage.ts";

/** Suffix of a new segment that is going to be moved into the log. */
export const RESTORING_SUFFIX = ".restoring";

const REGION = /^(\d{20}\.wal)-(\d+)-(\d+)\.bad(?:-\d+)?(\.restored)?$/;
const SEGMENT = /^(\d{20}\.wal)(?:-\d+)?(\.restored)?$/;

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
export function listQuarantined({ fileSystem, directory }: LogLocation): QuarantinedFile[] {
  const files: QuarantinedFile[] = [];
  for (const name of listIfExists(fileSystem, join(directory, QUARANTINE_NAME))) {
    const region = REGION.exec(name);
    const whole = region === null ? SEGMENT.exec(name) : null;
    if (region !== null) {
      files.push({ name, segment: region[1], offset: Number(region[2]), isRestored: region[4] !== undefined });
    } else if (whole !== null) {
      files.push({ name, segment: whole[1], offset: 0, isRestored: whole[2] !== undefined });
    }
  }
  return files.sort((a, b) =>
    a.segment < b.segment ? -1 : a.segment > b.segment ? 1 : a.offset - b.offset || (a.name < b.name ? -1 : 1)
  );
}

/** The names in the quarantine at `path`; none if there is no quarantine. */
export function listIfExists(fileSystem: FileSystem, path: string): string[] {
  return ifExists(() => fileSystem.list(path)) ?? [];
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
  const bytes = readFile(place.fileSystem, join(place.directory, QUARANTINE_NAME, file.name));
  const from = file.offset === 0 ? Math.min(bytes.length, SEGMENT_HEADER_BYTES) : 0;
  const facts = findFacts(place, { file, bytes, from, files });
  const frames = facts === undefined ? [] : findSoundFrames(bytes, { ...facts, recordLimit: NO_RECORD_LIMIT }, from);
  return { ...file, bytes, facts, frames };
}

function findFacts(
  place: LogLocation,
  { file, bytes, from, files }: {
    file: QuarantinedFile;
    bytes: Uint8Array;
    from: number;
    files: readonly QuarantinedFile[];
  },
): SegmentFacts | undefined {
  const path = join(place.directory, QUARANTINE_NAME, file.name);
  const own = file.offset === 0 ? readHeaderFacts(bytes, path) : undefined;
  if (own !== undefined) return own;
  const heads = file.offset === 0 ? [bytes] : readSegmentHeads(place, file, files);
  for (const head of heads) {
    const facts = readHeaderFacts(head, path);
    if (facts !== undefined) return facts;
  }
  // The salt in the remains of the header, if one frame proves it; otherwise the salt that two frames agree on.
  const unproven = heads.flatMap((head) => unprovenHeaders(head));
  const salt = solveSalt(bytes, unproven.map((header) => header.salt), from);
  if (salt === undefined) return undefined;
  const isAgreed = <F>(field: (header: typeof unproven[0]) => F): F | undefined => {
    const values = new Set(unproven.map(field));
    return values.size === 1 ? [...values][0] : undefined;
  };
  return {
    uuid: isAgreed(({ uuid }) => uuid),
    salt,
    codecVersion: isAgreed(({ codecVersion }) => codecVersion),
    isJson: isAgreed(({ isJson }) => isJson) ?? false,
    from: "frames",
  };
}

/** Reads a segment's header; `undefined` if neither of its copies can be read. */
function readHeaderFacts(bytes: Uint8Array, path: string): SegmentFacts | undefined {
  const result = decodeSegmentHeader(bytes);
  if (result.kind === "version") {
    throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
  }
  if (result.kind === "bad") return undefined;
  const { uuid, salt, codecVersion, isJson } = result.header;
  return { uuid, salt, codecVersion, isJson, from: "header" };
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
