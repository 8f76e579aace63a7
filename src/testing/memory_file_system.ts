/**
 * A file system in memory, for tests: it can be killed, lose its power, and fail at any operation.
 *
 * ## Fault model
 *
 * 1. *The process dies* ({@linkcode MemoryFileSystem.kill | kill()}): everything written is kept, as in the operating system.
 *    Handles and locks are gone. The dead process has no effect any more.
 * 2. *The power goes* ({@linkcode MemoryFileSystem.crash | crash()}): what was synced is kept, and of the rest a part that the
 *    seed chooses.
 *    - `FileHandle.sync()` syncs bytes and size of a file as they were when it was called; they are stable when its promise
 *      resolves, not before. Of the writes that no sync covers, each is kept, lost, or torn: cut at any byte, or at a
 *      multiple of 512 or 4096 bytes, or with any of its 512 or 4096 byte units missing. A missing part has the bytes from
 *      before; where the file grew, it has zeros, or the file is shorter. A truncate is kept or undone.
 *    - `syncDirectory()` syncs the names in a directory; the directory's own name is synced with its parent. Of the creates,
 *      removes and renames that no sync covers, each is kept or undone, but none is kept without those before it on the same
 *      name. A rename is one step, also between two directories.
 *    - As in reality, often all of the rest is kept, or none, or a prefix.
 * 3. *An operation fails* ({@linkcode MemoryFileSystemOptions.onOperation | onOperation}): with an error and without effect,
 *    halfway through a write, or after it took effect. A sync may also fail as it does on Linux: the pages are marked clean,
 *    the next sync reports success, everything still reads well, and the next power cut takes the bytes.
 * 4. *The disk is full* ({@linkcode MemoryFileSystem.capacityBytes | capacityBytes}): a write writes what fits and throws
 *    ENOSPC. Overwriting needs no space, nor do names, nor the hole that a truncate adds. On a copy-on-write disk
 *    ({@linkcode MemoryFileSystemOptions.copyOnWrite | copyOnWrite}) overwriting does need space: a whole block of 4096 bytes
 *    at its first change after a sync of the file, until the next sync.
 *
 * Guarantees: the contract of `file_system.ts`; the same calls, faults and seeds always give the same bytes.
 *
 * Not modelled: bit rot (simulate it with `readFile()` and `writeFile()`), devices that lie about a sync, blocks with another
 * file's old data, file times and permissions, symbolic links, space for names, space that is freed late. Holes count as used
 * space, except the one at the end of a file. Paths may be absolute or relative to `/`, with `/` or `\` between the names.
 *
 * @module
 */

import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
import {
  createFile,
  DirectoryNode,
  Disk,
  FileNode,
  find,
  findDirectory,
  findFile,
  findNode,
  mulberry32,
  refusal,
  split,
  unlink,
} from "./memory_disk.ts";
import { MemoryFileHandle, type MemoryFileSystemOptions, MemoryProcess } from "./memory_process.ts";

/**
 * A {@linkcode FileSystem} in memory, for tests: deterministic, with power cuts, faults and a full disk.
 *
 * @example Data that was not synced may be lost
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
export class MemoryFileSystem implements FileSystem {
  /** Always `"memory"`. */
  readonly name = "memory";
  #process: MemoryProcess;

  /**
   * Creates an empty file system: the directory `/` and nothing in it.
   *
   * @param options Faults to inject, the disk's capacity and kind.
   */
  constructor(options: MemoryFileSystemOptions = {}) {
    this.#process = new MemoryProcess(new Disk(), options);
  }

  /** The most bytes that all files may have together. It can be set at any time, also below what is used. */
  get capacityBytes(): number {
    return this.#process.disk.capacityBytes;
  }

  set capacityBytes(bytes: number) {
    if (Number.isNaN(bytes) || bytes < 0) {
      throw new RangeError(`Cannot set capacityBytes: it must be a number from 0, got ${bytes}`);
    }
    this.#process.disk.capacityBytes = bytes;
  }

  /**
   * How many bytes all files have together. A removed file counts until its last handle is closed. A block that was copied to be
   * overwritten counts twice until the next sync.
   */
  get usedBytes(): number {
    return this.#process.disk.usedBytes;
  }

  /** Whether the disk copies on write, as its options say; see {@linkcode FileSystem.copiesOnWrite}. */
  copiesOnWrite(_path: string): boolean {
    return this.#process.disk.copiesOnWrite;
  }

  /** Opens a file; see {@linkcode FileSystem.open}. */
  open(path: string, mode: OpenMode): FileHandle {
    const process = this.#process;
    const findOrCreate = mode === "create" ? createFile : findFile;
    const node = process.run("open", path, { mode }, () => findOrCreate(process.disk, "open", path));
    return new MemoryFileHandle(process, node, path, mode !== "read");
  }

  /** Lists a directory; see {@linkcode FileSystem.list}. */
  list(path: string): string[] {
    const { disk } = this.#process;
    return this.#process.run("list", path, {}, () => [...findDirectory(disk, "list", path).entries.keys()]);
  }

  /** Makes a directory and its parents; see {@linkcode FileSystem.makeDirectory}. */
  makeDirectory(path: string): void {
    const { disk } = this.#process;
    this.#process.run("makeDirectory", path, {}, () => {
      if (path === "") throw refusal("ENOENT", "makeDirectory", path);
      const names = split(path);
      let directory = disk.root;
      names.forEach((name, i) => {
        let node = directory.entries.get(name);
        if (node instanceof FileNode) {
          throw refusal(i === names.length - 1 ? "EEXIST" : "ENOTDIR", "makeDirectory", path);
        }
        if (node === undefined) disk.change({ directory, name, node: node = new DirectoryNode() });
        directory = node;
      });
    });
  }

  /** Renames a file or a directory; see {@linkcode FileSystem.rename}. */
  rename(from: string, to: string): void {
    const { disk } = this.#process;
    this.#process.run("rename", from, { to }, () => {
      const { node, directory, name } = find(disk, "rename", from);
      const target = find(disk, "rename", to);
      const refuse = (errno: string) => refusal(errno, "rename", from);
      if (node === undefined) throw refuse("ENOENT");
      if (name === "" || target.name === "") throw refuse("EBUSY");
      if (node === target.node) return;
      if (node instanceof FileNode && target.node instanceof DirectoryNode) throw refuse("EISDIR");
      if (node instanceof DirectoryNode && target.node instanceof FileNode) throw refuse("ENOTDIR");
      if (target.node instanceof DirectoryNode && target.node.entries.size > 0) throw refuse("ENOTEMPTY");
      if (node instanceof DirectoryNode && target.ancestors.includes(node)) throw refuse("EINVAL");
      disk.change({ directory, name, node: undefined }, { directory: target.directory, name: target.name, node });
      if (target.node instanceof FileNode) unlink(disk, target.node);
    });
  }

  /** Removes a file; see {@linkcode FileSystem.remove}. */
  remove(path: string): void {
    const { disk } = this.#process;
    this.#process.run("remove", path, {}, () => {
      const node = findFile(disk, "remove", path);
      const { directory, name } = find(disk, "remove", path);
      disk.change({ directory, name, node: undefined });
      unlink(disk, node);
    });
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

  /** Syncs the names in a directory within the call; see {@linkcode FileSystem.syncDirectoryBlocking}. */
  syncDirectoryBlocking(path: string): void {
    const process = this.#process;
    const fault = process.begin("syncDirectory", path);
    const directory = findDirectory(process.disk, "syncDirectory", path);
    process.disk.settle(directory, process.disk.mark);
    process.end(fault, "syncDirectory", path);
  }

  /** Locks a file; see {@linkcode FileSystem.lock}. As with POSIX locks, closing a handle of the file releases it. */
  lock(path: string): FileLock {
    const { disk, locks } = this.#process;
    const node = this.#process.run("lock", path, {}, () => {
      const isThere = find(disk, "lock", path).node !== undefined;
      const file = isThere ? findFile(disk, "lock", path) : createFile(disk, "lock", path);
      if (file.lock !== undefined) throw refusal("EBUSY", "lock", path);
      return file;
    });
    const owner = {};
    node.lock = owner;
    const release = () => {
      locks.delete(release);
      if (node.lock === owner) node.lock = undefined;
    };
    locks.add(release);
    return { release };
  }

  /** Identifies a file or directory; see {@linkcode FileSystem.identify}. */
  identify(path: string): FileIdentity {
    const { disk } = this.#process;
    return this.#process.run("identify", path, {}, () => disk.identify(findNode(disk, "identify", path)));
  }

  /** The absolute form of a path; see {@linkcode FileSystem.resolve}. */
  resolve(path: string): string {
    this.#process.run("resolve", path, {}, () => findNode(this.#process.disk, "resolve", path));
    return `/${split(path).join("/")}`;
  }

  /**
   * Kills the process: what it wrote stays, its handles and locks are gone. Every later call on this object and on its handles
   * throws EBADF, and pending syncs reject with it, so that code of the dead process has no effect.
   *
   * @param options For the next process. `onOperation` and `whileSyncing` are not inherited.
   * @returns The file system as the next process finds it.
   *
   * @example What was written survives the process, synced or not
   * ```ts
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals, assertThrows } from "@std/assert";
   *
   * const before = new MemoryFileSystem();
   * const file = before.open("/log", "create");
   * file.write(new TextEncoder().encode("written"), 0);
   * const after = before.kill();
   * assertThrows(() => file.write(new Uint8Array(1), 0)); // the process is dead
   * assertEquals(new TextDecoder().decode(after.readFile("/log")), "written");
   * ```
   */
  kill(options: MemoryFileSystemOptions = {}): MemoryFileSystem {
    const { disk } = this.#process;
    this.#process.die();
    return MemoryFileSystem.#on(disk, options);
  }

  /**
   * Cuts the power. This file system doesn't change, so that many seeds can be tried on one state. To stop code that still uses
   * it, `kill()` it.
   *
   * @param options The seed, which chooses what is left of the unsynced changes: the same seed, the same choice. The other
   * options are those of `kill()`.
   * @returns A new file system, as the power cut may leave this one.
   *
   * @example What a sync has covered survives, whatever the seed
   * ```ts
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * const file = fileSystem.open("/log", "create");
   * file.write(new TextEncoder().encode("synced"), 0);
   * await file.sync();
   * await fileSystem.syncDirectory("/"); // the name, too
   * for (let seed = 0; seed < 20; seed++) {
   *   assertEquals(new TextDecoder().decode(fileSystem.crash({ seed }).readFile("/log")), "synced");
   * }
   * file.close();
   * ```
   */
  crash(options: { readonly seed: number } & MemoryFileSystemOptions): MemoryFileSystem {
    return MemoryFileSystem.#on(this.#process.disk.afterPowerCut(mulberry32(options.seed)), options);
  }

  /**
   * Reads a file. This is no operation: it is not counted, and no fault is injected into it.
   *
   * @param path The file.
   * @returns A copy of its content.
   * @throws {FileSystemError} if it isn't there, or is a directory.
   *
   * @example Damage a byte
   * ```ts
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * fileSystem.writeFile("/log", new Uint8Array([1, 2, 3]));
   * const bytes = fileSystem.readFile("/log");
   * bytes[1] ^= 0x80;
   * fileSystem.writeFile("/log", bytes);
   * assertEquals(fileSystem.readFile("/log"), new Uint8Array([1, 130, 3]));
   * ```
   */
  readFile(path: string): Uint8Array {
    return findFile(this.#process.disk, "readFile", path).cache.view().slice();
  }

  /**
   * Puts a file in place as if it had always been there: synced, with the directories that it needs and all their names. An
   * existing file gets the new content, with nothing left unsynced. This is no operation, and needs no space.
   *
   * @param path The file.
   * @param bytes Its content.
   * @throws {FileSystemError} if the path is a directory, or a file is in the way.
   *
   * @example A file that survives every power cut
   * ```ts
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * fileSystem.writeFile("/etc/app/config", new Uint8Array([1]));
   * assertEquals(fileSystem.crash({ seed: 1 }).paths(), ["/etc/app/config"]);
   * ```
   */
  writeFile(path: string, bytes: Uint8Array): void {
    const { disk } = this.#process;
    let directory = disk.root;
    const names = split(path);
    const last = names.pop();
    if (last === undefined) throw refusal("EISDIR", "writeFile", path);
    for (const name of names) {
      const node = directory.entries.get(name) ?? new DirectoryNode();
      if (node instanceof FileNode) throw refusal("ENOTDIR", "writeFile", path);
      disk.change({ directory, name, node });
      disk.settle(directory, disk.mark);
      directory = node;
    }
    const node = directory.entries.get(last) ?? new FileNode();
    if (node instanceof DirectoryNode) throw refusal("EISDIR", "writeFile", path);
    disk.usedBytes += bytes.length - node.cache.size - node.dropCopies({ size: 0 });
    node.truncate(0);
    node.write(bytes, 0);
    node.settle(node.mark, "stable");
    disk.change({ directory, name: last, node });
    disk.settle(directory, disk.mark);
  }

  /**
   * Gives a file a second name, a hard link, as if it had always had it. This is no operation.
   *
   * @param from A name of the file.
   * @param to The new name.
   * @throws {FileSystemError} if there is no such file, or the new name is taken.
   *
   * @example Two names for one file
   * ```ts
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * fileSystem.writeFile("/log", new Uint8Array(1));
   * fileSystem.link("/log", "/backup");
   * assertEquals(fileSystem.identify("/backup"), fileSystem.identify("/log"));
   * assertEquals(fileSystem.identify("/log").links, 2);
   * ```
   */
  link(from: string, to: string): void {
    const { disk } = this.#process;
    const { node } = find(disk, "link", from);
    const { directory, name, node: taken } = find(disk, "link", to);
    if (!(node instanceof FileNode)) throw refusal("ENOENT", "link", from);
    if (taken !== undefined) throw refusal("EEXIST", "link", to);
    node.links++;
    disk.change({ directory, name, node });
    disk.settle(directory, disk.mark);
  }

  /**
   * Lists all files. This is no operation.
   *
   * @returns Their absolute paths, sorted.
   *
   * @example The files of a buffer
   * ```ts
   * import { FileBuffer } from "@sluice/buffer";
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assert } from "@std/assert";
   *
   * const fileSystem = new MemoryFileSystem();
   * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
   * await buffer.put("hello");
   * assert(fileSystem.paths().includes("/events.wal/00000000000000000001.wal"));
   * await buffer.close();
   * ```
   */
  paths(): string[] {
    const paths: string[] = [];
    const addFiles = (directory: DirectoryNode, prefix: string): void => {
      for (const [name, node] of directory.entries) {
        if (node instanceof FileNode) paths.push(prefix + name);
        else addFiles(node, `${prefix}${name}/`);
      }
    };
    addFiles(this.#process.disk.root, "/");
    return paths.sort();
  }

  static #on(disk: Disk, options: MemoryFileSystemOptions): MemoryFileSystem {
    const fileSystem = new MemoryFileSystem();
    fileSystem.#process = new MemoryProcess(disk, options);
    return fileSystem;
  }
}
