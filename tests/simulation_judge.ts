/**
 * After a death: recovers copies of what is left, drains them, and holds what comes out against what was promised.
 *
 * | always | |
 * |---|---|
 * | order | sequences go up, and so do the calls of the puts; a record has one sequence |
 * | nothing invented, nothing twice | each record was put, and comes once |
 * | rejected | never comes back |
 * | `putMany` | all of it is there, or none |
 * | gaps | only where they are reported; reported only where a power cut took what no sync had covered |
 * | recovery | a second one finds the same, and opening and closing twice leaves every segment as it is |
 * | the end | when all is committed, nothing is pending, one segment is left at most, and the sequences go on |
 *
 * | after a kill, whatever `fsync` | after a power cut |
 * |---|---|
 * | every acknowledged record is there | those that are safe (see the model) |
 * | what is committed, dropped or cleared never comes back | unless that isn't safe, or the cursor isn't reliable |
 * | the batch in flight comes first, same id, same records | if it and its end are safe and the cursor reliable |
 * | no sequence is given out again | none that is safe |
 * | a rejected put leaves nothing | unless that isn't safe |
 *
 * The exceptions, and why they are right:
 * - An emit, commit, clear or drop that never ended, or ended with an error of the disk, may have happened, as a whole;
 *   a put that never ended, or ended because the buffer has failed, too.
 * - After a failed sync of the cursor its pages may be forgotten, also those of older states: until the next sync that
 *   succeeds, the commit position is not *reliable*, and everything that is still on the disk may come again.
 * - With other settings than "always", a failed write is cut off at once, but the cut isn't synced: until it is, a power
 *   cut may bring the record back that was rejected, also behind what was written in its place.
 * - A batch, or a `putMany` of which a part was handed over, may come back in pieces if it wasn't safe.
 */

import { crc32 } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { type DamagedRegion, FileBuffer } from "../mod.ts";
import type { ManualClock, MemoryFileSystem } from "../src/testing.ts";
import { Cursor } from "../src/wal/cursor.ts";
import { copyOf, hasCursor, PATH, segmentsIn, waitTurns } from "./simulation_disk.ts";
import { CURSOR_FILE_BYTES } from "../src/wal/format.ts";
import type { Model } from "./simulation_model.ts";
import type { Attempt, Entry, SeenBatch } from "./simulation_records.ts";
import { see, short, versionedCodec } from "./simulation_world.ts";

/** A death and what it left. */
export interface Death {
  readonly isPower: boolean;
  /** Whether a power cut leaves a valid cursor that is not older than the last sync. */
  readonly isCursorReliable: boolean;
  readonly left: MemoryFileSystem;
}

/** What came out. */
export interface Found {
  readonly batches: readonly SeenBatch[];
  /** The sequence of the next record. */
  readonly next: number;
  /** Sequences that were reported as missing. */
  readonly missing: readonly { readonly first: number; readonly last: number }[];
  /** How many damaged regions were reported. */
  readonly damages: number;
}

/** How to judge. */
export interface JudgeOptions {
  readonly clock: ManualClock;
  readonly trace: (line: () => string) => void;
  /** Whether to recover a second time, too. */
  readonly isThorough: boolean;
}

/** Recovers copies of what is left and checks what comes out. Leaves the model as it is. */
export async function judge(model: Model, death: Death, options: JudgeOptions): Promise<Found> {
  const { clock, trace, isThorough } = options;
  const found = await drain(copyOf(death.left), clock);
  trace(() => {
    const batches = found.batches.map(({ id, redelivered }) => short(id) + (redelivered ? "!" : ""));
    const gaps = found.missing.map(({ first, last }) => `, ${first}-${last} missing`).join("");
    return `found ${batches.join(" ")}${gaps}, next ${found.next}`;
  });
  if (isThorough) await recoverAgain(death, found, clock);
  new Verdict(model, death, found).check();
  return found;
}

/** Recovers another time, and finds the same. */
async function recoverAgain(death: Death, found: Found, clock: ManualClock): Promise<void> {
  const copy = copyOf(death.left);
  await assertRecoveryIsFinal(copy, clock, found);
  const again = await drain(copy, clock);
  assertEquals(again.batches.map(summary), found.batches.map(summary), "two recoveries differ");
  assertEquals(again.next, found.next, "two recoveries give out another sequence");
}

/** A batch but for the uuid: where that was lost, each recovery makes another one. */
function summary({ id, redelivered, values }: SeenBatch): unknown {
  return [short(id), redelivered, values];
}

/** Opening and closing again changes nothing, but for the cursor's word about what is missing. */
async function assertRecoveryIsFinal(files: MemoryFileSystem, clock: ManualClock, found: Found): Promise<void> {
  const states: unknown[] = [];
  for (let i = 0; i < 2; i++) {
    const { buffer } = await openCopy(files, clock);
    await waitTurns(1);
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
): Promise<{ buffer: FileBuffer<string>; damaged: DamagedRegion[] }> {
  const damaged: DamagedRegion[] = [];
  // A full disk doesn't keep anybody from opening a log; but a new one needs its first files.
  if (!hasCursor(files)) files.capacityBytes = Infinity;
  const buffer = await FileBuffer.open<string>({
    path: PATH,
    codec: versionedCodec(0),
    fileSystem: files,
    clock,
    fsync: "never",
    maxRecords: 4,
    segmentBytes: 4096,
    onEvent(event) {
      if (event.type === "damage") damaged.push(event.region);
    },
  });
  return { buffer, damaged };
}

/** Takes everything out of a log, and puts one record more. */
async function drain(files: MemoryFileSystem, clock: ManualClock): Promise<Found> {
  const { buffer, damaged } = await openCopy(files, clock);
  const { recoveredRecords } = buffer.recovery;
  const batches: SeenBatch[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    batches.push(see(batch));
    await buffer.commit(batch);
    assert(batches.length < 10_000, "a drain without end");
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
  await waitTurns(1);
  assertEquals(segmentsIn(files).map(({ firstSequence }) => firstSequence), [next], "segments after a drain");
  await buffer.close();
  checkFiles(files);
  return { batches, next, missing, damages: damaged.length };
}

/** Besides the log there are a few files of a fixed size, and what was set aside. */
function checkFiles(files: MemoryFileSystem): void {
  const names = files.paths().map((path) => path.slice(PATH.length + 1));
  const others = names.filter((name) => !/^(cursor|lock|owner\.json|\d{20}\.wal|quarantine\/.+)$/.test(name));
  assertEquals(others, [], "files that don't belong there");
  const sizeOf = (name: string) => names.includes(name) ? files.readFile(`${PATH}/${name}`).length : 0;
  assertEquals(sizeOf("cursor"), CURSOR_FILE_BYTES, "bytes of the cursor");
  assert(sizeOf("lock") + sizeOf("owner.json") < 1024, "the lock and its owner take too much");
}

/** What is said about one death. */
class Verdict {
  readonly #model: Model;
  readonly #death: Death;
  readonly #found: Found;
  /** Sequences by record. */
  readonly #there: ReadonlyMap<string, number>;

  constructor(model: Model, death: Death, found: Found) {
    this.#model = model;
    this.#death = death;
    this.#found = found;
    this.#there = new Map(
      found.batches.flatMap(({ values, firstSequence }) => values.map((value, i) => [value, firstSequence + i])),
    );
  }

  check(): void {
    this.#checkOrder();
    for (const [value, sequence] of this.#there) this.#checkFound(value, sequence);
    const attempt = this.#checkLost();
    this.#checkGroups(attempt);
    this.#checkInFlight(attempt);
    this.#checkGaps();
    this.#checkNext();
  }

  #checkOrder(): void {
    let last = 0;
    let call = -1;
    for (const { values, firstSequence } of this.#found.batches) {
      for (const [i, value] of values.entries()) {
        const sequence = firstSequence + i;
        assert(sequence > last, `sequence ${sequence} after ${last}`);
        assertEquals(this.#there.get(value), sequence, `record ${value} comes twice`);
        const entry = this.#model.entries.get(value);
        assert(entry !== undefined, `record ${value} at ${sequence} was never put`);
        last = sequence;
        // Rejected, cut off, and back behind what was written in its place: see the exceptions.
        if (entry.state === "refused" || entry.isBack) continue;
        assert(entry.call > call, `record ${value} comes late`);
        call = entry.call;
      }
    }
  }

  /** Whether what is there may be. */
  #checkFound(value: string, sequence: number): void {
    const { isPower, isCursorReliable } = this.#death;
    const entry = this.#model.entries.get(value)!;
    if (entry.sequence !== undefined) assertEquals(sequence, entry.sequence, `the sequence of ${value}`);
    const taken = this.#model.bySequence.get(sequence);
    if (taken !== undefined && taken !== entry) {
      assert(isPower && !taken.isSafe, `${value} (${entry.state}) is at ${sequence}, which is ${taken.value}'s`);
    }
    if (entry.state === "done") {
      const mayReturn = isPower && (!entry.isSafe || !isCursorReliable);
      assert(mayReturn, `record ${value} at ${sequence} was committed or dropped, and comes back`);
    }
    if (entry.state === "refused") {
      assert(isPower && !entry.isSafe, `record ${value} was rejected, and comes back at ${sequence}`);
    }
  }

  /** Whether what isn't there had to be. Returns the commit, drop or clear that took it away without saying so. */
  #checkLost(): Attempt | undefined {
    const { isPower } = this.#death;
    const lost = this.#model.pending.filter((entry) => (!isPower || entry.isSafe) && !this.#there.has(entry.value));
    if (lost.length === 0) return undefined;
    const attempt = this.#model.attempts.find((attempt) => this.#explains(attempt, lost));
    const list = lost.map(({ sequence, value }) => `${sequence} (${value})`).join(", ");
    assert(attempt !== undefined, `acknowledged records are lost: ${list}`);
    return attempt;
  }

  /** Whether an attempt can have taken away just these. */
  #explains(attempt: Attempt, lost: readonly Entry[]): boolean {
    if (attempt.isOverwritten && !this.#death.isPower) return false;
    if (attempt.kind === "drop") {
      const { pending, lastInFlight } = this.#model;
      const oldest = pending.findIndex(({ sequence }) => sequence! > lastInFlight);
      return lost.length <= attempt.maxRecords && lost.every((entry, i) => pending[oldest + i] === entry);
    }
    const taken = [...attempt.entries].filter(({ state }) => state === "pending");
    return lost.every((entry) => attempt.entries.has(entry)) && taken.every(({ value }) => !this.#there.has(value));
  }

  /** A `putMany` is there whole or not at all, but for what was taken away since. */
  #checkGroups(attempt: Attempt | undefined): void {
    const groups = new Map<number, Entry[]>();
    for (const entry of this.#model.entries.values()) {
      if (entry.group !== undefined) groups.set(entry.group, [...(groups.get(entry.group) ?? []), entry]);
    }
    for (const entries of groups.values()) {
      const there = entries.filter(({ value }) => this.#there.has(value));
      // Of one that was rejected and comes back, a part may have the sequences of what is committed since.
      if (there.every(({ state, isBack }) => state === "refused" || isBack)) continue;
      const isPartGone = (entry: Entry) =>
        entry.state === "done" || this.#model.attempts.some(({ entries }) => entries.has(entry));
      // The end of a batch within it was handed over, and the rest is not safe: nothing can be promised about it.
      if (this.#death.isPower && entries.some(isPartGone) && !entries.every(({ isSafe }) => isSafe)) continue;
      const missing = entries.filter((entry) => !this.#there.has(entry.value) && !isPartGone(entry));
      if (attempt?.kind === "drop") continue;
      assertEquals(
        missing.map(({ value }) => value),
        [],
        `of a putMany only ${there.map(({ value }) => value)} are there`,
      );
    }
  }

  /** The batch in flight comes first, and as it was. */
  #checkInFlight(attempt: Attempt | undefined): void {
    const { isPower, isCursorReliable } = this.#death;
    const { inFlight } = this.#model;
    const [first] = this.#found.batches;
    const isTaken = inFlight !== undefined && !inFlight.entries.some(({ value }) => this.#there.has(value));
    const areRecordsSafe = inFlight?.entries.every(({ isSafe }) => isSafe) === true;
    const isKnown = !isPower || (isCursorReliable && inFlight?.isSafe === true && areRecordsSafe);
    if (inFlight !== undefined && isKnown && !isTaken) {
      assertEquals(first?.id, inFlight.id, "the batch in flight comes back as another one");
      assertEquals(first.values, inFlight.entries.map(({ value }) => value), "the records of the batch in flight");
      assert(first.redelivered, "the batch in flight says that it is new");
    } else if (!isPower && first?.redelivered === true) {
      const mayBe = this.#model.attempts.some(({ kind, isOverwritten }) => kind === "emit" && !isOverwritten);
      assert(mayBe, `${short(first.id)} says that it was handed over before`);
    }
    if (isTaken && isKnown) assert(attempt !== undefined, "the batch in flight is gone");
    // A batch from which a power cut has taken some records comes back in pieces.
    const pieces = this.#found.batches.filter(({ redelivered }) => redelivered).length;
    const isBroken = this.#found.missing.length + this.#model.missing.length > 0;
    assert(pieces <= 1 || isBroken, "several batches were in flight");
  }

  /** What is missing in the middle is reported, or was dropped; and nothing is reported that nobody can have taken. */
  #checkGaps(): void {
    const { missing } = this.#found;
    const reported = [...this.#model.missing, ...missing];
    const isReported = (sequence: number) => reported.some(({ first, last }) => first <= sequence && sequence <= last);
    const mayDrop = this.#model.attempts.some(({ kind }) => kind === "drop");
    let last: number | undefined;
    for (const sequence of this.#there.values()) {
      for (let gap = (last ?? sequence) + 1; gap < sequence; gap++) {
        const entry = this.#model.bySequence.get(gap);
        const isTaken = entry?.state === "done" || (entry?.state === "pending" && mayDrop);
        assert(isReported(gap) || isTaken, `sequence ${gap} is missing without a word`);
      }
      last = sequence;
    }
    if (missing.length === 0 || this.#model.missing.length > 0) return;
    const { isPower, isCursorReliable } = this.#death;
    const isUnsafe = [...this.#model.entries.values()].some(({ isSafe }) => !isSafe);
    // Of a segment that is not readable, nobody knows how much was in it.
    const isBeyond = missing.every(({ first }) => !this.#model.bySequence.has(first));
    const list = missing.map(({ first, last }) => `${first}-${last}`).join(" ");
    assert(isPower && (isUnsafe || isBeyond || !isCursorReliable), `${list} are said to be missing`);
  }

  #checkNext(): void {
    const { next } = this.#found;
    const known = this.#death.isPower ? this.#model.highestSafe : Math.max(0, ...this.#model.bySequence.keys());
    assert(next > known, `sequence ${next} is given out again, ${known} was`);
  }
}
