/**
 * Whole logs: made to be damaged, drained, and held against the crash invariants: acknowledged is present, order is kept,
 * no gap unless it is reported, nothing is invented, nothing comes twice.
 */

import { assert, assertEquals } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import type { SequenceRange } from "../../src/base/sequences.ts";
import type { BufferEvent, RecoveryReport } from "../../src/buffer/events.ts";
import { FileBuffer, type FileBufferOptions } from "../../src/buffer/file_buffer.ts";
import type { RecordBuffer } from "../../src/buffer/record_buffer.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { segmentName } from "../../src/wal/names.ts";
import type { DamagedRegion } from "../../src/wal/recovery/damage.ts";
import { assertSameBytes } from "./bytes.ts";

/** The directory that all logs of the tests are in. */
export const DIRECTORY = "/buffer";
export const CURSOR_PATH: string = `${DIRECTORY}/cursor`;
/** Where the slots of a cursor begin. */
export const CURSOR_SLOTS = [0, 4096, 8192, 12288] as const;

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

/** Takes everything out of a buffer, and commits each batch; the records in order. */
export async function drain<T>(buffer: Pick<RecordBuffer<T>, "batches" | "commit">): Promise<T[]> {
  const records: T[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    records.push(...batch);
    await buffer.commit(batch);
  }
  return records;
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
  return await drainLog(copyOf(fileSystem), options);
}

/** The same with the log itself. */
export async function drainLog(fileSystem: MemoryFileSystem, options: TextBufferOptions = {}): Promise<Drained> {
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
  const regions = events.flatMap((event) => event.type === "damage-found" ? [event.region] : []);
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
  const again = await drainLog(copy, options);
  assertEquals(again.records, [...drained.records, { sequence, value: "appended" }], `${note}: after an append`);
  if (drained.regions.length === 0) assertEquals(again.regions, [], `${note}: reported after an append`);
  return drained;
}
