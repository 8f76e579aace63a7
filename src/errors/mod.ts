/**
 * Every error that Sluice throws on purpose, and the codes to branch on.
 *
 * Guarantees: each error is a {@linkcode SluiceError}; `code` is one of a closed set of literals, so that a
 * `switch` over it is checked by the compiler; whatever the error knows (path, sequence, segment, offset, limit)
 * stands in fields; what the runtime threw is kept as `cause`. Branch on `code` (or on the class), never on `message`.
 *
 * | `code` | class | when | fields |
 * |---|---|---|---|
 * | `BUFFER_EMPTY` | `BufferEmptyError` | `emit()` when every record is committed | |
 * | `NO_BATCH_BEHIND` | `NoBatchBehindError` | `emit({ after })` when none can be handed over yet | `reason`, `batchId`, `inFlightBatches` |
 * | `BUFFER_FULL` | `BufferFullError` | the backlog is at `maxBacklogBytes` | `neededBytes`, `backlogBytes`, `maxBacklogBytes` |
 * | `BUFFER_CLOSED` | `BufferClosedError` | a call after `close()` | |
 * | `BUFFER_LOCKED` | `BufferLockedError` | another owner has the path open | `path`, `owner` |
 * | `BUFFER_FAILED` | `BufferFailedError` | a write could not be undone, or a sync failed | `path`, `cause` |
 * | `OWNERSHIP_LOST` | `OwnershipLostError` | another owner has come, or the directory was moved | `path`, `unconfirmed` |
 * | `BATCH_MISMATCH` | `BatchMismatchError` | `commit()`, `emit()` or `waitUntilDue()` with a wrong batch | `operation`, `actual`, `expected` |
 * | `RECORD_TOO_LARGE` | `RecordTooLargeError` | a payload beyond `maxRecordBytes` or `maxBytes` | `payloadBytes`, `limitBytes`, `index` |
 * | `CODEC` | `CodecError` | a record that can't be encoded, a payload that can't be decoded | `operation`, `sequence`, `index`, `cause` |
 * | `DAMAGED_LOG` | `DamagedLogError` | damage, with `onDamage: "fail"` | `segment`, `offset`, `length` |
 * | `UNSUPPORTED_VERSION` | `UnsupportedVersionError` | files of a newer version; nothing is changed | `path`, `version`, `supported` |
 * | `NOT_A_BUFFER` | `NotABufferError` | the path is a file, or holds other files | `path`, `found` |
 * | `DELIVERY` | `DeliveryError` | thrown by a `send` that knows what to do about its failure | `retryable`, `retryAfterMs`, `failed`, `tooLarge`, `split` |
 * | `PRODUCER_CLOSED` | `ProducerClosedError` | a call on a producer after `close()` | |
 * | `PRODUCER_STOPPED` | `ProducerStoppedError` | a call on a producer that can't go on | `batchId`, `sequences`, `cause` |
 * | `NO_SPACE` | `NoSpaceError` | the disk, the quota or the file size limit is used up | `errno`, `operation`, `path` |
 * | `PERMISSION` | `PermissionError` | the system or Deno's sandbox refuses | `errno`, `operation`, `path`, `flag`, `advice` |
 * | `FILE_SYSTEM` | `FileSystemError` | any other failure of a file operation | `errno`, `operation`, `path` |
 *
 * `NoSpaceError` and `PermissionError` are also `FileSystemError`s, and `OwnershipLostError` is also a
 * `BufferFailedError`. Misuse, such as a wrong option, isn't here: it is a `TypeError` or a `RangeError`.
 *
 * @module
 */

export { SluiceError, type SluiceErrorCode } from "./base.ts";
export {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  BufferFailedError,
  BufferFullError,
  BufferLockedError,
  CodecError,
  type LockOwner,
  NoBatchBehindError,
  OwnershipLostError,
  RecordTooLargeError,
} from "./buffer_errors.ts";
export {
  DamagedLogError,
  FileSystemError,
  type FileSystemErrorData,
  NoSpaceError,
  NotABufferError,
  PermissionError,
  UnsupportedVersionError,
} from "./file_errors.ts";
export {
  DeliveryError,
  type DeliveryErrorData,
  type DeliveryScope,
  type FailedRecord,
  ProducerClosedError,
  ProducerStoppedError,
} from "./delivery_errors.ts";
