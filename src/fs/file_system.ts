/**
 * What Sluice asks of a file system: types only, no code.
 *
 * One small interface stands between the log and the runtime, so that the log is written once, runs on Deno, Bun and
 * Node, and can be tested on a file system that crashes on demand. It is small on purpose: whoever implements
 * it has these methods to get right, and `tests/fs/conformance.ts` holds every implementation to them.
 *
 * Reads, writes and everything about names are synchronous calls: they go to the page cache, where a call costs about
 * a microsecond, against 15 to 40 for a trip through a thread pool. Only syncs wait for the device, so only they
 * are asynchronous.
 *
 * Every method reports failure by throwing (or rejecting with) the error that {@linkcode FileSystemError.from} makes: the errno is
 * the POSIX name on every runtime and platform. A call interrupted by a signal (EINTR) is made again and never
 * reported.
 *
 * @module
 */

/**
 * How a file is opened:
 * - `"read"`: an existing file, reading only; ENOENT if there is none.
 * - `"write"`: an existing file, reading and writing, content untouched; ENOENT if there is none.
 * - `"create"`: a new empty file, reading and writing; EEXIST if the name is taken, by anything.
 *
 * @example What is there already, and what isn't
 * ```ts
 * import { FileSystemError, type OpenMode } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * function outcomeOf(mode: OpenMode): string {
 *   try {
 *     fileSystem.open("/notes", mode).close();
 *     return "opened";
 *   } catch (error) {
 *     if (!(error instanceof FileSystemError)) throw error;
 *     return error.errno;
 *   }
 * }
 *
 * assertEquals([outcomeOf("read"), outcomeOf("write")], ["ENOENT", "ENOENT"]);
 * assertEquals([outcomeOf("create"), outcomeOf("create")], ["opened", "EEXIST"]);
 * assertEquals([outcomeOf("read"), outcomeOf("write")], ["opened", "opened"]);
 * ```
 */
export type OpenMode = "read" | "write" | "create";

/**
 * What a file or directory is, whatever its name: two names stand for the same one if and only if device and inode are equal.
 * That holds while it exists or is open; afterwards the system may give the numbers to another one.
 *
 * @example A file that was replaced has its name, and is another one
 * ```ts
 * import type { FileIdentity } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertNotEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * fileSystem.writeFile("/config", new Uint8Array(1));
 * fileSystem.writeFile("/config.new", new Uint8Array(2));
 * const before: FileIdentity = fileSystem.identify("/config");
 * fileSystem.rename("/config.new", "/config");
 * assertNotEquals(fileSystem.identify("/config").inode, before.inode);
 * assertEquals(before.links, 1);
 * ```
 */
export interface FileIdentity {
  /** The device that it is on. */
  readonly device: number;
  /** Its number on that device. */
  readonly inode: number;
  /** How many names it has; of a file, more than one if somebody has made a hard link to it. */
  readonly links: number;
}

/**
 * An open file. Positions and sizes are in bytes. Using it after `close()` throws EBADF.
 *
 * @example What a sync has covered survives a power cut
 * ```ts
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const handle = fileSystem.open("/notes", "create");
 * handle.write(new TextEncoder().encode("remember the milk"), 0);
 * await handle.sync();
 * await fileSystem.syncDirectory("/"); // the name, too
 * handle.truncate(8);
 * assertEquals(handle.size(), 8);
 * handle.close();
 *
 * const left = fileSystem.crash({ seed: 3 }).open("/notes", "read");
 * const into = new Uint8Array(100);
 * const text = new TextDecoder().decode(into.subarray(0, left.read(into, 0)));
 * assertEquals(text.slice(0, 8), "remember"); // with or without the rest: the truncation was not synced
 * left.close();
 * ```
 */
export interface FileHandle {
  /** The file's size now. */
  size(): number;
  /**
   * Reads from `position` until `into` is full or the file ends. Short reads of the system are continued.
   *
   * @returns The number of bytes read: less than `into.length` only at the end of the file; 0 at or behind it.
   */
  read(into: Uint8Array, position: number): number;
  /**
   * Writes all of `bytes` at `position`; behind the end the file is extended. Short writes of the system are
   * continued until everything is written or the system reports an error. When it returns, the bytes are in the
   * operating system: a killed process doesn't lose them, a power cut may. When it throws, any part of `bytes`
   * may have been written.
   */
  write(bytes: Uint8Array, position: number): void;
  /** Makes the file exactly `size` bytes long: cut, or extended with zeros. Durable after the next sync. */
  truncate(size: number): void;
  /**
   * Resolves when the file's content and size, as they were at the call, are on stable storage (fdatasync).
   * Failure is final: what the disk holds is unknown then, and a second call proves nothing.
   * The handle must stay open until the promise is settled.
   */
  sync(): Promise<void>;
  /**
   * Which file this is, also when its name stands for another one by now, or is gone. May be missing, as in
   * {@linkcode FileSystem.identify}.
   */
  identify?(): FileIdentity;
  /** Closes the file. A second call does nothing. */
  close(): void;
}

/**
 * A lock that is held until it is released or its process ends.
 *
 * @example One owner, until it lets go or dies
 * ```ts
 * import { FileSystemError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const lock = fileSystem.lock("/lock");
 * const error = assertThrows(() => fileSystem.lock("/lock"), FileSystemError);
 * assertEquals(error.errno, "EBUSY");
 * lock.release();
 *
 * fileSystem.lock("/lock"); // and never released
 * const afterwards = fileSystem.kill(); // the process dies
 * afterwards.lock("/lock").release();
 * ```
 */
export interface FileLock {
  /** Gives the lock up. A second call does nothing. */
  release(): void;
}

/**
 * A file system. Paths are absolute or relative to the working directory, in the platform's own notation.
 *
 * @example A file system around another one: count what a buffer asks of the disk
 * ```ts
 * import { FileBuffer, type FileSystem } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const counts = new Map<string, number>();
 * function counted<O extends object>(target: O): O {
 *   return new Proxy(target, {
 *     get(_, name: string) {
 *       const method: unknown = Reflect.get(target, name);
 *       if (typeof method !== "function") return method;
 *       return (...args: unknown[]) => {
 *         counts.set(name, (counts.get(name) ?? 0) + 1);
 *         const result = method.apply(target, args);
 *         return name === "open" ? counted(result) : result; // its handles are counted, too
 *       };
 *     },
 *   });
 * }
 *
 * const fileSystem: FileSystem = counted(new MemoryFileSystem());
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem, fsync: "never" });
 * await buffer.put("the first one begins a segment");
 * counts.clear();
 * await Promise.all(["puts", "of", "one", "tick"].map((word) => buffer.put(word)));
 * assertEquals(Object.fromEntries(counts), { write: 1 });
 * await buffer.close();
 * ```
 */
export interface FileSystem {
  /** The runtime it stands on: `"deno"`, `"bun"`, `"node"`, `"memory"`, or a name of the implementer's own. */
  readonly name: string;
  /** Opens the file at `path`; see {@linkcode OpenMode}. A created file's name is durable after `syncDirectory()`. */
  open(path: string, mode: OpenMode): FileHandle;
  /** Names (not paths) of the entries of the directory `path`, in no particular order. ENOENT, ENOTDIR. */
  list(path: string): string[];
  /** Makes the directory `path` and its parents; nothing happens if it is there. ENOTDIR or EEXIST if a file is in the way. */
  makeDirectory(path: string): void;
  /** Renames a file within its file system; an existing target is replaced in one step. */
  rename(from: string, to: string): void;
  /** Removes a file. ENOENT if there is none. */
  remove(path: string): void;
  /**
   * Resolves when the names in the directory `path` (creates, renames, removes up to the call) are on stable storage.
   * Best effort where a directory can't be synced: on Windows, where the system has no such call, and in Deno when
   * its sandbox doesn't allow to read that directory, the promise resolves and nothing is done.
   */
  syncDirectory(path: string): Promise<void>;
  /**
   * Locks the file at `path`, which is created if missing and belongs to the lock alone: nobody else may open it,
   * because closing any descriptor of it gives POSIX locks up. Excludes every other holder, in any process on
   * this machine and in this one, on any of the runtimes. The end of the process, however it comes, frees the lock.
   *
   * @throws at once, with errno `EBUSY`, when somebody else holds it; with `EACCES` when the file can't be written, because
   * then no lock on it would be exclusive.
   */
  lock(path: string): FileLock;
  /**
   * Which file or directory `path` stands for, symbolic links followed. ENOENT, ENOTDIR.
   *
   * May be missing. Then a buffer can't notice that another owner has taken its directory over, or that the directory was
   * moved, and rests on the lock alone.
   */
  identify?(path: string): FileIdentity;
  /**
   * The absolute path of what `path` stands for, without symbolic links. ENOENT.
   *
   * May be missing. Then a path means what it means at each call: after a change of the working directory, or of a symbolic
   * link on the way, something else.
   */
  resolve?(path: string): string;
  /**
   * Whether overwriting a file's bytes in the directory `path` may need space: on copy-on-write file systems such as
   * btrfs, ZFS and APFS, and wherever a file may share its blocks with a copy (reflinks). A buffer keeps a reserve there
   * by default; see `FileBufferOptions.reserveBytes`. May be missing: then the answer is no.
   *
   * @returns `true` where it can't be told. Never throws.
   */
  copiesOnWrite?(path: string): boolean;
}
