/**
 * The plan of a recovery: reads a log, changes nothing, and says what recovery would change.
 *
 * `recovery.ts` applies the plan; `repair --dry-run` shows it.
 *
 * @module
 */

import { join } from "@std/path/join";
import { UnsupportedVersionError } from "../../errors/mod.ts";
import type { FileHandle } from "../../fs/file_system.ts";
import { Cursor } from "../cursor.ts";
import { newUuid } from "../encoding.ts";
import { SEGMENT_VERSION } from "../format.ts";
import { QUARANTINE_NAME } from "../names.ts";
import { findCursorOrigin } from "../owner_file.ts";
import type { CursorState } from "../position.ts";
import {
  classifySegment,
  findUuid,
  type LogLocation,
  parseSegmentNames,
  type Segment,
  withSegment,
} from "../segment_files.ts";
import { Quarantine } from "./quarantine.ts";
import { type LogReadings, reconcile, type Reconciliation } from "./reconcile.ts";
import { type RecoveryFinding, scanSegment, type SegmentScan } from "./segment_scan.ts";

/** What was found in a directory, and what recovery has to do about it. */
export interface RecoveryPlan extends Omit<LogReadings, "unusable">, Reconciliation {}

/**
 * Plans the recovery of a log. Needs no lock, as long as nothing is changed on the strength of the plan.
 *
 * @throws {UnsupportedVersionError} if the newest segment or the cursor is of a newer version.
 */
export function planRecovery(location: LogLocation): RecoveryPlan {
  const { fileSystem, directory } = location;
  const names = fileSystem.list(directory);
  const segments = parseSegmentNames(names);
  const foundCursor = Cursor.read(fileSystem, directory);
  const cursorOrigin = foundCursor === undefined ? "own" : findCursorOrigin(foundCursor, location);
  // The cursor of a copy of this directory says what was delivered from the copy, not from here.
  const ownCursor = cursorOrigin === "foreign" ? undefined : foundCursor;
  const uuid = findUuid(location, segments, ownCursor) ?? newUuid();
  const cursor = ownCursor?.uuid === uuid ? ownCursor : undefined;
  const newest = readNewestSegments(location, segments, { uuid, cursor });
  const recordedLost = names.includes(QUARANTINE_NAME) ? new Quarantine(fileSystem, directory).losses.lost : [];
  const readings = { uuid, segments, ...newest, validCursor: cursor, foundCursor, cursorOrigin, recordedLost };
  return { ...readings, ...reconcile(location, readings) };
}

/** Reads segments from the newest one back to the first usable one; takes those that aren't usable out of `segments`. */
function readNewestSegments(
  location: LogLocation,
  segments: Segment[],
  log: { readonly uuid: string; readonly cursor: CursorState | undefined },
): Pick<LogReadings, "empty" | "unusable" | "scan"> {
  const empty: Segment[] = [];
  const unusable: RecoveryFinding[] = [];
  let scan: SegmentScan | undefined;
  // Where the next segment begins: an unreadable one can't have held more.
  let before = Infinity;
  while (scan === undefined && segments.length > 0) {
    const segment = segments[segments.length - 1];
    const result = withSegment(location, segment, (handle) => {
      return readSegment(handle, { segment, before, directory: location.directory, ...log });
    });
    before = segment.firstSequence;
    if (result === "empty") empty.push(segment);
    else if ("header" in result) scan = result;
    else unusable.push(result);
    if (scan === undefined) segments.pop();
  }
  return { empty, unusable, scan };
}

/** Reads a segment through, or says why the log can't be continued with it. */
function readSegment(
  handle: FileHandle,
  { segment, before, directory, uuid, cursor }: {
    readonly segment: Segment;
    readonly before: number;
    readonly directory: string;
    readonly uuid: string;
    readonly cursor: CursorState | undefined;
  },
): SegmentScan | RecoveryFinding | "empty" {
  const found = classifySegment(handle, segment, uuid);
  if (found.kind === "version") {
    const path = join(directory, segment.name);
    throw new UnsupportedVersionError({ path, version: found.version, supported: SEGMENT_VERSION });
  }
  if (found.kind === "ours") return scanSegment(handle, { segment, header: found.header, cursor });
  if (found.kind === "empty") return "empty";
  // Another buffer's records aren't missing here. Of an unreadable segment, only a bound is known.
  const records = found.kind === "foreign" ? 0 : found.records;
  const { name, firstSequence } = segment;
  const missing = records < 1
    ? undefined
    : { first: firstSequence, last: Math.min(firstSequence + records, before) - 1 };
  return { segment: name, offset: 0, length: found.size, missing };
}
