/**
 * What a scan finds is what a buffer finds that is opened and drained: the same records, the same places that can't be
 * read. The logs are damaged in all the ways of `cases.ts`.
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import type { SequenceRange } from "../../src/base/sequences.ts";
import { UnsupportedVersionError } from "../../src/errors/mod.ts";
import { scanLog } from "../../src/maintenance/scan.ts";
import type { ScanItem } from "../../src/maintenance/scan_items.ts";
import { readDirectory } from "../../src/maintenance/snapshot.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { readOnly } from "../cli/reading.ts";
import { allCases, type Case, count, frames, makeBases } from "../faults/corruption/cases.ts";
import { concat, cut, overwrite, uint32, viewOf } from "../support/bytes.ts";
import { currentRuntime } from "../support/children.ts";
import { hitFrame, hitHeader, makeBase, makeForeign, range } from "../support/damaged_logs.ts";
import { frameOf, framesOf } from "../support/frames.ts";
import { copyOf, CURSOR_PATH, DIRECTORY, drainCopy, type Drained } from "../support/logs.ts";

/** Of so many cases one is tried: on Deno more of them. */
const STEP = currentRuntime().name === "deno" ? 61 : 131;
const SLOW = { timeout: 120_000 };

const bases = await makeBases();
const base = await makeBase(1);
const foreign = await makeForeign();

function scan(fileSystem: MemoryFileSystem, options?: Parameters<typeof scanLog>[2]): ScanItem[] {
  return [...scanLog(readOnly(fileSystem), DIRECTORY, options)];
}

/** Items without what a frame has besides its place. */
function outline(items: readonly ScanItem[]): unknown[] {
  return items.flatMap((item) =>
    item.kind === "frame" || item.kind === "segment"
      ? []
      : [{ ...item, segment: "segment" in item && +item.segment.slice(0, 20) }]
  );
}

function sequencesOf(items: readonly ScanItem[]): number[] {
  return items.flatMap((item) =>
    item.kind === "frame" ? range(item.firstSequence, item.firstSequence + item.count - 1) : []
  );
}

/** What is left of a range without others. */
function without(range: SequenceRange, others: readonly SequenceRange[]): SequenceRange[] {
  let left = [range];
  for (const { first, last } of others) {
    left = left.flatMap((one) => [
      { first: one.first, last: Math.min(one.last, first - 1) },
      { first: Math.max(one.first, last + 1), last: one.last },
    ]).filter((one) => one.first <= one.last);
  }
  return left;
}

/** Holds a scan against what comes out of the log; false if the log is of a newer version. */
async function assertAgrees(one: Case): Promise<boolean> {
  const note = `${one.base.name}, ${one.kind}: ${one.name}`;
  const fileSystem = copyOf(one.base.fileSystem, one.files);
  let drained: Drained;
  try {
    drained = await drainCopy(fileSystem, one.base.options);
  } catch (error) {
    if (!(error instanceof UnsupportedVersionError)) throw error;
    const refuses = (): boolean => scan(fileSystem).some((item) => item.kind === "unusable" && item.why === "version");
    try {
      assert(refuses(), `${note}: newer version`);
    } catch (refusal) {
      assert(refusal instanceof UnsupportedVersionError, `${note}: ${refusal}`);
    }
    return false;
  }
  const items: ScanItem[] = [];
  const values = new Map<number, string>();
  for (const item of scanLog(readOnly(fileSystem), DIRECTORY)) {
    items.push(item);
    if (item.kind !== "frame") continue;
    item.payloads().forEach((payload, i) => {
      const sequence = item.firstSequence + i;
      assert(!values.has(sequence), `${note}: ${sequence} comes twice`);
      values.set(sequence, one.base.options.codec!.decode(payload, 0));
    });
  }
  for (const { sequence, value } of drained.records) {
    assertEquals(values.get(sequence), value, `${note}: record ${sequence}`);
  }
  assertRegions(items, drained, note);
  return true;
}

/**
 * Whether a scan says the same of a region: no byte of it is left that isn't damaged. A reader that finds no frame where its
 * position says begins at the segment's first one again, and may pass frames that it has delivered, together with what is
 * damaged before and behind them.
 */
function isCovered({ segment, offset, length }: Drained["regions"][number], items: readonly ScanItem[]): boolean {
  const places = items.flatMap((item) => {
    if (!("segment" in item) || item.segment !== segment) return [];
    if (item.kind === "unusable") return [{ offset: 0, length: item.bytes, isDamaged: true }];
    return item.kind === "damaged" || item.kind === "frame" ? [{ ...item, isDamaged: item.kind === "damaged" }] : [];
  }).filter((place) => place.offset < offset + length && place.offset + place.length > offset);
  const end = places.sort((a, b) => a.offset - b.offset)
    .reduce((at, place) => place.offset <= at ? Math.max(at, place.offset + place.length) : at, offset);
  if (length === 0) return true;
  if (places.every(({ isDamaged }) => isDamaged)) {
    return places.some((place) => place.offset === offset && place.length === length);
  }
  return end >= offset + length && places.some(({ isDamaged }) => isDamaged);
}

/** Every place that a buffer reports is one that the scan reports, and the other way round for what isn't committed. */
function assertRegions(items: readonly ScanItem[], drained: Drained, note: string): void {
  const missing = items.flatMap((item): SequenceRange[] => {
    if (item.kind === "damaged" || item.kind === "missing") return item.missing === undefined ? [] : [item.missing];
    return item.kind === "unusable" && item.mayHold !== undefined ? [item.mayHold] : [];
  });
  const reported = drained.regions.flatMap((region) => region.missing ?? []);
  for (const range of reported) assertEquals(without(range, missing), [], `${note}: missing, and not found`);
  const firstOut = Math.min(...drained.records.map(({ sequence }) => sequence), drained.nextSequence);
  for (const { first, last } of missing) {
    const range = { first: Math.max(first, firstOut), last };
    if (range.first <= last) assertEquals(without(range, reported), [], `${note}: found, and not missing`);
    const there = sequencesOf(items).find((sequence) => first <= sequence && sequence <= last);
    assertEquals(there, undefined, `${note}: there, and missing`);
  }
  for (const region of drained.regions) {
    assert(isCovered(region, items), `${note}: ${region.length} bytes at ${region.offset} of ${region.segment}`);
  }
  const torn = items.reduce((sum, item) => sum + (item.kind === "torn" ? item.length : 0), 0);
  assertEquals(torn, drained.report.truncatedBytes, `${note}: torn bytes`);
}

test("scanLog() finds the records and the places that a buffer finds, however a log is damaged", SLOW, async () => {
  const cases = allCases(bases, { spareStep: 16, blockStep: 16, samples: 10, seeds: count(1, 2000) });
  let [i, tried, newer] = [0, 0, 0];
  for (const one of cases) {
    if (i++ % STEP !== 0) continue;
    tried++;
    if (!await assertAgrees(one)) newer++;
  }
  console.log(`${tried} of ${i} logs, ${newer} of a newer version`);
  assertGreater(tried, 200);
});

test("scanLog() finds the records and the places that a buffer finds where frames have moved", SLOW, async () => {
  const cases = [...bases.inside, ...bases.blocks].flatMap((base) => [...frames(base)]);
  // In some of these, a frame that skips ahead begins a `putMany` whose rest is elsewhere.
  const first = cases.filter(({ name }) => name.endsWith("frames 1 and 2 swapped"));
  assertGreater(first.length, 2);
  const others = cases.filter((_, i) => i % Math.ceil(STEP / 8) === 0);
  for (const one of [...first, ...others]) await assertAgrees(one);
});

test("scanLog() gives the frames of a whole log in order, and nothing else", () => {
  const items = scan(base.fileSystem);
  assertEquals(outline(items), []);
  assertEquals(sequencesOf(items), range(6, 24));
  const segments = items.filter((item) => item.kind === "segment");
  assertEquals(segments.map(({ isLast }) => isLast), [false, false, false, true]);
});

interface Row {
  readonly name: string;
  readonly files: Record<string, Uint8Array | undefined>;
  readonly finds: readonly unknown[];
}

const { firsts, path, bytes } = base;
const last = bytes(-1);

/** A frame that is valid in a segment. */
function frameIn(segment: number, sequence: number, payloads: readonly string[]): Uint8Array {
  return frameOf({ sequence, payloads, salt: viewOf(bytes(segment)).getUint32(64, true) });
}

const ROWS: readonly Row[] = [
  {
    name: "a bad frame in the middle is damage, with the sequence that it had",
    files: { [path(1)]: hitFrame(bytes(1), 1) },
    finds: [{ kind: "damaged", segment: firsts[1], offset: 205, length: 46, missing: { first: 12, last: 12 } }],
  },
  {
    name: "a bad frame at the end of a segment before the last is damage",
    files: { [path(1)]: hitFrame(bytes(1), -1) },
    finds: [{ kind: "damaged", segment: firsts[1], offset: 346, length: 42, missing: { first: 15, last: 15 } }],
  },
  {
    name: "a bad frame at the end of the last is torn; the cursor knows that it was there",
    files: { [path(-1)]: hitFrame(last, -1) },
    finds: [
      { kind: "torn", segment: firsts.at(-1), offset: 293, length: 44, isZero: false },
      { kind: "missing", missing: { first: 24, last: 24 }, segment: false },
    ],
  },
  {
    name: "zeros behind the last frame are space set aside",
    files: { [path(-1)]: overwrite(last, last.length + 999, new Uint8Array(1)) },
    finds: [{ kind: "torn", segment: firsts.at(-1), offset: last.length, length: 1000, isZero: true }],
  },
  {
    name: "a segment that was cut lacks its last records",
    files: { [path(1)]: cut(bytes(1), 346) },
    finds: [{ kind: "missing", missing: { first: 15, last: 15 }, segment: false }],
  },
  {
    name: "a segment that is gone is a run of missing records",
    files: { [path(1)]: undefined },
    finds: [{ kind: "missing", missing: { first: 11, last: 15 }, segment: false }],
  },
  {
    name: "a first segment that is gone is missed, because the cursor says that it isn't committed",
    files: { [path(0)]: undefined },
    finds: [{ kind: "missing", missing: { first: 6, last: 10 }, segment: false }],
  },
  {
    name: "without a cursor nobody knows that there was a segment before the first",
    files: { [path(0)]: undefined, [CURSOR_PATH]: undefined },
    finds: [],
  },
  {
    name: "a header that can't be read makes the segment unusable",
    files: { [path(1)]: hitHeader(bytes(1)) },
    finds: [
      { kind: "unusable", segment: 11, bytes: 388, why: "header", version: undefined, mayHold: undefined },
      { kind: "missing", missing: { first: 11, last: 15 }, segment: false },
    ],
  },
  {
    name: "of the last one nobody knows how many records it held",
    files: { [path(-1)]: hitHeader(last) },
    finds: [
      {
        kind: "unusable",
        segment: 21,
        bytes: 337,
        why: "header",
        version: undefined,
        mayHold: { first: 21, last: 24 },
      },
    ],
  },
  {
    name: "another buffer's segment is foreign",
    files: { [path(1)]: foreign.bytes(2) },
    finds: [
      { kind: "unusable", segment: 11, bytes: 393, why: "foreign", version: undefined, mayHold: undefined },
      { kind: "missing", missing: { first: 11, last: 15 }, segment: false },
    ],
  },
  {
    name: "a newer version in between is said",
    files: { [path(1)]: overwrite(overwrite(bytes(1), 8, uint32(7)), 88, uint32(7)) },
    finds: [
      { kind: "unusable", segment: 11, bytes: 388, why: "version", version: 7, mayHold: undefined },
      { kind: "missing", missing: { first: 11, last: 15 }, segment: false },
    ],
  },
  {
    name: "records before a last segment that can't be read are missing if no segment has them",
    files: { [path(2)]: undefined, [path(-1)]: hitHeader(last) },
    finds: [
      { kind: "missing", missing: { first: 16, last: 20 }, segment: false },
      {
        kind: "unusable",
        segment: 21,
        bytes: 337,
        why: "header",
        version: undefined,
        mayHold: { first: 21, last: 24 },
      },
    ],
  },
  {
    name: "a frame behind the place where the next segment goes on is not believed",
    files: { [path(1)]: concat(bytes(1), frameIn(1, 16, ["cut off, and back"])) },
    finds: [{ kind: "damaged", segment: 11, offset: 388, length: 49, missing: undefined }],
  },
  {
    name: "a segment that was just begun is empty",
    files: { [`${DIRECTORY}/00000000000000000025.wal`]: new Uint8Array(0) },
    finds: [{ kind: "unusable", segment: 25, bytes: 0, why: "empty", version: undefined, mayHold: undefined }],
  },
];

for (const { name, files, finds } of ROWS) {
  test(`scanLog(): ${name}`, () => {
    assertEquals(outline(scan(copyOf(base.fileSystem, files))), finds);
  });
}

test("scanLog() gives a record once that stands at the end of a segment and at the start of the next", () => {
  const { offset } = framesOf(bytes(1)).at(-1)!;
  const both = concat(bytes(1).subarray(0, offset), frameIn(1, 15, ["15", "16, before"]));
  for (const [from, first] of [[1, 6], [16, 16]] as const) {
    const items = scan(copyOf(base.fileSystem, { [path(1)]: both }), { from });
    assertEquals(outline(items), []);
    assertEquals(sequencesOf(items), range(first, 24));
    assert(items.every((item) => item.kind !== "frame" || item.count > 0));
  }
});

test("scanLog() refuses a log whose newest segment is of a newer version, and says which", () => {
  const files = { [path(-1)]: overwrite(overwrite(last, 8, uint32(7)), 88, uint32(7)) };
  const error = assertThrows(() => scan(copyOf(base.fileSystem, files)), UnsupportedVersionError);
  assertEquals(error.version, 7);
});

test("scanLog() reads only the segments that hold what is asked for", () => {
  for (const [from, to] of [[6, 24], [1, 7], [12, 12], [15, 16], [16, 20], [22, 99], [25, 30]] as const) {
    const items = scan(base.fileSystem, { from, to });
    assertEquals(sequencesOf(items), range(Math.max(6, from), Math.min(24, to)), `${from} to ${to}`);
    const read = items.flatMap((item) => item.kind === "segment" ? [item.header.firstSequence] : []);
    const right = firsts.filter((first, i) => first <= to && (firsts[i + 1] ?? Infinity) > Math.min(from, 24));
    assertEquals(read, right, `${from} to ${to}`);
  }
});

test("scanLog() says nothing of damage before and behind what is asked for", () => {
  const fileSystem = copyOf(base.fileSystem, {
    [path(1)]: hitFrame(bytes(1), 1),
    [path(2)]: undefined,
    [path(-1)]: hitFrame(last, -1),
  });
  assertEquals(outline(scan(fileSystem, { from: 13, to: 15 })), []);
  assertEquals(outline(scan(fileSystem, { from: 13, to: 17 })), [
    { kind: "missing", missing: { first: 16, last: 17 }, segment: false },
  ]);
  assertEquals(sequencesOf(scan(fileSystem, { from: 13 })), [13, 14, 15, 21, 22, 23]);
});

test("readDirectory() sees the small files and the names", () => {
  const snapshot = readDirectory(readOnly(base.fileSystem), DIRECTORY);
  assertEquals(snapshot.segments.map(({ firstSequence, bytes }) => [firstSequence, bytes]), [
    [6, 380],
    [11, 388],
    [16, 385],
    [21, 337],
  ]);
  assertEquals(snapshot.cursorState, "ok");
  assertEquals(snapshot.cursor?.committed.nextSequence, 6);
  assertEquals(snapshot.owner?.runtime, "memory");
  assertEquals(snapshot.uuid, snapshot.cursor?.uuid);
  const states = [undefined, new Uint8Array(8704), foreign.cursor].map((cursor) =>
    readDirectory(copyOf(base.fileSystem, { [CURSOR_PATH]: cursor }), DIRECTORY).cursorState
  );
  assertEquals(states, ["missing", "damaged", "foreign"]);
});
