/**
 * Errors: every code has one class, every class carries its data, and file system failures get the class that fits.
 */

import { test } from "node:test";
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import * as module from "../../src/errors/mod.ts";
import {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  BufferFailedError,
  BufferFullError,
  BufferLockedError,
  CodecError,
  DamagedLogError,
  DeliveryError,
  FileSystemError,
  NoBatchBehindError,
  NoSpaceError,
  NotABufferError,
  OwnershipLostError,
  PermissionError,
  ProducerClosedError,
  ProducerStoppedError,
  RecordTooLargeError,
  SluiceError,
  type SluiceErrorCode,
  UnsupportedVersionError,
} from "../../src/errors/mod.ts";

/** A class of error, whatever its constructor takes. */
type ErrorClass<T extends SluiceError = SluiceError> = new (...args: never[]) => T;

interface Row {
  readonly error: SluiceError;
  readonly type: ErrorClass;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

const cause = new Error("what the runtime threw");
const write = { errno: "EIO", operation: "write", path: "b/1.wal" };

/** One row a code: the type checker refuses a missing one, and a code that doesn't exist. */
const ROWS: Record<SluiceErrorCode, Row> = {
  BATCH_MISMATCH: {
    error: new BatchMismatchError({ operation: "commit", actual: "u-1-3", expected: "u-4-6" }),
    type: BatchMismatchError,
    message: "Cannot commit batch u-1-3: batch u-4-6 is in flight",
    fields: { operation: "commit", actual: "u-1-3", expected: "u-4-6" },
  },
  BUFFER_CLOSED: {
    error: new BufferClosedError("put a record"),
    type: BufferClosedError,
    message: "Cannot put a record: the buffer is closed",
    fields: {},
  },
  BUFFER_EMPTY: {
    error: new BufferEmptyError(),
    type: BufferEmptyError,
    message: "Cannot emit a batch: the buffer is empty",
    fields: {},
  },
  BUFFER_FAILED: {
    error: new BufferFailedError("b", cause),
    type: BufferFailedError,
    message: 'Cannot go on with buffer "b": an earlier write or sync failed',
    fields: { path: "b", cause },
  },
  BUFFER_FULL: {
    error: new BufferFullError({ neededBytes: 30, backlogBytes: 80, maxBacklogBytes: 100 }),
    type: BufferFullError,
    message: "Cannot put 30 bytes: 80 of 100 backlog bytes are taken",
    fields: { neededBytes: 30, backlogBytes: 80, maxBacklogBytes: 100 },
  },
  BUFFER_LOCKED: {
    error: new BufferLockedError("b", { pid: 7, runtime: "bun", openedAt: "2026-01-02T03:04:05.000Z" }, { cause }),
    type: BufferLockedError,
    message: 'Cannot open buffer "b": it is locked by bun process 7 since 2026-01-02T03:04:05.000Z',
    fields: {
      path: "b",
      owner: { pid: 7, runtime: "bun", openedAt: "2026-01-02T03:04:05.000Z" },
      sameProcess: false,
      cause,
    },
  },
  CODEC: {
    error: new CodecError({ operation: "decode", reason: "no JSON", sequence: 12 }, { cause }),
    type: CodecError,
    message: "Cannot decode the payload of sequence 12: no JSON",
    fields: { operation: "decode", sequence: 12, index: undefined, cause },
  },
  DAMAGED_LOG: {
    error: new DamagedLogError({ segment: "1.wal", offset: 80, length: 20, reason: "the checksum is wrong" }),
    type: DamagedLogError,
    message: "Cannot read segment 1.wal at offset 80: the checksum is wrong",
    fields: { segment: "1.wal", offset: 80, length: 20 },
  },
  DELIVERY: {
    error: new DeliveryError({
      reason: "slow down",
      retryable: false,
      retryAfterMs: 5,
      failed: [{ index: 1, retryable: true, reason: "busy" }],
      tooLarge: true,
    }, { cause }),
    type: DeliveryError,
    message: "Cannot deliver: slow down",
    fields: {
      retryable: false,
      retryAfterMs: 5,
      failed: [{ index: 1, retryable: true, reason: "busy" }],
      tooLarge: true,
      cause,
    },
  },
  FILE_SYSTEM: {
    error: new FileSystemError(write, { cause }),
    type: FileSystemError,
    message: 'Cannot write "b/1.wal": EIO',
    fields: { ...write, cause },
  },
  NO_SPACE: {
    error: new NoSpaceError({ ...write, errno: "ENOSPC" }, { cause }),
    type: NoSpaceError,
    message: 'Cannot write "b/1.wal": ENOSPC',
    fields: { ...write, errno: "ENOSPC", cause },
  },
  NO_BATCH_BEHIND: {
    error: new NoBatchBehindError({ reason: "in-flight-limit", batchId: "u-1-3", inFlightBatches: 16 }),
    type: NoBatchBehindError,
    message: "Cannot emit the batch behind u-1-3: 16 batches are in flight, the most allowed",
    fields: { reason: "in-flight-limit", batchId: "u-1-3", inFlightBatches: 16 },
  },
  NOT_A_BUFFER: {
    error: new NotABufferError("b", ["photo.jpg", "notes.txt"], { cause }),
    type: NotABufferError,
    message: 'Cannot open buffer "b": the directory holds other files (photo.jpg, notes.txt)',
    fields: { path: "b", found: ["photo.jpg", "notes.txt"], cause },
  },
  PERMISSION: {
    error: new PermissionError({ ...write, errno: "EACCES", flag: "--allow-write=b" }, { cause }),
    type: PermissionError,
    message: 'Cannot write "b/1.wal": EACCES, run again with --allow-write=b',
    fields: { ...write, errno: "EACCES", flag: "--allow-write=b", cause },
  },
  PRODUCER_CLOSED: {
    error: new ProducerClosedError("put"),
    type: ProducerClosedError,
    message: "Cannot put: the producer is closed",
    fields: {},
  },
  PRODUCER_STOPPED: {
    error: new ProducerStoppedError({ reason: "no such table", batchId: "u-1-3", sequences: [2, 3] }, { cause }),
    type: ProducerStoppedError,
    message: "Cannot go on delivering: no such table",
    fields: { batchId: "u-1-3", sequences: [2, 3], cause },
  },
  OWNERSHIP_LOST: {
    error: new OwnershipLostError("b", { reason: "it was moved", unconfirmed: { first: 3, last: 5 } }),
    type: OwnershipLostError,
    message: 'Cannot go on with buffer "b": it was moved',
    fields: { path: "b", unconfirmed: { first: 3, last: 5 } },
  },
  RECORD_TOO_LARGE: {
    error: new RecordTooLargeError({ payloadBytes: 11, limitBytes: 10 }),
    type: RecordTooLargeError,
    message: "Cannot put a record: its payload has 11 bytes, the limit is 10",
    fields: { payloadBytes: 11, limitBytes: 10, index: undefined },
  },
  UNSUPPORTED_VERSION: {
    error: new UnsupportedVersionError({ path: "b/1.wal", version: 2, supported: 1 }),
    type: UnsupportedVersionError,
    message: 'Cannot read "b/1.wal": it has format version 2, this package reads up to 1',
    fields: { path: "b/1.wal", version: 2, supported: 1 },
  },
};

/** Errors of classes above with more or with less known. */
const OTHERS: readonly Omit<Row, "type">[] = [
  {
    error: new BatchMismatchError({ operation: "commit", actual: undefined, expected: undefined }),
    message: "Cannot commit a batch: no batch is in flight",
    fields: { operation: "commit", actual: undefined, expected: undefined },
  },
  {
    error: new BatchMismatchError({ operation: "commit", actual: "u-1-3", expected: undefined }),
    message: "Cannot commit batch u-1-3: no batch is in flight",
    fields: { operation: "commit", actual: "u-1-3", expected: undefined },
  },
  {
    error: new BatchMismatchError({ operation: "emit", actual: "u-1-3", expected: "u-4-6" }),
    message: "Cannot emit the batch behind u-1-3: batch u-4-6 is in flight",
    fields: { operation: "emit", actual: "u-1-3", expected: "u-4-6" },
  },
  {
    error: new BatchMismatchError({ operation: "wait", actual: undefined, expected: undefined }),
    message: "Cannot wait for the batch behind another: no batch is in flight",
    fields: { operation: "wait", actual: undefined, expected: undefined },
  },
  {
    error: new NoBatchBehindError({ reason: "no-records", batchId: "u-1-3", inFlightBatches: 1 }),
    message: "Cannot emit the batch behind u-1-3: no record has been put behind it",
    fields: { reason: "no-records", batchId: "u-1-3", inFlightBatches: 1 },
  },
  {
    error: new NoBatchBehindError({ reason: "dropped-records", batchId: "u-1-3", inFlightBatches: 2 }),
    message:
      "Cannot emit the batch behind u-1-3: records behind it were dropped, so the batches in flight have to be committed first",
    fields: { reason: "dropped-records", batchId: "u-1-3", inFlightBatches: 2 },
  },
  {
    error: new BufferLockedError("b", undefined),
    message: 'Cannot open buffer "b": it is locked by another owner, in this process or another',
    fields: { path: "b", owner: undefined, sameProcess: false },
  },
  {
    error: new CodecError({ operation: "encode", reason: "a cycle" }),
    message: "Cannot encode the record: a cycle",
    fields: { operation: "encode", sequence: undefined, index: undefined },
  },
  {
    error: new CodecError({ operation: "encode", reason: "a cycle", index: 0 }),
    message: "Cannot encode record 0 of the array: a cycle",
    fields: { operation: "encode", sequence: undefined, index: 0 },
  },
  {
    error: new DeliveryError({ reason: "the target is away" }),
    message: "Cannot deliver: the target is away",
    fields: { retryable: true, retryAfterMs: undefined, failed: undefined, tooLarge: false, cause: undefined },
  },
  {
    error: new NotABufferError("b", []),
    message: 'Cannot open buffer "b": it is not a directory',
    fields: { path: "b", found: [] },
  },
  {
    error: new PermissionError({ ...write, errno: "EROFS" }),
    message: 'Cannot write "b/1.wal": EROFS',
    fields: { ...write, errno: "EROFS", flag: undefined },
  },
  {
    error: new ProducerStoppedError({ reason: "the buffer has failed" }),
    message: "Cannot go on delivering: the buffer has failed",
    fields: { batchId: undefined, sequences: [], cause: undefined },
  },
  {
    error: new RecordTooLargeError({ payloadBytes: 11, limitBytes: 10, index: 0 }),
    message: "Cannot put record 0 of an array: its payload has 11 bytes, the limit is 10",
    fields: { payloadBytes: 11, limitBytes: 10, index: 0 },
  },
];

/** Asserts the message and every field of an error. */
function assertData({ error, message, fields }: Omit<Row, "type">): void {
  assertEquals(error.message, message);
  for (const [field, value] of Object.entries(fields)) {
    assertEquals((error as unknown as Record<string, unknown>)[field], value, `${error.name}.${field}`);
  }
}

test("errors carry their code, class name, message and data", () => {
  for (const [code, row] of Object.entries(ROWS)) {
    assertEquals(row.error.code, code);
    assertEquals(row.error.name, row.type.name);
    assertInstanceOf(row.error, row.type);
    assertInstanceOf(row.error, SluiceError);
    assertInstanceOf(row.error, Error);
    assertData(row);
  }
});

test("errors say and carry what is known when less or more is known", () => {
  for (const row of OTHERS) assertData(row);
});

test("errors have no cause when none is given", () => {
  for (const { error, fields } of Object.values(ROWS)) {
    if (!("cause" in fields)) assertEquals(error.cause, undefined, error.name);
  }
});

test("errors say what could not be done, to what, in what state, without a period", () => {
  for (const { error } of [...Object.values(ROWS), ...OTHERS]) {
    assertEquals(/^Cannot [^\n]*[^.\s]$/.test(error.message), true, error.message);
  }
});

test("errors show name and message when printed as text", () => {
  for (const { error } of Object.values(ROWS)) assertEquals(String(error), `${error.name}: ${error.message}`);
});

test("every exported error class has exactly one code", () => {
  const classes = Object.values<unknown>(module).filter((value) =>
    typeof value === "function" && value.prototype instanceof SluiceError
  );
  assertEquals(new Set(classes), new Set<unknown>(Object.values(ROWS).map(({ type }) => type)));
});

test("NoSpaceError and PermissionError are caught as FileSystemError, others are not", () => {
  const caught = Object.values(ROWS).filter(({ error }) => error instanceof FileSystemError).map(({ error }) =>
    error.code
  );
  assertEquals(caught.sort(), ["FILE_SYSTEM", "NO_SPACE", "PERMISSION"]);
});

test("FileSystemError.from() chooses the class by errno", () => {
  const expected: readonly (readonly [errno: string, type: typeof FileSystemError])[] = [
    ["ENOSPC", NoSpaceError],
    ["EDQUOT", NoSpaceError],
    ["EFBIG", NoSpaceError],
    ["EACCES", PermissionError],
    ["EPERM", PermissionError],
    ["EROFS", PermissionError],
    ["EIO", FileSystemError],
    ["ENOENT", FileSystemError],
    ["EBUSY", FileSystemError],
    ["UNKNOWN", FileSystemError],
    ["", FileSystemError],
  ];
  for (const [errno, type] of expected) {
    const error = FileSystemError.from({ errno, operation: "sync", path: "p" }, cause);
    assertStrictEquals(error.constructor, type, errno);
    assertEquals([error.errno, error.operation, error.path], [errno, "sync", "p"]);
    assertStrictEquals(error.cause, cause);
  }
});

test("FileSystemError.from() names the missing flag and leaves out a missing cause", () => {
  const error = FileSystemError.from({ errno: "EACCES", operation: "open", path: "p", flag: "--allow-read=p" });
  assertInstanceOf(error, PermissionError);
  assertEquals(error.flag, "--allow-read=p");
  assertEquals(error.message, 'Cannot open "p": EACCES, run again with --allow-read=p');
  assertEquals(Object.hasOwn(error, "cause"), false);
  const other = FileSystemError.from({ errno: "EACCES", operation: "open", path: "p" });
  assertInstanceOf(other, PermissionError);
  assertEquals(other.flag, undefined);
});
