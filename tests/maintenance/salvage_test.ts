/**
 * Sound frames come out of whatever surrounds them, and the salt of a segment whose header is lost comes out of them.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { findSoundFrames, solveSalt } from "../../src/maintenance/salvage.ts";
import {
  bytesOf,
  concat,
  CONTINUED,
  CONTINUES,
  cut,
  flipBit,
  frameOf,
  garbage,
  zeroRange,
} from "../support/log_tools.ts";

const SALT = 0x5eed_1234;
const SEAL = { salt: SALT, recordLimit: 1000 };
const frames = [
  frameOf({ sequence: 7, payloads: ["seven", "eight"], salt: SALT }),
  frameOf({ sequence: 9, payloads: ["nine"], salt: SALT }),
  frameOf({ sequence: 10, payloads: ["ten", "", "twelve"], salt: SALT }),
  frameOf({ sequence: 13, payloads: ["thirteen"], salt: SALT }),
] as const;
const [A, B, C, D] = frames;
const ALL = concat(...frames);

const sequencesIn = (bytes: Uint8Array, seal = SEAL): number[] =>
  findSoundFrames(bytes, seal).map(({ firstSequence }) => firstSequence);

test("soundFrames() finds frames between bad bytes, in any order", () => {
  assertEquals(sequencesIn(ALL), [7, 9, 10, 13]);
  assertEquals(sequencesIn(concat(garbage(50, 1), A, garbage(3, 2), D, B)), [7, 13, 9]);
  assertEquals(sequencesIn(flipBit(ALL, A.length + 30)), [7, 10, 13]);
  assertEquals(sequencesIn(zeroRange(ALL, 3, 9)), [9, 10, 13]);
  assertEquals(sequencesIn(cut(ALL, ALL.length - 1)), [7, 9, 10]);
  assertEquals(sequencesIn(ALL, { ...SEAL, salt: SALT + 1 }), []);
  assertEquals(sequencesIn(new Uint8Array(1000)), []);
});

test("soundFrames() takes no frame out of a sound payload", () => {
  assertEquals(sequencesIn(concat(A, frameOf({ sequence: 9, payloads: [ALL], salt: SALT }), B)), [7, 9, 9]);
});

test("soundFrames() knows which putMany is whole", () => {
  const part = (sequence: number, flags: number) => frameOf({ sequence, payloads: ["x"], salt: SALT, flags });
  const [one, two, three] = [part(1, CONTINUES), part(2, CONTINUES | CONTINUED), part(3, CONTINUED)];
  const wholes = (...parts: Uint8Array[]) => findSoundFrames(concat(...parts), SEAL).map(({ isWhole }) => isWhole);
  assertEquals(wholes(one, two, three), [true, true, true]);
  assertEquals(wholes(one, two), [false, false]);
  assertEquals(wholes(two, three), [false, false]);
  assertEquals(wholes(one, three), [false, false]);
  assertEquals(wholes(one, A, two, three), [false, true, false, false]);
  assertEquals(wholes(one, two, three, one, two, three), Array(6).fill(true));
});

test("solveSalt() computes the salt from two frames in a row, wherever they stand", () => {
  const rows: readonly (readonly [string, Uint8Array])[] = [
    ["from the start", ALL],
    ["behind garbage", concat(garbage(77, 1), ALL)],
    ["the first is damaged", flipBit(ALL, 30)],
    ["the second is damaged", concat(A, flipBit(B, 30), C, D)],
    ["only the last two", concat(C, D)],
    ["behind zeros", concat(new Uint8Array(500), C, D)],
  ];
  for (const [name, bytes] of rows) assertEquals(solveSalt(bytes, []), SALT, name);
});

test("solveSalt() believes nothing that only one frame says", () => {
  const other = frameOf({ sequence: 9, payloads: ["nine"], salt: SALT + 1 });
  const rows: readonly (readonly [string, Uint8Array])[] = [
    ["one frame", A],
    ["two frames with different salts", concat(A, other)],
    ["a gap between the sequences", concat(A, C)],
    ["the second damaged", concat(A, flipBit(B, B.length - 1))],
    ["text", bytesOf("no frame at all, but long enough to hold one or two of them".repeat(20))],
    ["nothing", new Uint8Array(0)],
  ];
  for (const [name, bytes] of rows) assertEquals(solveSalt(bytes, []), undefined, name);
});

test("solveSalt() believes what is left of a header if one frame proves it", () => {
  assertEquals(solveSalt(A, [1, SALT]), SALT);
  assertEquals(solveSalt(A, [1, 2]), undefined);
});
