/**
 * CRC-32 as in zlib, gzip, PNG and IEEE 802.3: polynomial 0x04C11DB7, reflected (0xEDB88320), start and final XOR
 * 0xFFFFFFFF. The check value of "123456789" is 0xCBF43926.
 *
 * Guarantees: the same number on every runtime, whichever of the two ways below computes it. Short inputs use eight tables
 * ("slicing-by-8", Kounavis and Berry, Intel 2005), because a call into native code costs more than they do; longer ones use
 * the platform's own zlib, once there have been enough of them to be worth the time that loading it takes. Sixteen tables
 * would be a quarter faster in a tight loop, and no faster between two system calls, which evict most of them from the cache.
 *
 * @module
 */

import { processOfNode, runtimeName } from "./runtime.ts";

type Table = Int32Array;

/**
 * The native call is faster from this length on. Node's checks its arguments in JavaScript and is slow for short inputs: 150 ns
 * for 144 bytes, where the tables take 87; on Deno and Bun it takes 37.
 */
export const NATIVE_FROM_BYTES: number = runtimeName() === "node" ? 200 : 80;

/**
 * The platform's zlib is loaded when the tables have computed this much of what is longer: half a nanosecond is lost with each
 * byte until then, and loading takes 3 ms on Node, 13 on Bun and up to 30 on Deno. Most processes that are short never do it.
 */
export const LOAD_AFTER_BYTES: number = 8 * 2 ** 20;

type NativeCrc32 = (bytes: Uint8Array, seed: number) => number;

/** The platform's function, once it is loaded, and what the tables have computed in its stead. */
let native: NativeCrc32 | undefined;
let bytesWithoutNative = 0;

const [T0, T1, T2, T3, T4, T5, T6, T7] = makeTables() as [Table, Table, Table, Table, Table, Table, Table, Table];

/**
 * Computes the CRC-32 of `bytes[start..end)`.
 *
 * @param bytes The bytes. The range is not checked against their length.
 * @param seed The CRC-32 of what comes before, to continue it, or any 32-bit value to make the checksum depend on it.
 * @param view A view of all of `bytes`, if the caller has one: making one costs as much as the call.
 * @returns An unsigned 32-bit number.
 */
export function crc32(bytes: Uint8Array, seed = 0, start = 0, end: number = bytes.length, view?: DataView): number {
  if (isForTables(end - start)) {
    return tableCrc32(view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.length), seed, start, end);
  }
  // A subarray costs as much as the call.
  const isWhole = start === 0 && end === bytes.length;
  return nativeCrc32(isWhole ? bytes : bytes.subarray(start, end), seed);
}

/** Whether a checksum over `length` bytes is one for {@linkcode tableCrc32}, or for {@linkcode nativeCrc32}. To be asked once for each. */
export function isForTables(length: number): boolean {
  if (length < NATIVE_FROM_BYTES) return true;
  if (native !== undefined) return false;
  bytesWithoutNative += length;
  if (bytesWithoutNative < LOAD_AFTER_BYTES) return true;
  native = processOfNode().getBuiltinModule("node:zlib").crc32;
  return false;
}

/** Computes it by the platform's zlib, which `isForTables` has loaded. */
export function nativeCrc32(bytes: Uint8Array, seed: number): number {
  return native!(bytes, seed >>> 0);
}

/** The CRC-32 of the four bytes of a little-endian word. */
export function crc32OfWord(word: number, seed: number): number {
  const c = ~seed ^ word;
  return ~(T3[c & 255] ^ T2[(c >>> 8) & 255] ^ T1[(c >>> 16) & 255] ^ T0[c >>> 24]) >>> 0;
}

/** Computes it by tables, for any length. One load of four bytes is cheaper than four of one. */
export function tableCrc32(view: DataView, seed: number, start: number, end: number): number {
  let c = ~seed;
  let i = start;
  for (const last = end - 7; i < last; i += 8) {
    c ^= view.getInt32(i, true);
    const d = view.getInt32(i + 4, true);
    c = T7[c & 255] ^ T6[(c >>> 8) & 255] ^ T5[(c >>> 16) & 255] ^ T4[c >>> 24] ^
      T3[d & 255] ^ T2[(d >>> 8) & 255] ^ T1[(d >>> 16) & 255] ^ T0[d >>> 24];
  }
  for (const last = end - 3; i < last; i += 4) {
    c ^= view.getInt32(i, true);
    c = T3[c & 255] ^ T2[(c >>> 8) & 255] ^ T1[(c >>> 16) & 255] ^ T0[c >>> 24];
  }
  for (; i < end; i++) c = T0[(c ^ view.getUint8(i)) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

/** Makes the tables: table k has the effect of a byte followed by k zero bytes. */
function makeTables(): Table[] {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let bit = 0; bit < 8; bit++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    tables[0][n] = c;
  }
  for (let k = 1; k < 8; k++) {
    for (let n = 0; n < 256; n++) {
      const previous = tables[k - 1][n];
      tables[k][n] = (previous >>> 8) ^ tables[0][previous & 255];
    }
  }
  return tables;
}
