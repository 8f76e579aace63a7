/**
 * Every error that Sluice throws on purpose, and the codes to branch on.
 *
 * Guarantees: each error is a {@linkcode SluiceError}; `code` is one of a closed set of literals, so that a
 * `switch` over it is checked by the compiler; whatever the error knows (path, sequence, segment, offset, limit)
 * stands in fields; what the runtime threw is kept as `cause`. Branch on `code` (or on the class), never on `message`.
 *
 * Misuse, such as a wrong option, isn't here: it is a `TypeError` or a `RangeError`.
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
  type FailedRecord,
  ProducerClosedError,
  ProducerStoppedError,
} from "./delivery_errors.ts";
