/**
 * The bytes on disk: what the head comment of `format.ts` says about offsets and sizes is held against real bytes, and
 * each condition of a valid frame against a frame that breaks it and no other.
 */

import { test } from "node:test";
import { crc32 } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import {
  CURSOR_FILE_BYTES,
  CURSOR_SLOT_BYTES,
  CURSOR_SLOT_STRIDE,
  CURSOR_SLOTS,
  decodeCursor,
  encodeCursor,
  MAX_BOUNDARIES,
  newCursorSlot,
} from "../../src/wal/cursor_format.ts";
import {
  acknowledgedBefore,
  decodeFrameHeader,
  decodeSegmentHeader,
  encodeFrameHeader,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  isFrameIntact,
  MAX_SHARED_FRAME_BYTES,
  maxFrameBytes,
  maxRecordsIn,
  payloadBytesIn,
  payloadBytesOf,
  payloadStart,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordEnd,
  recordEndIn,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  skipRecords,
  unacknowledgedBefore,
} from "../../src/wal/format.ts";
import { parseSegmentName, segmentName } from "../../src/wal/names.ts";
import type { CursorState, LogPosition } from "../../src/wal/position.ts";
import { bytesOf, concat, cut, flipBit, garbage, overwrite, uint32, viewOf } from "../support/bytes.ts";
import {
  CONTINUED,
  CONTINUES,
  frameOf,
  type FrameParts,
  headerOf,
  sealFrame,
  UUID_A,
  UUID_B,
} from "../support/frames.ts";

const COPY_BYTES = 80;
const MOST = Number.MAX_SAFE_INTEGER;

const FULL_HEADER: SegmentHeader = {
  codecVersion: 0x01020304,
  uuid: UUID_A,
  firstSequence: 0x1112131415161,
  payloadBytesBefore: 0x2122232425262,
  logBytesBefore: 0x3132333435363,
  createdAt: 0x414243444546,
  unacknowledged: 0x4748,
  salt: 0x51525354,
  recordLimit: 0x61626364,
  isJson: true,
};

function uint64At(bytes: Uint8Array, offset: number): number {
  return Number(viewOf(bytes).getBigUint64(offset, true));
}

function uint32At(bytes: Uint8Array, offset: number): number {
  return viewOf(bytes).getUint32(offset, true);
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// -------------------------------------------------------------------------------------------------------- the segment

test("encodeSegmentHeader() puts every field where the format says, in both copies", () => {
  const bytes = encodeSegmentHeader(FULL_HEADER);
  assertEquals([bytes.length, SEGMENT_HEADER_BYTES], [160, 160]);
  for (const start of [0, COPY_BYTES]) {
    const copy = bytes.slice(start, start + COPY_BYTES);
    assertEquals(hexOf(copy.subarray(0, 8)), "89534c554943450a");
    assertEquals(uint32At(copy, 8), 2);
    assertEquals(uint32At(copy, 12), FULL_HEADER.codecVersion);
    assertEquals(hexOf(copy.subarray(16, 32)), UUID_A.replaceAll("-", ""));
    assertEquals(uint64At(copy, 32), FULL_HEADER.firstSequence);
    assertEquals(uint64At(copy, 40), FULL_HEADER.payloadBytesBefore);
    assertEquals(uint64At(copy, 48), FULL_HEADER.logBytesBefore);
    assertEquals(uint32At(copy, 56) + viewOf(copy).getUint16(60, true) * 2 ** 32, FULL_HEADER.createdAt);
    assertEquals(viewOf(copy).getUint16(62, true), FULL_HEADER.unacknowledged);
    assertEquals(uint32At(copy, 64), FULL_HEADER.salt);
    assertEquals(uint32At(copy, 68), FULL_HEADER.recordLimit);
    assertEquals(uint32At(copy, 72), 1);
    assertEquals(uint32At(copy, 76), crc32(copy.subarray(0, 76)));
  }
});

test("decodeSegmentHeader() gives back what was encoded, up to the largest numbers", () => {
  const least = headerOf({ codecVersion: 0, createdAt: 0, salt: 0, recordLimit: 1 });
  const most: SegmentHeader = {
    codecVersion: 2 ** 32 - 1,
    uuid: "ffffffff-ffff-ffff-ffff-ffffffffffff",
    firstSequence: MOST,
    payloadBytesBefore: MOST,
    logBytesBefore: MOST,
    createdAt: 2 ** 48 - 1,
    unacknowledged: 0xffff,
    salt: 2 ** 32 - 1,
    recordLimit: 2 ** 32 - 1,
    isJson: true,
  };
  for (const header of [least, most, FULL_HEADER]) {
    assertEquals(decodeSegmentHeader(encodeSegmentHeader(header)), { kind: "header", version: 2, header });
    const inside = concat(garbage(7, 1), encodeSegmentHeader(header), garbage(9, 2));
    assertEquals(
      decodeSegmentHeader(inside.subarray(7)),
      { kind: "header", version: 2, header },
      "with bytes around it",
    );
  }
});

test("decodeSegmentHeader() survives each single bit flip", () => {
  const bytes = encodeSegmentHeader(FULL_HEADER);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = flipBit(bytes, bit >> 3, bit & 7);
    assertEquals(decodeSegmentHeader(flipped), { kind: "header", version: 2, header: FULL_HEADER }, `bit ${bit}`);
  }
});

test("decodeSegmentHeader() needs one whole copy, the first or the second", () => {
  const bytes = encodeSegmentHeader(FULL_HEADER);
  for (let length = 0; length <= bytes.length; length++) {
    const { kind } = decodeSegmentHeader(cut(bytes, length));
    assertEquals(kind, length < COPY_BYTES ? "bad" : "header", `${length} bytes`);
  }
  for (let offset = 0; offset < COPY_BYTES; offset++) {
    const damaged = flipBit(flipBit(bytes, offset, 5), COPY_BYTES + (offset * 7) % COPY_BYTES, 6);
    const result = decodeSegmentHeader(damaged);
    assert(result.kind !== "header", `bytes ${offset} and ${COPY_BYTES + (offset * 7) % COPY_BYTES}`);
  }
  for (const nothing of [new Uint8Array(160), new Uint8Array(160).fill(255), garbage(160, 3)]) {
    assertEquals(decodeSegmentHeader(nothing), { kind: "bad" });
  }
});

test("decodeSegmentHeader() believes a newer version's magic and version, and nothing else", () => {
  const bytes = encodeSegmentHeader(FULL_HEADER);
  const magic = bytes.slice(0, 8);
  const newer = (version: number, seed: number) => concat(magic, uint32(version), garbage(COPY_BYTES - 12, seed));
  const rows: [name: string, bytes: Uint8Array, version: number][] = [
    ["both copies", concat(newer(3, 1), newer(3, 2)), 3],
    ["the highest there can be", concat(newer(65_535, 1), newer(65_535, 2)), 65_535],
    ["a header of another size", concat(newer(7, 1), garbage(80, 2)), 7],
    ["the first copy damaged", concat(garbage(80, 2), newer(3, 1)), 3],
  ];
  for (const [name, content, version] of rows) {
    assertEquals(decodeSegmentHeader(content), { kind: "version", version }, name);
  }
  for (const version of [0, 65_536, 2 ** 32 - 1]) {
    const never = concat(newer(version, 1), newer(version, 2));
    assertEquals(decodeSegmentHeader(never), { kind: "bad" }, `there is no version ${version}`);
  }
});

test("decodeSegmentHeader() reads a header of version 1, where the time has eight bytes", () => {
  const header = encodeSegmentHeader(FULL_HEADER);
  const createdAt = new Uint8Array(8);
  viewOf(createdAt).setBigUint64(0, BigInt(0x4142434445464), true);
  const copy = overwrite(overwrite(cut(header, COPY_BYTES), 8, uint32(1)), 56, createdAt);
  const sealed = overwrite(copy, 76, uint32(crc32(copy.subarray(0, 76))));
  const expected = { ...FULL_HEADER, createdAt: 0x4142434445464, unacknowledged: 0 };
  assertEquals(decodeSegmentHeader(concat(sealed, sealed)), { kind: "header", version: 1, header: expected });
  assertEquals(decodeSegmentHeader(concat(copy, copy)), { kind: "bad" }, "with another checksum");
});

test("acknowledgedBefore() takes a header at its word, but for the number that stands for any", () => {
  assertEquals(acknowledgedBefore({ firstSequence: 100_000, unacknowledged: 0 }), 100_000);
  assertEquals(acknowledgedBefore({ firstSequence: 100_000, unacknowledged: 65_534 }), 34_466);
  assertEquals(acknowledgedBefore({ firstSequence: 100_000, unacknowledged: 65_535 }), 0);
  const rows = [[7, 7, 0], [7, 4, 3], [7, Infinity, 0], [7, 9, 0], [70_000, 4_466, 65_534], [70_000, 4_465, 65_535]];
  for (const [first, acknowledged, expected] of [...rows, [70_000, 1, 65_535]]) {
    assertEquals(unacknowledgedBefore(first!, acknowledged!), expected, `${first}, ${acknowledged}`);
  }
});

test("parseSegmentName() takes back what segmentName() gives, and nothing else", () => {
  assertEquals(segmentName(1), "00000000000000000001.wal");
  for (const sequence of [1, 9, 10, 4_294_967_296, 2 ** 52]) {
    assertEquals(segmentName(sequence).length, 24);
    assertEquals(parseSegmentName(segmentName(sequence)), sequence);
  }
  const others = [
    "",
    ".wal",
    "1.wal",
    "0000000000000000001.wal",
    "000000000000000000001.wal",
    "00000000000000000000.wal",
    "00009007199254740992.wal",
    "99999999999999999999.wal",
    "-0000000000000000001.wal",
    "0000000000000000000a.wal",
    "0x000000000000000001.wal",
    "00000000000000000001.WAL",
    "00000000000000000001.wal.bak",
    "00000000000000000001.wal\n",
    "00000000000000000001_wal",
    " 0000000000000000001.wal",
    "cursor",
  ];
  for (const name of others) assertEquals(parseSegmentName(name), undefined, JSON.stringify(name));
});

// ---------------------------------------------------------------------------------------------------------- the frame

const SALT = 0x5a17ab1e;
const RECORD_LIMIT = 100;

/** A frame made by the code under test. */
function encodeFrame(parts: FrameParts): Uint8Array {
  const { sequence, payloads, salt, flags = 0, putTime = 1_700_000_000_000, unacknowledged = 0 } = parts;
  const records = payloads.map((payload) => {
    const bytes = typeof payload === "string" ? bytesOf(payload) : payload;
    return concat(uint32(bytes.length), bytes);
  });
  const bytes = concat(new Uint8Array(FRAME_HEADER_BYTES).fill(0xee), ...records);
  const count = payloads.length;
  const header = { length: bytes.length, firstSequence: sequence, putTime, flags, count, unacknowledged };
  encodeFrameHeader(bytes, viewOf(bytes), 0, header, salt);
  return bytes;
}

/** Whether there is a valid frame at the start of `bytes`, by conditions 1 to 4. */
function isValid(bytes: Uint8Array, { salt = SALT, recordLimit = RECORD_LIMIT } = {}): boolean {
  const view = viewOf(bytes);
  if (bytes.length < FRAME_HEADER_BYTES) return false;
  const header = decodeFrameHeader(view, 0, bytes.length, recordLimit);
  return header !== undefined && isFrameIntact(bytes, view, 0, header, { salt, recordLimit });
}

test("encodeFrameHeader() puts every field where the format says", () => {
  assertEquals([FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, MAX_SHARED_FRAME_BYTES], [28, 4, 65_536]);
  const frame = encodeFrame({
    sequence: 0x1112131415161,
    payloads: ["first", "", "3"],
    salt: 0xfedcba98,
    flags: CONTINUES | CONTINUED,
    putTime: 0x212223242526,
    unacknowledged: 0x3132,
  });
  assertEquals(uint32At(frame, 0), 28 + 4 + 5 + 4 + 4 + 1);
  assertEquals(uint32At(frame, 4), crc32(frame.subarray(8), crc32(frame.subarray(0, 4), 0xfedcba98)));
  assertEquals(uint64At(frame, 8), 0x1112131415161);
  assertEquals(uint32At(frame, 16) + viewOf(frame).getUint16(20, true) * 2 ** 32, 0x212223242526);
  assertEquals(frame[22], 1);
  assertEquals(frame[23], 3);
  assertEquals([viewOf(frame).getUint16(24, true), viewOf(frame).getUint16(26, true)], [3, 0x3132]);
  assertEquals(frame.subarray(28), concat(uint32(5), bytesOf("first"), uint32(0), uint32(1), bytesOf("3")));
});

test("encodeFrameHeader() has a known answer", () => {
  const frame = encodeFrame({ sequence: 1, payloads: ["123456789"], salt: 0, putTime: 1_700_000_000_000 });
  const head = "290000003183b3bd";
  const rest = "01000000000000000068e5cf8b01010001000000" + "09000000" + hexOf(bytesOf("123456789"));
  assertEquals(hexOf(frame.subarray(8)), rest);
  assertEquals(hexOf(frame.subarray(0, 8)), head);
});

test("decodeFrameHeader() and isFrameIntact() accept every valid frame", () => {
  const rows: Partial<FrameParts>[] = [
    {},
    { payloads: [""] },
    { payloads: ["", "", ""] },
    { payloads: ["x".repeat(RECORD_LIMIT)] },
    { sequence: MOST - 2 },
    { putTime: 0 },
    { putTime: 2 ** 48 - 1 },
    { flags: CONTINUES },
    { flags: CONTINUED },
    { flags: CONTINUES | CONTINUED },
    { unacknowledged: 1 },
    { unacknowledged: 0xffff },
    { salt: 0 },
    { salt: 2 ** 32 - 1 },
    { payloads: Array.from({ length: 2000 }, (_, i) => "y".repeat(i % 50)) },
  ];
  for (const row of rows) {
    const parts: FrameParts = { sequence: 7, payloads: ["a", "bc"], salt: SALT, ...row };
    const frame = encodeFrame(parts);
    const note = JSON.stringify(row).slice(0, 60);
    assertEquals(frame, frameOf(parts), note);
    const padded = concat(garbage(5, 1), frame, garbage(40, 2));
    const view = viewOf(padded);
    const header = decodeFrameHeader(view, 5, padded.length - 5, RECORD_LIMIT)!;
    const { sequence: firstSequence, payloads, flags = 0, putTime = 1_700_000_000_000, unacknowledged = 0 } = parts;
    const { length } = frame;
    assertEquals(header, { length, firstSequence, putTime, flags, count: payloads.length, unacknowledged }, note);
    assert(isFrameIntact(padded, view, 5, header, { salt: parts.salt, recordLimit: RECORD_LIMIT }), note);
  }
});

test("decodeFrameHeader() and isFrameIntact() refuse a frame that breaks one condition only", () => {
  const good = frameOf({ sequence: 7, payloads: ["abcd", "efgh"], salt: SALT });
  const shared = frameOf({ sequence: 7, payloads: Array.from({ length: 1236 }, () => "z".repeat(49)), salt: SALT });
  const single = frameOf({ sequence: 7, payloads: ["x".repeat(70_000)], salt: SALT });
  const set = (offset: number, ...values: number[]) => overwrite(good, offset, Uint8Array.from(values));
  const zeros = (bytes: Uint8Array, length: number) => concat(bytes, new Uint8Array(length));
  const sealed = (bytes: Uint8Array) => sealFrame(bytes, SALT);
  const none = overwrite(cut(good, 28), 0, uint32(28));
  const oneMore = ["z".repeat(50), ...Array.from({ length: 1235 }, () => "z".repeat(49))];
  const tooLong = frameOf({ sequence: 7, payloads: oneMore, salt: SALT });
  assert(isValid(good) && isValid(shared) && isValid(single, { recordLimit: 70_000 }));
  assertEquals([shared.length, tooLong.length], [65_536, 65_537]);

  const rows: [condition: string, bytes: Uint8Array, options?: { salt?: number; recordLimit?: number }][] = [
    ["1: kind 0", sealed(set(22, 0))],
    ["1: kind 2", sealed(set(22, 2))],
    ["1: flag 4", sealed(set(23, 4))],
    ["1: flag 128", sealed(set(23, 128))],
    ["1: no record", sealed(overwrite(good, 24, uint32(0)))],
    ["1: no record, and no room for one", sealFrame(overwrite(none, 24, uint32(0)), SALT)],
    ["2: count records don't fit", sealed(overwrite(good, 24, uint32(5)))],
    ["2: shorter than its header", sealed(overwrite(good, 0, uint32(27)))],
    ["2: longer than the data", sealed(overwrite(good, 0, uint32(good.length + 1)))],
    ["2: cut by one byte", cut(good, good.length - 1)],
    ["2: several records in more than 64 KiB", tooLong],
    ["2: one record above the limit", single, { recordLimit: 69_999 }],
    ["3: a record ends before the frame", sealed(overwrite(good, 36, uint32(3)))],
    ["3: a record ends behind the frame", sealed(overwrite(good, 36, uint32(5)))],
    ["3: the first ends behind the frame", sealed(overwrite(good, 28, uint32(13)))],
    ["3: the first leaves no room for the second's length", sealed(overwrite(good, 28, uint32(9)))],
    ["3: bytes behind the records", sealed(overwrite(zeros(good, 4), 0, uint32(good.length + 4)))],
    ["3: a record above the limit", good, { recordLimit: 3 }],
    ["4: another salt", good, { salt: SALT + 1 }],
    ["4: no salt", frameOf({ sequence: 7, payloads: ["abcd", "efgh"], salt: 0 })],
    ["5: sequence 0", sealed(overwrite(good, 8, new Uint8Array(8)))],
    ["5: a sequence of 54 bits", sealed(set(8, 0, 0, 0, 0, 0, 0, 0x20, 0))],
    ["5: its last sequence is one of 54 bits", sealed(set(8, 255, 255, 255, 255, 255, 255, 0x1f, 0))],
  ];
  for (const [condition, bytes, options] of rows) assert(!isValid(bytes, options), condition);
});

test("recordEnd(), recordEndIn() and skipRecords() go from record to record, and end where the frame ends", () => {
  const payloads = ["abcd", "", "x".repeat(300), "é"].map(bytesOf);
  const frame = concat(new Uint8Array(7), frameOf({ sequence: 7, payloads, salt: SALT }));
  const view = viewOf(frame);
  const first = 7 + FRAME_HEADER_BYTES;
  let at = first;
  payloads.forEach((payload, i) => {
    assertEquals(skipRecords(view, first, i), at, `record ${i}`);
    assertEquals(frame.subarray(payloadStart(at), recordEnd(view, at)), payload, `record ${i}`);
    assertEquals(recordEndIn(frame, at), recordEnd(view, at), `record ${i}`);
    assertEquals(recordEnd(view, at) - at, recordBytes(payload.length), `record ${i}`);
    at = recordEnd(view, at);
  });
  const sum = payloads.reduce((all, { length }) => all + length, 0);
  assertEquals([at, skipRecords(view, first, payloads.length)], [frame.length, frame.length]);
  assertEquals(payloadBytesOf({ length: frame.length - 7, count: payloads.length }), sum);
  assertEquals(payloadBytesIn(at - first, payloads.length), sum);
  // A length of more than 31 bits is no negative one.
  assertEquals(recordEndIn(Uint8Array.of(0xff, 0xff, 0xff, 0xff), 0), 4 + 0xffff_ffff);
  assertEquals([-5, 0, 3, 4, 11, 12].map(maxRecordsIn), [0, 0, 0, 1, 2, 3]);
});

test("isFrameIntact() finds each single bit flip", () => {
  const good = frameOf({ sequence: 7, payloads: ["abcd", "", "efgh"], salt: SALT });
  for (let bit = 0; bit < good.length * 8; bit++) assert(!isValid(flipBit(good, bit >> 3, bit & 7)), `bit ${bit}`);
});

test("decodeFrameHeader() bounds lengths before anything is done with them", () => {
  const good = frameOf({ sequence: 7, payloads: ["abcd"], salt: SALT });
  for (const huge of [0xffffffff, 0x80000000, 0x7fffffff, 1_166_566_284, 65_537]) {
    const asLength = sealFrame(overwrite(good, 0, uint32(huge)), SALT);
    // The rest of the file is said to be long enough: the limit alone must do.
    assertEquals(decodeFrameHeader(viewOf(asLength), 0, 2 ** 40, RECORD_LIMIT), undefined, `length ${huge}`);
    const asPayload = sealFrame(overwrite(good, 28, uint32(huge)), SALT);
    assert(!isValid(asPayload, { recordLimit: 2 ** 30 }), `payload ${huge}`);
  }
  for (const count of [3, 256, 0x7fff, 0x8000, 0xffff]) {
    const asCount = sealFrame(overwrite(good, 24, uint32(count)), SALT);
    assertEquals(decodeFrameHeader(viewOf(asCount), 0, 2 ** 40, RECORD_LIMIT), undefined, `count ${count}`);
  }
  for (let available = 0; available < good.length; available++) {
    assertEquals(decodeFrameHeader(viewOf(good), 0, available, RECORD_LIMIT), undefined, `${available} bytes`);
  }
  assertEquals([maxFrameBytes(1), maxFrameBytes(65_504), maxFrameBytes(65_505)], [65_536, 65_536, 65_537]);
  assertEquals(maxFrameBytes(2 ** 30), 28 + 4 + 2 ** 30);
});

test("decodeFrameHeader() never takes zeros for a frame", () => {
  const zeros = new Uint8Array(70_000);
  for (const length of [28, 32, 64, 4096, 70_000]) {
    for (const salt of [0, SALT, 0xffffffff]) assert(!isValid(cut(zeros, length), { salt }), `${length} zeros`);
  }
  // Zeros with a right checksum, and with a length.
  assert(!isValid(sealFrame(cut(zeros, 32), SALT)));
  assert(!isValid(sealFrame(overwrite(cut(zeros, 32), 0, uint32(32)), SALT)));
});

// --------------------------------------------------------------------------------------------------------- the cursor

function position(n: number): LogPosition {
  return { nextSequence: n + 1, payloadBytes: n + 2, logBytes: n + 3 };
}

function stateOf(boundaries: number): CursorState {
  return {
    generation: 0x1112131415161,
    uuid: UUID_B,
    place: 0x6162636465666,
    isSynced: true,
    lastSequence: 0x2122232425262,
    committed: position(0x3132333435363),
    resume: position(0x4142434445464),
    boundaries: Array.from({ length: boundaries }, (_, i) => position(0x5152535455565 + 16 * i)),
  };
}

/** A slot, and how many of its bytes count. */
function slotOf(state: CursorState, bytes = newCursorSlot(state)): { bytes: Uint8Array; length: number } {
  return { bytes, length: encodeCursor(bytes, viewOf(bytes), state.generation, state) };
}

test("encodeCursor() puts every field where the format says", () => {
  const sizes = [CURSOR_SLOTS, CURSOR_SLOT_BYTES, CURSOR_SLOT_STRIDE, CURSOR_FILE_BYTES, MAX_BOUNDARIES];
  assertEquals(sizes, [4, 512, 4096, 3 * 4096 + 512, 16]);
  const state = stateOf(2);
  const { bytes, length } = slotOf(state);
  const uint64s = (...offsets: number[]) => offsets.map((offset) => uint64At(bytes, offset));
  assertEquals([bytes.length, length], [512, 108 + 2 * 24]);
  assertEquals(uint32At(bytes, 0), crc32(bytes.subarray(4, length)));
  assertEquals(new TextDecoder().decode(bytes.subarray(4, 8)), "SLCR");
  assertEquals([uint32At(bytes, 8), uint32At(bytes, 12)], [2, 2]);
  assertEquals(uint64s(16), [state.generation]);
  assertEquals(hexOf(bytes.subarray(24, 40)), UUID_B.replaceAll("-", ""));
  assertEquals(uint64s(40), [state.lastSequence]);
  assertEquals(uint64s(48, 56, 64), Object.values(state.committed));
  assertEquals(uint64s(72, 80, 88), Object.values(state.resume));
  assertEquals([...uint64s(96), uint32At(bytes, 104)], [state.place, 1]);
  assertEquals(uint64s(108, 116, 124), Object.values(state.boundaries[0]!));
  assertEquals(uint64s(132, 140, 148), Object.values(state.boundaries[1]!));
  assertEquals(uint32At(slotOf({ ...state, isSynced: false }).bytes, 104), 0);
});

test("decodeCursor() gives back what was encoded, with any number of boundaries", () => {
  // One array for all: what an earlier state left behind doesn't count.
  const bytes = newCursorSlot(stateOf(0));
  for (const boundaries of [MAX_BOUNDARIES, 3, 1, 0]) {
    const state = stateOf(boundaries);
    const { length } = slotOf(state, bytes);
    assert(length <= CURSOR_SLOT_BYTES);
    assertEquals(decodeCursor(bytes), { kind: "cursor", state }, `${boundaries} boundaries`);
    assertEquals(decodeCursor(overwrite(bytes, length, garbage(512 - length, 1))), { kind: "cursor", state });
  }
  const most = { ...stateOf(0), generation: MOST, lastSequence: MOST, committed: position(MOST - 3) };
  assertEquals(decodeCursor(slotOf(most).bytes), { kind: "cursor", state: most });
});

test("decodeCursor() finds each single bit flip", () => {
  const { bytes, length } = slotOf(stateOf(1));
  for (let bit = 0; bit < length * 8; bit++) {
    const { kind } = decodeCursor(flipBit(bytes, bit >> 3, bit & 7));
    const isVersion = bit >= 8 * 8 && bit < 12 * 8;
    assert(kind === "bad" || (isVersion && kind === "version"), `bit ${bit}: ${kind}`);
  }
});

test("decodeCursor() refuses a slot that is cut, empty, or counts more boundaries than there can be", () => {
  const { bytes, length } = slotOf(stateOf(2));
  for (let cutAt = 0; cutAt < length; cutAt++) {
    assertEquals(decodeCursor(cut(bytes, cutAt)).kind, "bad", `${cutAt} bytes`);
  }
  assertEquals(decodeCursor(new Uint8Array(512)), { kind: "bad" });
  for (const count of [17, 18, 0xffff, 0x7fffffff, 0xffffffff]) {
    const long = concat(overwrite(bytes, 12, uint32(count)), new Uint8Array(4096));
    const end = Math.min(long.length, 108 + count * 24);
    const sealed = overwrite(long, 0, uint32(crc32(long.subarray(4, end))));
    assertEquals(decodeCursor(sealed).kind, "bad", `${count} boundaries`);
  }
});

test("decodeCursor() believes a newer version's magic and version, and nothing else", () => {
  const { bytes } = slotOf(stateOf(0));
  const newer = overwrite(overwrite(bytes, 0, garbage(4, 1)), 8, concat(uint32(3), garbage(500, 2)));
  assertEquals(decodeCursor(newer), { kind: "version", version: 3 });
  assertEquals(decodeCursor(flipBit(newer, 4)), { kind: "bad" }, "another magic");
});
