/**
 * A lock between processes: an open SQLite transaction.
 *
 * No runtime has flock on all platforms, and lock files with a process id can be stolen or stay behind. All three have
 * `node:sqlite`, and an open `BEGIN EXCLUSIVE` is a lock of the operating system on the database file: a POSIX lock of the
 * process on Linux and macOS, a lock of the handle on Windows (LockFileEx), which no reader releases.
 *
 * Guarantees: it excludes every other holder on this machine, in this process and in others, on Deno, Bun and Node, in both
 * directions. The second one is refused at once. It is free when the process ends, however that happens. The file is never
 * written: it stays empty, and stays behind.
 *
 * A file that can't be opened for writing is refused. SQLite would open it for reading, and its exclusive lock would be a shared
 * one, because a POSIX write lock needs a writable descriptor. A write inside the transaction detects that: it fails then, and
 * otherwise never reaches the file. It happens to a file of another user or with mode 444, and on Windows to one that another
 * process has open without sharing.
 *
 * Not guaranteed: on Linux and macOS the lock is lost when other code in the holder's process opens and closes the lock file,
 * because closing any descriptor of a file releases the process's POSIX locks on it (SQLite itself allows for that). A backup by
 * `cpSync`, a checksum or a search that reads the file once is enough. This module never opens an existing lock file in other
 * ways; when other code does, `wal/ownership.ts` notices, which doesn't rely on this lock. On a network file system the lock is
 * as good as that file system's locks. Where there are none (some FUSE and 9P mounts), the lock is refused with an error or has
 * no effect, and again only the ownership shows it.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import { platformName, processOfNode, runtimeName } from "../base/runtime.ts";
import { FileSystemError } from "../errors/mod.ts";
import type { FileLock, FileSystem } from "./file_system.ts";

/**
 * Nothing waits (busy_timeout), and no second file is created (journal_mode). Not `locking_mode=EXCLUSIVE`: with it the loser
 * of a race keeps its shared lock and makes the winner lose, too (measured: 555 of 1500 races without a winner).
 */
const BEGIN = "PRAGMA busy_timeout=0; PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE";
/** A write that is never committed: it fails if `BEGIN` obtained only a shared lock. */
const PROVE_EXCLUSIVE = "PRAGMA user_version=1";

/**
 * SQLite takes a shared lock on its way to the exclusive one, so two that begin within the same microseconds can refuse each
 * other (43 of 1500 races). An immediate retry lets one of them win. A lock that is really held stays held, and the refusal
 * still takes less than a millisecond.
 */
const MAX_ATTEMPTS = 5;

/** The runtime's own calls. They find out why a file can't be opened. */
type RuntimeCalls = Pick<FileSystem, "open" | "list" | "remove">;

/**
 * Locks the file at `path`, which is created if missing.
 *
 * @param path The lock file, which serves nothing else.
 * @param fileSystem The runtime's own calls. They find out why a file can't be opened.
 * @returns The lock. Keep a reference while it is to be held: a garbage-collected lock may be released.
 * @throws {FileSystemError} with errno `EBUSY` when another holder has it.
 */
export function lockFile(path: string, fileSystem: RuntimeCalls): FileLock {
  let database: DatabaseSync | undefined = openLocked(path, fileSystem);
  return {
    release() {
      const held = database;
      database = undefined;
      held?.close();
    },
  };
}

function openLocked(path: string, fileSystem: RuntimeCalls): DatabaseSync {
  const sqlite = loadSqlite(path);
  for (let attempt = 1;; attempt++) {
    const database = new sqlite.DatabaseSync(toSqlitePath(path), { open: false });
    try {
      database.open();
      database.exec(BEGIN);
      database.exec(PROVE_EXCLUSIVE);
      return database;
    } catch (error) {
      // Left open, it would keep its shared lock, and release other locks on the file when it is garbage-collected.
      closeQuietly(database);
      if (findSqliteCode(error) !== SQLITE_BUSY || attempt === MAX_ATTEMPTS) throw toLockError(error, path, fileSystem);
    }
  }
}

/**
 * A path as SQLite takes it: names that begin in some ways are no files for it. On Windows Node's other calls put a prefix in
 * front of each path, so that it may be longer than 260 characters; here it has to be done. Deno's calls only do so where a path
 * is too long, and its sandbox may not know the path with the prefix.
 */
function toSqlitePath(path: string): string {
  const plain = /^(file:|:|$)/i.test(path) ? `./${path}` : path;
  if (platformName() !== "win32" || (runtimeName() === "deno" && plain.length < MIN_LONG_PATH)) return plain;
  return processOfNode().getBuiltinModule("node:path").toNamespacedPath(plain);
}

/** From here on Windows needs the prefix: 260 less what SQLite may append. */
const MIN_LONG_PATH = 240;

/** Closes a database that may not be open; Node has `isOpen` only since 22.15. */
function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // It was not open, so there is nothing to release.
  }
}

/** What {@linkcode preloadSqlite} has loaded. */
let preloaded: typeof import("node:sqlite") | undefined;

/** Loads `node:sqlite` ahead of the first lock, by an import: within a call it takes Deno 30 ms, for `process` comes with it. */
export async function preloadSqlite(): Promise<void> {
  try {
    preloaded ??= await import("node:sqlite");
  } catch {
    // There is none. The lock says so.
  }
}

/**
 * Loads `node:sqlite` when it is first needed. Node 22 warns that it is experimental. That one warning is suppressed, because the
 * few calls made here are the same on all versions. It is emitted during the call, so no other warning is lost.
 */
function loadSqlite(path: string): typeof import("node:sqlite") {
  if (preloaded !== undefined) return preloaded;
  const process = processOfNode();
  const { emitWarning } = process;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (rest[0] === "ExperimentalWarning") return;
    Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    const sqlite = process.getBuiltinModule?.("node:sqlite");
    if (sqlite !== undefined) return sqlite;
  } finally {
    process.emitWarning = emitWarning;
  }
  const cause = new Error("Cannot load node:sqlite: it needs Node 22.13, Deno 2.7, Bun 1.4 or later");
  throw FileSystemError.from({ errno: "ENOSYS", operation: "lock", path }, cause);
}

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_CANTOPEN = 14;

/** SQLite's primary result codes, and what they mean for the file. */
const ERRNO_OF_CODE: ReadonlyMap<number, string> = new Map([
  [SQLITE_BUSY, "EBUSY"],
  [6, "EBUSY"], // LOCKED
  [7, "ENOMEM"],
  [SQLITE_READONLY, "EACCES"],
  [10, "EIO"], // IOERR
  [13, "ENOSPC"], // FULL
  [15, "ENOLCK"], // PROTOCOL
  [26, "EINVAL"], // NOTADB: the file has content that isn't ours
]);

/** SQLite's texts for the codes, from a table in its source that doesn't change. */
const CODE_OF_MESSAGE: readonly (readonly [string, number])[] = [
  ["database is locked", SQLITE_BUSY],
  ["unable to open database file", SQLITE_CANTOPEN],
  ["attempt to write a readonly database", SQLITE_READONLY],
  ["disk I/O error", 10],
  ["database or disk is full", 13],
  ["file is not a database", 26],
];

/** Finds SQLite's primary code. Node and Bun state it; Deno has only the message, which is parsed. */
function findSqliteCode(error: unknown): number | undefined {
  const { errcode, message } = error as { errcode?: unknown; message?: unknown };
  if (typeof errcode === "number") return errcode & 0xff;
  return CODE_OF_MESSAGE.find(([text]) => String(message).startsWith(text))?.[1];
}

const ADVICE_FOR_READONLY = "a lock on a file that can't be written is not exclusive; " +
  "give the file to the user who runs this (chown), make it writable (chmod u+w), or end the program that has it open";

function toLockError(error: unknown, path: string, fileSystem: RuntimeCalls): FileSystemError {
  const code = findSqliteCode(error);
  const errno = code === undefined ? undefined : ERRNO_OF_CODE.get(code);
  if (code === SQLITE_READONLY) return toReadonlyError(path, fileSystem, error);
  if (errno !== undefined) return FileSystemError.from({ errno, operation: "lock", path }, error);
  // CANTOPEN, and what Deno's sandbox refuses.
  const { errno: reason, flag, advice } = findOpenFailure(path, fileSystem);
  return FileSystemError.from({ errno: reason, operation: "lock", path, flag, advice }, error);
}

/** The error for a file that can't be written: nothing can be written in its directory, or its own mode forbids it. */
function toReadonlyError(path: string, fileSystem: RuntimeCalls, cause: unknown): FileSystemError {
  // Another file: opening this one would release a lock that this process may have on it.
  const probe = `${path}.probe`;
  try {
    fileSystem.open(probe, "create").close();
    fileSystem.remove(probe);
  } catch (error) {
    const { errno } = error as FileSystemError;
    if (errno === "EROFS") return FileSystemError.from({ errno, operation: "lock", path }, cause);
  }
  return FileSystemError.from({ errno: "EACCES", operation: "lock", path, advice: ADVICE_FOR_READONLY }, cause);
}

/** SQLite's limit for a path, in bytes: of 512, and 1,040 on Windows, it keeps 8 for the ending of a journal. */
function maxPathBytes(): number {
  return platformName() === "win32" ? 4 * 260 - 8 : 504;
}

function adviceForLong(): string {
  return `SQLite, which makes the lock, takes a path of at most ${maxPathBytes()} bytes; use a shorter one`;
}

/**
 * Finds out why SQLite couldn't open the file, which SQLite doesn't say. Creating it exclusively fails with the true cause, and
 * doesn't open it if it exists.
 */
function findOpenFailure(
  path: string,
  fileSystem: RuntimeCalls,
): { readonly errno: string; readonly flag?: string | undefined; readonly advice?: string | undefined } {
  try {
    fileSystem.open(path, "create").close();
  } catch (error) {
    const cause = error as FileSystemError & { readonly flag?: string };
    if (cause.errno !== "EEXIST") return cause;
    try {
      fileSystem.list(path);
      return { errno: "EISDIR" };
    } catch (error) {
      if ((error as FileSystemError).errno !== "ENOTDIR") return error as FileSystemError;
    }
    if (!isTooLong(path)) return { errno: "EACCES" };
  }
  return isTooLong(path) ? { errno: "ENAMETOOLONG", advice: adviceForLong() } : { errno: "UNKNOWN" };
}

function isTooLong(path: string): boolean {
  return new TextEncoder().encode(path).length > maxPathBytes();
}
