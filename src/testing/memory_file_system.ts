/**
 * A file system in memory that can be killed, cut off the power, and made to fail at any operation: for tests.
 *
 * ## Fault model
 *
 * 1. *The process dies* ({@linkcode MemoryFileSystem.kill | kill()}): everything written is there, as it is in the
 *    operating system; handles and locks are gone; the dead process can't do anything any more.
 * 2. *The power goes* ({@linkcode MemoryFileSystem.crash | crash()}): there is what was synced, and of the rest a part
 *    that the seed chooses.
 *    - Bytes and size of a file are synced by `FileHandle.sync()` as they were when it was called, and when its promise
 *      resolves, not before. Of the writes that no sync covers, each is kept, lost, or torn: cut at any byte, or at
 *      a multiple of 512 or 4096 bytes, or with any of its 512 or 4096 byte units missing. What is missing has the
 *      bytes from before; where the file grew, it has zeros, or the file is shorter. A truncate is kept or undone.
 *    - Names are synced by `syncDirectory()` of the directory that they are in, and its name by that of its parent. Of
 *      the creates, removes and renames that no sync covers, each is kept or undone, but none is kept without those
 *      before it on the same name. A rename is one step, also between two directories.
 *    - Often all of the rest is kept, or none of it, or a beginning of it, as it is in the world.
 * 3. *An operation fails* ({@linkcode MemoryFileSystemOptions.onOperation | onOperation}): with an error and without
 *    effect, halfway through a write, after it has taken effect, or, for a sync, in the way of Linux: the pages are
 *    marked clean, so that the next sync reports success, everything still reads well, and the bytes are gone after
 *    the next power cut.
 * 4. *The disk is full* ({@linkcode MemoryFileSystem.capacityBytes | capacityBytes}): a write writes what fits
 *    and throws ENOSPC. Overwriting needs no space, nor do names, nor the hole that a truncate adds. On a disk that
 *    copies on write ({@linkcode MemoryFileSystemOptions.copyOnWrite | copyOnWrite}) overwriting does need space: a whole
 *    block of 4096 bytes, the first time after a sync of the file, until the next one.
 *
 * Guarantees: the contract of `file_system.ts`; the same calls, faults and seeds give the same bytes, always.
 *
 * Not modelled: bits that rot on the disk (change them with `readFile()` and `writeFile()`), devices that lie about a
 * sync, blocks that show somebody else's old data, file times and permissions, symbolic links, space that names take or
 * that is given back late. Holes count as space used, but for the one at the end of a file. Paths may be absolute or relative to `/`, with `/` or `\` between the names.
 *
 * @module
 */

import { fileSystemError } from "../errors/mod.ts";
import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
import {
  createFile,
  DirectoryNode,
  Disk,
  FileNode,
  find,
  findDirectory,
  identityOf,
  mulberry32,
  split,
  unlink,
} from "./memory_disk.ts";
import { MemoryFileHandle, type MemoryFileSystemOptions, MemoryProcess } from "./memory_process.ts";

/**
 * A {@linkcode FileSystem} in memory, for tests: deterministic, with power cuts, faults and a full disk.
 *
 * @example What is not synced may be lost
 * ```ts
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const file = fileSystem.open("/log", "create");
 * await fileSystem.syncDirectory("/");
 * file.write(new TextEncoder().encode("kept"), 0);
 * await file.sync();
 * file.write(new TextEncoder().encode(", perhaps"), 4);
 *
 * const texts = new Set<string>();
 * for (let seed = 0; seed < 100; seed++) {
 *   texts.add(new TextDecoder().decode(fileSystem.crash({ seed }).readFile("/log")));
 * }
 * assertEquals([...texts].every((text) => text.startsWith("kept")), true);
 * assert(texts.has("kept") && texts.has("kept, perhaps") && texts.size > 2); // nothing, all or a part of it
 * file.close();
 * ```
 */
export class MemoryFileSystem implements FileSystem {
  /** Always `"memory"`. */
  readonly name = "memory";
  #process: MemoryProcess;

  /** Creates an empty file system: the directory `/` and nothing in it. */
  constructor(options: MemoryFileSystemOptions = {}) {
    this.#process = new MemoryProcess(new Disk(), options);
  }

  /** How many bytes all files may have together. Can be set at any time, also below what is used. */
  get capacityBytes(): number {
    return this.#process.disk.capacityBytes;
  }

  set capacityBytes(bytes: number) {
    if (Number.isNaN(bytes) || bytes < 0) throw new RangeError(`Cannot set capacityBytes to ${bytes}: it is negative`);
    this.#process.disk.capacityBytes = bytes;
  }

  /**
   * How many bytes all files have together; a removed file counts until its last handle is closed, and a block that was
   * copied to be overwritten counts twice until the next sync.
   */
  get usedBytes(): number {
    return this.#process.disk.usedBytes;
  }

  /** Whether it was made to copy on write; see {@linkcode FileSystem.copiesOnWrite}. */
  copiesOnWrite(_path: string): boolean {
    return this.#process.disk.copiesOnWrite;
  }

  /** Opens a file; see {@linkcode FileSystem.open}. */
  open(path: string, mode: OpenMode): FileHandle {
    const process = this.#process;
    const fault = process.begin("open", path, { mode });
    const found = find(process.disk, "open", path);
    const node = mode === "create" ? createFile(process.disk, "open", path, found) : found.node;
    if (node === undefined) throw fileSystemError({ errno: "ENOENT", operation: "open", path });
    if (node instanceof DirectoryNode) throw fileSystemError({ errno: "EISDIR", operation: "open", path });
    process.end(fault, "open", path);
    return new MemoryFileHandle(process, node, path, mode !== "read");
  }

  /** Lists a directory; see {@linkcode FileSystem.list}. */
  list(path: string): string[] {
    const fault = this.#process.begin("list", path);
    const names = [...findDirectory(this.#process.disk, "list", path).entries.keys()];
    this.#process.end(fault, "list", path);
    return names;
  }

  /** Makes a directory and its parents; see {@linkcode FileSystem.makeDirectory}. */
  makeDirectory(path: string): void {
    const { disk } = this.#process;
    const fault = this.#process.begin("makeDirectory", path);
    if (path === "") throw fileSystemError({ errno: "ENOENT", operation: "makeDirectory", path });
    const names = split(path);
    let directory = disk.root;
    names.forEach((name, i) => {
      let node = directory.entries.get(name);
      if (node instanceof FileNode) {
        const errno = i === names.length - 1 ? "EEXIST" : "ENOTDIR";
        throw fileSystemError({ errno, operation: "makeDirectory", path });
      }
      if (node === undefined) disk.change({ directory, name, node: node = new DirectoryNode() });
      directory = node;
    });
    this.#process.end(fault, "makeDirectory", path);
  }

  /** Renames a file or a directory; see {@linkcode FileSystem.rename}. */
  rename(from: string, to: string): void {
    const { disk } = this.#process;
    const fault = this.#process.begin("rename", from, { to });
    const source = find(disk, "rename", from);
    const target = find(disk, "rename", to);
    const { node } = source;
    const refuse = (errno: string) => fileSystemError({ errno, operation: "rename", path: from });
    if (node === undefined) throw refuse("ENOENT");
    if (source.name === undefined || target.name === undefined) throw refuse("EBUSY");
    if (node !== target.node) {
      if (node instanceof FileNode && target.node instanceof DirectoryNode) throw refuse("EISDIR");
      if (node instanceof DirectoryNode && target.node instanceof FileNode) throw refuse("ENOTDIR");
      if (target.node instanceof DirectoryNode && target.node.entries.size > 0) throw refuse("ENOTEMPTY");
      if (node instanceof DirectoryNode && target.ancestors.includes(node)) throw refuse("EINVAL");
      disk.change(
        { directory: source.directory, name: source.name, node: undefined },
        { directory: target.directory, name: target.name, node },
      );
      if (target.node instanceof FileNode) unlink(disk, target.node);
    }
    this.#process.end(fault, "rename", from);
  }

  /** Removes a file; see {@linkcode FileSystem.remove}. */
  remove(path: string): void {
    const { disk } = this.#process;
    const fault = this.#process.begin("remove", path);
    const { directory, name, node } = find(disk, "remove", path);
    if (node === undefined) throw fileSystemError({ errno: "ENOENT", operation: "remove", path });
    if (node instanceof DirectoryNode || name === undefined) {
      throw fileSystemError({ errno: "EISDIR", operation: "remove", path });
    }
    disk.change({ directory, name, node: undefined });
    unlink(disk, node);
    this.#process.end(fault, "remove", path);
  }

  /** Syncs the names in a directory; see {@linkcode FileSystem.syncDirectory}. */
  async syncDirectory(path: string): Promise<void> {
    const process = this.#process;
    const fault = process.begin("syncDirectory", path);
    const directory = findDirectory(process.disk, "syncDirectory", path);
    const { mark } = process.disk;
    await process.whileSyncing("syncDirectory", path);
    process.disk.settle(directory, mark);
    process.end(fault, "syncDirectory", path);
  }

  /** Locks a file; see {@linkcode FileSystem.lock}. As with POSIX locks, closing a handle of the file frees it. */
  lock(path: string): FileLock {
    const process = this.#process;
    const fault = process.begin("lock", path);
    const found = find(process.disk, "lock", path);
    const node = found.node ?? createFile(process.disk, "lock", path, found);
    if (node instanceof DirectoryNode) throw fileSystemError({ errno: "EISDIR", operation: "lock", path });
    if (node.lock !== undefined) throw fileSystemError({ errno: "EBUSY", operation: "lock", path });
    process.end(fault, "lock", path);
    const owner = {};
    node.lock = owner;
    const release = () => {
      process.locks.delete(release);
      if (node.lock === owner) node.lock = undefined;
    };
    process.locks.add(release);
    return { release };
  }

  /** Tells which file or directory a path stands for; see {@linkcode FileSystem.identify}. */
  identify(path: string): FileIdentity {
    const process = this.#process;
    const fault = process.begin("identify", path);
    const { node } = find(process.disk, "identify", path);
    if (node === undefined) throw fileSystemError({ errno: "ENOENT", operation: "identify", path });
    process.end(fault, "identify", path);
    return identityOf(process.disk, node);
  }

  /** The absolute form of a path; see {@linkcode FileSystem.resolve}. */
  resolve(path: string): string {
    const process = this.#process;
    const fault = process.begin("resolve", path);
    const { node } = find(process.disk, "resolve", path);
    if (node === undefined) throw fileSystemError({ errno: "ENOENT", operation: "resolve", path });
    process.end(fault, "resolve", path);
    return `/${split(path).join("/")}`;
  }

  /**
   * Kills the process: what it wrote stays, its handles and locks go. Every later call on this object and on its
   * handles throws EBADF, and syncs that haven't ended are rejected with it, so that a program that doesn't know that
   * it is dead can't do any harm.
   *
   * @param options For the new process; `onOperation` and `whileSyncing` are not taken over.
   * @returns The file system as the next process finds it.
   */
  kill(options: MemoryFileSystemOptions = {}): MemoryFileSystem {
    const { disk } = this.#process;
    this.#process.die();
    return MemoryFileSystem.#on(disk, options);
  }

  /**
   * Cuts the power. This file system stays as it is, so that many seeds can be tried on one state; to be rid of
   * programs that still use it, `kill()` it.
   *
   * @param options The seed that chooses what is left of what was not synced: the same seed, the same choice.
   * Otherwise as for `kill()`.
   * @returns A new file system, as it could be found after the power cut.
   */
  crash(options: { readonly seed: number } & MemoryFileSystemOptions): MemoryFileSystem {
    return MemoryFileSystem.#on(this.#process.disk.afterPowerCut(mulberry32(options.seed)), options);
  }

  /** The content of a file, as a copy. Not an operation: it never fails by a fault and isn't counted. */
  readFile(path: string): Uint8Array {
    const { node } = find(this.#process.disk, "readFile", path);
    if (node === undefined) throw fileSystemError({ errno: "ENOENT", operation: "readFile", path });
    if (node instanceof DirectoryNode) throw fileSystemError({ errno: "EISDIR", operation: "readFile", path });
    return node.cache.view().slice();
  }

  /**
   * Puts a file there, as if it had always been: synced, with the directories it needs and all names in them. An
   * existing file gets the new content, with nothing left unsynced in it. Not an operation; needs no space.
   */
  writeFile(path: string, bytes: Uint8Array): void {
    const { disk } = this.#process;
    let directory = disk.root;
    const names = split(path);
    const last = names.pop();
    if (last === undefined) throw fileSystemError({ errno: "EISDIR", operation: "writeFile", path });
    for (const name of names) {
      const node = directory.entries.get(name) ?? new DirectoryNode();
      if (node instanceof FileNode) throw fileSystemError({ errno: "ENOTDIR", operation: "writeFile", path });
      disk.change({ directory, name, node });
      disk.settle(directory, disk.mark);
      directory = node;
    }
    const node = directory.entries.get(last) ?? new FileNode();
    if (node instanceof DirectoryNode) throw fileSystemError({ errno: "EISDIR", operation: "writeFile", path });
    disk.usedBytes += bytes.length - node.cache.size - node.dropCopies({ size: 0 });
    node.truncate(0);
    node.write(bytes, 0);
    node.settle(node.mark, "stable");
    disk.change({ directory, name: last, node });
    disk.settle(directory, disk.mark);
  }

  /** Gives a file a second name, a hard link, as if it had always had it. Not an operation. */
  link(from: string, to: string): void {
    const { disk } = this.#process;
    const { node } = find(disk, "link", from);
    const { directory, name, node: taken } = find(disk, "link", to);
    if (!(node instanceof FileNode)) throw fileSystemError({ errno: "ENOENT", operation: "link", path: from });
    if (taken !== undefined || name === undefined) {
      throw fileSystemError({ errno: "EEXIST", operation: "link", path: to });
    }
    node.links++;
    disk.change({ directory, name, node });
    disk.settle(directory, disk.mark);
  }

  /** The absolute paths of all files, sorted. Not an operation. */
  paths(): string[] {
    const paths: string[] = [];
    const walk = (directory: DirectoryNode, prefix: string): void => {
      for (const [name, node] of directory.entries) {
        if (node instanceof FileNode) paths.push(prefix + name);
        else walk(node, `${prefix}${name}/`);
      }
    };
    walk(this.#process.disk.root, "/");
    return paths.sort();
  }

  static #on(disk: Disk, options: MemoryFileSystemOptions): MemoryFileSystem {
    const fileSystem = new MemoryFileSystem();
    fileSystem.#process = new MemoryProcess(disk, options);
    return fileSystem;
  }
}
