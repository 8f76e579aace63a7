/**
 * The file system of Deno, on `Deno.*`.
 *
 * Guarantees: the contract of `file_system.ts`, with `--allow-read=DIR --allow-write=DIR` and nothing more. Deno never prompts
 * for any other path: a directory without read permission isn't synced, see `syncDirectory()`. A missing permission is a
 * `PermissionError` that names the flag.
 *
 * Deno has no call that reads or writes at a position, so each handle remembers the file's offset: consecutive writes (and
 * reads) cost one call each, a jump costs a seek. `FsFile.syncData()` works on a duplicate of the descriptor and leaves the
 * offset alone.
 *
 * Not guaranteed: on macOS, file systems without F_FULLFSYNC (SMB, exFAT, some of FUSE) sync nothing, because Deno has no other
 * sync: with "always", too, records are then only as safe as the system's own write-back. On Windows directories can't be synced, so `syncDirectory()` does nothing there. Some network and FUSE file
 * systems have no sync for directories and report EINVAL, which is ignored, as PostgreSQL does. When the process reaches its
 * file size limit (RLIMIT_FSIZE), Deno dies of SIGXFSZ; no code here can prevent that.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs/ensure-dir";
import { processOfNode } from "../base/runtime.ts";
import { FileSystemError } from "../errors/mod.ts";
import { checkPosition, isNoSuchFile } from "./file_helpers.ts";
import type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "./file_system.ts";
import { isMountedInPlace, overwritesInPlace } from "./overwrites_in_place.ts";
import { lockFile } from "./sqlite_lock.ts";

const OPTIONS: Readonly<Record<OpenMode, Deno.OpenOptions>> = {
  read: { read: true },
  write: { read: true, write: true },
  create: { read: true, write: true, createNew: true },
};

/** What `--allow-all` allows. */
const ALL_PERMISSIONS = ["read", "write", "net", "env", "sys", "run", "ffi"] as const;

/** What the sandbox asks about paths. */
const PERMISSIONS = ["read", "write"] as const;

/**
 * What F_FULLFSYNC says, Deno's only sync on macOS, where a file system doesn't have it: SMB, exFAT, some of FUSE. libuv falls back
 * to fsync then, which Deno doesn't offer.
 */
const UNSUPPORTED: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  darwin: ["ENOTSUP", "EOPNOTSUPP", "ENOTTY", "EINVAL", "ENODEV"],
};

/** The offset after a failed call, so that the next call seeks. */
const UNKNOWN_OFFSET = -1;

/** The file system of this Deno process. */
export const denoFileSystem: FileSystem = Object.freeze({
  name: "deno",
  open,
  list,
  makeDirectory,
  rename,
  remove,
  syncDirectory,
  syncDirectoryBlocking,
  lock,
  identify,
  resolve,
  copiesOnWrite,
});

function open(path: string, mode: OpenMode): FileHandle {
  const file = attempt("open", path, () => Deno.openSync(path, OPTIONS[mode]));
  // For reading, the system also opens directories.
  let isDirectory = true;
  try {
    isDirectory = mode === "read" && attempt("open", path, () => file.statSync()).isDirectory;
  } finally {
    if (isDirectory) file.close();
  }
  if (isDirectory) throw FileSystemError.from({ errno: "EISDIR", operation: "open", path });
  return new DenoFileHandle(file, path);
}

function list(path: string): string[] {
  try {
    return attempt("list", path, () => Array.from(Deno.readDirSync(path), (entry) => entry.name));
  } catch (error) {
    // Windows says so of a file, too.
    if (!isNoSuchFile(error) || !isFile(path)) throw error;
    throw FileSystemError.from({ errno: "ENOTDIR", operation: "list", path }, error);
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function makeDirectory(path: string): void {
  attempt("makeDirectory", path, () => {
    try {
      ensureDirSync(path);
    } catch (error) {
      // When a file has the name, `ensureDirSync()` throws an error of its own, without a code.
      if (toErrno(error) !== "UNKNOWN" || Deno.statSync(path).isDirectory) throw error;
      throw new Deno.errors.AlreadyExists(`${(error as Error).message}: '${path}'`);
    }
  });
}

function rename(from: string, to: string): void {
  attempt("rename", from, () => Deno.renameSync(from, to), to);
}

function remove(path: string): void {
  // `Deno.removeSync()` also removes empty directories.
  if (attempt("remove", path, () => Deno.lstatSync(path)).isDirectory) {
    throw FileSystemError.from({ errno: "EISDIR", operation: "remove", path });
  }
  attempt("remove", path, () => Deno.removeSync(path));
}

async function syncDirectory(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  // Queried first, because opening would prompt at the terminal.
  if (!isGranted("read", path)) return;
  // An error of its own: nothing was synced yet, so the call may be made again.
  const directory = attempt("open", path, () => Deno.openSync(path, { read: true }));
  try {
    const ignored = ["EINVAL", ...UNSUPPORTED[Deno.build.os] ?? []];
    await sync("syncDirectory", path, () => directory.sync(), ignored);
  } finally {
    directory.close();
  }
}

function syncDirectoryBlocking(path: string): void {
  if (Deno.build.os === "windows" || !isGranted("read", path)) return;
  const directory = attempt("open", path, () => Deno.openSync(path, { read: true }));
  try {
    const ignored = ["EINVAL", ...UNSUPPORTED[Deno.build.os] ?? []];
    syncNow("syncDirectory", path, () => directory.syncSync(), ignored);
  } finally {
    directory.close();
  }
}

function lock(path: string): FileLock {
  return lockFile(path, { open, list, remove });
}

function identify(path: string): FileIdentity {
  return toIdentity(attempt("identify", path, () => Deno.statSync(path)));
}

/** Where the system reports no inode, as on some file systems of Windows, all files have the same one. */
function toIdentity({ dev, ino, nlink }: Deno.FileInfo): FileIdentity {
  return { device: dev, inode: ino ?? 0, links: nlink ?? 1 };
}

/**
 * Queried first, as in `syncDirectory()`. Where a symbolic link leads to what the sandbox doesn't allow, although it allows the
 * path, new files could be created and not be opened again: so that is an error, which names the flag.
 */
function resolve(path: string): string {
  if (!isGranted("read", path)) return resolvePath(path);
  const real = attempt("resolve", path, () => Deno.realPathSync(path));
  const refused = PERMISSIONS.filter((name) => !isGranted(name, real));
  const missing = refused.find((name) => isGranted(name, path));
  if (missing !== undefined) {
    const flag = `--allow-${missing}=${real}`;
    throw FileSystemError.from({ errno: "EACCES", operation: "resolve", path, flag });
  }
  return refused.length === 0 ? real : resolvePath(path);
}

/** Without looking at what is there. */
function resolvePath(path: string): string {
  return processOfNode().getBuiltinModule("node:path").resolve(path);
}

function isGranted(name: (typeof PERMISSIONS)[number], path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}

/**
 * Deno has no call of its own for the type of a file system. The system's list of mounts has it, which takes `--allow-all`, and
 * Node's statfs, which takes `--allow-sys` and 30 ms to load. Queried first, as in `syncDirectory()`. Without either the device
 * decides: on Linux, btrfs, ZFS and all else without a single block device have the major number 0. XFS doesn't, so it counts as
 * overwriting in place, which is right except for reflinks.
 */
function copiesOnWrite(path: string): boolean {
  if (Deno.build.os !== "linux" || !isGranted("read", path)) return true;
  const isAllowed = (name: (typeof ALL_PERMISSIONS)[number]): boolean =>
    Deno.permissions.querySync({ name }).state === "granted";
  try {
    const { dev } = Deno.statSync(path);
    const major = Math.floor(dev / 256) % 4096;
    if (ALL_PERMISSIONS.every(isAllowed)) {
      const minor = dev % 256 + Math.floor(dev / 2 ** 20) * 256;
      return !isMountedInPlace(Deno.readTextFileSync("/proc/self/mountinfo"), `${major}:${minor}`);
    }
    const { state } = Deno.permissions.querySync({ name: "sys", kind: "statfs" });
    return state === "granted" ? !overwritesInPlace(path) : major === 0;
  } catch {
    return true;
  }
}

class DenoFileHandle implements FileHandle {
  readonly #path: string;
  #file: Deno.FsFile | undefined;
  #offset = 0;

  constructor(file: Deno.FsFile, path: string) {
    this.#file = file;
    this.#path = path;
  }

  size(): number {
    const file = this.#open("size");
    // Half the price of statSync(), and the next write is at the end.
    this.#offset = UNKNOWN_OFFSET;
    this.#offset = attempt("size", this.#path, () => file.seekSync(0, Deno.SeekMode.End));
    return this.#offset;
  }

  read(into: Uint8Array, position: number): number {
    const file = this.#open("read");
    checkPosition(position);
    let done = 0;
    while (done < into.length) {
      this.#seek(file, position + done, "read");
      this.#offset = UNKNOWN_OFFSET;
      const rest = done === 0 ? into : into.subarray(done);
      const count = attempt("read", this.#path, () => file.readSync(rest));
      if (count === null || count === 0) break;
      done += count;
      this.#offset = position + done;
    }
    return done;
  }

  write(bytes: Uint8Array, position: number): void {
    const file = this.#open("write");
    checkPosition(position);
    let done = 0;
    while (done < bytes.length) {
      this.#seek(file, position + done, "write");
      this.#offset = UNKNOWN_OFFSET;
      const count = this.#writeSome(file, done === 0 ? bytes : bytes.subarray(done));
      // Neither progress nor an error: repeating the call might never end.
      if (count === 0) throw FileSystemError.from({ errno: "EIO", operation: "write", path: this.#path });
      done += count;
      this.#offset = position + done;
    }
  }

  /** Like `attempt`, without a closure for each call: a put makes one of these calls, and little else. */
  #writeSome(file: Deno.FsFile, bytes: Uint8Array): number {
    while (true) {
      try {
        return file.writeSync(bytes);
      } catch (error) {
        translate(error, "write", this.#path);
      }
    }
  }

  truncate(size: number): void {
    const file = this.#open("truncate");
    checkPosition(size);
    attempt("truncate", this.#path, () => file.truncateSync(size));
  }

  async sync(): Promise<void> {
    const file = this.#open("sync");
    await sync("sync", this.#path, () => file.syncData(), UNSUPPORTED[Deno.build.os] ?? []);
  }

  syncBlocking(): void {
    const file = this.#open("sync");
    syncNow("sync", this.#path, () => file.syncDataSync(), UNSUPPORTED[Deno.build.os] ?? []);
  }

  identify(): FileIdentity {
    const file = this.#open("identify");
    return toIdentity(attempt("identify", this.#path, () => file.statSync()));
  }

  close(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    file.close();
  }

  #open(operation: string): Deno.FsFile {
    if (this.#file === undefined) throw FileSystemError.from({ errno: "EBADF", operation, path: this.#path });
    return this.#file;
  }

  #seek(file: Deno.FsFile, position: number, operation: string): void {
    if (this.#offset === position) return;
    this.#offset = UNKNOWN_OFFSET;
    this.#offset = attempt(operation, this.#path, () => file.seekSync(position, Deno.SeekMode.Start));
  }
}

/** Makes a system call, again while a signal interrupts it, and translates its error. */
function attempt<T>(operation: string, path: string, call: () => T, otherPath?: string): T {
  while (true) {
    try {
      return call();
    } catch (error) {
      translate(error, operation, path, otherPath);
    }
  }
}

/** Throws the translation of an error. Returns if a signal interrupted the call, which is to be repeated. */
function translate(error: unknown, operation: string, path: string, otherPath?: string): void {
  const errno = toErrno(error);
  if (errno === "EINTR") return;
  const flag = findMissingFlag(error, path) ??
    (otherPath === undefined ? undefined : findMissingFlag(error, otherPath));
  throw FileSystemError.from({ errno, operation, path, flag }, error);
}

/**
 * Waits for a sync. A failed one is never repeated: the system marks the pages clean, and the next call reports success for
 * data that is lost. EINTR is different: the call ended before it did anything, and no page was marked.
 */
async function sync(
  operation: string,
  path: string,
  call: () => Promise<void>,
  ignored: readonly string[],
): Promise<void> {
  while (true) {
    try {
      return await call();
    } catch (error) {
      const errno = toErrno(error);
      if (errno === "EINTR") continue;
      if (ignored.includes(errno)) return;
      throw FileSystemError.from({ errno, operation, path }, error);
    }
  }
}

/** As `sync`, within the call. */
function syncNow(operation: string, path: string, call: () => void, ignored: readonly string[]): void {
  try {
    attempt(operation, path, call);
  } catch (error) {
    if (!(error instanceof FileSystemError) || !ignored.includes(error.errno)) throw error;
  }
}

/** Finds the flag that would allow what Deno's sandbox refused: to the path, or to where a symbolic link leads. */
function findMissingFlag(error: unknown, path: string): string | undefined {
  if (!(error instanceof Deno.errors.NotCapable)) return undefined;
  for (const place of [path, realPath(path)]) {
    const name = place && PERMISSIONS.find((name) => !isGranted(name, place));
    if (name) return `--allow-${name}=${place}`;
  }
  return undefined;
}

function realPath(path: string): string | undefined {
  try {
    return Deno.realPathSync(path);
  } catch {
    return undefined;
  }
}

/** Errors to which Deno gives a class but no code. */
const ERRNO_OF_CLASS: ReadonlyMap<string, string> = new Map([
  ["NotCapable", "EACCES"],
  ["BadResource", "EBADF"],
  ["Interrupted", "EINTR"],
  ["NotFound", "ENOENT"],
  ["AlreadyExists", "EEXIST"],
  ["NotADirectory", "ENOTDIR"],
  ["IsADirectory", "EISDIR"],
  ["FilesystemLoop", "ELOOP"],
  ["Busy", "EBUSY"],
]);

/** Windows reports it when a file is cut that somebody has mapped. */
const ERROR_USER_MAPPED_FILE = 1224;

/** Linux reports it for a damaged ext4 or XFS; `node:os` doesn't list it. */
const EUCLEAN = 117;

/**
 * The POSIX name of an error: its code, or the one of its class. For EDQUOT, EFBIG, ENFILE, ESTALE and others Deno gives
 * neither, only "os error N" at the end of the message, so N is parsed. On Windows N has another meaning.
 */
function toErrno(error: unknown): string {
  const { code, message, name } = error as { code?: unknown; message?: unknown; name?: unknown };
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
  const known = ERRNO_OF_CLASS.get(String(name));
  if (known !== undefined) return known;
  const number = Number(/\(os error (\d+)\)/.exec(String(message))?.[1]);
  if (number === ERROR_USER_MAPPED_FILE) return "EBUSY";
  if (Deno.build.os !== "windows" && !Number.isNaN(number)) {
    if (number === EUCLEAN && Deno.build.os === "linux") return "EUCLEAN";
    const { constants } = processOfNode().getBuiltinModule("node:os");
    const entry = Object.entries(constants.errno).find(([, value]) => value === number);
    if (entry !== undefined) return entry[0];
  }
  return name === "PermissionDenied" ? "EACCES" : "UNKNOWN";
}
