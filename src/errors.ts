/**
 * Every error that Sluice throws on purpose, and the codes to branch on.
 *
 * Guarantees: each error is a {@linkcode BufferError}; `code` is one of a closed set of literals, so that a
 * `switch` over it is checked by the compiler; whatever the error knows (path, sequence, segment, offset, limit)
 * stands in fields; what the runtime threw is kept as `cause`. Branch on `code` (or on the class), never on `message`.
 *
 * Misuse, such as a wrong option, isn't here: it is a `TypeError` or a `RangeError`.
 *
 * @module
 */

/** The codes of all {@linkcode BufferError}s. */
export type BufferErrorCode =
  | "BATCH_MISMATCH"
  | "BUFFER_CLOSED"
  | "BUFFER_EMPTY"
  | "BUFFER_FAILED"
  | "BUFFER_FULL"
  | "BUFFER_LOCKED"
  | "CODEC"
  | "DAMAGED_LOG"
  | "DELIVERY"
  | "FILE_SYSTEM"
  | "NO_SPACE"
  | "NOT_A_BUFFER"
  | "PERMISSION"
  | "PRODUCER_CLOSED"
  | "PRODUCER_STOPPED"
  | "RECORD_TOO_LARGE"
  | "UNSUPPORTED_VERSION";

/**
 * The base of all errors of this package.
 *
 * @example Branch on the code
 * ```ts
 * import { BufferError, MemoryBuffer } from "@sluice/buffer";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * try {
 *   await buffer.emit();
 * } catch (error) {
 *   if (!(error instanceof BufferError) || error.code !== "BUFFER_EMPTY") throw error;
 * }
 * await buffer.close();
 * ```
 */
export abstract class BufferError extends Error {
  /** What happened, as a literal to branch on. */
  abstract readonly code: BufferErrorCode;

  /** Creates the error; `cause` is what the runtime or the user's code threw. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Thrown by `emit()` when there is no uncommitted record. */
export class BufferEmptyError extends BufferError {
  /** Always `"BUFFER_EMPTY"`. */
  readonly code = "BUFFER_EMPTY";

  /** Creates the error. */
  constructor() {
    super("Cannot emit a batch: the buffer is empty");
  }
}

/** Thrown by `put()` when the backlog is at its limit and `whenFull` says `"reject"`, or when it could never fit. */
export class BufferFullError extends BufferError {
  /** Always `"BUFFER_FULL"`. */
  readonly code = "BUFFER_FULL";
  /** Bytes of backlog that the put would have added. */
  readonly neededBytes: number;
  /** Bytes of backlog at the time. */
  readonly backlogBytes: number;
  /** The option `maxBacklogBytes`. */
  readonly maxBacklogBytes: number;

  /** Creates the error from the three sizes. */
  constructor(sizes: { neededBytes: number; backlogBytes: number; maxBacklogBytes: number }) {
    super(
      `Cannot put ${sizes.neededBytes} bytes: ${sizes.backlogBytes} of ${sizes.maxBacklogBytes} backlog bytes are taken`,
    );
    this.neededBytes = sizes.neededBytes;
    this.backlogBytes = sizes.backlogBytes;
    this.maxBacklogBytes = sizes.maxBacklogBytes;
  }
}

/** Thrown by every call on a closed buffer, and to those who still wait when it closes. */
export class BufferClosedError extends BufferError {
  /** Always `"BUFFER_CLOSED"`. */
  readonly code = "BUFFER_CLOSED";

  /** Creates the error; `verb` is what was asked for. */
  constructor(verb: string) {
    super(`Cannot ${verb}: the buffer is closed`);
  }
}

/** Who holds a buffer's lock, as far as it could be read. */
export interface LockOwner {
  /** Process id, in the owner's own namespace: a hint for people, never used to decide. */
  readonly pid: number;
  /** `"deno"`, `"bun"`, `"node"` or `"memory"`. */
  readonly runtime: string;
  /** When the owner opened the buffer: ISO 8601, in UTC. */
  readonly openedAt: string;
}

/** Thrown by `open()` when another process, or this one, has the buffer open. */
export class BufferLockedError extends BufferError {
  /** Always `"BUFFER_LOCKED"`. */
  readonly code = "BUFFER_LOCKED";
  /** The buffer's directory. */
  readonly path: string;
  /** The owner, if it could be read. */
  readonly owner: LockOwner | undefined;

  /** Creates the error for the buffer at `path`. */
  constructor(path: string, owner: LockOwner | undefined, options?: ErrorOptions) {
    const by = owner ? `by ${owner.runtime} process ${owner.pid} since ${owner.openedAt}` : "by another owner";
    super(`Cannot open buffer "${path}": it is locked ${by}`, options);
    this.path = path;
    this.owner = owner;
  }
}

/**
 * Thrown once a write could not be undone or a sync failed: what the disk holds is no longer known, so nothing more
 * is accepted. `cause` is the first failure. A new `open()` recovers what is there.
 */
export class BufferFailedError extends BufferError {
  /** Always `"BUFFER_FAILED"`. */
  readonly code = "BUFFER_FAILED";
  /** The buffer's directory. */
  readonly path: string;

  /** Creates the error for the buffer at `path`. */
  constructor(path: string, cause: unknown) {
    super(`Cannot go on with buffer "${path}": an earlier write or sync failed`, { cause });
    this.path = path;
  }
}

/** Thrown by `commit()` for a batch that is not the one in flight: stale, foreign, or never emitted. */
export class BatchMismatchError extends BufferError {
  /** Always `"BATCH_MISMATCH"`. */
  readonly code = "BATCH_MISMATCH";
  /** The id of the batch that was given, if one was. */
  readonly actual: string | undefined;
  /** The id of the batch in flight, if there is one. */
  readonly expected: string | undefined;

  /** Creates the error from the two ids. */
  constructor(ids: { actual: string | undefined; expected: string | undefined }) {
    super(
      `Cannot commit ${ids.actual === undefined ? "a batch" : `batch ${ids.actual}`}: ` +
        (ids.expected === undefined ? "no batch is in flight" : `batch ${ids.expected} is in flight`),
    );
    this.actual = ids.actual;
    this.expected = ids.expected;
  }
}

/** Thrown by `put()` for a payload larger than `maxRecordBytes` or `maxBytes`. */
export class RecordTooLargeError extends BufferError {
  /** Always `"RECORD_TOO_LARGE"`. */
  readonly code = "RECORD_TOO_LARGE";
  /** Bytes of the payload. */
  readonly payloadBytes: number;
  /** Bytes that a payload may have: the smaller of `maxRecordBytes` and `maxBytes`. */
  readonly limitBytes: number;
  /** Position in the array given to `putMany()`; `undefined` for `put()`. */
  readonly index: number | undefined;

  /** Creates the error from the sizes. */
  constructor(data: { payloadBytes: number; limitBytes: number; index?: number | undefined }) {
    const what = data.index === undefined ? "a record" : `record ${data.index} of an array`;
    super(`Cannot put ${what}: its payload has ${data.payloadBytes} bytes, the limit is ${data.limitBytes}`);
    this.payloadBytes = data.payloadBytes;
    this.limitBytes = data.limitBytes;
    this.index = data.index;
  }
}

/** Thrown when a record can't be encoded (by `put()`) or a payload no longer decodes (by a batch's `records`). */
export class CodecError extends BufferError {
  /** Always `"CODEC"`. */
  readonly code = "CODEC";
  /** Which way it failed. */
  readonly operation: "encode" | "decode";
  /** The sequence of the payload that does not decode; `undefined` when encoding. */
  readonly sequence: number | undefined;
  /** Position in the array given to `putMany()`; `undefined` otherwise. */
  readonly index: number | undefined;

  /** Creates the error; `reason` completes the message, `cause` is what the codec threw. */
  constructor(
    data: { operation: "encode" | "decode"; reason: string; sequence?: number | undefined; index?: number | undefined },
    options?: ErrorOptions,
  ) {
    const what = data.operation === "decode"
      ? `decode the payload of sequence ${data.sequence}`
      : data.index === undefined
      ? "encode the record"
      : `encode record ${data.index} of the array`;
    super(`Cannot ${what}: ${data.reason}`, options);
    this.operation = data.operation;
    this.sequence = data.sequence;
    this.index = data.index;
  }
}

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

/** A record of a delivery that the target did not take. */
export interface FailedRecord {
  /** Its position in the delivery, from 0. */
  readonly index: number;
  /** Whether sending it again may help. */
  readonly retryable: boolean;
  /** What the target said about it. */
  readonly reason: string;
}

/** What a {@linkcode DeliveryError} is made from. */
export interface DeliveryErrorData {
  /** What the target said. */
  readonly reason: string;
  /**
   * Whether sending again may help.
   *
   * @default {true}
   */
  readonly retryable?: boolean;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** The records that were not taken; all others were. Without it: none was, or nobody knows. */
  readonly failed?: readonly FailedRecord[] | undefined;
  /**
   * Whether it was too much at once: sent again, it has to be in smaller parts.
   *
   * @default {false}
   */
  readonly isTooLarge?: boolean;
}

/** To be thrown by a `Send` that knows more about a failure than that there was one. */
export class DeliveryError extends BufferError {
  /** Always `"DELIVERY"`. */
  readonly code = "DELIVERY";
  /** Whether sending again may help. */
  readonly retryable: boolean;
  /** How long the target asks to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The records that were not taken; all others were. `undefined`: none was, or nobody knows. */
  readonly failed: readonly FailedRecord[] | undefined;
  /** Whether it was too much at once. */
  readonly isTooLarge: boolean;

  /** Creates the error; `cause` is what the client threw. */
  constructor(data: DeliveryErrorData, options?: ErrorOptions) {
    super(`Cannot deliver: ${data.reason}`, options);
    this.retryable = data.retryable ?? true;
    this.retryAfterMs = data.retryAfterMs;
    this.failed = data.failed;
    this.isTooLarge = data.isTooLarge ?? false;
  }
}

/** Thrown by every call on a closed producer, and to those who still wait when it closes. */
export class ProducerClosedError extends BufferError {
  /** Always `"PRODUCER_CLOSED"`. */
  readonly code = "PRODUCER_CLOSED";

  /** Creates the error; `verb` is what was asked for. */
  constructor(verb: string) {
    super(`Cannot ${verb}: the producer is closed`);
  }
}

/**
 * Thrown by every call on a producer that has stopped by itself, and to those who wait. `cause` is the reason: what the
 * target said of records that no retry can mend, or how the buffer failed. What isn't delivered stays in the buffer.
 */
export class ProducerStoppedError extends BufferError {
  /** Always `"PRODUCER_STOPPED"`. */
  readonly code = "PRODUCER_STOPPED";
  /** The batch that it stopped at, if it was because of one. */
  readonly batchId: string | undefined;
  /** Sequences of the records that can't be delivered; none if the reason is another. */
  readonly sequences: readonly number[];

  /** Creates the error; `reason` completes the message. */
  constructor(data: { reason: string; batchId?: string; sequences?: readonly number[] }, options?: ErrorOptions) {
    super(`Cannot go on delivering: ${data.reason}`, options);
    this.batchId = data.batchId;
    this.sequences = data.sequences ?? [];
  }
}
