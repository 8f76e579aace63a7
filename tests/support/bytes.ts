/**
 * Bytes of the tests: a vocabulary of damage to them, which leaves the original as it is, and how they are compared.
 */

import { fail } from "@std/assert";
import { seededRandom } from "./random.ts";

/** Turns one bit over. */
export function flipBit(bytes: Uint8Array, offset: number, bit = 0): Uint8Array {
  const changed = bytes.slice();
  changed[offset] = changed[offset]! ^ (1 << bit);
  return changed;
}

/** Puts `patch` over what is at `offset`. */
export function overwrite(bytes: Uint8Array, offset: number, patch: Uint8Array): Uint8Array {
  const changed = new Uint8Array(Math.max(bytes.length, offset + patch.length));
  changed.set(bytes);
  changed.set(patch, offset);
  return changed;
}

/** Makes `[from, to)` zero. */
export function zeroRange(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return bytes.slice().fill(0, from, to);
}

/** Keeps the first `length` bytes. */
export function cut(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.slice(0, length);
}

/** Takes `[from, to)` out; what follows moves up. */
export function removeRange(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return concat(bytes.subarray(0, from), bytes.subarray(to));
}

/** Puts `inserted` in at `offset`; what follows moves down. */
export function insertAt(bytes: Uint8Array, offset: number, inserted: Uint8Array): Uint8Array {
  return concat(bytes.subarray(0, offset), inserted, bytes.subarray(offset));
}

/** Puts a second copy of `[from, to)` behind the first. */
export function duplicateBlock(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return insertAt(bytes, to, bytes.subarray(from, to));
}

/** Lets two neighbours, `[from, middle)` and `[middle, to)`, change places. */
export function swapBlocks(bytes: Uint8Array, from: number, middle: number, to: number): Uint8Array {
  const { length } = bytes;
  return concat(
    bytes.subarray(0, from),
    bytes.subarray(middle, to),
    bytes.subarray(from, middle),
    bytes.subarray(to, length),
  );
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes chosen by a seed. */
export function garbage(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(length);
  const some = Math.min(length, 1024);
  for (let i = 0; i < some; i++) bytes[i] = random(256);
  for (let filled = some; filled < length; filled *= 2) bytes.copyWithin(filled, 0, filled);
  return bytes;
}

/** As `assertEquals`, fast, and it says where the bytes begin to differ. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, note = ""): void {
  const length = Math.max(actual.length, expected.length);
  for (let i = 0; i < length; i++) {
    if (actual[i] === expected[i]) continue;
    const [a, b] = [actual, expected].map((bytes) =>
      `...${[...bytes.subarray(i, i + 16)].join(" ")} (${bytes.length})`
    );
    fail(`${note}: bytes differ from ${i} on: ${a}, expected ${b}`);
  }
}

/** The length of a file without the zeros at its end, which may be space that is set aside. */
export function filledBytes(file: Uint8Array): number {
  let length = file.length;
  while (length > 0 && file[length - 1] === 0) length--;
  return length;
}

/** The bytes as numbers of several bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A number as the format writes it. */
export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}
