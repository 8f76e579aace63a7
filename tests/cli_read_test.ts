/**
 * `inspect`, `verify` and `dump` on whole and on damaged logs: what they print, and with which exit code. Every file system
 * here refuses changes, and every file is compared byte for byte afterwards.
 */

import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bytesCodec, jsonCodec } from "../src/codec.ts";
import { FileBuffer } from "../src/file_buffer.ts";
import { MemoryFileSystem } from "../src/fs/memory.ts";
import { ManualClock } from "../src/manual_clock.ts";
import { encodeSegmentHeader } from "../src/wal/format.ts";
import { type ReadingOptions, readUnchanged } from "./cli_reading.ts";
import { hitFrame, hitHeader, makeBase, makeForeign } from "./damaged_logs.ts";
import {
  copyOf,
  CURSOR_PATH,
  type Files,
  frameOf,
  HEADER_BYTES,
  headerOf,
  overwrite,
  segmentOf,
  segmentPath,
  uint32,
} from "./log_tools.ts";

const base = await makeBase(1);
const foreign = await makeForeign();
const { path, bytes } = base;

function on(files: Files, args: readonly string[], options?: ReadingOptions): ReturnType<typeof readUnchanged> {
  return readUnchanged(copyOf(base.fileSystem, files), args, options);
}

function lines(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

/** A log of JSON records, two of them committed, two in flight, one more pending; put at 0, 1000, 2000 ... milliseconds. */
async function makeJsonLog(fileSystem = new MemoryFileSystem()): Promise<MemoryFileSystem> {
  const clock = new ManualClock();
  const buffer = await FileBuffer.open<unknown>({ path: "/buffer", fileSystem, clock, maxRecords: 2 });
  for (const record of [{ n: 1 }, "two", [3], null, { text: "fünf" }]) {
    await buffer.put(record);
    clock.advance(1000);
  }
  await buffer.commit(await buffer.emit());
  await buffer.emit();
  return fileSystem.kill();
}

const jsonLog = await makeJsonLog();
/** As long after the last put. */
const laterClock = new ManualClock();
laterClock.advance(65_000);

// ------------------------------------------------------------------------------------------------------------- inspect

test("inspect shows what a buffer holds", async () => {
  const { code, output, errors } = await readUnchanged(jsonLog, ["inspect", "/buffer"], { clock: laterClock });
  const shown = output.replace(/[0-9a-f-]{36}/, "UUID").replace(/process \d+/, "process PID");
  assertEquals(
    shown,
    `\
log         /buffer
buffer      UUID
format      1, codec version 0, JSON
segments    1, 355 B, sequences 1 to 5
committed   up to sequence 2
in flight   2 records, 7 B in 1 batch
pending     3 records, 23 B
oldest      sequence 3, put 1 min 3 s ago (2026-01-01 00:00:02.000Z)
newest      sequence 5, put 1 min 1 s ago (2026-01-01 00:00:04.000Z)
owner       memory process PID opened it at 2026-01-01T00:00:00.000Z; whether it still runs is not
            known
cursor      ok
quarantine  empty
disk use    8.8 KiB
damage      none known (the last segment was read, verify reads all)
`,
  );
  assertEquals([code, errors], [0, ""]);
});

test("inspect --json gives all of it", async () => {
  const { code, output } = await readUnchanged(jsonLog, ["inspect", "/buffer", "--json"], { clock: laterClock });
  const { uuid: _uuid, owner: _owner, ...rest } = JSON.parse(output);
  assertEquals(rest, {
    path: "/buffer",
    formatVersion: 1,
    codecVersion: 0,
    isJson: true,
    segments: 1,
    firstSequence: 1,
    lastSequence: 5,
    committedSequence: 2,
    inFlight: { records: 2, payloadBytes: 7, batches: 1 },
    pending: { records: 3, payloadBytes: 23 },
    oldestPending: { sequence: 3, putTime: 1767225602000, ageMs: 63000 },
    newest: { sequence: 5, putTime: 1767225604000, ageMs: 61000 },
    cursorState: "ok",
    quarantine: [],
    diskBytes: { segments: 355, cursor: 8704, quarantine: 0 },
    findings: [],
  });
  assertEquals(code, 0);
});

test("inspect counts as stats() does, whatever is committed, in flight or dropped", async () => {
  for (
    const [commits, emits, drops] of [[0, 0, false], [3, 0, false], [2, 2, false], [0, 3, true], [
      24,
      0,
      false,
    ]] as const
  ) {
    const fileSystem = new MemoryFileSystem();
    const buffer = await FileBuffer.open<number>({
      path: "/buffer",
      fileSystem,
      segmentBytes: 300,
      maxRecords: 1,
      maxBacklogBytes: drops ? 500 : 10_000,
      whenFull: "drop-oldest",
    });
    for (let i = 0; i < 3; i++) await buffer.put(i);
    for (let i = 0; i < emits; i++) await buffer.emit();
    for (let i = 3; i < 24; i++) await buffer.put(i);
    for (let i = 0; i < commits; i++) await buffer.commit(await buffer.emit());
    const { pendingRecords, pendingBytes, inFlightRecords } = buffer.stats();
    const left = copyOf(fileSystem);
    const { output, code } = await readUnchanged(left, ["inspect", "/buffer", "--json"]);
    const { pending, inFlight } = JSON.parse(output);
    assertEquals(pending, { records: pendingRecords, payloadBytes: pendingBytes }, `${commits}, ${emits}, ${drops}`);
    assertEquals(inFlight.records, inFlightRecords);
    assertEquals(buffer.stats().dropped > 0, drops);
    assertEquals(code, 0);
    const verified = await readUnchanged(left, ["verify", "/buffer"]);
    assertEquals(verified.code, 0, verified.output);
    const dumped = await readUnchanged(left, ["dump", "/buffer"]);
    assertEquals(lines(dumped.output).length, pendingRecords, `${commits}, ${emits}, ${drops}`);
    await buffer.close();
  }
});

test("inspect reads no segment but the last and the one of the oldest record", async () => {
  const opened = new Set<string>();
  const fileSystem = copyOf(base.fileSystem);
  const watched = fileSystem.kill({
    onOperation: ({ operation, path, length = 0 }) => {
      if (operation === "read" && length > HEADER_BYTES && path.endsWith(".wal")) opened.add(path);
    },
  });
  await readUnchanged(watched, ["inspect", "/buffer"]);
  // Of the others headers at most.
  assertEquals([...opened].sort(), [path(0), path(-1)]);
});

test("inspect of a buffer that was never put to", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem });
  for (const args of [["inspect", "/buffer"], ["verify", "/buffer"], ["dump", "/buffer"]]) {
    const { code, errors } = await readUnchanged(fileSystem, args);
    assertEquals([code, errors], [0, ""], args[0]);
  }
  await buffer.close();
});

test("inspect knows the damage of the last segment, and says so by its exit code", async () => {
  const { code, output } = await on({ [path(-1)]: hitFrame(bytes(-1), 1) }, ["inspect", "/buffer"]);
  assertEquals(code, 1);
  assertStringIncludes(output, "damage      yes\n");
  assertStringIncludes(output, "00000000000000000021.wal     208    42 B  22         damaged bytes\n");
});

test("inspect takes a lost cursor for what it is: everything comes again", async () => {
  const { code, output } = await on({ [CURSOR_PATH]: undefined }, ["inspect", "/buffer", "--json"]);
  const { pending, cursorState, committedSequence, oldestPending } = JSON.parse(output);
  assertEquals([code, pending.records, cursorState, committedSequence], [1, 19, "missing", 5]);
  assertEquals(oldestPending.sequence, 6);
});

// -------------------------------------------------------------------------------------------------------------- verify

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
  { name: "the last header can't be read", files: { [path(-1)]: hitHeader(bytes(-1)) }, says: "at most 21 to 57" },
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
  assertEquals((await on({}, ["verify", path(1)])).code, 0);
  const dumped = await on({ "/copy.bad": bytes(1) }, ["dump", "/copy.bad", "--format=text"]);
  assertEquals(lines(dumped.output), base.acknowledged.slice(10, 15).map(({ value }) => value));
  const { code, errors } = await on({}, ["inspect", path(1)]);
  assertEquals(code, 3);
  assertEquals(
    errors,
    `sluice: Cannot read "${path(1)}": it is a segment of a buffer, give the buffer's directory: "/buffer"\n`,
  );
});

// ---------------------------------------------------------------------------------------------------------------- dump

const valuesFrom = (first: number, last = 24): string[] =>
  base.acknowledged.slice(first - 1, last).map((one) => one.value);

test("dump writes what is not committed, each record a line", async () => {
  const { code, output, errors } = await readUnchanged(jsonLog, ["dump", "/buffer"]);
  assertEquals(output, `[3]\nnull\n{"text":"fünf"}\n`);
  assertEquals([code, errors], [0, ""]);
});

test("dump --all, --from and --to choose by sequence", async () => {
  const dump = async (...args: string[]) => lines((await readUnchanged(jsonLog, ["dump", "/buffer", ...args])).output);
  assertEquals(await dump("--all"), [`{"n":1}`, `"two"`, "[3]", "null", `{"text":"fünf"}`]);
  assertEquals(await dump("--from=2", "--to=3"), [`"two"`, "[3]"]);
  assertEquals(await dump("--to=3"), ["[3]"]);
  assertEquals(await dump("--from", "5"), [`{"text":"fünf"}`]);
  assertEquals(await dump("--from=6"), []);
});

test("dump --meta puts sequence and time beside each record, in every format that has a place for it", async () => {
  const dump = async (...args: string[]) => lines((await readUnchanged(jsonLog, ["dump", "/buffer", ...args])).output);
  assertEquals(await dump("--meta"), [
    `{"sequence":3,"putTime":"2026-01-01T00:00:02.000Z","record":[3]}`,
    `{"sequence":4,"putTime":"2026-01-01T00:00:03.000Z","record":null}`,
    `{"sequence":5,"putTime":"2026-01-01T00:00:04.000Z","record":{"text":"fünf"}}`,
  ]);
  assertEquals(await dump("--json"), await dump("--meta"));
  assertEquals((await dump("--meta", "--format=text"))[0], "3\t2026-01-01T00:00:02.000Z\t[3]");
  assertEquals((await dump("--meta", "--format=base64"))[0], "3\t2026-01-01T00:00:02.000Z\tWzNd");
});

test("dump --format=raw puts the length before each payload", async () => {
  const fileSystem = new MemoryFileSystem();
  const records = [new Uint8Array([0, 255, 10]), new Uint8Array(0), new Uint8Array(300).fill(7)];
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem, codec: bytesCodec() });
  await buffer.putMany(records);
  await buffer.close();
  const { bytes } = await readUnchanged(fileSystem, ["dump", "/buffer", "--format=raw"]);
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
    found.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  assertEquals(found, records);
  const { output } = await readUnchanged(fileSystem, ["dump", "/buffer", "--format=base64"]);
  assertEquals(lines(output), ["AP8K", "", "Bwc" + "HBwc".repeat(99) + "H"]);
});

test("dump says which format to take for a payload that is no JSON, and writes what comes before it", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem, codec: bytesCodec() });
  for (const text of ["[1]", '{\n  "two": 2\r\n}', "no json", "[4]"]) await buffer.put(new TextEncoder().encode(text));
  await buffer.put(new Uint8Array([0xff]));
  await buffer.close();
  const { code, output, errors } = await readUnchanged(fileSystem, ["dump", "/buffer"]);
  assertEquals(output, `[1]\n{   "two": 2  }\n`);
  assertEquals(
    errors,
    "sluice: Cannot decode the payload of sequence 3: it is no JSON text, take --meta, --format=text, base64 or raw\n",
  );
  assertEquals(code, 3);
  const meta = await readUnchanged(fileSystem, ["dump", "/buffer", "--meta"]);
  assertEquals(
    lines(meta.output).map((line) => JSON.parse(line)).map(({ record, text, base64 }) => record ?? text ?? base64),
    [
      [1],
      { two: 2 },
      "no json",
      [4],
      "/w==",
    ],
  );
  assertEquals(meta.code, 0);
});

test("dump goes on behind damage, says what is missing, and exits with 1", async () => {
  const files = { [path(1)]: hitFrame(bytes(1), 1), [path(2)]: hitHeader(bytes(2)) };
  const { code, output, errors } = await on(files, ["dump", "/buffer", "--format=text"]);
  assertEquals(lines(output), [...valuesFrom(6, 11), ...valuesFrom(13, 15), ...valuesFrom(21)]);
  assertEquals(lines(errors), [
    "sluice: damaged bytes in 00000000000000000011.wal at offset 205, 46 B, sequences 12",
    "sluice: header can't be read in 00000000000000000016.wal, 385 B",
    "sluice: records missing, sequences 16 to 20",
  ]);
  assertEquals(code, 1);
  const json = await on(files, ["dump", "/buffer", "--json"]);
  assertEquals(lines(json.errors).map((line) => JSON.parse(line).kind), ["damaged", "unusable", "missing"]);
  assertEquals(lines(json.output).length, 13);
});

test("dump ends where nobody reads any more, with the code of a closed pipe", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, codec: jsonCodec() });
  for (let i = 0; i < 40; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  let writes = 0;
  const onWrite = () => void writes++;
  const { code, errors } = await readUnchanged(fileSystem, ["dump", "/buffer"], { closesAfter: 2, onWrite });
  assertEquals([code, errors], [141, ""]);
  assert(writes <= 4, `${writes} writes`);
});

test("dump ends when the user wants it to", async () => {
  const controller = new AbortController();
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem });
  for (let i = 0; i < 200; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  const onWrite = () => controller.abort();
  const { code, bytes } = await readUnchanged(fileSystem, ["dump", "/buffer"], { signal: controller.signal, onWrite });
  assertEquals(code, 130);
  assert(bytes.length < 10_000_000, `${bytes.length} bytes`);
});

// ----------------------------------------------------------------------------------------------------------- bad input

interface Refusal {
  readonly args: readonly string[];
  readonly code: number;
  readonly says: string;
}

const REFUSALS: readonly Refusal[] = [
  { args: ["inspect", "/nowhere"], code: 3, says: `Cannot read "/nowhere": there is no such directory` },
  { args: ["verify", "/empty"], code: 3, says: `Cannot read "/empty": the directory is empty` },
  {
    args: ["dump", "/other"],
    code: 3,
    says: `Cannot read "/other": no buffer is in that directory, but other files (a.txt, b.txt)`,
  },
  { args: ["verify", "/other/a.txt"], code: 3, says: `Cannot read "/other/a.txt": it is not a directory` },
  {
    args: ["inspect", "/newer"],
    code: 3,
    says: `Cannot read "/newer/00000000000000000001.wal": it has format version 9, this package reads up to 1`,
  },
  { args: ["inspect"], code: 2, says: "Cannot inspect: no PATH is given (inspect PATH [--json])" },
  { args: ["inspect", "/a", "/b"], code: 2, says: "Cannot inspect: one PATH is taken, also given: /b" },
  { args: ["dump", "/buffer", "--from=x"], code: 2, says: "Cannot use --from=x: it must be a whole number from 1" },
  { args: ["dump", "/buffer", "--from=0"], code: 2, says: "Cannot use --from=0: it must be a whole number from 1" },
  { args: ["dump", "/buffer", "--from", "--to=3"], code: 2, says: "Cannot use --from: it needs a value, --from=N" },
  { args: ["dump", "/buffer", "--from=3", "--to=2"], code: 2, says: "Cannot dump from 3 to 2: nothing is in between" },
  {
    args: ["dump", "/buffer", "--format=xml"],
    code: 2,
    says: "Cannot use --format=xml: it must be one of json, text, base64, raw",
  },
  {
    args: ["dump", "/buffer", "--format=raw", "--meta"],
    code: 2,
    says: "Cannot use --meta with --format=raw: raw has no place for it",
  },
  {
    args: ["dump", "/buffer", "--format=text", "--json"],
    code: 2,
    says: "Cannot use --json with --format=text: take --meta",
  },
  {
    args: ["dump", "/buffer", "--fromat=text"],
    code: 2,
    says: "Cannot use --fromat: dump has no such option, did you mean --format?",
  },
  { args: ["verify", "/buffer", "--meta"], code: 2, says: "Cannot use --meta: verify has no such option" },
  { args: ["verify", "/buffer", "--json=yes"], code: 2, says: "Cannot use --json=yes: --json takes no value" },
];

for (const { args, code, says } of REFUSALS) {
  test(`sluice ${args.join(" ")} is refused with ${code}`, async () => {
    const newer = overwrite(encodeSegmentHeader(headerOf()), 8, uint32(9));
    const fileSystem = copyOf(base.fileSystem, {
      "/other/a.txt": new Uint8Array(3),
      "/other/b.txt": new Uint8Array(500),
      "/newer/00000000000000000001.wal": overwrite(newer, 88, uint32(9)),
    });
    fileSystem.makeDirectory("/empty");
    const plain = await readUnchanged(fileSystem, args);
    const isJson = args.includes("--json");
    if (!isJson) assertEquals([plain.code, plain.output, plain.errors], [code, "", `sluice: ${says}\n`]);
    const json = await readUnchanged(fileSystem, [...args, "--json"]);
    const { error } = JSON.parse(json.errors);
    assertEquals([json.code, json.output], [code, ""]);
    assertEquals(error.message, says);
    if (code === 3) assertEquals(typeof error.path, "string");
    else assertEquals(error.code, "USAGE");
  });
}

// --------------------------------------------------------------------------------------------------------- 40 columns

test("no line of inspect, verify or help is wider than 40 columns, but for what can't be broken", async () => {
  const files = { [path(1)]: hitFrame(bytes(1), 1), [path(-1)]: hitHeader(bytes(-1)) };
  for (
    const args of [["inspect", "/buffer"], ["verify", "/buffer"], ["--help"], ["dump", "--help"], ["verify", "-h"]]
  ) {
    const { output } = await on(files, args, { columns: 40 });
    const wide = lines(output).filter((line) => line.length > 40 && !/^(\s*\S+| {2}sluice .*)$/.test(line));
    assertEquals(wide, [], args.join(" "));
  }
});

test("findings at 40 columns are a paragraph each", async () => {
  const { output } = await on({ [path(1)]: hitFrame(bytes(1), 1) }, ["verify", "/buffer"], { columns: 40 });
  assertStringIncludes(
    output,
    `
segment: 00000000000000000011.wal
offset: 205
length: 46 B
sequences: 12
what: damaged bytes
`,
  );
});

test("a progress bar is drawn on a terminal only, when it takes longer than a second, and is gone in the end", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem });
  for (let i = 0; i < 200; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  const slow = (stepMs: number): ManualClock => {
    const clock = new ManualClock();
    return Object.assign(clock, {
      monotonic: () => {
        clock.advance(stepMs);
        return ManualClock.prototype.monotonic.call(clock);
      },
    });
  };
  const shown = async (stepMs: number, columns?: number) =>
    (await readUnchanged(fileSystem, ["verify", "/buffer"], { clock: slow(stepMs), columns })).errors;
  assertEquals(await shown(10, 80), "");
  assertEquals(await shown(600), "");
  const bar = await shown(600, 80);
  assertStringIncludes(bar, "\rverify  41 % [#");
  assert(bar.endsWith("\r\x1b[K"), bar);
  for (const line of (await shown(600, 40)).split(/\r/)) assert(line.replace("\x1b[K", "").length < 40, line);
});
