/**
 * The machine that all buffers share: what is in flight, what is due, who waits. It keeps no record itself; a
 * `RecordStore` below it does.
 *
 * Guarantees, and how:
 * - emit, commit, clear and drops take turns, so that each sees the state that the one before has left.
 * - A batch's end is saved before the batch is handed over, and a commit before it is acknowledged. If saving fails,
 *   memory goes back to what is saved.
 * - Whoever waits is woken by what it waits for (records, age, space, close, failure), never by polling.
 * - No timer keeps the process alive, except while `batches()` waits for records to grow old: they are to be sent.
 *
 * @module
 */

import { Admission } from "./admission.ts";
import { isDue, isFull, msUntilOld, type Pending } from "./batcher.ts";
import {
  Batch,
  type BatchesOptions,
  type BufferStats,
  type PutOptions,
  type RecordBuffer,
  type RecoveryReport,
} from "./buffer.ts";
import { BatchMismatchError, BufferClosedError, BufferEmptyError, type BufferFailedError } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import type { RecordStore } from "./record_store.ts";
import type { SequenceRange } from "./wal/damage.ts";
import type { LogPosition } from "./wal/format.ts";
import type { ReadBatch, ReadLimits } from "./wal/log_view.ts";

/** A batch that was handed over and is not committed. It is read again when it is asked for again. */
interface InFlight {
  readonly id: string;
  readonly end: LogPosition;
}

/** What a buffer is made from. @internal */
export interface BufferParts<T> {
  /** Keeps the records. */
  readonly store: RecordStore;
  /** Checked options. */
  readonly options: ResolvedOptions<T>;
  /** The time that puts are stamped with. */
  readonly time: () => number;
}

/** Common base of {@linkcode FileBuffer} and {@linkcode MemoryBuffer}, which differ in where records are kept. */
export abstract class BaseBuffer<T> implements RecordBuffer<T> {
  readonly #options: ResolvedOptions<T>;
  readonly #time: () => number;
  readonly #store: RecordStore;
  readonly #admission: Admission<T>;
  readonly #startSequence: number;
  readonly #openedAt: number;
  /** Behind the last record that `#onVisible` knows of. */
  #seenSequence: number;
  #inFlight: InFlight | undefined;
  /** When the first record behind `resume` was put; `undefined` if there is none or it isn't known. */
  #oldestPutTime: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  /** Woken when something changes; see `#waitUntilDue`. */
  readonly #waiters = new Set<() => void>();
  #closing: Promise<void> | undefined;
  #lastProgressAt: number;
  #batchesEmitted = 0;
  #batchesCommitted = 0;
  #batchesRedelivered = 0;
  #rejected = 0;
  #dropped = 0;

  /** Made by `open()` of the subclasses. @internal */
  protected constructor({ store, options, time }: BufferParts<T>) {
    this.#options = options;
    this.#time = time;
    this.#store = store;
    this.#openedAt = time();
    this.#lastProgressAt = this.#openedAt;
    this.#startSequence = this.#seenSequence = store.end.nextSequence;
    this.#admission = new Admission(store, options, {
      backlogBytes: () => this.#backlogBytes(),
      dropOldest: (isWanted) => this.#takeTurn(() => this.#dropOldest(isWanted)),
      onFull: () => options.tell({ type: "full", backlogBytes: this.#backlogBytes() }),
      onRejected: () => this.#rejected++,
    });
    store.listen({
      onVisible: (putTime) => this.#onVisible(putTime),
      onRejected: (puts) => this.#onRejected(puts),
      onFailed: (error) => this.#onFailed(error),
    });
    this.#goTo(store.commitState.resume);
  }

  /** What `open()` found and did. */
  get recovery(): RecoveryReport {
    return this.#store.recovery;
  }

  /** Accepts one record; see {@linkcode RecordBuffer.put}. */
  put(record: T, options?: PutOptions): Promise<number> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return this.#refuse(refusal);
    return this.#admission.put(record, options?.signal, false);
  }

  /** Accepts records as one unit; see {@linkcode RecordBuffer.putMany}. */
  putMany(records: readonly T[], options?: PutOptions): Promise<SequenceRange> {
    const refusal = this.#refusal("put");
    if (refusal !== undefined) return this.#refuse(refusal);
    return this.#admission.putMany(records, options?.signal);
  }

  /** Whether a batch is due; see {@linkcode RecordBuffer.shouldEmit}. */
  shouldEmit(): boolean {
    if (this.#refusal("emit") !== undefined) return false;
    if (this.#store.commitState.boundaries.length > 0) return true;
    return isDue(this.#pending(), this.#options, this.#time());
  }

  /** Hands over the oldest batch; see {@linkcode RecordBuffer.emit}. */
  emit(): Promise<Batch<T>> {
    const refusal = this.#refusal("emit");
    if (refusal !== undefined) return Promise.reject(refusal);
    const before = this.#store.writeAccepted().nextSequence;
    return this.#takeTurn(() => this.#emit(before));
  }

  /** Drops the batch in flight; see {@linkcode RecordBuffer.commit}. */
  async commit(batch?: Batch<T>): Promise<void> {
    const refusal = this.#refusal("commit");
    if (refusal !== undefined) throw refusal;
    await this.#takeTurn(() => this.#commit(batch));
    this.#admission.pump();
    this.#wake();
  }

  /** Waits for due batches and yields them; see {@linkcode RecordBuffer.batches}. */
  async *batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch<T>> {
    while (await this.#waitUntilDue(options)) {
      let batch: Batch<T>;
      try {
        batch = await this.emit();
      } catch (error) {
        // Somebody else took the records, or closed the buffer, in between.
        if (error instanceof BufferEmptyError || error instanceof BufferClosedError) continue;
        throw error;
      }
      yield batch;
    }
  }

  /** A stream that puts; see {@linkcode RecordBuffer.writable}. */
  writable(): WritableStream<T> {
    return new WritableStream<T>({
      write: async (record, controller) => {
        const refusal = this.#refusal("put");
        if (refusal !== undefined) return await this.#refuse(refusal);
        await this.#admission.put(record, controller.signal, true);
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
    const end = this.#store.writeAccepted();
    await this.#takeTurn(async () => {
      await this.#store.settle();
      await this.#store.saveCommit({ committed: end, resume: end, boundaries: [] });
      this.#inFlight = undefined;
      this.#goTo(end);
    });
    this.#admission.pump();
    this.#wake();
  }

  /** The figures of now; see {@linkcode BufferStats}. */
  stats(): BufferStats {
    const { committed, boundaries } = this.#store.commitState;
    const { end } = this.#store;
    const boundary = boundaries.at(-1) ?? committed;
    const pending = this.#pending();
    const age = pending.oldestPutTime === undefined ? this.#options.maxAgeMs : this.#time() - pending.oldestPutTime;
    return {
      pendingRecords: pending.records + boundary.nextSequence - committed.nextSequence,
      pendingBytes: pending.bytes + boundary.payloadBytes - committed.payloadBytes,
      backlogBytes: this.#backlogBytes(),
      inFlightRecords: boundary.nextSequence - committed.nextSequence,
      oldestAgeMs: pending.records > 0 ? Math.max(0, age) : 0,
      ...this.#store.figures(),
      puts: end.nextSequence - this.#startSequence,
      batchesEmitted: this.#batchesEmitted,
      batchesCommitted: this.#batchesCommitted,
      batchesRedelivered: this.#batchesRedelivered,
      rejected: this.#rejected,
      dropped: this.#dropped,
      lastProgressAt: this.#lastProgressAt,
    };
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
    await this.#takeTurn(() => this.#store.close());
  }

  /** Why nothing can be done now, if so. */
  #refusal(verb: string): Error | undefined {
    if (this.#closing !== undefined) return new BufferClosedError(verb);
    if (this.#store.failure !== undefined) return this.#store.failure;
    if (!this.#admission.isEncoding) return undefined;
    return new TypeError(`Cannot ${verb}: a codec, or a record's toJSON(), is at work`);
  }

  #refuse<R>(refusal: Error): Promise<R> {
    this.#rejected++;
    return Promise.reject(refusal);
  }

  /** Runs `action` when all before it have ended. */
  #takeTurn<R>(action: () => Promise<R>): Promise<R> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** What is neither committed nor in flight nor dropped. */
  #pending(): Pending {
    const { end } = this.#store;
    const { resume } = this.#store.commitState;
    return {
      records: end.nextSequence - resume.nextSequence - this.#store.lostFrom(resume.nextSequence),
      // Where records were lost, the totals can be off until the reader is past that place.
      bytes: Math.max(0, end.payloadBytes - resume.payloadBytes),
      oldestPutTime: this.#oldestPutTime,
    };
  }

  #backlogBytes(): number {
    const { committed, resume, boundaries } = this.#store.commitState;
    const boundary = boundaries.at(-1) ?? committed;
    return this.#store.acceptedLogBytes - resume.logBytes + boundary.logBytes - committed.logBytes;
  }

  async #emit(before: number): Promise<Batch<T>> {
    // Only what has to be waited for is: a small batch costs little more than its promises.
    const inFlight = this.#store.commitState.boundaries.length > 0 ? await this.#redeliver() : undefined;
    if (inFlight !== undefined) return inFlight;
    const settling = isFull(this.#pending(), this.#options) ? undefined : this.#store.settle();
    if (settling !== undefined) await settling;
    const { maxRecords, maxBytes } = this.#options;
    const data = await this.#read({ maxRecords, maxBytes, before, mayEndEarly: true });
    if (data === undefined) throw new BufferEmptyError();
    const batch = new Batch(this.#describe(data), this.#options.codec, false);
    const { resume } = this.#store.commitState;
    try {
      const securing = this.#store.secure(data.end.nextSequence);
      if (securing !== undefined) await securing;
      const resumeAt = this.#resumeBehind(data.end);
      const saving = this.#store.saveCommit({ committed: resume, resume: resumeAt, boundaries: [data.end] });
      if (saving !== undefined) await saving;
    } catch (error) {
      this.#store.seek(resume);
      throw error;
    }
    this.#batchesEmitted++;
    return this.#handOver(batch, data);
  }

  /** The batch that is in flight, or was when the process before ended, with the end that it had then. */
  async #redeliver(): Promise<Batch<T> | undefined> {
    for (;;) {
      const { committed, resume, boundaries } = this.#store.commitState;
      if (boundaries.length === 0) return undefined;
      this.#store.seek(committed);
      const before = boundaries[0].nextSequence;
      const data = await this.#store.read({
        maxRecords: Infinity,
        maxBytes: Infinity,
        before,
        mayEndEarly: false,
      });
      if (data !== undefined) {
        await this.#store.secure(data.end.nextSequence);
        this.#batchesRedelivered++;
        return this.#handOver(new Batch(this.#describe(data), this.#options.codec, true), data);
      }
      // None of its records is left. What was found to be missing behind it need not be found again.
      const rest = boundaries.slice(1);
      const { position } = this.#store;
      const next = position.nextSequence > resume.nextSequence ? position : resume;
      await this.#store.saveCommit({
        committed: rest.length > 0 ? boundaries[0] : next,
        resume: next,
        boundaries: rest,
      });
      if (rest.length === 0) this.#goTo(next);
      this.#admission.pump();
    }
  }

  /** Where to go on behind a batch: at the end of the log, if all that follows is known to be missing. */
  #resumeBehind(position: LogPosition): LogPosition {
    const { end } = this.#store;
    const rest = end.nextSequence - position.nextSequence;
    return rest > 0 && rest === this.#store.lostFrom(position.nextSequence) ? end : position;
  }

  #handOver(batch: Batch<T>, data: ReadBatch): Batch<T> {
    this.#inFlight = { id: batch.id, end: data.end };
    this.#lastProgressAt = this.#time();
    this.#goTo(this.#store.commitState.resume);
    return batch;
  }

  #describe(data: ReadBatch): ReadBatch & { readonly uuid: string } {
    return { ...data, uuid: this.#store.uuid };
  }

  /** Reads from `resume` on; if only unreadable records were there, goes past them for good. */
  async #read(limits: ReadLimits): Promise<ReadBatch | undefined> {
    const { resume, boundaries, committed } = this.#store.commitState;
    this.#store.seek(resume);
    const data = await this.#store.read(limits);
    const { position } = this.#store;
    if (data === undefined && position.nextSequence > resume.nextSequence) {
      const isIdle = boundaries.length === 0;
      await this.#store.saveCommit({ committed: isIdle ? position : committed, resume: position, boundaries });
      // What can't be read takes no room any more.
      this.#admission.pump();
    }
    return data;
  }

  /** Makes `position` the place where the next batch begins. */
  #goTo(position: LogPosition): void {
    this.#store.seek(position);
    const putTime = this.#store.nextPutTime();
    // Stamped by a process whose clock was ahead of ours: its age counts from the time we opened.
    const isAhead = putTime !== undefined && position.nextSequence < this.#startSequence && putTime > this.#openedAt;
    this.#oldestPutTime = isAhead ? this.#openedAt : putTime;
  }

  async #commit(batch: Batch<T> | undefined): Promise<void> {
    const inFlight = this.#inFlight;
    if (inFlight === undefined || (batch !== undefined && batch.id !== inFlight.id)) {
      throw new BatchMismatchError({ actual: batch?.id, expected: inFlight?.id });
    }
    const { resume, boundaries } = this.#store.commitState;
    const { end } = inFlight;
    // After damage, a recovered batch can come in pieces: what is left of it keeps its end.
    const rest = boundaries.filter(({ nextSequence }) => nextSequence > end.nextSequence);
    const committed = rest.length > 0 ? end : resume;
    const saving = this.#store.saveCommit({ committed, resume, boundaries: rest });
    if (saving !== undefined) await saving;
    this.#inFlight = undefined;
    this.#batchesCommitted++;
    this.#lastProgressAt = this.#time();
  }

  async #dropOldest(isWanted: () => boolean): Promise<boolean> {
    if (this.#closing !== undefined || !isWanted()) return false;
    await this.#store.settle();
    const { maxRecords, maxBytes } = this.#options;
    const data = await this.#read({ maxRecords, maxBytes, before: Infinity, mayEndEarly: true });
    if (data === undefined) return false;
    const { committed, resume, boundaries } = this.#store.commitState;
    try {
      const isIdle = boundaries.length === 0;
      const next = this.#resumeBehind(data.end);
      await this.#store.saveCommit({ committed: isIdle ? next : committed, resume: next, boundaries });
    } catch (error) {
      this.#store.seek(resume);
      throw error;
    }
    this.#dropped += data.count;
    this.#goTo(this.#store.commitState.resume);
    this.#options.tell({
      type: "drop",
      sequences: { first: data.firstSequence, last: data.firstSequence + data.count - 1 },
      records: data.count,
      bytes: data.payloadBytes,
    });
    return true;
  }

  /** Resolves with true when a batch is due, with false when no more will come. */
  async #waitUntilDue({ signal, flush = false }: BatchesOptions): Promise<boolean> {
    if (flush && this.#refusal("emit") === undefined) {
      this.#store.writeAccepted();
      await this.#store.settle();
    }
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closing !== undefined) return false;
      if (this.#store.failure !== undefined) throw this.#store.failure;
      if (this.shouldEmit()) return true;
      if (flush) return this.#pending().records > 0;
      await this.#nextChange(signal);
    }
  }

  /** Resolves when something has changed, or the oldest record has come of age. */
  #nextChange(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const delayMs = msUntilOld(this.#pending(), this.#options, this.#time());
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
      this.#waiters.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  #onVisible(putTime: number): void {
    this.#lastProgressAt = putTime;
    if (this.#seenSequence <= this.#store.commitState.resume.nextSequence) this.#oldestPutTime = putTime;
    this.#seenSequence = this.#store.end.nextSequence;
    if (this.#waiters.size > 0) this.#wake();
  }

  #onRejected(puts: number): void {
    this.#rejected += puts;
    // The backlog is smaller again, so whoever waits may fit; not from within the write that has just failed.
    queueMicrotask(() => {
      if (this.#closing === undefined && this.#store.failure === undefined) this.#admission.pump();
    });
  }

  #onFailed(error: BufferFailedError): void {
    this.#options.tell({ type: "failed", error });
    this.#admission.rejectAll(error);
    this.#wake();
  }
}
