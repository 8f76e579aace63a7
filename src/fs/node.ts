/**
 * The file system of Node, on `node:fs`.
 *
 * Guarantees: the contract of `file_system.ts`. Every read and write names its position, so there is no hidden file offset.
 * Short counts are continued: when the rest of a write fails, Node returns a short count without an error; the next call throws,
 * and its error is reported. A closed handle forgets its descriptor at once: the system gives the number to the next file,
 * which must never be written by mistake.
 *
 * Not guaranteed: on Windows directories can't be synced (EPERM), so `syncDirectory()` does nothing there. Some network and FUSE
 * file systems have no sync for directories and report EINVAL, which is ignored, as PostgreSQL does.
 *
 * {@linkcode createNodeFileSystem} exists for `bun.ts`: Bun's `node:fs` makes the same calls.
 *
 * @module
 */

import type { Stats } from "node:fs";
import { dirname } from "@std/path/dirname";
import { processOfNode } from "../base/runtime.ts";
import { FileSystemError } from "../errors/mod.ts";
import { checkPosition, isNoSuchFile } from "./file_helpers.ts";
import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "./file_system.ts";
import { overwritesInPlace } from "./overwrites_in_place.ts";
import { lockFile } from "./sqlite_lock.ts";

/** Not imported: see `base/runtime.ts`. */
const process = processOfNode();
const fs = process.getBuiltinModule("node:fs");

/** `r+` and `wx+` read and write; `wx` is O_CREAT | O_EXCL. Never `a`: O_APPEND ignores positions. */
const FLAGS: Readonly<Record<OpenMode, string>> = { read: "r", write: "r+", create: "wx+" };

/** The most that one system call is asked for: Node refuses 2 GiB and more, and Linux transfers no more. */
const MAX_CALL_BYTES = 2 ** 30;

/** Has a drive write what it still has in its own cache, behind a sync of the file with that descriptor. */
export type FlushDrive = (descriptor: number) => void;

/** The file system of this Node process. */
export const nodeFileSystem: FileSystem = createNodeFileSystem("node");

/**
 * Makes a file system on `node:fs`.
 *
 * @param name The runtime's name, for {@linkcode FileSystem.name}.
 * @param flushDrive What a sync is followed by, where the runtime's own doesn't reach the drive.
 * @returns A file system without state of its own.
 */
export function createNodeFileSystem(name: string, flushDrive: FlushDrive = () => {}): FileSystem {
  return Object.freeze({
    name,
    open: (path: string, mode: OpenMode) => open(path, mode, flushDrive),
    list,
    makeDirectory: (path: string) => makeDirectory(trimNames(path)),
    rename,
    remove,
    syncDirectory: (path: string) => syncDirectory(path, flushDrive),
    syncDirectoryBlocking: (path: string) => syncDirectoryBlocking(path, flushDrive),
    lock,
    identify,
    resolve,
    copiesOnWrite,
  });
}

function open(path: string, mode: OpenMode, flushDrive?: FlushDrive): FileHandle {
  const descriptor = attempt("open", path, () => fs.openSync(path, FLAGS[mode]));
  // For reading, the system also opens directories; for writing, Windows does.
  const mayBeDirectory = mode === "read" || process.platform === "win32";
  let isDirectory = true;
  try {
    isDirectory = mayBeDirectory && attempt("open", path, () => fs.fstatSync(descriptor)).isDirectory();
  } finally {
    if (isDirectory) close(descriptor, path);
  }
  if (isDirectory) throw FileSystemError.from({ errno: "EISDIR", operation: "open", path });
  return new NodeFileHandle(descriptor, path, flushDrive);
}

function list(path: string): string[] {
  return attempt("list", path, () => fs.readdirSync(trimNames(path)));
}

/** Not with `recursive`: Node then reports ENOENT for EROFS, EDQUOT and others. Errors are about `asked`, also those of parents. */
function makeDirectory(path: string, asked: string = path): void {
  const make = (): void => attempt("makeDirectory", asked, () => fs.mkdirSync(path));
  try {
    make();
  } catch (error) {
    const parent = dirname(path);
    if (isNoSuchFile(error) && parent !== path) {
      makeDirectory(parent, asked);
      make();
    } else if (!isDirectory(path)) {
      throw error;
    }
  }
}

function isDirectory(path: string): boolean {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function rename(from: string, to: string): void {
  attempt("rename", from, () => fs.renameSync(from, to));
}

function remove(path: string): void {
  attempt("remove", path, () => fs.unlinkSync(path));
}

async function syncDirectory(path: string, flushDrive: FlushDrive): Promise<void> {
  if (process.platform === "win32") return;
  // An error of its own: nothing was synced yet, so the call may be made again.
  const descriptor = attempt("open", path, () => fs.openSync(path, "r"));
  try {
    await sync("syncDirectory", path, (done) => fs.fsync(descriptor, done), ["EINVAL"]);
    flushDrive(descriptor);
  } finally {
    close(descriptor, path);
  }
}

function syncDirectoryBlocking(path: string, flushDrive: FlushDrive): void {
  if (process.platform === "win32") return;
  const descriptor = attempt("open", path, () => fs.openSync(path, "r"));
  try {
    attempt("syncDirectory", path, () => fs.fsyncSync(descriptor));
    flushDrive(descriptor);
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EINVAL") throw error;
  } finally {
    close(descriptor, path);
  }
}

function lock(path: string): FileLock {
  return lockFile(path, { open, list, remove });
}

function identify(path: string): FileIdentity {
  return toIdentity(attempt("identify", path, () => fs.statSync(path)));
}

/** As numbers. An inode above 2^53 loses its last bits: two files may then look the same, never one file like two. */
function toIdentity({ dev, ino, nlink }: Stats): FileIdentity {
  return { device: dev, inode: ino, links: nlink };
}

function resolve(path: string): string {
  const name = trimNames(path);
  return attempt("resolve", path, () => {
    try {
      return fs.realpathSync.native(name);
    } catch (error) {
      // Long paths of Windows.
      if ((error as { code?: unknown }).code !== "UNKNOWN") throw error;
      return fs.realpathSync(name);
    }
  });
}

/**
 * Windows ignores dots and spaces at the end of a name. Node, which takes names as they are, would make a directory that hardly
 * any other program can use.
 */
function trimNames(path: string): string {
  if (process.platform !== "win32" || path.startsWith("\\\\?\\")) return path;
  return path.replace(/(?<=[^.\\/ ])[. ]+(?=[\\/]|$)/g, "");
}

function copiesOnWrite(path: string): boolean {
  return !overwritesInPlace(path);
}

class NodeFileHandle implements FileHandle {
  readonly #path: string;
  readonly #flushDrive: FlushDrive | undefined;
  #descriptor: number | undefined;

  constructor(descriptor: number, path: string, flushDrive: FlushDrive | undefined) {
    this.#descriptor = descriptor;
    this.#path = path;
    this.#flushDrive = flushDrive;
  }

  size(): number {
    const descriptor = this.#open("size");
    return attempt("size", this.#path, () => fs.fstatSync(descriptor)).size;
  }

  read(into: Uint8Array, position: number): number {
    const descriptor = this.#open("read");
    checkPosition(position);
    let done = 0;
    while (done < into.length) {
      const length = Math.min(into.length - done, MAX_CALL_BYTES);
      const count = attempt("read", this.#path, () => fs.readSync(descriptor, into, done, length, position + done));
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  write(bytes: Uint8Array, position: number): void {
    const descriptor = this.#open("write");
    checkPosition(position);
    let done = 0;
    while (done < bytes.length) {
      const length = Math.min(bytes.length - done, MAX_CALL_BYTES);
      const count = this.#writeSome(descriptor, bytes, done, length, position + done);
      // Neither progress nor an error: repeating the call might never end.
      if (count === 0) throw FileSystemError.from({ errno: "EIO", operation: "write", path: this.#path });
      done += count;
    }
  }

  /** Like `attempt`, without a closure for each call: a put makes one of these calls, and little else. */
  #writeSome(descriptor: number, bytes: Uint8Array, offset: number, length: number, position: number): number {
    while (true) {
      try {
        return fs.writeSync(descriptor, bytes, offset, length, position);
      } catch (error) {
        translate(error, "write", this.#path);
      }
    }
  }

  truncate(size: number): void {
    const descriptor = this.#open("truncate");
    checkPosition(size);
    attempt("truncate", this.#path, () => fs.ftruncateSync(descriptor, size));
  }

  async sync(): Promise<void> {
    const descriptor = this.#open("sync");
    await sync("sync", this.#path, (done) => fs.fdatasync(descriptor, done), []);
    this.#flushDrive?.(descriptor);
  }

  syncBlocking(): void {
    const descriptor = this.#open("sync");
    attempt("sync", this.#path, () => fs.fdatasyncSync(descriptor));
    this.#flushDrive?.(descriptor);
  }

  identify(): FileIdentity {
    const descriptor = this.#open("identify");
    return toIdentity(attempt("identify", this.#path, () => fs.fstatSync(descriptor)));
  }

  close(): void {
    const descriptor = this.#descriptor;
    if (descriptor === undefined) return;
    this.#descriptor = undefined;
    close(descriptor, this.#path);
  }

  #open(operation: string): number {
    if (this.#descriptor === undefined) throw FileSystemError.from({ errno: "EBADF", operation, path: this.#path });
    return this.#descriptor;
  }
}

/** Makes a system call, again while a signal interrupts it, and translates its error. */
function attempt<T>(operation: string, path: string, call: () => T): T {
  while (true) {
    try {
      return call();
    } catch (error) {
      translate(error, operation, path);
    }
  }
}

/** Throws the translation of an error. Returns if a signal interrupted the call, which is to be repeated. */
function translate(error: unknown, operation: string, path: string): void {
  const errno = toErrno(error);
  if (errno !== "EINTR") throw FileSystemError.from({ errno, operation, path, ...findRefusal(error) }, error);
}

/**
 * Runs an fsync or fdatasync in the thread pool. A failed one is never repeated: the system marks the pages clean, and the
 * next call reports success for data that is lost. EINTR is different: the call ended before it did anything, and no page was
 * marked.
 */
function sync(
  operation: string,
  path: string,
  call: (done: (error: Error | null) => void) => void,
  ignored: readonly string[],
): Promise<void> {
  return new Promise((resolve, reject) => {
    const begin = () =>
      call((error) => {
        if (error === null || error === undefined) return resolve();
        const errno = toErrno(error);
        if (errno === "EINTR") return begin();
        if (ignored.includes(errno)) return resolve();
        reject(FileSystemError.from({ errno, operation, path, ...findRefusal(error) }, error));
      });
    begin();
  });
}

/** Closes a descriptor, never twice: after EINTR it is free (Linux), and a second close could hit another file. */
function close(descriptor: number, path: string): void {
  try {
    fs.closeSync(descriptor);
  } catch (error) {
    const errno = toErrno(error);
    if (errno !== "EINTR") throw FileSystemError.from({ errno, operation: "close", path }, error);
  }
}

/** libuv's number for what it doesn't know. */
const UV_UNKNOWN = -4094;

/** Linux reports it for a damaged ext4 or XFS ("structure needs cleaning"); `node:os` doesn't list it. */
const EUCLEAN = -117;

/**
 * The POSIX name of an error. libuv calls EDQUOT, ESTALE and EUCLEAN `UNKNOWN`; its number (negative, the platform's own) is
 * still right. Of cutting a file that is mapped, which Windows refuses (ERROR_USER_MAPPED_FILE), libuv knows nothing at all.
 */
function toErrno(error: unknown): string {
  const { code, errno, syscall } = error as { code?: unknown; errno?: unknown; syscall?: unknown };
  if (errno === UV_UNKNOWN && syscall === "ftruncate") return "EBUSY";
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
  if (code === ACCESS_DENIED) return "EACCES";
  if (typeof errno !== "number" || process.platform === "win32") return "UNKNOWN";
  if (errno === EUCLEAN && process.platform === "linux") return "EUCLEAN";
  const { constants } = process.getBuiltinModule("node:os");
  return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0] ?? "UNKNOWN";
}

/** The code of what Node's permission model refuses (`--permission`). */
const ACCESS_DENIED = "ERR_ACCESS_DENIED";

const ADVICE_FOR_SYNC = "Node's permission model disables fsync, without which no record is durable; " +
  "run Node without --permission, or run Deno, whose --allow-read and --allow-write restrict a program as well";

/** What to do about a refusal of Node's permission model: it names a flag, or else has disabled the call as a whole. */
function findRefusal(error: unknown): { flag?: string; advice?: string } {
  const { code, permission, resource } = error as { code?: unknown; permission?: string; resource?: string };
  if (code !== ACCESS_DENIED) return {};
  if (permission === "FileSystemRead") return { flag: `--allow-fs-read=${resource}` };
  if (permission === "FileSystemWrite") return { flag: `--allow-fs-write=${resource}` };
  return { advice: ADVICE_FOR_SYNC };
}
