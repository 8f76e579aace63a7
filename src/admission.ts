/**
 * Who gets in: encodes records, refuses what is too large, and deals with a full backlog.
 *
 * Guarantees: puts are accepted in call order, those that wait included: as long as one waits, later ones queue behind
 * it; a record is encoded at the call, also if it has to wait; a put that is refused, or gives up waiting, leaves
 * nothing behind; one that could never fit is refused at once instead of waiting for ever.
 *
 * @module
 */

import type { Codec } from "./codec.ts";
import { BufferFullError, CodecError, RecordTooLargeError } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import type { RecordStore } from "./record_store.ts";
import type { SequenceRange } from "./wal/damage.ts";

/** What admission needs of the buffer. */
export interface AdmissionHost {
  /** Bytes that are accepted and neither committed nor dropped. */
  readonly backlogBytes: () => number;
  /** Drops the oldest batch that is not in flight; false if there is none. */
  readonly dropOldest: () => Promise<boolean>;
  /** The backlog has become full. */
  readonly onFull: () => void;
  /** A put was rejected before it was accepted. */
  readonly onRejected: () => void;
}

/** How a put is to be treated. */
export interface Admittance {
  readonly signal: AbortSignal | undefined;
  /** Whether to wait for space even if the option `whenFull` says to reject. */
  readonly waits: boolean;
}

/** A put that waits for space. */
interface Waiting {
  readonly payloads: readonly Uint8Array[];
  readonly accept: (first: Promise<number>) => void;
  readonly reject: (error: unknown) => void;
}

/** Takes payloads as they are. */
const payloadCodec: Codec<Uint8Array> = { encode: (payload) => payload, decode: (payload) => payload };

/** Admits records to a store. */
export class Admission<T> {
  readonly #store: RecordStore;
  readonly #options: ResolvedOptions<T>;
  readonly #host: AdmissionHost;
  readonly #limitBytes: number;
  readonly #queue: Waiting[] = [];
  #isFull = false;
  #isMakingRoom = false;

  /** For one buffer. */
  constructor(store: RecordStore, options: ResolvedOptions<T>, host: AdmissionHost) {
    this.#store = store;
    this.#options = options;
    this.#host = host;
    this.#limitBytes = Math.min(options.maxRecordBytes, options.maxBytes);
  }

  /** Admits one record; resolves with its sequence. */
  put(record: T, admittance: Admittance): Promise<number> {
    if (admittance.signal?.aborted) return this.#rejected(admittance.signal.reason);
    const store = this.#store;
    const before = store.acceptedLogBytes;
    store.begin();
    try {
      this.#add(record, undefined);
    } catch (error) {
      store.undo();
      return this.#rejected(error);
    }
    if (this.#queue.length === 0 && this.#host.backlogBytes() <= this.#options.maxBacklogBytes) {
      this.#isFull = false;
      return store.accept(1);
    }
    const neededBytes = store.acceptedLogBytes - before;
    store.undo();
    return this.#whenFull([record], neededBytes, admittance, (first) => first);
  }

  /** Admits records as one unit; resolves with their sequences. */
  putMany(records: readonly T[], admittance: Admittance): Promise<SequenceRange> {
    if (!Array.isArray(records)) return this.#rejected(new TypeError("Cannot put records: expected an array"));
    if (records.length === 0) return this.#rejected(new RangeError("Cannot put records: the array is empty"));
    if (admittance.signal?.aborted) return this.#rejected(admittance.signal.reason);
    const store = this.#store;
    const before = store.acceptedLogBytes;
    store.begin();
    const toRange = async (first: Promise<number>): Promise<SequenceRange> => {
      const sequence = await first;
      return { first: sequence, last: sequence + records.length - 1 };
    };
    try {
      store.beginGroup();
      for (let i = 0; i < records.length; i++) this.#add(records[i], i);
      store.endGroup();
    } catch (error) {
      store.undo();
      return this.#rejected(error);
    }
    if (this.#queue.length === 0 && this.#host.backlogBytes() <= this.#options.maxBacklogBytes) {
      this.#isFull = false;
      return toRange(store.accept(records.length));
    }
    const neededBytes = store.acceptedLogBytes - before;
    store.undo();
    return this.#whenFull(records, neededBytes, admittance, toRange);
  }

  /** Lets those in who fit now. To be called when there is more space. */
  pump(): void {
    while (this.#queue.length > 0 && !this.#isMakingRoom) {
      const waiting = this.#queue[0];
      this.#store.begin();
      this.#store.beginGroup();
      for (const payload of waiting.payloads) this.#store.add(payloadCodec, payload);
      this.#store.endGroup();
      if (this.#host.backlogBytes() <= this.#options.maxBacklogBytes) {
        this.#queue.shift();
        waiting.accept(this.#store.accept(waiting.payloads.length));
        continue;
      }
      this.#store.undo();
      if (this.#options.whenFull !== "drop-oldest") return;
      this.#isMakingRoom = true;
      void this.#makeRoom(waiting);
    }
  }

  /** Rejects everyone who waits. */
  rejectAll(error: unknown): void {
    for (const waiting of this.#queue.splice(0)) waiting.reject(error);
  }

  /** Adds a record to the store and checks its size. */
  #add(record: T, index: number | undefined): void {
    let payloadBytes: number;
    try {
      payloadBytes = this.#store.add(this.#options.codec, record);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CodecError({ operation: "encode", reason, index }, { cause });
    }
    if (payloadBytes > this.#limitBytes) {
      throw new RecordTooLargeError({ payloadBytes, limitBytes: this.#limitBytes, index });
    }
  }

  #rejected<R>(error: unknown): Promise<R> {
    this.#host.onRejected();
    return Promise.reject(error);
  }

  /** The backlog has no room: reject, or queue. */
  #whenFull<R>(
    records: readonly T[],
    neededBytes: number,
    { signal, waits }: Admittance,
    toResult: (first: Promise<number>) => Promise<R>,
  ): Promise<R> {
    const { maxBacklogBytes, whenFull, codec } = this.#options;
    if (!this.#isFull) {
      this.#isFull = true;
      this.#host.onFull();
    }
    if ((whenFull === "reject" && !waits) || neededBytes > maxBacklogBytes) {
      return this.#rejected(this.#fullError(neededBytes));
    }
    const payloads = records.map((record) => codec.encode(record).slice());
    return new Promise<R>((resolve, reject) => {
      const leave = () => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        waiting.reject(signal?.reason);
        // Whoever waits behind may be smaller.
        this.pump();
      };
      const waiting: Waiting = {
        payloads,
        accept: (first) => {
          signal?.removeEventListener("abort", leave);
          resolve(toResult(first));
        },
        reject: (error) => {
          signal?.removeEventListener("abort", leave);
          this.#host.onRejected();
          reject(error);
        },
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#queue.push(waiting);
      this.pump();
    });
  }

  /** Drops a batch for the first in the queue, then tries again. */
  async #makeRoom(waiting: Waiting): Promise<void> {
    let error: unknown;
    try {
      if (!await this.#host.dropOldest()) error = this.#fullError(sizeOf(waiting.payloads));
    } catch (cause) {
      error = cause;
    }
    this.#isMakingRoom = false;
    if (error !== undefined && this.#queue[0] === waiting) {
      this.#queue.shift();
      waiting.reject(error);
    }
    this.pump();
  }

  #fullError(neededBytes: number): BufferFullError {
    const { maxBacklogBytes } = this.#options;
    return new BufferFullError({ neededBytes, backlogBytes: this.#host.backlogBytes(), maxBacklogBytes });
  }
}

function sizeOf(payloads: readonly Uint8Array[]): number {
  return payloads.reduce((sum, { length }) => sum + length, 0);
}
