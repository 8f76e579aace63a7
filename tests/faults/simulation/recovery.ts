/**
 * Takes everything out of copies of what a death has left, in several ways, which have to agree.
 *
 * | how | what must be true |
 * |---|---|
 * | each batch is committed before the next is asked for | when all is committed, nothing is pending, one segment is left at most, and the sequences go on |
 * | each is asked for behind the one before, as many as may be in flight | the same batches, ids and records |
 * | so many are asked for and not committed, and the process dies | the same again, those as redelivered |
 * | opened and closed twice before | every segment is as it was, and the same comes out |
 * | with `onDamage: "fail"` | nothing is refused, the same comes out, and what is missing is unproven |
 *
 * The two before the last are for some deaths only; the last is for those of a log all of whose lives had `fsync: "always"`,
 * on a disk that never failed.
 */

import { crc32 } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import {
  type Batch,
  BufferEmptyError,
  type DamagedRegion,
  FileBuffer,
  NoBatchBehindError,
  type OnDamage,
} from "../../../mod.ts";
import type { ManualClock, MemoryFileSystem } from "../../../src/testing/mod.ts";
import { Cursor } from "../../../src/wal/cursor.ts";
import { CURSOR_FILE_BYTES } from "../../../src/wal/cursor_format.ts";
import { RESERVE_PART_BYTES } from "../../../src/wal/reserve.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { copyOf, needsNoSpace, PATH, segmentsIn } from "./disk.ts";
import type { SeenBatch } from "./records.ts";
import { see, short, versionedCodec } from "./world.ts";

/** More batches than a simulation has records. */
const MAX_BATCHES = 10_000;

/** What came out. */
export interface Found {
  readonly batches: readonly SeenBatch[];
  /** The sequence of the next record. */
  readonly next: number;
  /** Sequences that were reported as missing. */
  readonly missing: readonly { readonly first: number; readonly last: number }[];
  /** The damaged regions that were reported. */
  readonly damaged: readonly DamagedRegion[];
}

/** A buffer on a copy, and the damage that it reports. */
interface Copy {
  readonly buffer: FileBuffer<string>;
  readonly damaged: readonly DamagedRegion[];
}

/** Recovers a copy of what is left, and returns what comes out. */
export function recover(left: MemoryFileSystem, clock: ManualClock): Promise<Found> {
  return takeAll(copyOf(left), clock, commitEach);
}

/** Recovers other copies in other ways, and finds the same. */
export async function recoverAgain(
  left: MemoryFileSystem,
  clock: ManualClock,
  { found, isThorough, isStrict }: { found: Found; isThorough: boolean; isStrict: boolean },
): Promise<void> {
  if (isStrict) await recoverStrictly(left, clock, found);
  const behind = await takeAll(copyOf(left), clock, commitBehind);
  assertSame(behind, found, "emit({ after }) finds something else");
  assertEquals(sequencesIn(behind.missing), sequencesIn(found.missing), "emit({ after }) misses something else");
  if (!isThorough) return;
  const again = copyOf(left);
  await assertRecoveryIsFinal(again, clock, found);
  assertSame(await takeAll(again, clock, commitEach), found, "two recoveries differ");
  await recoverUncommitted(copyOf(left), clock, found);
}

/** Nothing that was acknowledged is lost, so nothing is refused as damage: neither by the first process nor by the next. */
async function recoverStrictly(left: MemoryFileSystem, clock: ManualClock, found: Found): Promise<void> {
  const files = copyOf(left);
  // What was found must be written down for the next process.
  files.capacityBytes = Infinity;
  const { buffer } = await openCopy(files, clock, "fail");
  await buffer.close();
  const strict = await takeAll(files, clock, commitEach, "fail");
  assertSame(strict, found, "with onDamage: fail");
  for (const { damaged } of [found, strict]) {
    for (const region of damaged) {
      assertEquals(region.unproven, true, `${JSON.stringify(region)} is said to be damage, and nothing failed`);
    }
  }
}

/** Asks for as many batches as there may be in flight, dies, and finds the same. */
async function recoverUncommitted(files: MemoryFileSystem, clock: ManualClock, found: Found): Promise<void> {
  const copy = await openCopy(files, clock);
  const asked: Batch<string>[] = [];
  for (;;) {
    const batch = await emitBehind(copy.buffer, asked.at(-1));
    if (batch === undefined) break;
    asked.push(batch);
  }
  const left = files.kill();
  await copy.buffer.close().catch(() => {});
  const expected = found.batches.map((batch, i) => i < asked.length ? { ...batch, redelivered: true } : batch);
  const { batches } = await takeAll(left, clock, commitEach);
  assertEquals(batches.map(summary), expected.map(summary), "what was handed over comes back in another way");
}

function assertSame(again: Found, found: Found, message: string): void {
  assertEquals(again.batches.map(summary), found.batches.map(summary), message);
  assertEquals(again.next, found.next, `${message}: the next sequence`);
}

function sequencesIn(ranges: Found["missing"]): number[] {
  const sequences = new Set<number>();
  for (const { first, last } of ranges) for (let i = first; i <= last; i++) sequences.add(i);
  return [...sequences].sort((a, b) => a - b);
}

/** Opening and closing again changes nothing, but for the cursor's word about what is missing. */
async function assertRecoveryIsFinal(files: MemoryFileSystem, clock: ManualClock, found: Found): Promise<void> {
  const states: unknown[] = [];
  for (let i = 0; i < 2; i++) {
    const { buffer } = await openCopy(files, clock);
    await yieldToEventLoop(1);
    await buffer.close();
    const { generation: _, ...cursor } = Cursor.read(files, PATH)!;
    const segments = segmentsIn(files).map(({ name }) => [name, crc32(files.readFile(`${PATH}/${name}`))]);
    states.push({ cursor: found.missing.length === 0 ? cursor : undefined, segments });
  }
  assertEquals(states[1], states[0], "opening and closing changes the log");
}

async function openCopy(
  files: MemoryFileSystem,
  clock: ManualClock,
  onDamage: OnDamage = "quarantine",
): Promise<Copy> {
  const damaged: DamagedRegion[] = [];
  // A full disk doesn't keep anybody from opening a log; but a new one needs its first files, and where overwriting needs
  // space one without a reserve can't do anything.
  if (!needsNoSpace(files)) files.capacityBytes = Infinity;
  const buffer = await FileBuffer.open<string>({
    path: PATH,
    codec: versionedCodec(0),
    fileSystem: files,
    clock,
    fsync: "never",
    maxRecords: 4,
    segmentBytes: 4096,
    reserveBytes: files.copiesOnWrite(PATH) ? RESERVE_PART_BYTES : 0,
    statusMs: 0,
    onDamage,
    onEvent(event) {
      if (event.type === "damage-found") damaged.push(event.region);
    },
  });
  return { buffer, damaged };
}

/** Takes everything out of a log in some way, and puts one record more. */
async function takeAll(
  files: MemoryFileSystem,
  clock: ManualClock,
  take: (buffer: FileBuffer<string>) => AsyncIterable<Batch<string>>,
  onDamage?: OnDamage,
): Promise<Found> {
  const { buffer, damaged } = await openCopy(files, clock, onDamage);
  const { recoveredRecords } = buffer.recovery;
  const batches: SeenBatch[] = [];
  for await (const batch of take(buffer)) {
    batches.push(see(batch));
    assert(batches.length < MAX_BATCHES, "a drain without end");
  }
  const { pendingRecords, pendingBytes, backlogBytes, inFlightRecords } = buffer.stats();
  assertEquals([pendingRecords, pendingBytes, backlogBytes, inFlightRecords], [0, 0, 0, 0], "left after a drain");
  const missing = damaged.flatMap((region) => region.missing ?? []);
  if (missing.length === 0) {
    assertEquals(batches.reduce((sum, { values }) => sum + values.length, 0), recoveredRecords, "recoveredRecords");
  }
  files.capacityBytes = Infinity;
  // It goes into a segment of its own; with that, all others can go.
  const next = await buffer.put("next#0");
  await yieldToEventLoop(1);
  assertEquals(segmentsIn(files).map(({ firstSequence }) => firstSequence), [next], "segments after a drain");
  await buffer.close();
  checkFiles(files);
  return { batches, next, missing, damaged };
}

/** One batch in flight at a time. */
async function* commitEach(buffer: FileBuffer<string>): AsyncIterable<Batch<string>> {
  for await (const batch of buffer.batches({ flush: true })) {
    yield batch;
    await buffer.commit(batch);
  }
}

/** As many in flight as may be; the oldest is committed when there can't be more. */
async function* commitBehind(buffer: FileBuffer<string>): AsyncIterable<Batch<string>> {
  const inFlight: Batch<string>[] = [];
  let last: Batch<string> | undefined;
  for (;;) {
    const batch = await emitBehind(buffer, last);
    if (batch !== undefined) {
      yield last = batch;
      inFlight.push(batch);
    } else if (inFlight.length > 0) {
      await buffer.commit(inFlight.shift());
    } else return;
  }
}

async function emitBehind(
  buffer: FileBuffer<string>,
  after: Batch<string> | undefined,
): Promise<Batch<string> | undefined> {
  try {
    return await buffer.emit({ after });
  } catch (error) {
    if (error instanceof BufferEmptyError || error instanceof NoBatchBehindError) return undefined;
    throw error;
  }
}

/** A batch but for the uuid: where that was lost, each recovery makes another one. */
function summary({ id, redelivered, values }: SeenBatch): unknown {
  return [short(id), redelivered, values];
}

/** Besides the log there are a few files of a fixed size, and what was set aside. */
function checkFiles(files: MemoryFileSystem): void {
  const names = files.paths().map((path) => path.slice(PATH.length + 1));
  const others = names.filter((name) =>
    !/^(cursor|lock|owner\.json|status\.json|reserve-1|\d{20}\.wal|quarantine\/.+)$/.test(name)
  );
  assertEquals(others, [], "files that don't belong there");
  const sizeOf = (name: string) => names.includes(name) ? files.readFile(`${PATH}/${name}`).length : 0;
  assertEquals(sizeOf("cursor"), CURSOR_FILE_BYTES, "bytes of the cursor");
  assert(sizeOf("lock") + sizeOf("owner.json") < 1024, "the lock and its owner take too much");
}
