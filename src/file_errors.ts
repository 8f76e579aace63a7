/**
 * Errors about files: what a file system has refused, and files that aren't what they should be.
 *
 * @module
 */

import { BufferError } from "./error_base.ts";

/** Thrown with `onDamage: "fail"`, by `open()` or by the `emit()` that meets the damage. */
export class DamagedLogError extends BufferError {
  /** Always `"DAMAGED_LOG"`. */
  readonly code = "DAMAGED_LOG";
  /** File name of the damaged segment. */
  readonly segment: string;
  /** Where in that file the bad bytes begin. */
  readonly offset: number;
  /** How many bytes are bad; 0 when whole records are missing and no bad byte is left to show. */
  readonly length: number;

  /** Creates the error for the region. */
  constructor(region: { segment: string; offset: number; length: number; reason: string }) {
    super(`Cannot read segment ${region.segment} at offset ${region.offset}: ${region.reason}`);
    this.segment = region.segment;
    this.offset = region.offset;
    this.length = region.length;
  }
}

/** Thrown when a file was written by a newer version of the format; nothing is changed. */
export class UnsupportedVersionError extends BufferError {
  /** Always `"UNSUPPORTED_VERSION"`. */
  readonly code = "UNSUPPORTED_VERSION";
  /** Path of the file. */
  readonly path: string;
  /** The version it states. */
  readonly version: number;
  /** The newest version that this package reads. */
  readonly supported: number;

  /** Creates the error for the file at `path`. */
  constructor(data: { path: string; version: number; supported: number }) {
    super(
      `Cannot read "${data.path}": it has format version ${data.version}, this package reads up to ${data.supported}`,
    );
    this.path = data.path;
    this.version = data.version;
    this.supported = data.supported;
  }
}

/** Thrown by `open()` for a path that is a file, or a directory that holds files of something else. */
export class NotABufferError extends BufferError {
  /** Always `"NOT_A_BUFFER"`. */
  readonly code = "NOT_A_BUFFER";
  /** The path that was given. */
  readonly path: string;
  /** What was found there: up to five names, or empty when the path is not a directory. */
  readonly found: readonly string[];

  /** Creates the error for `path`. */
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

/** Thrown when a file system call fails for a reason that has no class of its own. */
export class FileSystemError extends BufferError implements FileSystemErrorData {
  /** `"FILE_SYSTEM"`, or the code of a subclass. */
  readonly code: "FILE_SYSTEM" | "NO_SPACE" | "PERMISSION" = "FILE_SYSTEM";
  /** POSIX name such as `"EIO"`; `"UNKNOWN"` when the runtime doesn't say. */
  readonly errno: string;
  /** The method of the file system that failed, such as `"write"`. */
  readonly operation: string;
  /** The path that it was asked about. */
  readonly path: string;

  /** Creates the error; `cause` is what the runtime threw. */
  constructor(data: FileSystemErrorData, options?: ErrorOptions) {
    super(`Cannot ${data.operation} "${data.path}": ${data.errno}`, options);
    this.errno = data.errno;
    this.operation = data.operation;
    this.path = data.path;
  }
}

/** Thrown when the disk, the quota or the file size limit is used up: ENOSPC, EDQUOT, EFBIG. */
export class NoSpaceError extends FileSystemError {
  /** Always `"NO_SPACE"`. */
  override readonly code = "NO_SPACE";
}

/** Thrown when the operating system or the runtime's sandbox refuses: EACCES, EPERM, EROFS. */
export class PermissionError extends FileSystemError {
  /** Always `"PERMISSION"`. */
  override readonly code = "PERMISSION";
  /** The flag that would allow it, such as `--allow-write=DIR`; only from Deno's sandbox. */
  readonly flag: string | undefined;

  /** Creates the error; `flag` is what Deno would have to be started with. */
  constructor(data: FileSystemErrorData & { readonly flag?: string | undefined }, options?: ErrorOptions) {
    super(data, options);
    this.flag = data.flag;
    if (data.flag !== undefined) this.message += `, run again with ${data.flag}`;
  }
}

const NO_SPACE_ERRNOS: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);
const PERMISSION_ERRNOS: ReadonlySet<string> = new Set(["EACCES", "EPERM", "EROFS"]);

/**
 * Makes the error for a failed file system call, of the class that fits its errno. For implementations of
 * {@linkcode FileSystem}, so that all of them answer alike.
 *
 * @param data What failed: errno, operation and path, and Deno's permission flag if one is missing.
 * @param cause What the runtime threw.
 * @returns A {@linkcode NoSpaceError}, a {@linkcode PermissionError} or a plain {@linkcode FileSystemError}.
 */
export function fileSystemError(
  data: FileSystemErrorData & { readonly flag?: string | undefined },
  cause?: unknown,
): FileSystemError {
  const options = cause === undefined ? undefined : { cause };
  if (NO_SPACE_ERRNOS.has(data.errno)) return new NoSpaceError(data, options);
  if (PERMISSION_ERRNOS.has(data.errno)) return new PermissionError(data, options);
  return new FileSystemError(data, options);
}
