/**
 * `SegmentReader`: good bytes and bad ones are told apart, whatever happened to the file. Each row of the tables is a
 * way to corrupt a segment and what has to come out of it.
 */

import { test } from "node:test";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import type { FileHandle } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { SegmentHeader } from "../../src/wal/format.ts";
import { SegmentReader } from "../../src/wal/segment_reader.ts";
import {
  assertSameBytes,
  bytesOf,
  concat,
  cut,
  duplicateBlock,
  flipBit,
  garbage,
  insertAt,
  overwrite,
  removeRange,
  swapBlocks,
  uint32,
  zeroRange,
} from "../support/bytes.ts";
import {
  CONTINUED,
  CONTINUES,
  frameOf,
  framesOf,
  HEADER_BYTES,
  headerOf,
  sealFrame,
  segmentOf,
} from "../support/frames.ts";
import { seededRandom } from "../support/random.ts";

const PATH = "/segment";
const SALT = 0x5a17ab1e;
const HEADER = headerOf({ salt: SALT });

function handleOn(segment: Uint8Array): FileHandle {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile(PATH, segment);
  return fileSystem.open(PATH, "read");
}

/** A frame of this segment. */
function frame(sequence: number, payloads: (string | Uint8Array)[], flags = 0): Uint8Array {
  return frameOf({ sequence, payloads, flags, salt: SALT });
}

/**
 * Reads to the end. A frame is shown as `1-2` (its sequences), a bad region as `bad@160+40` with `, last` if nothing
 * good follows, frames missing without a trace as `gap@160`, the end as `end` or `end+100 zeros`.
 */
function itemsOf(segment: Uint8Array, header: SegmentHeader = HEADER): string[] {
  const reader = new SegmentReader(handleOn(segment), header);
  const items: string[] = [];
  for (;;) {
    const item = reader.next(segment.length);
    if (item.kind === "frame") {
      const { firstSequence, count, offset, length, bytes, fileOffset } = item.frame;
      assertSameBytes(bytes.subarray(offset, offset + length), segment.slice(fileOffset, fileOffset + length), "frame");
      items.push(count === 1 ? `${firstSequence}` : `${firstSequence}-${firstSequence + count - 1}`);
    } else if (item.kind === "bad") {
      const { offset, length, last } = item;
      items.push(length === 0 ? `gap@${offset}` : `bad@${offset}+${length}${last ? ", last" : ""}`);
      if (last) return items;
    } else {
      items.push(item.zeros === 0 ? "end" : `end+${item.zeros} zeros`);
      return items;
    }
    assert(items.length < 100, "it never ends");
  }
}

interface Row {
  readonly name: string;
  readonly corrupt: (segment: Uint8Array) => Uint8Array;
  readonly items: readonly string[];
}

function assertRows(segment: Uint8Array, rows: readonly Row[]): void {
  for (const { name, corrupt, items } of rows) assertEquals(itemsOf(corrupt(segment)), items, name);
}

// Offsets: A 160, B 202, C 235, D 279, end 313.
const A = frame(1, ["aaa", "aaa"]);
const B = frame(3, ["b"]);
const C = frame(4, ["cc", "", "cc"]);
const D = frame(7, ["dd"]);
const WHOLE = segmentOf(HEADER, A, B, C, D);
const [ATA, ATB, ATC, ATD] = framesOf(WHOLE).map(({ offset }) => offset) as [number, number, number, number];
const END = WHOLE.length;
const ALL = ["1-2", "3", "4-6", "7"];

test("SegmentReader.next() reads every frame, then says that it is at the end", () => {
  assertEquals([ATA, ATB, ATC, ATD, END], [160, 202, 235, 279, 313]);
  assertEquals(itemsOf(WHOLE), [...ALL, "end"]);
  assertEquals(itemsOf(segmentOf(HEADER)), ["end"]);
  const later = headerOf({ salt: SALT, firstSequence: 4 });
  assertEquals(itemsOf(segmentOf(later, C, D), later), ["4-6", "7", "end"]);
});

test("SegmentReader.next() finds the end of what was written at any cut", () => {
  const borders = [ATA, ATB, ATC, ATD, END];
  for (let length = HEADER_BYTES; length <= END; length++) {
    const whole = borders.filter((border) => border <= length).length - 1;
    const rest = length - borders[whole]!;
    // Less than 4 bytes of a frame may well be zeros: its length is small.
    const items = itemsOf(cut(WHOLE, length));
    const end = rest === 0 ? "end" : `bad@${borders[whole]}+${rest}, last`;
    assertEquals(items, [...ALL.slice(0, whole), end], `cut at ${length}`);
  }
});

test("SegmentReader.next() takes what is behind the last frame for a torn tail", () => {
  const stale = concat(B, C);
  const others = frameOf({ sequence: 8, payloads: ["other"], salt: SALT + 1 });
  assertRows(WHOLE, [
    { name: "1 zero", corrupt: (s) => concat(s, new Uint8Array(1)), items: [...ALL, "end+1 zeros"] },
    {
      name: "600 KiB of zeros",
      corrupt: (s) => concat(s, new Uint8Array(614_400)),
      items: [...ALL, "end+614400 zeros"],
    },
    { name: "garbage", corrupt: (s) => concat(s, garbage(999, 1)), items: [...ALL, "bad@313+999, last"] },
    {
      name: "zeros, then garbage",
      corrupt: (s) => concat(s, new Uint8Array(500), garbage(9, 1)),
      items: [...ALL, "bad@313+509, last"],
    },
    {
      name: "half a header",
      corrupt: (s) => concat(s, cut(frame(8, ["eight"]), 14)),
      items: [...ALL, "bad@313+14, last"],
    },
    { name: "stale frames of this segment", corrupt: (s) => concat(s, stale), items: [...ALL, "bad@313+77, last"] },
    {
      name: "half a frame, then stale ones of this segment",
      corrupt: (s) => concat(s, cut(frame(8, ["eight"]), 20), stale),
      items: [...ALL, "bad@313+97, last"],
    },
    { name: "frames of another segment", corrupt: (s) => concat(s, others), items: [...ALL, "bad@313+37, last"] },
    { name: "the last frame twice", corrupt: (s) => duplicateBlock(s, ATD, END), items: [...ALL, "bad@313+34, last"] },
    {
      name: "a bad bit in the last frame",
      corrupt: (s) => flipBit(s, END - 1),
      items: [...ALL.slice(0, 3), "bad@279+34, last"],
    },
    {
      name: "the last frame zeroed",
      corrupt: (s) => zeroRange(s, ATD, END),
      items: [...ALL.slice(0, 3), "end+34 zeros"],
    },
    { name: "everything zeroed", corrupt: (s) => zeroRange(s, ATA, END), items: ["end+153 zeros"] },
    {
      name: "a frame that skips more than the bad bytes before it could hold",
      corrupt: (s) => concat(s, garbage(40, 1), frame(8 + 11, ["far"])),
      items: [...ALL, "bad@313+75, last"],
    },
  ]);
});

test("SegmentReader.next() goes on behind damage, and says where it is", () => {
  const onlyB = ["1-2", "bad@202+33", "4-6", "7", "end"];
  const lengthOfB = (value: number) => (s: Uint8Array) => overwrite(s, ATB, uint32(value));
  const resealB = (change: (b: Uint8Array) => Uint8Array) => (s: Uint8Array) =>
    overwrite(s, ATB, sealFrame(change(s.slice(ATB, ATC)), SALT));
  assertRows(WHOLE, [
    { name: "a bit of the payload", corrupt: (s) => flipBit(s, ATC - 1, 7), items: onlyB },
    { name: "a bit of the checksum", corrupt: (s) => flipBit(s, ATB + 4), items: onlyB },
    { name: "a bit of the sequence", corrupt: (s) => flipBit(s, ATB + 8), items: onlyB },
    { name: "the kind", corrupt: (s) => overwrite(s, ATB + 22, Uint8Array.of(0)), items: onlyB },
    { name: "the flags", corrupt: (s) => flipBit(s, ATB + 23, 1), items: onlyB },
    { name: "the number of records", corrupt: (s) => overwrite(s, ATB + 24, uint32(0xffffffff)), items: onlyB },
    { name: "length 0", corrupt: lengthOfB(0), items: onlyB },
    { name: "a shorter length", corrupt: lengthOfB(32), items: onlyB },
    { name: "a longer length", corrupt: lengthOfB(34), items: onlyB },
    { name: "the length of two frames", corrupt: lengthOfB(33 + 44), items: onlyB },
    { name: "a length up to the end of the file", corrupt: lengthOfB(END - ATB), items: onlyB },
    { name: "a length behind the end", corrupt: lengthOfB(END - ATB + 1), items: onlyB },
    { name: "length 1,166,566,284", corrupt: lengthOfB(1_166_566_284), items: onlyB },
    { name: "length 0xffffffff", corrupt: lengthOfB(0xffffffff), items: onlyB },
    { name: "zeros", corrupt: (s) => zeroRange(s, ATB, ATC), items: onlyB },
    { name: "garbage", corrupt: (s) => overwrite(s, ATB, garbage(33, 1)), items: onlyB },
    {
      name: "another segment's frame",
      corrupt: (s) => overwrite(s, ATB, frameOf({ sequence: 3, payloads: ["b"], salt: 9 })),
      items: onlyB,
    },
    { name: "a valid frame of an older sequence", corrupt: (s) => overwrite(s, ATB, frame(1, ["b"])), items: onlyB },
    { name: "a length of a record", corrupt: resealB((b) => overwrite(b, 28, uint32(2))), items: onlyB },
    { name: "the first frame", corrupt: (s) => flipBit(s, ATA + 30), items: ["bad@160+42", "3", "4-6", "7", "end"] },
    { name: "two frames", corrupt: (s) => zeroRange(s, ATB + 5, ATC + 5), items: ["1-2", "bad@202+77", "7", "end"] },
    {
      name: "two places",
      corrupt: (s) => flipBit(flipBit(s, ATA), ATC + 40),
      items: ["bad@160+42", "3", "bad@235+44", "7", "end"],
    },
    {
      name: "a byte inserted",
      corrupt: (s) => insertAt(s, ATB, Uint8Array.of(9)),
      items: ["1-2", "bad@202+1", "3", "4-6", "7", "end"],
    },
    {
      name: "bytes inserted",
      corrupt: (s) => insertAt(s, ATB, garbage(7, 2)),
      items: ["1-2", "bad@202+7", "3", "4-6", "7", "end"],
    },
    {
      name: "bytes missing",
      corrupt: (s) => removeRange(s, ATB + 10, ATB + 15),
      items: ["1-2", "bad@202+28", "4-6", "7", "end"],
    },
    { name: "a frame missing", corrupt: (s) => removeRange(s, ATB, ATC), items: ["1-2", "gap@202", "4-6", "7", "end"] },
    {
      name: "the first frame missing",
      corrupt: (s) => removeRange(s, ATA, ATB),
      items: ["gap@160", "3", "4-6", "7", "end"],
    },
    {
      name: "a frame twice",
      corrupt: (s) => duplicateBlock(s, ATB, ATC),
      items: ["1-2", "3", "bad@235+33", "4-6", "7", "end"],
    },
    {
      name: "neighbours that changed places",
      corrupt: (s) => swapBlocks(s, ATB, ATC, ATD),
      items: ["1-2", "gap@202", "4-6", "bad@246+33", "7", "end"],
    },
    {
      name: "damage, then a torn tail",
      corrupt: (s) => cut(flipBit(s, ATB), END - 1),
      items: ["1-2", "bad@202+33", "4-6", "bad@279+33, last"],
    },
    {
      name: "damage, then zeros",
      corrupt: (s) => concat(flipBit(s, ATD), new Uint8Array(50)),
      items: ["1-2", "3", "4-6", "bad@279+84, last"],
    },
  ]);
});

test("SegmentReader.next() never takes a frame out of a payload", () => {
  const other = headerOf({ salt: 77, firstSequence: 3 });
  const embedded: [name: string, payload: Uint8Array][] = [
    ["another log", segmentOf(other, frameOf({ sequence: 3, payloads: ["forged"], salt: 77 }))],
    ["another log, same sequences", frameOf({ sequence: 4, payloads: ["forged"], salt: 77 })],
    ["this segment so far", segmentOf(HEADER, A, B)],
    ["this segment so far, twice", concat(A, B, A, B)],
    ["no salt", frameOf({ sequence: 4, payloads: ["forged"], salt: 0 })],
  ];
  for (const [name, payload] of embedded) {
    const outer = frame(4, [payload, "cc", payload]);
    const segment = segmentOf(HEADER, A, B, outer, D);
    const atD = ATC + outer.length;
    assertEquals(itemsOf(segment), ["1-2", "3", "4-6", "7", "end"], name);
    // Whatever is wrong with the header of the outer frame, or with its records' lengths.
    for (let offset = 0; offset < 32; offset++) {
      const ways = [
        flipBit(segment, ATC + offset, offset % 8),
        overwrite(segment, ATC + offset, garbage(32 - offset, 3)),
      ];
      for (const damaged of ways) {
        const expected = ["1-2", "3", `bad@${ATC}+${outer.length}`, "7", "end"];
        assertEquals(itemsOf(damaged), expected, `${name}, byte ${offset}`);
      }
    }
    const torn = segmentOf(HEADER, A, B, cut(outer, outer.length - 1));
    assertEquals(itemsOf(torn), ["1-2", "3", `bad@${ATC}+${outer.length - 1}, last`], `${name}, cut`);
    assertEquals(itemsOf(removeRange(segment, ATC, ATC + 32)).at(-2), "7", `${name}, header missing, ${atD}`);
  }
});

test("SegmentReader.next() gives a putMany of several frames as a whole or not at all", () => {
  const [g1, g2, g3] = [
    frame(3, ["3", "4"], CONTINUES),
    frame(5, ["5"], CONTINUES | CONTINUED),
    frame(6, ["6"], CONTINUED),
  ];
  const segment = segmentOf(HEADER, A, g1, g2, g3, D);
  const [, at1, at2, at3, atD] = framesOf(segment).map(({ offset }) => offset) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const none = ["1-2", `bad@${at1}+${atD - at1}`, "7", "end"];
  assertRows(segment, [
    { name: "whole", corrupt: (s) => s, items: ["1-2", "3-4", "5", "6", "7", "end"] },
    { name: "a bit of the first frame", corrupt: (s) => flipBit(s, at1 + 30), items: none },
    { name: "a bit of the middle one", corrupt: (s) => flipBit(s, at2), items: none },
    { name: "a bit of the last one", corrupt: (s) => flipBit(s, atD - 1), items: none },
    { name: "the first one zeroed", corrupt: (s) => zeroRange(s, at1, at2), items: none },
    { name: "the last one zeroed", corrupt: (s) => zeroRange(s, at3, atD), items: none },
    {
      name: "the first one missing",
      corrupt: (s) => removeRange(s, at1, at2),
      items: ["1-2", `bad@${at1}+${atD - at2}`, "7", "end"],
    },
    {
      name: "the middle one missing",
      corrupt: (s) => removeRange(s, at2, at3),
      items: ["1-2", `bad@${at1}+${atD - at1 - (at3 - at2)}`, "7", "end"],
    },
    {
      name: "the last one missing",
      corrupt: (s) => removeRange(s, at3, atD),
      items: ["1-2", `bad@${at1}+${at3 - at1}`, "7", "end"],
    },
    {
      name: "only the last one is there",
      corrupt: (s) => segmentOf(HEADER, A, g3, s.slice(atD)),
      items: ["1-2", `bad@${at1}+${g3.length}`, "7", "end"],
    },
    {
      name: "the last one says that it goes on",
      corrupt: (s) => overwrite(s, at3, frame(6, ["6"], CONTINUES | CONTINUED)),
      items: none,
    },
    {
      name: "a single frame that says that it goes on",
      corrupt: () => segmentOf(HEADER, A, frame(3, ["3", "4", "5", "6"], CONTINUES), D),
      items: ["1-2", `bad@${at1}+48`, "7", "end"],
    },
    {
      name: "one that says that it is continued",
      corrupt: () => segmentOf(HEADER, A, frame(3, ["3", "4", "5", "6"], CONTINUED), D),
      items: ["1-2", `bad@${at1}+48`, "7", "end"],
    },
  ]);
  for (let length = at1 + 1; length < atD; length++) {
    const items = itemsOf(cut(segment, length));
    assertEquals(items, ["1-2", `bad@${at1}+${length - at1}, last`], `cut at ${length}`);
  }
  assertEquals(itemsOf(cut(segment, atD)), ["1-2", "3-4", "5", "6", "end"]);

  // A bad frame with the beginning of another putMany in its payload: that the one behind it is complete says nothing.
  const bad = flipBit(frame(3, [concat(frame(4, ["a"], CONTINUES), garbage(50, 1))]), 100);
  const behind = segmentOf(HEADER, A, bad, frame(6, ["6"], CONTINUES), frame(7, ["7"], CONTINUED));
  assertEquals(itemsOf(behind), ["1-2", `bad@${ATB}+${bad.length}`, "6", "7", "end"]);
});

test("SegmentReader.next() reads putManys once, although it checks each one whole before it gives its first frame", () => {
  const header = headerOf({ salt: SALT, recordLimit: 2 ** 20 });
  const frames: Uint8Array[] = [];
  for (let sequence = 1; sequence < 60; sequence += 3) {
    const [one, two, three] = [30_000, 60_000, 7_000].map((length, i) => [garbage(length, sequence + i)]);
    frames.push(frame(sequence, one!, CONTINUES), frame(sequence + 1, two!, 3), frame(sequence + 2, three!, CONTINUED));
  }
  const segment = segmentOf(header, ...frames);
  const { handle, bytes } = countingHandle(segment);
  const reader = new SegmentReader(handle, header);
  for (let i = 0; i < frames.length; i++) {
    const item = reader.next(segment.length);
    assert(item.kind === "frame");
    assertSameBytes(item.frame.bytes.slice(item.frame.offset, item.frame.offset + item.frame.length), frames[i]!);
  }
  assertEquals(bytes(), segment.length - HEADER_BYTES);
});

test("SegmentReader.next() reads a segment that is longer than its buffer, and records longer than that", () => {
  const header = headerOf({ salt: SALT, recordLimit: 2 ** 20 });
  const payloads = [200_000, 10, 2 ** 20, 60_000, 60_000, 300_000, 1].map((length, i) => garbage(length, i));
  const frames = payloads.map((payload, i) => frame(i + 1, [payload]));
  const segment = segmentOf(header, ...frames);
  assertEquals(itemsOf(segment, header), ["1", "2", "3", "4", "5", "6", "7", "end"]);
  const found = framesOf(segment);
  for (const at of [0, 2, 5]) {
    const damaged = flipBit(segment, found[at]!.offset + 150_000);
    const expected = ["1", "2", "3", "4", "5", "6", "7", "end"];
    expected[at] = `bad@${found[at]!.offset}+${found[at]!.length}`;
    assertEquals(itemsOf(damaged, header), expected, `frame ${at + 1}`);
  }
  const group = [frame(1, [payloads[0]!], CONTINUES), frame(2, [payloads[5]!], 3), frame(3, [payloads[0]!], CONTINUED)];
  assertEquals(itemsOf(segmentOf(header, ...group), header), ["1", "2", "3", "end"], "a group longer than the buffer");
});

test("SegmentReader allocates no more than a chunk or the longest frame, whatever lengths it meets", () => {
  const small = handleOn(concat(WHOLE, garbage(100_000, 5)));
  const sizes: number[] = [];
  const counting: FileHandle = {
    size: () => small.size(),
    read(into, position) {
      sizes.push(into.buffer.byteLength);
      return small.read(into, position);
    },
    write: (bytes, position) => small.write(bytes, position),
    truncate: (size) => small.truncate(size),
    sync: () => small.sync(),
    close: () => small.close(),
  };
  const reader = new SegmentReader(counting, { ...HEADER, recordLimit: 2 ** 32 - 1 });
  // The end that is claimed lies far behind the end of the file.
  for (let i = 0; i < 5; i++) reader.next(small.size());
  assertLessOrEqual(Math.max(...sizes), 256 * 1024);
});

test("SegmentReader.next() goes on where it was when the segment grows", () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile(PATH, WHOLE);
  const reader = new SegmentReader(fileSystem.open(PATH, "read"), HEADER);
  const seen: unknown[] = [];
  for (const end of [ATA, ATB, ATC, END]) {
    for (;;) {
      const item = reader.next(end);
      if (item.kind !== "frame") break;
      seen.push(item.frame.firstSequence);
    }
    seen.push(reader.position);
  }
  assertEquals(seen, [ATA, 1, ATB, 3, ATC, 4, 7, END]);
  fileSystem.open(PATH, "write").write(frame(8, ["more"]), END);
  const item = reader.next(END + 36);
  assert(item.kind === "frame");
  assertEquals([item.frame.firstSequence, reader.position, reader.expected], [8, END + 36, 9]);
});

/** A handle that counts how often it is read, and how many bytes. */
function countingHandle(segment: Uint8Array): { handle: FileHandle; reads: () => number; bytes: () => number } {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile(PATH, segment);
  const handle = fileSystem.open(PATH, "write");
  let [reads, bytes] = [0, 0];
  const counting: FileHandle = {
    size: () => handle.size(),
    read(into, position) {
      const length = handle.read(into, position);
      reads++;
      bytes += length;
      return length;
    },
    write: (bytes, position) => handle.write(bytes, position),
    truncate: (size) => handle.truncate(size),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
  return { handle: counting, reads: () => reads, bytes: () => bytes };
}

test("SegmentReader.next() reads nothing back that was offered to it, and everything that wasn't", () => {
  for (const isOffered of [true, false]) {
    const { handle, reads } = countingHandle(segmentOf(HEADER));
    const reader = new SegmentReader(handle, HEADER);
    let end = HEADER_BYTES;
    // More than it keeps, so that it begins anew several times.
    for (let sequence = 1; sequence <= 900; sequence++) {
      const bytes = frame(sequence, [garbage(1000, sequence)]);
      handle.write(bytes, end);
      if (isOffered) reader.offer(end, bytes, true);
      end += bytes.length;
      const item = reader.next(end);
      assert(item.kind === "frame" && item.frame.firstSequence === sequence);
      assertSameBytes(item.frame.bytes.slice(item.frame.offset, item.frame.offset + item.frame.length), bytes);
    }
    assertEquals(reads() > 800, !isOffered, `${reads()} reads`);
    if (isOffered) assertLessOrEqual(reads(), 2);
  }
});

test("SegmentReader.offer() takes nothing that doesn't follow, and moves no frame that is in use", () => {
  const { handle, reads } = countingHandle(segmentOf(HEADER));
  const reader = new SegmentReader(handle, HEADER);
  const frames = Array.from({ length: 600 }, (_, i) => frame(i + 1, [garbage(1000, i)]));
  let end = HEADER_BYTES;
  const put = (i: number, offers: (end: number) => void) => {
    handle.write(frames[i]!, end);
    offers(end);
    end += frames[i]!.length;
  };
  put(0, (at) => reader.offer(at, frames[0]!, true));
  const first = reader.next(end);
  assert(first.kind === "frame");
  // Somebody still has the first frame: when the buffer is full, nothing more is taken.
  for (let i = 1; i < 600; i++) put(i, (at) => reader.offer(i === 300 ? at + 1 : at, frames[i]!, false));
  assertSameBytes(first.frame.bytes.slice(first.frame.offset, first.frame.offset + first.frame.length), frames[0]!);
  for (let sequence = 2; sequence <= 600; sequence++) {
    const item = reader.next(end);
    assert(item.kind === "frame" && item.frame.firstSequence === sequence);
  }
  assert(reads() > 0);
});

test("SegmentReader.next() takes no frame out of the payload of one that was offered", () => {
  // Everything about it is right, the checksum excepted; and a search comes to it, because it passes a frame in the
  // middle of a group.
  const forged = flipBit(frame(3, ["forged"]), 35);
  const offered = frame(4, [forged], CONTINUED);
  const bad = flipBit(B, 22, 7);
  const { handle } = countingHandle(segmentOf(HEADER, A, bad));
  const reader = new SegmentReader(handle, HEADER);
  const end = ATB + bad.length;
  assertEquals(reader.next(end).kind, "frame");
  handle.write(offered, end);
  reader.offer(end, offered, true);
  const item = reader.next(end + offered.length);
  assertEquals(item, { kind: "bad", offset: ATB, length: bad.length + offered.length, last: true });
});

test("SegmentReader.seek() goes to the frame of a record, and stays when it isn't there", () => {
  const group = segmentOf(HEADER, A, frame(3, ["3"], CONTINUES), frame(4, ["4"], CONTINUED), D);
  const rows: [name: string, segment: Uint8Array, offset: number, sequence: number, first: string][] = [
    ["the first frame", WHOLE, ATA, 1, "1"],
    ["a later one", WHOLE, ATC, 4, "4"],
    ["a record in the middle of one", WHOLE, ATC, 5, "4"],
    ["the last record of one", WHOLE, ATC, 6, "4"],
    ["the end", WHOLE, END, 8, "end 8"],
    ["not a frame", WHOLE, ATC + 1, 4, "1"],
    ["a frame that doesn't hold it", WHOLE, ATC, 7, "1"],
    ["a frame behind it", WHOLE, ATC, 3, "1"],
    ["behind the end", WHOLE, END + 1, 8, "1"],
    ["far behind the end", WHOLE, 2 ** 40, 8, "1"],
    ["a damaged frame", flipBit(WHOLE, ATC + 30), ATC, 4, "1"],
    ["the middle of a putMany", group, ATB + 33, 4, "4"],
  ];
  for (const [name, segment, offset, sequence, first] of rows) {
    const reader = new SegmentReader(handleOn(segment), HEADER);
    reader.seek(offset, sequence, segment.length);
    const item = reader.next(segment.length);
    const found = item.kind === "frame" ? `${item.frame.firstSequence}` : `${item.kind} ${reader.expected}`;
    assertEquals(found, first, name);
  }
});

test("SegmentReader gives nothing that wasn't written, and loses nothing that is whole, whatever is overwritten", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const random = seededRandom(seed);
    let sequence = 1;
    const frames = Array.from({ length: 8 }, (_, i) => {
      const payloads = Array.from({ length: 1 + random(3) }, () => garbage(random(60), random(999)));
      // Frames 2 to 4 are one putMany.
      const made = frame(sequence, payloads, [0, 0, CONTINUES, 3, CONTINUED, 0, 0, 0][i]!);
      sequence += payloads.length;
      return made;
    });
    const segment = segmentOf(HEADER, ...frames);
    const found = framesOf(segment);
    const from = HEADER_BYTES + random(segment.length - HEADER_BYTES);
    const to = Math.min(segment.length, from + 1 + (random(2) === 0 ? random(8) : random(150)));
    const ways = [
      () => overwrite(segment, from, garbage(to - from, seed)),
      () => zeroRange(segment, from, to),
      () => flipBit(segment, from, random(8)),
      () => overwrite(segment, from, bytesOf("x".repeat(to - from))),
    ];
    const damaged = ways[random(ways.length)]!();
    const isHit = (at: number) => {
      const { offset, length } = found[at]!;
      return damaged.slice(offset, offset + length).some((byte, i) => byte !== segment[offset + i]);
    };
    const groupHit = [2, 3, 4].some(isHit);
    const whole = found.filter((_, i) => i >= 2 && i <= 4 ? !groupHit : !isHit(i)).map(({ sequence }) => sequence);
    const items = itemsOf(damaged);
    const given = items.filter((item) => /^\d/.test(item)).map((item) => Number.parseInt(item));
    assertEquals(given, whole, `seed ${seed}: ${items.join("; ")}`);
  }
});

test("SegmentReader finds again what was written before and behind bytes of any kind", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const middle = garbage(1 + random(300), seed);
    const kinds = [
      middle,
      middle.fill(0),
      concat(A, garbage(5, seed)),
      frameOf({ sequence: 3, payloads: ["no"], salt: 1 }),
    ];
    const rest = concat(C, D);
    const inserted = kinds[random(kinds.length)]!;
    const segment = segmentOf(HEADER, A, B, inserted, rest);
    const items = itemsOf(segment);
    assertEquals(items, ["1-2", "3", `bad@${ATC}+${inserted.length}`, "4-6", "7", "end"], `seed ${seed}`);
  }
});

test("SegmentReader reads into the buffer of the one before it, unless that has grown for a long record", () => {
  const header = headerOf({ salt: SALT, recordLimit: 512 * 1024 });
  const buffers: ArrayBufferLike[] = [];
  const readAll = (payload: string, before?: SegmentReader): SegmentReader => {
    const segment = segmentOf(header, frame(1, [payload]), frame(2, [payload]));
    const handle = handleOn(segment);
    const read = (into: Uint8Array, position: number): number => {
      if (buffers.at(-1) !== into.buffer) buffers.push(into.buffer);
      return handle.read(into, position);
    };
    const reader = new SegmentReader({ read } as FileHandle, header, before);
    for (const sequence of [1, 2]) {
      const item = reader.next(segment.length);
      assert(item.kind === "frame" && item.frame.firstSequence === sequence);
      const { bytes, offset, length, fileOffset } = item.frame;
      assertSameBytes(bytes.subarray(offset, offset + length), segment.slice(fileOffset, fileOffset + length), "frame");
    }
    return reader;
  };
  const second = readAll("b", readAll("a"));
  assertEquals(buffers.length, 1);
  const third = readAll("c".repeat(300 * 1024), second);
  const grown = buffers.length;
  readAll("d", third);
  assertEquals(buffers.length, grown + 1);
});
