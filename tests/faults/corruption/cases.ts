/**
 * Damaged logs, kind by kind: the logs that are damaged, and the ways to damage them.
 *
 * A case is a log and the files of it that are changed. What may come of it is for `check.ts` to say. The logs
 * are the same bytes in every run, so that a case can be repeated by its name:
 *
 * - `small`: three segments of a few frames, made by hand after the head comment of `format.ts`, because the code
 *   makes a `putMany` of several frames only beyond 64 KiB. Small enough for every bit and every length.
 * - `blocks`: a dozen segments of a few 512-byte blocks, made by the buffer, the first of them committed and gone.
 * - `large`: a `putMany` of three frames, records longer than 64 KiB, long runs of zeros; made by the buffer.
 * - `nested`: payloads that are logs themselves, this one among them.
 *
 * `small` and `blocks` come in two forms: closed, so that the cursor knows every record, and killed, so that it doesn't
 * know the last ones.
 */

import { Buffer } from "node:buffer";
import type { Codec } from "../../../src/base/codec.ts";
import { randomSource } from "../../../src/fs/random_bytes.ts";
import { MemoryFileSystem } from "../../../src/testing/memory_file_system.ts";
import {
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
  viewOf,
  zeroRange,
} from "../../support/bytes.ts";
import {
  CONTINUED,
  CONTINUES,
  type FrameFound,
  frameOf,
  framesOf,
  HEADER_BYTES,
  headerOf,
  sealFrame,
  segmentOf,
  UUID_A,
  UUID_B,
} from "../../support/frames.ts";
import {
  commitBatches,
  copyOf,
  CURSOR_PATH,
  DIRECTORY,
  type Files,
  type LogRecord,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  type TextBufferOptions,
} from "../../support/logs.ts";
import { seededRandom } from "../../support/random.ts";

/** Bytes as characters of the same numbers: any payload is a text. */
export const latin1: Codec<string> = {
  encode: (text) => Uint8Array.from(Buffer.from(text, "latin1")),
  decode: (payload) => Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("latin1"),
};

/** A segment of a log that is still whole. */
export interface BaseSegment {
  readonly path: string;
  /** Its first sequence, and the one behind its last. */
  readonly first: number;
  readonly end: number;
  readonly bytes: Uint8Array;
  readonly frames: readonly FrameFound[];
}

/** A log that is still whole. */
export interface Base {
  readonly name: string;
  readonly fileSystem: MemoryFileSystem;
  readonly options: TextBufferOptions;
  /** Everything that was ever acknowledged. */
  readonly records: readonly LogRecord[];
  /** The last sequence that is committed. */
  readonly committed: number;
  /** First and last sequence of the batch in flight. */
  readonly inFlight: string;
  readonly segments: readonly BaseSegment[];
  readonly cursor: Uint8Array;
  /** Segments that were removed since, by their path. */
  readonly removed: Files;
}

/** A damaged log. */
export interface Case {
  readonly kind: string;
  readonly name: string;
  readonly base: Base;
  readonly files: Files;
  /**
   * Bytes stay where they were: whatever frame is whole must come out. Otherwise, where they moved, a later frame
   * can be met before an earlier one, which can't be delivered then.
   */
  readonly inPlace: boolean;
}

// --------------------------------------------------------------------------------------------------------- the logs

/** What the buffer chooses at random, chosen by a seed while `body` runs: uuids and salts. */
async function withSeededRandom<R>(seed: number, body: () => Promise<R>): Promise<R> {
  const random = seededRandom(seed);
  const { fill } = randomSource;
  randomSource.fill = (bytes) => void bytes.set(bytes.map(() => random(256)));
  try {
    return await body();
  } finally {
    randomSource.fill = fill;
  }
}

/** A text of 8-bit characters with the same bytes as `text` in UTF-8. */
function utf8(text: string): string {
  return latin1.decode(bytesOf(text), 0);
}

/** Looks at a log, and takes it as it is for whole. */
function describe(
  base: Omit<Base, "segments" | "cursor" | "removed" | "fileSystem">,
  fileSystem: MemoryFileSystem,
  removed: Files = {},
): Base {
  const segments = segmentsOf(fileSystem).map((name): BaseSegment => {
    const path = `${DIRECTORY}/${name}`;
    const bytes = fileSystem.readFile(path);
    const frames = framesOf(bytes);
    const last = frames.at(-1)!;
    return { path, first: Number.parseInt(name, 10), end: last.sequence + last.count, bytes, frames };
  });
  return { ...base, fileSystem, segments, cursor: fileSystem.readFile(CURSOR_PATH), removed };
}

/** A frame to be: its payloads, and its place in a group. */
interface FramePlan {
  readonly payloads: readonly string[];
  readonly flags?: number;
}

/** Segments made by hand: one entry a segment, one entry a frame; strings are frames of one record. */
function handmade(plan: readonly (readonly (string | FramePlan)[])[], uuid = UUID_A): {
  fileSystem: MemoryFileSystem;
  records: LogRecord[];
} {
  const fileSystem = new MemoryFileSystem();
  const records: LogRecord[] = [];
  let payloadBytesBefore = 0;
  let logBytesBefore = 0;
  for (const [i, frames] of plan.entries()) {
    const salt = 0x5a17_0001 + i;
    const firstSequence = records.length + 1;
    const made = frames.map((frame) => {
      const { payloads, flags = 0 } = typeof frame === "string" ? { payloads: [frame] } : frame;
      const sequence = records.length + 1;
      payloads.forEach((value, k) => records.push({ sequence: sequence + k, value }));
      const bytes = payloads.map((payload) => latin1.encode(payload));
      return frameOf({ sequence, payloads: bytes, salt, flags, putTime: 1_767_000_000_000 + sequence });
    });
    const header = headerOf({ uuid, firstSequence, payloadBytesBefore, logBytesBefore, salt, recordLimit: 65_536 });
    fileSystem.writeFile(segmentPath(firstSequence), segmentOf(header, ...made));
    logBytesBefore += concat(...made).length;
    payloadBytesBefore = records.reduce((sum, { value }) => sum + value.length, 0);
  }
  return { fileSystem, records };
}

/** All that a record can be, in few bytes. */
const SMALL_PLAN: readonly (readonly (string | FramePlan)[])[] = [
  [{ payloads: ["a", "", utf8("ü👋🏽"), "b"] }, "\x00\xff\x01\x80"],
  [
    { payloads: ["g1", "g2"], flags: CONTINUES },
    { payloads: ["g3"], flags: CONTINUES | CONTINUED },
    { payloads: ["g4", ""], flags: CONTINUED },
  ],
  [
    "\0".repeat(20),
    { payloads: ["x", "y"] },
    { payloads: ["s"], flags: CONTINUES },
    { payloads: ["t"], flags: CONTINUED },
    "last",
  ],
];

/** Frames that the cursor of the killed form doesn't know. */
const SMALL_UNKNOWN = 3;

async function makeSmall(isClosed: boolean): Promise<Base> {
  const options = { codec: latin1, maxRecords: 4, maxRecordBytes: 65_536 };
  const whole = handmade(SMALL_PLAN);
  const known = isClosed ? SMALL_PLAN : SMALL_PLAN.with(-1, SMALL_PLAN.at(-1)!.slice(0, -SMALL_UNKNOWN));
  const { fileSystem } = handmade(known);
  const { buffer } = await openLog(fileSystem, options);
  await commitBatches(buffer, 1);
  // Ends in the middle of a group.
  await buffer.emit();
  await buffer.close();
  const cursor = fileSystem.readFile(CURSOR_PATH);
  const parts = { options: { ...options, maxRecords: 7 }, records: whole.records, committed: 4, inFlight: "5-8" };
  const name = `small, ${isClosed ? "closed" : "killed"}`;
  return describe({ ...parts, name }, copyOf(whole.fileSystem, { [CURSOR_PATH]: cursor }));
}

/** One segment, with the cursor in the middle of it, and in the middle of a `putMany`; each form with another batch size. */
const INSIDE_PLAN: readonly (readonly (string | FramePlan)[])[] = [[
  "a",
  { payloads: ["b", "bb"] },
  { payloads: ["g1", "g2"], flags: CONTINUES },
  { payloads: ["g3", "g4"], flags: CONTINUES | CONTINUED },
  { payloads: ["g5"], flags: CONTINUED },
  "c",
  "dd",
  { payloads: ["e", "ee"] },
  "f",
  "gg",
]];

async function makeInside(maxRecords: number, commits: number, isInFlight: boolean): Promise<Base> {
  const options = { codec: latin1, maxRecords, maxRecordBytes: 65_536 };
  const { fileSystem, records } = handmade(INSIDE_PLAN);
  const { buffer } = await openLog(fileSystem, options);
  await commitBatches(buffer, commits);
  if (isInFlight) await buffer.emit();
  await buffer.close();
  const committed = maxRecords * commits;
  const inFlight = isInFlight ? `${committed + 1}-${committed + maxRecords}` : "";
  return describe(
    { name: `inside, ${committed} committed, ${inFlight}`, options, records, committed, inFlight },
    fileSystem,
  );
}

async function makeBlocks(isClosed: boolean): Promise<Base> {
  const options = { codec: latin1, segmentBytes: 2048, maxRecords: 7, maxRecordBytes: 65_536 };
  const random = seededRandom(4);
  const payload = (i: number): string => {
    const head = utf8(`№ ${i} `);
    const kind = i % 5;
    if (kind === 0) return head + "\0".repeat(600);
    if (kind === 1) return head + latin1.decode(garbage(100 + random(400), i), 0);
    return head + "-".repeat(random(200));
  };
  const early = Array.from({ length: 40 }, (_, i) => i % 6 === 2 ? [payload(i), `${i}`, payload(i + 1)] : payload(i));
  const late = Array.from({ length: 5 }, (_, i) => payload(100 + i));
  return await withSeededRandom(1, async () => {
    const first = await makeLog(early, options);
    const before = copyOf(first.fileSystem);
    const second = await makeLog(late, {
      ...options,
      fileSystem: first.fileSystem,
      ends: isClosed ? "closed" : "killed",
      async finish(buffer) {
        await commitBatches(buffer, 3);
        await buffer.emit();
        // The segments that are done with are removed behind the commit's back.
        await buffer.flush();
        if (!isClosed) await buffer.put("unknown to the cursor");
        if (!isClosed) await buffer.put("this, too");
      },
    });
    const records = [...first.acknowledged, ...second.acknowledged];
    const next = records.length + 1;
    if (!isClosed) {
      records.push({ sequence: next, value: "unknown to the cursor" }, { sequence: next + 1, value: "this, too" });
    }
    const { fileSystem } = second;
    const removed = Object.fromEntries(
      segmentsOf(before).filter((name) => !segmentsOf(fileSystem).includes(name))
        .map((name) => [`${DIRECTORY}/${name}`, before.readFile(`${DIRECTORY}/${name}`)]),
    );
    const name = `blocks, ${isClosed ? "closed" : "killed"}`;
    return describe({ name, options, records, committed: 21, inFlight: "22-28" }, fileSystem, removed);
  });
}

async function makeLarge(): Promise<Base> {
  const options = { codec: latin1, segmentBytes: 150_000, maxRecords: 4, maxRecordBytes: 70_000 };
  const long = (letter: string, length: number) => letter.repeat(length);
  const puts = [
    "first",
    long("a", 70_000),
    ["x", long("g", 40_000), long("h", 20_000), utf8("ü").repeat(20_000), "y"],
    long("\0", 66_000),
    `${long("\0", 30_000)}1${long("\0", 30_000)}`,
    "second last",
    long("\0", 50_000),
  ];
  const log = await withSeededRandom(2, () =>
    makeLog(puts, {
      ...options,
      ends: "closed",
      async finish(buffer) {
        await commitBatches(buffer, 1);
        await buffer.emit();
      },
    }));
  const base = { name: "large", options, records: log.acknowledged, committed: 4, inFlight: "5-8" };
  return describe(base, log.fileSystem);
}

/** Logs whose payloads are logs: of another buffer, and of this one as it was before the payload was put. */
async function makeNested(): Promise<Base[]> {
  const options = { codec: latin1, maxRecords: 3, maxRecordBytes: 65_536 };
  const others = SMALL_PLAN.map((frames) => frames.map(() => "forged"));
  const foreign = handmade(others, UUID_B).fileSystem;
  const bytes = (fileSystem: MemoryFileSystem) =>
    latin1.decode(concat(...segmentsOf(fileSystem).map((name) => fileSystem.readFile(`${DIRECTORY}/${name}`))), 0);
  const own = bytes(handmade([["one", { payloads: ["two", "three"] }, "four"]]).fileSystem);
  const rows: readonly (readonly [string, string | FramePlan, FramePlan?])[] = [
    ["another log", bytes(foreign)],
    ["another log in one of several records", { payloads: ["", bytes(foreign), "x"] }],
    ["this log", own],
    ["this log, three times", own.repeat(3)],
    ["frames of this log alone", own.slice(HEADER_BYTES)],
    ["this log in one of several records", { payloads: [own, "", own] }],
    ["headers that claim to be long frames", claimingHeaders(8192)],
    ["this log in a group", { payloads: [own], flags: CONTINUES }, { payloads: ["end", own], flags: CONTINUED }],
  ];
  const bases: Base[] = [];
  for (const [name, payload, more] of rows) {
    const outer = more === undefined ? [payload] : [payload, more];
    const log = handmade([["one", { payloads: ["two", "three"] }, "four", ...outer, "behind"], ["next"]]);
    const { buffer } = await openLog(log.fileSystem, options);
    await commitBatches(buffer, 1);
    await buffer.close();
    const parts = { name: `nested: ${name}`, options, records: log.records, committed: 3, inFlight: "" };
    bases.push(describe(parts, log.fileSystem));
  }
  return bases;
}

/** Nothing but the beginnings of frames that would be the next one, if only their checksums were right. */
function claimingHeaders(length: number): string {
  const headers: Uint8Array[] = [];
  for (let rest = length; rest >= 32; rest -= 32) {
    headers.push(frameOf({ sequence: 5, payloads: [new Uint8Array(rest - 32)], salt: 0 }).slice(0, 32));
  }
  return latin1.decode(concat(...headers), 0);
}

/** All logs that are damaged. */
export interface Bases {
  readonly small: readonly Base[];
  readonly inside: readonly Base[];
  readonly blocks: readonly Base[];
  readonly large: Base;
  readonly nested: readonly Base[];
}

/** Makes them. */
export async function makeBases(): Promise<Bases> {
  return {
    small: [await makeSmall(true), await makeSmall(false)],
    inside: [await makeInside(5, 1, true), await makeInside(2, 2, true), await makeInside(7, 1, false)],
    blocks: [await makeBlocks(true), await makeBlocks(false)],
    large: await makeLarge(),
    nested: await makeNested(),
  };
}

// ----------------------------------------------------------------------------------------------------- ways to damage

/** The files of a log that count: segments and cursor. */
function filesOf(base: Base): [path: string, bytes: Uint8Array][] {
  return [...base.segments.map(({ path, bytes }): [string, Uint8Array] => [path, bytes]), [CURSOR_PATH, base.cursor]];
}

/** The last part of a path, short. */
export function short(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/^0+/, "");
}

/** Where the cursor's states begin. */
export const SLOTS: readonly number[] = [0, 4096, 8192, 12288];

/** Where a cursor of one batch in flight has its two states: beyond them are zeros that mean nothing. */
function isCursorState(offset: number): boolean {
  return offset % 4096 < 132;
}

/** How much of a small log is tried. */
export interface Extent {
  /** Only the frames that the cursor doesn't know. */
  readonly onlyUnknown?: boolean;
  /** Of the cursor's zeros each so many-th byte, one bit of it; all bits of all of them if undefined. */
  readonly spareStep?: number;
}

/** Every length of every file. */
export function* cuts(base: Base, extent: Extent = {}): Generator<Case> {
  for (const { path, bytes, isChosen } of chosenFiles(base, extent)) {
    for (let length = 0; length < bytes.length; length++) {
      if (!isChosen(length, Math.floor(length / (extent.spareStep ?? 1)) % 8)) continue;
      const name = `${short(path)} cut to ${length} bytes`;
      yield { kind: "file cut", name, base, files: { [path]: cut(bytes, length) }, inPlace: true };
    }
  }
}

/** Every bit of every file. */
export function* flips(base: Base, extent: Extent = {}): Generator<Case> {
  for (const { path, bytes, isChosen } of chosenFiles(base, extent)) {
    for (let offset = 0; offset < bytes.length; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        if (!isChosen(offset, bit)) continue;
        const name = `${short(path)}, byte ${offset}, bit ${bit}`;
        yield { kind: "bit flipped", name, base, files: { [path]: flipBit(bytes, offset, bit) }, inPlace: true };
      }
    }
  }
}

interface ChosenFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly isChosen: (offset: number, bit: number) => boolean;
}

function chosenFiles(base: Base, { onlyUnknown = false, spareStep }: Extent): ChosenFile[] {
  if (onlyUnknown) {
    const { path, bytes, frames } = base.segments.at(-1)!;
    const from = frames.at(-SMALL_UNKNOWN)!.offset;
    return [{ path, bytes, isChosen: (offset) => offset >= from }];
  }
  return filesOf(base).map(([path, bytes]): ChosenFile => ({
    path,
    bytes,
    isChosen(offset, bit) {
      if (path !== CURSOR_PATH || isCursorState(offset) || spareStep === undefined) return true;
      return offset % spareStep === 0 && bit === Math.floor(offset / spareStep) % 8;
    },
  }));
}

/** Lengths and bits of a log that is too large for all of them: around each border, and `count` more chosen by a seed. */
export function* samples(base: Base, count: number, seed: number): Generator<Case> {
  const random = seededRandom(seed);
  for (const { path, bytes, frames } of base.segments) {
    const borders = frames.flatMap(({ offset, length }) => [offset, offset + 32, offset + (length >> 1)]);
    const offsets = new Set([0, 80, HEADER_BYTES, bytes.length].concat(borders).flatMap((at) => [at - 1, at, at + 1]));
    for (let i = 0; i < count; i++) offsets.add(random(bytes.length));
    for (const offset of offsets) {
      if (offset < 0 || offset >= bytes.length) continue;
      const at = `${short(path)} at ${offset}`;
      yield { kind: "file cut", name: at, base, files: { [path]: cut(bytes, offset) }, inPlace: true };
      const files = { [path]: flipBit(bytes, offset, random(8)) };
      yield { kind: "bit flipped", name: at, base, files, inPlace: true };
      const tail = zeroRange(bytes, offset, bytes.length);
      yield { kind: "tail zeroed", name: at, base, files: { [path]: tail }, inPlace: true };
    }
  }
}

const BLOCK = 512;

/** A block of a file. */
interface Block {
  readonly path: string;
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

/**
 * 512-byte blocks zeroed, overwritten by a copy of another one, inserted twice, taken out, swapped: within a file all
 * pairs, between files every `step`th pair.
 */
export function* blocks(base: Base, step: number): Generator<Case> {
  const all = filesOf(base).flatMap(([path, bytes]) =>
    Array.from({ length: Math.ceil(bytes.length / BLOCK) }, (_, i): Block => {
      const to = Math.min((i + 1) * BLOCK, bytes.length);
      return { path, from: i * BLOCK, to, bytes: bytes.slice(i * BLOCK, to) };
    })
  );
  const whole = new Map(filesOf(base));
  for (const { path, from, to } of all) {
    const bytes = whole.get(path)!;
    const name = `${short(path)}, block at ${from}`;
    const one = (kind: string, changed: Uint8Array, inPlace: boolean): Case => {
      return { kind, name, base, files: { [path]: changed }, inPlace };
    };
    yield one("block zeroed", zeroRange(bytes, from, to), true);
    yield one("block garbled", overwrite(bytes, from, garbage(to - from, from)), true);
    yield one("tail zeroed", zeroRange(bytes, from, bytes.length), true);
    yield one("block duplicated", duplicateBlock(bytes, from, to), false);
    yield one("block taken out", removeRange(bytes, from, to), false);
  }
  let pair = 0;
  for (const [i, a] of all.entries()) {
    for (const [k, b] of all.entries()) {
      if (i === k || (a.path !== b.path && pair++ % step !== 0)) continue;
      const name = `${short(a.path)} at ${a.from}, ${short(b.path)} at ${b.from}`;
      const over = put(whole.get(b.path)!, b, a);
      yield { kind: "block duplicated", name, base, files: { [b.path]: over }, inPlace: false };
      if (k < i) continue;
      const files = a.path === b.path
        ? { [a.path]: swapTwo(whole.get(a.path)!, a, b) }
        : { [a.path]: put(whole.get(a.path)!, a, b), [b.path]: over };
      yield { kind: "blocks swapped", name, base, files, inPlace: false };
    }
  }
}

/** `bytes` with the block `from` written where `to` is; a shorter one leaves the rest as it is. */
function put(bytes: Uint8Array, to: Block, from: Block): Uint8Array {
  return overwrite(bytes, to.from, from.bytes.subarray(0, to.to - to.from));
}

function swapTwo(bytes: Uint8Array, a: Block, b: Block): Uint8Array {
  if (a.to === b.from) return swapBlocks(bytes, a.from, a.to, b.to);
  return put(put(bytes, a, b), b, a);
}

/** Files that are empty, half there, gone, under another name, from elsewhere or from another time. */
export function* wholeFiles(base: Base): Generator<Case> {
  const { segments } = base;
  const one = (kind: string, name: string, files: Files, inPlace = true): Case => ({
    kind,
    name,
    base,
    files,
    inPlace,
  });
  for (const [i, { path, bytes, first }] of segments.entries()) {
    yield one("segment empty", short(path), { [path]: new Uint8Array(0) });
    yield one("segment empty", `${short(path)}, all zeros`, { [path]: new Uint8Array(bytes.length) });
    yield one("segment empty", `${short(path)}, nothing but a header`, { [path]: cut(bytes, HEADER_BYTES) });
    yield one("segment gone", short(path), { [path]: undefined });
    for (const length of [1, 8, 79, 80, 81, 159]) {
      yield one("half a header", `${short(path)}, ${length} bytes`, { [path]: cut(bytes, length) });
      const zeroed = zeroRange(bytes, length, bytes.length);
      yield one("half a header", `${short(path)}, ${length} bytes, then zeros`, { [path]: zeroed });
      yield one("half a header", `${short(path)}, without ${length} bytes`, { [path]: bytes.slice(length) }, false);
    }
    for (const other of segments.slice(i + 1)) {
      const files = { [path]: other.bytes, [other.path]: bytes };
      yield one("segment renamed", `${short(path)} and ${short(other.path)}`, files, false);
      yield one("segment gone", `${short(path)} and ${short(other.path)}`, {
        [path]: undefined,
        [other.path]: undefined,
      });
    }
    for (const to of [first + 1, first - 1, 1_000_000, Number.MAX_SAFE_INTEGER]) {
      const target = segmentPath(to);
      if (to < 1 || segments.some((segment) => segment.path === target)) continue;
      const name = `${short(path)} to ${short(target)}`;
      yield one("segment renamed", name, { [path]: undefined, [target]: bytes }, false);
      yield one("segment copied", name, { [target]: bytes }, false);
    }
  }
  for (const [path, bytes] of Object.entries(base.removed)) {
    yield one("stale segment back", short(path), { [path]: bytes });
    yield one("stale segment back", `${short(path)}, half`, { [path]: cut(bytes!, bytes!.length >> 1) });
  }
  if (Object.keys(base.removed).length > 0) yield one("stale segment back", "all", base.removed);
  yield* foreignFiles(base, one);
  yield* cursorFiles(base, one);
}

type MakeCase = (kind: string, name: string, files: Files, inPlace?: boolean) => Case;

/** Segments of another buffer, in place of one of ours and beside them. */
function* foreignFiles(base: Base, one: MakeCase): Generator<Case> {
  const { segments } = base;
  const last = segments.at(-1)!;
  const foreign = (firstSequence: number): Uint8Array => {
    const salt = 0xf0e1_9000;
    const payloads = Array.from({ length: 3 }, (_, i) => `forged ${i}`);
    const frames = payloads.map((payload, i) => frameOf({ sequence: firstSequence + i, payloads: [payload], salt }));
    return segmentOf(headerOf({ uuid: UUID_B, firstSequence, salt }), ...frames);
  };
  const places = [
    1,
    ...segments.flatMap(({ first }) => [first - 1, first, first + 1]),
    last.end,
    last.end + 5,
    10 ** 9,
  ];
  for (const place of new Set(places)) {
    const path = segmentPath(Math.max(1, place));
    const name = short(path);
    yield one("foreign segment", name, { [path]: foreign(Math.max(1, place)) });
    yield one("foreign segment", `${name} under another name`, { [path]: foreign(Math.max(1, place) + 7) });
    yield one("foreign segment", `${name}, nothing but a header`, { [path]: cut(foreign(place), HEADER_BYTES) });
    yield one("foreign segment", `${name}, garbage`, { [path]: garbage(700, place % 1000) });
  }
}

/** A cursor that is gone, empty, another buffer's. */
function* cursorFiles(base: Base, one: MakeCase): Generator<Case> {
  const { cursor } = base;
  const change = (name: string, bytes: Uint8Array | undefined) => one("cursor lost", name, { [CURSOR_PATH]: bytes });
  yield change("gone", undefined);
  yield change("empty", new Uint8Array(0));
  yield change("zeros", new Uint8Array(cursor.length));
  yield change("garbage", garbage(cursor.length, 5));
  yield change("a segment", base.segments[0]!.bytes);
  const slot = (from: number) => cursor.slice(from, from + 512);
  for (const from of SLOTS) {
    const everywhere = SLOTS.reduce((bytes, to) => overwrite(bytes, to, slot(from)), cursor);
    yield one("cursor half lost", `the state at ${from} everywhere`, { [CURSOR_PATH]: everywhere });
    const elsewhere = SLOTS.filter((to) => to !== from);
    const alone = elsewhere.reduce((bytes, to) => zeroRange(bytes, to, to + 512), cursor);
    yield one("cursor half lost", `the state at ${from} alone`, { [CURSOR_PATH]: alone });
  }
  const turned = SLOTS.reduce((bytes, to, i) => overwrite(bytes, to, slot(SLOTS[(i + 1) % SLOTS.length]!)), cursor);
  yield one("cursor half lost", "states that changed places", { [CURSOR_PATH]: turned });
}

/** Every bit of the headers of the frames that hold logs, and of their first record's length. */
export function* nestedHeaders(base: Base): Generator<Case> {
  const { path, frames, bytes } = base.segments[0]!;
  for (const frame of frames.slice(3, -1)) {
    for (let at = frame.offset; at < frame.offset + 32; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const name = `byte ${at - frame.offset} of the frame at ${frame.offset}, bit ${bit}`;
        yield { kind: "log in a payload", name, base, files: { [path]: flipBit(bytes, at, bit) }, inPlace: true };
      }
    }
    for (const to of [1, 4, 28, 32, 40]) {
      const name = `${to} bytes of the frame at ${frame.offset} zeroed`;
      const zeroed = zeroRange(bytes, frame.offset, frame.offset + to);
      yield { kind: "log in a payload", name, base, files: { [path]: zeroed }, inPlace: true };
    }
    for (const length of [HEADER_BYTES, 40, 32, 28, 5]) {
      const name = `${length} bytes of the frame at ${frame.offset} taken out`;
      const files = { [path]: removeRange(bytes, frame.offset, frame.offset + length) };
      yield { kind: "log in a payload", name, base, files, inPlace: false };
      const inserted = { [path]: insertAt(bytes, frame.offset, garbage(length, length)) };
      yield { kind: "log in a payload", name: `${name}, put in`, base, files: inserted, inPlace: false };
    }
  }
}

/** Lengths, counts and limits with extreme values; also with a checksum that is right for them. */
export function* extremes(base: Base): Generator<Case> {
  const kind = "extreme length";
  for (const { path, bytes, frames } of base.segments) {
    const salt = viewOf(bytes).getUint32(64, true);
    for (const { offset, length, count } of frames) {
      const rest = bytes.length - offset;
      const near = [length, rest, count, 28, 32, 65_536, 65_536 + 32].flatMap((value) => [value - 1, value, value + 1]);
      const values = new Set([0, 1, 4, ...near, 2 ** 16, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 28, 2 ** 32 - 1]);
      for (const value of values) {
        for (const [field, at] of [["length", 0], ["count", 24], ["record length", 28]] as const) {
          if (viewOf(bytes).getUint32(offset + at, true) === value || value < 0) continue;
          const name = `${short(path)}, ${field} of the frame at ${offset}: ${value}`;
          const changed = overwrite(bytes, offset + at, uint32(value));
          yield { kind, name, base, files: { [path]: changed }, inPlace: true };
          const claimed = at === 0 ? Math.min(Math.max(value, 8), rest) : length;
          const sealed = sealFrame(changed.slice(offset, offset + claimed), salt);
          const files = { [path]: overwrite(changed, offset, sealed.subarray(0, 8)) };
          yield { kind, name: `${name}, sealed`, base, files, inPlace: true };
        }
      }
    }
    const limitless = overwrite(bytes, 68, uint32(2 ** 32 - 1));
    for (const { offset } of frames) {
      for (const value of [2 ** 31 - 1, 2 ** 32 - 1]) {
        const header = sealHeader(limitless);
        const name = `${short(path)} without a limit, the frame at ${offset}: ${value}`;
        yield { kind, name, base, files: { [path]: overwrite(header, offset, uint32(value)) }, inPlace: true };
      }
    }
  }
  for (const slot of SLOTS) {
    for (const at of [12, 16, 40, 48, 72, 96]) {
      for (const value of [0, 17, 18, 2 ** 31, 2 ** 32 - 1]) {
        const name = `cursor, ${value} at ${slot + at}`;
        const files = { [CURSOR_PATH]: overwrite(base.cursor, slot + at, uint32(value)) };
        yield { kind, name, base, files, inPlace: true };
      }
    }
  }
}

/** A segment whose header got the checksum that its content needs, in both copies. */
function sealHeader(segment: Uint8Array): Uint8Array {
  const parts = headerOf();
  const view = viewOf(segment);
  const header = segmentOf({
    ...parts,
    firstSequence: Number(view.getBigUint64(32, true)),
    payloadBytesBefore: Number(view.getBigUint64(40, true)),
    logBytesBefore: Number(view.getBigUint64(48, true)),
    createdAt: view.getUint32(56, true) + view.getUint16(60, true) * 2 ** 32,
    unacknowledged: view.getUint16(62, true),
    salt: view.getUint32(64, true),
    recordLimit: view.getUint32(68, true),
  });
  return overwrite(segment, 0, header);
}

/** Several changes at once, in any files, chosen by a seed. */
export function mixed(bases: readonly Base[], seed: number): Case {
  const random = seededRandom(seed);
  const base = bases[random(bases.length)]!;
  const files: Record<string, Uint8Array | undefined> = {};
  for (let i = 0; i < 1 + random(3); i++) {
    const { path, bytes: whole } = base.segments[random(base.segments.length)]!;
    const bytes = files[path] ?? whole;
    const [a, b] = [random(bytes.length + 1), random(bytes.length + 1)].sort((x, y) => x - y) as [number, number];
    const ways: (() => Uint8Array | undefined)[] = [
      () => bytes.length === 0 ? bytes : flipBit(bytes, Math.min(a, bytes.length - 1), random(8)),
      () => zeroRange(bytes, a, b),
      () => overwrite(bytes, a, garbage(b - a, seed)),
      () => cut(bytes, a),
      () => removeRange(bytes, a, b),
      () => duplicateBlock(bytes, a, b),
      () => concat(bytes, bytes.slice(a, b)),
      () => concat(bytes, new Uint8Array(random(5000))),
      () => swapBlocks(bytes, a, a + ((b - a) >> 1), b),
      () => undefined,
    ];
    files[path] = ways[random(ways.length)]!();
  }
  return { kind: "several changes", name: `seed ${seed}`, base, files, inPlace: false };
}

/** Whole frames that changed places, stand twice or somewhere else, or are gone: each of them is valid where it stands. */
export function* frames(base: Base): Generator<Case> {
  const kind = "frames moved";
  for (const { path, bytes, frames } of base.segments) {
    const parts = frames.map(({ offset, length }) => bytes.slice(offset, offset + length));
    const tail = bytes.slice(frames.at(-1)!.offset + frames.at(-1)!.length);
    const one = (name: string, order: readonly Uint8Array[]): Case => {
      const changed = concat(bytes.slice(0, HEADER_BYTES), ...order, tail);
      return { kind, name: `${short(path)}, ${name}`, base, files: { [path]: changed }, inPlace: false };
    };
    for (const [i, part] of parts.entries()) {
      yield one(`frame ${i} gone`, parts.toSpliced(i, 1));
      for (const k of parts.keys()) {
        if (k > i) yield one(`frames ${i} and ${k} swapped`, parts.with(i, parts[k]!).with(k, part));
        if (k !== i && k !== i + 1) yield one(`frame ${i} before ${k}`, parts.toSpliced(i, 1).toSpliced(k, 0, part));
        yield one(`frame ${i} again before ${k}`, parts.toSpliced(k, 0, part));
        if (k !== i) yield one(`frame ${i} in place of ${k}`, parts.with(k, part));
      }
    }
  }
}

/** How much of what there is to damage is damaged. */
export interface Density {
  /** As in `Extent`; every byte of the cursor's zeros if undefined. */
  readonly spareStep?: number;
  /** Bytes from one damaged block to the next. */
  readonly blockStep: number;
  /** Places in the log of long frames. */
  readonly samples: number;
  /** Seeds of several changes at once. */
  readonly seeds: Iterable<number>;
}

/** Damage of every kind to every log but frames that have moved (`frames()`); several changes at once come last. */
export function* allCases(bases: Bases, { spareStep, blockStep, samples: places, seeds }: Density): Generator<Case> {
  const extent = spareStep === undefined ? {} : { spareStep };
  for (const base of [...bases.small, ...bases.blocks]) yield* wholeFiles(base);
  for (const base of bases.nested) yield* nestedHeaders(base);
  for (const base of bases.small) yield* extremes(base);
  yield* samples(bases.large, places, 1);
  for (const base of bases.blocks) yield* blocks(base, blockStep);
  for (const base of bases.small) yield* cuts(base, extent);
  for (const base of bases.small) yield* flips(base, extent);
  for (const seed of seeds) yield mixed([...bases.small, ...bases.blocks], seed);
}

/** Whole numbers, `length` of them from `first` on: seeds, for one. */
export function* count(first: number, length: number): Generator<number> {
  for (let i = 0; i < length; i++) yield first + i;
}
