/**
 * CRC-32 run backwards: finds the seed that gives some bytes a known checksum.
 *
 * A step of CRC-32 maps a register and a byte to the next register. For a given byte that is a permutation of the registers,
 * so it has an inverse: the top byte identifies the table entry, and with the entry the rest is an XOR and a shift. Run from
 * the checksum back to the first byte, the inverse gives the register at the start, which is the seed: exactly one of the 2^32
 * fits. Checksums are forged by the same technique (Stigge, Plötz, Müller and Redlich, "Reversing CRC - Theory and Practice",
 * HU Berlin SAR-PR-2006-05).
 *
 * One seed always fits, so a seed found from one piece of data proves nothing about it. It must fit another piece, too.
 *
 * @module
 */

import { crc32 } from "./crc32.ts";

/** Computes the seed with which `bytes[start..end)` have the checksum `crc`. */
export type SeedSolver = (bytes: Uint8Array, crc: number, start?: number, end?: number) => number;

/**
 * Makes a solver; its tables take about a kilobyte.
 *
 * @returns For each `seed`: `solve(bytes, crc32(bytes, seed)) === seed`.
 */
export function crc32SeedSolver(): SeedSolver {
  const table = new Int32Array(256);
  const byTopByte = new Uint8Array(256);
  for (let n = 0; n < 256; n++) {
    // From a register of zero, with the final XOR undone, the result is the table entry itself.
    table[n] = ~crc32(Uint8Array.of(n), 0xffff_ffff);
    byTopByte[table[n] >>> 24] = n;
  }
  return (bytes, crc, start = 0, end = bytes.length) => {
    let register = ~crc;
    for (let i = end - 1; i >= start; i--) {
      const n = byTopByte[register >>> 24];
      register = ((register ^ table[n]) << 8) | (n ^ bytes[i]);
    }
    return ~register >>> 0;
  };
}
