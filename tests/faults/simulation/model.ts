/**
 * What a simulated buffer has promised: every record with what became of it, and what is in flight. Plain bookkeeping; it
 * never looks at the disk.
 *
 * A record is *called* until its put is settled, and stays so if its outcome can't be known; then *pending* until it is
 * committed, dropped or cleared, and *done* from then on; or *refused*: rejected, or not there when its process had died
 * before it could say. Each state is *safe* when the buffer has promised that no power cut can change it:
 *
 * | promised by | from then on safe |
 * |---|---|
 * | `fsync: "always"` | a put when it resolves, a commit, a drop, a clear; a batch that is handed over, with its records |
 * | `flush()` | everything that was settled when it was called |
 * | `close()`, not with `fsync: "never"` | everything |
 * | an interval | what was settled that long ago, once the syncs under way have ended |
 *
 * Not safe whatever follows: the records in pages that a failed sync made the system forget (`isForgotten`).
 *
 * An *attempt* is a commit, clear, emit or drop that failed or never ended. It may be on the disk, until the next one
 * that succeeds is written over it; for a power cut, until that is synced.
 */

import { assert, assertEquals } from "@std/assert";
import { type Drop, Drops } from "./drops.ts";
import { InFlight, MAX_IN_FLIGHT } from "./in_flight.ts";
import type { Attempt, Bounds, Covered, Entry, SeenBatch, State } from "./records.ts";

/** The promises of one buffer. */
export class Model {
  readonly entries: Map<string, Entry> = new Map();
  /** What is pending or done, by its sequence. */
  readonly bySequence: Map<number, Entry> = new Map();
  readonly inFlight: InFlight;
  readonly drops: Drops = new Drops();
  attempts: Attempt[] = [];
  /** The highest sequence that is promised never to be given out again, whatever happens. */
  highestSafe = 0;
  /** A power cut may have taken bytes of the log, even if no record is missing: totals may be off from now on. */
  isDented = false;
  /** Sequences that were reported as missing. */
  readonly missing: { readonly first: number; readonly last: number }[] = [];
  /** Every batch that was handed over. */
  readonly #handed = new Map<string, readonly Entry[]>();
  #gapEnd = 0;
  #calls = 0;
  #groups = 0;
  readonly #now: () => number;

  /** `now` is the monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
    this.inFlight = new InFlight(now);
  }

  /** How many puts were called. */
  get calls(): number {
    return this.#calls;
  }

  /** Whether a power cut now may take or bring back something. */
  get isAtRisk(): boolean {
    return [...this.entries.values()].some(({ state, isSafe }) => state !== "called" && !isSafe);
  }

  /** What is neither committed nor dropped, in order; what is in flight included. */
  get pending(): Entry[] {
    const pending = [...this.bySequence.values()].filter(({ state }) => state === "pending");
    return pending.sort((a, b) => a.sequence! - b.sequence!);
  }

  /** Whether sequences are missing that the buffer may still meet. */
  get hasGaps(): boolean {
    return this.#gapEnd > 0;
  }

  /** Sequences are reported as missing. */
  miss(range: { readonly first: number; readonly last: number }): void {
    this.missing.push(range);
    this.#gapEnd = Math.max(this.#gapEnd, range.last);
  }

  /** The buffer is past all that is missing. */
  passGaps(): void {
    this.#gapEnd = 0;
  }

  // ---------------------------------------------------------------------------------------------------------------- puts

  /** A put is called. */
  call(
    values: readonly string[],
    { isGroup, ...stamps }: { isGroup: boolean } & Pick<Entry, "codecVersion" | "putTime" | "wallTime">,
  ): Entry[] {
    const group = isGroup ? this.#groups++ : undefined;
    return values.map((value) => {
      const entry: Entry = {
        value,
        payloadBytes: value.length,
        group,
        call: this.#calls++,
        ...stamps,
        state: "called",
        isSafe: false,
        isForgotten: false,
        isGone: false,
        isBack: false,
        since: this.#now(),
        sequence: undefined,
      };
      this.entries.set(value, entry);
      return entry;
    });
  }

  /** A put has resolved. */
  acknowledge(entries: readonly Entry[], first: number, { isSafe }: { isSafe: boolean }): void {
    entries.forEach((entry, i) => {
      this.#bind(entry, first + i);
      if (isSafe && entry.state === "pending") this.#makeSafe(entry);
    });
  }

  /** A put has been rejected, and its records must never be seen; `isSafe`: not even after a power cut. */
  refuse(entries: readonly Entry[], { isSafe }: { isSafe: boolean }): void {
    for (const entry of entries) {
      assertEquals(entry.state, "called", `record ${entry.value} was given out, and its put rejected`);
      this.#enter(entry, "refused", isSafe);
    }
  }

  /** A sequence was told: by the put, or by a batch that came before the put could say so. */
  #bind(entry: Entry, sequence: number): void {
    if (entry.sequence !== undefined) {
      assertEquals(sequence, entry.sequence, `record ${entry.value} has two sequences`);
      return;
    }
    const taken = this.bySequence.get(sequence);
    assert(taken === undefined, `sequence ${sequence} is given out twice: ${taken?.value}, ${entry.value}`);
    entry.sequence = sequence;
    this.bySequence.set(sequence, entry);
    this.#enter(entry, entry.isGone || this.drops.has(sequence) ? "done" : "pending", false);
  }

  // ------------------------------------------------------------------------------------------------------------- batches

  /** Checks a batch that `emit()` gave behind `index` others in flight, and takes it as in flight. */
  handOver(
    batch: SeenBatch,
    { index, bounds, calls, acknowledged, isExact }: {
      index: number;
      bounds: Bounds;
      /** How many puts had been called before. */
      calls: number;
      /** What was pending when it was called. */
      acknowledged: readonly Entry[];
      /** Whether nothing keeps the buffer from filling the batch. */
      isExact: boolean;
    },
  ): void {
    this.#takeDrops(batch.firstSequence);
    const entries = this.#entriesOf(batch);
    this.#checkNotMissing(batch);
    this.#checkIdentity(batch.id, entries);
    const known = this.inFlight.at(index);
    if (known !== undefined) {
      assertEquals(batch.id, known.id, "another batch than the one in flight");
      assertEquals(batch.values, known.entries.map(({ value }) => value), "other records than before");
      assert(batch.redelivered, "a batch that was handed over before says that it wasn't");
      return;
    }
    assert(!batch.redelivered, "a batch that is new says that it isn't");
    for (const entry of entries) assert(entry.call < calls, `record ${entry.value} was put after emit()`);
    this.#checkBounds(batch, entries, bounds);
    assertEquals(this.#oldest?.sequence, batch.firstSequence, "the batch doesn't begin with the oldest record");
    assert(this.mayCut !== false, "a batch that may not be handed over yet");
    const next = acknowledged.find(({ sequence }) => sequence === batch.lastSequence + 1);
    if (isExact && next?.state === "pending" && next.codecVersion === entries[0]!.codecVersion) {
      const isFull = entries.length === bounds.maxRecords || batch.byteLength + next.payloadBytes > bounds.maxBytes;
      assert(isFull, `record ${next.sequence} would have joined the batch`);
    }
    this.inFlight.add(batch.id, entries);
    this.written();
  }

  /** The oldest record that is pending and not in flight. */
  get #oldest(): Entry | undefined {
    const behind = this.inFlight.lastSequence;
    return this.pending.find(({ sequence }) => sequence! > behind);
  }

  /**
   * Whether the oldest record that is not in flight can be handed over; `undefined` if that isn't known, as where records
   * are missing, or a drop may come before or after. Behind records that were dropped it can't while others are in flight.
   */
  get mayCut(): boolean | undefined {
    if (this.drops.areWaiting) return undefined;
    const { length, lastSequence } = this.inFlight;
    if (length === 0) return true;
    if (length >= MAX_IN_FLIGHT) return this.missing.length > 0 ? undefined : false;
    const next = this.#oldest?.sequence ?? lastSequence + 1;
    for (let sequence = lastSequence + 1; sequence < next; sequence++) {
      const isGone = this.drops.has(sequence) || this.bySequence.get(sequence)?.state === "done";
      const isMissing = this.missing.some(({ first, last }) => first <= sequence && sequence <= last);
      if (!isGone || isMissing) return undefined;
    }
    return next === lastSequence + 1;
  }

  /** An id stands for the same records for ever, whatever a power cut takes. */
  #checkIdentity(id: string, entries: readonly Entry[]): void {
    const before = this.#handed.get(id);
    const isSame = before?.length === entries.length && before.every((entry, i) => entry === entries[i]);
    assert(before === undefined || isSame, `${id} stands for other records than before`);
    this.#handed.set(id, entries);
  }

  /** What was named missing, in whatever life, is never delivered: `restore` would put it back a second time. */
  #checkNotMissing({ firstSequence, lastSequence }: SeenBatch): void {
    for (const { first, last } of this.missing) {
      const isMissing = first <= lastSequence && firstSequence <= last;
      assert(!isMissing, `${firstSequence}-${lastSequence} are delivered, and ${first}-${last} were named missing`);
    }
  }

  #entriesOf(batch: SeenBatch): Entry[] {
    assertEquals(batch.values.length, batch.lastSequence - batch.firstSequence + 1, "sequences and records");
    return batch.values.map((value, i) => {
      const entry = this.entries.get(value);
      assert(entry !== undefined, `record ${value} was never put`);
      if (entry.state === "called") this.#bind(entry, batch.firstSequence + i);
      assertEquals(entry.state, "pending", `record ${value} at ${batch.firstSequence + i}`);
      assertEquals(entry.sequence, batch.firstSequence + i, `the sequence of ${value}`);
      return entry;
    });
  }

  #checkBounds(batch: SeenBatch, entries: readonly Entry[], { maxRecords, maxBytes }: Bounds): void {
    const bytes = entries.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
    assertEquals(batch.byteLength, bytes, "byteLength");
    assert(entries.length <= maxRecords, `${entries.length} records in a batch of ${maxRecords}`);
    // One record may be longer than the limit of now, if it was put under another one.
    assert(bytes <= maxBytes || entries.length === 1, `${bytes} bytes in a batch of ${maxBytes}`);
    assert(entries.every(({ codecVersion }) => codecVersion === entries[0]!.codecVersion), "two codecs in a batch");
  }

  /** The oldest batch in flight is committed. */
  commit(): void {
    const { entries } = this.inFlight.takeOldest();
    for (const entry of entries) this.#enter(entry, "done", false);
    if (entries.at(-1)!.sequence! > this.#gapEnd) this.passGaps();
    this.written();
  }

  /** What was put before a `clear()` is gone. */
  clear(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      entry.isGone = true;
      if (entry.state === "pending") this.#enter(entry, "done", false);
    }
    this.inFlight.clear();
    this.passGaps();
    this.written();
  }

  /** The buffer says that it has dropped these, by a state of the cursor that was written then. */
  drop(drop: Drop): void {
    this.drops.tell(drop);
    this.written();
    if (!this.#isEmitting) this.#takeDrops(Infinity);
  }

  get #isEmitting(): boolean {
    return this.attempts.some(({ kind, isOpen }) => kind === "emit" && isOpen);
  }

  /** Takes in the drops that were told, of records below a sequence. */
  #takeDrops(below: number): void {
    for (const { first, last, isSafe } of this.drops.take(below)) {
      const oldest = this.#oldest;
      if (oldest !== undefined) assert(first <= oldest.sequence!, `dropped ${first}, but ${oldest.sequence} is older`);
      assert(first > this.inFlight.lastSequence, `dropped ${first}, which is in flight`);
      for (let sequence = first; sequence <= last; sequence++) {
        const entry = this.bySequence.get(sequence);
        if (entry?.state !== "pending") continue;
        this.#enter(entry, "done", false);
        if (isSafe) this.#makeSafe(entry);
      }
    }
  }

  /** Something begins that writes the cursor. */
  attempt(kind: Attempt["kind"], entries: Iterable<Entry>, maxRecords: number): Attempt {
    const attempt: Attempt = { kind, entries: new Set(entries), maxRecords, isOpen: true, isOverwritten: false };
    this.attempts.push(attempt);
    return attempt;
  }

  /** It has ended; `entries`: what it would take away, if that was not known before. */
  ended(attempt: Attempt, { isKnown, entries }: { isKnown: boolean; entries?: Iterable<Entry> }): void {
    attempt.isOpen = false;
    if (entries !== undefined) attempt.entries = new Set(entries);
    if (isKnown) this.attempts.splice(this.attempts.indexOf(attempt), 1);
    if (!this.#isEmitting) this.#takeDrops(Infinity);
  }

  /** The cursor was written: what failed before is written over. */
  written(): void {
    for (const attempt of this.attempts) attempt.isOverwritten ||= !attempt.isOpen;
  }

  // ---------------------------------------------------------------------------------------------------------- durability

  /** What a sync that is asked for now would cover; with `settledBefore`, one that was begun then. */
  cover(settledBefore: number = Infinity): Covered {
    const entries = [...this.entries.values()].filter(({ since }) => since <= settledBefore);
    return {
      entries: entries.map((entry) => [entry, entry.state]),
      inFlight: this.inFlight.since(settledBefore),
      attempts: settledBefore === Infinity ? this.attempts.filter(({ isOpen }) => !isOpen) : [],
    };
  }

  /** What was covered is promised to be safe now. */
  secure({ entries, inFlight, attempts }: Covered): void {
    for (const [entry, state] of entries) {
      if (entry.state === state && state !== "called") this.#makeSafe(entry);
    }
    for (const batch of inFlight) batch.isSafe = true;
    this.attempts = this.attempts.filter((attempt) => !attempts.includes(attempt) || !attempt.isOverwritten);
  }

  /** The cursor is promised to be safe now, and with it all that is done. */
  secureCursor(): void {
    for (const entry of this.entries.values()) if (entry.state === "done") this.#makeSafe(entry);
    this.inFlight.secure();
    this.attempts = this.attempts.filter(({ isOverwritten }) => !isOverwritten);
  }

  /** The batches up to `index` were handed over where everything is promised to be safe: so are their records. */
  secureHanded(index: number): void {
    for (const batch of this.inFlight.all.slice(0, index + 1)) {
      batch.isSafe = true;
      for (const entry of batch.entries) this.#makeSafe(entry);
    }
  }

  #forgotten: { readonly first: number; readonly last: number }[] = [];

  /** A sync has failed, and the unsynced pages of a segment with the sequences from `first` to `last` are forgotten. */
  forget(first: number, last: number): void {
    this.#forgotten.push({ first, last });
    for (const entry of this.entries.values()) {
      if (entry.isSafe || entry.state === "done") continue;
      const { sequence } = entry;
      if (sequence === undefined || (first <= sequence && sequence <= last)) entry.isForgotten = true;
    }
  }

  /** Whether a record went into a segment of which a failed sync has forgotten pages, the header perhaps among them. */
  #isInForgotten({ sequence }: Entry): boolean {
    return this.#forgotten.some(({ first, last }) => first <= sequence! && sequence! <= last);
  }

  #makeSafe(entry: Entry): void {
    entry.isForgotten ||= this.#isInForgotten(entry);
    if (entry.isForgotten && entry.state !== "done") return;
    entry.isSafe = true;
    if (entry.state !== "refused") this.highestSafe = Math.max(this.highestSafe, entry.sequence!);
  }

  #enter(entry: Entry, state: State, isSafe: boolean): void {
    entry.state = state;
    entry.isSafe = isSafe;
    entry.since = this.#now();
  }

  // --------------------------------------------------------------------------------------------------- after a death

  /** Takes over what was found after a death: what isn't there now must never come back. */
  adopt(found: readonly SeenBatch[], { next, isPower }: { next: number; isPower: boolean }): void {
    this.#takeDrops(Infinity);
    const there = new Map(
      found.flatMap(({ values, firstSequence }) => values.map((value, i) => [value, firstSequence + i])),
    );
    for (const entry of this.entries.values()) {
      const sequence = there.get(entry.value);
      if (sequence !== undefined) this.#adoptFound(entry, sequence, isPower);
      else this.#adoptMissing(entry, { next, isPower });
    }
    this.inFlight.adopt(found, isPower, (value) => this.entries.get(value)!);
    this.drops.forget();
    // Nothing more goes into that segment.
    this.#forgotten = isPower
      ? []
      : this.#forgotten.map(({ first, last }) => ({ first, last: Math.min(last, next - 1) }));
    if (isPower) {
      this.#forgetBehind(next);
      this.attempts = [];
      this.highestSafe = next - 1;
    }
    for (const attempt of this.attempts) {
      attempt.isOpen = false;
      attempt.isOverwritten = true;
    }
  }

  #adoptFound(entry: Entry, sequence: number, isPower: boolean): void {
    const isSafe = isPower || (entry.state === "pending" && entry.isSafe);
    entry.isBack ||= entry.state === "refused";
    if (entry.state !== "pending") this.#enter(entry, "pending", isSafe);
    entry.isSafe = isSafe;
    entry.isForgotten &&= !isPower;
    entry.isGone = false;
    entry.sequence = sequence;
    this.bySequence.set(sequence, entry);
  }

  #adoptMissing(entry: Entry, { next, isPower }: { next: number; isPower: boolean }): void {
    const { state, sequence } = entry;
    const isTaken = this.attempts.some(({ kind, entries }) => {
      return entries.has(entry) || (kind === "drop" && sequence !== undefined && sequence < next);
    });
    if (state === "called" || (state === "pending" && isPower && !entry.isSafe && !isTaken)) {
      if (sequence !== undefined && this.bySequence.get(sequence) === entry) this.bySequence.delete(sequence);
      entry.sequence = undefined;
      this.#enter(entry, "refused", isPower);
    } else if (state === "pending") {
      this.#enter(entry, "done", isPower);
    } else if (isPower) {
      entry.isSafe = true;
      entry.isForgotten = false;
    }
  }

  /** Sequences that were lost are given out again. */
  #forgetBehind(next: number): void {
    for (const [sequence, entry] of this.bySequence) {
      if (sequence < next) continue;
      this.bySequence.delete(sequence);
      entry.sequence = undefined;
      this.#enter(entry, "refused", true);
    }
  }
}
