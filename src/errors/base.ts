/**
 * What all errors of this package have in common: a base class, and the codes to branch on.
 *
 * @module
 */

/**
 * The codes of all {@linkcode SluiceError}s.
 *
 * @example Which failures are worth a second try
 * ```ts
 * import { SluiceError, type SluiceErrorCode, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const LATER: readonly SluiceErrorCode[] = ["BUFFER_FULL", "NO_SPACE"]; // a typing error doesn't compile
 * const mayTryAgain = (error: unknown) => error instanceof SluiceError && LATER.includes(error.code);
 *
 * const buffer = await MemoryBuffer.open<string>({ maxBacklogBytes: 20 });
 * await buffer.put("fits");
 * assertEquals(await buffer.put("fits no more").catch(mayTryAgain), true);
 * await buffer.close();
 * assertEquals(await buffer.put("too late").catch(mayTryAgain), false);
 * ```
 */
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

  /** Creates the error; `cause` is what the runtime or the user's code threw. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}
