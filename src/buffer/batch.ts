/**
 * A batch: records in order, and the identity by which a target recognizes a batch that comes again.
 *
 * @module
 */

import { type Codec, jsonDecoderOfMany } from "../base/codec.ts";
import { CodecError } from "../errors/mod.ts";
import type { ReadBatch } from "../wal/reader/log_view.ts";
import type { RecordExpiry } from "./record_expiry.ts";

/** What tells a batch from all others. @internal */
export interface BatchIdentity {
  readonly uuid: string;
  /** Tells its records from others that had the same sequences, if there can be such. */
  readonly checksum: number | undefined;
  /** Sequence of the first record. */
  readonly firstSequence: number;
  /** Sequence of the last record. */
  readonly lastSequence: number;
}

/** The id of a batch, see {@linkcode Batch.id}. @internal */
export function batchId({ uuid, checksum, firstSequence, lastSequence }: BatchIdentity): string {
  const middle = checksum === undefined ? "" : `-${checksum.toString(16).padStart(8, "0")}`;
  return `${uuid}${middle}-${firstSequence}-${lastSequence}`;
}

/** What a {@linkcode Batch} is made from. @internal */
export type BatchData = Omit<ReadBatch, "start" | "end">;

/** What a {@linkcode Batch} knows of its buffer, and of how it was handed over: the same for many. @internal */
export interface BatchContext<T> {
  readonly uuid: string;
  readonly codec: Codec<T, never>;
  readonly redelivered: boolean;
  /** Only with `maxRecordAgeMs`. */
  readonly expiry: RecordExpiry | undefined;
}

/**
 * Consecutive records handed over together. The same batch always has the same id and the same records.
 *
 * @typeParam T The records.
 *
 * @example Send and commit
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * await buffer.putMany([{ n: 1 }, { n: 2 }]);
 * const batch = await buffer.emit();
 * assertEquals(batch.records, [{ n: 1 }, { n: 2 }]);
 * await buffer.commit(batch);
 * await buffer.close();
 * ```
 */
export class Batch<T> implements Iterable<T> {
  /** Sequence of the first record; record i has `firstSequence + i`. */
  readonly firstSequence: number;
  /** Sequence of the last record. */
  readonly lastSequence: number;
  /** Number of records. */
  readonly length: number;
  /** Sum of the payloads' lengths. */
  readonly byteLength: number;
  /** Whether it was handed over before and not committed: by this process or by one that is gone. */
  readonly redelivered: boolean;
  readonly #identity: BatchIdentity;
  readonly #data: BatchData;
  readonly #context: BatchContext<T>;
  /** Once bytes were shown. */
  #ownBytes: Uint8Array | undefined;
  #id: string | undefined;
  #records: readonly T[] | undefined;
  #payloads: readonly Uint8Array[] | undefined;
  #putTimes: readonly number[] | undefined;

  /** Made by `emit()`. @internal */
  constructor(data: BatchData, identity: BatchIdentity, context: BatchContext<T>) {
    this.firstSequence = identity.firstSequence;
    this.lastSequence = identity.lastSequence;
    this.length = data.count;
    this.byteLength = data.payloadBytes;
    this.redelivered = context.redelivered;
    this.#identity = identity;
    this.#data = data;
    this.#context = context;
  }

  /** What tells a batch from all others; `undefined` if it is none that was made here. @internal */
  static identityOf(batch: object): BatchIdentity | undefined {
    return #identity in batch ? batch.#identity : undefined;
  }

  /**
   * `<uuid of the buffer>-<checksum>-<first sequence>-<last sequence>`: the key for a target that deduplicates. It never
   * stands for other records: the checksum is that of the frames on disk, so that it differs where a power cut has taken
   * records that were not synced, and their sequences are given out again. In a `MemoryBuffer` there is none.
   */
  get id(): string {
    return this.#id ??= batchId(this.#identity);
  }

  /**
   * The records, in order; decoded at the first access, then kept.
   *
   * @throws {CodecError} which names the sequence of the first payload that does not decode. The others can be had
   * by {@linkcode Batch.decode}, all bytes by {@linkcode Batch.payloads}, and the batch can be committed as it is.
   */
  get records(): readonly T[] {
    return this.#records ??= this.#decodeTogether() ?? this.payloads.map((_, i) => this.decode(i));
  }

  /** The encoded bytes of each record, in order. They are the batch's own memory: copy what is to be changed. */
  get payloads(): readonly Uint8Array[] {
    if (this.#payloads === undefined) {
      const payloads: Uint8Array[] = new Array(this.length);
      for (let i = 0; i < this.length; i++) payloads[i] = this.#payload(i);
      this.#payloads = payloads;
    }
    return this.#payloads;
  }

  /**
   * When each record was put, in order: milliseconds since 1970, by the wall clock of then. In a `MemoryBuffer` by the wall clock
   * as it was at `open()`, and the time since.
   */
  get putTimes(): readonly number[] {
    if (this.#putTimes === undefined) {
      const { putTimes: runs } = this.#data;
      let run = 0;
      this.#putTimes = Array.from({ length: this.length }, (_, i) => {
        if (runs[run + 1]?.from <= this.firstSequence + i) run++;
        return runs[run].putTime;
      });
    }
    return this.#putTimes;
  }

  /**
   * How many records, from the first one on, are older than `maxRecordAgeMs` now; 0 without that option. A batch that is new has none
   * of them, unless it was asked for with `expired: "keep"`; they become more while it waits.
   */
  get expiredRecords(): number {
    return this.#context.expiry?.countIn(this.#data) ?? 0;
  }

  /** The version of the codec that encoded the payloads. */
  get codecVersion(): number {
    return this.#data.codecVersion;
  }

  /** Whether each payload is the JSON of its record, and can be used instead of it. @internal */
  get isJson(): boolean {
    const { isJson, codecVersion } = this.#data;
    const { codec } = this.#context;
    return isJson && codecVersion === (codec.version ?? 0) && jsonDecoderOfMany(codec) !== undefined;
  }

  /**
   * Decodes one record.
   *
   * @param index Its position in the batch, from 0.
   * @returns The record, decoded at each call.
   * @throws {CodecError} if its payload does not decode.
   * @throws {RangeError} if there is no such record.
   *
   * @example Skip what doesn't decode
   * ```ts
   * import { CodecError, MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * await buffer.putMany(["a", "b"]);
   * const batch = await buffer.emit();
   * const records: string[] = [];
   * for (let i = 0; i < batch.length; i++) {
   *   try {
   *     records.push(batch.decode(i));
   *   } catch (error) {
   *     if (!(error instanceof CodecError)) throw error; // else it names the sequence
   *   }
   * }
   * assertEquals(records, ["a", "b"]);
   * await buffer.close();
   * ```
   */
  decode(index: number): T {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) {
      throw new RangeError(`Cannot decode record ${index}: the batch has ${this.length} records`);
    }
    try {
      return this.#context.codec.decode(this.#payload(index), this.#data.codecVersion);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CodecError({ operation: "decode", reason, sequence: this.firstSequence + index }, { cause });
    }
  }

  /** Iterates over the records. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.records[Symbol.iterator]();
  }

  /** All records by one call of the codec, if it has one for that and it succeeds. */
  #decodeTogether(): readonly T[] | undefined {
    const { bytes, bounds, codecVersion, isJson } = this.#data;
    const decode = isJson ? jsonDecoderOfMany(this.#context.codec) : undefined;
    try {
      return decode?.(bytes, bounds, codecVersion);
    } catch {
      // One by one it shows which of them is to blame.
      return undefined;
    }
  }

  /** The bytes of one record, to be shown: in memory that is the batch's alone. */
  #payload(index: number): Uint8Array {
    const { bytes, bounds, isShared } = this.#data;
    const from = isShared ? bounds[0] : 0;
    this.#ownBytes ??= isShared ? bytes.slice(from, bounds.at(-1)) : bytes;
    return this.#ownBytes.subarray(bounds[2 * index] - from, bounds[2 * index + 1] - from);
  }
}
