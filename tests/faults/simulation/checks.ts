/**
 * What must be true of a simulated buffer when nothing is under way but puts that wait for space: its figures, its
 * segments, and that whoever waits has a reason to.
 *
 * Where a power cut may have taken bytes that nothing covered, figures are totals, and right again behind that place; but
 * they are never below zero there, nor above what the segments take.
 */

import { assert, assertEquals } from "@std/assert";
import type { BufferStats } from "../../../mod.ts";
import { viewOf } from "../../support/bytes.ts";
import type { Wait } from "./consumer.ts";
import { assertNoneNegative } from "./damaged_lives.ts";
import { PATH, segmentsIn } from "./disk.ts";
import type { Entry } from "./records.ts";
import type { LifeOptions, World } from "./world.ts";

/** A frame's header, what stands before each payload, and what a segment begins with. */
const FRAME_BYTES = 28;
const RECORD_BYTES = 4;
const SEGMENT_HEADER_BYTES = 160;
const MAX_SHARED_FRAME_BYTES = 64 * 1024;
/** Where a segment's header says how many bytes of frames were written before it. */
const LOG_BYTES_AT = 48;

/** How often what has happened in a life. */
export interface Counts {
  rejected: number;
  dropped: number;
  emitted: number;
  committed: number;
  redelivered: number;
}

/** What the figures of a life are held against. */
export interface LifeFacts {
  readonly options: LifeOptions;
  readonly counts: Readonly<Counts>;
  /** What was put in this life. */
  readonly acknowledged: readonly Entry[];
  /** The records of the put that has waited longest, if one waits. */
  readonly waiting: readonly Entry[] | undefined;
  /** Who waits for a batch. */
  readonly waits: readonly Wait[];
  /** The first sequence of this life, and how large the backlog was then. */
  readonly startSequence: number;
  readonly startBacklogBytes: number;
  /** The buffer's own time: when it began, and now. */
  readonly openedAt: number;
  readonly now: number;
}

/** Checks a buffer at rest. */
export function checkAtRest({ model, disk }: World, stats: BufferStats, isDue: boolean, facts: LifeFacts): void {
  checkWaiting(stats, facts);
  checkBounds(disk, stats);
  if (model.hasGaps || model.isDented) return;
  const { pending, inFlight } = model;
  assertEquals({
    pendingRecords: stats.pendingRecords,
    pendingBytes: stats.pendingBytes,
    inFlightRecords: stats.inFlightRecords,
    puts: stats.puts,
    rejected: stats.rejected,
    dropped: stats.dropped,
    emitted: stats.batchesEmitted,
    committed: stats.batchesCommitted,
    redelivered: stats.batchesRedelivered,
  }, {
    pendingRecords: pending.length,
    pendingBytes: bytesOf(pending),
    inFlightRecords: inFlight.entries.length,
    puts: facts.acknowledged.length,
    ...facts.counts,
  }, "stats()");
  const mostBytes = Math.max(facts.options.maxBacklogBytes, facts.startBacklogBytes);
  assert(stats.backlogBytes <= mostBytes, `a backlog of ${stats.backlogBytes} of ${mostBytes}`);
  if (model.missing.length === 0) checkSequences(facts);
  if (disk.faults > 0) return;
  checkDisk({ model, disk }, stats);
  checkAge({ model }, stats, isDue, facts);
}

/**
 * What holds of the figures whatever has happened to the disk: none is below zero, and none above the truth. Of a segment that
 * nobody has looked at since the power was cut, the truth is what was written to it; of all others, what it has.
 */
function checkBounds({ files, faults }: World["disk"], stats: BufferStats): void {
  assertNoneNegative(stats, "stats()");
  const segments = segmentsIn(files).map(({ name }) => files.readFile(`${PATH}/${name}`));
  const { backlogBytes, diskBytes } = stats;
  const written = writtenTo(segments);
  assert(backlogBytes <= written, `a backlog of ${backlogBytes} bytes, but no more than ${written} were written`);
  // A removal that is said to have failed may have been made.
  if (faults > 0) return;
  assert(diskBytes <= written, `${diskBytes} bytes on disk, but no more than ${written} were written`);
}

/** What segments take, or took before something of them was lost: the next one's header says so. */
function writtenTo(segments: readonly Uint8Array[]): number {
  const known = segments.filter(({ length }) => length >= SEGMENT_HEADER_BYTES);
  const before = known.map((bytes) => Number(viewOf(bytes).getBigUint64(LOG_BYTES_AT, true)));
  const lost = known.map(({ length }, i) => {
    const next = before.slice(i + 1).find((bytes) => bytes > 0) ?? 0;
    return Math.max(0, next - before[i]! + SEGMENT_HEADER_BYTES - length);
  });
  const empty = segments.length - known.length;
  return segments.reduce((sum, { length }) => sum + length, empty * SEGMENT_HEADER_BYTES) +
    lost.reduce((sum, bytes) => sum + bytes, 0);
}

function bytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
}

/** Sequences are given out in the order of the calls, and none is left out. */
function checkSequences({ acknowledged, startSequence }: LifeFacts): void {
  const inOrder = acknowledged.toSorted((a, b) => a.call - b.call).map(({ sequence }) => sequence);
  assertEquals(inOrder, inOrder.map((_, i) => startSequence + i), "sequences in the order of calls");
}

/** Puts wait only where they don't fit. */
function checkWaiting({ backlogBytes }: BufferStats, { waiting, options }: LifeFacts): void {
  if (waiting === undefined) return;
  const bytes = FRAME_BYTES + waiting.length * RECORD_BYTES + bytesOf(waiting);
  const fits = bytes <= MAX_SHARED_FRAME_BYTES && backlogBytes + bytes <= options.maxBacklogBytes;
  assert(!fits, `a put of ${bytes} bytes waits, with ${backlogBytes} of ${options.maxBacklogBytes} used`);
}

/** The disk holds the backlog and one segment: every segment but the last has something that is still needed. */
function checkDisk({ model, disk }: Pick<World, "model" | "disk">, stats: BufferStats): void {
  const files = segmentsIn(disk.files);
  // One that was left without a record doesn't count: it is begun anew.
  const segments = files.slice(0, stats.segments);
  assert(files.length - segments.length <= 1, `${stats.segments} segments, ${files.length} files`);
  // A power cut may have brought back a segment that was removed, and with it a name in the middle of another one.
  if (disk.powerCuts > 0) return;
  const { pending } = model;
  segments.slice(0, -1).forEach(({ name, firstSequence }, i) => {
    const end = segments[i + 1]!.firstSequence;
    const isNeeded = pending.some(({ sequence }) => firstSequence <= sequence! && sequence! < end);
    assert(isNeeded, `segment ${name} is still there`);
  });
  // A segment that was created by an open() that failed has no header, and counts as if it had one.
  const bytes = segments.reduce((sum, { size }) => sum + Math.max(size, SEGMENT_HEADER_BYTES), 0);
  assertEquals(stats.diskBytes, bytes, "bytes on disk");
}

/** A batch is due when one is in flight, or the next is full or old enough. */
function checkAge({ model }: Pick<World, "model">, stats: BufferStats, isDue: boolean, facts: LifeFacts): void {
  const { options: { maxRecords, maxBytes, maxAgeMs }, acknowledged, openedAt, now } = facts;
  const inFlight = new Set(model.inFlight.entries);
  const next = model.pending.filter((entry) => !inFlight.has(entry));
  const [oldest] = next;
  let age = 0;
  if (oldest !== undefined) {
    if (Number.isNaN(oldest.putTime)) return;
    // Put before this life: its clock may have been ahead of ours.
    const putTime = acknowledged.includes(oldest) ? oldest.putTime : Math.min(oldest.wallTime, openedAt);
    age = Math.max(0, now - putTime);
  }
  assertEquals(stats.oldestAgeMs, age, "age of the oldest record");
  const isFull = next.length >= maxRecords || bytesOf(next) >= maxBytes;
  const isOld = next.length > 0 && age >= maxAgeMs;
  assertEquals(isDue, inFlight.size > 0 || isFull || isOld, "shouldEmit()");
  for (const { index, flush } of facts.waits) {
    const isNextDue = isFull || isOld || (flush && next.length > 0);
    // What somebody else has asked for is his, until it is old.
    if (model.inFlight.at(index()) !== undefined) continue;
    assert(model.mayCut === false || !isNextDue, "somebody waits for a batch that is due");
    assert(!flush || next.length > 0, "somebody waits for records");
  }
}
