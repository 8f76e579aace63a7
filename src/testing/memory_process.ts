/**
 * The process that uses a simulated disk: its operations, the faults injected into them, its open files. A part of
 * `memory_file_system.ts`, whose header is the fault model.
 *
 * Guarantees: each operation is announced before it has any effect; a dead process has no effect at all.
 *
 * @module
 */

import { FileSystemError } from "../errors/mod.ts";
import type { FileHandle, FileIdentity, OpenMode } from "../fs/file_system.ts";
import { BLOCK_BYTES, type Disk, type FileNode, free, identityOf } from "./memory_disk.ts";

/**
 * The operations that a fault can be injected into: all methods of the file system and of its handles.
 *
 * @example What a restart asks of the disk
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem, type MemoryOperationName } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const CHANGES: readonly MemoryOperationName[] = ["write", "truncate", "rename", "remove"];
 *
 * const before = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem: before });
 * await buffer.put("a");
 * await buffer.close();
 *
 * const segmentsChanged: string[] = [];
 * const fileSystem = before.kill({
 *   onOperation({ operation, path }) {
 *     if (CHANGES.includes(operation) && path.endsWith(".wal")) segmentsChanged.push(path);
 *   },
 * });
 * const again = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * assertEquals(segmentsChanged, []); // a sound log is read, not changed
 * await again.close();
 * ```
 */
export type MemoryOperationName =
  | "close"
  | "identify"
  | "list"
  | "lock"
  | "makeDirectory"
  | "open"
  | "read"
  | "remove"
  | "rename"
  | "resolve"
  | "size"
  | "sync"
  | "syncDirectory"
  | "truncate"
  | "write";

/**
 * An operation that is about to be carried out.
 *
 * @example Fail the writes to one file
 * ```ts
 * import { FileBuffer, NoSpaceError } from "@sluice/buffer";
 * import { type Fault, MemoryFileSystem, type MemoryOperation } from "@sluice/buffer/testing";
 * import { assertRejects } from "@std/assert";
 *
 * function onOperation({ operation, path, length = 0 }: MemoryOperation): Fault | undefined {
 *   const isLargeWrite = operation === "write" && path.endsWith(".wal") && length > 1_000;
 *   return isLargeWrite ? { kind: "fail", errno: "ENOSPC" } : undefined;
 * }
 *
 * const fileSystem = new MemoryFileSystem({ onOperation });
 * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * await buffer.put("small");
 * await assertRejects(() => buffer.put("large".repeat(1_000)), NoSpaceError);
 * await buffer.close();
 * ```
 */
export interface MemoryOperation {
  /** The method's name. */
  readonly operation: MemoryOperationName;
  /** The path, as it was given; for a method of a handle, as it was given to `open()`. */
  readonly path: string;
  /** `rename`: the new name. */
  readonly to?: string;
  /** `open`: the mode. */
  readonly mode?: OpenMode;
  /** `read` and `write`: where. */
  readonly position?: number;
  /** `read` and `write`: how many bytes; `truncate`: the size. */
  readonly length?: number;
  /** How many operations came before this one. */
  readonly index: number;
}

/** What an operation has besides a name and a path. */
export type OperationDetails = Omit<MemoryOperation, "operation" | "path" | "index">;

/**
 * How an operation fails, with `errno` as its POSIX name:
 * - `"fail"`: nothing is carried out. (A handle is closed all the same.)
 * - `"torn"`: only for `write`: the first `bytes` bytes are written.
 * - `"after"`: it is carried out, then reported as failed. (An `open` leaves no handle, a `lock` no lock.)
 * - `"lost"`: only for `sync`: fails, and what was to be synced will never reach the disk, though it still
 *   reads well and the next sync succeeds.
 *
 * @example Half of a record is written, then the disk fails
 * ```ts
 * import { FileBuffer, FileSystemError } from "@sluice/buffer";
 * import { type Fault, MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * let fault: Fault | undefined;
 * const fileSystem = new MemoryFileSystem({
 *   onOperation: ({ operation }) => operation === "write" ? fault : undefined,
 * });
 * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * await buffer.put("whole");
 * fault = { kind: "torn", errno: "EIO", bytes: 10 };
 * await assertRejects(() => buffer.put("half"), FileSystemError);
 * fault = undefined;
 * await buffer.close();
 *
 * const again = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * assertEquals(again.recovery.truncatedBytes, 0); // a rejected put leaves nothing behind
 * assertEquals((await again.emit()).records, ["whole"]);
 * await again.close();
 * ```
 */
export type Fault =
  | { readonly kind: "fail" | "after" | "lost"; readonly errno: string }
  | { readonly kind: "torn"; readonly errno: string; readonly bytes: number };

/**
 * Options of a `MemoryFileSystem`.
 *
 * @example A disk that takes its time
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem, type MemoryFileSystemOptions } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const disk = { isSlow: false, finish: () => {} };
 * const options: MemoryFileSystemOptions = {
 *   whileSyncing: () => disk.isSlow ? new Promise((resolve) => disk.finish = resolve) : undefined,
 * };
 * const fileSystem = new MemoryFileSystem(options);
 * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem, fsync: "never" });
 * disk.isSlow = true;
 * await buffer.put("a"); // doesn't wait for the disk
 * let isFlushed = false;
 * const flushed = buffer.flush().then(() => isFlushed = true);
 * await new Promise((resolve) => setTimeout(resolve, 1));
 * assertEquals(isFlushed, false);
 *
 * disk.isSlow = false;
 * disk.finish();
 * assertEquals(await flushed, true);
 * await buffer.close();
 * ```
 */
export interface MemoryFileSystemOptions {
  /**
   * Called before each operation; the fault that it returns is injected. It may call `kill()` and `crash()`: the
   * operation is then not carried out on the dead one. What it throws is thrown by the operation.
   */
  readonly onOperation?: ((operation: MemoryOperation) => Fault | undefined | void) | undefined;
  /**
   * Called when a `sync` or `syncDirectory` begins; it ends when the promise is resolved. So a test decides what
   * happens in between.
   *
   * @default {undefined} (a sync ends in a later microtask)
   */
  readonly whileSyncing?: ((operation: MemoryOperation) => Promise<void> | undefined | void) | undefined;
  /**
   * How many bytes all files may have together.
   *
   * @default {Infinity} (after `kill()` and `crash()`: as before)
   */
  readonly capacityBytes?: number | undefined;
  /**
   * Whether the disk copies on write, as btrfs and ZFS do: to overwrite bytes, or to cut a file in the middle of a block,
   * takes space, one block of 4096 bytes at a time, until the next sync of the file. Removing a file, and cutting it at
   * the border of a block, needs none and gives it back at once.
   *
   * @default {false} (after `kill()` and `crash()`: as before)
   */
  readonly copyOnWrite?: boolean | undefined;
}

/** One process that uses a disk: what dies with `kill()`. */
export class MemoryProcess {
  /** The disk that it uses. */
  readonly disk: Disk;
  /** Its open files. */
  readonly handles: Set<MemoryFileHandle> = new Set();
  /** Releases its locks. */
  readonly locks: Set<() => void> = new Set();
  readonly #options: MemoryFileSystemOptions;
  #alive = true;
  #count = 0;

  /** Starts it. */
  constructor(disk: Disk, options: MemoryFileSystemOptions) {
    this.disk = disk;
    this.#options = options;
    if (options.capacityBytes !== undefined) disk.capacityBytes = options.capacityBytes;
    if (options.copyOnWrite !== undefined) disk.copiesOnWrite = options.copyOnWrite;
  }

  /** Announces an operation. Throws when it is to fail without effect; what it returns goes to {@linkcode end}. */
  begin(operation: MemoryOperationName, path: string, details?: OperationDetails): Fault | undefined {
    this.checkAlive(operation, path);
    const index = this.#count++;
    if (this.#options.onOperation === undefined) return undefined;
    const fault = this.#options.onOperation({ operation, path, ...details, index });
    this.checkAlive(operation, path);
    if (!fault) return undefined;
    if (fault.kind === "torn" && operation !== "write" || fault.kind === "lost" && operation !== "sync") {
      throw new TypeError(`Cannot inject a "${fault.kind}" fault into "${operation}"`);
    }
    if (fault.kind === "fail" && operation !== "close") {
      throw FileSystemError.from({ errno: fault.errno, operation, path });
    }
    return fault;
  }

  /** Reports an operation that has been carried out, or a part of it, as failed if it is to be. */
  end(fault: Fault | undefined, operation: MemoryOperationName, path: string): void {
    if (fault !== undefined) throw FileSystemError.from({ errno: fault.errno, operation, path });
  }

  /** Waits as long as a sync takes. */
  async whileSyncing(operation: MemoryOperationName, path: string): Promise<void> {
    await this.#options.whileSyncing?.({ operation, path, index: this.#count - 1 });
    this.checkAlive(operation, path);
  }

  /** Throws EBADF if it is dead. */
  checkAlive(operation: MemoryOperationName, path: string): void {
    if (!this.#alive) throw FileSystemError.from({ errno: "EBADF", operation, path });
  }

  /** Ends it, with its handles and locks. */
  die(): void {
    this.#alive = false;
    for (const handle of this.handles) handle.drop();
    for (const release of this.locks) release();
  }
}

/** An open file of a {@linkcode MemoryProcess}. */
export class MemoryFileHandle implements FileHandle {
  readonly #process: MemoryProcess;
  readonly #node: FileNode;
  readonly #path: string;
  readonly #writable: boolean;
  #open = true;

  /** Opens it. */
  constructor(process: MemoryProcess, node: FileNode, path: string, writable: boolean) {
    this.#process = process;
    this.#node = node;
    this.#path = path;
    this.#writable = writable;
    node.handles++;
    process.handles.add(this);
  }

  /** See {@linkcode FileHandle.size}. */
  size(): number {
    const fault = this.#begin("size", undefined, 0);
    this.#process.end(fault, "size", this.#path);
    return this.#node.cache.size;
  }

  /** See {@linkcode FileHandle.read}. */
  read(into: Uint8Array, position: number): number {
    const fault = this.#begin("read", { position, length: into.length }, position);
    const { bytes, size } = this.#node.cache;
    const length = Math.max(0, Math.min(into.length, size - position));
    if (length > 0) into.set(bytes.subarray(position, position + length));
    this.#process.end(fault, "read", this.#path);
    return length;
  }

  /** See {@linkcode FileHandle.write}. */
  write(bytes: Uint8Array, position: number): void {
    const fault = this.#begin("write", { position, length: bytes.length }, position);
    if (!this.#writable) throw FileSystemError.from({ errno: "EBADF", operation: "write", path: this.#path });
    const wanted = fault?.kind === "torn" ? Math.min(fault.bytes, bytes.length) : bytes.length;
    const length = this.#roomFor(position, wanted);
    if (length > 0) this.#resizing(() => this.#node.write(bytes.subarray(0, length), position));
    if (length < wanted) throw FileSystemError.from({ errno: "ENOSPC", operation: "write", path: this.#path });
    this.#process.end(fault, "write", this.#path);
  }

  /** See {@linkcode FileHandle.truncate}. */
  truncate(size: number): void {
    const fault = this.#begin("truncate", { length: size }, size);
    if (!this.#writable) throw FileSystemError.from({ errno: "EINVAL", operation: "truncate", path: this.#path });
    const { disk } = this.#process;
    const border = size - size % BLOCK_BYTES;
    // A cut in the middle of a block overwrites its rest with zeros.
    if (size < this.#node.cache.filled && this.#copy(border, size) < size) {
      throw FileSystemError.from({ errno: "ENOSPC", operation: "truncate", path: this.#path });
    }
    // What it adds is a hole, and takes no space.
    if (size !== this.#node.cache.size) this.#resizing(() => this.#node.truncate(size));
    disk.usedBytes -= this.#node.dropCopies({ size });
    this.#process.end(fault, "truncate", this.#path);
  }

  /** See {@linkcode FileHandle.sync}. */
  async sync(): Promise<void> {
    const fault = this.#begin("sync", undefined, 0);
    const { mark } = this.#node;
    if (fault?.kind === "lost") this.#node.settle(mark, "lost");
    await this.#process.whileSyncing("sync", this.#path);
    if (!this.#open) throw FileSystemError.from({ errno: "EBADF", operation: "sync", path: this.#path });
    this.#node.settle(mark, "stable");
    this.#process.disk.usedBytes -= this.#node.dropCopies({ mark });
    this.#process.end(fault, "sync", this.#path);
  }

  /** See {@linkcode FileHandle.identify}. */
  identify(): FileIdentity {
    const fault = this.#begin("identify", undefined, 0);
    this.#process.end(fault, "identify", this.#path);
    return identityOf(this.#process.disk, this.#node);
  }

  /** See {@linkcode FileHandle.close}. */
  close(): void {
    if (!this.#open) return;
    // Whatever happens, the system takes the descriptor back.
    let fault: Fault | undefined;
    try {
      fault = this.#process.begin("close", this.#path);
    } finally {
      this.drop();
      this.#node.lock = undefined;
    }
    this.#process.end(fault, "close", this.#path);
  }

  /** Closes without further ado. */
  drop(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#process.handles.delete(this);
    this.#node.handles--;
    free(this.#process.disk, this.#node);
  }

  #begin(operation: MemoryOperationName, details: OperationDetails | undefined, number: number): Fault | undefined {
    if (!Number.isSafeInteger(number) || number < 0) {
      throw new RangeError(`Cannot use ${number} as a position or size: it is not a whole number from 0`);
    }
    if (!this.#open) throw FileSystemError.from({ errno: "EBADF", operation, path: this.#path });
    return this.#process.begin(operation, this.#path, details);
  }

  /** How many of `wanted` bytes can be written at `position`: what is overwritten needs space, or doesn't; the rest does. */
  #roomFor(position: number, wanted: number): number {
    const { disk } = this.#process;
    const { filled } = this.#node.cache;
    const end = position + wanted;
    // What is appended to a block costs what it adds, and no copy.
    const copied = this.#copy(position < filled ? position : Math.ceil(position / BLOCK_BYTES) * BLOCK_BYTES, end);
    if (copied < end) return copied - position;
    if (end <= filled) return wanted;
    return Math.min(wanted, Math.max(0, disk.capacityBytes - disk.usedBytes + filled - position, filled - position));
  }

  /** On a copy-on-write disk, makes room for what is overwritten from `from` to `to`; returns how far it goes. */
  #copy(from: number, to: number): number {
    const { disk } = this.#process;
    if (!disk.copiesOnWrite || from >= to) return to;
    const { end, bytes } = this.#node.copyBlocks(from, to, disk.capacityBytes - disk.usedBytes);
    disk.usedBytes += bytes;
    return end;
  }

  #resizing(change: () => void): void {
    const before = this.#node.cache.filled;
    change();
    this.#process.disk.usedBytes += this.#node.cache.filled - before;
  }
}
