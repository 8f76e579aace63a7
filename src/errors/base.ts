/**
 * What all errors of this package have in common: a base class, and the codes to branch on.
 *
 * @module
 */

/** The codes of all {@linkcode SluiceError}s. */
export type SluiceErrorCode =
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
  | "NO_BATCH_BEHIND"
  | "NO_SPACE"
  | "NOT_A_BUFFER"
  | "OWNERSHIP_LOST"
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
 * import { SluiceError, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecordBytes: 10 });
 * const skipped: string[] = [];
 * for (const line of ["short", "much too long for ten bytes"]) {
 *   try {
 *     await buffer.put(line);
 *   } catch (error) {
 *     if (!(error instanceof SluiceError) || error.code !== "RECORD_TOO_LARGE") throw error;
 *     skipped.push(line);
 *   }
 * }
 * assertEquals(skipped, ["much too long for ten bytes"]);
 * await buffer.close();
 * ```
 */
export abstract class SluiceError extends Error {
  /** What happened, as a literal to branch on. */
  abstract readonly code: SluiceErrorCode;

  /**
   * Creates the error.
   *
   * @param message What could not be done, to what, and why.
   * @param options The cause: what the runtime or the user's code threw.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}
