/**
 * Errors of a buffer's calls: it is empty, full, closed or somebody else's, or what it was given can't be taken.
 *
 * @module
 */

import { BufferError } from "./error_base.ts";

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
