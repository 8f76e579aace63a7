/**
 * A reason for `ship` to end that is no failure of the buffer.
 *
 * @module
 */

/** Why it can't go on; the message says it all. */
export class ShipError extends Error {
  override readonly name = "ShipError";
}
