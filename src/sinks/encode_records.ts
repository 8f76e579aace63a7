/**
 * Encodes the records of a delivery before any is sent, for sinks that send them together.
 *
 * Guarantee: a record that can't be encoded is refused alone. All others come again without it, because nothing was sent.
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";

/**
 * Encodes each record.
 *
 * @param length How many there are.
 * @param encode Encodes the one at that position. What it throws refuses the record for good.
 * @param toReason The error's text, from the position of the first such record and what was thrown.
 * @throws {DeliveryError} if any record can't be encoded.
 */
export function encodeRecords<R>(
  length: number,
  encode: (index: number) => R,
  toReason: (index: number, fault: string) => string,
): R[] {
  const faults = new Map<number, string>();
  const encoded: R[] = [];
  for (let index = 0; index < length; index++) {
    try {
      encoded.push(encode(index));
    } catch (error) {
      faults.set(index, error instanceof Error ? error.message : String(error));
    }
  }
  if (faults.size === 0) return encoded;
  const [[first, fault]] = [...faults] as [[number, string]];
  throw new DeliveryError({
    reason: toReason(first, fault),
    failed: Array.from({ length }, (_, index) => ({
      index,
      retryable: !faults.has(index),
      reason: faults.get(index) ?? "not sent, because of another record",
    })),
  });
}

/**
 * Returns a text, which must be one that UTF-8 has bytes for: half of a surrogate pair would silently become another character.
 *
 * @param what Its name, for the error.
 * @throws {TypeError} if it is no text, or no such one.
 */
export function checkText(text: unknown, what: string): string {
  if (typeof text !== "string") {
    throw new TypeError(`${what} must be a string, got ${text === null ? null : typeof text}`);
  }
  if (!text.isWellFormed()) throw new TypeError(`${what} has half of a surrogate pair`);
  return text;
}
