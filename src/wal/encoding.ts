/**
 * Primitive values of the on-disk format: 48 and 64 bit integers, uuids, versions. Where they are in a file: `format.ts`
 * and `cursor_format.ts`.
 *
 * Guarantees: integers are little-endian and exact up to 2^53 - 1; a uuid is decoded to its usual notation.
 *
 * @module
 */

import { randomBytes } from "../fs/random_bytes.ts";

/** The weight of the upper part of an integer of more than 32 bits. */
const TWO_32 = 2 ** 32;

/** Writes a 64 bit integer, of which 53 bits are used. */
export function setUint64(view: DataView, offset: number, value: number): void {
  // The shift takes the number modulo 2^32, whatever its size, and costs a tenth of `%`.
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** Reads a 64 bit integer, of which 53 bits are used. */
export function getUint64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * TWO_32;
}

/** Writes a 48 bit integer. */
export function setUint48(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint16(offset + 4, Math.floor(value / TWO_32), true);
}

/** Reads a 48 bit integer. */
export function getUint48(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint16(offset + 4, true) * TWO_32;
}

/** Parses a uuid in its usual notation into its 16 bytes. */
export function uuidToBytes(uuid: string): Uint8Array {
  const hex = uuid.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** Formats 16 bytes as a uuid (RFC 9562). */
export function bytesToUuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Makes a uuid of version 4: 122 random bits. */
export function newUuid(): string {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytesToUuid(bytes);
}

/** Whether a version is one of a format to come. Beyond 16 bits it is damage: nobody will get there. */
export function isNewer(version: number, known: number): boolean {
  return version > known && version <= 0xffff;
}
