/**
 * Simulation of a rush: batches are handed over and committed back to back, while each sync takes its time. One seed decides
 * everything; a turn of the event loop is a millisecond of the clock.
 *
 * It takes nothing for granted of how long a sync takes against the time between two commits, and holds a buffer to bounds in
 * time. A *run* is a sync of everything that is dirty, file by file:
 *
 * - *A power cut costs at most the last interval, and the runs that were under way then*: a record that was acknowledged, or a
 *   commit that was made, before that is there. With "always" it costs nothing.
 * - *`flush()` ends within two runs*, and what was put and committed before it was called survives a power cut.
 * - *Syncs go on*: with an interval, one ends at least once in an interval and two runs.
 * - *Space comes back*: at the end, after a flush, no segment is left but the last ones.
 */

import { assert } from "@std/assert";
import { FileBuffer, type Fsync, textCodec } from "../../../mod.ts";
import { ManualClock, MemoryFileSystem } from "../../../src/testing/mod.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { mulberry32 } from "../../support/random.ts";

const PATH = "/data/buffer";
/** The most files that one run syncs here: segments are so large that few are dirty at a time. */
const MAX_FILES_A_RUN = 6;
const INTERVALS: readonly Fsync[] = [20, 100, 100, 300, "never", "always"];

/** What a run did. */
export interface RushTotals {
  operations: number;
  commits: number;
  syncs: number;
  powerCuts: number;
  /** The oldest record that a power cut has cost, against what it may cost. */
  worst: number;
}

/** Nothing done yet. */
export function noRushTotals(): RushTotals {
  return { operations: 0, commits: 0, syncs: 0, powerCuts: 0, worst: 0 };
}

/** Runs one seed; throws on a violation. */
export async function simulateRush(seed: number): Promise<RushTotals> {
  try {
    return await new Rush(seed).run();
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

class Rush {
  readonly #totals = noRushTotals();
  readonly #draw: (below: number) => number;
  readonly #clock = new ManualClock();
  readonly #fileSystem: MemoryFileSystem;
  readonly #fsync: Fsync;
  readonly #syncMs: number;
  /** When each record was acknowledged, and when it was committed; by its sequence. */
  readonly #acknowledged = new Map<number, number>();
  readonly #committed = new Map<number, number>();
  /** What was acknowledged, and committed, when the last flush that has ended was called. */
  #flushed: { readonly sequence: number; readonly committed: number } = { sequence: 0, committed: 0 };
  #committedUpTo = 0;
  /** What a commit that has been called may have committed. */
  #committingUpTo = 0;
  #lastSyncAt = 0;
  #flushingSince: number | undefined;
  #isOver = false;

  constructor(seed: number) {
    const random = mulberry32(seed);
    this.#draw = (below) => Math.floor(random() * below);
    this.#fsync = INTERVALS[this.#draw(INTERVALS.length)]!;
    const syncMs = this.#syncMs = 1 + this.#draw(12);
    this.#fileSystem = new MemoryFileSystem({ whileSyncing: () => yieldToEventLoop(syncMs) });
  }

  /** How long a run takes at most. */
  get #runMs(): number {
    return MAX_FILES_A_RUN * this.#syncMs;
  }

  async run(): Promise<RushTotals> {
    const buffer = await FileBuffer.open<string>({
      path: PATH,
      fileSystem: this.#fileSystem,
      clock: this.#clock,
      codec: textCodec(),
      fsync: this.#fsync,
      maxRecords: 1 + this.#draw(4),
      segmentBytes: 4096 + this.#draw(4096),
      statusMs: 0,
      onEvent: (event) => {
        if (event.type === "synced") this.#lastSyncAt = this.#clock.monotonic();
      },
    });
    const consuming = this.#consume(buffer);
    const ms = 200 + this.#draw(1500);
    const cuts = new Set([ms - 1, this.#draw(ms), this.#draw(ms), this.#draw(ms)]);
    const puts = 1 + this.#draw(3);
    for (let at = 0; at < ms; at++) {
      for (let i = 0; i < puts; i++) void this.#put(buffer);
      if (this.#draw(60) === 0) void this.#flush(buffer);
      await yieldToEventLoop(1);
      this.#clock.advance(1);
      this.#checkBounds();
      if (cuts.has(at)) await this.#cutPower();
    }
    this.#isOver = true;
    await this.#inTurns(buffer.flush(), 2 * this.#runMs + 10, "flush() at the end");
    await consuming;
    await this.#inTurns(buffer.flush(), 2 * this.#runMs + 10, "flush() at rest");
    await yieldToEventLoop(4 * this.#syncMs + 20);
    const { segments, pendingRecords, maxBacklogBytes, diskBytes } = buffer.stats();
    assert(pendingRecords > 0 || segments <= 2, `${segments} segments are left`);
    assert(diskBytes <= maxBacklogBytes + 2 * 8192);
    await this.#inTurns(buffer.close(), 4 * this.#runMs + 40, "close()");
    return this.#totals;
  }

  async #put(buffer: FileBuffer<string>): Promise<void> {
    this.#totals.operations++;
    const sequence = await buffer.put("x".repeat(this.#draw(40)));
    this.#acknowledged.set(sequence, this.#clock.monotonic());
  }

  /** Emits and commits, back to back, some turns between at most. */
  async #consume(buffer: FileBuffer<string>): Promise<void> {
    const pause = this.#draw(4);
    while (!this.#isOver) {
      if (buffer.stats().pendingRecords < 8) {
        await yieldToEventLoop(1);
        continue;
      }
      const batch = await buffer.emit();
      this.#committingUpTo = batch.lastSequence;
      await buffer.commit(batch);
      this.#totals.operations += 2;
      this.#totals.commits++;
      for (let n = batch.firstSequence; n <= batch.lastSequence; n++) this.#committed.set(n, this.#clock.monotonic());
      this.#committedUpTo = batch.lastSequence;
      await yieldToEventLoop(this.#draw(1 + pause));
    }
  }

  async #flush(buffer: FileBuffer<string>): Promise<void> {
    if (this.#flushingSince !== undefined) return;
    this.#totals.operations++;
    this.#flushingSince = this.#clock.monotonic();
    const covered = { sequence: Math.max(0, ...this.#acknowledged.keys()), committed: this.#committedUpTo };
    await buffer.flush();
    this.#flushingSince = undefined;
    this.#flushed = covered;
  }

  #checkBounds(): void {
    const now = this.#clock.monotonic();
    const fsync = this.#fsync;
    if (this.#flushingSince !== undefined) {
      const ms = now - this.#flushingSince;
      assert(ms <= 2 * this.#runMs, `flush() has been going on for ${ms} ms, syncs take ${this.#syncMs}`);
    }
    if (typeof fsync !== "number") return;
    const ms = now - this.#lastSyncAt;
    assert(ms <= fsync + 2 * this.#runMs, `no sync has ended for ${ms} ms, with an interval of ${fsync}`);
  }

  /** Looks at what power cuts leave, without disturbing the buffer. */
  async #cutPower(): Promise<void> {
    const now = this.#clock.monotonic();
    const flushed = this.#flushed;
    const promised = new Map(this.#acknowledged);
    const committed = new Map(this.#committed);
    const committingUpTo = this.#committingUpTo;
    // All at once: the buffer goes on meanwhile.
    const images = [1, 2, 3].map(() => this.#fileSystem.crash({ seed: this.#draw(2 ** 31) }));
    for (const left of images) {
      this.#totals.powerCuts++;
      const buffer = await FileBuffer.open<string>({
        path: PATH,
        fileSystem: left,
        codec: textCodec(),
        statusMs: 0,
        fsync: "never",
      });
      const there = new Set<number>();
      for await (const batch of buffer.batches({ flush: true })) {
        for (let n = batch.firstSequence; n <= batch.lastSequence; n++) there.add(n);
        await buffer.commit(batch);
      }
      await buffer.close();
      for (const [sequence, at] of promised) {
        if (!there.has(sequence) && sequence > committingUpTo) {
          this.#judge(`record ${sequence} is lost`, now - at, sequence <= flushed.sequence);
        }
      }
      for (const sequence of there) {
        const at = committed.get(sequence);
        if (at !== undefined) {
          this.#judge(`record ${sequence} comes again`, now - at, sequence <= flushed.committed);
        }
      }
    }
  }

  /** Whether a power cut may cost what was done so long ago. */
  #judge(what: string, ageMs: number, isFlushed: boolean): void {
    const fsync = this.#fsync;
    assert(!isFlushed, `${what}, although it was flushed`);
    if (fsync === "never") return;
    // A commit is written before it is acknowledged, and may be waiting for its sync then.
    const mayMs = fsync === "always" ? -1 : fsync + 2 * this.#runMs;
    this.#totals.worst = Math.max(this.#totals.worst, ageMs / mayMs);
    assert(ageMs <= mayMs, `${what}, ${ageMs} ms old, with fsync ${fsync} and syncs of ${this.#syncMs} ms`);
  }

  /** Waits for a call, so many turns at most; the clock goes on. */
  async #inTurns(call: Promise<unknown>, most: number, what: string): Promise<void> {
    let isDone = false;
    const done = call.then(() => isDone = true);
    for (let turns = 0; !isDone; turns++) {
      assert(turns <= most, `${what} has not ended after ${turns} turns, syncs take ${this.#syncMs}`);
      await yieldToEventLoop(1);
      this.#clock.advance(1);
    }
    await done;
  }
}
