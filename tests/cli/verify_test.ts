/**
 * `verify` on whole and on damaged logs: what it finds, and what it takes for sound. Every file system here refuses changes,
 * and every file is compared byte for byte afterwards.
 */

import { test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { overwrite, uint32 } from "../support/bytes.ts";
import { hitFrame, hitHeader, makeBase, makeForeign } from "../support/damaged_logs.ts";
import { frameOf, headerOf, segmentOf } from "../support/frames.ts";
import { copyOf, CURSOR_PATH, type Files, segmentPath } from "../support/logs.ts";
import { linesOf, type ReadingOptions, readUnchanged } from "./reading.ts";

const base = await makeBase(1);
const foreign = await makeForeign();
const { path, bytes } = base;

function on(files: Files, args: readonly string[], options?: ReadingOptions): ReturnType<typeof readUnchanged> {
  return readUnchanged(copyOf(base.fileSystem, files), args, options);
}

test("verify says sound when every frame is there", async () => {
  const { code, output, errors } = await on({}, ["verify", "/buffer"]);
  assertEquals(
    output.replace(/[0-9a-f-]{36}/, "UUID"),
    `\
log       /buffer
verdict   sound
buffer    UUID
segments  4, 1.5 KiB
frames    19
records   19, 242 B, sequences 6 to 24
cursor    committed up to 5
`,
  );
  assertEquals([code, errors], [0, ""]);
});

test("verify says what is wrong, and where", async () => {
  const files = {
    [path(1)]: hitFrame(bytes(1), 1),
    [path(2)]: hitHeader(bytes(2)),
    [path(-1)]: hitFrame(bytes(-1), -1),
  };
  const { code, output } = await on(files, ["verify", "/buffer"]);
  assertEquals(
    output.replace(/[0-9a-f-]{36}/, "UUID"),
    `\
log       /buffer
verdict   NOT SOUND
buffer    UUID
segments  3, 1.1 KiB
frames    12
records   12, 151 B, sequences 6 to 23
cursor    committed up to 5
missing   7 records
damaged   46 B
torn      44 B

segment                   offset  length  sequences  what
00000000000000000011.wal     205    46 B  12         damaged bytes
00000000000000000016.wal       -   385 B  -          header can't be read
-                              -       -  16 to 20   records missing
00000000000000000021.wal     293    44 B  -          unfinished write
-                              -       -  24         records missing
`,
  );
  assertEquals(code, 1);
});

test("verify --json gives everything", async () => {
  const { code, output } = await on({ [path(1)]: hitFrame(bytes(1), 1) }, ["verify", "/buffer", "--json"]);
  const { sound, totals, segments, findings, cursorState } = JSON.parse(output);
  assertEquals([code, sound, cursorState], [1, false, "ok"]);
  assertEquals(findings, [{
    kind: "damaged",
    segment: "00000000000000000011.wal",
    offset: 205,
    length: 46,
    missing: { first: 12, last: 12 },
    harmless: false,
  }]);
  assertEquals(totals, {
    segments: 4,
    bytes: 1490,
    frames: 18,
    records: 18,
    payloadBytes: 228,
    damagedBytes: 46,
    tornBytes: 0,
    missingRecords: 1,
  });
  assertEquals(segments[1], {
    name: "00000000000000000011.wal",
    bytes: 388,
    codecVersion: 0,
    isJson: false,
    createdAt: 1767225600000,
    firstSequence: 11,
    lastSequence: 15,
    frames: 4,
    records: 4,
    payloadBytes: 54,
  });
});

test("verify takes an unfinished write at the end, and a segment just begun, for sound", async () => {
  const torn = overwrite(bytes(-1), bytes(-1).length, bytes(-1).slice(160, 190));
  const { code, output } = await on({ [path(-1)]: torn, [segmentPath(25)]: new Uint8Array(80) }, ["verify", "/buffer"]);
  assertEquals(code, 0, output);
  assertStringIncludes(output, "unfinished write");
  assertStringIncludes(output, "segment without content");
});

test("verify counts space that is set aside as no part of a torn tail", async () => {
  const { output } = await on({ [path(-1)]: overwrite(bytes(-1), 2000, new Uint8Array(1)) }, [
    "verify",
    "/buffer",
    "--json",
  ]);
  const { sound, totals, findings } = JSON.parse(output);
  assertEquals([sound, totals.tornBytes], [true, 0]);
  assertEquals(findings.map(({ kind, isZero }: { kind: string; isZero: boolean }) => [kind, isZero]), [["torn", true]]);
});

interface Unsound {
  readonly name: string;
  readonly files: Files;
  readonly says: string;
}

/** A segment with another header, everything else as it was; its frames are made anew, since the salt seeds them. */
function withHeader(segment: number, changes: Parameters<typeof headerOf>[0]): Uint8Array {
  const first = base.firsts.at(segment)!;
  const records = base.acknowledged.filter(({ sequence }) =>
    first <= sequence && sequence < base.firsts.at(segment + 1)!
  );
  const header = headerOf({ firstSequence: first, uuid: uuidOf(bytes(segment)), ...changes });
  const frames = records.map(({ sequence, value }) => frameOf({ sequence, payloads: [value], salt: header.salt }));
  return segmentOf(header, ...frames);
}

function uuidOf(segment: Uint8Array): string {
  const hex = [...segment.slice(16, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** What came before a segment, as its header says. */
function before(segment: number): { payloadBytesBefore: number; logBytesBefore: number } {
  const view = new DataView(bytes(segment).buffer);
  return {
    payloadBytesBefore: Number(view.getBigUint64(40, true)),
    logBytesBefore: Number(view.getBigUint64(48, true)),
  };
}

const UNSOUND: readonly Unsound[] = [
  { name: "a segment is gone", files: { [path(1)]: undefined }, says: "11 to 15   records missing" },
  { name: "a segment is another buffer's", files: { [path(1)]: foreign.bytes(2) }, says: "segment of another buffer" },
  {
    name: "a segment is of a newer version",
    files: { [path(1)]: overwrite(overwrite(bytes(1), 8, uint32(7)), 88, uint32(7)) },
    says: "format version 7, newer than this program",
  },
  { name: "the last header can't be read", files: { [path(-1)]: hitHeader(bytes(-1)) }, says: "at most 21 to 24" },
  {
    name: "the cursor is gone",
    files: { [CURSOR_PATH]: undefined },
    says: "is missing: committed records will come again",
  },
  { name: "the cursor is damaged", files: { [CURSOR_PATH]: new Uint8Array(8704) }, says: "can't be read" },
  { name: "the cursor is another buffer's", files: { [CURSOR_PATH]: foreign.cursor }, says: "is another buffer's" },
  {
    name: "a header counts other payload bytes before it",
    files: { [path(1)]: withHeader(1, { ...before(1), payloadBytesBefore: before(1).payloadBytesBefore + 1 }) },
    says: `its header counts ${before(1).payloadBytesBefore + 1} payload bytes, not ${before(1).payloadBytesBefore}`,
  },
  {
    name: "a header counts other bytes of frames before it",
    files: { [path(1)]: withHeader(1, { ...before(1), logBytesBefore: before(1).logBytesBefore - 1 }) },
    says: `its header counts ${before(1).logBytesBefore - 1} bytes of frames, not ${before(1).logBytesBefore}`,
  },
  {
    name: "the cursor counts other bytes than the log",
    files: { [path(0)]: withHeader(0, { ...before(0), payloadBytesBefore: before(0).payloadBytesBefore + 5 }) },
    says: "its committed position counts",
  },
];

for (const { name, files, says } of UNSOUND) {
  test(`verify says not sound when ${name}`, async () => {
    const { code, output } = await on(files, ["verify", "/buffer"], { columns: 200 });
    assertStringIncludes(output, says);
    assertStringIncludes(output, "NOT SOUND");
    assertEquals(code, 1);
  });
}

test("verify and dump take a single segment's file, inspect asks for the directory", async () => {
  const verified = await on({ [path(1)]: hitFrame(bytes(1), 1) }, ["verify", path(1)]);
  assertEquals(verified.code, 1);
  assertStringIncludes(verified.output, "records   4, 54 B, sequences 11 to 15");
  const sound = await on({}, ["verify", path(1)]);
  assertEquals([sound.code, sound.output.includes("cursor")], [0, false]);
  const dumped = await on({ "/copy.bad": bytes(1) }, ["dump", "/copy.bad", "--format=text"]);
  assertEquals(linesOf(dumped.output), base.acknowledged.slice(10, 15).map(({ value }) => value));
  const { code, errors } = await on({}, ["inspect", path(1)]);
  assertEquals(code, 3);
  assertEquals(
    errors,
    `sluice: Cannot read "${path(1)}": it is a segment of a buffer, give the buffer's directory: "/buffer"\n`,
  );
});
