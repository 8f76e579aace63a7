/**
 * Several lives of a buffer on one damaged log: what its consumer does in them is chosen by a seed, each ends by a kill or a
 * close.
 *
 * What must hold over all of them together:
 *
 * - No figure of `stats()` is ever below zero. When everything was committed, nothing is pending, in flight or old, and
 *   `diskBytes` is no more than the segment files take; before, it may count bytes that were lost in segments that nobody
 *   has looked at.
 * - A sequence that is delivered was never named missing, and isn't afterwards: not by an event, not by `recovery.damaged`, not
 *   in `quarantine/losses.json`. Else `restore` would put records back that somebody has.
 */

import { assert, assertEquals } from "@std/assert";
import type { Batch, BufferStats, SequenceRange } from "../../../mod.ts";
import { BufferEmptyError, NoBatchBehindError, UnsupportedVersionError } from "../../../src/errors/mod.ts";
import type { MemoryFileSystem } from "../../../src/testing/memory_file_system.ts";
import { parseSegmentName } from "../../../src/wal/names.ts";
import { KnownLosses } from "../../../src/wal/recovery/known_losses.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { copyOf, DIRECTORY, type OpenLog, openLog, segmentsOf } from "../../support/logs.ts";
import { seededRandom } from "../../support/random.ts";
import type { Case } from "../corruption/cases.ts";

const LIVES = 4;
/** The last life ends when nothing is left, and long before this. */
const MAX_STEPS = 1_000;

/** No figure is ever below zero. */
export function assertNoneNegative(stats: BufferStats, note: string): void {
  for (const [name, value] of Object.entries(stats)) {
    assert(Number.isFinite(value) && value >= 0, `${note}: ${name} is ${value}`);
  }
}

/** Lives a damaged log through; throws if something doesn't hold. */
export async function live({ kind, name, base, files }: Case, seed: number): Promise<void> {
  const lives = new DamagedLives(copyOf(base.fileSystem, files), seed);
  try {
    for (let i = 1; i <= LIVES; i++) await lives.live(base.options, i === LIVES);
  } catch (error) {
    // A header that names a newer version is believed.
    if (error instanceof UnsupportedVersionError) return;
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${kind}, log ${base.name}: ${name}, seed ${seed}: ${message}`, { cause: error });
  }
}

class DamagedLives {
  #files: MemoryFileSystem;
  readonly #random: (below: number) => number;
  readonly #delivered = new Set<number>();
  readonly #missing: { readonly range: SequenceRange; readonly saidBy: string }[] = [];
  #inFlight: Batch<string>[] = [];
  #heard = 0;

  constructor(files: MemoryFileSystem, seed: number) {
    this.#files = files;
    this.#random = seededRandom(seed);
  }

  /** Opens the log, and asks things of it; the last life ends when nothing is left. */
  async live(options: Case["base"]["options"], isLast: boolean): Promise<void> {
    const open = await openLog(this.#files, { ...options, maxRecords: 1 + this.#random(7) });
    const { buffer } = open;
    this.#inFlight = [];
    this.#heard = 0;
    for (const { missing } of buffer.recovery.damaged) this.#miss(missing, "recovery");
    this.#look(open, "open()");
    for (let steps = isLast ? MAX_STEPS : this.#random(12); steps > 0; steps--) {
      const isEmpty = await this.#step(open, isLast);
      if (isEmpty && isLast) break;
      assert(!isLast || steps > 1, "it never ends");
    }
    if (isLast) await this.#assertNothingLeft(open);
    if (this.#random(2) === 0) await buffer.close();
    this.#files = this.#files.kill();
  }

  /** Commits, emits or puts; returns whether nothing was left to do. */
  async #step(open: OpenLog, isLast: boolean): Promise<boolean> {
    const { buffer } = open;
    const way = this.#random(10);
    if (this.#inFlight.length > 0 && way < 4) {
      await buffer.commit(this.#inFlight.shift());
      this.#look(open, "commit()");
      return false;
    }
    if (way === 9 && !isLast) {
      await buffer.put("put");
      this.#look(open, "put()");
      return false;
    }
    const batch = await buffer.emit({ after: this.#inFlight.at(-1) }).catch((error) => {
      if (error instanceof BufferEmptyError || error instanceof NoBatchBehindError) return undefined;
      throw error;
    });
    if (batch !== undefined) {
      this.#deliver(batch);
      this.#inFlight.push(batch);
    }
    this.#look(open, "emit()");
    return batch === undefined && this.#inFlight.length === 0;
  }

  #look({ buffer, events }: OpenLog, after: string): void {
    for (const event of events.slice(this.#heard)) {
      if (event.type === "damage-found") this.#miss(event.region.missing, "an event");
    }
    this.#heard = events.length;
    const { lost } = KnownLosses.read(this.#files, `${DIRECTORY}/quarantine`);
    for (const range of lost) this.#miss(range, "losses.json");
    assertNoneNegative(buffer.stats(), after);
  }

  #deliver({ firstSequence, lastSequence }: Batch<string>): void {
    for (let sequence = firstSequence; sequence <= lastSequence; sequence++) {
      const named = this.#missing.find(({ range: { first, last } }) => first <= sequence && sequence <= last);
      assert(named === undefined, `${sequence} is delivered, and was named missing by ${named?.saidBy}`);
      this.#delivered.add(sequence);
    }
  }

  #miss(range: SequenceRange | undefined, saidBy: string): void {
    if (range === undefined) return;
    for (const sequence of this.#delivered) {
      const isNamed = range.first <= sequence && sequence <= range.last;
      assert(!isNamed, `${sequence} was delivered, and is named missing by ${saidBy}`);
    }
    this.#missing.push({ range, saidBy });
  }

  async #assertNothingLeft({ buffer }: OpenLog): Promise<void> {
    const { pendingRecords, pendingBytes, backlogBytes, inFlightRecords, oldestAgeMs } = buffer.stats();
    assertEquals([pendingRecords, pendingBytes, backlogBytes, inFlightRecords, oldestAgeMs], [0, 0, 0, 0, 0], "left");
    // Into a segment of its own, so that all others can go; that takes no more than microtasks.
    await buffer.put("last");
    await yieldToEventLoop();
    const names = segmentsOf(this.#files).filter((name) => parseSegmentName(name) !== undefined);
    const bytes = names.reduce((sum, name) => sum + this.#files.readFile(`${DIRECTORY}/${name}`).length, 0);
    const { segments, diskBytes } = buffer.stats();
    assertEquals([segments, diskBytes], [names.length, bytes], "segments and bytes on disk");
  }
}
