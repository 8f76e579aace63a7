/**
 * Sluice: a crash-safe, micro-batching record buffer for producer programs, on Deno, Bun and Node.
 *
 * A {@linkcode FileBuffer} persists each record at once in an append-only write-ahead log, packs records in order into
 * micro-batches, hands a batch over when the number of records, their bytes or their age reaches its threshold, and drops
 * it once it is committed. After a crash, everything accepted and not committed is there again, in order, once.
 *
 * @example The whole of it
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempDir();
 * const buffer = await FileBuffer.open<{ user: string }>({ path, maxRecords: 100 });
 * await buffer.put({ user: "ada" }); // survives whatever happens to the process from here on
 * await buffer.close();
 *
 * const later = await FileBuffer.open<{ user: string }>({ path });
 * for await (const batch of later.batches({ flush: true })) {
 *   assertEquals(batch.records, [{ user: "ada" }]); // in a program: send them, and batch.id with them
 *   await later.commit(batch);
 * }
 * await later.close();
 * await Deno.remove(path, { recursive: true });
 * ```
 *
 * @module
 */

export { Batch } from "./src/buffer/batch.ts";
export type {
  BatchesOptions,
  EmitOptions,
  PutOptions,
  RecordBuffer,
  RedeliveryOptions,
  WaitOptions,
} from "./src/buffer/record_buffer.ts";
export type { SyncRecordBuffer } from "./src/buffer/sync_record_buffer.ts";
export type { BufferOptions, WhenFull } from "./src/buffer/options.ts";
export type { BufferEvent, BufferStats, RecoveryReport } from "./src/buffer/events.ts";
export type { ListenerFailedEvent } from "./src/base/listeners.ts";
export type { DamagedRegion, OnDamage } from "./src/wal/recovery/damage.ts";
export type { SequenceRange } from "./src/base/sequences.ts";
// Not to be extended: FileBuffer and MemoryBuffer inherit their methods from it, and `deno doc --lint` refuses a public class
// with a private base. LocalBuffer, between them, has what a buffer can do within a call.
export { BaseBuffer } from "./src/buffer/base_buffer.ts";
export { LocalBuffer } from "./src/buffer/local_buffer.ts";
export { FileBuffer, type FileBufferOptions } from "./src/buffer/file_buffer.ts";
export { MemoryBuffer, type MemoryBufferOptions } from "./src/buffer/memory_buffer.ts";
export { Producer } from "./src/producer/producer.ts";
export type { CloseOptions, FlushOptions, ProducerOptions } from "./src/producer/options.ts";
export type { ProducerEvent, ProducerStats } from "./src/producer/events.ts";
export type { RetryOptions } from "./src/producer/retry.ts";
export { type DeadLetter, deadLetterCodec } from "./src/base/dead_letter.ts";
export type { Delivery, Send, SendContext } from "./src/producer/delivery.ts";
export {
  bytesCodec,
  type Codec,
  type EncodedRecord,
  jsonCodec,
  type JsonCodecOptions,
  type StandardResult,
  type StandardSchema,
  textCodec,
} from "./src/base/codec.ts";
export { type Clock, systemClock, type TimerOptions } from "./src/base/clock.ts";
export type { FileHandle, FileIdentity, FileLock, FileSystem, OpenMode } from "./src/fs/file_system.ts";
export type { Fsync } from "./src/wal/writer/log.ts";
export {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  BufferFailedError,
  BufferFullError,
  BufferLockedError,
  CodecError,
  DamagedLogError,
  DeliveryError,
  type DeliveryErrorData,
  type DeliveryScope,
  type FailedRecord,
  FileSystemError,
  type FileSystemErrorData,
  type LockOwner,
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
} from "./src/errors/mod.ts";
