/**
 * Restores records of a quarantined file into the log, exactly once, however often that is interrupted.
 *
 * The records become a new segment at the end of the log. It is built in the quarantine. The progress is visible in file
 * names alone, each of which changes in one step:
 *
 * 1. `FILE.restoring`, the new segment, is written and synced, then its name.
 * 2. `FILE` is renamed to `FILE.restored`, and that is synced. *This is the commit point.*
 * 3. `FILE.restoring` is renamed to a segment of the log, and that is synced.
 *
 * After an interruption:
 * - `FILE.restoring` without `FILE.restored`: not committed. The segment may be half written; it is removed, and the
 *   restore starts over.
 * - Both: committed, but not finished. The segment is complete, because step 1 was durable before step 2 began. It is in no
 *   log, because a file has one name. So step 3 is done.
 *
 * A power cut can only undo a step that was not synced, and no later step was begun then. If the buffer was used in
 * between, the segment is rewritten with the sequences that come next by now.
 *
 * The log must be locked.
 *
 * @module
 */

import { join } from "@std/path/join";
import { readFile } from "../fs/file_helpers.ts";
import type { FileHandle } from "../fs/file_system.ts";
import { createFile, replaceFile } from "../fs/replace_file.ts";
import { randomWord } from "../fs/random_bytes.ts";
import {
  decodeSegmentHeader,
  encodeFrameHeader,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  payloadBytesOf,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  skipRecords,
} from "../wal/format.ts";
import { QUARANTINE_NAME, RESTORED_SUFFIX, segmentName } from "../wal/names.ts";
import type { LogPosition } from "../wal/position.ts";
import { headerPosition } from "../wal/recovery/cursor_position_tracker.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import { RESTORING_SUFFIX } from "./quarantine_files.ts";
import type { Piece } from "./restore_planner.ts";
import { findSoundFrames } from "./salvage.ts";
import { quarantineNames } from "./snapshot.ts";

/** How much is written at a time. */
const CHUNK_BYTES = 256 * 1024;
/** Suffix of a rewritten segment, before it replaces a committed one. */
const NEW_SUFFIX = ".new";

/** The log to restore into. */
export interface RestoreTarget extends LogLocation {
  readonly uuid: string;
  /** Wall time, milliseconds since 1970. */
  readonly now: number;
}

/** The records to restore, and what the new segment's header says about them. */
export interface RestoreSource extends Pick<SegmentHeader, "codecVersion" | "isJson" | "recordLimit"> {
  readonly bytes: Uint8Array;
  readonly pieces: readonly Piece[];
}

/** What was restored from one file. */
export interface RestoredFile {
  /** The file in the quarantine that the records are from. */
  readonly name: string;
  readonly records: number;
  readonly firstSequence: number;
  /** The end of the log after them. */
  readonly end: LogPosition;
}

/** Restores records of the file `name` to the end of the log, which is at `end`. */
export async function restoreFile(
  target: RestoreTarget,
  name: string,
  source: RestoreSource,
  end: LogPosition,
): Promise<RestoredFile> {
  const { fileSystem } = target;
  const path = pathOf(target, await ensureUniqueName(target, name));
  const staged = path + RESTORING_SUFFIX;
  const behind = await createFile(fileSystem, staged, (handle) => writeSegment(handle, target, source, end));
  await fileSystem.syncDirectory(pathOf(target));
  fileSystem.rename(path, path + RESTORED_SUFFIX);
  await fileSystem.syncDirectory(pathOf(target));
  await publish(target, staged, end);
  const records = behind.nextSequence - end.nextSequence;
  return { name, records, firstSequence: end.nextSequence, end: behind };
}

/** Renames the file if one of its name was restored before, so that nothing is replaced and step 2 stays unambiguous. */
async function ensureUniqueName(target: RestoreTarget, name: string): Promise<string> {
  const { fileSystem } = target;
  const names = quarantineNames(target);
  let own = name;
  for (let i = 2; names.includes(own + RESTORED_SUFFIX) || (own !== name && names.includes(own)); i++) {
    own = `${name}-${i}`;
  }
  if (own === name) return name;
  fileSystem.rename(pathOf(target, name), pathOf(target, own));
  await fileSystem.syncDirectory(pathOf(target));
  return own;
}

/** The names of files whose restore was committed, but not finished. */
export function findInterruptedRestores(location: LogLocation): string[] {
  const names = quarantineNames(location);
  return names.filter((name) => name.endsWith(RESTORING_SUFFIX))
    .map((name) => name.slice(0, -RESTORING_SUFFIX.length))
    .filter((name) => names.includes(name + RESTORED_SUFFIX))
    .sort();
}

/**
 * Finishes restores that were committed, and removes the remains of those that were not.
 *
 * @throws {Error} if the new segment of a committed restore is damaged.
 */
export async function finishRestores(target: RestoreTarget, end: LogPosition): Promise<RestoredFile[]> {
  const decided = findInterruptedRestores(target);
  const finished: RestoredFile[] = [];
  for (const name of quarantineNames(target)) {
    const isUndecided = name.endsWith(RESTORING_SUFFIX) && !decided.includes(name.slice(0, -RESTORING_SUFFIX.length));
    if (isUndecided || name.endsWith(RESTORING_SUFFIX + NEW_SUFFIX)) target.fileSystem.remove(pathOf(target, name));
  }
  for (const name of decided) finished.push(await finishRestore(target, name, finished.at(-1)?.end ?? end));
  return finished;
}

async function finishRestore(target: RestoreTarget, name: string, end: LogPosition): Promise<RestoredFile> {
  const { fileSystem, uuid } = target;
  const staged = pathOf(target, name + RESTORING_SUFFIX);
  const bytes = readFile(fileSystem, staged);
  const result = decodeSegmentHeader(bytes);
  const header = result.kind === "header" ? result.header : undefined;
  const frames = header === undefined ? [] : findSoundFrames(bytes, header, SEGMENT_HEADER_BYTES);
  const length = frames.reduce((sum, frame) => sum + frame.length, SEGMENT_HEADER_BYTES);
  if (header === undefined || frames.length === 0 || length !== bytes.length) {
    throw new Error(
      `Cannot finish restoring ${name}: ${name}${RESTORING_SUFFIX} is damaged; ` +
        `remove it and rename ${name}${RESTORED_SUFFIX} to ${name} to start over`,
    );
  }
  let behind = frames.reduce(advance, headerPosition(header));
  if (header.uuid !== uuid || !isSamePosition(headerPosition(header), end)) {
    const pieces = frames.map((frame): Piece => ({ frame, index: 0, count: frame.count, isTied: true }));
    const source = { ...header, bytes, pieces };
    const newPath = staged + NEW_SUFFIX;
    behind = await replaceFile(fileSystem, staged, (handle) => writeSegment(handle, target, source, end), { newPath });
  }
  await publish(target, staged, end);
  return { name, records: behind.nextSequence - end.nextSequence, firstSequence: end.nextSequence, end: behind };
}

function isSamePosition(one: LogPosition, other: LogPosition): boolean {
  return one.nextSequence === other.nextSequence && one.payloadBytes === other.payloadBytes &&
    one.logBytes === other.logBytes;
}

function advance(end: LogPosition, frame: { length: number; count: number }): LogPosition {
  return {
    nextSequence: end.nextSequence + frame.count,
    payloadBytes: end.payloadBytes + payloadBytesOf(frame),
    logBytes: end.logBytes + frame.length,
  };
}

/** Step 3. If there is a segment of that name already, it has no record. */
async function publish(target: RestoreTarget, staged: string, { nextSequence }: LogPosition): Promise<void> {
  const { fileSystem, directory } = target;
  fileSystem.rename(staged, join(directory, segmentName(nextSequence)));
  await fileSystem.syncDirectory(directory);
  await fileSystem.syncDirectory(pathOf(target));
}

function pathOf({ directory }: LogLocation, name = ""): string {
  return join(directory, QUARANTINE_NAME, name);
}

/** Writes a segment that begins at `start`; returns the end of the log after it. */
function writeSegment(
  handle: FileHandle,
  { uuid, now }: RestoreTarget,
  source: RestoreSource,
  start: LogPosition,
): LogPosition {
  const { bytes, pieces, codecVersion, isJson, recordLimit } = source;
  const header: SegmentHeader = {
    codecVersion,
    uuid,
    firstSequence: start.nextSequence,
    payloadBytesBefore: start.payloadBytes,
    logBytesBefore: start.logBytes,
    createdAt: now,
    unacknowledged: 0,
    salt: randomWord(),
    recordLimit,
    isJson,
  };
  let end = start;
  const out = new ChunkWriter(handle);
  out.append(encodeSegmentHeader(header));
  for (const piece of pieces) {
    const frame = buildFrame(bytes, piece, { firstSequence: end.nextSequence, salt: header.salt });
    out.append(frame);
    end = advance(end, { length: frame.length, count: piece.count });
  }
  out.flush();
  return end;
}

/** Builds the frame of a piece's records, with a new sequence and a new checksum. */
function buildFrame(
  bytes: Uint8Array,
  { frame, index, count, isTied }: Piece,
  { firstSequence, salt }: { firstSequence: number; salt: number },
): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const from = skipRecords(view, frame.offset + FRAME_HEADER_BYTES, index);
  const records = bytes.subarray(from, skipRecords(view, from, count));
  const made = new Uint8Array(FRAME_HEADER_BYTES + records.length);
  made.set(records, FRAME_HEADER_BYTES);
  const header = {
    length: made.length,
    firstSequence,
    putTime: frame.putTime,
    flags: isTied ? frame.flags : 0,
    count,
    unacknowledged: 0,
  };
  encodeFrameHeader(made, new DataView(made.buffer), 0, header, salt);
  return made;
}

/** Combines many small writes into few calls. */
class ChunkWriter {
  readonly #handle: FileHandle;
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #used = 0;
  #position = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  append(bytes: Uint8Array): void {
    if (this.#used + bytes.length > CHUNK_BYTES) this.flush();
    if (bytes.length > CHUNK_BYTES) return this.#write(bytes);
    this.#chunk.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  flush(): void {
    if (this.#used > 0) this.#write(this.#chunk.subarray(0, this.#used));
    this.#used = 0;
  }

  #write(bytes: Uint8Array): void {
    this.#handle.write(bytes, this.#position);
    this.#position += bytes.length;
  }
}
