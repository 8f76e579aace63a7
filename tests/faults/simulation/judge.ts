/**
 * After a death: holds what comes out of copies of what is left (`recovery.ts`) against what was promised.
 *
 * | always | |
 * |---|---|
 * | order | sequences go up, and so do the calls of the puts; a record has one sequence |
 * | nothing invented, nothing twice | each record was put, and comes once |
 * | rejected | never comes back |
 * | `putMany` | all of it is there, or none |
 * | gaps | only where they are reported; reported only where a power cut took what no sync had covered |
 *
 * | after a kill, whatever `fsync` | after a power cut |
 * |---|---|
 * | every acknowledged record is there | those that are safe (see the model) |
 * | what is committed, dropped or cleared never comes back | unless that isn't safe, or the cursor isn't reliable |
 * | the batches in flight come first, in order, same ids, same records | each that is safe, and its end, if the cursor is reliable |
 * | none besides says that it is redelivered, and never more than 16 | - |
 * | no sequence is given out again | none that is safe |
 * | with "always" in all lives, on a disk that never failed: no damage | none either, and no sequence is left out |
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

import { assert, assertEquals } from "@std/assert";
import type { ManualClock, MemoryFileSystem } from "../../../src/testing/mod.ts";
import { MAX_IN_FLIGHT } from "./in_flight.ts";
import type { Model } from "./model.ts";
import type { Attempt, Entry, HandedOver } from "./records.ts";
import { type Found, recover, recoverAgain } from "./recovery.ts";
import { short } from "./world.ts";

/** A death and what it left. */
export interface Death {
  readonly isPower: boolean;
  /** Whether a power cut leaves a valid cursor that is not older than the last sync. */
  readonly isCursorReliable: boolean;
  /** Whether all lives of the log had `fsync: "always"`, on a disk that never failed: then nothing is damage. */
  readonly isStrict: boolean;
  readonly left: MemoryFileSystem;
}

/** How to judge. */
export interface JudgeOptions {
  readonly clock: ManualClock;
  readonly trace: (line: () => string) => void;
  /** Whether to recover in other ways, too. */
  readonly isThorough: boolean;
}

/** Recovers copies of what is left and checks what comes out. Leaves the model as it is. */
export async function judge(model: Model, death: Death, options: JudgeOptions): Promise<Found> {
  const { clock, trace, isThorough } = options;
  const found = await recover(death.left, clock);
  trace(() => {
    const batches = found.batches.map(({ id, redelivered }) => short(id) + (redelivered ? "!" : ""));
    const gaps = found.missing.map(({ first, last }) => `, ${first}-${last} missing`).join("");
    return `found ${batches.join(" ")}${gaps}, next ${found.next}`;
  });
  await recoverAgain(death.left, clock, { found, isThorough, isStrict: death.isStrict });
  new Verdict(model, death, found).check();
  return found;
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
    this.#checkInFlight();
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
      const { pending, inFlight } = this.#model;
      const oldest = pending.findIndex(({ sequence }) => sequence! > inFlight.lastSequence);
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

  /** The batches in flight come first, and as they were. */
  #checkInFlight(): void {
    const { isPower } = this.#death;
    // What an attempt has taken away is gone as a whole: that was checked already.
    const left = this.#model.inFlight.all.filter(({ entries }) => entries.some(({ value }) => this.#there.has(value)));
    const again = this.#found.batches.filter(({ redelivered }) => redelivered);
    const isBroken = this.#found.missing.length + this.#model.missing.length > 0;
    assert(again.length <= MAX_IN_FLIGHT || isBroken, `${again.length} batches were in flight`);
    assertEquals(this.#found.batches.slice(0, again.length), again, "what was in flight doesn't come first");
    if (isPower) {
      for (const batch of left.filter((one) => this.#isSafe(one))) {
        const found = again.find(({ id }) => id === batch.id);
        assert(found !== undefined, `the batch in flight ${short(batch.id)} comes back as another one`);
        assertEquals(found.values, batch.entries.map(({ value }) => value), "the records of a batch in flight");
      }
      return;
    }
    for (const [i, { id, entries }] of left.entries()) {
      assertEquals(again[i]?.id, id, `batch ${i + 1} in flight comes back as another one`);
      assertEquals(again[i]?.values, entries.map(({ value }) => value), "the records of a batch in flight");
    }
    const mayBe = this.#model.attempts.some(({ kind, isOverwritten }) => kind === "emit" && !isOverwritten);
    const others = again.slice(left.length).map(({ id }) => short(id));
    assert(others.length <= (mayBe ? 1 : 0), `${others.join(", ")} say that they were handed over before`);
  }

  /** Whether a power cut leaves a batch in flight as it is. */
  #isSafe({ isSafe, entries }: HandedOver): boolean {
    return this.#death.isCursorReliable && isSafe && entries.every((entry) => entry.isSafe);
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
    if (this.#death.isStrict) this.#checkNoneLeftOut();
  }

  /** No sequence is left out that was not in flight; of a segment without a header, as many as its bytes can have held. */
  #checkNoneLeftOut(): void {
    const { next, damaged } = this.#found;
    const { entries, bySequence, highestSafe } = this.#model;
    const inFlight = [...entries.values()].filter(({ state }) => state === "called" || state === "refused").length;
    const unreadable = damaged.filter(({ offset, length }) => offset === 0 && length > 0);
    const mayHold = unreadable.reduce((sum, { length }) => sum + (length >> 2), 0);
    const most = Math.max(highestSafe, ...bySequence.keys()) + inFlight + mayHold;
    assert(next <= most + 1, `sequence ${next} is next, at most ${most} can have been given out`);
  }
}
