/**
 * How many records a segment held whose header can't be read: exactly, as long as its frames say so; and never too few.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { MemoryFileSystem } from "../../src/testing/mod.ts";
import { estimateMaxRecords, findFilledBytes } from "../../src/wal/unreadable_segment.ts";
import { concat, cut, frameOf, garbage, HEADER_BYTES, overwrite, uint32, zeroRange } from "../support/log_tools.ts";

const FIRST = 7;
const NO_HEADER = new Uint8Array(HEADER_BYTES);
const frame = (sequence: number, ...payloads: string[]) => frameOf({ sequence, payloads, salt: 1 });
/** Three frames of two, one and three records. */
const FRAMES = [frame(7, "a", "b"), frame(9, "c".repeat(100)), frame(10, "d", "", "e")];
const WHOLE = concat(NO_HEADER, ...FRAMES);
const ZEROS = new Uint8Array(100_000);

function mostIn(bytes: Uint8Array): number {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/segment", bytes);
  const handle = fileSystem.open("/segment", "read");
  const filledBytes = findFilledBytes(handle, bytes.length);
  return estimateMaxRecords({ handle, firstSequence: FIRST, size: bytes.length, filledBytes });
}

const [second, third] = [HEADER_BYTES + FRAMES[0]!.length, WHOLE.length - FRAMES[2]!.length];
const ROWS: readonly (readonly [name: string, bytes: Uint8Array, records: number])[] = [
  ["nothing but zeros", concat(NO_HEADER, ZEROS), 0],
  ["frames", WHOLE, 6],
  ["frames, and space set aside", concat(WHOLE, ZEROS), 6],
  ["the last is torn in its records", cut(WHOLE, third + 40), 3 + 3],
  ["the same, and space set aside", concat(cut(WHOLE, third + 40), ZEROS), 3 + 3],
  ["the last is torn in its header", concat(cut(WHOLE, third + 10), ZEROS), 3],
  ["the first is lost", zeroRange(WHOLE, HEADER_BYTES, second), 6],
  ["the one in between is lost", zeroRange(WHOLE, second, third), 6],
  ["a long record is torn, and what follows is whole", zeroRange(WHOLE, second + 40, second + 90), 6],
  ["empty records at the end", concat(NO_HEADER, frame(7, "a", "", "", ""), ZEROS), 4],
  ["only empty records", concat(NO_HEADER, frame(7, ...Array.from({ length: 1000 }, () => ""))), 1000],
  ["a frame of another place", concat(NO_HEADER, FRAMES[0]!, frame(90, "x"), FRAMES[1]!, FRAMES[2]!), 6],
  ["less than a frame", concat(NO_HEADER, garbage(31, 1)), 0],
];

for (const [name, bytes, records] of ROWS) {
  test(`estimateMaxRecords() a segment without a header: ${name}`, () => {
    assertEquals(mostIn(bytes), records);
  });
}

test("mostRecordsIn() reckons by the length where no frame says anything, and by what may be zeros behind", () => {
  assertEquals(mostIn(concat(NO_HEADER, garbage(428, 1))), 100);
  assertEquals(mostIn(concat(NO_HEADER, garbage(428, 1), ZEROS)), 100 + 65_536 / 4);
});

test("mostRecordsIn() never says too few, whatever length or count a frame claims", () => {
  for (const offset of [HEADER_BYTES, second, third]) {
    for (const claimed of [0, 1, 32, 33, 0xffff, 0x7fffffff, 0xffffffff]) {
      for (const field of [0, 24]) {
        const most = mostIn(overwrite(WHOLE, offset + field, uint32(claimed)));
        assertEquals(most >= 6, true, `${claimed} at ${offset + field}: ${most}`);
      }
    }
  }
});
