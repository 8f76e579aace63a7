/**
 * CRC-32 backwards: the seed that a checksum was started from comes out, whatever the bytes.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { crc32 } from "../../src/base/crc32.ts";
import { crc32SeedSolver } from "../../src/base/crc32_seed.ts";
import { bytesOf, garbage } from "../support/bytes.ts";
import { seededRandom } from "../support/random.ts";

test("crc32SeedSolver() knows the seeds of known checksums", () => {
  const solve = crc32SeedSolver();
  // The check value of the algorithm, which starts from nothing before it.
  assertEquals(solve(bytesOf("123456789"), 0xcbf43926), 0);
  // No bytes: the checksum is the seed.
  assertEquals(solve(new Uint8Array(0), 0xdeadbeef), 0xdeadbeef);
  // "123456" has 0x0972d361; what is continued from there with "789" ends at the check value.
  assertEquals(crc32(bytesOf("123456")), 0x0972d361);
  assertEquals(solve(bytesOf("789"), 0xcbf43926), 0x0972d361);
});

test("crc32SeedSolver() finds every seed again", () => {
  const seed = 20260;
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const solve = crc32SeedSolver();
  for (let i = 0; i < 500; i++) {
    const bytes = garbage(random(300), i);
    const start = random(bytes.length + 1);
    const end = start + random(bytes.length - start + 1);
    const salt = random(2 ** 32);
    assertEquals(solve(bytes, crc32(bytes, salt, start, end), start, end), salt, `${i}`);
  }
});
