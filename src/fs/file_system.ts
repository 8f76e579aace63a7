/**
 * What Sluice needs of a file system: types only, no code.
 *
 * One small interface separates the log from the runtime, so that the log is written once, runs on Deno, Bun and Node, and can
 * be tested on a file system that crashes on demand. It is small on purpose: an implementation has only these methods to get
 * right, and `tests/fs/conformance.ts` checks each implementation.
 *
 * Reads, writes and everything about names are synchronous: they go to the page cache, where a call costs about a microsecond,
 * against 15 to 40 for a trip through a thread pool. Only syncs wait for the device, so only they are asynchronous.
 *
 * Every method fails by throwing (or rejecting with) the error that `FileSystemError.from()` makes: the errno is the POSIX
 * name on every runtime and platform. A call that a signal interrupted (EINTR) is repeated and never reported.
 *
 * @module
 */

/**
 * How a file is opened:
 * - `"read"`: an existing file, reading only; ENOENT if there is none.
 * - `"write"`: an existing file, reading and writing, content untouched; ENOENT if there is none.
 * - `"create"`: a new empty file, reading and writing; EEXIST if the name is taken, by anything.
 */
export type OpenMode = "read" | "write" | "create";

/**
 * Identifies a file or directory, whatever its name. Two names lead to the same one if and only if device and inode are equal.
 * That holds while it exists or is open; afterwards the system may reuse the numbers.
 */
export interface FileIdentity {
  /** Its device. */
  readonly device: number;
  /** Its number on that device. */
  readonly inode: number;
  /** How many names it has; a file with hard links has more than one. */
  readonly links: number;
}

/** An open file. Positions and sizes are in bytes. Using it after `close()` throws EBADF. */
export interface FileHandle {
  /**
   * The file's current size.
   *
   * @returns Its length in bytes.
   */
  size(): number;
  /**
   * Reads until `into` is full or the file ends. Short reads of the system are continued.
   *
   * @param into Where the bytes go.
   * @param position Where in the file to start.
   * @returns The number of bytes read: less than `into.length` only at the end of the file; 0 at or behind the end.
   */
  read(into: Uint8Array, position: number): number;
  /**
   * Writes all of `bytes`. Behind the end, the file is extended. Short writes of the system are continued until everything is
   * written or the system reports an error. When it returns, the bytes are in the operating system: a killed process doesn't
   * lose them, a power cut may. When it throws, any part of `bytes` may have been written.
   *
   * @param bytes What to write.
   * @param position Where in the file to start.
   */
  write(bytes: Uint8Array, position: number): void;
  /**
   * Cuts the file, or extends it with zeros. Durable after the next sync.
   *
   * @param size Its new length in bytes.
   */
  truncate(size: number): void;
  /**
   * Resolves when the file's content and size, as they were at the call, are on stable storage (fdatasync). Failure is final: it
   * is then unknown what the disk holds, and a second call proves nothing. The handle must stay open until the promise settles.
   */
  sync(): Promise<void>;
  /**
   * As {@linkcode FileHandle.sync}, but within the call: it returns when everything is on stable storage, and the process does nothing
   * else meanwhile. Optional: without it, a buffer can't `flushSync()`, nor `putSync()` with `fsync: "always"`.
   */
  syncBlocking?(): void;
  /**
   * Identifies this file, also when its name is gone or leads to another file. Optional, like
   * {@linkcode FileSystem.identify}.
   *
   * @returns What tells it from every other file.
   */
  identify?(): FileIdentity;
  /** Closes the file. A second call does nothing. */
  close(): void;
}

/** A lock that is held until it is released or its process ends. */
export interface FileLock {
  /** Releases the lock. A second call does nothing. */
  release(): void;
}

/**
 * A file system. Paths are absolute or relative to the working directory, in the platform's own notation.
 *
 * @example Wrap another file system: count a buffer's operations
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
 *         return name === "open" ? counted(result) : result; // count the operations of its handles, too
 *       };
 *     },
 *   });
 * }
 *
 * const fileSystem: FileSystem = counted(new MemoryFileSystem());
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem, fsync: "never" });
 * await buffer.put("the first one creates a segment");
 * counts.clear();
 * await Promise.all(["puts", "of", "one", "tick"].map((word) => buffer.put(word)));
 * assertEquals(Object.fromEntries(counts), { write: 1 });
 * await buffer.close();
 * ```
 */
export interface FileSystem {
  /** The runtime below it: `"deno"`, `"bun"`, `"node"`, `"memory"`, or a name that the implementer chooses. */
  readonly name: string;
  /**
   * Opens a file. The name of a created file is durable after `syncDirectory()`.
   *
   * @param path The file.
   * @param mode Whether it must exist, and what is done with it.
   * @returns A handle, which the caller closes.
   */
  open(path: string, mode: OpenMode): FileHandle;
  /**
   * Lists a directory. ENOENT, ENOTDIR.
   *
   * @param path The directory.
   * @returns Names (not paths) of its entries, in no particular order.
   */
  list(path: string): string[];
  /**
   * Creates a directory and its parents; does nothing if it exists. ENOTDIR or EEXIST if a file is in the way.
   *
   * @param path The directory.
   */
  makeDirectory(path: string): void;
  /**
   * Renames a file within its file system. An existing target is replaced in one step.
   *
   * @param from Its name.
   * @param to Its new name.
   */
  rename(from: string, to: string): void;
  /**
   * Removes a file. ENOENT if there is none.
   *
   * @param path The file.
   */
  remove(path: string): void;
  /**
   * Resolves when the names in a directory (creates, renames and removes up to the call) are on stable storage. Resolves without
   * effect where a directory can't be synced: on Windows, which has no such call, and in Deno if its sandbox doesn't allow
   * reading the directory.
   *
   * @param path The directory.
   */
  syncDirectory(path: string): Promise<void>;
  /**
   * As {@linkcode FileSystem.syncDirectory}, but within the call. Optional, like {@linkcode FileHandle.syncBlocking}.
   *
   * @param path The directory.
   */
  syncDirectoryBlocking?(path: string): void;
  /**
   * Locks a file, which is created if missing and serves the lock alone. Nobody else may open it, because closing any
   * descriptor of a file releases POSIX locks on it. The lock excludes every other holder, in this and any other process on
   * the machine, on any of the runtimes. It is free when the process ends, however that happens.
   *
   * @param path The lock file.
   * @returns The lock.
   * @throws at once, with errno `EBUSY`, when another holder has it; with `EACCES` when the file can't be written, because no
   * lock on it would be exclusive then.
   */
  lock(path: string): FileLock;
  /**
   * Identifies a file or directory, following symbolic links. ENOENT, ENOTDIR.
   *
   * Optional. Without it, a buffer can't notice that another owner has taken its directory over, or that the directory was moved;
   * it relies on the lock alone.
   *
   * @param path The file or directory.
   * @returns What tells it from every other one.
   */
  identify?(path: string): FileIdentity;
  /**
   * Resolves a path to an absolute one without symbolic links. ENOENT.
   *
   * Optional. Without it, a path may change its meaning with the working directory, or with a symbolic link in it.
   *
   * @param path Any path.
   * @returns The absolute path.
   */
  resolve?(path: string): string;
  /**
   * Whether overwriting bytes of a file in the directory may need space. It may on copy-on-write file systems such as btrfs, ZFS
   * and APFS, and wherever a file may share blocks with a copy (reflinks). A buffer keeps a reserve there by default; see
   * `FileBufferOptions.reserveBytes`. Optional: without it, the answer is no. Never throws.
   *
   * @param path The directory.
   * @returns `true` also where the answer is unknown.
   */
  copiesOnWrite?(path: string): boolean;
}
