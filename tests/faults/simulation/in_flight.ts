/**
 * The batches that a simulated buffer has in flight, the oldest first: each as it was handed over, and whether a power
 * cut may forget where it ends.
 *
 * A batch's end is *safe* when a state of the cursor that held it, or a later one, is promised to be on stable storage.
 * Every later state holds it, too, until the batch is committed: so if it is safe, and so are its records, it comes back
 * as it was, whatever becomes of those behind it; and those before it are safe as well.
 *
 * After a power cut that has taken records of a batch its pieces are in flight, each as a batch of its own.
 */

import type { Entry, HandedOver, SeenBatch } from "./records.ts";

/** More are never in flight. */
export const MAX_IN_FLIGHT = 16;

/** What is in flight. */
export class InFlight {
  #batches: readonly HandedOver[] = [];
  readonly #now: () => number;

  /** `now` is the monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** All of them. */
  get all(): readonly HandedOver[] {
    return this.#batches;
  }

  /** How many there are. */
  get length(): number {
    return this.#batches.length;
  }

  /** The one that may be committed. */
  get oldest(): HandedOver | undefined {
    return this.#batches[0];
  }

  /** Their records. */
  get entries(): Entry[] {
    return this.#batches.flatMap(({ entries }) => entries);
  }

  /** The last sequence that is in flight; 0 if there is none. */
  get lastSequence(): number {
    return this.#batches.at(-1)?.entries.at(-1)?.sequence ?? 0;
  }

  /** The one behind `index` others. */
  at(index: number): HandedOver | undefined {
    return this.#batches[index];
  }

  /** A new one is handed over behind the others. */
  add(id: string, entries: readonly Entry[]): void {
    this.#batches = [...this.#batches, { id, entries, isSafe: false, since: this.#now() }];
  }

  /** Takes the oldest away: it is committed. */
  takeOldest(): HandedOver {
    const [oldest, ...rest] = this.#batches;
    this.#batches = rest;
    return oldest!;
  }

  /** Takes all away. */
  clear(): void {
    this.#batches = [];
  }

  /** Those that were in flight at a time. */
  since(before: number): HandedOver[] {
    return this.#batches.filter(({ since }) => since <= before);
  }

  /** The end of each is safe. */
  secure(): void {
    for (const batch of this.#batches) batch.isSafe = true;
  }

  /** What was found in flight after a death is in flight. `entryOf`: the record of a value. */
  adopt(found: readonly SeenBatch[], isPower: boolean, entryOf: (value: string) => Entry): void {
    const before = this.#batches;
    this.#batches = found.filter(({ redelivered }) => redelivered).map(({ id, values }) => {
      const known = isPower ? undefined : before.find((batch) => batch.id === id);
      return known ?? { id, entries: values.map(entryOf), isSafe: isPower, since: this.#now() };
    });
  }
}
