/**
 * What is in the quarantine: which file came from where, and which sound frames are in it.
 *
 * To check a frame, the salt of its segment must be known. It is in the segment's header, wherever that is by now: in the
 * log, or in the quarantine; and where both copies of it are lost, it is computed from the frames.
 *
 * Memory: one file at a time.
 *
 * @module
 */

import { join } from "@std/path/join";
import { UnsupportedVersionError } from "../errors/mod.ts";
import { isNoSuchFile, readFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, unprovenHeaders } from "../wal/format.ts";
import { QUARANTINE_NAME } from "../wal/names.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { findSoundFrames, NO_RECORD_LIMIT, solveSalt, type SoundFrame } from "./salvage.ts";

/** A segment that is going to be put into the log. */
export const RESTORING_SUFFIX = ".restoring";

const REGION = /^(\d{20}\.wal)-(\d+)-(\d+)\.bad(?:-\d+)?(\.restored)?$/;
const SEGMENT = /^(\d{20}\.wal)(?:-\d+)?(\.restored)?$/;

/** A file in the quarantine, going by its name. */
export interface QuarantinedFile {
  readonly name: string;
  /** The segment that it was, or is a part of. */
  readonly segment: string;
  /** Where in the segment it begins. */
  readonly offset: number;
  /** Whether its records were put back already. */
  readonly isRestored: boolean;
}

/** What is known about the segment of a file. */
export interface SegmentFacts {
  /** `undefined` if the header is lost, and what is left of it doesn't say. */
  readonly uuid: string | undefined;
  readonly salt: number;
  readonly codecVersion: number | undefined;
  readonly isJson: boolean;
  /** How the salt is known: from the header, or computed from the frames. */
  readonly from: "header" | "frames";
}

/** A file, read. */
export interface QuarantinedContent extends QuarantinedFile {
  readonly bytes: Uint8Array;
  /** `undefined` if the salt can't be known. */
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

/** The names in the quarantine, which need not be there. */
export function listIfExists(fileSystem: FileSystem, path: string): string[] {
  try {
    return fileSystem.list(path);
  } catch (error) {
    if (isNoSuchFile(error)) return [];
    throw error;
  }
}

/** Reads a file of the quarantine; `files` are all that there are. */
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
  // What is left of the header, if one frame proves it; else what two frames agree on.
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

/** What a header says, if one of its copies can be read. */
function readHeaderFacts(bytes: Uint8Array, path: string): SegmentFacts | undefined {
  const result = decodeSegmentHeader(bytes);
  if (result.kind === "version") {
    throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
  }
  if (result.kind === "bad") return undefined;
  const { uuid, salt, codecVersion, isJson } = result.header;
  return { uuid, salt, codecVersion, isJson, from: "header" };
}

/** The beginnings of the segment that a region is from, wherever they are: in the log first. */
function readSegmentHeads(
  { fileSystem, directory }: LogLocation,
  { segment }: QuarantinedFile,
  files: readonly QuarantinedFile[],
): Uint8Array[] {
  const quarantined = files.filter((file) => file.segment === segment && file.offset === 0);
  const paths = [segment, ...quarantined.map(({ name }) => join(QUARANTINE_NAME, name))];
  return paths.flatMap((path) => {
    try {
      return [readFile(fileSystem, join(directory, path), SEGMENT_HEADER_BYTES)];
    } catch (error) {
      if (isNoSuchFile(error)) return [];
      throw error;
    }
  });
}
