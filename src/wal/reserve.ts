/**
 * The reserve: space that is kept back on a disk where overwriting needs some, and given up first when that is full.
 *
 * On a file system that copies on write (btrfs, ZFS, APFS), and wherever blocks are shared with a copy (reflinks),
 * overwriting in place takes new blocks. When it is full, the cursor can't be written there, nothing can be handed
 * over or committed, and so no segment goes: the buffer can't free its own space. The files `reserve-1`, `reserve-2`
 * and so on prevent that.
 *
 * What it guarantees, if the reserve was made before the disk was full:
 * - Where one of the calls of recovery, commits and clean-up fails for want of space (ENOSPC, EDQUOT), a part of the
 *   reserve is removed and the call is made once more, until it succeeds or nothing is left. One part is enough for all
 *   that a buffer has to overwrite, as was seen on btrfs, also in mixed mode and with its metadata used up; more of
 *   them are for others who write to the same disk and take what was given up.
 * - Puts don't live on it: while a part of it is missing, a put first has to make it whole again, or is refused. So a
 *   buffer alone on its disk can always be drained.
 * - A snapshot, or a copy that shares blocks, holds the reserve's blocks as well, so that giving them up frees nothing. So
 *   every now and then, while there is space, a part of it is written anew when a segment is begun: then one at least is
 *   the buffer's own again, and parts are given up until that one is.
 * - It is made whole again in the background, too, when a segment has gone: once for each, and no caller is failed by it.
 * - A sync is never made again, whatever its error: what the system has marked clean would be taken for synced. These
 *   file systems take space for data at the write, so that want of it shows there, where nothing is lost by trying again;
 *   a sync that fails with ENOSPC all the same (btrfs: no metadata is left) ends as every failed sync does: the buffer
 *   fails. The reserve is given up, all of it, so that the next `open()`, which recovers what is there, finds room.
 *
 * Not guaranteed: anything when others take the space faster than it is used; when a snapshot was taken and hardly
 * anything put since; when the file system needs more than the whole reserve to overwrite a block, or reports want of
 * space only at a sync (thin volumes, network). A new buffer for whose reserve there is no room accepts puts without
 * one, until it is opened again.
 *
 * Nothing of it is synced: a file that is open keeps its space when it is removed. So a power cut soon after it was made
 * may take it; the next `open()` makes it again.
 *
 * Parts are files of their own because a full btrfs in mixed mode still removes a file, but can't cut one. Their bytes
 * are random, so that no file system can compress them, or share them.
 *
 * @module
 */

import { join } from "@std/path/join";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { FileSystemError, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, fileSize, isNoSuchFile, removeIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { parseReserveName, reserveName } from "./names.ts";

/** What a part has, but for the last one, which has the rest: what a full btrfs in mixed mode was seen to need. */
export const RESERVE_PART_BYTES: number = 256 * 1024;
/**
 * By default, where overwriting may need space: four parts, so that three may be lost to others who write to the same disk.
 * Making them takes a millisecond or two, once.
 */
export const DEFAULT_RESERVE_BYTES: number = 4 * RESERVE_PART_BYTES;
/** So that it is no more than some files. */
export const MAX_RESERVE_BYTES: number = 256 * RESERVE_PART_BYTES;
/** After so many bytes put a part is written anew, with the next segment: with each of the default size. */
const REFRESH_BYTES: number = 60 * RESERVE_PART_BYTES;
/** As much as is random at once. */
const CHUNK_BYTES = 64 * 1024;

/** What a {@linkcode Reserve} is made with. */
export interface ReserveDeps {
  readonly fileSystem: FileSystem;
  /** The buffer's directory. */
  readonly directory: string;
  /** Whether the directory is still ours: else nothing in it is made or removed. */
  readonly mayChange: () => boolean;
  /** Its size; 0 for none. */
  readonly reserveBytes: number;
  /** A part of it was given up because of that error; so much is left. */
  readonly onUsed: (bytesLeft: number, error: NoSpaceError) => void;
  /** It is whole again. */
  readonly onRestored: (bytes: number) => void;
  /** It could not be made. */
  readonly onWarning: (error: FileSystemError) => void;
}

/** The reserve of one buffer that is open. */
export class Reserve {
  readonly #options: ReserveDeps;
  /** The parts that are there. */
  readonly #parts = new Set<number>();
  /** How many there are to be. */
  readonly #count: number;
  /** Whether a part was given up that isn't there again. */
  #mustRestore = false;
  /** Whether it may be made: the buffer is open, and not being closed. */
  #isOpen = false;
  #isRestoring = false;
  /** How many bytes were put since a part was written anew, and which it was. */
  #putBytes = 0;
  #refreshed = 0;
  #restoring: Promise<void> | undefined;

  /** For one directory; nothing is done yet. */
  constructor(options: ReserveDeps) {
    this.#options = options;
    this.#count = Math.floor(options.reserveBytes / RESERVE_PART_BYTES);
  }

  /** Whether there is to be one. */
  get isEnabled(): boolean {
    return this.#count > 0;
  }

  get #isWhole(): boolean {
    return this.#parts.size === this.#count;
  }

  get #bytes(): number {
    let bytes = 0;
    for (const part of this.#parts) bytes += this.#sizeOf(part);
    return bytes;
  }

  /** The last part has what isn't enough for another one. */
  #sizeOf(part: number): number {
    return part < this.#count
      ? RESERVE_PART_BYTES
      : this.#options.reserveBytes - (this.#count - 1) * RESERVE_PART_BYTES;
  }

  #pathOf(part: number): string {
    return join(this.#options.directory, reserveName(part));
  }

  /**
   * Takes over what an earlier process has left; what isn't wanted is removed. The directory must be locked.
   *
   * @param names The names in it.
   * @param isNew Whether the buffer is: otherwise a process that has given up parts may have ended.
   */
  adopt(names: readonly string[], { isNew }: { isNew: boolean }): void {
    const { fileSystem } = this.#options;
    for (const part of names.map(parseReserveName)) {
      if (part === undefined) continue;
      const path = this.#pathOf(part);
      this.#attempt(() => {
        // One of another size is of another reserve, or was begun by a process that has died.
        if (part <= this.#count && fileSize(fileSystem, path) === this.#sizeOf(part)) this.#parts.add(part);
        else removeIfExists(fileSystem, path);
      });
    }
    this.#mustRestore = !isNew && !this.#isWhole;
  }

  /** Makes it, if there is room. Not before recovery, which may need what is there. Never throws. */
  create(): void {
    this.#isOpen = true;
    try {
      this.#fill(Infinity);
    } catch (error) {
      this.#warn(error);
    }
  }

  /**
   * Before a put writes `bytes`: makes whole what was given up.
   *
   * @throws {NoSpaceError} if there is no room for it, and so none for the put.
   */
  ensureWhole(bytes: number): void {
    this.#putBytes += bytes;
    if (!this.#mustRestore) return;
    try {
      this.#restore(Infinity);
    } catch (error) {
      if (error instanceof NoSpaceError) throw error;
      this.#warn(error);
    }
  }

  /** When a segment was begun: writes a part anew, if that is due. Never throws. */
  refresh(): void {
    if (!this.#isOpen || !this.#isWhole || this.#putBytes < REFRESH_BYTES) return;
    this.#putBytes = 0;
    this.#refreshed = this.#refreshed % this.#count + 1;
    // On a full disk the old bytes stay.
    this.#attempt(() => this.#write(this.#refreshed));
  }

  /** After a segment has gone: makes what is missing, as far as there is room, in the background. Never throws. */
  restore(): void {
    if (!this.#isOpen || this.#isRestoring || this.#isWhole) return;
    this.#isRestoring = true;
    this.#restoring = this.#restoreInTurns();
  }

  /** A part a turn: on a disk that is nearly full each may take a tenth of a second. Never rejects. */
  async #restoreInTurns(): Promise<void> {
    try {
      while (this.#isOpen && !this.#isWhole && !this.#restore(1)) await yieldToEventLoop();
    } catch (error) {
      // It is known already that the disk is full.
      if (!(error instanceof NoSpaceError)) this.#warn(error);
    } finally {
      this.#isRestoring = false;
    }
  }

  /** Whether it is whole now. */
  #restore(parts: number): boolean {
    const isWhole = this.#fill(parts);
    if (isWhole) this.#options.onRestored(this.#bytes);
    return isWhole;
  }

  /** Gives up a part for what has failed with `error`, or all; `false` if there is nothing left. Never throws. */
  release(error: NoSpaceError, { isAll }: { isAll: boolean }): boolean {
    const { fileSystem, mayChange, onUsed } = this.#options;
    if (!mayChange()) return false;
    let isGivenUp = false;
    for (const part of [...this.#parts].sort((a, b) => b - a)) {
      if (isGivenUp && !isAll) break;
      this.#parts.delete(part);
      isGivenUp = this.#attempt(() => fileSystem.remove(this.#pathOf(part))) || isGivenUp;
    }
    if (!isGivenUp) return false;
    this.#mustRestore = true;
    onUsed(this.#bytes, error);
    return true;
  }

  /** Resolves when nothing of it is under way; it isn't made again from now on, unless a put requires it. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#restoring;
  }

  /**
   * Makes parts that are missing, so many at most. When one doesn't fit, the others stay if the reserve is owed; but where
   * it never was whole, nothing is kept back, because a disk may be too small for it.
   *
   * @returns Whether it is whole.
   */
  #fill(parts: number): boolean {
    const { fileSystem } = this.#options;
    try {
      for (let part = 1, made = 0; part <= this.#count && made < parts; part++) {
        if (this.#parts.has(part)) continue;
        this.#write(part);
        this.#parts.add(part);
        made++;
      }
    } catch (error) {
      for (const part of this.#mustRestore ? [] : this.#parts) {
        if (this.#attempt(() => fileSystem.remove(this.#pathOf(part)))) this.#parts.delete(part);
      }
      throw error;
    }
    if (this.#isWhole) this.#mustRestore = false;
    return this.#isWhole;
  }

  /** Writes a part; what fails leaves none behind, if there was none. */
  #write(part: number): void {
    const { fileSystem, mayChange } = this.#options;
    if (!mayChange()) return;
    const isNew = !this.#parts.has(part);
    const path = this.#pathOf(part);
    const handle = openOrCreate(fileSystem, path);
    try {
      const size = this.#sizeOf(part);
      for (let at = 0; at < size; at += CHUNK_BYTES) {
        handle.write(crypto.getRandomValues(new Uint8Array(Math.min(CHUNK_BYTES, size - at))), at);
      }
    } catch (error) {
      if (isNew) this.#attempt(() => fileSystem.remove(path));
      throw error;
    } finally {
      closeQuietly(handle);
    }
  }

  #attempt(call: () => void): boolean {
    try {
      call();
      return true;
    } catch (error) {
      if (!(error instanceof FileSystemError)) throw error;
      return false;
    }
  }

  #warn(error: unknown): void {
    if (!(error instanceof FileSystemError)) throw error;
    this.#options.onWarning(error);
  }
}

/** Whether more room would help; a limit on the size of files (EFBIG) is not a full disk. */
export function isOutOfSpace(error: unknown): error is NoSpaceError {
  return error instanceof NoSpaceError && error.errno !== "EFBIG";
}

function openOrCreate(fileSystem: FileSystem, path: string): FileHandle {
  try {
    return fileSystem.open(path, "write");
  } catch (error) {
    if (!isNoSuchFile(error)) throw error;
    return fileSystem.open(path, "create");
  }
}
