/**
 * What the tests of the log have in common: a vocabulary of damage to bytes, segments and logs to be damaged, a way to
 * drain a log, and the crash invariants: acknowledged is present, order is kept, no gap unless it is reported, nothing
 * is invented, nothing comes twice.
 *
 * Offsets are taken from the head comment of `format.ts`, not from its code: so the tests hold one against the other.
 */

import { crc32 } from "node:zlib";
import { assert, assertEquals, fail } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import type { SequenceRange } from "../../src/base/sequences.ts";
import type { BufferEvent, RecoveryReport } from "../../src/buffer/events.ts";
import { FileBuffer, type FileBufferOptions } from "../../src/buffer/file_buffer.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { encodeSegmentHeader, type SegmentHeader } from "../../src/wal/format.ts";
import { segmentName } from "../../src/wal/names.ts";
import type { DamagedRegion } from "../../src/wal/recovery/damage.ts";

/** Bytes of both copies of a segment's header. */
export const HEADER_BYTES = 160;
/** Bytes of a frame before its records. */
export const FRAME_BYTES = 28;
/** Flags of a frame. */
export const CONTINUES = 1;
export const CONTINUED = 2;
/** The directory that all logs of the tests are in. */
export const DIRECTORY = "/buffer";
export const CURSOR_PATH: string = `${DIRECTORY}/cursor`;
/** Where the slots of a cursor begin. */
export const CURSOR_SLOTS = [0, 4096, 8192, 12288] as const;
export const UUID_A = "00112233-4455-6677-8899-aabbccddeeff";
export const UUID_B = "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff";

// ---------------------------------------------------------------------------------------------------- damage to bytes

/** Turns one bit over. */
export function flipBit(bytes: Uint8Array, offset: number, bit = 0): Uint8Array {
  const changed = bytes.slice();
  changed[offset] = changed[offset]! ^ (1 << bit);
  return changed;
}

/** Puts `patch` over what is at `offset`. */
export function overwrite(bytes: Uint8Array, offset: number, patch: Uint8Array): Uint8Array {
  const changed = new Uint8Array(Math.max(bytes.length, offset + patch.length));
  changed.set(bytes);
  changed.set(patch, offset);
  return changed;
}

/** Makes `[from, to)` zero. */
export function zeroRange(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return bytes.slice().fill(0, from, to);
}

/** Keeps the first `length` bytes. */
export function cut(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.slice(0, length);
}

/** Takes `[from, to)` out; what follows moves up. */
export function removeRange(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return concat(bytes.subarray(0, from), bytes.subarray(to));
}

/** Puts `inserted` in at `offset`; what follows moves down. */
export function insertAt(bytes: Uint8Array, offset: number, inserted: Uint8Array): Uint8Array {
  return concat(bytes.subarray(0, offset), inserted, bytes.subarray(offset));
}

/** Puts a second copy of `[from, to)` behind the first. */
export function duplicateBlock(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return insertAt(bytes, to, bytes.subarray(from, to));
}

/** Lets two neighbours, `[from, middle)` and `[middle, to)`, change places. */
export function swapBlocks(bytes: Uint8Array, from: number, middle: number, to: number): Uint8Array {
  const { length } = bytes;
  return concat(
    bytes.subarray(0, from),
    bytes.subarray(middle, to),
    bytes.subarray(from, middle),
    bytes.subarray(to, length),
  );
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Whole numbers from 0 up to `below`, chosen by a seed (mulberry32 by Tommy Ettinger, public domain). */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * below);
  };
}

/** Bytes chosen by a seed. */
export function garbage(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(length);
  const some = Math.min(length, 1024);
  for (let i = 0; i < some; i++) bytes[i] = random(256);
  for (let filled = some; filled < length; filled *= 2) bytes.copyWithin(filled, 0, filled);
  return bytes;
}

/** As `assertEquals`, fast, and it says where the bytes begin to differ. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, note = ""): void {
  const length = Math.max(actual.length, expected.length);
  for (let i = 0; i < length; i++) {
    if (actual[i] === expected[i]) continue;
    const [a, b] = [actual, expected].map((bytes) =>
      `...${[...bytes.subarray(i, i + 16)].join(" ")} (${bytes.length})`
    );
    fail(`${note}: bytes differ from ${i} on: ${a}, expected ${b}`);
  }
}

// ------------------------------------------------------------------------------------------------- frames and segments

/** A frame as the format's page describes it. */
export interface FrameParts {
  readonly sequence: number;
  readonly payloads: readonly (string | Uint8Array)[];
  readonly salt: number;
  readonly flags?: number;
  readonly putTime?: number;
  /** Records right before it that were not acknowledged. */
  readonly unacknowledged?: number;
}

/** The bytes of a frame, made without the code under test. */
export function frameOf(parts: FrameParts): Uint8Array {
  const { sequence, payloads, salt, flags = 0, putTime = 1_700_000_000_000, unacknowledged = 0 } = parts;
  const records = payloads.map((payload) => {
    const bytes = typeof payload === "string" ? bytesOf(payload) : payload;
    return concat(uint32(bytes.length), bytes);
  });
  const frame = concat(new Uint8Array(FRAME_BYTES), ...records);
  const view = viewOf(frame);
  view.setUint32(0, frame.length, true);
  view.setBigUint64(8, BigInt(sequence), true);
  view.setUint32(16, putTime % 2 ** 32, true);
  view.setUint16(20, Math.floor(putTime / 2 ** 32), true);
  frame[22] = 1;
  frame[23] = flags;
  view.setUint16(24, payloads.length, true);
  view.setUint16(26, unacknowledged, true);
  return sealFrame(frame, salt);
}

/** The same frame with the checksum that its content needs: for frames that are wrong in every other way. */
export function sealFrame(frame: Uint8Array, salt: number): Uint8Array {
  const sealed = frame.slice();
  const crc = crc32(sealed.subarray(8), crc32(sealed.subarray(0, 4), salt));
  viewOf(sealed).setUint32(4, crc, true);
  return sealed;
}

/** What a frame's header says, and where it begins. */
export interface FrameFound {
  readonly offset: number;
  readonly length: number;
  readonly sequence: number;
  readonly count: number;
  readonly flags: number;
  readonly unacknowledged: number;
}

/** The frames of an undamaged segment. */
export function framesOf(segment: Uint8Array): FrameFound[] {
  const view = viewOf(segment);
  const frames: FrameFound[] = [];
  for (let offset = HEADER_BYTES; offset < filledBytes(segment); offset += frames.at(-1)!.length) {
    frames.push({
      offset,
      length: view.getUint32(offset, true),
      sequence: Number(view.getBigUint64(offset + 8, true)),
      flags: segment[offset + 23]!,
      count: view.getUint16(offset + 24, true),
      unacknowledged: view.getUint16(offset + 26, true),
    });
  }
  return frames;
}

/** The length of a file without the zeros at its end, which may be space that is set aside. */
export function filledBytes(file: Uint8Array): number {
  let length = file.length;
  while (length > 0 && file[length - 1] === 0) length--;
  return length;
}

/** A segment's header, complete; `parts` say what is not as usual. */
export function headerOf(parts: Partial<SegmentHeader> = {}): SegmentHeader {
  return {
    codecVersion: 0,
    uuid: UUID_A,
    firstSequence: 1,
    payloadBytesBefore: 0,
    logBytesBefore: 0,
    createdAt: 1_700_000_000_000,
    unacknowledged: 0,
    salt: 0x5a17ab1e,
    recordLimit: 1024,
    isJson: false,
    ...parts,
  };
}

/** The bytes of a segment. */
export function segmentOf(header: SegmentHeader, ...frames: readonly Uint8Array[]): Uint8Array {
  return concat(encodeSegmentHeader(header), ...frames);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}

// ---------------------------------------------------------------------------------------------------------- whole logs

/** A record with its number. */
export interface LogRecord {
  readonly sequence: number;
  readonly value: string;
}

/** A log that was made, and what was acknowledged meanwhile. */
export interface MadeLog {
  readonly fileSystem: MemoryFileSystem;
  readonly acknowledged: readonly LogRecord[];
}

/** An open buffer, with everything that it told. */
export interface OpenLog {
  readonly buffer: FileBuffer<string>;
  readonly events: BufferEvent[];
  readonly clock: ManualClock;
}

/** Options of a buffer of texts; path and codec are given. */
export type TextBufferOptions = Omit<Partial<FileBufferOptions<string>>, "path" | "fileSystem" | "onEvent">;

/** Opens a buffer of texts in `DIRECTORY`; without a sync per put unless asked for. */
export async function openLog(fileSystem: FileSystem, options: TextBufferOptions = {}): Promise<OpenLog> {
  const events: BufferEvent[] = [];
  const clock = new ManualClock();
  const buffer = await FileBuffer.open<string>({
    path: DIRECTORY,
    codec: textCodec(),
    fsync: "never",
    statusMs: 0,
    clock,
    ...options,
    fileSystem,
    onEvent: (event) => events.push(event),
  });
  return { buffer, events, clock };
}

/** How a log is made. */
export interface MakeLogOptions extends TextBufferOptions {
  /** What is done before the end. */
  readonly finish?: (buffer: FileBuffer<string>) => Promise<void>;
  /** Whether the buffer is closed at the end, or its process killed. */
  readonly ends?: "closed" | "killed";
  readonly fileSystem?: MemoryFileSystem;
}

/** Puts texts (an array is a `putMany`) one after the other, each in a write of its own. */
export async function makeLog(
  puts: readonly (string | readonly string[])[],
  { finish, ends = "killed", fileSystem = new MemoryFileSystem(), ...options }: MakeLogOptions = {},
): Promise<MadeLog> {
  const acknowledged: LogRecord[] = [];
  const { buffer } = await openLog(fileSystem, options);
  for (const put of puts) {
    const values = typeof put === "string" ? [put] : put;
    const first = typeof put === "string" ? await buffer.put(put) : (await buffer.putMany(put)).first;
    values.forEach((value, i) => acknowledged.push({ sequence: first + i, value }));
  }
  await finish?.(buffer);
  if (ends === "closed") await buffer.close();
  return { fileSystem: fileSystem.kill(), acknowledged };
}

/** `count` texts of different lengths, no two alike. */
export function texts(count: number, prefix = "record"): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix} ${i + 1} ${"+".repeat(i % 7)}`);
}

/** Emits and commits `count` batches. */
export async function commitBatches(buffer: FileBuffer<string>, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await buffer.commit(await buffer.emit());
}

/** Names of the segments, in order. */
export function segmentsOf(fileSystem: MemoryFileSystem): string[] {
  return fileSystem.paths().filter((path) => /^\/buffer\/\d{20}\.wal$/.test(path)).map((path) => path.slice(8));
}

/** Path of the segment that begins with a sequence. */
export function segmentPath(firstSequence: number): string {
  return `${DIRECTORY}/${segmentName(firstSequence)}`;
}

/** What a file is to be; `undefined`: gone. */
export type Files = Readonly<Record<string, Uint8Array | undefined>>;

/** The same files on a file system of their own, everything synced, with some of them changed. */
export function copyOf(fileSystem: MemoryFileSystem, changes: Files = {}): MemoryFileSystem {
  const copy = new MemoryFileSystem();
  for (const path of fileSystem.paths()) {
    if (!(path in changes)) copy.writeFile(path, fileSystem.readFile(path));
  }
  for (const [path, bytes] of Object.entries(changes)) if (bytes !== undefined) copy.writeFile(path, bytes);
  return copy;
}

/** Every file of the buffer by its path, without those that are about the owner. */
export function snapshot(fileSystem: MemoryFileSystem): Record<string, Uint8Array> {
  const paths = fileSystem.paths().filter((path) => !/\/(lock|owner\.json)$/.test(path));
  return Object.fromEntries(paths.map((path) => [path, fileSystem.readFile(path)]));
}

/** What came out of a log. */
export interface Drained {
  readonly records: readonly LogRecord[];
  /** First and last sequence of each batch: `"1-3"`. */
  readonly batches: readonly string[];
  /** What was reported, by `open()` and later. */
  readonly regions: readonly DamagedRegion[];
  readonly report: RecoveryReport;
  /** The sequence of a record put after everything was committed. */
  readonly nextSequence: number;
}

/** Opens a copy of the log, takes everything out of it, puts one record and closes it; the log itself stays as it is. */
export async function drainCopy(fileSystem: MemoryFileSystem, options: TextBufferOptions = {}): Promise<Drained> {
  return await drain(copyOf(fileSystem), options);
}

/** The same with the log itself. */
export async function drain(fileSystem: MemoryFileSystem, options: TextBufferOptions = {}): Promise<Drained> {
  const { buffer, events } = await openLog(fileSystem, options);
  const records: LogRecord[] = [];
  const batches: string[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batch.records.forEach((value, i) => records.push({ sequence: batch.firstSequence + i, value }));
    batches.push(`${batch.firstSequence}-${batch.lastSequence}`);
    await buffer.commit(batch);
  }
  assertEquals(buffer.stats().pendingRecords, 0, "records pending after everything was committed");
  assertEquals(buffer.stats().pendingBytes, 0, "bytes pending after everything was committed");
  const nextSequence = await buffer.put("one more");
  await buffer.close();
  const regions = events.flatMap((event) => event.type === "damage" ? [event.region] : []);
  return { records, batches, regions, report: buffer.recovery, nextSequence };
}

/** What must hold for what came out of a log. */
export interface Expectation {
  /** What was acknowledged; all of it must be there unless its sequence is reported as missing. */
  readonly acknowledged: readonly LogRecord[];
  /** Sequences that may be reported as missing; none unless stated. */
  readonly mayMiss?: readonly SequenceRange[];
  /** What may be there besides. */
  readonly perhaps?: readonly LogRecord[];
  /** For messages: the case, the seed. */
  readonly note: string;
}

/** The crash invariants. */
export function assertSound(drained: Drained, { acknowledged, mayMiss = [], perhaps = [], note }: Expectation): void {
  const known = new Map([...perhaps, ...acknowledged].map(({ sequence, value }) => [sequence, value]));
  const missing = drained.regions.flatMap((region) => region.missing ?? []);
  const delivered = new Set<number>();
  let last = 0;
  for (const { sequence, value } of drained.records) {
    assert(sequence > last, `${note}: sequence ${sequence} comes after ${last}`);
    assertEquals(value, known.get(sequence), `${note}: record ${sequence}`);
    delivered.add(sequence);
    last = sequence;
  }
  for (const { sequence } of acknowledged) {
    if (delivered.has(sequence)) continue;
    assert(isIn(sequence, missing), `${note}: acknowledged record ${sequence} is gone without a word`);
    assert(isIn(sequence, mayMiss), `${note}: acknowledged record ${sequence} is gone`);
  }
  for (let sequence = drained.records[0]?.sequence ?? 1; sequence < last; sequence++) {
    assert(delivered.has(sequence) || isIn(sequence, missing), `${note}: no word of the gap at ${sequence}`);
  }
  const highest = Math.max(last, ...acknowledged.map(({ sequence }) => sequence));
  assert(drained.nextSequence > last, `${note}: sequence ${drained.nextSequence} is given out twice`);
  if (mayMiss.length === 0) {
    assert(drained.nextSequence > highest, `${note}: sequence ${drained.nextSequence} is given out twice`);
  }
}

function isIn(sequence: number, ranges: readonly SequenceRange[]): boolean {
  return ranges.some(({ first, last }) => first <= sequence && sequence <= last);
}

/**
 * The whole protocol of a recovery: what is there comes out; a record is appended, and after another recovery everything
 * comes out again; two more recoveries change no byte. The log itself stays as it is.
 */
export async function assertRecovers(
  fileSystem: MemoryFileSystem,
  expectation: Expectation,
  options: TextBufferOptions = {},
): Promise<Drained> {
  const { note } = expectation;
  const drained = await drainCopy(fileSystem, options);
  assertSound(drained, expectation);
  let copy = copyOf(fileSystem);
  const { buffer } = await openLog(copy, options);
  const sequence = await buffer.put("appended");
  assertEquals(sequence, drained.nextSequence, `${note}: the same log gives out another sequence`);
  copy = copy.kill();
  const states: Record<string, Uint8Array>[] = [];
  for (let i = 0; i < 2; i++) {
    const { buffer } = await openLog(copy, options);
    assertEquals(buffer.recovery.truncatedBytes, 0, `${note}: what was cut off is there again`);
    copy = copy.kill();
    states.push(snapshot(copy));
  }
  assertEquals(Object.keys(states[1]!), Object.keys(states[0]!), `${note}: a second recovery changes something`);
  for (const [path, bytes] of Object.entries(states[1]!)) assertSameBytes(bytes, states[0]![path]!, `${note}: ${path}`);
  const again = await drain(copy, options);
  assertEquals(again.records, [...drained.records, { sequence, value: "appended" }], `${note}: after an append`);
  if (drained.regions.length === 0) assertEquals(again.regions, [], `${note}: reported after an append`);
  return drained;
}
