/**
 * What may come of a damaged log, and what comes of it.
 *
 * Each case lives several times over, always from the same bytes (the more there are of a kind, the fewer lives each):
 *
 * 1. it is drained, one record is put, it is closed; then opened and drained again;
 * 2. one record is put before anything is read, it is killed, then drained;
 * 3. it is drained with `onDamage: "fail"`.
 *
 * What must hold:
 *
 * - Every record delivered is one that was put, in order, none twice within one life of the buffer. Committed records
 *   may come again only where the cursor's newest state is damaged.
 * - Every acknowledged record that isn't committed is delivered, or is within the missing sequences of a region that is
 *   reported, by `recovery.damaged` or an event; never both. Where the damaged bytes stay where they were, every record
 *   whose frame is whole is delivered; a `putMany` counts as one frame.
 * - **The exception**: records at the end of the last segment that the cursor doesn't know. Bad bytes there can't be told
 *   from a write that was never finished, so they are cut off, and `recovery.truncatedBytes` says how many; if the file
 *   was cut exactly between two frames, or its end was filled with zeros, nobody can say even that.
 * - No sequence that was known is given out again.
 * - A header that names a newer version is believed, as long as that isn't absurd: nothing behind the version may be
 *   looked at. Both copies must be hit to come to that; the segments are not touched then.
 * - With `onDamage: "fail"` exactly those logs are refused in which the other way reports a region that has bytes or
 *   misses records, with `DamagedLogError`, and no byte is changed by it; whatever is delivered before is the same. None
 *   is unproven, because no put has waited for a sync here.
 * - It ends: a bounded number of operations, of batches and of looks at the clock. No read is longer than the file
 *   or the longest frame, no memory is asked for that the log's size doesn't justify.
 */

import { crc32 } from "node:zlib";
import { assert, assertEquals, fail } from "@std/assert";
import type { SequenceRange } from "../../../src/base/sequences.ts";
import { DamagedLogError, UnsupportedVersionError } from "../../../src/errors/mod.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import type { MemoryFileSystem } from "../../../src/testing/memory_file_system.ts";
import { assertSameBytes, viewOf } from "../../support/bytes.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { CONTINUED, HEADER_BYTES } from "../../support/frames.ts";
import { assertSound, copyOf, CURSOR_PATH, type Drained, drainLog, openLog, snapshot } from "../../support/logs.ts";
import { type Base, type BaseSegment, type Case, SLOTS } from "./cases.ts";

/** What came of a case with `onDamage: "quarantine"`. */
export type Delivery =
  /** Nothing is missing, nothing was found. */
  | "whole"
  /** Nothing is missing; bytes that are no record were reported. */
  | "bytes reported"
  /** Records are missing, and all of them are reported. */
  | "loss reported"
  /** Records at the end that the cursor didn't know are cut off: the exception. */
  | "tail cut"
  /** Damage has left a header that names a newer version, and no whole one beside it: refused. */
  | "newer version";

/** What came of it with `onDamage: "fail"`. */
export type Refusal = "not tried" | "not refused" | "refused by open()" | "refused by emit()";

/** What came of a case. */
export interface Outcome {
  readonly delivery: Delivery;
  readonly refusal: Refusal;
}

/** No frame of the logs is longer: 70,000 bytes in one record. */
const FRAME_LIMIT = 70_032;
/** What is allocated besides, whatever the log: memory for records to be put, read chunks, slots. */
const SMALL_CHANGE_BYTES = 256 * 1024;

/** Looks on while a log is opened and drained. */
class Watch {
  readonly clock = new LimitedClock();
  readonly #note: string;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #mostOperations: number;
  #violation: string | undefined;

  constructor({ base, name }: Case, files: ReadonlyMap<string, number>) {
    this.#note = name;
    this.#sizes = files;
    this.#mostOperations = 400 + 40 * (base.records.length + files.size);
  }

  /** The same files, for a process that is watched. */
  on(fileSystem: MemoryFileSystem): MemoryFileSystem {
    return fileSystem.kill({
      onOperation: ({ operation, path, index, length = 0 }) => {
        if (index > this.#mostOperations) this.#stop(`operation ${index}: ${operation} ${path}`);
        const most = Math.max(FRAME_LIMIT, this.#sizes.get(path) ?? 0);
        if (operation === "read" && length > most) this.#stop(`reads ${length} bytes of ${path}`);
      },
    });
  }

  /** Throws what the code under test may have caught. */
  end(): void {
    if (this.#violation !== undefined) fail(this.#violation);
  }

  #stop(what: string): never {
    fail(this.#violation ??= `${this.#note}: ${what}`);
  }
}

/** Time stands still; whoever looks at it again and again waits for something that never comes. */
class LimitedClock extends ManualClock {
  #looks = 0;

  override monotonic(): number {
    if (this.#looks++ > 5000) fail("waits for ever");
    return super.monotonic();
  }
}

/** Notes the largest array that is made while `body` runs, and hides nothing. */
export async function largestArray(body: () => Promise<void>): Promise<number> {
  const native = globalThis.Uint8Array;
  let largest = 0;
  const watched: typeof Uint8Array = new Proxy(native, {
    construct(target, args, newTarget) {
      if (typeof args[0] === "number") largest = Math.max(largest, args[0]);
      return Reflect.construct(target, args, newTarget === watched ? target : newTarget);
    },
  });
  globalThis.Uint8Array = watched;
  try {
    await body();
  } finally {
    globalThis.Uint8Array = native;
  }
  return largest;
}

/** How large an array may be at most, for a log of that size. */
export function mostArrayBytes({ segments, cursor }: Base): number {
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes.length, cursor.length);
  // A batch doubles its memory when it is full.
  return SMALL_CHANGE_BYTES + 2 * Math.max(bytes, FRAME_LIMIT);
}

/** Which lives a case gets besides being drained once. */
export interface Lives {
  /** It is drained again. */
  readonly again: boolean;
  /** A record is put before anything is read. */
  readonly appends: boolean;
  /** `onDamage: "fail"`. */
  readonly strict: boolean;
}

const ALL_LIVES: Lives = { again: true, appends: true, strict: true };
const ONE_LIFE: readonly Lives[] = [
  { again: true, appends: false, strict: false },
  { again: false, appends: true, strict: false },
  { again: false, appends: false, strict: true },
];

/** Tries a case, and says what came of it. Throws if it is not what must be. */
export async function check(one: Case, lives: Lives = ALL_LIVES): Promise<Outcome> {
  const note = `${one.kind}, log ${one.base.name}: ${one.name}`;
  try {
    return await tryCase(one, lives);
  } catch (error) {
    throw new Error(`${note}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

async function tryCase(one: Case, lives: Lives): Promise<Outcome> {
  const { base, files } = one;
  const damaged = copyOf(base.fileSystem, files);
  const sizes = new Map(damaged.paths().map((path) => [path, damaged.readFile(path).length]));
  const watch = new Watch(one, sizes);
  const options = { ...base.options, clock: watch.clock };
  const copy = watch.on(copyOf(damaged));
  let drained: Drained;
  try {
    drained = await drainLog(copy, options);
  } catch (error) {
    if (!(error instanceof UnsupportedVersionError) || !isNewer(files[error.path])) throw error;
    for (const path of Object.keys(files)) {
      if (!copy.paths().includes(path)) continue;
      const now = copy.readFile(path);
      // A torn tail may have been cut before.
      assertSameBytes(now, files[path]!.subarray(0, now.length), `refused, ${path}`);
    }
    return { delivery: "newer version", refusal: "not tried" };
  }
  watch.end();
  const delivery = assertDelivered(one, drained);

  const next = drained.nextSequence;
  if (lives.again) {
    const again = await drainLog(copy, options);
    assertEquals(again.records, [{ sequence: next, value: "one more" }], "the second time");
    assert(again.regions.every(({ missing }) => missing === undefined), "the second time something is missing");
  }
  if (lives.appends) {
    const appended = watch.on(copyOf(damaged));
    const { buffer } = await openLog(appended, options);
    assertEquals(await buffer.put("appended"), next, "sequence of a record put before all others are read");
    const after = await drainLog(appended.kill(), options);
    assertEquals(after.records, [...drained.records, { sequence: next, value: "appended" }], "after an append");
  }
  const refusal = lives.strict ? await tryStrictly(one, damaged, drained, watch) : "not tried";
  watch.end();
  return { delivery, refusal };
}

/** Whether either copy of a segment's header begins as one of a newer version does. */
function isNewer(bytes: Uint8Array | undefined): boolean {
  return bytes !== undefined && [0, 80].some((at) => {
    const magic = String.fromCharCode(...bytes.subarray(at, at + 8));
    return bytes.length >= at + 80 && magic === "\x89SLUICE\n" && viewOf(bytes).getUint32(at + 8, true) > 2;
  });
}

/** Holds what was delivered against what was put. */
function assertDelivered(one: Case, drained: Drained): Delivery {
  const { base, files } = one;
  const { records, committed } = base;
  const { regions, report } = drained;
  const cursor = CURSOR_PATH in files ? files[CURSOR_PATH] : base.cursor;
  const known = cursorOf(cursor)?.lastSequence ?? 0;
  const delivered = new Set(drained.records.map(({ sequence }) => sequence));
  const missing = regions.flatMap((region) => region.missing ?? []);
  for (const { first, last } of missing) {
    for (const sequence of delivered) assert(sequence < first || last < sequence, `${sequence} is not missing`);
  }
  const pending = records.filter(({ sequence }) => sequence > committed);
  const gone = pending.filter(({ sequence }) => !delivered.has(sequence));
  const unreported = gone.filter(({ sequence }) => !isIn(sequence, missing));
  const from = Math.min(...unreported.map(({ sequence }) => sequence));
  const isTail = from > known && from >= base.segments.at(-1)!.first && drained.records.every((r) => r.sequence < from);
  if (isTail && unreported.length > 0) assertTailCut(one, drained);
  const mayMiss = one.inPlace || isWholeFromStart(one) ? hit(one) : [{ first: 0, last: Infinity }];
  assertSound(drained, {
    acknowledged: isTail ? pending.filter(({ sequence }) => sequence < from) : pending,
    perhaps: records,
    mayMiss,
    note: "drained",
  });
  for (const { sequence } of unreported) assert(isIn(sequence, mayMiss), `record ${sequence} is cut off`);
  const highest = Math.min(Math.max(known, ...pending.map(({ sequence }) => sequence)), isTail ? from - 1 : Infinity);
  assert(drained.nextSequence > highest, `sequence ${drained.nextSequence} is given out twice`);
  for (const region of regions) assertEquals(region.unproven, undefined, "what is written is acknowledged here");
  const first = drained.records[0]?.sequence ?? Infinity;
  assert(first > (cursorOf(cursor)?.committed ?? 0), `record ${first} was committed`);
  if (cursor === base.cursor && base.inFlight !== "" && gone.length === 0) {
    assertEquals(drained.batches[0], base.inFlight, "the batch in flight");
  }
  assertEquals(report.cursorLost, cursorOf(cursor) === undefined, "whether the cursor is lost");
  if (unreported.length > 0) return "tail cut";
  if (gone.length > 0) return "loss reported";
  return regions.length > 0 ? "bytes reported" : "whole";
}

/** The exception holds only for bytes that are bad or gone, at the end of the last segment. */
function assertTailCut({ base, files }: Case, { report, regions }: Drained): void {
  const { path, bytes } = base.segments.at(-1)!;
  const now = files[path];
  assert(path in files, "the last segment is as it was");
  if (report.truncatedBytes > 0 || now === undefined) return;
  // It is reported as a whole; but how many records it held, nobody knows.
  if (!hasHeader(base.segments.at(-1)!, now) && regions.some(({ segment }) => path.endsWith(segment))) return;
  assert(now.length < bytes.length || now.at(-1) === 0, "records are cut off without a word");
}

/** The sequences whose bytes are not what they were: of whole segments, of groups, of frames. */
function hit({ base, files }: Case): SequenceRange[] {
  const ranges: SequenceRange[] = [];
  for (const segment of base.segments) {
    if (!(segment.path in files)) continue;
    const now = files[segment.path];
    if (now === undefined || !hasHeader(segment, now)) ranges.push({ first: segment.first, last: segment.end - 1 });
    else ranges.push(...groupsOf(segment).filter(({ from, to }) => !isSame(segment.bytes, now, from, to)));
  }
  return ranges;
}

/** Whether nothing has changed from the place on where a reader begins, going by the cursor. */
function isWholeFromStart({ base, files }: Case): boolean {
  if (CURSOR_PATH in files) return false;
  return base.segments.every((segment) => {
    if (!(segment.path in files)) return true;
    const now = files[segment.path];
    const start = segment.frames.find(({ sequence, count }) => sequence + count - 1 > base.committed);
    if (start === undefined || start.offset === HEADER_BYTES || now?.length !== segment.bytes.length) return false;
    return hasHeader(segment, now) && isSame(segment.bytes, now, start.offset, now.length);
  });
}

/** Whether either copy of the header is what it was. */
function hasHeader({ bytes }: BaseSegment, now: Uint8Array): boolean {
  if (now.length < HEADER_BYTES) return false;
  return isSame(bytes, now, 0, 80) || isSame(bytes, now, 80, HEADER_BYTES);
}

interface Group extends SequenceRange {
  readonly from: number;
  readonly to: number;
}

/** The frames of a segment; those of one `putMany` together. */
function groupsOf({ frames }: BaseSegment): Group[] {
  const groups: Group[] = [];
  for (const { offset, length, sequence, count, flags } of frames) {
    const end = { to: offset + length, last: sequence + count - 1 };
    if ((flags & CONTINUED) !== 0) groups.push({ ...groups.pop()!, ...end });
    else groups.push({ from: offset, first: sequence, ...end });
  }
  return groups;
}

function isSame(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  if (a.length < to || b.length < to) return false;
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What the newest valid state in a cursor file says: read after the head comment of `format.ts`, not by its code. */
function cursorOf(bytes: Uint8Array | undefined): { lastSequence: number; committed: number } | undefined {
  let newest: { generation: number; lastSequence: number; committed: number } | undefined;
  for (const slot of SLOTS) {
    const state = bytes?.subarray(slot, slot + 512) ?? new Uint8Array(0);
    const view = viewOf(state);
    const length = state.length < 108 ? Infinity : 108 + 24 * view.getUint32(12, true);
    if (length > state.length || view.getUint32(0, true) !== crc32(state.subarray(4, length))) continue;
    const number = (at: number) => Number(view.getBigUint64(at, true));
    const generation = number(16);
    if (generation < (newest?.generation ?? 0)) continue;
    newest = { generation, lastSequence: number(40), committed: number(48) - 1 };
  }
  return newest;
}

function isIn(sequence: number, ranges: readonly SequenceRange[]): boolean {
  return ranges.some(({ first, last }) => first <= sequence && sequence <= last);
}

/** The third life: `onDamage: "fail"`. */
async function tryStrictly(one: Case, damaged: MemoryFileSystem, drained: Drained, watch: Watch): Promise<Refusal> {
  const options = { ...one.base.options, clock: watch.clock, onDamage: "fail" as const };
  const fileSystem = watch.on(copyOf(damaged));
  const before = snapshot(fileSystem);
  const sequences: number[] = [];
  const expected = drained.records.map(({ sequence }) => sequence);
  let refusal: Refusal = "refused by open()";
  let untouched = before;
  try {
    const { buffer } = await openLog(fileSystem, options);
    refusal = "refused by emit()";
    for (;;) {
      untouched = snapshot(fileSystem);
      if (buffer.stats().pendingRecords === 0) break;
      const batch = await buffer.emit();
      for (let i = 0; i < batch.length; i++) sequences.push(batch.firstSequence + i);
      await buffer.commit(batch);
      // Behind the commit's back, what is committed is removed: in memory that takes no more than microtasks.
      await yieldToEventLoop();
    }
    await buffer.close();
    refusal = "not refused";
  } catch (error) {
    if (!(error instanceof DamagedLogError)) throw error;
    assertSameFiles(snapshot(fileSystem), untouched);
  }
  assertEquals(sequences, expected.slice(0, sequences.length), "with 'fail', before it was refused");
  if (refusal === "not refused") assertEquals(sequences, expected, "with 'fail', not refused");
  // A place between two frames where only committed records are gone is reported, and costs nobody anything.
  const isRefused = drained.regions.some(({ length, missing }) => length > 0 || missing !== undefined);
  assertEquals(refusal !== "not refused", isRefused, `with 'fail': ${refusal}`);
  for (const { path } of one.base.segments) {
    // A torn tail is cut, and what is committed is removed.
    const now = fileSystem.paths().includes(path) ? fileSystem.readFile(path) : new Uint8Array(0);
    assertSameBytes(now, (before[path] ?? now).subarray(0, now.length), `with 'fail', ${path}`);
  }
  return refusal;
}

function assertSameFiles(now: Record<string, Uint8Array>, before: Record<string, Uint8Array>): void {
  assertEquals(Object.keys(now), Object.keys(before), "with 'fail', the files");
  for (const [path, bytes] of Object.entries(before)) assertSameBytes(now[path]!, bytes, `with 'fail', ${path}`);
}

// ---------------------------------------------------------------------------------------------------------- the table

const DELIVERIES: readonly Delivery[] = ["whole", "bytes reported", "loss reported", "tail cut", "newer version"];
const REFUSALS: readonly Refusal[] = ["not tried", "not refused", "refused by open()", "refused by emit()"];

/** Counts cases by kind and outcome. */
export class Tally {
  readonly #counts = new Map<string, Map<string, number>>();

  add(kind: string, { delivery, refusal }: Outcome): void {
    const counts = this.#counts.get(kind) ?? new Map<string, number>();
    this.#counts.set(kind, counts);
    for (const key of ["cases", delivery, refusal]) counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  /** How many cases there were of a kind, or of all; with that outcome, if one is given. */
  count(kind?: string, outcome: "cases" | Delivery | Refusal = "cases"): number {
    let sum = 0;
    for (const [name, counts] of this.#counts) if (kind === undefined || kind === name) sum += counts.get(outcome) ?? 0;
    return sum;
  }

  /** One line a kind, one column an outcome. */
  toString(): string {
    const columns = ["cases", ...DELIVERIES, ...REFUSALS] as const;
    const rows = [...this.#counts.keys()].map((kind) => [kind, ...columns.map((column) => this.count(kind, column))]);
    rows.push(["all", ...columns.map((column) => this.count(undefined, column))]);
    const widths = ["", ...columns].map((head, i) =>
      Math.max(head.length, ...rows.map((row) => String(row[i]).length))
    );
    const line = (cells: readonly unknown[]) =>
      cells.map((cell, i) => i === 0 ? String(cell).padEnd(widths[i]!) : String(cell).padStart(widths[i]!)).join("  ");
    return [line(["", ...columns]), ...rows.map(line)].join("\n");
  }
}

/** How cases are tried. */
export interface CheckOptions {
  /** Each case gets only one life besides being drained, in turn. */
  readonly alternates?: boolean;
  /** Arrays are watched, too, which takes its time; reads always are. */
  readonly watchesArrays?: boolean;
}

/** Tries cases one after the other, and counts them. */
export async function checkAll(cases: Iterable<Case>, tally: Tally, options: CheckOptions = {}): Promise<void> {
  const { alternates = false, watchesArrays = !alternates } = options;
  let turn = 0;
  for (const one of cases) {
    const lives = alternates ? ONE_LIFE[turn++ % ONE_LIFE.length] : ALL_LIVES;
    if (watchesArrays) {
      const most = mostArrayBytes(one.base);
      const largest = await largestArray(async () => tally.add(one.kind, await check(one, lives)));
      assert(largest <= most, `${one.kind}, log ${one.base.name}: ${one.name}: an array of ${largest} bytes`);
    } else {
      tally.add(one.kind, await check(one, lives));
    }
  }
}
