/**
 * A file system that falls back on the reserve: when a call fails for want of space, it releases a part of the reserve and
 * repeats the call. Which calls, why, and which are never repeated: see `reserve.ts`.
 *
 * Guarantees: without a reserve the underlying file system is used directly. A call that fails in the end throws its first
 * error.
 *
 * @module
 */

import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
import { isOutOfSpace, type Reserve } from "./reserve.ts";

/**
 * Wraps a file system so that its calls fall back on a reserve.
 *
 * @returns `forCommits`, for recovery and the cursor: all calls work on a full disk. `forPuts`, for the log: creating and
 * writing segments needs a whole reserve; all other calls work on a full disk.
 */
export function withReserve(
  fileSystem: FileSystem,
  reserve: Reserve,
): { readonly forCommits: FileSystem; readonly forPuts: FileSystem } {
  if (!reserve.isEnabled) return { forCommits: fileSystem, forPuts: fileSystem };
  return {
    forCommits: new ReservingFileSystem(fileSystem, reserve, false),
    forPuts: new ReservingFileSystem(fileSystem, reserve, true),
  };
}

class ReservingFileSystem implements FileSystem {
  readonly name: string;
  readonly identify?: (path: string) => FileIdentity;
  readonly syncDirectoryBlocking?: (path: string) => void;
  readonly #fileSystem: FileSystem;
  readonly #reserve: Reserve;
  readonly #isForPuts: boolean;

  constructor(fileSystem: FileSystem, reserve: Reserve, isForPuts: boolean) {
    this.name = fileSystem.name;
    if (fileSystem.identify !== undefined) this.identify = (path) => fileSystem.identify!(path);
    if (fileSystem.syncDirectoryBlocking !== undefined) {
      this.syncDirectoryBlocking = (path) => syncNow(reserve, () => fileSystem.syncDirectoryBlocking!(path));
    }
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

  /** Not with the reserve, which belongs to the holder of the lock. */
  lock(path: string): FileLock {
    return this.#fileSystem.lock(path);
  }
}

class ReservingHandle implements FileHandle {
  readonly identify?: () => FileIdentity;
  readonly syncBlocking?: () => void;
  readonly #handle: FileHandle;
  readonly #reserve: Reserve;
  readonly #isForPuts: boolean;
  /** Upper bound of the file's size. */
  #maxBytes: number;
  /** Whether the last write was rejected before it reached the file. */
  #isRefused = false;

  constructor(handle: FileHandle, reserve: Reserve, { isForPuts, size }: { isForPuts: boolean; size: number }) {
    this.#handle = handle;
    if (handle.identify !== undefined) this.identify = () => handle.identify!();
    if (handle.syncBlocking !== undefined) this.syncBlocking = () => syncNow(reserve, () => handle.syncBlocking!());
    this.#reserve = reserve;
    this.#isForPuts = isForPuts;
    this.#maxBytes = size;
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
    this.#maxBytes = Math.max(this.#maxBytes, position + bytes.length);
    this.#handle.write(bytes, position);
  }

  /**
   * Shortening falls back on the reserve: the bytes of a failed write must be cut off on a full disk, too. Lengthening a
   * segment doesn't, because puts never consume the reserve. After a write that was rejected there is nothing to cut off,
   * and the call, which might fail on a full disk, is not made.
   */
  truncate(size: number): void {
    if (this.#isRefused) {
      this.#isRefused = false;
      return;
    }
    const isShorter = size < this.#maxBytes;
    this.#maxBytes = Math.max(this.#maxBytes, size);
    if (isShorter || !this.#isForPuts) retryWithReserve(this.#reserve, () => this.#handle.truncate(size));
    else this.#handle.truncate(size);
    this.#maxBytes = size;
  }

  sync(): Promise<void> {
    return syncOnce(this.#reserve, () => this.#handle.sync());
  }

  close(): void {
    this.#handle.close();
  }
}

/** Makes a call, and repeats it after each part of the reserve that was released for it. */
function retryWithReserve<R>(reserve: Reserve, call: () => R): R {
  let first: unknown;
  for (;;) {
    try {
      return call();
    } catch (error) {
      first ??= error;
      // Any other error of a repeated call may come from what the first one has left, so the first error is thrown.
      if (!isOutOfSpace(error) || !reserve.release(error, { isAll: false })) throw first;
    }
  }
}

/** As `syncOnce`, within the call. */
function syncNow(reserve: Reserve, sync: () => void): void {
  try {
    sync();
  } catch (error) {
    if (isOutOfSpace(error)) reserve.release(error, { isAll: true });
    throw error;
  }
}

/** Makes a sync once. If it fails for want of space, the whole reserve is released, for the next open(). */
async function syncOnce(reserve: Reserve, sync: () => Promise<void>): Promise<void> {
  try {
    await sync();
  } catch (error) {
    if (isOutOfSpace(error)) reserve.release(error, { isAll: true });
    throw error;
  }
}
