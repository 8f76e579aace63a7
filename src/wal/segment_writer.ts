/**
 * Appends frames to one segment.
 *
 * Guarantees: `write` leaves either all of the bytes behind, or none of them, or says by `broken` that it could not
 * undo a failed write; `sync` covers everything written before the call. The position is kept here, not in the
 * operating system (no O_APPEND: a file opened so ignores where a repair wants to write).
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError } from "../errors.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader, segmentName } from "./format.ts";

/** The segment that is written to, or that was and still has to be synced. */
export class SegmentWriter {
  /** File name. */
  readonly name: string;
  /** What its header says. */
  readonly header: SegmentHeader;
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  #handle: FileHandle | undefined;
  #position: number;
  #syncedPosition: number;
  #broken = false;

  private constructor(fileSystem: FileSystem, directory: string, header: SegmentHeader, synced: number) {
    this.name = segmentName(header.firstSequence);
    this.header = header;
    this.#fileSystem = fileSystem;
    this.#path = join(directory, this.name);
    this.#position = SEGMENT_HEADER_BYTES;
    this.#syncedPosition = synced;
  }

  /** Creates a segment. If that fails, nothing of it is left, as far as the file system lets us. */
  static create(fileSystem: FileSystem, directory: string, header: SegmentHeader): SegmentWriter {
    const writer = new SegmentWriter(fileSystem, directory, header, 0);
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

  /** Goes on with an existing segment behind its last good frame; nothing may follow it there. */
  static reopen(fileSystem: FileSystem, directory: string, header: SegmentHeader, position: number): SegmentWriter {
    const writer = new SegmentWriter(fileSystem, directory, header, 0);
    writer.#handle = fileSystem.open(writer.#path, "write");
    writer.#position = position;
    return writer;
  }

  /** Where the next frame goes. */
  get position(): number {
    return this.#position;
  }

  /** Whether there is anything that a sync has not covered. */
  get isDirty(): boolean {
    return this.#syncedPosition < this.#position;
  }

  /** Whether a failed write could not be undone: what is behind `position` is unknown. */
  get broken(): boolean {
    return this.#broken;
  }

  /**
   * Writes frames behind what is there.
   *
   * @throws what the file system throws; the position stays then, and the file is cut back to it unless `broken`.
   */
  write(bytes: Uint8Array): void {
    const handle = this.#handle!;
    try {
      handle.write(bytes, this.#position);
    } catch (error) {
      try {
        handle.truncate(this.#position);
      } catch {
        this.#broken = true;
      }
      throw error;
    }
    this.#position += bytes.length;
  }

  /** Syncs everything written so far; a segment that was removed meanwhile needs none. */
  async sync(): Promise<void> {
    const position = this.#position;
    if (this.#handle !== undefined) await this.#handle.sync();
    else await this.#syncClosed();
    this.#syncedPosition = Math.max(this.#syncedPosition, position);
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
      handle.close();
    }
  }

  /** After a failed sync: cuts off what was never acknowledged, so that it doesn't turn up later. May throw. */
  cutUnsynced(): void {
    if (this.isDirty) this.#handle?.truncate(Math.max(this.#syncedPosition, SEGMENT_HEADER_BYTES));
  }

  /** Closes the file; `sync` opens it again if it has to. */
  close(): void {
    this.#handle?.close();
    this.#handle = undefined;
  }
}
