/**
 * Errors about files: what a file system refuses, and files that aren't what they should be.
 *
 * @module
 */

import { SluiceError } from "./base.ts";

const NO_SPACE_ERRNOS: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);
const PERMISSION_ERRNOS: ReadonlySet<string> = new Set(["EACCES", "EPERM", "EROFS"]);

/**
 * Thrown with `onDamage: "fail"`, by `open()` or by the `emit()` that meets the damage.
 *
 * @example Refuse to go on without the damaged records
 * ```ts
 * import { DamagedLogError, FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const options = { path: "/events.wal", fileSystem, onDamage: "fail" } as const;
 * const buffer = await FileBuffer.open<string>(options);
 * for (const record of ["first", "second", "third"]) await buffer.put(record);
 * await buffer.close();
 *
 * const segment = "00000000000000000001.wal";
 * const bytes = fileSystem.readFile(`/events.wal/${segment}`);
 * bytes[new TextDecoder("latin1").decode(bytes).indexOf("second")] ^= 1; // a bit flips
 * fileSystem.writeFile(`/events.wal/${segment}`, bytes);
 *
 * const error = await assertRejects(() => FileBuffer.open<string>(options), DamagedLogError);
 * assertEquals([error.segment, error.length], [segment, 40]); // the frame of "second", from `offset` on
 * assertEquals(fileSystem.readFile(`/events.wal/${segment}`), bytes); // nothing was changed
 * ```
 */
export class DamagedLogError extends SluiceError {
  /** Always `"DAMAGED_LOG"`. */
  readonly code = "DAMAGED_LOG";
  /** File name of the damaged segment. */
  readonly segment: string;
  /** Where in that file the bad bytes begin. */
  readonly offset: number;
  /** How many bytes are bad; 0 when whole records are missing and no bad byte is left to show. */
  readonly length: number;

  /**
   * Creates the error.
   *
   * @param region Where the damage is, and what is wrong there.
   */
  constructor(region: { segment: string; offset: number; length: number; reason: string }) {
    super(`Cannot read segment ${region.segment} at offset ${region.offset}: ${region.reason}`);
    this.segment = region.segment;
    this.offset = region.offset;
    this.length = region.length;
  }
}

/**
 * Thrown when a file was written by a newer version of the format; nothing is changed.
 *
 * @example A newer version has written here
 * ```ts
 * import { FileBuffer, UnsupportedVersionError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const options = { path: "/events.wal", fileSystem };
 * const buffer = await FileBuffer.open<string>(options);
 * await buffer.put("kept");
 * await buffer.close();
 * const path = "/events.wal/00000000000000000001.wal";
 * const bytes = fileSystem.readFile(path);
 * for (const header of [0, 80]) bytes[header + 8] = 3; // what the next version of the format would write
 * fileSystem.writeFile(path, bytes);
 *
 * const error = await assertRejects(() => FileBuffer.open(options), UnsupportedVersionError);
 * assertEquals([error.version, error.supported], [3, 2]); // update the package
 * assertEquals(fileSystem.readFile(path), bytes); // the data is as it was
 * ```
 */
export class UnsupportedVersionError extends SluiceError {
  /** Always `"UNSUPPORTED_VERSION"`. */
  readonly code = "UNSUPPORTED_VERSION";
  /** Path of the file. */
  readonly path: string;
  /** The version it states. */
  readonly version: number;
  /** The newest version that this package reads. */
  readonly supported: number;

  /**
   * Creates the error.
   *
   * @param data The file, its version, and the newest version supported.
   */
  constructor(data: { path: string; version: number; supported: number }) {
    super(
      `Cannot read "${data.path}": it has format version ${data.version}, this package reads up to ${data.supported}`,
    );
    this.path = data.path;
    this.version = data.version;
    this.supported = data.supported;
  }
}

/**
 * Thrown by `open()` for a path that is a file, or a directory that holds files of something else.
 *
 * @example A typing error doesn't fill somebody else's directory
 * ```ts
 * import { FileBuffer, NotABufferError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * fileSystem.writeFile("/home/letter.txt", new TextEncoder().encode("Dear Ada,"));
 * const error = await assertRejects(() => FileBuffer.open({ path: "/home", fileSystem }), NotABufferError);
 * assertEquals([error.path, error.found], ["/home", ["letter.txt"]]);
 * assertEquals(fileSystem.paths(), ["/home/letter.txt"]);
 * ```
 */
export class NotABufferError extends SluiceError {
  /** Always `"NOT_A_BUFFER"`. */
  readonly code = "NOT_A_BUFFER";
  /** The path that was given. */
  readonly path: string;
  /** What was found there: up to five names, or empty when the path is not a directory. */
  readonly found: readonly string[];

  /**
   * Creates the error.
   *
   * @param path The path that was given.
   * @param found Names of other files there; none if it is no directory.
   * @param options The cause: what the runtime or the user's code threw.
   */
  constructor(path: string, found: readonly string[], options?: ErrorOptions) {
    super(
      `Cannot open buffer "${path}": ` +
        (found.length === 0 ? "it is not a directory" : `the directory holds other files (${found.join(", ")})`),
      options,
    );
    this.path = path;
    this.found = found;
  }
}

/** What a file system call failed with, independent of the runtime. */
export interface FileSystemErrorData {
  /** POSIX name such as `"EIO"` or `"ENOENT"`; `"UNKNOWN"` when the runtime doesn't say. */
  readonly errno: string;
  /** The method of the file system that failed, such as `"write"`. */
  readonly operation: string;
  /** The path that it was asked about. */
  readonly path: string;
}

/**
 * Thrown when a file system call fails for a reason that has no class of its own.
 *
 * @example A disk that fails in a way of its own
 * ```ts
 * import { FileBuffer, FileSystemError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * let errno: string | undefined;
 * const fileSystem = new MemoryFileSystem({
 *   onOperation: ({ operation }) => errno && operation === "write" ? { kind: "fail", errno } : undefined,
 * });
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * errno = "EIO";
 * const error = await assertRejects(() => buffer.put("lost"), FileSystemError);
 * assertEquals([error.code, error.errno, error.operation], ["FILE_SYSTEM", "EIO", "write"]);
 *
 * errno = undefined; // the write was undone, so the buffer goes on
 * assertEquals(await buffer.put("kept"), 1);
 * await buffer.close();
 * ```
 */
export class FileSystemError extends SluiceError implements FileSystemErrorData {
  /** `"FILE_SYSTEM"`, or the code of a subclass. */
  readonly code: "FILE_SYSTEM" | "NO_SPACE" | "PERMISSION" = "FILE_SYSTEM";
  /** POSIX name such as `"EIO"`; `"UNKNOWN"` when the runtime doesn't say. */
  readonly errno: string;
  /** The method of the file system that failed, such as `"write"`. */
  readonly operation: string;
  /** The path that it was asked about. */
  readonly path: string;

  /**
   * Creates the error. {@linkcode FileSystemError.from} chooses the class that fits.
   *
   * @param data What failed: errno, operation and path.
   * @param options The cause: what the runtime threw.
   */
  constructor(data: FileSystemErrorData, options?: ErrorOptions) {
    super(`Cannot ${data.operation} "${data.path}": ${data.errno}`, options);
    this.errno = data.errno;
    this.operation = data.operation;
    this.path = data.path;
  }

  /**
   * Makes the error of the class that fits the errno. For implementations of {@linkcode FileSystem}, so that all of them
   * fail alike.
   *
   * @param data What failed: errno, operation and path; the runtime's permission flag if one is missing; advice if there is some.
   * @param cause What the runtime threw; without it the error has no cause.
   * @returns A {@linkcode NoSpaceError} for ENOSPC, EDQUOT and EFBIG, a {@linkcode PermissionError} for EACCES, EPERM and
   * EROFS, else a plain {@linkcode FileSystemError}.
   *
   * @example The class follows from the errno
   * ```ts
   * import { FileSystemError, NoSpaceError, PermissionError } from "@sluice/buffer";
   * import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
   *
   * const cause = new Error("disk quota exceeded");
   * const error = FileSystemError.from({ errno: "EDQUOT", operation: "write", path: "/events.wal/lock" }, cause);
   * assertInstanceOf(error, NoSpaceError);
   * assertStrictEquals(error.cause, cause);
   * assertInstanceOf(FileSystemError.from({ errno: "EACCES", operation: "open", path: "/b" }), PermissionError);
   * assertEquals(FileSystemError.from({ errno: "EIO", operation: "read", path: "/b" }).name, "FileSystemError");
   * ```
   */
  static from(
    data: FileSystemErrorData & Partial<Pick<PermissionError, "flag" | "advice">>,
    cause?: unknown,
  ): FileSystemError {
    const options = cause === undefined ? undefined : { cause };
    if (NO_SPACE_ERRNOS.has(data.errno)) return new NoSpaceError(data, options);
    if (PERMISSION_ERRNOS.has(data.errno)) return new PermissionError(data, options);
    const error = new FileSystemError(data, options);
    if (data.advice !== undefined) error.message += `: ${data.advice}`;
    return error;
  }
}

/**
 * Thrown when the disk, the quota or the file size limit is used up: ENOSPC, EDQUOT, EFBIG.
 *
 * @example Deliver what is there while the disk is full
 * ```ts
 * import { FileBuffer, NoSpaceError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * await buffer.put("accepted");
 * fileSystem.capacityBytes = fileSystem.usedBytes;
 * const error = await assertRejects(() => buffer.put("x".repeat(100_000)), NoSpaceError);
 * assertEquals([error.errno, error.operation], ["ENOSPC", "write"]);
 *
 * const batch = await buffer.emit();
 * assertEquals(batch.records, ["accepted"]);
 * await buffer.commit(batch); // goes on
 * await buffer.close();
 * ```
 */
export class NoSpaceError extends FileSystemError {
  /** Always `"NO_SPACE"`. */
  override readonly code = "NO_SPACE";
}

/**
 * Thrown when the operating system or the runtime's sandbox refuses: EACCES, EPERM, EROFS.
 *
 * @example Tell the user what is missing
 * ```ts
 * import { FileBuffer, PermissionError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const adviceFor = ({ flag, errno, path }: PermissionError) =>
 *   flag === undefined ? `${errno}: who owns ${path}, and is it mounted read-only?` : `start it with ${flag}`;
 *
 * const fileSystem = new MemoryFileSystem({
 *   onOperation: ({ operation }) => operation === "makeDirectory" ? { kind: "fail", errno: "EROFS" } : undefined,
 * });
 * const error = await assertRejects(() => FileBuffer.open({ path: "/events.wal", fileSystem }), PermissionError);
 * assertEquals(adviceFor(error), "EROFS: who owns /events.wal, and is it mounted read-only?");
 * ```
 */
export class PermissionError extends FileSystemError {
  /** Always `"PERMISSION"`. */
  override readonly code = "PERMISSION";
  /** The flag that would allow it, such as `--allow-write=DIR`; only from Deno's sandbox and Node's permission model. */
  readonly flag: string | undefined;
  /** What to do about it, where that can't be guessed from the errno. */
  readonly advice: string | undefined;

  /**
   * Creates the error.
   *
   * @param data What failed, the flag that the runtime would have to be started with, and advice that completes the message.
   * @param options The cause: what the runtime threw.
   */
  constructor(data: FileSystemErrorData & Partial<Pick<PermissionError, "flag" | "advice">>, options?: ErrorOptions) {
    super(data, options);
    this.flag = data.flag;
    this.advice = data.advice;
    if (data.flag !== undefined) this.message += `, run again with ${data.flag}`;
    if (data.advice !== undefined) this.message += `: ${data.advice}`;
  }
}
