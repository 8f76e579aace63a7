/**
 * CRC-32 run backwards: which seed makes a checksum come out as it is.
 *
 * A step of CRC-32 takes a register and a byte to the next register. With the byte given, that is a permutation of the
 * registers, so it has an inverse: the top byte of each table entry names the entry, and with the entry known all else
 * is an XOR and a shift. Run from the checksum back to the first byte, it gives the register at the start, and that is
 * the seed: exactly one of the 2^32 fits. The technique is the one by which checksums are forged (Stigge, Plötz, Müller
 * and Redlich, "Reversing CRC - Theory and Practice", HU Berlin SAR-PR-2006-05).
 *
 * Because one seed always fits, a seed that was found from one piece of data proves nothing about it; it has to be right
 * for another piece, too.
 *
 * @module
 */

import { crc32 } from "./crc32.ts";

/** Computes the seed with which `bytes[start..end)` have the checksum `crc`. */
export type SeedSolver = (bytes: Uint8Array, crc: number, start?: number, end?: number) => number;

/**
 * Makes a solver; its tables take a kilobyte or two.
 *
 * @returns For each `seed`: `solve(bytes, crc32(bytes, seed)) === seed`.
 */
export function crc32SeedSolver(): SeedSolver {
  const table = new Int32Array(256);
  const byTopByte = new Uint8Array(256);
  for (let n = 0; n < 256; n++) {
    // A register of zero, and the final XOR taken off again: the entry of the table.
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
