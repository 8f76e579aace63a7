/**
 * What all buffers share: state checks, mutual exclusion, waiting. Records are kept by a `RecordStore` below it;
 * `admission_control.ts` admits puts, `batch_queue.ts` hands over batches.
 *
 * Guarantees, and how:
 * - emit, commit, clear and drops take turns, so that each sees the state that the one before has left.
 * - Waits are event-driven (records, age, space, close, failure); nothing polls.
 * - No timer keeps the process alive, except while somebody waits for records to grow old: they are to be sent.
 *
 * @module
 */

import { wallShift } from "../base/clock.ts";
import { type Codec, encodedCodec, type EncodedRecord } from "../base/codec.ts";
import { checkListener } from "../base/listeners.ts";
import type { SequenceRange } from "../base/sequences.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { checkOneOf } from "../base/validation.ts";
import { BufferClosedError, type BufferFailedError } from "../errors/mod.ts";
import { MIN_FRAME_BYTES } from "../wal/format.ts";
import { AdmissionControl } from "./admission_control.ts";
import type { Batch } from "./batch.ts";
import { isFull } from "./batch_limits.ts";
import { BatchQueue } from "./batch_queue.ts";
import type { BufferEvent, BufferStats, RecoveryReport } from "./events.ts";
import type { ResolvedOptions } from "./options.ts";
import type { BatchesOptions, EmitOptions, PutOptions, RecordBuffer, WaitOptions } from "./record_buffer.ts";
import type { RecordStore } from "./record_store.ts";
import { takeBatches } from "./redelivery.ts";

/** What a buffer is made from. @internal */
export interface BufferDeps<T, In = T> {
  readonly store: RecordStore;
  readonly options: ResolvedOptions<T, In>;
  /** The buffer's own time, in which ages are counted. */
  readonly time: () => number;
  /** Records were acknowledged, or a put was rejected. */
  readonly onChange?: () => void;
}

/**
 * Common base of {@linkcode FileBuffer} and {@linkcode MemoryBuffer}, which differ in where records are kept.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 *
 * @example Tell buffers from other resources
 * ```ts
 * import { BaseBuffer, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const resources: unknown[] = [await MemoryBuffer.open<string>(), new Map(), await MemoryBuffer.open<number>()];
 * const buffers = resources.filter((one) => one instanceof BaseBuffer);
 * assertEquals(buffers.length, 2);
 * for (const buffer of buffers) {
 *   await buffer.flush(); // a method of every buffer
 *   await buffer.close();
 *   await assertRejects(() => buffer.put("too late"));
 * }
 * ```
 */
export abstract class BaseBuffer<T, In = T> implements RecordBuffer<T, In> {
  readonly #options: ResolvedOptions<T, In>;
  readonly #time: () => number;
  readonly #wallShift: (time: number) => number;
  readonly #store: RecordStore;
  readonly #admission: AdmissionControl<In>;
  readonly #queue: BatchQueue<T>;
  readonly #turns = new SerialQueue();
  readonly #startSequence: number;
  /** The sequence after the last record that `#onVisible` has seen. */
  #seenSequence: number;
  /** Called when something changes; each with whether it also waits for a time, see `#nextChange`. */
  readonly #waiters = new Map<() => void, boolean>();
  #closing: Promise<void> | undefined;
  #lastPutAt = 0;
  #rejected = 0;
  readonly #onChange: (() => void) | undefined;

  /** Made by `open()` of the subclasses. @internal */
  protected constructor(deps: BufferDeps<T, In>) {
    const { store, options, time, onChange } = deps;
    this.#options = options;
    this.#time = time;
    this.#wallShift = wallShift(options.clock);
    this.#store = store;
    this.#onChange = onChange;
    this.#startSequence = this.#seenSequence = store.ends.acknowledged.nextSequence;
    this.#admission = new AdmissionControl(store.appender, options, {
      backlogBytes: () => this.#backlogBytes(),
      releasedLogBytes: () => this.#releasedLogBytes(),
      dropOldest: (isWanted) => this.#turns.run(() => this.#dropOldest(isWanted)),
      onFull: () => options.listeners.tell({ type: "backlog-filled", backlogBytes: this.#backlogBytes() }),
      onRejected: () => this.#countRejected(1),
    });
    this.#queue = new BatchQueue(store, options, {
      time,
      onRoom: () => this.#onRoom(),
      onHandedOver: () => this.#wake(),
      onAgeKnown: () => this.#wake(),
    });
    store.listen({
      onVisible: (putTime) => this.#onVisible(putTime),
      onRejected: (puts) => this.#onRejected(puts),
      onFailed: (error) => this.#onFailed(error),
    });
  }

  /** What `open()` found and did. */
  get recovery(): RecoveryReport {
    return this.#store.recovery;
  }

  /** The option `codec`: what turns records into payloads and back. */
  get codec(): Codec<T, In> {
    return this.#options.codec;
  }

  /** The longest payload that a put can have: the least of `maxRecordBytes`, `maxBytes` and what fits `maxBacklogBytes`. */
  get maxPayloadBytes(): number {
    const { maxPayloadBytes, maxBacklogBytes } = this.#options;
    return Math.min(maxPayloadBytes, Math.max(0, maxBacklogBytes - MIN_FRAME_BYTES));
  }

  /** Why it can't be used any more: it was closed, or has failed; `undefined` while it is open. */
  get refusal(): BufferClosedError | BufferFailedError | undefined {
    return this.#closing === undefined ? this.#store.health.failure : new BufferClosedError("use it");
  }

  /** Accepts one record; see {@linkcode RecordBuffer.put}. */
  put(record: In, options?: PutOptions): Promise<number> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return this.#refuse(refusal);
    return this.#admission.put(record, options);
  }

  /** Accepts records as one unit; see {@linkcode RecordBuffer.putMany}. */
  putMany(records: readonly In[], options?: PutOptions): Promise<SequenceRange> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return this.#refuse(refusal);
    return this.#admission.putMany(records, options, this.#options.codec);
  }

  /**
   * Accepts records that are encoded already, as one unit, as {@linkcode RecordBuffer.putMany} does: dead letters that are to be
   * delivered after all. A payload of the codec's present version goes in byte for byte. One of another version is decoded, and
   * encoded again.
   *
   * @param records Payloads of this buffer's codec, in order, each with the codec's version; a `DeadLetter` has both.
   * @param options A signal that ends the wait for space.
   * @returns The sequences of the first and of the last one, when all are persisted.
   * @throws {RangeError} if there is no record.
   * @throws {CodecError} if a payload of another version doesn't decode, or the codec is `jsonCodec()` and it is no JSON.
   * @throws {SluiceError} as `putMany()`.
   *
   * @example Put dead letters back
   * ```ts
   * import { type DeadLetter, deadLetterCodec, MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * async function putBack<T>(dead: MemoryBuffer<DeadLetter<T>>, buffer: MemoryBuffer<T>): Promise<void> {
   *   for await (const letters of dead.batches({ flush: true })) {
   *     await buffer.putEncoded(letters.records);
   *     await dead.commit(letters); // behind the puts: a crash in between repeats, but loses nothing
   *   }
   * }
   *
   * const buffer = await MemoryBuffer.open<{ n: number }>();
   * const dead = await MemoryBuffer.open({ codec: deadLetterCodec(buffer.codec) });
   * const payload = new TextEncoder().encode('{"n":1.0}');
   * const about = { key: "k", error: "status 400", attempts: 1, sequence: 1, batchId: "b", time: 0 };
   * await dead.put({ payload, codecVersion: 0, ...about }); // a producer does that
   * await putBack(dead, buffer);
   * assertEquals((await buffer.emit()).payloads, [payload]);
   * await buffer.close();
   * await dead.close();
   * ```
   */
  putEncoded(records: readonly EncodedRecord[], options?: PutOptions): Promise<SequenceRange> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return this.#refuse(refusal);
    return this.#admission.putMany(records, options, encodedCodec(this.#options.codec));
  }

  /** Whether a batch is due; see {@linkcode RecordBuffer.shouldEmit}. */
  shouldEmit(): boolean {
    return this.#refusal("emit") === undefined && this.#queue.isDue(undefined);
  }

  /** Hands over the oldest batch, or the one behind another; see {@linkcode RecordBuffer.emit}. */
  emit(options?: EmitOptions<T>): Promise<Batch<T>> {
    const refusal = this.#refusal("emit");
    if (refusal !== undefined) return Promise.reject(refusal);
    const before = this.#store.appender.writeAccepted().nextSequence;
    if (options?.expired !== undefined) checkOneOf("expired", options.expired, ["drop", "keep"], "emit");
    return this.#turns.run(() => this.#queue.emit(before, options ?? {}));
  }

  /** Drops the oldest batch in flight; see {@linkcode RecordBuffer.commit}. */
  commit(batch?: Batch<T>): Promise<void> {
    const refusal = this.#refusal("commit");
    if (refusal !== undefined) return Promise.reject(refusal);
    return this.#turns.run(() => this.#queue.commit(batch));
  }

  /** Waits for a batch to be due; see {@linkcode RecordBuffer.waitUntilDue}. */
  async waitUntilDue(options: WaitOptions<T> = {}): Promise<boolean> {
    const { after, signal, flush = false } = options;
    if (flush && this.#refusal("emit") === undefined) {
      this.#store.appender.writeAccepted();
      await this.#store.appender.awaitAcknowledged();
    }
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closing !== undefined) return false;
      if (this.#store.health.failure !== undefined) throw this.#store.health.failure;
      if (this.#queue.isDue(after)) return true;
      const hasRecords = this.#queue.pending.records > 0;
      if (flush && (!hasRecords || this.#queue.mayCut)) return hasRecords;
      await this.#nextChange(this.#queue.msUntilOld, signal);
    }
  }

  /** Waits for due batches and yields them; see {@linkcode RecordBuffer.batches}. */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch<T>> {
    return takeBatches({
      buffer: this,
      clock: this.#options.clock,
      isInFlight: (batch) => this.#refusal("emit") === undefined && this.#queue.isInFlight(batch),
      nextChange: (delayMs, signal) => this.#nextChange(delayMs, signal),
    }, options);
  }

  /** A stream that puts; see {@linkcode RecordBuffer.writable}. */
  writable(): WritableStream<In> {
    return new WritableStream<In>({
      write: async (record, controller) => {
        const refusal = this.#refusal("put");
        if (refusal !== undefined) return await this.#refuse(refusal);
        await this.#admission.put(record, { signal: controller.signal, waits: true });
      },
      close: () => this.flush(),
    });
  }

  /** Resolves when everything put is on stable storage; see {@linkcode RecordBuffer.flush}. */
  async flush(): Promise<void> {
    const refusal = this.#refusal("flush");
    if (refusal !== undefined) throw refusal;
    await this.#store.flush();
  }

  /** Drops every record; see {@linkcode RecordBuffer.clear}. */
  async clear(): Promise<void> {
    const refusal = this.#refusal("clear");
    if (refusal !== undefined) throw refusal;
    const end = this.#store.appender.writeAccepted();
    await this.#turns.run(() => this.#queue.clear(end));
    this.#onRoom();
  }

  /** Counts without I/O; see {@linkcode RecordBuffer.stats}. */
  stats(): BufferStats {
    const { acknowledged: end } = this.#store.ends;
    const { pending, inFlight, figures: queue } = this.#queue;
    const store = this.#store.figures();
    const now = this.#time();
    const age = pending.oldestPutTime === undefined ? this.#options.maxAgeMs : now - pending.oldestPutTime;
    return {
      pendingRecords: pending.records + inFlight.records,
      pendingBytes: pending.bytes + inFlight.payloadBytes,
      backlogBytes: this.#backlogBytes(),
      maxBacklogBytes: this.#options.maxBacklogBytes,
      inFlightRecords: inFlight.records,
      oldestAgeMs: pending.records > 0 ? Math.max(0, age) : 0,
      segments: store.segments,
      diskBytes: store.diskBytes,
      lastSequence: end.nextSequence - 1,
      puts: end.nextSequence - this.#startSequence,
      batchesEmitted: queue.batchesEmitted,
      batchesCommitted: queue.batchesCommitted,
      batchesRedelivered: queue.batchesRedelivered,
      syncs: store.syncs,
      syncMs: store.syncMs,
      rejected: this.#rejected,
      dropped: queue.dropped,
      expired: queue.expired,
      quarantinedBytes: store.quarantinedBytes,
      lastProgressAt: Math.max(this.#lastPutAt, this.#queue.progressAt) + this.#wallShift(now),
    };
  }

  /** Tells what happens; see {@linkcode RecordBuffer.subscribe}. */
  subscribe(listener: (event: BufferEvent) => void): () => void {
    checkListener(listener);
    return this.#options.listeners.add(listener);
  }

  /** Persists and frees everything; see {@linkcode RecordBuffer.close}. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#admission.rejectAll(new BufferClosedError("put"));
    this.#wake();
    await this.#turns.run(() => this.#store.close());
  }

  /** A put within the call, to the store's `appender`. @internal */
  protected putBlocking(record: In, appender: { acceptBlocking(count: number): number }): number {
    const refusal = this.#refusal("put");
    if (refusal === undefined) return this.#admission.putBlocking(record, appender);
    this.#countRejected(1);
    throw refusal;
  }

  /** A flush within the call, by `flush`. @internal */
  protected flushBlocking(flush: () => void): void {
    const refusal = this.#refusal("flush");
    if (refusal !== undefined) throw refusal;
    flush();
  }

  /** Why nothing can be done now, if so. */
  #refusal(verb: string): Error | undefined {
    if (this.#closing !== undefined) return new BufferClosedError(verb);
    if (this.#store.health.failure !== undefined) return this.#store.health.failure;
    if (!this.#admission.isEncoding) return undefined;
    return new TypeError(`Cannot ${verb}: a codec, or a record's toJSON(), is at work`);
  }

  #countRejected(puts: number): void {
    this.#rejected += puts;
    this.#onChange?.();
  }

  #refuse<R>(refusal: Error): Promise<R> {
    this.#countRejected(1);
    return Promise.reject(refusal);
  }

  #backlogBytes(): number {
    const { appender, maxHeldLogBytes } = this.#store;
    return Math.min(appender.acceptedLogBytes - this.#releasedLogBytes(), maxHeldLogBytes);
  }

  /** Bytes of the log before what comes next, without what is in flight. */
  #releasedLogBytes(): number {
    return this.#store.commitState.resume.logBytes - this.#queue.inFlight.logBytes;
  }

  async #dropOldest(isWanted: () => boolean): Promise<boolean> {
    if (this.#closing !== undefined || !isWanted()) return false;
    const isDropped = await this.#queue.drop();
    // Perhaps no record is left for those who wait for one.
    if (isDropped) this.#wake();
    return isDropped;
  }

  /** Resolves when something has changed, or `delayMs` milliseconds have passed. */
  #nextChange(delayMs: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancelTimer?.();
        signal?.removeEventListener("abort", wake);
        this.#waiters.delete(wake);
        resolve();
      };
      const cancelTimer = delayMs === undefined
        ? undefined
        : this.#options.clock.setTimer(wake, Math.ceil(delayMs), { keepAlive: true });
      signal?.addEventListener("abort", wake, { once: true });
      this.#waiters.set(wake, delayMs !== undefined);
    });
  }

  #onRoom(): void {
    this.#admission.pump();
    this.#wake();
  }

  #wake(): void {
    if (this.#waiters.size === 0) return;
    for (const wake of [...this.#waiters.keys()]) wake();
  }

  /** Wakes whom a put concerns. A wait for a record to grow old goes on, whatever comes behind that, until the batch is full. */
  #wakeForPut(): void {
    if (isFull(this.#queue.pending, this.#options)) return this.#wake();
    for (const [wake, isTimed] of this.#waiters) if (!isTimed) wake();
  }

  #onVisible(putTime: number): void {
    this.#lastPutAt = putTime;
    this.#onChange?.();
    if (this.#seenSequence <= this.#store.commitState.resume.nextSequence) this.#queue.onFirstPut(putTime);
    this.#seenSequence = this.#store.ends.acknowledged.nextSequence;
    if (this.#waiters.size > 0) this.#wakeForPut();
  }

  #onRejected(puts: number): void {
    this.#countRejected(puts);
    // The backlog is smaller again, so a waiting put may fit; not from within the write that has just failed.
    Promise.resolve().then(() => {
      if (this.#closing === undefined && this.#store.health.failure === undefined) this.#admission.pump();
    });
  }

  #onFailed(error: BufferFailedError): void {
    this.#options.listeners.tell({ type: "failed", error });
    this.#admission.rejectAll(error);
    this.#wake();
  }
}
