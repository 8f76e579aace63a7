/**
 * Appends frames to one segment.
 *
 * Guarantees:
 * - `write` is all or nothing: a failed write is cut off again. If that fails as well, `isBroken` is set.
 * - `sync` covers everything that was written before the call; so does `syncBlocking`, also while a `sync` is under way.
 * - The write position is kept here, not by the operating system. (No O_APPEND: on a file opened like that, a repair can't
 *   choose where it writes.)
 *
 * Where each write is synced by itself, the file is preallocated, a piece at a time. A write within the preallocated length
 * doesn't change the file's size, so most syncs have no metadata to write; on ext4 each takes a third less time. The
 * preallocated range is a hole: it takes no space and reads as zeros, which count as a torn tail after a crash. It is cut
 * off when the segment is retired. It isn't filled with zeros, because that would cost the bandwidth of its whole length at
 * once.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, openIfExists, removeIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileSystem } from "../fs/file_system.ts";
import { isPassing, retryBlocking } from "../fs/retry.ts";
import { syncFile, syncFileBlocking } from "../fs/sync_file.ts";
import { cutBack } from "./cut_back.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./format.ts";
import { segmentName } from "./names.ts";

/** How much is preallocated at a time: little enough for recovery to read over it in a millisecond. */
const PREALLOCATED_BYTES = 1024 * 1024;

/** How a segment is created. */
interface CreateSegmentOptions {
  /** Whether a segment without records may have that name already: it is removed then. */
  readonly mayExist: boolean;
  /** The most bytes that the file is preallocated to; 0 for no preallocation. */
  readonly preallocateUpTo: number;
}

/** A segment that is written to, or was written to and has to be synced. */
export class SegmentWriter {
  /** File name. */
  readonly name: string;
  /** Set when nothing more is written to it. */
  isRetired = false;
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  #handle: FileHandle | undefined;
  /**
   * A second description of the file, for syncs within the call. The system reports an error of write-back once to each open
   * description: through a single one, a sync beside another could succeed because the other got the error.
   */
  #blockingHandle: FileHandle | undefined;
  #position: number = SEGMENT_HEADER_BYTES;
  #acknowledged: number = SEGMENT_HEADER_BYTES;
  /** The most bytes that the file is preallocated to, and how many it has been preallocated to. */
  #preallocateUpTo = 0;
  #fileBytes = 0;
  /** The number of changes to the file so far, its creation included, and how many of them are synced. */
  #changes = 1;
  #syncedChanges = 0;
  #broken = false;
  #syncsUnderWay = 0;
  #closesAfterSync = false;

  private constructor(fileSystem: FileSystem, directory: string, name: string) {
    this.name = name;
    this.#fileSystem = fileSystem;
    this.#path = join(directory, name);
  }

  /** Creates a segment. If that fails, the file is removed again, as far as the file system allows. */
  static create(
    fileSystem: FileSystem,
    directory: string,
    header: SegmentHeader,
    { mayExist, preallocateUpTo }: CreateSegmentOptions,
  ): SegmentWriter {
    const writer = new SegmentWriter(fileSystem, directory, segmentName(header.firstSequence));
    writer.#preallocateUpTo = preallocateUpTo;
    // Removed, not overwritten: the process that created it may still have it open.
    if (mayExist) retryBlocking(() => removeIfExists(fileSystem, writer.#path));
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

  /** The identity of the file; `undefined` if the file system has none, or the file isn't open. */
  get identity(): FileIdentity | undefined {
    return this.#handle?.identify?.();
  }

  /** Where the next frame goes. */
  get position(): number {
    return this.#position;
  }

  /** Whether there are changes that no sync has covered. */
  get isDirty(): boolean {
    return this.#syncedChanges < this.#changes;
  }

  /** Whether everything in it is synced and acknowledged. */
  get isSettled(): boolean {
    return !this.isDirty && this.#acknowledged >= this.#position;
  }

  /** Whether a failed write could not be cut off: what follows `position` in the file is unknown. */
  get isBroken(): boolean {
    return this.#broken;
  }

  /**
   * Appends frames.
   *
   * @throws what the file system throws. The position stays, and the file is cut back to it, unless `isBroken`.
   */
  write(bytes: Uint8Array): void {
    const handle = this.#handle!;
    const end = this.#position + bytes.length;
    this.#changes++;
    try {
      if (this.#preallocateUpTo > 0 && end > this.#fileBytes) this.#preallocate(handle, end);
      handle.write(bytes, this.#position);
    } catch (error) {
      try {
        this.#fileBytes = cutBack(handle, this.#position);
      } catch {
        this.#broken = true;
      }
      throw error;
    }
    this.#position = end;
  }

  /** Makes the file longer than `end`. This is an optimisation: a limit on file sizes is no reason to reject a put. */
  #preallocate(handle: FileHandle, end: number): void {
    const size = Math.min(end + PREALLOCATED_BYTES, this.#preallocateUpTo);
    if (size <= end) return;
    // Also if the call fails: the file may have grown all the same, and `trim` has to cut that off.
    this.#fileBytes = size;
    try {
      handle.truncate(size);
    } catch (error) {
      if (!(error instanceof NoSpaceError) && !isPassing(error)) throw error;
      this.#preallocateUpTo = 0;
    }
  }

  /** Syncs everything written so far. A segment that was removed meanwhile needs no sync. */
  async sync(): Promise<void> {
    const changes = this.#changes;
    this.#openBlockingHandle();
    this.#syncsUnderWay++;
    try {
      if (this.#handle !== undefined) await this.#handle.sync();
      else await syncFile(this.#fileSystem, this.#path, (second) => this.#blockingHandle = second);
    } finally {
      this.#syncsUnderWay--;
      if (this.#closesAfterSync) this.close();
    }
    this.#syncedChanges = Math.max(this.#syncedChanges, changes);
  }

  /** As `sync`, within the call. Errors are final as there. */
  syncBlocking(): void {
    const changes = this.#changes;
    // While no other sync runs, all errors are known, and any description will do.
    const handle = this.#blockingHandle ?? (this.#syncsUnderWay === 0 ? this.#handle : undefined);
    if (handle !== undefined) handle.syncBlocking!();
    else syncFileBlocking(this.#fileSystem, this.#path);
    this.#syncedChanges = Math.max(this.#syncedChanges, changes);
  }

  /** Opens what `syncBlocking` needs. */
  prepareBlocking(): void {
    if (this.#syncsUnderWay === 0 || this.#blockingHandle !== undefined) return;
    this.#blockingHandle = retryBlocking(() => openIfExists(this.#fileSystem, this.#path, "write"));
  }

  /** Before an asynchronous sync, so that no error has been reported to it alone. Without descriptors it goes without. */
  #openBlockingHandle(): void {
    const isNeeded = this.#handle?.syncBlocking !== undefined && this.#syncsUnderWay === 0;
    if (!isNeeded || this.#blockingHandle !== undefined) return;
    try {
      this.#blockingHandle = openIfExists(this.#fileSystem, this.#path, "write");
    } catch (error) {
      if (!(error instanceof FileSystemError)) throw error;
    }
  }

  /**
   * Notes that all records before `position` are acknowledged: they are durable, and so is all that recovery needs to find
   * them.
   */
  acknowledge(position: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, position);
  }

  /**
   * Cuts off what was never acknowledged, after a failed sync, so that it doesn't come back after a restart. A segment in
   * which nothing was acknowledged is removed, so that its name doesn't stand for missing records. May throw.
   */
  truncateUnacknowledged(): void {
    if (this.#acknowledged === SEGMENT_HEADER_BYTES) retryBlocking(() => this.#fileSystem.remove(this.#path));
    else if (this.#acknowledged < this.#position || this.#broken) this.#truncate(this.#acknowledged);
  }

  #truncate(size: number): void {
    if (this.#handle !== undefined) return void cutBack(this.#handle, size);
    const handle = retryBlocking(() => this.#fileSystem.open(this.#path, "write"));
    try {
      cutBack(handle, size);
    } finally {
      closeQuietly(handle);
    }
  }

  /**
   * Cuts off the preallocated zeros. That need not be durable, because zeros are never taken for records. Nor need it happen: on
   * Windows a file that somebody has mapped can't be cut.
   */
  trim(): void {
    if (this.#fileBytes <= this.#position) return;
    try {
      this.#handle?.truncate(this.#position);
    } catch (error) {
      if (!isPassing(error)) throw error;
    }
    this.#fileBytes = 0;
  }

  /** Closes the file, after a sync that is under way. A later `sync` opens it again if necessary. */
  close(): void {
    this.#closesAfterSync = this.#syncsUnderWay > 0;
    if (this.#closesAfterSync) return;
    closeQuietly(this.#handle);
    closeQuietly(this.#blockingHandle);
    this.#handle = this.#blockingHandle = undefined;
  }
}
