/**
 * CRC-32 against a reference that is too simple to be wrong: one bit at a time.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { crc32, crc32OfWord, isForTables, LOAD_AFTER_BYTES, NATIVE_FROM_BYTES } from "../../src/base/crc32.ts";

/** The reference: the definition of the reflected CRC-32, bit by bit, without a table. */
function referenceCrc32(bytes: Iterable<number>, seed = 0): number {
  let c = ~seed;
  for (const byte of bytes) {
    c ^= byte;
    for (let bit = 0; bit < 8; bit++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  }
  return ~c >>> 0;
}

/** Repeatable pseudo-random 32-bit numbers (xorshift). */
function makeRandom(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

function randomBytes(length: number, seed: number): Uint8Array {
  const random = makeRandom(seed);
  return Uint8Array.from({ length }, () => random() & 255);
}

/** The values at which signed and unsigned 32-bit arithmetic part ways. */
const SEEDS = [0, 1, 0x7fffffff, 0x80000000, 0xcbf43926, 0xfffffffe, 0xffffffff];
/** From here on the platform's zlib computes, once it is loaded; lengths on both sides of it are tried closely. */
const THRESHOLD_BYTES = NATIVE_FROM_BYTES;

/** The tests run twice: the platform's zlib isn't loaded before it is worth it. */
for (const ways of ["tables", "tables and zlib"]) {
  if (ways !== "tables") {
    test("crc32() loads the platform's zlib when the tables have computed enough", () => {
      assertEquals(isForTables(THRESHOLD_BYTES), true);
      crc32(new Uint8Array(LOAD_AFTER_BYTES));
      assertEquals([isForTables(THRESHOLD_BYTES - 1), isForTables(THRESHOLD_BYTES)], [true, false]);
    });
  }

  test(`crc32() gives the published check values (${ways})`, () => {
    const encoder = new TextEncoder();
    assertEquals(crc32(encoder.encode("123456789")), 0xcbf43926);
    assertEquals(crc32(encoder.encode("")), 0);
    assertEquals(crc32(encoder.encode("a")), 0xe8b7be43);
    assertEquals(crc32(encoder.encode("The quick brown fox jumps over the lazy dog")), 0x414fa339);
    assertEquals(crc32(new Uint8Array(32)), 0x190a55ad);
    assertEquals(crc32(new Uint8Array(32).fill(0xff)), 0xff6cab0b);
  });

  test(`crc32() equals the reference for every length from 0 to 300 (${ways})`, () => {
    const seed = 20_261;
    const bytes = randomBytes(300, seed);
    for (let length = 0; length <= bytes.length; length++) {
      const part = bytes.slice(0, length);
      assertEquals(crc32(part), referenceCrc32(part), `seed ${seed}, length ${length}`);
    }
  });

  test(`crc32OfWord() equals crc32() of the word's four bytes (${ways})`, () => {
    const bytes = randomBytes(4 * 64, 11);
    const view = new DataView(bytes.buffer);
    for (const seed of SEEDS) {
      for (let at = 0; at < bytes.length; at += 4) {
        assertEquals(
          crc32OfWord(view.getUint32(at, true), seed),
          crc32(bytes, seed, at, at + 4),
          `seed ${seed}, ${at}`,
        );
      }
    }
  });

  test(`crc32() equals the reference for every seed, on both sides of the threshold (${ways})`, () => {
    const bytes = randomBytes(THRESHOLD_BYTES + 20, 7);
    const random = makeRandom(99);
    const seeds = [...SEEDS, ...Array.from({ length: 100 }, random)];
    for (const seed of seeds) {
      for (const length of [0, 1, 7, 8, 9, THRESHOLD_BYTES - 1, THRESHOLD_BYTES, THRESHOLD_BYTES + 1, bytes.length]) {
        const part = bytes.subarray(0, length);
        assertEquals(crc32(part, seed), referenceCrc32(part, seed), `seed ${seed}, length ${length}`);
      }
    }
  });

  test(`crc32() takes a seed as any 32-bit value, signed or unsigned (${ways})`, () => {
    for (const length of [5, THRESHOLD_BYTES + 5]) {
      const bytes = randomBytes(length, 3);
      for (const seed of SEEDS) {
        assertEquals(crc32(bytes, seed | 0), crc32(bytes, seed), `seed ${seed}, length ${length}`);
      }
    }
  });

  test(`crc32() reads exactly the range, at every offset and around the threshold (${ways})`, () => {
    const bytes = randomBytes(2 * THRESHOLD_BYTES, 11);
    for (let start = 0; start <= 17; start++) {
      for (let length = 0; start + length <= bytes.length; length++) {
        const end = start + length;
        const expected = referenceCrc32(bytes.slice(start, end), 5);
        assertEquals(crc32(bytes, 5, start, end), expected, `from ${start} to ${end}`);
      }
      assertEquals(crc32(bytes, 0, start), referenceCrc32(bytes.slice(start)), `from ${start} to the end`);
    }
  });

  test(`crc32() of a view doesn't see the bytes around it (${ways})`, () => {
    const outer = randomBytes(400, 13);
    for (const offset of [0, 1, 3, 8, 64]) {
      for (const length of [0, 6, THRESHOLD_BYTES - 1, THRESHOLD_BYTES, 300]) {
        const view = outer.subarray(offset, offset + length);
        assertEquals(crc32(view), referenceCrc32(view), `offset ${offset}, length ${length}`);
        assertEquals(
          crc32(view, 1, 2, Math.max(2, length - 3)),
          referenceCrc32(view.slice(2, Math.max(2, length - 3)), 1),
        );
      }
    }
  });

  test(`crc32() continued over every split equals crc32() of the whole (${ways})`, () => {
    const bytes = randomBytes(300, 17);
    const whole = referenceCrc32(bytes);
    for (let split = 0; split <= bytes.length; split++) {
      assertEquals(crc32(bytes, crc32(bytes, 0, 0, split), split), whole, `split at ${split}`);
    }
    let byByte = 0;
    for (let i = 0; i < bytes.length; i++) byByte = crc32(bytes, byByte, i, i + 1);
    assertEquals(byByte, whole);
  });

  test(`crc32() gives the same number whichever way computes it, for every length around the threshold (${ways})`, () => {
    // Continued in parts below the threshold the tables compute, in one go the platform does.
    const seed = 23;
    const bytes = randomBytes(4 * THRESHOLD_BYTES, seed);
    for (let length = THRESHOLD_BYTES - 20; length <= bytes.length; length++) {
      let byTables = 0xdeadbeef;
      for (let at = 0; at < length; at += 100) byTables = crc32(bytes, byTables, at, Math.min(at + 100, length));
      assertEquals(crc32(bytes, 0xdeadbeef, 0, length), byTables, `seed ${seed}, length ${length}`);
    }
  });

  test(`crc32() differs for different seeds over the same bytes (${ways})`, () => {
    // What the salt of a segment relies on: for given bytes, seed -> CRC is one-to-one.
    for (const length of [20, THRESHOLD_BYTES + 20]) {
      const bytes = randomBytes(length, 29);
      const random = makeRandom(31);
      const seeds = new Set([...SEEDS, ...Array.from({ length: 1000 }, random)]);
      const sums = new Set([...seeds].map((seed) => crc32(bytes, seed)));
      assertEquals(sums.size, seeds.size, `length ${length}`);
    }
  });
}
