/**
 * Appends frames to one segment.
 *
 * Guarantees: `write` leaves either all of the bytes behind, or none of them, or says by `broken` that it could not
 * undo a failed write; `sync` covers everything written before the call. The position is kept here, not in the
 * operating system (no O_APPEND: a file opened so ignores where a repair wants to write).
 *
 * Where every write is synced by itself, the file is made longer than what is in it, a piece at a time: then a write
 * doesn't change the file's size, and most syncs have no metadata to write, which takes a third off each on ext4. What
 * is set aside is a hole: it takes no space, reads as zeros, and so is a torn tail to whoever finds it after a crash. It is
 * cut off when the segment is retired. Zeros are not written in its place: that costs its length in bandwidth at once.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, removeIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileSystem } from "../fs/file_system.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./format.ts";
import { segmentName } from "./names.ts";

/** How much is set aside at a time: so little that recovery reads over it in a millisecond. */
const PREALLOCATED_BYTES = 1024 * 1024;

/** How a segment is begun. */
export interface CreateSegmentOptions {
  /** Whether the name may be taken by a segment without a record: it is removed then. */
  readonly mayExist: boolean;
  /** Up to here its file may be made longer than what is in it; 0 if nothing is to be set aside. */
  readonly preallocateUpTo: number;
}

/** The segment that is written to, or that was and still has to be synced. */
export class SegmentWriter {
  /** File name. */
  readonly name: string;
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  #handle: FileHandle | undefined;
  #position: number = SEGMENT_HEADER_BYTES;
  #acknowledged: number = SEGMENT_HEADER_BYTES;
  /** Up to where space may be set aside, and where what is set aside ends. */
  #aheadUpTo = 0;
  #fileBytes = 0;
  /** How many writes and cuts there were, and how many of them are synced; the file's creation is the first. */
  #changes = 1;
  #syncedChanges = 0;
  #broken = false;
  #isInherited = false;
  #syncsUnderWay = 0;
  #closesAfterSync = false;
  #isRetired = false;

  private constructor(fileSystem: FileSystem, directory: string, name: string) {
    this.name = name;
    this.#fileSystem = fileSystem;
    this.#path = join(directory, name);
  }

  /** Creates a segment. If that fails, nothing of it is left, as far as the file system lets us. */
  static create(
    fileSystem: FileSystem,
    directory: string,
    header: SegmentHeader,
    { mayExist, preallocateUpTo }: CreateSegmentOptions,
  ): SegmentWriter {
    const writer = new SegmentWriter(fileSystem, directory, segmentName(header.firstSequence));
    writer.#aheadUpTo = preallocateUpTo;
    // Never written over: whoever made it may still have it open.
    if (mayExist) removeIfExists(fileSystem, writer.#path);
    writer.#handle = fileSystem.open(writer.#path, "create");
    try {
      writer.#handle.write(encodeSegmentHeader(header), 0);
    } catch (error) {
      writer.close();
      try {
        fileSystem.remove(writer.#path);
      } catch {
        // The next open() removes a segment without a header.
      }
      throw error;
    }
    return writer;
  }

  /** A segment that is only to be synced: an earlier process wrote it, and nobody knows whether it did that. */
  static inherit(fileSystem: FileSystem, directory: string, name: string): SegmentWriter {
    const writer = new SegmentWriter(fileSystem, directory, name);
    writer.#isInherited = true;
    writer.#isRetired = true;
    return writer;
  }

  /** Which file it is; `undefined` if the file system can't tell, or it isn't open. */
  get identity(): FileIdentity | undefined {
    return this.#handle?.identify?.();
  }

  /** Where the next frame goes. */
  get position(): number {
    return this.#position;
  }

  /** Whether anything was done that a sync has not covered. */
  get isDirty(): boolean {
    return this.#syncedChanges < this.#changes;
  }

  /** Whether everything in it is synced, and has been acknowledged. */
  get isSettled(): boolean {
    return !this.isDirty && this.#acknowledged >= this.#position;
  }

  /** Whether nothing more is written to it. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** Whether a failed write could not be undone: what is behind `position` is unknown. */
  get isBroken(): boolean {
    return this.#broken;
  }

  /**
   * Writes frames behind what is there.
   *
   * @throws what the file system throws; the position stays then, and the file is cut back to it unless `broken`.
   */
  write(bytes: Uint8Array): void {
    const handle = this.#handle!;
    const end = this.#position + bytes.length;
    this.#changes++;
    try {
      if (this.#aheadUpTo > 0 && end > this.#fileBytes) this.#preallocate(handle, end);
      handle.write(bytes, this.#position);
    } catch (error) {
      try {
        handle.truncate(this.#position);
        this.#fileBytes = this.#position;
      } catch {
        this.#broken = true;
      }
      throw error;
    }
    this.#position = end;
  }

  /** Makes the file longer than `end`. Without it all is only slower: a limit for files is no reason to refuse a put. */
  #preallocate(handle: FileHandle, end: number): void {
    const size = Math.min(end + PREALLOCATED_BYTES, this.#aheadUpTo);
    if (size <= end) return;
    // Even if it fails: it may have been done all the same, and `trim` has to know.
    this.#fileBytes = size;
    try {
      handle.truncate(size);
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw error;
      this.#aheadUpTo = 0;
    }
  }

  /** Syncs everything written so far; a segment that was removed meanwhile needs none. */
  async sync(): Promise<void> {
    const changes = this.#changes;
    this.#syncsUnderWay++;
    try {
      if (this.#handle !== undefined) await this.#handle.sync();
      else await this.#syncClosed();
    } finally {
      this.#syncsUnderWay--;
      if (this.#closesAfterSync) this.close();
    }
    this.#syncedChanges = Math.max(this.#syncedChanges, changes);
  }

  async #syncClosed(): Promise<void> {
    let handle: FileHandle;
    try {
      handle = this.#fileSystem.open(this.#path, "write");
    } catch (error) {
      if (error instanceof FileSystemError && error.errno === "ENOENT") return;
      throw error;
    }
    try {
      await handle.sync();
    } finally {
      closeQuietly(handle);
    }
  }

  /** Everything before `position` is durable, and so is whatever it needs to be found: its records are acknowledged. */
  acknowledge(position: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, position);
  }

  /**
   * After a failed sync: cuts off what was never acknowledged, so that it doesn't turn up later; a segment of which nothing
   * was goes as a whole, so that its name doesn't speak of records that are gone. May throw.
   */
  truncateUnacknowledged(): void {
    if (this.#isInherited) return;
    if (this.#acknowledged === SEGMENT_HEADER_BYTES) this.#fileSystem.remove(this.#path);
    else if (this.#acknowledged < this.#position || this.#broken) this.#truncate(this.#acknowledged);
  }

  #truncate(size: number): void {
    if (this.#handle !== undefined) return this.#handle.truncate(size);
    const handle = this.#fileSystem.open(this.#path, "write");
    try {
      handle.truncate(size);
    } finally {
      closeQuietly(handle);
    }
  }

  /** Gives back what is set aside. That need not be durable: what is left are zeros, which nobody takes for records. */
  trim(): void {
    if (this.#fileBytes <= this.#position) return;
    this.#handle?.truncate(this.#position);
    this.#fileBytes = 0;
  }

  /** Says that nothing more is written to it. */
  retire(): void {
    this.#isRetired = true;
  }

  /** Closes the file, after a sync that is under way; `sync` opens it again if it has to. */
  close(): void {
    this.#closesAfterSync = this.#syncsUnderWay > 0;
    if (this.#closesAfterSync) return;
    closeQuietly(this.#handle);
    this.#handle = undefined;
  }
}
