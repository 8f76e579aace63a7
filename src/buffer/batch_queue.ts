/**
 * The reading side of a buffer: cuts batches, hands them over, and drops what is committed.
 *
 * Guarantees, and how:
 * - A batch's end is saved before the batch is handed over, and a commit before it is acknowledged. If saving fails,
 *   nothing has changed: every read begins where the saved state says.
 * - Batches are committed in the order in which they were handed over, so one position says all that is committed.
 * - A batch is never held here: one that is asked for again is read again, up to the end that was saved.
 * - While it isn't known yet how old the oldest record is, because the store has to look, no batch is due by age.
 *
 * All of it is for one caller at a time; `base_buffer.ts` makes them take turns. What needs no wait, such as a full batch
 * that has just been written, is answered without a promise, and on the way there without a closure: both would be a
 * measurable part of a small batch.
 *
 * @module
 */

import { andThen, type MaybePromise } from "../base/maybe_promise.ts";
import { BatchMismatchError, BufferEmptyError, NoBatchBehindError } from "../errors/mod.ts";
import type { CommitState, LogPosition } from "../wal/position.ts";
import type { ReadBatch, ReadLimits, ReadResult } from "../wal/reader/log_view.ts";
import { Batch, type BatchContext, batchId } from "./batch.ts";
import { isDue, isFull, msUntilOld, type Pending } from "./batch_limits.ts";
import type { BufferStats } from "./events.ts";
import { type InFlight, type InFlightAmount, measureInFlight, NOTHING_IN_FLIGHT } from "./in_flight.ts";
import type { ResolvedOptions } from "./options.ts";
import type { EmitOptions } from "./record_buffer.ts";
import { RecordExpiry } from "./record_expiry.ts";
import type { RecordStore } from "./record_store.ts";

/** The most batches in flight: as many ends as the cursor has room for, and one for a batch in pieces. */
const MAX_IN_FLIGHT = 16;

const NO_BOUNDARIES: readonly LogPosition[] = [];

/** Figures of {@linkcode BufferStats} that only the queue knows. */
type BatchQueueFigures = Pick<
  BufferStats,
  "batchesEmitted" | "batchesCommitted" | "batchesRedelivered" | "dropped" | "expired"
>;

/** What a {@linkcode BatchQueue} needs of its buffer. */
export interface BatchQueueDeps {
  /** The buffer's own time, in which ages are counted. */
  readonly time: () => number;
  /** There is more room in the backlog. */
  readonly onRoom: () => void;
  /** A new batch is in flight: until it is committed, it is due again. */
  readonly onHandedOver: () => void;
  /** A store that had to look has told how old the oldest record is. */
  readonly onAgeKnown: () => void;
}

/** What a new batch may hold. */
interface CutLimits extends ReadLimits {
  /** Whether records that have expired are dropped. */
  readonly drops: boolean;
}

/** Hands over the batches of one buffer. */
export class BatchQueue<T> {
  readonly #store: RecordStore;
  readonly #options: ResolvedOptions<T, never>;
  readonly #host: BatchQueueDeps;
  readonly #startSequence: number;
  readonly #openedAt: number;
  /** Only with `maxRecordAgeMs`. */
  readonly #expiry: RecordExpiry | undefined;
  /** What a batch knows that is handed over for the first time, and what one that was before. */
  readonly #new: BatchContext<T>;
  readonly #again: BatchContext<T>;
  /** In order. What an earlier process has handed over is not among them, but in the store's boundaries. */
  #inFlight: readonly InFlight[] = [];
  /** What that came to when it was last asked for, and for which state. */
  #measured: { state: CommitState; batches: readonly InFlight[]; amount: InFlightAmount } | undefined;
  /** When the first record behind `resume` was put; `undefined` if there is none or it isn't known. */
  #oldestPutTime: number | undefined;
  /** Resolves when that is known; `undefined` if it is. */
  #lookup: Promise<void> | undefined;
  #progressAt: number;
  readonly #figures = { batchesEmitted: 0, batchesCommitted: 0, batchesRedelivered: 0, dropped: 0, expired: 0 };

  /** For one buffer, which goes on where the store's commit state says. */
  constructor(store: RecordStore, options: ResolvedOptions<T, never>, host: BatchQueueDeps) {
    this.#store = store;
    this.#options = options;
    this.#host = host;
    this.#startSequence = store.ends.acknowledged.nextSequence;
    this.#openedAt = this.#progressAt = host.time();
    const { maxRecordAgeMs } = options;
    if (maxRecordAgeMs < Infinity) {
      const { reader } = store;
      const [startSequence, openedAt] = [this.#startSequence, this.#openedAt];
      this.#expiry = new RecordExpiry({ maxRecordAgeMs, time: host.time, reader, startSequence, openedAt });
    }
    this.#new = { uuid: store.uuid, codec: options.codec, redelivered: false, expiry: this.#expiry };
    this.#again = { ...this.#new, redelivered: true };
    void this.#goTo(store.commitState.resume);
  }

  /** Figures for `stats()`. */
  get figures(): BatchQueueFigures {
    return this.#figures;
  }

  /** When a batch was last handed over or committed, or else when the buffer was opened. */
  get progressAt(): number {
    return this.#progressAt;
  }

  /** What is neither committed nor in flight nor dropped. */
  get pending(): Pending {
    const { acknowledged: end } = this.#store.ends;
    const { resume } = this.#store.commitState;
    return {
      records: end.nextSequence - resume.nextSequence - this.#store.reader.missingFrom(resume.nextSequence),
      // Where records were lost, the totals count them until the reader is past that place.
      bytes: end.payloadBytes - resume.payloadBytes,
      oldestPutTime: this.#oldestPutTime,
    };
  }

  /**
   * What is in flight: of batches that this process has handed over, what is in them; of the others, what is between their
   * ends. What can't be read between two batches counts with neither.
   */
  get inFlight(): InFlightAmount {
    const state = this.#store.commitState;
    // Asked for at every put.
    if (state.boundaries.length === 0) return NOTHING_IN_FLIGHT;
    const batches = this.#inFlight;
    if (this.#measured?.state === state && this.#measured.batches === batches) return this.#measured.amount;
    const amount = measureInFlight(batches, state, this.#store.reader);
    this.#measured = { state, batches, amount };
    return amount;
  }

  /**
   * Whether a batch may be cut at `resume` now. Behind records that were dropped while others were in flight it may not: on
   * disk a batch begins where the one before it ends.
   */
  get mayCut(): boolean {
    const { resume, boundaries } = this.#store.commitState;
    const last = boundaries.at(-1);
    return last === undefined || (boundaries.length < MAX_IN_FLIGHT && last.nextSequence === resume.nextSequence);
  }

  /** Whether the batch behind `after`, or the oldest, is due. */
  isDue(after: Batch<T> | undefined): boolean {
    if (this.#boundaryBehind(this.#endOf(after, "wait")) !== undefined) return true;
    if (!this.mayCut) return false;
    const { pending } = this;
    if (pending.records <= 0) return false;
    // To ask for the time costs more than all the rest.
    if (isFull(pending, this.#options)) return true;
    return this.#lookup === undefined && isDue(pending, this.#options, this.#host.time());
  }

  /** How long until what is pending is old enough; `undefined` if no batch may be cut then, or that isn't known yet. */
  get msUntilOld(): number | undefined {
    if (!this.mayCut || this.#lookup !== undefined) return undefined;
    return msUntilOld(this.pending, this.#options, this.#host.time());
  }

  /** Whether this process has handed over `batch`, and it is not committed. */
  isInFlight(batch: Batch<T>): boolean {
    return this.#inFlight.some((one) => isBatch(batch, one));
  }

  /** The first record of those that come next was put at `putTime`. */
  onFirstPut(putTime: number): void {
    this.#lookup = undefined;
    this.#oldestPutTime = putTime;
  }

  /** Hands over the oldest batch, or the one behind `after`; if none is full, no record at or behind `before`. */
  emit(before: number, { after, expired = "drop" }: EmitOptions<T>): MaybePromise<Batch<T>> {
    const start = this.#endOf(after, "emit");
    const { maxRecords, maxBytes } = this.#options;
    const limits = { maxRecords, maxBytes, before, mayEndEarly: true, drops: expired === "drop" };
    return this.#boundaryBehind(start) === undefined ? this.#cut(limits) : this.#emitAgain(limits, start);
  }

  /** Drops the oldest batch in flight, which has to be `batch` if one is given. */
  commit(batch: Batch<T> | undefined): MaybePromise<void> {
    const oldest = this.#inFlight.at(0);
    if (oldest === undefined || (batch !== undefined && !isBatch(batch, oldest))) {
      const expected = oldest && batchId(oldest);
      throw new BatchMismatchError({ operation: "commit", actual: batch?.id, expected });
    }
    const { resume, boundaries } = this.#store.commitState;
    const { end } = oldest;
    // After damage, a recovered batch can come in pieces: what is left of it keeps its end.
    const left = boundaries.findIndex(({ nextSequence }) => nextSequence > end.nextSequence);
    const rest = left < 0 ? NO_BOUNDARIES : boundaries.slice(left);
    const saving = this.#store.saveCommit({ committed: rest.length > 0 ? end : resume, resume, boundaries: rest });
    return saving instanceof Promise ? this.#noteLater(saving) : this.#noteCommitted();
  }

  async #noteLater(saving: Promise<void>): Promise<void> {
    await saving;
    this.#noteCommitted();
  }

  #noteCommitted(): void {
    this.#inFlight = this.#inFlight.slice(1);
    this.#figures.batchesCommitted++;
    this.#progressAt = this.#host.time();
    this.#host.onRoom();
  }

  /** Drops the oldest batch that is not in flight; false if there is none. */
  async drop(): Promise<boolean> {
    await this.#store.appender.awaitAcknowledged();
    const { maxRecords, maxBytes } = this.#options;
    const limits = { maxRecords, maxBytes, before: Infinity, mayEndEarly: true };
    const { batch: data, next: found } = await this.#store.reader.read(this.#store.commitState.resume, limits);
    if (data === undefined) {
      await this.#passLost(found);
      return false;
    }
    await this.#dropRead(data, "backlog-full");
    return true;
  }

  /** Drops what was read at `resume`. */
  async #dropRead(data: ReadBatch, reason: "backlog-full" | "expired"): Promise<void> {
    const next = this.#resumeAfter(data.end);
    await this.#saveResume(next);
    this.#figures[reason === "expired" ? "expired" : "dropped"] += data.count;
    await this.#goTo(next);
    this.#options.listeners.tell({
      type: "records-dropped",
      reason,
      sequences: { first: data.firstSequence, last: data.firstSequence + data.count - 1 },
      records: data.count,
      bytes: data.payloadBytes,
    });
  }

  /** Drops everything up to `accepted`, in flight or not. */
  async clear(accepted: LogPosition): Promise<void> {
    await this.#store.appender.awaitAcknowledged();
    // What was rejected meanwhile is not there.
    const { acknowledged } = this.#store.ends;
    const end = accepted.nextSequence < acknowledged.nextSequence ? accepted : acknowledged;
    await this.#store.saveCommit({ committed: end, resume: end, boundaries: [] });
    this.#inFlight = [];
    await this.#goTo(end);
  }

  /**
   * Where the batch behind `after` begins. One that is committed meanwhile has nothing in flight before it, so the oldest
   * is the one behind it.
   */
  #endOf(after: Batch<T> | undefined, operation: "emit" | "wait"): LogPosition {
    const { committed } = this.#store.commitState;
    if (after === undefined) return committed;
    const found = this.#inFlight.find((one) => isBatch(after, one));
    if (found !== undefined) return found.end;
    if (after.lastSequence < committed.nextSequence) return committed;
    const expected = this.#inFlight.at(-1);
    throw new BatchMismatchError({ operation, actual: after.id, expected: expected && batchId(expected) });
  }

  /** The end of the batch that begins at `start`, if it was handed over before. */
  #boundaryBehind(start: LogPosition): LogPosition | undefined {
    for (const boundary of this.#store.commitState.boundaries) {
      if (boundary.nextSequence > start.nextSequence) return boundary;
    }
    return undefined;
  }

  /** Cuts a new batch. */
  #cut(limits: CutLimits): MaybePromise<Batch<T>> {
    if (!this.mayCut) throw this.#noBatch();
    if (isFull(this.pending, this.#options)) return this.#readNew(limits);
    return andThen(this.#store.appender.awaitAcknowledged(), () => this.#readNew(limits));
  }

  #readNew(limits: CutLimits): MaybePromise<Batch<T>> {
    const result = this.#store.reader.read(this.#store.commitState.resume, limits);
    return result instanceof Promise ? this.#takeLater(result, limits) : this.#takeNew(result, limits);
  }

  async #takeLater(reading: Promise<ReadResult>, limits: CutLimits): Promise<Batch<T>> {
    return await this.#takeNew(await reading, limits);
  }

  #takeNew({ batch: data, next }: ReadResult, limits: CutLimits): MaybePromise<Batch<T>> {
    if (data === undefined) {
      return andThen(this.#passLost(next), () => {
        throw this.#noBatch();
      });
    }
    const expired = limits.drops ? this.#expiry?.countIn(data) ?? 0 : 0;
    return expired > 0 ? this.#dropExpired(data, expired, limits) : this.#handOverNew(data);
  }

  /** Drops the first records of what was read, which have expired, and looks for a batch behind them. */
  async #dropExpired(data: ReadBatch, expired: number, limits: CutLimits): Promise<Batch<T>> {
    const { resume } = this.#store.commitState;
    const { batch } = await this.#store.reader.read(resume, { ...limits, before: data.firstSequence + expired });
    await this.#dropRead(batch!, "expired");
    this.#host.onRoom();
    return await this.#cut(limits);
  }

  /** Why there is no batch to hand over now. */
  #noBatch(): Error {
    const inFlightBatches = this.#store.commitState.boundaries.length;
    if (inFlightBatches === 0) return new BufferEmptyError();
    const reason = this.mayCut ? "no-records" : inFlightBatches < MAX_IN_FLIGHT ? "dropped-records" : "in-flight-limit";
    // Only the batch behind the last one in flight is ever missing.
    const last = this.#inFlight.at(-1);
    return new NoBatchBehindError({ reason, batchId: last && batchId(last), inFlightBatches });
  }

  /** Makes the records of a new batch as durable as they have to be, saves its end, and only then gives it out. */
  #handOverNew(data: ReadBatch): MaybePromise<Batch<T>> {
    const securing = this.#store.ensureDurable(data.end.nextSequence);
    return securing instanceof Promise ? this.#saveEndLater(securing, data) : this.#saveEnd(data);
  }

  async #saveEndLater(securing: Promise<void>, data: ReadBatch): Promise<Batch<T>> {
    await securing;
    return await this.#saveEnd(data);
  }

  #saveEnd(data: ReadBatch): MaybePromise<Batch<T>> {
    const { committed, resume, boundaries } = this.#store.commitState;
    const hasPassed = data.start.nextSequence > resume.nextSequence;
    const saving = this.#store.saveCommit({
      // Behind what couldn't be read on the way there, which takes no room any more.
      committed: boundaries.length === 0 ? data.start : committed,
      resume: this.#resumeAfter(data.end),
      boundaries: [...boundaries, data.end],
    });
    return saving instanceof Promise
      ? this.#handOverLater(saving, data, hasPassed)
      : this.#handOverSaved(data, hasPassed);
  }

  async #handOverLater(saving: Promise<void>, data: ReadBatch, hasPassed: boolean): Promise<Batch<T>> {
    await saving;
    return await this.#handOverSaved(data, hasPassed);
  }

  #handOverSaved(data: ReadBatch, hasPassed: boolean): MaybePromise<Batch<T>> {
    this.#figures.batchesEmitted++;
    const batch = this.#handOver(data, this.#new);
    this.#host.onHandedOver();
    if (hasPassed) this.#host.onRoom();
    return batch;
  }

  /** The batch that begins at `start`, with the end that it had when it was handed over before. */
  async #emitAgain(again: CutLimits, start: LogPosition): Promise<Batch<T>> {
    for (;;) {
      const boundary = this.#boundaryBehind(start);
      if (boundary === undefined) return await this.#cut(again);
      const limits = { maxRecords: Infinity, maxBytes: Infinity, before: boundary.nextSequence, mayEndEarly: false };
      const { batch, next } = await this.#store.reader.read(start, limits);
      if (batch !== undefined) {
        await this.#store.ensureDurable(batch.end.nextSequence);
        this.#figures.batchesRedelivered++;
        return await this.#handOver(batch, this.#again);
      }
      await this.#forgetLost(boundary, start, next);
      const { committed } = this.#store.commitState;
      if (committed.nextSequence > start.nextSequence) start = committed;
    }
  }

  /**
   * None of the records from `start` up to `boundary` is left, and what is there is at `found`: there is no such batch, or
   * no more of it.
   */
  async #forgetLost(boundary: LogPosition, start: LogPosition, found: LogPosition): Promise<void> {
    const { committed, resume, boundaries } = this.#store.commitState;
    const index = boundaries.indexOf(boundary);
    const begin = boundaries[index - 1] ?? committed;
    // A piece of it that is in flight must come back until it is committed: the batch ends behind it from now on.
    const pieces = start.nextSequence > begin.nextSequence ? [start] : [];
    const rest = [...boundaries.slice(0, index), ...pieces, ...boundaries.slice(index + 1)];
    // What was found to be missing behind it need not be found again.
    const next = found.nextSequence > resume.nextSequence ? found : resume;
    const hasNoneBefore = index === 0 && pieces.length === 0;
    await this.#store.saveCommit({
      committed: !hasNoneBefore ? committed : rest.length > 0 ? boundary : next,
      resume: next,
      boundaries: rest,
    });
    // What this process has handed over of it can't be committed any more, and holds up nothing.
    this.#inFlight = this.#inFlight.filter(({ end }) => {
      return end.nextSequence <= start.nextSequence || end.nextSequence > boundary.nextSequence;
    });
    if (rest.length === 0) await this.#goTo(next);
    this.#host.onRoom();
  }

  #handOver(data: ReadBatch, context: BatchContext<T>): MaybePromise<Batch<T>> {
    const { firstSequence, checksum, start, end } = data;
    const lastSequence = firstSequence + data.count - 1;
    const entry: InFlight = { uuid: context.uuid, checksum, firstSequence, lastSequence, start, end };
    const batch = new Batch(data, entry, context);
    if (this.#inFlight.length === 0) this.#inFlight = [entry];
    else {
      // One that was handed over whole, and of which only pieces are left by now, is neither.
      const before = this.#inFlight.filter((one) => one.end.nextSequence <= start.nextSequence);
      const behind = this.#inFlight.filter((one) => one.start.nextSequence >= end.nextSequence);
      this.#inFlight = [...before, entry, ...behind];
    }
    this.#progressAt = this.#host.time();
    const lookup = this.#goTo(this.#store.commitState.resume);
    return lookup instanceof Promise ? this.#giveLater(lookup, batch) : batch;
  }

  async #giveLater(lookup: Promise<void>, batch: Batch<T>): Promise<Batch<T>> {
    await lookup;
    return batch;
  }

  /** Where to go on behind a batch: at the end of the log, if all that follows is known to be missing. */
  #resumeAfter(position: LogPosition): LogPosition {
    const { acknowledged: end } = this.#store.ends;
    const rest = end.nextSequence - position.nextSequence;
    return rest > 0 && rest === this.#store.reader.missingFrom(position.nextSequence) ? end : position;
  }

  /** There is no record from `resume` on up to `next`, if that is behind it: goes past the place for good. */
  #passLost(next: LogPosition): MaybePromise<void> {
    if (next.nextSequence <= this.#store.commitState.resume.nextSequence) return undefined;
    // What can't be read takes no room any more.
    return andThen(this.#saveResume(next), () => this.#host.onRoom());
  }

  /** Saves that the next batch begins at `resume`. If nothing is in flight, everything before it is committed. */
  #saveResume(resume: LogPosition): MaybePromise<void> {
    const { committed, boundaries } = this.#store.commitState;
    return this.#store.saveCommit({ committed: boundaries.length === 0 ? resume : committed, resume, boundaries });
  }

  /** The next batch begins at `position`: finds out how old its first record is. */
  #goTo(position: LogPosition): MaybePromise<void> {
    const putTime = this.#store.reader.putTimeAt(position);
    if (!(putTime instanceof Promise)) return this.#setOldest(position, putTime);
    const lookup = putTime.then((found) => {
      // Meanwhile there may have been a first put, or another position.
      if (this.#lookup !== lookup) return;
      this.#setOldest(position, found);
      this.#host.onAgeKnown();
    });
    this.#lookup = lookup;
    return lookup;
  }

  #setOldest(position: LogPosition, putTime: number | undefined): void {
    this.#lookup = undefined;
    // Stamped by a process whose clock was ahead of ours: its age counts from the time we opened.
    const isAhead = putTime !== undefined && position.nextSequence < this.#startSequence && putTime > this.#openedAt;
    this.#oldestPutTime = isAhead ? this.#openedAt : putTime;
  }
}

/** Whether it is the batch that is in flight; something else with its id will do. To make ids takes longer than to commit. */
function isBatch(batch: Batch<unknown>, inFlight: InFlight): boolean {
  const isObject = typeof batch === "object" && batch !== null;
  return (isObject && Batch.identityOf(batch) === inFlight) || batch.id === batchId(inFlight);
}
