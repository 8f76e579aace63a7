/**
 * Recovery from an interrupted write: wherever a log is cut, everything that was whole before the cut is there, the log
 * can be gone on with, and another recovery finds nothing to do.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { concat, cut, garbage, zeroRange } from "../support/bytes.ts";
import { sampleOf } from "../support/extent.ts";
import { type FrameFound, framesOf, HEADER_BYTES } from "../support/frames.ts";
import {
  assertRecovers,
  assertSound,
  commitBatches,
  copyOf,
  drainCopy,
  type MadeLog,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  texts,
} from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

/** The records of the frames up to the first that `damaged`, a state of the segment at `path`, hasn't whole. */
function wholeIn({ fileSystem, acknowledged }: MadeLog, path: string, damaged: Uint8Array): MadeLog["acknowledged"] {
  const bytes = fileSystem.readFile(path);
  const isWhole = ({ offset, length }: FrameFound) =>
    bytes.subarray(offset, offset + length).every((byte, i) => byte === damaged[offset + i]);
  const next = framesOf(bytes).find((frame) => !isWhole(frame))?.sequence ?? Infinity;
  return acknowledged.filter(({ sequence }) => sequence < next);
}

/** As `assertRecovers`, without going on with the log. */
const assertDrains: typeof assertRecovers = async (fileSystem, expectation, options) => {
  const drained = await drainCopy(fileSystem, options);
  assertSound(drained, expectation);
  return drained;
};

/** Of the cuts of a long log; on Deno every byte is tried, the three others share them. */
const SAMPLE = sampleOf({ elsewhere: 3 });

const SMALL = ["one", "", ["three", "four"], "five".repeat(9), "6", ["7", "8", "9"], "ten"];
const SMALL_PATH = segmentPath(1);

test("FileBuffer.open() recovers a segment that is cut at any byte, and goes on with it", async () => {
  const log = await makeLog(SMALL);
  const bytes = log.fileSystem.readFile(SMALL_PATH);
  assertEquals(framesOf(bytes).length, 7);
  for (let length = 0; length <= bytes.length; length++) {
    const note = `cut at ${length}`;
    const fileSystem = copyOf(log.fileSystem, { [SMALL_PATH]: cut(bytes, length) });
    const acknowledged = wholeIn(log, SMALL_PATH, cut(bytes, length));
    const { records, report, regions } = await assertRecovers(fileSystem, { acknowledged, note });
    assertEquals(records, acknowledged, note);
    const frames = framesOf(bytes).filter((frame) => frame.offset + frame.length <= length);
    const end = frames.length === 0 ? HEADER_BYTES : frames.at(-1)!.offset + frames.at(-1)!.length;
    assertEquals(report.truncatedBytes, Math.max(0, length - end), note);
    assertEquals([report.recoveredRecords, report.cursorLost, regions], [acknowledged.length, false, []], note);
  }
});

test("FileBuffer.open() recovers a segment that is zeros, or garbage, from any byte on", async () => {
  const log = await makeLog(SMALL);
  const bytes = log.fileSystem.readFile(SMALL_PATH);
  for (let length = HEADER_BYTES; length < bytes.length; length += 3) {
    const ends = {
      zeros: zeroRange(bytes, length, bytes.length),
      "a page of zeros": concat(cut(bytes, length), new Uint8Array(4096)),
      garbage: concat(cut(bytes, length), garbage(300, length)),
    };
    for (const [name, damaged] of Object.entries(ends)) {
      // An empty record ends with zeros, so that zeros do it no harm.
      const acknowledged = wholeIn(log, SMALL_PATH, damaged);
      const fileSystem = copyOf(log.fileSystem, { [SMALL_PATH]: damaged });
      const drained = await drainCopy(fileSystem);
      assertSound(drained, { acknowledged, note: `${name} from ${length} on` });
      assertEquals(drained.records, acknowledged, `${name} from ${length} on`);
    }
  }
});

const QUARTERS = ["first", "second", "third", "last"];
for (const [quarter, name] of QUARTERS.entries()) {
  test(`FileBuffer.open() recovers a log that is cut at any byte of the ${name} quarter of its last 4 KiB`, async () => {
    const random = seededRandom(7);
    const values = texts(95).map((text) => text + ".".repeat(random(random(5) === 0 ? 300 : 40)));
    const log = await makeLog(values, { segmentBytes: 4_500 });
    const [, last] = segmentsOf(log.fileSystem);
    const path = `/buffer/${last}`;
    const bytes = log.fileSystem.readFile(path);
    const from = bytes.length - 4096;
    assert(from > HEADER_BYTES, `the last segment has only ${bytes.length} bytes`);
    for (let i = 0; i < 1024; i++) {
      if (!SAMPLE.has(i)) continue;
      const length = from + quarter * 1024 + i;
      const note = `seed 7, cut at ${length}`;
      const damaged = cut(bytes, length);
      const { buffer } = await openLog(copyOf(log.fileSystem, { [path]: damaged }));
      const batch = await buffer.emit();
      const whole = wholeIn(log, path, damaged);
      assertEquals([batch.firstSequence, batch.lastSequence], [1, whole.length], note);
      assert(batch.records.every((value, i) => value === whole[i]!.value), note);
      assertEquals(await buffer.put("one more"), whole.length + 1, note);
    }
  });
}

test("FileBuffer.open() keeps the batch in flight, what is committed and all sequences, wherever the log is cut", async () => {
  // Committed: 1 to 2; in flight: 3 to 5; the cursor knows of 8 records, and of all 10 after a close.
  for (const ends of ["killed", "closed"] as const) {
    const finish: Parameters<typeof makeLog>[1] = {
      ends,
      maxRecords: 3,
      finish: async (buffer) => {
        await commitBatches(buffer, 1);
        await buffer.emit();
      },
    };
    const log = await makeLog(["one", "two", "three", "four", ["five", "six"], "seven", "eight"], finish);
    const bytes = log.fileSystem.readFile(SMALL_PATH);
    for (let length = HEADER_BYTES; length <= bytes.length; length++) {
      const note = `${ends}, cut at ${length}`;
      const fileSystem = copyOf(log.fileSystem, { [SMALL_PATH]: cut(bytes, length) });
      const there = wholeIn(log, SMALL_PATH, cut(bytes, length)).filter(({ sequence }) => sequence > 3);
      const acknowledged = log.acknowledged.filter(({ sequence }) => sequence > 3);
      const lostFrom = (there.at(-1)?.sequence ?? 3) + 1;
      const mayMiss = lostFrom > 8 ? [] : [{ first: lostFrom, last: 8 }];
      const check = length % 4 === 0 ? assertRecovers : assertDrains;
      const drained = await check(fileSystem, { acknowledged, mayMiss, note }, { maxRecords: 2 });
      assertEquals(drained.records, there, note);
      assertEquals(drained.nextSequence, 9, note);
      // Emitted with up to 3 records, it has them still, or what is left of them.
      const inFlight = there.filter(({ sequence }) => sequence <= 6);
      if (inFlight.length > 0) assertEquals(drained.batches[0], `4-${inFlight.at(-1)!.sequence}`, note);
    }
  }
});

test("FileBuffer.open() recovers a putMany of several frames as a whole or not at all, wherever it is cut", async () => {
  const many = ["x", "y", "z", "end"].map((letter, i) => letter.repeat([40_000, 30_000, 50_000, 1][i]!));
  const log = await makeLog(["before", many, "behind"]);
  const bytes = log.fileSystem.readFile(SMALL_PATH);
  const frames = framesOf(bytes);
  assertEquals(frames.map(({ count, flags }) => [count, flags]), [[1, 0], [1, 1], [1, 3], [2, 2], [1, 0]]);
  const random = seededRandom(11);
  const cuts = new Set<number>();
  for (const { offset } of frames) for (let i = -34; i <= 34; i++) cuts.add(offset + i);
  for (let i = 0; i < 40; i++) cuts.add(HEADER_BYTES + random(bytes.length - HEADER_BYTES));
  cuts.add(bytes.length);
  for (const length of [...cuts].filter((length) => length >= HEADER_BYTES && length <= bytes.length)) {
    const note = `seed 11, cut at ${length}`;
    const behind = frames[4]!.offset;
    const acknowledged = log.acknowledged.filter(({ sequence }) =>
      sequence === 1 ? length >= frames[1]!.offset : sequence <= 5 ? length >= behind : length === bytes.length
    );
    const drained = await drainCopy(copyOf(log.fileSystem, { [SMALL_PATH]: cut(bytes, length) }));
    assertSound(drained, { acknowledged, note });
    assertEquals(drained.records.map(({ sequence }) => sequence), acknowledged.map(({ sequence }) => sequence), note);
  }
});

test("FileBuffer.open() recovers a log whose newest segment has been begun only", async () => {
  const log = await makeLog(texts(20), { segmentBytes: 400, ends: "killed" });
  const whole = log.fileSystem.readFile(SMALL_PATH);
  const next = segmentPath(21);
  for (let length = 0; length <= HEADER_BYTES; length++) {
    const contents = { cut: cut(whole, length), zeros: new Uint8Array(length), garbage: garbage(length, length) };
    for (const [name, bytes] of Object.entries(contents)) {
      const note = `${length} bytes of a header, ${name}`;
      const fileSystem = copyOf(log.fileSystem, { [next]: bytes });
      const expectation = { acknowledged: log.acknowledged, note };
      const isChecked = length % 8 === 0 || length > 150;
      const drained = isChecked ? await assertRecovers(fileSystem, expectation) : await drainCopy(fileSystem);
      assertSound(drained, expectation);
      assertEquals([drained.records, drained.nextSequence], [[...log.acknowledged], 21], note);
    }
  }
});
