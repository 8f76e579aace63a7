/**
 * What Sluice asks of a file system: types only, no code.
 *
 * One small interface stands between the log and the runtime, so that the log is written once, runs on Deno, Bun and
 * Node, and can be tested on a file system that crashes on demand. It is small on purpose: whoever implements
 * it has these methods to get right, and `tests/file_system_conformance.ts` holds every implementation to them.
 *
 * Reads, writes and everything about names are synchronous calls: they go to the page cache, where a call costs about
 * a microsecond, against 15 to 40 for a trip through a thread pool. Only syncs wait for the device, so only they
 * are asynchronous.
 *
 * Every method reports failure by throwing (or rejecting with) the error that `fileSystemError()` makes: the errno is
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
 */
export type OpenMode = "read" | "write" | "create";

/** An open file. Positions and sizes are in bytes. Using it after `close()` throws EBADF. */
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
  /** Closes the file. A second call does nothing. */
  close(): void;
}

/** A lock that is held until it is released or its process ends. */
export interface FileLock {
  /** Gives the lock up. A second call does nothing. */
  release(): void;
}

/**
 * A file system. Paths are absolute or relative to the working directory, in the platform's own notation.
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
   * @throws at once, with errno `EBUSY`, when somebody else holds it.
   */
  lock(path: string): FileLock;
}
