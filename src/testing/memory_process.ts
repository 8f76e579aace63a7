/**
 * The process that uses a simulated disk: its operations, the faults injected into them, its open files. A part of
 * `memory_file_system.ts`, whose head describes the fault model.
 *
 * Guarantees: `onOperation` hears of each operation before it has any effect; a dead process has no effect at all.
 *
 * @module
 */

import { checkPosition } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, OpenMode } from "../fs/file_system.ts";
import { BLOCK_BYTES, type Disk, type FileNode, free, refusal } from "./memory_disk.ts";

/** The operations into which a fault can be injected: all methods of the file system and of its handles. */
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

/** An operation that is about to be carried out. */
export interface MemoryOperation {
  /** The method's name. */
  readonly operation: MemoryOperationName;
  /** The path, as it was given; for a method of a handle, as it was given to `open()`. */
  readonly path: string;
  /** `rename`: the new name. */
  readonly to?: string;
  /** `open`: the mode. */
  readonly mode?: OpenMode;
  /** `read` and `write`: the position in the file. */
  readonly position?: number;
  /** `read` and `write`: how many bytes; `truncate`: the size. */
  readonly length?: number;
  /** How many operations came before this one. */
  readonly index: number;
}

/** The details of an operation, apart from its name and path. */
type OperationDetails = Omit<MemoryOperation, "operation" | "path" | "index">;

/**
 * How an operation fails. `errno` is the POSIX name of its error.
 * - `"fail"`: without effect. (A handle is closed nevertheless.)
 * - `"torn"`, for `write` only: after writing the first `bytes` bytes.
 * - `"after"`: after taking effect. (An `open` leaves no handle, a `lock` no lock.)
 * - `"lost"`, for `sync` only: the unsynced bytes never reach the disk, though they still read well and the next sync
 *   succeeds.
 */
export type Fault =
  | { readonly kind: "fail" | "after" | "lost"; readonly errno: string }
  | { readonly kind: "torn"; readonly errno: string; readonly bytes: number };

/** Options of a {@linkcode MemoryFileSystem}. */
export interface MemoryFileSystemOptions {
  /**
   * Called before each operation; the fault that it returns is injected. It may call `kill()`, which stops the operation, and
   * `crash()`. The operation throws what it throws.
   */
  readonly onOperation?: ((operation: MemoryOperation) => Fault | undefined | void) | undefined;
  /**
   * Called when a `sync` or `syncDirectory` begins. The sync ends when the returned promise resolves, so a test decides what
   * happens in between.
   *
   * @default {undefined} (a sync ends in a later microtask)
   */
  readonly whileSyncing?: ((operation: MemoryOperation) => Promise<void> | undefined | void) | undefined;
  /**
   * The most bytes that all files may have together.
   *
   * @default {Infinity} (after `kill()` and `crash()`: as before)
   */
  readonly capacityBytes?: number | undefined;
  /**
   * Whether the disk copies on write, as btrfs and ZFS do. Overwriting bytes, or cutting a file in the middle of a block, then
   * takes space until the next sync of the file, one block of 4096 bytes at a time. Removing a file, or cutting it at the
   * border of a block, takes none and frees space at once.
   *
   * @default {false} (after `kill()` and `crash()`: as before)
   */
  readonly copyOnWrite?: boolean | undefined;
}

/** One process that uses a disk; `kill()` ends it. */
export class MemoryProcess {
  readonly disk: Disk;
  readonly handles: Set<MemoryFileHandle> = new Set();
  readonly locks: Set<() => void> = new Set();
  readonly #options: MemoryFileSystemOptions;
  #alive = true;
  #count = 0;

  constructor(disk: Disk, options: MemoryFileSystemOptions) {
    this.disk = disk;
    this.#options = options;
    if (options.capacityBytes !== undefined) disk.capacityBytes = options.capacityBytes;
    if (options.copyOnWrite !== undefined) disk.copiesOnWrite = options.copyOnWrite;
  }

  /** Carries out an operation: announces it, and has it fail as its fault says. */
  run<R>(
    operation: MemoryOperationName,
    path: string,
    details: OperationDetails,
    carryOut: (fault: Fault | undefined) => R,
  ): R {
    const fault = this.begin(operation, path, details);
    const result = carryOut(fault);
    this.end(fault, operation, path);
    return result;
  }

  /** Announces an operation. Throws if it fails without effect; otherwise its fault goes to {@linkcode end}. */
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
      throw refusal(fault.errno, operation, path);
    }
    return fault;
  }

  /** Throws the error of an operation that took effect, or a part of it, and is to be reported as failed. */
  end(fault: Fault | undefined, operation: MemoryOperationName, path: string): void {
    if (fault !== undefined) throw refusal(fault.errno, operation, path);
  }

  /** Waits as long as a sync takes. */
  async whileSyncing(operation: MemoryOperationName, path: string): Promise<void> {
    await this.#options.whileSyncing?.({ operation, path, index: this.#count - 1 });
    this.checkAlive(operation, path);
  }

  /** Throws EBADF if the process is dead. */
  checkAlive(operation: MemoryOperationName, path: string): void {
    if (!this.#alive) throw refusal("EBADF", operation, path);
  }

  /** Ends the process, with its handles and locks. */
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
  /** How many errors of write-back it has reported, or came before it. */
  #reportedErrors: number;

  constructor(process: MemoryProcess, node: FileNode, path: string, writable: boolean) {
    this.#process = process;
    this.#node = node;
    this.#path = path;
    this.#writable = writable;
    this.#reportedErrors = node.writeBackErrors.length;
    node.handles++;
    process.handles.add(this);
  }

  size(): number {
    return this.#run("size", {}, () => this.#node.cache.size);
  }

  read(into: Uint8Array, position: number): number {
    return this.#run("read", { position, length: into.length }, () => {
      const { bytes, size } = this.#node.cache;
      const length = Math.max(0, Math.min(into.length, size - position));
      if (length > 0) into.set(bytes.subarray(position, position + length));
      return length;
    });
  }

  write(bytes: Uint8Array, position: number): void {
    this.#run("write", { position, length: bytes.length }, (fault) => {
      if (!this.#writable) throw refusal("EBADF", "write", this.#path);
      const wanted = fault?.kind === "torn" ? Math.min(fault.bytes, bytes.length) : bytes.length;
      const length = this.#roomFor(position, wanted);
      if (length > 0) this.#countSpace(() => this.#node.write(bytes.subarray(0, length), position));
      if (length < wanted) throw refusal("ENOSPC", "write", this.#path);
    });
  }

  truncate(size: number): void {
    this.#run("truncate", { length: size }, () => {
      if (!this.#writable) throw refusal("EINVAL", "truncate", this.#path);
      const border = size - size % BLOCK_BYTES;
      // A cut in the middle of a block overwrites its rest with zeros.
      if (size < this.#node.cache.filled && this.#copy(border, size) < size) {
        throw refusal("ENOSPC", "truncate", this.#path);
      }
      // What a truncate adds is a hole, which takes no space.
      if (size !== this.#node.cache.size) this.#countSpace(() => this.#node.truncate(size));
      this.#process.disk.usedBytes -= this.#node.dropCopies({ size });
    });
  }

  async sync(): Promise<void> {
    this.#checkOpen("sync");
    const fault = this.#process.begin("sync", this.#path);
    const { mark } = this.#node;
    if (fault?.kind === "lost") this.#lose(mark, fault.errno);
    await this.#process.whileSyncing("sync", this.#path);
    this.#checkOpen("sync");
    this.#endSync(mark, fault);
  }

  syncBlocking(): void {
    this.#checkOpen("sync");
    const fault = this.#process.begin("sync", this.#path);
    const { mark } = this.#node;
    if (fault?.kind === "lost") this.#lose(mark, fault.errno);
    this.#endSync(mark, fault);
  }

  #lose(mark: number, errno: string): void {
    this.#node.settle(mark, "lost");
    // The sync has the error from here on, although its caller learns of it later.
    this.#reportedErrors = this.#node.writeBackErrors.push(errno);
  }

  /** Settles what is before `mark`, and reports the fault, or an error of write-back that this handle has not reported yet. */
  #endSync(mark: number, fault: Fault | undefined): void {
    this.#node.settle(mark, "stable");
    this.#process.disk.usedBytes -= this.#node.dropCopies({ mark });
    const errno = this.#node.writeBackErrors.at(this.#reportedErrors);
    this.#reportedErrors = this.#node.writeBackErrors.length;
    this.#process.end(fault, "sync", this.#path);
    if (errno !== undefined) throw refusal(errno, "sync", this.#path);
  }

  identify(): FileIdentity {
    return this.#run("identify", {}, () => this.#process.disk.identify(this.#node));
  }

  close(): void {
    if (!this.#open) return;
    // The descriptor is free in any case.
    let fault: Fault | undefined;
    try {
      fault = this.#process.begin("close", this.#path);
    } finally {
      this.drop();
      this.#node.lock = undefined;
    }
    this.#process.end(fault, "close", this.#path);
  }

  /** Closes the file without announcing it. */
  drop(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#process.handles.delete(this);
    this.#node.handles--;
    free(this.#process.disk, this.#node);
  }

  #run<R>(operation: MemoryOperationName, details: OperationDetails, carryOut: (fault: Fault | undefined) => R): R {
    const { position, length = 0 } = details;
    checkPosition(position ?? length);
    this.#checkOpen(operation);
    return this.#process.run(operation, this.#path, details, carryOut);
  }

  #checkOpen(operation: MemoryOperationName): void {
    if (!this.#open) throw refusal("EBADF", operation, this.#path);
  }

  /**
   * How many of `wanted` bytes fit at `position`: overwriting needs space on a copy-on-write disk only, appending always.
   */
  #roomFor(position: number, wanted: number): number {
    const { disk } = this.#process;
    const { filled } = this.#node.cache;
    const end = position + wanted;
    // Appending to a block costs what it adds, and no copy.
    const copied = this.#copy(position < filled ? position : Math.ceil(position / BLOCK_BYTES) * BLOCK_BYTES, end);
    if (copied < end) return copied - position;
    if (end <= filled) return wanted;
    return Math.min(wanted, Math.max(0, disk.capacityBytes - disk.usedBytes + filled - position, filled - position));
  }

  /** On a copy-on-write disk, makes room for overwriting from `from` to `to`; returns how far the room goes. */
  #copy(from: number, to: number): number {
    const { disk } = this.#process;
    if (!disk.copiesOnWrite || from >= to) return to;
    const { end, bytes } = this.#node.copyBlocks(from, to, disk.capacityBytes - disk.usedBytes);
    disk.usedBytes += bytes;
    return end;
  }

  /** Makes a change and counts the space that it takes or frees. */
  #countSpace(change: () => void): void {
    const before = this.#node.cache.filled;
    change();
    this.#process.disk.usedBytes += this.#node.cache.filled - before;
  }
}
