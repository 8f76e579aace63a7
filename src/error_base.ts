/**
 * What all errors of this package have in common: a base class, and the codes to branch on.
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
