/**
 * What is sent: a batch, one of its halves, or some of its records, as a `Delivery`.
 *
 * Guarantee: the id depends only on the batch's id and on which of its records these are. So the same part has the same id
 * after a crash, however it came about, and another part has another one. All records of a batch have the batch's id.
 *
 * @module
 */

import { processOfNode } from "../base/runtime.ts";
import type { Batch } from "../buffer/batch.ts";
import type { Delivery } from "./delivery.ts";

/**
 * Sequences are written out in an id up to this length: more is no help to people, and headers of targets have limits.
 */
const MAX_ID_CHARACTERS = 64;
/** Of a SHA-256: 128 bits, so that two parts of one batch never have the same id by chance. */
const HASH_CHARACTERS = 32;

/** Some records of a batch. */
export class BatchPart<T> implements Delivery<T> {
  readonly id: string;
  readonly length: number;
  /** Set before each attempt; of what is picked from a part it is that part's. */
  redelivered: boolean;
  readonly #batch: Batch<T>;
  /** Positions in the batch, ascending; `undefined` for all of them. */
  readonly #positions: readonly number[] | undefined;
  #sequences: readonly number[] | undefined;
  #records: readonly T[] | undefined;
  #payloads: readonly Uint8Array[] | undefined;
  #putTimes: readonly number[] | undefined;

  /** `positions` are those of its records in the batch, from 0, ascending; without them it is all of the batch. */
  constructor(batch: Batch<T>, positions?: readonly number[]) {
    this.#batch = batch;
    this.#positions = positions?.length === batch.length ? undefined : positions;
    this.length = positions?.length ?? batch.length;
    this.redelivered = batch.redelivered;
    this.id = this.#positions === undefined ? batch.id : `${batch.id}.${nameOf(this.sequences)}`;
  }

  get batchId(): string {
    return this.#batch.id;
  }

  /** The version of the codec that encoded the payloads. */
  get codecVersion(): number {
    return this.#batch.codecVersion;
  }

  get json(): boolean {
    return this.#batch.isJson;
  }

  get sequences(): readonly number[] {
    return this.#sequences ??= this.#collect((position) => this.#batch.firstSequence + position);
  }

  get records(): readonly T[] {
    if (this.#positions === undefined) return this.#batch.records;
    // One by one: a payload that does not decode spoils only the parts that it is in.
    return this.#records ??= this.#collect((position) => this.#batch.decode(position));
  }

  get payloads(): readonly Uint8Array[] {
    if (this.#positions === undefined) return this.#batch.payloads;
    return this.#payloads ??= this.#collect((position) => this.#batch.payloads[position]);
  }

  get putTimes(): readonly number[] {
    if (this.#positions === undefined) return this.#batch.putTimes;
    return this.#putTimes ??= this.#collect((position) => this.#batch.putTimes[position]);
  }

  /** How many of its records, from the first one on, are of no use any more: `maxRecordAgeMs`. */
  get expiredRecords(): number {
    const expired = this.#batch.expiredRecords;
    if (this.#positions === undefined || expired === 0) return expired;
    return this.#positions.filter((position) => position < expired).length;
  }

  get byteLength(): number {
    if (this.#positions === undefined) return this.#batch.byteLength;
    return this.payloads.reduce((sum, payload) => sum + payload.length, 0);
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.records[Symbol.iterator]();
  }

  /** Decodes one record; throws CodecError if it does not decode. */
  decode(index: number): T {
    return this.#batch.decode(this.#positionOf(index));
  }

  /** Some records of this part: `indexes` are positions in it, ascending. */
  pick(indexes: readonly number[]): BatchPart<T> {
    if (indexes.length === this.length) return this;
    const part = new BatchPart(this.#batch, indexes.map((index) => this.#positionOf(index)));
    part.redelivered = this.redelivered;
    return part;
  }

  /** The first and the second half; of an odd number the first is the longer one. Of two records at least. */
  halves(): [BatchPart<T>, BatchPart<T>] {
    const middle = Math.ceil(this.length / 2);
    const indexes = Array.from({ length: this.length }, (_, i) => i);
    return [this.pick(indexes.slice(0, middle)), this.pick(indexes.slice(middle))];
  }

  #positionOf(index: number): number {
    return this.#positions === undefined ? index : this.#positions[index];
  }

  #collect<R>(make: (position: number) => R): R[] {
    return Array.from({ length: this.length }, (_, index) => make(this.#positionOf(index)));
  }
}

/** A name for sequences: their ranges, `3-5+9`; if those are too many, where they begin and end, and a hash of them. */
function nameOf(sequences: readonly number[]): string {
  const ranges: string[] = [];
  for (let i = 0; i < sequences.length; i++) {
    const first = sequences[i];
    while (sequences[i + 1] === sequences[i] + 1) i++;
    ranges.push(first === sequences[i] ? `${first}` : `${first}-${sequences[i]}`);
  }
  const text = ranges.join("+");
  if (text.length <= MAX_ID_CHARACTERS) return text;
  const { createHash } = processOfNode().getBuiltinModule("node:crypto");
  const hash = createHash("sha256").update(text).digest("hex").slice(0, HASH_CHARACTERS);
  return `${sequences[0]}-${sequences.at(-1)}.${hash}`;
}
