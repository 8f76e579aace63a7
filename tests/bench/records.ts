/**
 * The records that are put, and the check that they come out again: the same objects for every contender and runtime.
 *
 * Record i is an object of its own, made when it is asked for, as a producer makes one. It holds its number, so that a
 * record that is lost, doubled, changed or out of order is found. As JSON each has exactly `bytes` bytes, all ASCII.
 */

import { seededRandom } from "../support/random.ts";

/** The number of records that share their texts with no other. */
const POOL = 1000;
/** All numbers have ten digits. */
const FIRST_VALUE = 1_000_000_000;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 ";

/** What a producer puts. */
export interface Item {
  readonly id: string;
  readonly at: string;
  readonly value: number;
  readonly note: string;
}

/** Records of one size. */
export class Records {
  /** Length of each as JSON. */
  readonly bytes: number;
  readonly #pool: readonly Item[];

  /** @throws {RangeError} if a record can't be so short. */
  constructor(bytes: number) {
    this.bytes = bytes;
    const bare = { id: idOf(0), at: timeOf(0), value: FIRST_VALUE, note: "" };
    const noteLength = bytes - JSON.stringify(bare).length;
    if (noteLength < 0) throw new RangeError(`Cannot make records of ${bytes} bytes: the shortest have 106`);
    const random = seededRandom(42);
    const text = Array.from({ length: noteLength + POOL }, () => ALPHABET[random(ALPHABET.length)]).join("");
    this.#pool = Array.from({ length: POOL }, (_, i) => {
      const note = text.slice(i, i + noteLength);
      // Strings as a JSON parser leaves them: flat, not a part of another string.
      return JSON.parse(JSON.stringify({ ...bare, id: idOf(i), at: timeOf(i), value: FIRST_VALUE + i, note }));
    });
  }

  /** The first thousand, made once. */
  get pool(): readonly Item[] {
    return this.#pool;
  }

  /** Record `index`, a new object. */
  make(index: number): Item {
    const { id, at, note } = this.#pool[index % POOL]!;
    return { id, at, value: FIRST_VALUE + index, note };
  }

  /** A thousand records, from `first` on. */
  makeThousand(first: number): Item[] {
    return Array.from({ length: 1000 }, (_, i) => this.make(first + i));
  }

  /**
   * Checks that these are the records from `first` on.
   *
   * @returns The index of the record that has to come next.
   * @throws {Error} for the first that is another one.
   */
  check(items: readonly Item[], first: number): number {
    for (let i = 0; i < items.length; i++) {
      const { id, at, value, note } = items[i]!;
      const want = this.#pool[(first + i) % POOL]!;
      if (value !== FIRST_VALUE + first + i || id !== want.id || at !== want.at || note !== want.note) {
        throw new Error(`Wrong record: ${JSON.stringify(items[i])} in place of number ${first + i}`);
      }
    }
    return first + items.length;
  }
}

function idOf(i: number): string {
  return `f3a9c0de-0000-4000-8000-${String(i).padStart(12, "0")}`;
}

function timeOf(i: number): string {
  return new Date(1_700_000_000_000 + i * 1000).toISOString();
}
