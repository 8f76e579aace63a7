/**
 * `DiskUsage`: what is said of segments by the totals in their headers is what they take, and never below zero.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { DiskUsage, type SegmentSize } from "../../src/wal/disk_usage.ts";
import { OrderedSegments } from "../../src/wal/ordered_segments.ts";
import type { Segment } from "../../src/wal/segment_files.ts";
import { HEADER_BYTES, seededRandom } from "../support/log_tools.ts";

/** A file, and whether its header is one of the log. */
interface File {
  readonly segment: Segment;
  bytes: number;
  readonly logBytesBefore: number | undefined;
}

/** `count` segments with frames of 10, 20, 30 ... bytes. */
function healthy(count: number): { files: File[]; end: { nextSequence: number; logBytes: number } } {
  let logBytes = 0;
  const files = Array.from({ length: count }, (_, i): File => {
    const file = { segment: segmentAt(1 + 10 * i), bytes: HEADER_BYTES + 10 * (i + 1), logBytesBefore: logBytes };
    logBytes += 10 * (i + 1);
    return file;
  });
  return { files, end: { nextSequence: 1 + 10 * count, logBytes } };
}

function segmentAt(firstSequence: number): Segment {
  return { name: String(firstSequence), firstSequence };
}

function bytesOf(files: readonly File[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A list with its usage, of which the first and the last segment are known. */
function open(files: readonly File[], end: { nextSequence: number; logBytes: number }) {
  const segments = new OrderedSegments(files.map(({ segment }) => segment));
  const known: SegmentSize[] = files.length === 0 ? [] : [files[0]!, files.at(-1)!];
  return { segments, usage: new DiskUsage(segments, known, end) };
}

test("DiskUsage knows what a healthy log takes by its first and its last segment", () => {
  for (const count of [0, 1, 2, 3, 10]) {
    const { files, end } = healthy(count);
    const { segments, usage } = open(files, end);
    assertEquals(usage.bytes, bytesOf(files));
    for (const file of files.slice(0, -1)) {
      segments.remove(file.segment);
      usage.remove(file.segment);
    }
    assertEquals(usage.bytes, count === 0 ? 0 : files.at(-1)!.bytes);
  }
});

test("DiskUsage counts a hole at the end of a file, or frames that are lost, as nothing once it is known", () => {
  const { files, end } = healthy(3);
  files[1]!.bytes += 1_000_000;
  const { usage } = open(files, end);
  usage.recordSize(files[1]!);
  assertEquals(usage.bytes, bytesOf(files) - 1_000_000);
  const lost = healthy(3);
  lost.files[1]!.bytes -= 15;
  const after = open(lost.files, lost.end).usage;
  assertEquals(after.bytes, bytesOf(lost.files) + 15);
  after.recordSize(lost.files[1]!);
  assertEquals(after.bytes, bytesOf(lost.files));
});

test("DiskUsage doesn't count again what was removed, when somebody who still reads it looks at it", () => {
  const { files, end } = healthy(3);
  const { segments, usage } = open(files, end);
  segments.remove(files[0]!.segment);
  usage.remove(files[0]!.segment);
  usage.recordSize(files[1]!);
  usage.recordSize(files[0]!);
  assertEquals(usage.bytes, bytesOf(files.slice(1)));
});

test("DiskUsage is never below zero, and right when all is known, whatever comes, goes and was lost", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = seededRandom(seed);
    const { files, end } = healthy(random(8));
    for (const file of files) if (random(3) === 0) file.bytes = random(file.bytes);
    for (let i = random(3); i > 0; i--) {
      const firstSequence = 2 + random(80);
      if (firstSequence > end.nextSequence || files.length === 0) continue;
      if (files.some(({ segment }) => segment.firstSequence === firstSequence)) continue;
      files.push({ segment: segmentAt(firstSequence), bytes: random(500), logBytesBefore: undefined });
    }
    files.sort((a, b) => a.segment.firstSequence - b.segment.firstSequence);
    if (files.at(-1)?.logBytesBefore === undefined) files.pop();
    const { segments, usage } = open(files, end);
    let { nextSequence, logBytes } = end;
    for (let steps = random(20); steps > 0; steps--) {
      const at = random(files.length);
      const way = random(4);
      if (way === 0) {
        files.push({ segment: segmentAt(nextSequence), bytes: HEADER_BYTES + 7, logBytesBefore: logBytes });
        segments.append(segmentAt(nextSequence));
        usage.recordSize({ segment: segmentAt(nextSequence), bytes: HEADER_BYTES, logBytesBefore: logBytes });
        usage.addToLast(7);
        nextSequence += 5;
        logBytes += 7;
      } else if (files.length > 0 && way === 1) {
        const [gone] = files.splice(at, 1);
        segments.remove(gone!.segment);
        usage.remove(gone!.segment);
      } else if (files.length > 0) usage.recordSize(files[at]!);
      assert(usage.bytes >= 0, `seed ${seed}: ${usage.bytes}`);
    }
    for (const file of files) usage.recordSize(file);
    assertEquals(usage.bytes, bytesOf(files), `seed ${seed}`);
    for (const { segment } of files) {
      segments.remove(segment);
      usage.remove(segment);
    }
    assertEquals(usage.bytes, 0, `seed ${seed}`);
  }
});
