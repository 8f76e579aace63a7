/**
 * Puts records of a quarantined file back into the log, exactly once, however often that is interrupted.
 *
 * The records become a new segment at the end of the log. It is made in the quarantine, and what has happened shows in
 * nothing but names, each changed in one step:
 *
 * 1. `FILE.restoring`, the new segment, is written and synced, then its name.
 * 2. `FILE` becomes `FILE.restored`, and that is synced: *this decides*.
 * 3. `FILE.restoring` becomes a segment of the log, and that is synced.
 *
 * Whoever finds `FILE.restoring` without `FILE.restored` knows that nothing was decided: the segment may be half written,
 * is thrown away, and all begins anew. Whoever finds both knows that it was decided and not done: the segment is whole,
 * because step 1 was durable before step 2 began, and it is in no log, because a file has one name; so step 3 is done. A
 * power cut can only undo a step that wasn't synced, and nothing was built on that. Whatever a program did with the
 * buffer in between makes no difference: then the segment is written anew with the sequences that come next by now.
 *
 * The log must be locked.
 *
 * @module
 */

import { join } from "@std/path/join";
import { closeQuietly, readFile } from "../fs/file_helpers.ts";
import type { FileHandle } from "../fs/file_system.ts";
import {
  decodeSegmentHeader,
  encodeFrameHeader,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../wal/format.ts";
import { QUARANTINE_NAME, RESTORED_SUFFIX, segmentName } from "../wal/names.ts";
import type { LogPosition } from "../wal/position.ts";
import { headerMatches, type LogLocation, payloadBytesOf } from "../wal/segment_files.ts";
import { listIfExists, RESTORING_SUFFIX } from "./quarantine_files.ts";
import type { Piece } from "./restore_planner.ts";
import { findSoundFrames } from "./salvage.ts";

/** How much is written at a time. */
const CHUNK_BYTES = 256 * 1024;
/** What is written before it takes the name of a segment that was decided on. */
const UNFINISHED_SUFFIX = ".new";

/** Where the records go. */
export interface RestoreTarget extends LogLocation {
  readonly uuid: string;
  /** Wall time, milliseconds since 1970. */
  readonly now: number;
}

/** The records to write, and what the segment's header says of them. */
export interface RestoreSource {
  readonly bytes: Uint8Array;
  readonly pieces: readonly Piece[];
  readonly codecVersion: number;
  readonly isJson: boolean;
  readonly recordLimit: number;
}

/** What was put into the log. */
export interface RestoredFile {
  /** The file in the quarantine that the records are from. */
  readonly name: string;
  readonly records: number;
  /** The sequence of the first of them now. */
  readonly firstSequence: number;
  /** The end of the log behind them. */
  readonly end: LogPosition;
}

/** Restores records of the file `name`, behind `end`. */
export async function restoreFile(
  target: RestoreTarget,
  name: string,
  source: RestoreSource,
  end: LogPosition,
): Promise<RestoredFile> {
  const { fileSystem } = target;
  const path = pathOf(target, await ensureUniqueName(target, name));
  const staged = path + RESTORING_SUFFIX;
  const behind = await writeSegment(target, staged, source, end);
  fileSystem.rename(path, path + RESTORED_SUFFIX);
  await fileSystem.syncDirectory(pathOf(target));
  await publish(target, staged, end);
  const records = behind.nextSequence - end.nextSequence;
  return { name, records, firstSequence: end.nextSequence, end: behind };
}

/** A file whose name was restored before gets another one: nothing is replaced, and the decision stays plain to see. */
async function ensureUniqueName(target: RestoreTarget, name: string): Promise<string> {
  const { fileSystem, directory } = target;
  const names = listIfExists(fileSystem, join(directory, QUARANTINE_NAME));
  let own = name;
  for (let i = 2; names.includes(own + RESTORED_SUFFIX) || (own !== name && names.includes(own)); i++) {
    own = `${name}-${i}`;
  }
  if (own === name) return name;
  fileSystem.rename(pathOf(target, name), pathOf(target, own));
  await fileSystem.syncDirectory(pathOf(target));
  return own;
}

/** Names of files of which a restore was interrupted after it was decided. */
export function findInterruptedRestores({ fileSystem, directory }: LogLocation): string[] {
  const names = listIfExists(fileSystem, join(directory, QUARANTINE_NAME));
  return names.filter((name) => name.endsWith(RESTORING_SUFFIX))
    .map((name) => name.slice(0, -RESTORING_SUFFIX.length))
    .filter((name) => names.includes(name + RESTORED_SUFFIX))
    .sort();
}

/**
 * Finishes what was decided, and throws away what was not.
 *
 * @throws {Error} if a segment that was decided on is damaged.
 */
export async function finishRestores(target: RestoreTarget, end: LogPosition): Promise<RestoredFile[]> {
  const { fileSystem, directory } = target;
  const decided = findInterruptedRestores(target);
  const finished: RestoredFile[] = [];
  for (const name of listIfExists(fileSystem, join(directory, QUARANTINE_NAME))) {
    const isUndecided = name.endsWith(RESTORING_SUFFIX) && !decided.includes(name.slice(0, -RESTORING_SUFFIX.length));
    if (isUndecided || name.endsWith(RESTORING_SUFFIX + UNFINISHED_SUFFIX)) fileSystem.remove(pathOf(target, name));
  }
  for (const name of decided) {
    const restored = await finishRestore(target, name, finished.at(-1)?.end ?? end);
    finished.push(restored);
  }
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
        `remove it and rename ${name}${RESTORED_SUFFIX} to ${name} to begin anew`,
    );
  }
  let behind = computeEnd(header, frames);
  if (!continuesLog(header, { uuid, end })) {
    const anew = staged + UNFINISHED_SUFFIX;
    const pieces = frames.map((frame): Piece => ({ frame, index: 0, count: frame.count, isTied: true }));
    const { codecVersion, isJson, recordLimit } = header;
    behind = await writeSegment(target, anew, { bytes, pieces, codecVersion, isJson, recordLimit }, end);
    fileSystem.rename(anew, staged);
    await fileSystem.syncDirectory(pathOf(target));
  }
  await publish(target, staged, end);
  return { name, records: behind.nextSequence - end.nextSequence, firstSequence: end.nextSequence, end: behind };
}

/** Whether a segment goes on at the end of this log as it is. */
function continuesLog(header: SegmentHeader, { uuid, end }: { uuid: string; end: LogPosition }): boolean {
  const { nextSequence: firstSequence, payloadBytes, logBytes } = end;
  return headerMatches(header, uuid, { name: segmentName(firstSequence), firstSequence }) &&
    header.payloadBytesBefore === payloadBytes && header.logBytesBefore === logBytes;
}

function computeEnd(header: SegmentHeader, frames: readonly { length: number; count: number }[]): LogPosition {
  return frames.reduce<LogPosition>((end, frame) => advance(end, frame), {
    nextSequence: header.firstSequence,
    payloadBytes: header.payloadBytesBefore,
    logBytes: header.logBytesBefore,
  });
}

function advance(end: LogPosition, frame: { length: number; count: number }): LogPosition {
  return {
    nextSequence: end.nextSequence + frame.count,
    payloadBytes: end.payloadBytes + payloadBytesOf(frame),
    logBytes: end.logBytes + frame.length,
  };
}

/** Step 3. A segment that has that name already is one without a record. */
async function publish(target: RestoreTarget, staged: string, { nextSequence }: LogPosition): Promise<void> {
  const { fileSystem, directory } = target;
  fileSystem.rename(staged, join(directory, segmentName(nextSequence)));
  await fileSystem.syncDirectory(directory);
  await fileSystem.syncDirectory(pathOf(target));
}

function pathOf({ directory }: LogLocation, name = ""): string {
  return join(directory, QUARANTINE_NAME, name);
}

/** Writes a segment that begins at `start`, durably; returns the end of the log behind it. */
async function writeSegment(
  target: RestoreTarget,
  path: string,
  source: RestoreSource,
  start: LogPosition,
): Promise<LogPosition> {
  const { fileSystem, uuid, now } = target;
  const { bytes, pieces, codecVersion, isJson, recordLimit } = source;
  const header: SegmentHeader = {
    codecVersion,
    uuid,
    firstSequence: start.nextSequence,
    payloadBytesBefore: start.payloadBytes,
    logBytesBefore: start.logBytes,
    createdAt: now,
    unacknowledged: 0,
    salt: crypto.getRandomValues(new Uint32Array(1))[0],
    recordLimit,
    isJson,
  };
  const handle = fileSystem.open(path, "create");
  let end = start;
  try {
    const out = new ChunkWriter(handle);
    out.append(encodeSegmentHeader(header));
    for (const piece of pieces) {
      const frame = buildFrame(bytes, piece, { firstSequence: end.nextSequence, salt: header.salt });
      out.append(frame);
      end = advance(end, { length: frame.length, count: piece.count });
    }
    out.flush();
    await handle.sync();
  } catch (error) {
    closeQuietly(handle);
    fileSystem.remove(path);
    throw error;
  }
  closeQuietly(handle);
  await fileSystem.syncDirectory(pathOf(target));
  return end;
}

/** The frame of the records of a piece: with a new sequence, and sealed anew. */
function buildFrame(
  bytes: Uint8Array,
  { frame, index, count, isTied }: Piece,
  { firstSequence, salt }: { firstSequence: number; salt: number },
): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = frame.offset + FRAME_HEADER_BYTES;
  const skip = (records: number): number => {
    for (let i = 0; i < records; i++) at += RECORD_HEADER_BYTES + view.getUint32(at, true);
    return at;
  };
  const from = skip(index);
  const records = bytes.subarray(from, skip(count));
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

/** Writes many small pieces with few calls. */
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
    if (bytes.length > CHUNK_BYTES) {
      this.#write(bytes);
      return;
    }
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
