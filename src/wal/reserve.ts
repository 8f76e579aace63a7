/**
 * The reserve: space that is kept back on a disk where overwriting needs some, and given up first when that is full.
 *
 * On a file system that copies on write (btrfs, ZFS, APFS), and wherever blocks are shared with a copy (reflinks),
 * overwriting in place takes new blocks. When it is full, the cursor can't be written there, nothing can be handed
 * over or committed, and so no segment goes: the buffer can't free its own space. The file `reserve` prevents that.
 *
 * What it guarantees, if the reserve was made before the disk was full:
 * - Where one of the calls of recovery, commits and clean-up fails for want of space (ENOSPC, EDQUOT), a piece of the
 *   reserve is given up and the call is made once more, until it succeeds or nothing is left. One piece is enough for
 *   every block of the cursor, on btrfs down to metadata that is used up; more of them are for others who write to the
 *   same disk and take what was given up.
 * - Puts don't live on it: while a part of it is missing, a put first has to make it whole again, or is refused. So a
 *   buffer alone on its disk can always be drained.
 * - It is made whole again in the background, too, when a segment has gone: once for each, and no caller is failed by it.
 * - A sync is never made again, whatever its error: what the system has marked clean would be taken for synced. These
 *   file systems take space for data at the write, so that want of it shows there, where nothing is lost by trying again;
 *   a sync that fails with ENOSPC all the same (btrfs: no metadata is left) ends as every failed sync does: the buffer
 *   fails. The reserve is given up, all of it, so that the next `open()`, which recovers what is there, finds room.
 *
 * Not guaranteed: anything when others take the space faster than it is used; when a snapshot or a reflinked copy of
 * the directory holds the reserve's own blocks, so that giving it up frees nothing; when the file system needs more
 * than the whole reserve to overwrite a block, or reports want of space only at a sync (thin volumes, network). A new
 * buffer for whose reserve there is no room accepts puts without one, until it is opened again.
 *
 * The bytes are random, so that the file system can neither compress them nor share them. A hole divides the pieces:
 * on btrfs a run of blocks is freed only as a whole.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, NoSpaceError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { isGone, removeIfThere, sizeOf } from "../fs/look.ts";
import { nextTurn } from "../turns.ts";

/** Name of the reserve in a buffer's directory. */
export const RESERVE_NAME = "reserve";
/**
 * By default, where overwriting may need space: four times what a full btrfs was seen to need at most, so that some of it
 * may be lost to others who write to the same disk. Making it takes a millisecond or two, once.
 */
export const DEFAULT_RESERVE_BYTES: number = 2 ** 20;
/** The smallest reserve: what a full btrfs in mixed mode was seen to need to cut a segment. */
export const MIN_RESERVE_BYTES: number = 256 * 1024;
/** What is given up at a time: four times what a full btrfs was seen to need to overwrite blocks of the cursor. */
const PIECE_BYTES: number = 64 * 1024;
/** What a piece begins with: a block that isn't there. */
const HOLE_BYTES = 4096;

/** What a {@linkcode Reserve} is made with. */
export interface ReserveOptions {
  readonly fileSystem: FileSystem;
  /** The buffer's directory. */
  readonly directory: string;
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
  readonly #options: ReserveOptions;
  readonly #path: string;
  /** The size of the file; 0 if there is none. */
  #bytes = 0;
  /** Whether a part was given up that isn't there again. */
  #isOwed = false;
  /** Whether it may be made: the buffer is open, and not being closed. */
  #isOpen = false;
  #isRestoring = false;
  /** What is under way; never rejects. */
  #running: Promise<unknown> = Promise.resolve();

  /** For one directory; nothing is done yet. */
  constructor(options: ReserveOptions) {
    this.#options = options;
    this.#path = join(options.directory, RESERVE_NAME);
  }

  /**
   * Takes over what an earlier process has left, or removes it if none is wanted. The directory must be locked.
   *
   * @param isThere Whether there is one.
   * @param isNew Whether the buffer is: otherwise a process that has given up the reserve may have ended.
   */
  adopt({ isThere, isNew }: { isThere: boolean; isNew: boolean }): void {
    const { fileSystem, reserveBytes } = this.#options;
    try {
      if (isThere && reserveBytes === 0) return removeIfThere(fileSystem, this.#path);
      if (isThere) this.#bytes = sizeOf(fileSystem, this.#path);
    } catch (error) {
      this.#warn(error);
    }
    this.#isOwed = !isNew && this.#bytes < reserveBytes;
  }

  /** Whether there is to be one. */
  get isWanted(): boolean {
    return this.#options.reserveBytes > 0;
  }

  get #isWhole(): boolean {
    return this.#bytes >= this.#options.reserveBytes;
  }

  /** Makes it, if there is room. Not before recovery, which may need what is there. Never throws. */
  make(): void {
    const { reserveBytes } = this.#options;
    this.#isOpen = true;
    try {
      if (this.#bytes > reserveBytes) this.#cut(reserveBytes);
      else if (!this.#isWhole) this.#fill(Infinity);
    } catch (error) {
      this.#warn(error);
    }
  }

  /**
   * Before a put writes: makes whole what was given up.
   *
   * @throws {NoSpaceError} if there is no room for it, and so none for the put.
   */
  require(): void {
    if (!this.#isOwed) return;
    try {
      this.#restore(Infinity);
    } catch (error) {
      if (error instanceof NoSpaceError) throw error;
      this.#warn(error);
    }
  }

  /** After a segment has gone: makes what is missing, as far as there is room, in the background. Never throws. */
  restore(): void {
    if (!this.#isOpen || this.#isRestoring || this.#isWhole) return;
    this.#isRestoring = true;
    this.#running = Promise.all([this.#running, this.#restoreInTurns()]);
  }

  /** A piece a turn: on a disk that is nearly full each may take tens of milliseconds. Never rejects. */
  async #restoreInTurns(): Promise<void> {
    try {
      while (this.#isOpen && !this.#isWhole && !this.#restore(1)) await nextTurn();
    } catch (error) {
      // It is known already that the disk is full.
      if (!(error instanceof NoSpaceError)) this.#warn(error);
    } finally {
      this.#isRestoring = false;
    }
  }

  /** Whether it is whole now. */
  #restore(pieces: number): boolean {
    const isWhole = this.#fill(pieces);
    if (isWhole) this.#options.onRestored(this.#bytes);
    return isWhole;
  }

  /** Gives up a piece for what has failed with `error`, or all; `false` if there is nothing left. Never throws. */
  giveUp(error: NoSpaceError, { isAll }: { isAll: boolean }): boolean {
    const { fileSystem, onUsed } = this.#options;
    const left = isAll ? 0 : Math.max(0, Math.ceil(this.#bytes / PIECE_BYTES) - 1) * PIECE_BYTES;
    // Where not even a cut is possible (btrfs in mixed mode), all of it has to go.
    const isCut = left > 0 && this.#attempt(() => this.#cut(left));
    if (!isCut) {
      if (!this.#attempt(() => fileSystem.remove(this.#path))) return false;
      this.#bytes = 0;
    }
    this.#isOwed = true;
    onUsed(this.#bytes, error);
    return true;
  }

  /** Resolves when nothing of it is under way; it isn't made again from now on, unless a put requires it. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#running;
  }

  /**
   * Writes pieces that are missing, so many at most. When one doesn't fit, those before it stay if the reserve is owed; but
   * where it never was whole, nothing is kept back, because a disk may be too small for it.
   *
   * @returns Whether it is whole.
   */
  #fill(pieces: number): boolean {
    const { fileSystem, reserveBytes } = this.#options;
    const handle = this.#open();
    let isSyncing = false;
    try {
      this.#bytes = Math.min(handle.size(), reserveBytes);
      for (let i = 0; i < pieces && !this.#isWhole; i++) this.#fillPiece(handle);
      if (!this.#isWhole) return false;
      this.#isOwed = false;
      isSyncing = this.#isOpen;
      if (isSyncing) this.#running = Promise.all([this.#running, this.#sync(handle)]);
      return true;
    } catch (error) {
      if (!this.#isOwed && this.#attempt(() => fileSystem.remove(this.#path))) this.#bytes = 0;
      throw error;
    } finally {
      if (!isSyncing) closeQuietly(handle);
    }
  }

  #fillPiece(handle: FileHandle): void {
    const from = this.#bytes;
    const end = Math.min(this.#options.reserveBytes, (Math.floor(from / PIECE_BYTES) + 1) * PIECE_BYTES);
    const afterHole = Math.min(from + HOLE_BYTES, end - 1);
    try {
      handle.write(crypto.getRandomValues(new Uint8Array(end - afterHole)), afterHole);
    } catch (error) {
      this.#attempt(() => handle.truncate(from));
      throw error;
    }
    this.#bytes = end;
  }

  /** So that it is still there after a power cut. Nobody waits for it. */
  async #sync(handle: FileHandle): Promise<void> {
    try {
      await handle.sync();
    } catch (error) {
      this.#warn(error);
    } finally {
      closeQuietly(handle);
    }
  }

  #open(): FileHandle {
    const { fileSystem } = this.#options;
    try {
      return fileSystem.open(this.#path, "write");
    } catch (error) {
      if (!isGone(error)) throw error;
      return fileSystem.open(this.#path, "create");
    }
  }

  #cut(size: number): void {
    const handle = this.#options.fileSystem.open(this.#path, "write");
    try {
      handle.truncate(size);
      this.#bytes = size;
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
export function isWantOfSpace(error: unknown): error is NoSpaceError {
  return error instanceof NoSpaceError && error.errno !== "EFBIG";
}
