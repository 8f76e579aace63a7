/**
 * Rotation: which segment is written to, and when the next one begins.
 *
 * Guarantees:
 * - A process writes only into its own files: the first write begins a new segment. After a failed sync, it is unknown which
 *   pages of an older one, its header among them, are on the disk, although all of them read well; and nothing can be
 *   appended to a torn tail.
 * - A segment is begun only when it is needed, so a log can be opened and drained on a full disk. If its file can't even be
 *   created, the one before takes what still fits.
 * - A segment ends where the next one begins: no write goes to a segment once the next one may exist.
 * - Two owners never write to one file. A segment is created under an unused name, and nothing is written to it before the
 *   ownership is verified once more. So another owner finds each segment that holds a record; one without a record is removed,
 *   not overwritten.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../../base/clock.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { fileSize, ifExists, removeIfExists } from "../../fs/file_helpers.ts";
import type { FileIdentity } from "../../fs/file_system.ts";
import { randomWord } from "../../fs/random_bytes.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader, unacknowledgedBefore } from "../format.ts";
import { segmentName } from "../names.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import { classifySegment, type LogLocation, withSegment } from "../segment_files.ts";
import { SegmentWriter } from "../segment_writer.ts";
import type { LogEnds } from "./log_ends.ts";
import type { SegmentList } from "./segment_list.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** When more segments than this wait for a sync, one is started at once. */
const MANY_DIRTY_SEGMENTS = 4;
/** When more than this wait, they are closed before the sync, which opens them again: descriptors are few. */
const MAX_DIRTY_SEGMENTS = 16;

/** The segment that is written to. */
interface ActiveSegment {
  readonly writer: SegmentWriter;
  readonly header: SegmentHeader;
}

interface RotationDeps extends LogLocation {
  readonly clock: Clock;
  readonly segments: SegmentList;
  readonly syncs: SyncQueue;
  /** Whether a retired segment is going to be synced. */
  readonly syncsRetired: boolean;
  /** Whether space is preallocated, because every write is going to be synced by itself. */
  readonly preallocates: boolean;
  /** No write makes a segment longer than this, unless it is the first one. */
  readonly segmentBytes: number;
  /** What all headers have in common. */
  readonly header: Pick<SegmentHeader, "uuid" | "codecVersion" | "isJson" | "recordLimit">;
  readonly ends: LogEnds;
  /** Whether an earlier process left a segment without a record under the name of the first one. */
  readonly hasEmptySegment: boolean;
  readonly ownership: Pick<Ownership, "verify">;
  /** A segment was begun. */
  readonly onBegun: (name: string) => void;
}

/** Chooses the segment of each write. */
export class Rotation {
  readonly #deps: RotationDeps;
  #active: ActiveSegment | undefined;
  /** Whether the name of the next segment is taken by one without a record, which may be replaced. */
  #hasEmptySegment: boolean;
  /** Its name, if this process has tried to create it. */
  #leftover: string | undefined;

  constructor(deps: RotationDeps) {
    this.#deps = deps;
    this.#hasEmptySegment = deps.hasEmptySegment;
  }

  /** The segment that is written to; `undefined` before the first write. */
  get active(): ActiveSegment | undefined {
    return this.#active;
  }

  /**
   * The segment for a write of `length` bytes at `position` of the log: the active one, or a new one.
   *
   * @throws What the file system throws; the active segment stays the same then.
   */
  segmentFor(length: number, position: LogPosition): ActiveSegment {
    const { segmentBytes, segments, syncs, onBegun } = this.#deps;
    const old = this.#active;
    const firstSequence = position.nextSequence;
    if (old !== undefined && !this.#hasEmptySegment) {
      const isEmpty = old.header.firstSequence === firstSequence;
      if (isEmpty || old.writer.position + length <= segmentBytes) return old;
    }
    const header = this.#headerAt(position);
    old?.writer.trim();
    const { writer, identity } = this.#create(header);
    const active = this.#active = { writer, header };
    syncs.directoryChanged();
    syncs.touched(writer);
    segments.append({ segment: { name: writer.name, firstSequence }, logBytesBefore: header.logBytesBefore, identity });
    if (old !== undefined) this.#retire(old.writer);
    onBegun(writer.name);
    return active;
  }

  /** Gives back the preallocated space. May throw. */
  end(): void {
    this.#active?.writer.trim();
  }

  #headerAt({ nextSequence, payloadBytes, logBytes }: LogPosition): SegmentHeader {
    const { clock, header, ends } = this.#deps;
    return {
      ...header,
      firstSequence: nextSequence,
      payloadBytesBefore: payloadBytes,
      logBytesBefore: logBytes,
      createdAt: Math.max(0, Math.floor(clock.now())),
      unacknowledged: unacknowledgedBefore(nextSequence, ends.vouchedSequence),
      salt: randomWord(),
    };
  }

  /** Removes what a failed attempt has left of the next segment. May throw. */
  removeLeftover(): void {
    const { fileSystem, directory } = this.#deps;
    if (this.#leftover !== undefined) removeIfExists(fileSystem, join(directory, this.#leftover));
  }

  /** Creates a segment; replaces one without a record. */
  #create(header: SegmentHeader): { readonly writer: SegmentWriter; readonly identity: FileIdentity | undefined } {
    const { ownership } = this.#deps;
    ownership.verify();
    let writer: SegmentWriter | undefined;
    try {
      writer = this.#createFile(header);
      const { identity } = writer;
      ownership.verify();
      this.#hasEmptySegment = false;
      this.#leftover = undefined;
      return { writer, identity };
    } catch (error) {
      writer?.close();
      const name = segmentName(header.firstSequence);
      if (this.#mayBeBegun(name, error)) {
        this.#hasEmptySegment = true;
        this.#leftover = name;
      }
      throw error;
    }
  }

  #createFile(header: SegmentHeader): SegmentWriter {
    const { fileSystem, directory, preallocates, segmentBytes } = this.#deps;
    const preallocateUpTo = preallocates ? segmentBytes : 0;
    try {
      return SegmentWriter.create(fileSystem, directory, header, { mayExist: this.#hasEmptySegment, preallocateUpTo });
    } catch (error) {
      const isTaken = error instanceof FileSystemError && error.errno === "EEXIST" && error.operation === "open";
      if (!isTaken || !this.#isWithoutRecord(header)) throw error;
    }
    // A former owner created it, and then found that it had lost the ownership.
    return SegmentWriter.create(fileSystem, directory, header, { mayExist: true, preallocateUpTo });
  }

  #isWithoutRecord({ firstSequence, uuid }: SegmentHeader): boolean {
    const segment = { name: segmentName(firstSequence), firstSequence };
    return withSegment(this.#deps, segment, (handle) => {
      const { kind, size } = classifySegment(handle, segment, uuid);
      return kind === "empty" || (kind === "ours" && size <= SEGMENT_HEADER_BYTES);
    });
  }

  /**
   * Whether a failed attempt may have left a file. For a reader, the segment before ends there, so the next one must get this
   * name. That holds even if the file was removed, because a power cut may bring it back. A file that was there before is
   * never overwritten.
   */
  #mayBeBegun(name: string, error: unknown): boolean {
    if (!(error instanceof FileSystemError) || error.operation !== "open") return true;
    if (error.errno === "EEXIST") return false;
    try {
      return ifExists(() => fileSize(this.#deps.fileSystem, join(this.#deps.directory, name))) !== undefined;
    } catch {
      return true;
    }
  }

  /**
   * Ends writing to a segment. It stays open while a sync is due, because the system reports an error of write-back only to
   * descriptors that were open at the time; but only a limited number stays open.
   */
  #retire(writer: SegmentWriter): void {
    const { syncs, syncsRetired } = this.#deps;
    const dirty = syncs.dirtyWriters.size;
    writer.isRetired = true;
    if (writer.isSettled || !syncsRetired || dirty > MAX_DIRTY_SEGMENTS) writer.close();
    syncs.retired(writer);
    if (syncsRetired && dirty > MANY_DIRTY_SEGMENTS) syncs.start();
  }
}
