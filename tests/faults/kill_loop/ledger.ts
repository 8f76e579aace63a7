/**
 * The books on a buffer whose processes are killed: what they said they did, held against what comes out later.
 *
 * After kill -9, with no power cut, all of this must hold: an acknowledged record is there, once, in order; sequences have
 * no gap, and none is given out twice; nothing is there that nobody put; a batch in flight comes back as it was, under the
 * same id, unless its commit was made and only the word of it was lost; what is committed never comes back.
 */

import { assert, assertEquals } from "@std/assert";

/** The record `number` of a round, in a length of its own. */
export function valueOf(round: number, number: number): string {
  const length = number % 11 === 10 ? 3000 : (number * 7919) % 97;
  return `${round}.${number}.${"x".repeat(length)}`;
}

/** A batch that was handed over and not, as far as is known, committed. */
interface Emitted {
  readonly id: string;
  readonly values: readonly string[];
  readonly last: number;
}

/** Keeps the books; every method throws on a violation. */
export class Ledger {
  /** How many acknowledgements, batches and redeliveries there were. */
  readonly figures = { acks: 0, batches: 0, redelivered: 0 };
  /** By sequence: acknowledged, or seen in a batch. */
  readonly #values = new Map<number, string>();
  readonly #sequences = new Map<string, number>();
  readonly #acknowledged = new Set<number>();
  #highest = 0;
  /** The highest when the round began. */
  #highestBefore = 0;
  #committed = 0;
  #inFlight: Emitted | undefined;
  /** Whether the commit of the batch in flight may have been made by a process that couldn't tell any more. */
  #mayBeCommitted = false;
  /** The rounds that had the buffer, in order: two processes that race needn't be let in as they came. */
  readonly #rounds: number[] = [];

  /** A process of that round begins. */
  begin(round: number): void {
    this.#rounds.push(round);
    this.#highestBefore = this.#highest;
    this.#mayBeCommitted = this.#inFlight !== undefined;
  }

  /** Takes in one line of the process. */
  take(line: string): void {
    const [word, ...rest] = line.split(" ");
    if (word === "open") this.#opened(rest);
    else if (word === "ack") this.#take(Number(rest[0]), rest[1]!);
    else if (word === "batch") this.batch(rest[0]!, rest[1] === "true", rest.slice(2));
    else if (word === "commit") this.commit(rest[0]!);
    else assert(word === "start" || word === "locked", `line "${line}"`);
  }

  /** How many records must be there at least. */
  get pending(): number {
    const committed = this.#mayBeCommitted ? this.#inFlight!.last : this.#committed;
    return Math.max(0, this.#highest - committed);
  }

  /** All that is there was handed over and committed: everything acknowledged must have been in it. */
  end(): void {
    assert(this.#committed >= this.#highest, `${this.#highest} was acknowledged, ${this.#committed} came out`);
  }

  /** A batch was handed over. */
  batch(id: string, isRedelivered: boolean, values: readonly string[]): void {
    this.figures.batches++;
    const [first, last] = id.split("-").slice(-2).map(Number) as [number, number];
    assertEquals(last - first + 1, values.length, `records of batch ${id}`);
    const before = this.#inFlight;
    if (before !== undefined && first === before.last + 1 && this.#mayBeCommitted) {
      this.#committed = before.last;
    } else if (before !== undefined) {
      assertEquals([id, isRedelivered, values], [before.id, true, before.values], "the batch in flight");
      this.figures.redelivered++;
    }
    this.#mayBeCommitted = false;
    assertEquals(first, this.#committed + 1, `batch ${id} doesn't follow what is committed`);
    values.forEach((value, i) => this.#enter(first + i, value));
    this.#inFlight = { id, values, last };
  }

  /** A commit was acknowledged. */
  commit(id: string): void {
    assertEquals(id, this.#inFlight?.id, "committed");
    this.#committed = this.#inFlight!.last;
    this.#inFlight = undefined;
  }

  #opened([recovered, damaged, isCursorLost]: readonly string[]): void {
    assertEquals([damaged, isCursorLost], ["0", "false"], "damage, and loss of the cursor");
    assert(Number(recovered) >= this.pending, `${recovered} records recovered, ${this.pending} acknowledged`);
  }

  #take(sequence: number, value: string): void {
    this.figures.acks++;
    assert(value.startsWith(`${this.#rounds.at(-1)}.`), `${value} is of another round`);
    const isNew = sequence > this.#highestBefore && !this.#acknowledged.has(sequence);
    assert(isNew, `sequence ${sequence} is given out again`);
    this.#enter(sequence, value);
    this.#acknowledged.add(sequence);
    this.#highest = Math.max(this.#highest, sequence);
  }

  /** Books a record: what is known of it must not change, and sequences are in the order of the puts. */
  #enter(sequence: number, value: string): void {
    const known = this.#values.get(sequence);
    if (known !== undefined) return assertEquals(value, known, `record ${sequence}`);
    assertEquals(this.#sequences.get(value), undefined, `${value} is there twice`);
    const [round, number] = value.split(".").map(Number) as [number, number];
    const turn = this.#rounds.indexOf(round);
    assert(turn >= 0 && value === valueOf(round, number), `nobody put "${value}"`);
    const before = this.#values.get(sequence - 1);
    if (before !== undefined) {
      const [roundBefore, numberBefore] = before.split(".").map(Number) as [number, number];
      const turnBefore = this.#rounds.indexOf(roundBefore);
      const isInOrder = turn > turnBefore ? number === 0 : turn === turnBefore && number === numberBefore + 1;
      assert(isInOrder, `${round}.${number} comes after ${roundBefore}.${numberBefore}`);
    }
    this.#values.set(sequence, value);
    this.#sequences.set(value, sequence);
  }
}
