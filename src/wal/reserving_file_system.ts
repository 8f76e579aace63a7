/**
 * A file system in front of another one: where a call fails for want of space, it gives up a piece of the reserve and
 * makes the call once more. When, why, and what is never made again: see `reserve.ts`.
 *
 * Guarantees: with no reserve the file system itself is used, and nothing stands between it and the log. A call that
 * fails in the end fails with its first error.
 *
 * @module
 */

import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
import { isOutOfSpace, type Reserve } from "./reserve.ts";

/** The file systems of one buffer. */
export interface ReservingFileSystems {
  /** For what must work on a full disk: recovery, the cursor. */
  readonly forCommits: FileSystem;
  /** For the log: what it creates and writes must leave the reserve whole; the rest must work on a full disk. */
  readonly forPuts: FileSystem;
}

/** Puts a reserve in front of a file system. */
export function withReserve(fileSystem: FileSystem, reserve: Reserve): ReservingFileSystems {
  if (!reserve.isEnabled) return { forCommits: fileSystem, forPuts: fileSystem };
  return {
    forCommits: new ReservingFileSystem(fileSystem, reserve, false),
    forPuts: new ReservingFileSystem(fileSystem, reserve, true),
  };
}

class ReservingFileSystem implements FileSystem {
  readonly name: string;
  readonly identify?: (path: string) => FileIdentity;
  readonly #fileSystem: FileSystem;
  readonly #reserve: Reserve;
  readonly #isForPuts: boolean;

  constructor(fileSystem: FileSystem, reserve: Reserve, isForPuts: boolean) {
    this.name = fileSystem.name;
    if (fileSystem.identify !== undefined) this.identify = (path) => fileSystem.identify!(path);
    this.#fileSystem = fileSystem;
    this.#reserve = reserve;
    this.#isForPuts = isForPuts;
  }

  open(path: string, mode: OpenMode): FileHandle {
    if (mode === "read") return this.#fileSystem.open(path, mode);
    const open = () => this.#fileSystem.open(path, mode);
    const isSegment = this.#isForPuts && mode === "create";
    if (isSegment) this.#reserve.ensureWhole(0);
    const handle = isSegment ? open() : retryWithReserve(this.#reserve, open);
    if (isSegment) this.#reserve.refresh();
    const size = mode === "create" ? 0 : Infinity;
    return new ReservingHandle(handle, this.#reserve, { isForPuts: this.#isForPuts, size });
  }

  list(path: string): string[] {
    return this.#fileSystem.list(path);
  }

  makeDirectory(path: string): void {
    retryWithReserve(this.#reserve, () => this.#fileSystem.makeDirectory(path));
  }

  rename(from: string, to: string): void {
    retryWithReserve(this.#reserve, () => this.#fileSystem.rename(from, to));
  }

  remove(path: string): void {
    retryWithReserve(this.#reserve, () => this.#fileSystem.remove(path));
    this.#reserve.restore();
  }

  syncDirectory(path: string): Promise<void> {
    return syncOnce(this.#reserve, () => this.#fileSystem.syncDirectory(path));
  }

  /** Without the reserve: whoever has no lock yet must not touch it. */
  lock(path: string): FileLock {
    return this.#fileSystem.lock(path);
  }
}

class ReservingHandle implements FileHandle {
  readonly identify?: () => FileIdentity;
  readonly #handle: FileHandle;
  readonly #reserve: Reserve;
  readonly #isForPuts: boolean;
  /** The most bytes that the file may have. */
  #most: number;
  /** Whether the last write was refused before it began. */
  #isRefused = false;

  constructor(handle: FileHandle, reserve: Reserve, { isForPuts, size }: { isForPuts: boolean; size: number }) {
    this.#handle = handle;
    if (handle.identify !== undefined) this.identify = () => handle.identify!();
    this.#reserve = reserve;
    this.#isForPuts = isForPuts;
    this.#most = size;
  }

  size(): number {
    return this.#handle.size();
  }

  read(into: Uint8Array, position: number): number {
    return this.#handle.read(into, position);
  }

  write(bytes: Uint8Array, position: number): void {
    if (!this.#isForPuts) return retryWithReserve(this.#reserve, () => this.#handle.write(bytes, position));
    this.#isRefused = true;
    this.#reserve.ensureWhole(bytes.length);
    this.#isRefused = false;
    this.#most = Math.max(this.#most, position + bytes.length);
    this.#handle.write(bytes, position);
  }

  /**
   * What a put has failed to write must be cut off on a full disk, too; making room for more is left to it. Of a write that
   * was refused there is nothing to be cut off, which a full disk might not even allow.
   */
  truncate(size: number): void {
    if (this.#isRefused) {
      this.#isRefused = false;
      return;
    }
    const isCut = size < this.#most;
    this.#most = Math.max(this.#most, size);
    if (isCut || !this.#isForPuts) retryWithReserve(this.#reserve, () => this.#handle.truncate(size));
    else this.#handle.truncate(size);
    this.#most = size;
  }

  sync(): Promise<void> {
    return syncOnce(this.#reserve, () => this.#handle.sync());
  }

  close(): void {
    this.#handle.close();
  }
}

/** Makes a call, and again after each piece of the reserve that was given up for it. */
function retryWithReserve<R>(reserve: Reserve, call: () => R): R {
  let first: unknown;
  for (;;) {
    try {
      return call();
    } catch (error) {
      first ??= error;
      // What another attempt stumbles over otherwise is what the first has left.
      if (!isOutOfSpace(error) || !reserve.release(error, { isAll: false })) throw first;
    }
  }
}

/** Makes a sync once; if there was no space, there is some for the next open(). */
async function syncOnce(reserve: Reserve, sync: () => Promise<void>): Promise<void> {
  try {
    await sync();
  } catch (error) {
    if (isOutOfSpace(error)) reserve.release(error, { isAll: true });
    throw error;
  }
}
