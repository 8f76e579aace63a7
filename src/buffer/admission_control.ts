/**
 * Admission control for puts: encodes each record, rejects oversized ones, and applies `whenFull`.
 *
 * Guarantees: puts are accepted in call order; while one waits, later ones queue behind it. A record is encoded at the call,
 * also if it has to wait. A put that is rejected, or gives up waiting, leaves nothing behind. One that could never fit is
 * rejected at once. The cost of a waiting put doesn't depend on how many others wait.
 *
 * @module
 */

import { AbortCalls } from "../base/abort_calls.ts";
import type { Codec } from "../base/codec.ts";
import type { SequenceRange } from "../base/sequences.ts";
import { WaitingLine } from "../base/waiting_line.ts";
import { BufferFullError, CodecError, RecordTooLargeError } from "../errors/mod.ts";
import type { ResolvedOptions } from "./options.ts";
import type { PutOptions } from "./record_buffer.ts";
import type { BlockingStore, RecordAppender } from "./record_store.ts";

/** What {@linkcode AdmissionControl} needs of the buffer. */
export interface AdmissionControlDeps {
  /** Bytes that are accepted and neither committed nor dropped. */
  readonly backlogBytes: () => number;
  /** Bytes of the log that are committed or dropped, for sure: the log's length minus these is at least the backlog. Never falls. */
  readonly releasedLogBytes: () => number;
  /** Drops the oldest batch that is not in flight, if that `isEnabled` by then; false if there is none. */
  readonly dropOldest: (isWanted: () => boolean) => Promise<boolean>;
  /** The backlog has become full. */
  readonly onFull: () => void;
  /** A put was rejected before it was accepted. */
  readonly onRejected: () => void;
}

/** A put that waits for space. */
interface Waiting {
  readonly payloads: readonly Uint8Array[];
  readonly accept: (first: Promise<number>) => void;
  readonly reject: (error: unknown) => void;
}

const payloadCodec: Codec<Uint8Array> = { encode: (payload) => payload, decode: (payload) => payload };

/** Admits records to the appender of a store. */
export class AdmissionControl<T> {
  readonly #appender: RecordAppender;
  readonly #options: ResolvedOptions<unknown, T>;
  readonly #host: AdmissionControlDeps;
  readonly #queue = new WaitingLine<Waiting>();
  readonly #aborts = new AbortCalls();
  /** The length of the log up to which there is room, as far as it is known: it only rises. */
  #roomUpTo = 0;
  #isFull = false;
  #isMakingRoom = false;
  #isEncoding = false;

  constructor(appender: RecordAppender, options: ResolvedOptions<unknown, T>, host: AdmissionControlDeps) {
    this.#appender = appender;
    this.#options = options;
    this.#host = host;
  }

  /** Whether a codec is at work: a call of the buffer now comes from within it, and is refused. */
  get isEncoding(): boolean {
    return this.#isEncoding;
  }

  /** Admits one record; resolves with its sequence. */
  put(record: T, options?: PutOptions): Promise<number> {
    const signal = options?.signal;
    if (signal?.aborted) return this.#rejected(signal.reason);
    const { builder } = this.#appender;
    builder.savepoint();
    try {
      this.#add(record, undefined, this.#options.codec);
    } catch (error) {
      builder.rollback();
      return this.#rejected(error);
    }
    return this.#fits() ? this.#appender.accept(1) : this.#whenFull(options);
  }

  /** Admits one record to `appender`, which is the store's, within the call; returns its sequence. It never waits. */
  putBlocking(record: T, appender: Pick<BlockingStore["appender"], "acceptBlocking">): number {
    const { builder } = this.#appender;
    builder.savepoint();
    try {
      this.#add(record, undefined, this.#options.codec);
    } catch (error) {
      builder.rollback();
      this.#host.onRejected();
      throw error;
    }
    if (this.#fits()) return appender.acceptBlocking(1);
    const error = this.#fullError(this.#sizeOf(builder.withdraw()));
    this.#host.onRejected();
    this.#tellIfFull();
    throw error;
  }

  /** Admits records as one unit, encoded by `codec`; resolves with their sequences. */
  async putMany<R>(
    records: readonly R[],
    options: PutOptions | undefined,
    codec: Codec<unknown, R>,
  ): Promise<SequenceRange> {
    const { length } = records;
    const first = await this.#putMany(records, options, codec);
    return { first, last: first + length - 1 };
  }

  #putMany<R>(
    records: readonly R[],
    options: PutOptions | undefined,
    codec: Codec<unknown, R>,
  ): Promise<number> {
    const signal = options?.signal;
    if (signal?.aborted) return this.#rejected(signal.reason);
    if (!Array.isArray(records)) return this.#rejected(new TypeError("Cannot put records: expected an array"));
    const { length } = records;
    if (length === 0) return this.#rejected(new RangeError("Cannot put records: the array is empty"));
    const { builder } = this.#appender;
    builder.savepoint();
    try {
      builder.beginGroup();
      for (let i = 0; i < length; i++) this.#add(records[i], i, codec);
      builder.endGroup();
    } catch (error) {
      builder.rollback();
      return this.#rejected(error);
    }
    return this.#fits() ? this.#appender.accept(length) : this.#whenFull(options);
  }

  /** Lets those in who fit now. To be called when there is more space. */
  pump(): void {
    while (!this.#isMakingRoom) {
      const waiting = this.#queue.first;
      if (waiting === undefined) return;
      this.#addUnit(waiting.payloads);
      if (this.#hasRoom()) {
        this.#queue.shift();
        this.#isFull = false;
        waiting.accept(this.#appender.accept(waiting.payloads.length));
        continue;
      }
      this.#appender.builder.rollback();
      if (this.#options.whenFull !== "drop-oldest") return;
      this.#isMakingRoom = true;
      void this.#makeRoom(waiting);
    }
  }

  rejectAll(error: unknown): void {
    for (const waiting of this.#queue.takeAll()) waiting.reject(error);
  }

  /** Whether what was added can be accepted: there is room, and nobody waits. */
  #fits(): boolean {
    if (this.#queue.first !== undefined || !this.#hasRoom()) return false;
    this.#isFull = false;
    return true;
  }

  /** Whether the backlog is within its limit, with what was added. Nearly always one comparison tells. */
  #hasRoom(): boolean {
    const length = this.#appender.acceptedLogBytes;
    if (length <= this.#roomUpTo) return true;
    const { maxBacklogBytes } = this.#options;
    this.#roomUpTo = this.#host.releasedLogBytes() + maxBacklogBytes;
    return length <= this.#roomUpTo || this.#host.backlogBytes() <= maxBacklogBytes;
  }

  /** Adds payloads as one unit, as they are accepted after a wait; to be undone or accepted. */
  #addUnit(payloads: readonly Uint8Array[]): void {
    const { builder } = this.#appender;
    builder.savepoint();
    builder.beginGroup();
    for (const payload of payloads) builder.add(payloadCodec, payload);
    builder.endGroup();
  }

  /** Adds a record to the store and checks its size. */
  #add<R>(record: R, index: number | undefined, codec: Codec<unknown, R>): void {
    let payloadBytes: number;
    this.#isEncoding = true;
    try {
      payloadBytes = this.#appender.builder.add(codec, record);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CodecError({ operation: "encode", reason, index }, { cause });
    } finally {
      this.#isEncoding = false;
    }
    const limitBytes = this.#options.maxPayloadBytes;
    if (payloadBytes > limitBytes) throw new RecordTooLargeError({ payloadBytes, limitBytes, index });
  }

  #rejected<R>(error: unknown): Promise<R> {
    this.#host.onRejected();
    return Promise.reject(error);
  }

  /** The backlog has no room for what was added: reject, or queue. */
  #whenFull({ signal, waits }: PutOptions = {}): Promise<number> {
    const { maxBacklogBytes, whenFull } = this.#options;
    const mayWait = whenFull === "drop-oldest" || (waits ?? whenFull === "block");
    const payloads = this.#appender.builder.withdraw();
    const neededBytes = this.#sizeOf(payloads);
    if (!mayWait || neededBytes > maxBacklogBytes) {
      const rejected = this.#rejected<number>(this.#fullError(neededBytes));
      this.#tellIfFull();
      return rejected;
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        const isFirst = this.#queue.first === waiting;
        leaveLine();
        waiting.reject(signal?.reason);
        // The one that waits behind may be smaller.
        if (isFirst) this.pump();
      };
      const waiting: Waiting = {
        payloads,
        accept: (first) => {
          forgetAbort?.();
          resolve(first);
        },
        reject: (error) => {
          forgetAbort?.();
          this.#host.onRejected();
          reject(error);
        },
      };
      const forgetAbort = signal === undefined ? undefined : this.#aborts.add(signal, leave);
      const leaveLine = this.#queue.join(waiting);
      // In line by now: what a listener puts comes behind it.
      this.#tellIfFull();
      this.pump();
    });
  }

  /** There was no room for a put: tells it, if it was told that there is since. */
  #tellIfFull(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#host.onFull();
  }

  /** Drops a batch for the first in the queue, then tries again. */
  async #makeRoom(waiting: Waiting): Promise<void> {
    const isWanted = () => this.#queue.first === waiting;
    let error: unknown;
    // For one who gives up in the same tick nothing is dropped.
    await undefined;
    try {
      if (!await this.#host.dropOldest(isWanted)) error = this.#fullError(this.#sizeOf(waiting.payloads));
    } catch (cause) {
      error = cause;
    }
    this.#isMakingRoom = false;
    if (error !== undefined && isWanted()) {
      this.#queue.shift();
      waiting.reject(error);
    }
    this.pump();
  }

  /** What payloads take in the log as a unit of their own. */
  #sizeOf(payloads: readonly Uint8Array[]): number {
    const before = this.#appender.acceptedLogBytes;
    this.#addUnit(payloads);
    const bytes = this.#appender.acceptedLogBytes - before;
    this.#appender.builder.rollback();
    return bytes;
  }

  #fullError(neededBytes: number): BufferFullError {
    const { maxBacklogBytes } = this.#options;
    return new BufferFullError({ neededBytes, backlogBytes: this.#host.backlogBytes(), maxBacklogBytes });
  }
}
