/**
 * The reserve: disk space held back for the buffer's own overwrites, released part by part when the disk is full.
 *
 * Why: on a copy-on-write file system (btrfs, ZFS, APFS), and wherever blocks are shared with a copy (reflinks),
 * overwriting in place allocates new blocks. On a full disk the cursor could then not be written. So nothing could be
 * handed over or committed, no segment would be removed, and the buffer could not free its own space. The files
 * `reserve-1`, `reserve-2` and so on prevent that.
 *
 * Guarantees, provided that the reserve was created before the disk was full:
 * - *Recovery, commits and clean-up work on a full disk.* When one of their calls fails for want of space (ENOSPC, EDQUOT),
 *   parts of the reserve are removed, one at a time, until the call succeeds. One part covers everything that a buffer has to
 *   overwrite (measured on btrfs, also in mixed mode and without free metadata space). The others are for the case that other
 *   programs take what was released.
 * - *Puts never consume it.* While a part is missing, a put first has to restore the reserve, or is rejected. So a buffer
 *   that is alone on its disk can always be drained.
 * - *A snapshot doesn't defeat it for long.* Removing a part whose blocks a snapshot or a copy shares frees nothing. So while
 *   there is space, a part is rewritten now and then, when a segment is created; parts are released until that one is reached.
 * - *It is restored in the background*, once after each removed segment. A failure of that reaches no caller.
 * - *A sync is never repeated*, whatever its error: pages that the system has marked clean would be taken for synced. These
 *   file systems allocate data blocks at the write, so want of space shows there, and a write can be repeated without loss.
 *   A sync that fails with ENOSPC all the same (btrfs without metadata space) ends like every failed sync: the buffer
 *   fails. The whole reserve is released then, so that the next `open()` has room to recover.
 *
 * Not guaranteed: anything, if other programs take the space faster than it is used; if a snapshot was taken and hardly
 * anything was put since; if the file system needs more than the whole reserve to overwrite a block, or reports want of
 * space only at a sync (thin volumes, network). A new buffer without room for its reserve accepts puts without one until it
 * is opened again.
 *
 * The reserve is not synced: its files would be open meanwhile, and to remove an open file frees no space. A power cut soon
 * after its creation may take it; the next `open()` creates it again.
 *
 * Each part is a file of its own, because a full btrfs in mixed mode can still remove a file, but not truncate one. The
 * bytes are random, so that no file system compresses or deduplicates them.
 *
 * @module
 */

import { join } from "@std/path/join";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { FileSystemError, NoSpaceError } from "../errors/mod.ts";
import { closeQuietly, fileSize, openOrCreate, removeIfExists } from "../fs/file_helpers.ts";
import { randomBytes } from "../fs/random_bytes.ts";
import { parseReserveName, reserveName } from "./names.ts";
import type { LogLocation } from "./segment_files.ts";

/** The size of each part but the last one, which has the rest: what a full btrfs in mixed mode was measured to need. */
export const RESERVE_PART_BYTES: number = 256 * 1024;
/**
 * The default where overwriting may need space: four parts, of which other programs on the same disk may take three.
 * Creating them takes a millisecond or two, once.
 */
export const DEFAULT_RESERVE_BYTES: number = 4 * RESERVE_PART_BYTES;
/** The largest reserve; it bounds the number of files. */
export const MAX_RESERVE_BYTES: number = 256 * RESERVE_PART_BYTES;
/** The bytes put after which a part is rewritten with the next segment: about one segment of the default size. */
const REFRESH_BYTES: number = 60 * RESERVE_PART_BYTES;
/** The most that `randomBytes` makes in one call. */
const CHUNK_BYTES = 64 * 1024;

interface ReserveDeps extends LogLocation {
  /** Whether the directory is still ours. If not, no file in it is created or removed. */
  readonly mayChange: () => boolean;
  /** The size of the reserve; 0 for none. */
  readonly reserveBytes: number;
  /** Called when parts were released because of `error`; `bytesLeft` are left. */
  readonly onUsed: (bytesLeft: number, error: NoSpaceError) => void;
  /** Called when the reserve is whole again. */
  readonly onRestored: (bytes: number) => void;
  /** Called when the reserve could not be created or restored. */
  readonly onWarning: (error: FileSystemError) => void;
}

/** The reserve of one open buffer. */
export class Reserve {
  readonly #deps: ReserveDeps;
  /** The parts that exist. */
  readonly #parts = new Set<number>();
  /** The number of parts of a whole reserve. */
  readonly #count: number;
  /** Whether a released part has not been restored yet. Puts have to restore it. */
  #mustRestore = false;
  /** Whether parts may be created in the background: the buffer is open and not being closed. */
  #isOpen = false;
  #isRestoring = false;
  /** The bytes put since a part was last rewritten, and the number of that part. */
  #putBytes = 0;
  #refreshed = 0;
  #restoring: Promise<void> | undefined;

  /** For one directory. Doesn't touch it yet. */
  constructor(deps: ReserveDeps) {
    this.#deps = deps;
    this.#count = Math.floor(deps.reserveBytes / RESERVE_PART_BYTES);
  }

  /** Whether this buffer has a reserve at all. */
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

  /** The size of a part; the last one has the remainder. */
  #sizeOf(part: number): number {
    return part < this.#count ? RESERVE_PART_BYTES : this.#deps.reserveBytes - (this.#count - 1) * RESERVE_PART_BYTES;
  }

  #pathOf(part: number): string {
    return join(this.#deps.directory, reserveName(part));
  }

  /**
   * Adopts the parts that an earlier process has left, and removes those that don't fit. The directory must be locked.
   *
   * @param names The names in the directory.
   * @param isNew Whether the buffer is new. If not, missing parts may have been released by an earlier process.
   */
  adopt(names: readonly string[], { isNew }: { isNew: boolean }): void {
    const { fileSystem } = this.#deps;
    for (const part of names.map(parseReserveName)) {
      if (part === undefined) continue;
      const path = this.#pathOf(part);
      this.#attempt(() => {
        // A part of another size belongs to a reserve of another size, or is unfinished.
        if (part <= this.#count && fileSize(fileSystem, path) === this.#sizeOf(part)) this.#parts.add(part);
        else removeIfExists(fileSystem, path);
      });
    }
    this.#mustRestore = !isNew && !this.#isWhole;
  }

  /** Creates the missing parts, if there is room. Called after recovery, which may need the space. Never throws. */
  create(): void {
    this.#isOpen = true;
    try {
      this.#fill(Infinity);
    } catch (error) {
      this.#warn(error);
    }
  }

  /**
   * Restores released parts, before a put writes `bytes`.
   *
   * @throws {NoSpaceError} if there is no room for them, and so none for the put.
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

  /** Rewrites a part if that is due, after a segment was created. Never throws. */
  refresh(): void {
    if (!this.#isOpen || !this.#isWhole || this.#putBytes < REFRESH_BYTES) return;
    this.#putBytes = 0;
    this.#refreshed = this.#refreshed % this.#count + 1;
    // On a full disk the part keeps its old bytes.
    this.#attempt(() => this.#write(this.#refreshed));
  }

  /** Restores missing parts in the background, as far as there is room, after a segment was removed. Never throws. */
  restore(): void {
    if (!this.#isOpen || this.#isRestoring || this.#isWhole) return;
    this.#isRestoring = true;
    this.#restoring = this.#restoreInBackground();
  }

  /** Yields after each part, which may take a tenth of a second on a nearly full disk. Never rejects. */
  async #restoreInBackground(): Promise<void> {
    try {
      while (this.#isOpen && !this.#isWhole && !this.#restore(1)) await yieldToEventLoop();
    } catch (error) {
      // That the disk is full has been reported already.
      if (!(error instanceof NoSpaceError)) this.#warn(error);
    } finally {
      this.#isRestoring = false;
    }
  }

  /** Creates up to `maxParts` missing parts; returns whether the reserve is whole now. */
  #restore(maxParts: number): boolean {
    const isWhole = this.#fill(maxParts);
    if (isWhole) this.#deps.onRestored(this.#bytes);
    return isWhole;
  }

  /**
   * Releases one part, or all, because a call has failed with `error`. Never throws.
   *
   * @returns Whether a part was removed; `false` if none is left.
   */
  release(error: NoSpaceError, { isAll }: { isAll: boolean }): boolean {
    const { fileSystem, mayChange, onUsed } = this.#deps;
    if (!mayChange()) return false;
    let isReleased = false;
    for (const part of [...this.#parts].sort((a, b) => b - a)) {
      if (isReleased && !isAll) break;
      this.#parts.delete(part);
      isReleased = this.#attempt(() => fileSystem.remove(this.#pathOf(part))) || isReleased;
    }
    if (!isReleased) return false;
    this.#mustRestore = true;
    onUsed(this.#bytes, error);
    return true;
  }

  /** Ends restoring in the background, and waits for a part that is being created. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#restoring;
  }

  /**
   * Creates up to `maxParts` missing parts. When one doesn't fit, a reserve that was whole before keeps the others. A
   * reserve that never was whole is removed, because the disk may be too small for it.
   *
   * @returns Whether the reserve is whole.
   */
  #fill(maxParts: number): boolean {
    const { fileSystem } = this.#deps;
    try {
      for (let part = 1, created = 0; part <= this.#count && created < maxParts; part++) {
        if (this.#parts.has(part)) continue;
        this.#write(part);
        this.#parts.add(part);
        created++;
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

  /** Writes a part. A part that can't be created is removed. */
  #write(part: number): void {
    const { fileSystem, mayChange } = this.#deps;
    if (!mayChange()) return;
    const isNew = !this.#parts.has(part);
    const path = this.#pathOf(part);
    const handle = openOrCreate(fileSystem, path);
    try {
      const size = this.#sizeOf(part);
      for (let at = 0; at < size; at += CHUNK_BYTES) {
        handle.write(randomBytes(Math.min(CHUNK_BYTES, size - at)), at);
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
    this.#deps.onWarning(error);
  }
}

/** Whether an error says that the disk or the quota is full. A limit on the size of files (EFBIG) is no such error. */
export function isOutOfSpace(error: unknown): error is NoSpaceError {
  return error instanceof NoSpaceError && error.errno !== "EFBIG";
}
