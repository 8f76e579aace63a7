/**
 * Errors of a buffer's calls: it is empty, full, closed or locked, or can't take what it was given.
 *
 * @module
 */

import { SluiceError } from "./base.ts";

/**
 * Thrown by `emit()` when every record is committed. While a batch is in flight it is a {@linkcode NoBatchBehindError}
 * instead.
 *
 * @example Take all there is, without waiting
 * ```ts
 * import { BufferEmptyError, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * await buffer.putMany(["a", "b", "c"]);
 * const taken: string[] = [];
 * try {
 *   for (;;) {
 *     const batch = await buffer.emit();
 *     taken.push(...batch.records);
 *     await buffer.commit(batch);
 *   }
 * } catch (error) {
 *   if (!(error instanceof BufferEmptyError)) throw error;
 * }
 * assertEquals(taken, ["a", "b", "c"]);
 * await buffer.close();
 * ```
 */
export class BufferEmptyError extends SluiceError {
  /** Always `"BUFFER_EMPTY"`. */
  readonly code = "BUFFER_EMPTY";

  /** Creates the error. */
  constructor() {
    super("Cannot emit a batch: the buffer is empty");
  }
}

/**
 * Thrown by `emit({ after })` when no batch can be handed over behind `after` yet, although the buffer isn't empty: at least
 * one batch is in flight. {@linkcode NoBatchBehindError.reason} says what has to happen first.
 *
 * @example Send up to three batches at a time
 * ```ts
 * import { type Batch, MemoryBuffer, NoBatchBehindError } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 1 });
 * await buffer.putMany(["a", "b"]);
 * const inFlight: Batch<string>[] = [await buffer.emit()];
 * const error = await assertRejects(async () => {
 *   while (inFlight.length < 3) inFlight.push(await buffer.emit({ after: inFlight.at(-1) }));
 * }, NoBatchBehindError);
 * assertEquals([error.reason, error.inFlightBatches], ["no-records", 2]); // wait for a put
 * for (const batch of inFlight) await buffer.commit(batch);
 * await buffer.close();
 * ```
 */
export class NoBatchBehindError extends SluiceError {
  /** Always `"NO_BATCH_BEHIND"`. */
  readonly code = "NO_BATCH_BEHIND";
  /**
   * Why, and so what to wait for:
   *
   * - `"no-records"`: no record has been put behind the batches in flight. A put helps.
   * - `"in-flight-limit"`: the most batches allowed are in flight. A commit of the oldest one helps.
   * - `"dropped-records"`: `whenFull: "drop-oldest"` has dropped the records that came next. Commits of all that are in
   *   flight help.
   */
  readonly reason: "no-records" | "in-flight-limit" | "dropped-records";
  /** The id of the last batch in flight, which is `after`. */
  readonly batchId: string | undefined;
  /** How many batches are in flight. */
  readonly inFlightBatches: number;

  /**
   * Creates the error.
   *
   * @param data The reason, the id of the last batch in flight, and how many are in flight.
   */
  constructor(data: Pick<NoBatchBehindError, "reason" | "batchId" | "inFlightBatches">) {
    const why = {
      "no-records": "no record has been put behind it",
      "in-flight-limit": `${data.inFlightBatches} batches are in flight, the most allowed`,
      "dropped-records": "records behind it were dropped, so the batches in flight have to be committed first",
    };
    super(`Cannot emit the batch behind ${data.batchId ?? "another"}: ${why[data.reason]}`);
    this.reason = data.reason;
    this.batchId = data.batchId;
    this.inFlightBatches = data.inFlightBatches;
  }
}

/**
 * Thrown by `put()` when the backlog is at its limit and `whenFull` says `"reject"`, or when it could never fit.
 *
 * @example Tell a backlog that is full from a record that never fits
 * ```ts
 * import { BufferFullError, MemoryBuffer } from "@sluice/buffer";
 * import { assert, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxBacklogBytes: 100 });
 * await buffer.put("x".repeat(50));
 * const full = await assertRejects(() => buffer.put("y".repeat(50)), BufferFullError);
 * assert(full.backlogBytes > 0 && full.neededBytes <= full.maxBacklogBytes); // after a commit it fits
 *
 * await buffer.commit(await buffer.emit());
 * await buffer.put("y".repeat(50));
 * const hopeless = await assertRejects(() => buffer.put("z".repeat(200)), BufferFullError);
 * assert(hopeless.neededBytes > hopeless.maxBacklogBytes); // waiting won't help
 * await buffer.close();
 * ```
 */
export class BufferFullError extends SluiceError {
  /** Always `"BUFFER_FULL"`. */
  readonly code = "BUFFER_FULL";
  /** Bytes of backlog that the put would have added. */
  readonly neededBytes: number;
  /** Bytes of backlog at the time. */
  readonly backlogBytes: number;
  /** The option `maxBacklogBytes`. */
  readonly maxBacklogBytes: number;

  /**
   * Creates the error.
   *
   * @param sizes Bytes of backlog: what the put needed, what was taken, and the most allowed.
   */
  constructor(sizes: { neededBytes: number; backlogBytes: number; maxBacklogBytes: number }) {
    super(
      `Cannot put ${sizes.neededBytes} bytes: ${sizes.backlogBytes} of ${sizes.maxBacklogBytes} backlog bytes are taken`,
    );
    this.neededBytes = sizes.neededBytes;
    this.backlogBytes = sizes.backlogBytes;
    this.maxBacklogBytes = sizes.maxBacklogBytes;
  }
}

/**
 * Thrown by every call on a closed buffer, and by calls that still wait when it closes.
 *
 * @example A put that still waits for space is rejected
 * ```ts
 * import { BufferClosedError, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxBacklogBytes: 30, whenFull: "block" });
 * await buffer.put("fills nearly all");
 * const waiting = assertRejects(() => buffer.put("waits for a commit"), BufferClosedError);
 * await buffer.close();
 * assertEquals((await waiting).message, "Cannot put: the buffer is closed");
 * await assertRejects(() => buffer.emit(), BufferClosedError);
 * ```
 */
export class BufferClosedError extends SluiceError {
  /** Always `"BUFFER_CLOSED"`. */
  readonly code = "BUFFER_CLOSED";

  /**
   * Creates the error.
   *
   * @param verb What was asked for, such as `"put"`.
   */
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

const SAME_PROCESS_ADVICE =
  "close that buffer first; if it was opened before a hot reload, keep it on globalThis and use " +
  "it again, or close it when the module is replaced";
const UNKNOWN_OWNER = "another owner, in this process or another";

/**
 * Thrown by `open()` when another process, or this one, has the buffer open.
 *
 * {@linkcode BufferLockedError.sameProcess} tells the two apart. This process has it open when `open()` is called twice, when another
 * thread has it, and after a hot reload (`bun --hot`, Vite, Next): the code before has opened it, and nobody has closed it. Then keep
 * one buffer for the life of the process, on `globalThis`, instead of one for each evaluation of the module.
 *
 * @example A second instance takes over when the first one is gone
 * ```ts
 * import { BufferLockedError, FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * async function openWhenFree(): Promise<FileBuffer<string>> {
 *   for (;;) {
 *     try {
 *       return await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 *     } catch (error) {
 *       if (!(error instanceof BufferLockedError)) throw error;
 *       await new Promise((resolve) => setTimeout(resolve, 5));
 *     }
 *   }
 * }
 *
 * const first = await openWhenFree();
 * const second = openWhenFree(); // waits
 * await first.put("from the first");
 * await first.close();
 * assertEquals((await second).recovery.recoveredRecords, 1);
 * await (await second).close();
 * ```
 */
export class BufferLockedError extends SluiceError {
  /** Always `"BUFFER_LOCKED"`. */
  readonly code = "BUFFER_LOCKED";
  /** The buffer's directory. */
  readonly path: string;
  /** The owner, if it could be read. */
  readonly owner: LockOwner | undefined;
  /**
   * Whether the owner is this process itself: another thread of it, an `open()` before, or the code before a hot reload. Told by the
   * process id, so another container, in which a process has the same id, looks the same.
   */
  readonly sameProcess: boolean;

  /**
   * Creates the error.
   *
   * @param path The buffer's directory.
   * @param owner Who holds the lock, if that could be read.
   * @param options The cause: what the runtime or the user's code threw.
   */
  constructor(path: string, owner: LockOwner | undefined, options?: ErrorOptions) {
    const sameProcess = owner?.pid === globalThis.process?.pid;
    const who = owner && `${owner.runtime} process ${owner.pid} since ${owner.openedAt}`;
    const by = sameProcess ? `${who}, which is this very process: ${SAME_PROCESS_ADVICE}` : who ?? UNKNOWN_OWNER;
    super(`Cannot open buffer "${path}": it is locked by ${by}`, options);
    this.path = path;
    this.owner = owner;
    this.sameProcess = sameProcess;
  }
}

/**
 * Thrown once a write could not be undone or a sync failed: what the disk holds is no longer known, so nothing more
 * is accepted. `cause` is the first failure. A new `open()` recovers what is there.
 *
 * @example The disk fails a sync: open again, and everything acknowledged is there
 * ```ts
 * import { BufferFailedError, FileBuffer, FileSystemError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
 *
 * let isBroken = false;
 * const fileSystem = new MemoryFileSystem({
 *   onOperation: ({ operation }) => isBroken && operation === "sync" ? { kind: "fail", errno: "EIO" } : undefined,
 * });
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem, fsync: "always" });
 * await buffer.put("acknowledged");
 * isBroken = true;
 * const error = await assertRejects(() => buffer.put("unknown"), BufferFailedError);
 * assertInstanceOf(error.cause, FileSystemError);
 * assertEquals(error.cause.errno, "EIO");
 * await assertRejects(() => buffer.put("no"), BufferFailedError); // it stays failed
 * await buffer.close();
 *
 * isBroken = false;
 * const again = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * assertEquals((await again.emit()).records[0], "acknowledged");
 * await again.close();
 * ```
 */
export class BufferFailedError extends SluiceError {
  /** `"BUFFER_FAILED"`, or the code of a subclass. */
  readonly code: "BUFFER_FAILED" | "OWNERSHIP_LOST" = "BUFFER_FAILED";
  /** The buffer's directory. */
  readonly path: string;

  /**
   * Creates the error.
   *
   * @param path The buffer's directory.
   * @param cause The first failure.
   * @param reason Completes the message.
   */
  constructor(path: string, cause: unknown, reason = "an earlier write or sync failed") {
    super(`Cannot go on with buffer "${path}": ${reason}`, cause === undefined ? undefined : { cause });
    this.path = path;
  }
}

/**
 * The buffer's directory isn't this owner's any more: another program has opened the buffer although it was locked, or the
 * directory was moved, removed or replaced. The buffer has failed: nothing is acknowledged, created or removed after it was
 * noticed. What was acknowledged before is in the directory's log, and is delivered by the directory's next owner, perhaps except
 * {@linkcode OwnershipLostError.unconfirmed}.
 *
 * @example Stop, and say what another owner may have overlooked
 * ```ts
 * import { FileBuffer, OwnershipLostError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * await buffer.put("acknowledged");
 * await buffer.flush();
 *
 * fileSystem.rename("/events.wal", "/elsewhere");
 * const error = await assertRejects(() => buffer.emit(), OwnershipLostError);
 * assertEquals([error.code, error.unconfirmed], ["OWNERSHIP_LOST", undefined]);
 * await buffer.close();
 *
 * const moved = await FileBuffer.open<string>({ path: "/elsewhere", fileSystem });
 * assertEquals((await moved.emit()).records, ["acknowledged"]);
 * await moved.close();
 * ```
 */
export class OwnershipLostError extends BufferFailedError {
  /** Always `"OWNERSHIP_LOST"`. */
  override readonly code = "OWNERSHIP_LOST";
  /**
   * The sequences that were acknowledged since the buffer was last known to have this one owner. Another owner may have
   * overlooked them: it sets aside and reports what it finds of them, and delivers none. `undefined` if there are none, as
   * always with `fsync: "always"`.
   */
  readonly unconfirmed: { readonly first: number; readonly last: number } | undefined;

  /**
   * Creates the error.
   *
   * @param path The buffer's directory.
   * @param data What was noticed, and the acknowledged sequences that another owner may have missed.
   */
  constructor(path: string, data: { readonly reason: string } & Pick<OwnershipLostError, "unconfirmed">) {
    super(path, undefined, data.reason);
    this.unconfirmed = data.unconfirmed;
  }
}

/**
 * Thrown by `commit()` for a batch that is not the oldest in flight, and by `emit({ after })` and `waitUntilDue({ after })` for
 * one that is not in flight and never was: stale, foreign, or never emitted.
 *
 * @example A batch is committed once
 * ```ts
 * import { BatchMismatchError, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 1 });
 * await buffer.putMany(["a", "b"]);
 * const first = await buffer.emit();
 * await buffer.commit(first);
 * const second = await buffer.emit();
 *
 * const error = await assertRejects(() => buffer.commit(first), BatchMismatchError);
 * assertEquals([error.actual, error.expected], [first.id, second.id]);
 * assertEquals(buffer.stats().pendingRecords, 1); // the second batch is not harmed
 * await buffer.close();
 * ```
 */
export class BatchMismatchError extends SluiceError {
  /** Always `"BATCH_MISMATCH"`. */
  readonly code = "BATCH_MISMATCH";
  /** What was asked for: `commit()`, `emit({ after })` or `waitUntilDue({ after })`. */
  readonly operation: "commit" | "emit" | "wait";
  /** The id of the batch that was given, if one was. */
  readonly actual: string | undefined;
  /** The id of the batch in flight that would have been right: the oldest for a commit, else the last; if there is one. */
  readonly expected: string | undefined;

  /**
   * Creates the error.
   *
   * @param data The call, the id that was given, and the one that would have been right.
   */
  constructor(data: Pick<BatchMismatchError, "operation" | "actual" | "expected">) {
    const { operation, actual, expected } = data;
    const what = operation === "commit"
      ? `commit ${actual === undefined ? "a batch" : `batch ${actual}`}`
      : `${operation === "emit" ? "emit" : "wait for"} the batch behind ${actual ?? "another"}`;
    super(`Cannot ${what}: ${expected === undefined ? "no batch" : `batch ${expected}`} is in flight`);
    this.operation = operation;
    this.actual = actual;
    this.expected = expected;
  }
}

/**
 * Thrown by `put()` for a payload larger than `maxRecordBytes` or `maxBytes`.
 *
 * @example Leave out the record that is too large, and put the others
 * ```ts
 * import { MemoryBuffer, RecordTooLargeError } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecordBytes: 8 });
 * const lines = ["ok", "too long a line", "fine"];
 * const error = await assertRejects(() => buffer.putMany(lines), RecordTooLargeError);
 * assertEquals([error.index, error.payloadBytes, error.limitBytes], [1, 17, 8]);
 * assertEquals(buffer.stats().puts, 0); // all or none
 * await buffer.putMany(lines.filter((_, i) => i !== error.index));
 * await buffer.close();
 * ```
 */
export class RecordTooLargeError extends SluiceError {
  /** Always `"RECORD_TOO_LARGE"`. */
  readonly code = "RECORD_TOO_LARGE";
  /** Bytes of the payload. */
  readonly payloadBytes: number;
  /** Bytes that a payload may have: the smaller of `maxRecordBytes` and `maxBytes`. */
  readonly limitBytes: number;
  /** Position in the array given to `putMany()`; `undefined` for `put()`. */
  readonly index: number | undefined;

  /**
   * Creates the error.
   *
   * @param data The payload's bytes, the limit, and the record's position in an array if it was in one.
   */
  constructor(data: { payloadBytes: number; limitBytes: number; index?: number | undefined }) {
    const what = data.index === undefined ? "a record" : `record ${data.index} of an array`;
    super(`Cannot put ${what}: its payload has ${data.payloadBytes} bytes, the limit is ${data.limitBytes}`);
    this.payloadBytes = data.payloadBytes;
    this.limitBytes = data.limitBytes;
    this.index = data.index;
  }
}

/**
 * Thrown when a record can't be encoded (by `put()`) or a payload no longer decodes (by a batch's `records`).
 *
 * @example Get past a payload that doesn't decode any more
 * ```ts
 * import { type Codec, CodecError, MemoryBuffer, textCodec } from "@sluice/buffer";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const codec: Codec<number> = {
 *   encode: (value) => textCodec().encode(String(value)),
 *   decode(payload, version) {
 *     const value = Number(textCodec().decode(payload, version));
 *     if (Number.isNaN(value)) throw new TypeError("not a number");
 *     return value;
 *   },
 * };
 * const buffer = await MemoryBuffer.open<number>({ codec });
 * await buffer.putMany([1, NaN, 3]);
 * const batch = await buffer.emit();
 * const error = assertThrows(() => batch.records, CodecError);
 * assertEquals([error.operation, error.sequence], ["decode", 2]);
 *
 * const good = [...Array(batch.length).keys()].filter((i) => batch.firstSequence + i !== error.sequence);
 * assertEquals(good.map((i) => batch.decode(i)), [1, 3]);
 * assertEquals(new TextDecoder().decode(batch.payloads[1]), "NaN"); // to be kept elsewhere
 * await buffer.commit(batch);
 * await buffer.close();
 * ```
 */
export class CodecError extends SluiceError {
  /** Always `"CODEC"`. */
  readonly code = "CODEC";
  /** Which way it failed. */
  readonly operation: "encode" | "decode";
  /** The sequence of the payload that does not decode; `undefined` when encoding. */
  readonly sequence: number | undefined;
  /** Position in the array given to `putMany()`; `undefined` otherwise. */
  readonly index: number | undefined;

  /**
   * Creates the error.
   *
   * @param data Which way it failed, why, and at which record.
   * @param options The cause: what the codec threw.
   */
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
