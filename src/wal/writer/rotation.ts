/**
 * Rotation: which segment is written to, and when the next one begins.
 *
 * Guarantees:
 * - A process writes only into files of its own: the first write begins a new segment. After a failed sync nobody knows
 *   which pages of an older one, its header among them, are on the disk, although all of them read well; and nothing can
 *   be appended to a tear.
 * - A segment is not begun before it is needed, so that a full disk doesn't keep anybody from opening a log and draining
 *   it. If its file can't even be created, the one before goes on with what still fits.
 * - A segment ends where the next one begins: nothing is written in front of one that may be there.
 * - Two owners never write to one file. A segment is created by a name that nothing has, and nothing is written to it before
 *   it is confirmed once more that the directory is ours: so another owner finds each segment that holds a record, and one
 *   without a record is removed, not written over.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../../base/clock.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { fileSize, ifExists, removeIfExists } from "../../fs/file_helpers.ts";
import type { FileIdentity, FileSystem } from "../../fs/file_system.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader, unacknowledgedBefore } from "../format.ts";
import { segmentName } from "../names.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import { classifySegment, withSegment } from "../segment_files.ts";
import { SegmentWriter } from "../segment_writer.ts";
import type { LogEnds } from "./log_ends.ts";
import type { SegmentList } from "./segment_list.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** With so many segments waiting for a sync, one is started at once. */
const MANY_DIRTY_SEGMENTS = 4;
/** And with so many, they are closed without it: descriptors are few. The sync opens them again. */
const MAX_DIRTY_SEGMENTS = 16;

/** The segment that is written to. */
export interface ActiveSegment {
  readonly writer: SegmentWriter;
  readonly header: SegmentHeader;
}

/** What a {@linkcode Rotation} is made with. */
export interface RotationDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly list: SegmentList;
  readonly syncs: SyncQueue;
  /** Whether a retired segment is going to be synced. */
  readonly isSynced: boolean;
  /** Whether every write is going to be synced by itself. */
  readonly setsAside: boolean;
  /** A segment of more bytes ends. */
  readonly segmentBytes: number;
  /** What all headers have in common. */
  readonly header: Pick<SegmentHeader, "uuid" | "codecVersion" | "isJson" | "recordLimit">;
  readonly ends: LogEnds;
  /** Whether the name of the first segment is taken by one that a process left without a record. */
  readonly hasEmptySegment: boolean;
  readonly ownership: Pick<Ownership, "verify">;
  /** A segment was begun. */
  readonly onBegun: (name: string) => void;
}

/** Knows the segment that is written to. */
export class Rotation {
  readonly #options: RotationDeps;
  #active: ActiveSegment | undefined;
  /** Whether the name of the segment that comes next is taken by one without a record, which is ours to begin anew. */
  #hasEmptySegment: boolean;
  /** Its name, if we have tried to begin it. */
  #leftover: string | undefined;

  /** For one log. */
  constructor(options: RotationDeps) {
    this.#options = options;
    this.#hasEmptySegment = options.hasEmptySegment;
  }

  /** The segment that is written to, if one is yet. */
  get active(): ActiveSegment | undefined {
    return this.#active;
  }

  /**
   * The segment that `length` bytes are to go into, behind `position`: the active one, or a new one.
   *
   * @throws What the file system throws; the active segment is the one before then.
   */
  segmentFor(length: number, position: LogPosition): ActiveSegment {
    const { segmentBytes, list, syncs, onBegun } = this.#options;
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
    list.append({ segment: { name: writer.name, firstSequence }, logBytesBefore: header.logBytesBefore, identity });
    if (old !== undefined) this.#retire(old.writer);
    onBegun(writer.name);
    return active;
  }

  /** Gives back the space that is set aside for what is not going to be written. May throw. */
  end(): void {
    this.#active?.writer.trim();
  }

  #headerAt({ nextSequence, payloadBytes, logBytes }: LogPosition): SegmentHeader {
    const { clock, header, ends } = this.#options;
    return {
      ...header,
      firstSequence: nextSequence,
      payloadBytesBefore: payloadBytes,
      logBytesBefore: logBytes,
      createdAt: Math.max(0, Math.floor(clock.now())),
      unacknowledged: unacknowledgedBefore(nextSequence, ends.vouchedSequence),
      salt: crypto.getRandomValues(new Uint32Array(1))[0],
    };
  }

  /** Removes what a failed attempt has left of the segment that comes next. May throw. */
  removeLeftover(): void {
    const { fileSystem, directory } = this.#options;
    if (this.#leftover !== undefined) removeIfExists(fileSystem, join(directory, this.#leftover));
  }

  /** Creates a segment, in place of one that is there without a record. */
  #create(header: SegmentHeader): { readonly writer: SegmentWriter; readonly identity: FileIdentity | undefined } {
    const { ownership } = this.#options;
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
    const { fileSystem, directory, setsAside, segmentBytes } = this.#options;
    const preallocateUpTo = setsAside ? segmentBytes : 0;
    try {
      return SegmentWriter.create(fileSystem, directory, header, { mayExist: this.#hasEmptySegment, preallocateUpTo });
    } catch (error) {
      const isTaken = error instanceof FileSystemError && error.errno === "EEXIST" && error.operation === "open";
      if (!isTaken || !this.#isWithoutRecord(header)) throw error;
    }
    // A former owner began it, saw that the log isn't its own any more, and left it.
    return SegmentWriter.create(fileSystem, directory, header, { mayExist: true, preallocateUpTo });
  }

  #isWithoutRecord({ firstSequence, uuid }: SegmentHeader): boolean {
    const { fileSystem, directory } = this.#options;
    const segment = { name: segmentName(firstSequence), firstSequence };
    return withSegment({ fileSystem, directory }, segment, (handle) => {
      const { kind, size } = classifySegment(handle, segment, uuid);
      return kind === "empty" || (kind === "ours" && size <= SEGMENT_HEADER_BYTES);
    });
  }

  /**
   * Whether a failed attempt has left something: for a reader, the segment before ends there, so this name it must be until
   * it works. Also when it could be removed, because a power cut may bring it back. A file that was there before us is
   * not ours to write over.
   */
  #mayBeBegun(name: string, error: unknown): boolean {
    if (!(error instanceof FileSystemError) || error.operation !== "open") return true;
    if (error.errno === "EEXIST") return false;
    try {
      return ifExists(() => fileSize(this.#options.fileSystem, join(this.#options.directory, name))) !== undefined;
    } catch {
      return true;
    }
  }

  /**
   * Nothing more is written to a segment. It stays open while a sync is due, because an error of write-back is told to
   * descriptors that were open at the time; but not any number of them.
   */
  #retire(writer: SegmentWriter): void {
    const { syncs, isSynced } = this.#options;
    const dirty = syncs.dirtyWriters.size;
    writer.retire();
    if (writer.isSettled || !isSynced || dirty > MAX_DIRTY_SEGMENTS) writer.close();
    syncs.retired(writer);
    if (isSynced && dirty > MANY_DIRTY_SEGMENTS) syncs.start();
  }
}
