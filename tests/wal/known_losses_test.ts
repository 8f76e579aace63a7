/**
 * `KnownLosses`: which sequences are lost, and which losses were accepted; a file that can't be read says nothing.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { mergeRanges, subtractRanges } from "../../src/base/sequences.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { KnownLosses } from "../../src/wal/recovery/known_losses.ts";
import { bytesOf } from "../support/log_tools.ts";

const range = (first: number, last: number) => ({ first, last });
const REGION = { segment: "00000000000000000001.wal", offset: 160, length: 41 };

test("unite() and subtract() keep every sequence, once", () => {
  assertEquals(mergeRanges([range(8, 9), range(1, 3), range(2, 5), range(6, 6)]), [range(1, 6), range(8, 9)]);
  assertEquals(mergeRanges([]), []);
  assertEquals(subtractRanges([range(1, 10)], [range(1, 2), range(5, 5), range(9, 20)]), [range(3, 4), range(6, 8)]);
  assertEquals(subtractRanges([range(1, 3), range(5, 6)], [range(3, 5)]), [range(1, 2), range(6, 6)]);
  assertEquals(subtractRanges([range(1, 3)], [range(1, 3)]), []);
  assertEquals(subtractRanges([range(1, 3)], []), [range(1, 3)]);
});

test("subtract() looks at those ranges alone that overlap", () => {
  let looks = 0;
  const others = Array.from({ length: 1000 }, (_, i) => ({
    get first() {
      looks++;
      return 10 * i + 5;
    },
    get last() {
      looks++;
      return 10 * i + 9;
    },
  }));
  const ranges = Array.from({ length: 1000 }, (_, i) => range(10 * i + 3, 10 * i + 7));
  assertEquals(subtractRanges(ranges, others), Array.from({ length: 1000 }, (_, i) => range(10 * i + 3, 10 * i + 4)));
  assertEquals(looks < 20_000, true, `${looks} looks`);
});

test("KnownLosses are accepted as a whole: all bytes, and all sequences", () => {
  const known = new KnownLosses({ acceptedRegions: [REGION], acceptedSequences: [range(1, 3), range(4, 6)] });
  const isAccepted = (change: Partial<Parameters<KnownLosses["isAccepted"]>[0]>): boolean =>
    known.isAccepted({ ...REGION, missing: range(2, 5), ...change });
  assertEquals(isAccepted({}), true);
  assertEquals(isAccepted({ missing: undefined }), true);
  assertEquals(isAccepted({ length: 0, offset: 7 }), true);
  assertEquals(isAccepted({ missing: range(2, 7) }), false);
  assertEquals(isAccepted({ length: 42 }), false);
  assertEquals(isAccepted({ offset: 161 }), false);
  assertEquals(isAccepted({ segment: "00000000000000000002.wal" }), false);
  assertEquals(
    new KnownLosses({ lost: [range(1, 9)] }).isAccepted({ ...REGION, length: 0, missing: range(1, 1) }),
    false,
  );
  assertEquals(known.lost, [], "what was dropped may be accepted, too");
});

test("KnownLosses don't grow with every hole of a log that has nothing but holes", () => {
  const everySecond = Array.from({ length: 5000 }, (_, i) => range(2 * i + 1, 2 * i + 1));
  const known = new KnownLosses({ lost: everySecond });
  assertEquals([known.lost.length, known.lost.at(-1)], [4096, range(8191, 8191)]);
  assertEquals(known.with({ lost: [range(20_000, 20_000)] }).equals(known), true);
});

test("KnownLosses.read() gives back what save() wrote, and nothing where there is no such thing", async () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory("/q");
  assertEquals(KnownLosses.read(fileSystem, "/q"), new KnownLosses());
  assertEquals(KnownLosses.read(fileSystem, "/none"), new KnownLosses());
  const known = new KnownLosses({ lost: [range(1, 2)] })
    .with({ acceptedRegions: [REGION, REGION], acceptedSequences: [range(4, 4)] })
    .with({ acceptedRegions: [REGION] });
  assertEquals(known.acceptedRegions.length, 2);
  await known.save(fileSystem, "/q");
  assertEquals(KnownLosses.read(fileSystem, "/q").equals(known), true);
  for (const text of ["", "{", "[]", "null", '{"lost":[]}', '{"lost":1,"acceptedRegions":[],"acceptedSequences":[]}']) {
    fileSystem.writeFile("/q/losses.json", bytesOf(text));
    assertEquals(KnownLosses.read(fileSystem, "/q"), new KnownLosses(), text);
  }
});
