/**
 * Recovery from damage: torn tails, bad bytes and files that are gone, in every segment. What isn't damaged comes out, what
 * is gets reported, and everything else is the crash invariants' business.
 */

import { test } from "node:test";
import { assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import type { Codec } from "../../src/base/codec.ts";
import { DamagedLogError } from "../../src/errors/mod.ts";
import {
  concat,
  cut,
  duplicateBlock,
  flipBit,
  garbage,
  overwrite,
  removeRange,
  swapBlocks,
  zeroRange,
} from "../support/bytes.ts";
import {
  assertRows,
  assertSetAside,
  frameBytes,
  hitFrame,
  hitHeader,
  makeBase,
  makeForeign,
  range,
  RECORDS,
  type Row,
  SMALL,
} from "../support/damaged_logs.ts";
import { framesOf, HEADER_BYTES } from "../support/frames.ts";
import {
  assertRecovers,
  commitBatches,
  copyOf,
  CURSOR_PATH,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
} from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

test("FileBuffer.open() cuts what is behind the last frame, whatever it is", async () => {
  const base = await makeBase();
  const last = base.bytes(-1);
  const path = base.path(-1);
  const row = (name: string, tail: Uint8Array, isKept = true): Row => ({
    name,
    files: { [path]: concat(last, tail) },
    truncatedBytes: tail.length,
    setAside: isKept ? [tail] : [],
  });
  const frame = frameBytes(last, -1);
  await assertRows(base, [
    { name: "nothing", files: {}, setAside: [] },
    row("a zero", new Uint8Array(1), false),
    row("a page of zeros", new Uint8Array(4096), false),
    row("300 KB of zeros", new Uint8Array(300_000), false),
    row("garbage", garbage(700, 1)),
    row("zeros, then garbage", concat(new Uint8Array(700), garbage(1, 1))),
    row("half a header", cut(frame, 13)),
    row("a frame but its last byte", cut(frame, frame.length - 1)),
    row("the last frame once more", frame),
    row("stale frames of this segment", last.slice(HEADER_BYTES)),
    row("half a frame, then stale ones of this segment", concat(cut(frame, 9), last.slice(HEADER_BYTES))),
    row("another segment of this log", base.bytes(0)),
  ]);
});

test("FileBuffer.open() and emit() deliver what is not damaged, and report the rest", async () => {
  const base = await makeBase();
  const { path, bytes, firsts } = base;
  const [f0, f1, f2, , f4] = firsts as [number, number, number, number, number];
  const between = (segment: number) => range(firsts[segment]!, firsts[segment + 1]! - 1);
  const frames = (segment: number) => framesOf(bytes(segment));
  const damaged = (segment: number, frame: number): Row => ({
    name: `frame ${frame} of segment ${segment}`,
    files: { [path(segment)]: hitFrame(bytes(segment), frame) },
    lost: [framesOf(bytes(segment)).at(frame)!.sequence],
    setAside: [frameBytes(hitFrame(bytes(segment), frame), frame)],
  });
  await assertRows(base, [
    damaged(0, 0),
    damaged(0, 2),
    damaged(1, -1),
    damaged(2, 0),
    damaged(2, 1),
    damaged(4, 0),
    { ...damaged(4, 1), name: "frame 1 of the last segment" },
    { ...damaged(4, -1), name: "the last frame of all", truncatedBytes: frameBytes(bytes(4), -1).length },
    {
      name: "in every segment one",
      files: Object.fromEntries(firsts.map((_, i) => [path(i), hitFrame(bytes(i), 1)])),
      lost: firsts.map((_, i) => frames(i)[1]!.sequence),
      setAside: firsts.map((_, i) => frameBytes(hitFrame(bytes(i), 1), 1)),
    },
    {
      name: "a segment's frames all zeros",
      files: { [path(2)]: zeroRange(bytes(2), HEADER_BYTES, bytes(2).length) },
      lost: between(2),
      setAside: [],
    },
    {
      name: "a segment cut in the middle of a frame",
      files: { [path(1)]: cut(bytes(1), frames(1)[2]!.offset + 5) },
      lost: between(1).slice(2),
    },
    {
      name: "a segment cut at the border of a frame",
      files: { [path(1)]: cut(bytes(1), frames(1)[2]!.offset) },
      lost: between(1).slice(2),
    },
    { name: "a segment cut to its header", files: { [path(1)]: cut(bytes(1), HEADER_BYTES) }, lost: between(1) },
    { name: "a segment cut to nothing", files: { [path(1)]: new Uint8Array(0) }, lost: between(1) },
    {
      name: "a segment of garbage",
      files: { [path(1)]: garbage(500, 1) },
      lost: between(1),
      setAside: [garbage(500, 1)],
    },
    { name: "the first segment is gone", files: { [path(0)]: undefined }, lost: range(f0, f1 - 1), setAside: [] },
    { name: "a segment in the middle is gone", files: { [path(2)]: undefined }, lost: between(2), setAside: [] },
    {
      name: "two segments are gone",
      files: { [path(1)]: undefined, [path(2)]: undefined },
      lost: [...between(1), ...between(2)],
    },
    { name: "the last segment is gone", files: { [path(4)]: undefined }, lost: range(f4, RECORDS), setAside: [] },
    {
      name: "the last segment is empty",
      files: { [path(4)]: new Uint8Array(0) },
      lost: range(f4, RECORDS),
      setAside: [],
    },
    {
      name: "the last segment is zeros",
      files: { [path(4)]: new Uint8Array(900) },
      lost: range(f4, RECORDS),
      setAside: [],
    },
    {
      name: "only the middle segment is left",
      files: Object.fromEntries([0, 1, 3, 4].map((i) => [path(i), undefined])),
      lost: [...range(1, f2 - 1), ...range(firsts[3]!, RECORDS)],
    },
    {
      name: "only the cursor is left",
      files: Object.fromEntries(firsts.map((_, i) => [path(i), undefined])),
      lost: range(1, RECORDS),
    },
    {
      name: "bytes inserted",
      files: {
        [path(2)]: concat(cut(bytes(2), frames(2)[1]!.offset), garbage(9, 1), bytes(2).slice(frames(2)[1]!.offset)),
      },
      isDamage: true,
      lastBefore: frames(2)[0]!.sequence,
      setAside: [garbage(9, 1)],
    },
    {
      name: "garbage behind a segment in the middle",
      files: { [path(2)]: concat(bytes(2), garbage(99, 1)) },
      isDamage: true,
      lastBefore: firsts[3]! - 1,
      setAside: [garbage(99, 1)],
    },
    {
      name: "zeros behind a segment in the middle",
      files: { [path(2)]: concat(bytes(2), new Uint8Array(99)) },
      setAside: [],
    },
    {
      name: "frames twice",
      files: { [path(2)]: duplicateBlock(bytes(2), frames(2)[0]!.offset, frames(2)[2]!.offset) },
      isDamage: true,
      lastBefore: frames(2)[1]!.sequence,
    },
    {
      name: "frames that changed places",
      files: { [path(2)]: swapBlocks(bytes(2), frames(2)[0]!.offset, frames(2)[1]!.offset, frames(2)[2]!.offset) },
      lost: [frames(2)[0]!.sequence],
    },
  ]);
});

test("FileBuffer.open() goes past all that a newest segment without a header may have held", async () => {
  for (const commits of [0, 4]) {
    const base = await makeBase(commits);
    const newest = hitHeader(base.bytes(-1));
    const fileSystem = copyOf(base.fileSystem, { [base.path(-1)]: newest });
    const first = base.firsts.at(-1)!;
    const there = base.acknowledged.filter(({ sequence }) => sequence > 5 * commits && sequence < first);
    const acknowledged = base.acknowledged.filter(({ sequence }) => sequence > 5 * commits);
    const note = `${commits} batches committed`;
    const mayMiss = [{ first, last: Infinity }];
    const drained = await assertRecovers(fileSystem, { acknowledged, mayMiss, note }, SMALL);
    assertEquals(drained.records, there, note);
    assertGreaterOrEqual(drained.nextSequence, RECORDS + 1, note);
    await assertSetAside(fileSystem, [newest], note);
  }
});

test("DamagedLogError says where the damage is, and with 'fail' it is met again and again", async () => {
  const base = await makeBase();
  for (const [segment, isAtOpen] of [[2, false], [4, true]] as const) {
    const frame = framesOf(base.bytes(segment))[1]!;
    const fileSystem = copyOf(base.fileSystem, { [base.path(segment)]: hitFrame(base.bytes(segment), 1) });
    const before = snapshot(fileSystem);
    const expected = [base.path(segment).slice(8), frame.offset, frame.length];
    for (let i = 0; i < 2; i++) {
      let error: DamagedLogError;
      if (isAtOpen) {
        error = await assertRejects(() => openLog(fileSystem, { onDamage: "fail" }), DamagedLogError);
        assertEquals(snapshot(fileSystem), before);
      } else {
        const { buffer } = await openLog(fileSystem, { ...SMALL, maxRecords: 100, onDamage: "fail" });
        if (i === 0) await commitBatches(buffer, 1);
        error = await assertRejects(() => buffer.emit(), DamagedLogError);
        await assertRejects(() => buffer.emit(), DamagedLogError);
        await buffer.close();
      }
      assertEquals([error.segment, error.offset, error.length], expected);
    }
  }
});

/** Bytes as characters of the same numbers. */
const latin1: Codec<string> = {
  encode: (text) => Uint8Array.from(text, (character) => character.charCodeAt(0)),
  decode: (payload) => Array.from(payload, (byte) => String.fromCharCode(byte)).join(""),
};

test("FileBuffer.emit() never delivers a record out of a payload", async () => {
  const foreign = await makeForeign();
  const others = latin1.decode(concat(foreign.bytes(0), foreign.bytes(1)), 0);
  const base = await makeLog(["one", "two"], { codec: latin1 });
  const own = latin1.decode(base.fileSystem.readFile(segmentPath(1)), 0);
  for (const [name, payload] of [["another log", others], ["this segment so far", own + own]] as const) {
    for (const isInGroup of [false, true]) {
      const outer = isInGroup ? [payload, "x", payload] : payload;
      const fileSystem = copyOf(base.fileSystem);
      // In the same process, so that it is the same segment.
      const log = await makeLog(["one", "two", outer, "last"], {
        codec: latin1,
        fileSystem: copyOf(fileSystem, { [segmentPath(1)]: undefined, [CURSOR_PATH]: undefined }),
      });
      const bytes = log.fileSystem.readFile(segmentPath(1));
      const frame = framesOf(bytes)[2]!;
      const mayMiss = [{ first: 3, last: isInGroup ? 5 : 3 }];
      for (let at = frame.offset; at < frame.offset + 32; at++) {
        const note = `${name}, byte ${at - frame.offset}`;
        const damaged = copyOf(log.fileSystem, { [segmentPath(1)]: flipBit(bytes, at, at % 8) });
        const { records } = await assertRecovers(damaged, { acknowledged: log.acknowledged, mayMiss, note }, {
          codec: latin1,
        });
        assertEquals(records.map(({ value }) => value), ["one", "two", "last"], note);
      }
    }
  }
});

test("FileBuffer.emit() delivers nothing of a putMany of several frames when one of them is damaged", async () => {
  const many = ["x", "y", "z"].map((letter) => letter.repeat(40_000));
  for (const segmentBytes of [1_000, 2 ** 20]) {
    const log = await makeLog(["before", many, "behind", "more"], { segmentBytes });
    const path = `/buffer/${
      segmentsOf(log.fileSystem).find((name) => framesOf(log.fileSystem.readFile(`/buffer/${name}`)).length >= 3)
    }`;
    const bytes = log.fileSystem.readFile(path);
    const frames = framesOf(bytes).filter(({ flags }) => flags > 0);
    assertEquals(frames.length, 3);
    for (const { offset, length } of frames) {
      for (const at of [0, 4, 8, 23, 24, 28, length - 1]) {
        const note = `segments of ${segmentBytes}, byte ${offset + at}`;
        const fileSystem = copyOf(log.fileSystem, { [path]: flipBit(bytes, offset + at, 1) });
        const mayMiss = [{ first: 2, last: 4 }];
        const drained = await assertRecovers(fileSystem, { acknowledged: log.acknowledged, mayMiss, note });
        assertEquals(drained.records.map(({ sequence }) => sequence), [1, 5, 6], note);
      }
    }
  }
});

test("FileBuffer loses nothing but what is damaged, and says so, whatever happens to the files", async () => {
  const bases = [await makeBase(), await makeBase(2)];
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed);
    const base = bases[random(2)]!;
    const committed = base === bases[0] ? 0 : 10;
    const files: Record<string, Uint8Array | undefined> = {};
    const hits = new Set<number>();
    for (let i = 0; i < 1 + random(3); i++) {
      const segment = random(base.firsts.length);
      const path = base.path(segment);
      const bytes = files[path] ?? base.bytes(segment);
      const [a, b] = [random(bytes.length + 1), random(bytes.length + 1)].sort((x, y) => x - y) as [number, number];
      const ways: (() => Uint8Array | undefined)[] = [
        () => flipBit(bytes, a, random(8)),
        () => zeroRange(bytes, a, b),
        () => overwrite(bytes, a, garbage(b - a, seed)),
        () => cut(bytes, a),
        () => removeRange(bytes, a, b),
        () => duplicateBlock(bytes, a, b),
        () => concat(bytes, bytes.slice(a, b)),
        () => concat(bytes, new Uint8Array(b)),
        () => swapBlocks(bytes, a, a + ((b - a) >> 1), b),
        () => undefined,
      ];
      hits.add(segment);
      files[path] = ways[random(ways.length)]!();
    }
    const note = `seed ${seed}, segments ${[...hits]}`;
    const acknowledged = base.acknowledged.filter(({ sequence }) => sequence > committed);
    const mayMiss = [...hits].map((segment) => ({
      first: base.firsts[segment]!,
      last: (base.firsts[segment + 1] ?? Infinity) - 1,
    }));
    await assertRecovers(copyOf(base.fileSystem, files), { acknowledged, mayMiss, note }, SMALL);
  }
});
