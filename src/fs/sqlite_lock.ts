/**
 * A lock between processes, made of an SQLite transaction.
 *
 * None of the runtimes has flock on all platforms, and lock files with a process id can be stolen or stay behind. All
 * three have `node:sqlite`, and an open `BEGIN EXCLUSIVE` is a lock of the operating system on the database file.
 *
 * Guarantees: it excludes every other holder on this machine, in this process and in others, on Deno, Bun and Node, in
 * both directions; who comes second is told at once. It is gone when the process is, however that ends. The
 * file is never written: it stays empty, and stays behind.
 *
 * A file that can't be opened for writing is refused: SQLite would open it for reading, and its exclusive lock would be a
 * shared one (POSIX locks ask for a descriptor of their kind). What shows it is a write inside the transaction, which fails
 * then, and never reaches the file otherwise. That happens to a file of another user or mode 444, and on Windows to one
 * that somebody else has open without sharing it.
 *
 * It is the same on the three runtimes, which all carry SQLite. On Linux and macOS it is a POSIX lock of the process, on
 * Windows one of the handle (LockFileEx), which no reader takes away.
 *
 * Not guaranteed: on Linux and macOS, anything once somebody else opens and closes the lock file in the holder's process,
 * because closing any descriptor of a file gives up the process's POSIX locks on it (SQLite itself takes care of that). A
 * backup by `cpSync`, a checksum or a search that reads the file once is enough. This module never opens it by other means
 * where it exists; what others do is noticed by `wal/ownership.ts`, which doesn't rest on this lock. A lock on a network file system
 * is as good as that file system's locks; where there are none (some FUSE and 9P mounts), the lock is refused with an error
 * or is no lock at all, and again only the ownership shows it.
 *
 * @module
 */

import process from "node:process";
import type { DatabaseSync } from "node:sqlite";
import { FileSystemError } from "../errors/mod.ts";
import type { FileLock, FileSystem } from "./file_system.ts";

/**
 * Nothing waits (busy_timeout), and no second file appears (journal_mode). Not `locking_mode=EXCLUSIVE`: with it the
 * loser of a race keeps its shared lock and makes the winner lose, too (measured: 555 of 1500 races without a winner).
 */
const BEGIN = "PRAGMA busy_timeout=0; PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE";
/** A write that is never committed: it fails where the lock that `BEGIN` has given is a shared one. */
const PROVE_EXCLUSIVE = "PRAGMA user_version=1";

/**
 * SQLite takes a shared lock on its way to the exclusive one, so that two who begin within the same microseconds can
 * refuse each other (43 of 1500 races). Trying again at once lets one of them win; a lock that is really held stays held,
 * and the refusal still takes less than a millisecond.
 */
const ATTEMPTS = 5;

/** The runtime's own calls, to find out why a file can't be opened. */
type RuntimeCalls = Pick<FileSystem, "open" | "list" | "remove">;

/**
 * Locks the file at `path`, which is created if missing.
 *
 * @param path The lock file: a name that nobody else uses.
 * @param fileSystem The runtime's own calls, to find out why a file can't be opened.
 * @returns The lock. It must be kept as long as it is to be held: a lock that is garbage-collected may be freed.
 * @throws {FileSystemError} With errno `EBUSY` when somebody else holds it.
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
    // SQLite reads names that begin like these as something else than a file.
    const database = new sqlite.DatabaseSync(/^(file:|:|$)/i.test(path) ? `./${path}` : path, { open: false });
    try {
      database.open();
      database.exec(BEGIN);
      database.exec(PROVE_EXCLUSIVE);
      return database;
    } catch (error) {
      // Left open, it would keep its shared lock, and free other locks on the file whenever it is collected.
      closeQuietly(database);
      if (sqliteCode(error) !== SQLITE_BUSY || attempt === ATTEMPTS) throw lockError(error, path, fileSystem);
    }
  }
}

/** Closes a database that may not be open; Node has `isOpen` only since 22.15. */
function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // It was not open, so there is nothing to free.
  }
}

/**
 * Loads `node:sqlite`, when it is first needed. Node 22 warns that it is experimental: that one warning is dropped, as
 * the few calls made here are the same on all versions; it is announced during the call, so nothing else is lost.
 */
function loadSqlite(path: string): typeof import("node:sqlite") {
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

/** SQLite's primary result codes, and what they say about the file. */
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

/** How SQLite words the codes; the texts are a table in its source and don't change. */
const CODE_OF_MESSAGE: readonly (readonly [string, number])[] = [
  ["database is locked", SQLITE_BUSY],
  ["unable to open database file", SQLITE_CANTOPEN],
  ["attempt to write a readonly database", SQLITE_READONLY],
  ["disk I/O error", 10],
  ["database or disk is full", 13],
  ["file is not a database", 26],
];

/** SQLite's primary code. Node and Bun state it; Deno gives nothing but the message, so there it must be read. */
function sqliteCode(error: unknown): number | undefined {
  const { errcode, message } = error as { errcode?: unknown; message?: unknown };
  if (typeof errcode === "number") return errcode & 0xff;
  return CODE_OF_MESSAGE.find(([text]) => String(message).startsWith(text))?.[1];
}

const ADVICE_FOR_READONLY = "no lock on a file that can't be written excludes anybody, " +
  "so give the file to the user who runs this (chown), make it writable for him (chmod u+w), or close who has it open";

function lockError(error: unknown, path: string, fileSystem: RuntimeCalls): FileSystemError {
  const code = sqliteCode(error);
  const errno = code === undefined ? undefined : ERRNO_OF_CODE.get(code);
  if (code === SQLITE_READONLY) return readonlyError(path, fileSystem, error);
  if (errno !== undefined) return FileSystemError.from({ errno, operation: "lock", path }, error);
  // CANTOPEN, and what Deno's sandbox refuses.
  const { errno: reason, flag } = whyNotOpened(path, fileSystem);
  return FileSystemError.from({ errno: reason, operation: "lock", path, flag }, error);
}

/** A file that can't be written: because nothing can be written there, or because of its own mode. */
function readonlyError(path: string, fileSystem: RuntimeCalls, cause: unknown): FileSystemError {
  // Another file, because opening this one would give up a lock that this process may have on it.
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

/** SQLite's limit for a path, in bytes. */
const MAX_PATH_BYTES = 512;

/**
 * Why SQLite could not open the file, which it doesn't tell. Creating it exclusively fails with the true cause, and
 * without opening it if it exists.
 */
function whyNotOpened(
  path: string,
  fileSystem: RuntimeCalls,
): { readonly errno: string; readonly flag?: string | undefined } {
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
    if (new TextEncoder().encode(path).length < MAX_PATH_BYTES) return { errno: "EACCES" };
  }
  return { errno: new TextEncoder().encode(path).length < MAX_PATH_BYTES ? "UNKNOWN" : "ENAMETOOLONG" };
}
