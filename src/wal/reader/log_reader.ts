/**
 * Reads batches out of a log: the records from any position on, across segments.
 *
 * Guarantees: the answer depends on the position and on the log, never on what was read before. Records come in order,
 * each once, and only when they are acknowledged. What can't be read is quarantined and reported before any later record is
 * delivered, or refused, as `onDamage` says. A gap ends a batch, so the sequences in a batch are consecutive; so does a change
 * of the codec's version. A long batch yields to the event loop every 256 KiB, and every 16 segments that it opens.
 *
 * A read that continues where the last batch ended needs no search. Memory: the batch that is being read and the segment
 * reader's chunk.
 *
 * @module
 */

import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { addFrameChecksum, RECORD_HEADER_BYTES } from "../format.ts";
import type { LogPosition } from "../position.ts";
import type { PutTimes } from "../put_times.ts";
import type { LostSequences } from "../recovery/lost_sequences.ts";
import { BatchArena, BatchBuilder } from "./batch_builder.ts";
import { FrameSource, type FrameSourceDeps } from "./frame_source.ts";
import type { ReadBatch, ReadLimits, ReadResult } from "./log_view.ts";
import { SkippedRegions, type SkippedRegionsDeps } from "./skipped_regions.ts";

/**
 * The bytes that are read before the event loop gets a turn. Often enough for V8 to collect young garbage in a turn, when nothing
 * of the batch before is alive. Where it has to do so while a batch is decoded, records survive, and by these it sizes its heap:
 * a drain took 95 MB more.
 */
const TURN_BYTES = 256 * 1024;
/** What each segment counts in addition, for the time that opening one takes. */
const COST_OF_SEGMENT_BYTES = 16 * 1024;
/** What each batch counts in addition. */
const COST_OF_BATCH_BYTES = 1024;
/** Bounds of a batch's initial memory, which grows if necessary. */
const MIN_BATCH_BYTES = 64;
const MAX_GUESSED_BYTES = 2 * 1024 * 1024;

export interface LogReaderDeps extends SkippedRegionsDeps, FrameSourceDeps {
  /** The sequences that recovery found missing. */
  readonly lost: LostSequences;
  readonly putTimes: PutTimes;
}

/** Reads batches. Overlapping calls are answered one after the other. */
export class LogReader {
  readonly #deps: LogReaderDeps;
  readonly #skipped: SkippedRegions;
  readonly #frames: FrameSource;
  /**
   * The position of `#frames`: a read from here needs no search. Meaningless while nothing is open. Changed in place, because
   * it moves with every frame; only copies of it are given out.
   */
  readonly #position: { -readonly [K in keyof LogPosition]: LogPosition[K] };
  /** The sequence that the running read stays below. */
  #before = 0;
  /** Resolves when the running read has ended; `undefined` if none is running. */
  #reading: Promise<void> | undefined;
  readonly #arena = new BatchArena();
  readonly #budget = new YieldBudget(TURN_BYTES);

  constructor(deps: LogReaderDeps) {
    this.#deps = deps;
    this.#position = { ...deps.view.ends.acknowledged };
    this.#skipped = new SkippedRegions(deps);
    this.#frames = new FrameSource(deps, this.#skipped);
  }

  /** Takes frames that were just written to a segment at `position`: a consumer that keeps up need not read the file. */
  offer(name: string, position: number, bytes: Uint8Array): void {
    this.#frames.offer(name, position, bytes);
  }

  /** Closes the file; the next call opens it again. */
  close(): void {
    this.#frames.close();
    this.#skipped.clear();
  }

  /** How many of the sequences from `next` on, and below `before`, are known to be missing. */
  missingFrom(next: number, before = Infinity): number {
    const { lost } = this.#deps;
    return lost.countFrom(next) - (before === Infinity ? 0 : lost.countFrom(before));
  }

  /**
   * Reads the records from a position on, as many as the limits and the gaps allow; at least one, however long, if any is
   * left.
   *
   * @throws {DamagedLogError} if what follows is damaged and `onDamage` is `"fail"`.
   */
  read(from: LogPosition, limits: ReadLimits): MaybePromise<ReadResult> {
    if (this.#reading !== undefined) return this.#readLater(this.#reading, from, limits);
    this.#goTo(from);
    const batch = this.#read(limits);
    return batch instanceof Promise ? this.#finishReading(batch) : this.#toResult(batch);
  }

  async #readLater(reading: Promise<void>, from: LogPosition, limits: ReadLimits): Promise<ReadResult> {
    await reading;
    return await this.read(from, limits);
  }

  /** Keeps other calls waiting until `batch` is there. */
  #finishReading(batch: Promise<ReadBatch | undefined>): Promise<ReadResult> {
    const end = (): void => {
      this.#reading = undefined;
    };
    this.#reading = batch.then(end, end);
    return batch.then((found) => this.#toResult(found));
  }

  #toResult(batch: ReadBatch | undefined): ReadResult {
    return { batch, next: batch?.end ?? this.#copyPosition() };
  }

  /** When the record at a position was put, in the buffer's own time; `undefined` if there is none or it can't be read. */
  putTimeAt(position: LogPosition): MaybePromise<number | undefined> {
    if (this.#reading !== undefined) return this.#reading.then(() => this.putTimeAt(position));
    this.#goTo(position);
    const { acknowledged } = this.#deps.view.ends;
    try {
      if (this.#frames.frame === undefined && position.nextSequence < acknowledged.nextSequence) {
        this.#frames.advance(position);
      }
    } catch {
      // The read that follows meets the same error, and reports it.
      this.close();
    }
    const { frame } = this.#frames;
    return frame && this.#deps.putTimes.timeOf(frame.firstSequence, frame.putTime);
  }

  /** When the record with `sequence` was put, in the buffer's own time, if the log says `putTime`. */
  timeOf(sequence: number, putTime: number): number {
    return this.#deps.putTimes.timeOf(sequence, putTime);
  }

  /** Goes to a position; the file stays open if it is the current one. */
  #goTo(position: LogPosition): void {
    if (position.nextSequence !== this.#position.nextSequence) this.close();
    this.#setPosition(position);
  }

  #copyPosition(): LogPosition {
    const { nextSequence, payloadBytes, logBytes } = this.#position;
    return { nextSequence, payloadBytes, logBytes };
  }

  #setPosition({ nextSequence, payloadBytes, logBytes }: LogPosition): void {
    this.#position.nextSequence = nextSequence;
    this.#position.payloadBytes = payloadBytes;
    this.#position.logBytes = logBytes;
  }

  #read(limits: ReadLimits): MaybePromise<ReadBatch | undefined> {
    this.#before = Math.min(limits.before, this.#deps.view.ends.acknowledged.nextSequence);
    try {
      if (this.#position.nextSequence >= this.#before) return undefined;
      if (this.#frames.frame === undefined) this.#frames.advance(this.#position);
      const batch = this.#hasSkipped() ? this.#readAfterSkipped(limits) : this.#readHere(limits);
      return batch instanceof Promise ? batch.catch((error) => this.#giveUp(error)) : batch;
    } catch (error) {
      return this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): never {
    this.close();
    throw error;
  }

  async #readAfterSkipped(limits: ReadLimits): Promise<ReadBatch | undefined> {
    await this.#settleSkipped();
    return await this.#readHere(limits);
  }

  #readHere(limits: ReadLimits): MaybePromise<ReadBatch | undefined> {
    if (this.#frames.frame === undefined || this.#position.nextSequence >= this.#before) return undefined;
    this.#correctTotals();
    const { codecVersion, isJson } = this.#frames.header;
    const start = { start: this.#copyPosition(), codecVersion, isJson };
    return this.#gather(new BatchBuilder(start, this.#guessBytes(limits), this.#arena), limits);
  }

  /** Collects records until a limit, a gap or the end. Returns a promise only if it has to wait. */
  #gather(builder: BatchBuilder, limits: ReadLimits): MaybePromise<ReadBatch> {
    const frames = this.#frames;
    for (;;) {
      const bytes = this.#take(builder, limits);
      const { sequence } = builder;
      if (frames.frame !== undefined || sequence >= this.#before || !this.#lookAhead(limits.mayEndEarly)) break;
      // A batch whose end is fixed continues past bytes that belong to no record.
      if (!limits.mayEndEarly && !this.#skipped.isEmpty && this.#firstAhead <= sequence) {
        return this.#gatherAfterSkipped(builder, limits);
      }
      if (!this.#joins(builder)) break;
      if (this.#budget.spend(bytes + this.#costOfOpened())) {
        return yieldToEventLoop().then(() => this.#gather(builder, limits));
      }
    }
    return this.#finish(builder);
  }

  /** The cost of the segments that were opened since the last call. */
  #costOfOpened(): number {
    return this.#frames.takeOpened() * COST_OF_SEGMENT_BYTES;
  }

  async #gatherAfterSkipped(builder: BatchBuilder, limits: ReadLimits): Promise<ReadBatch> {
    await this.#settleSkipped();
    return await (this.#joins(builder) ? this.#gather(builder, limits) : this.#finish(builder));
  }

  #finish(builder: BatchBuilder): MaybePromise<ReadBatch> {
    const batch = builder.toBatch(this.#copyPosition());
    const isTurnDue = this.#budget.spend(COST_OF_BATCH_BYTES + this.#costOfOpened());
    return isTurnDue || !this.#skipped.isEmpty ? this.#finishLater(batch, isTurnDue) : batch;
  }

  async #finishLater(batch: ReadBatch, isTurnDue: boolean): Promise<ReadBatch> {
    if (!this.#skipped.isEmpty) await this.#skipped.copy();
    if (isTurnDue) await yieldToEventLoop();
    return batch;
  }

  /** The memory that the batch needs if its records have the mean length of all that follow, or a little more. */
  #guessBytes({ maxRecords, maxBytes, before }: ReadLimits): number {
    const { acknowledged: end } = this.#deps.view.ends;
    const { nextSequence, payloadBytes } = this.#position;
    const records = end.nextSequence - nextSequence;
    const bytes = end.payloadBytes - payloadBytes + records * RECORD_HEADER_BYTES;
    const most = Math.min(maxRecords, before - nextSequence, records);
    const guess = Math.min(1.1 * bytes * most / records, bytes, maxBytes + most * RECORD_HEADER_BYTES);
    return Math.min(MAX_GUESSED_BYTES, Math.max(MIN_BATCH_BYTES, Math.ceil(guess) + 1));
  }

  /** Like `advance`. With `mayFail`, an error is left to the next read: the records before it can be delivered. */
  #lookAhead(mayFail: boolean): boolean {
    try {
      return this.#frames.advance(this.#position);
    } catch (error) {
      if (!mayFail) throw error;
      this.close();
      return false;
    }
  }

  /** At the start of a segment, takes the totals of its header, which also count what was lost before. Never lowers them. */
  #correctTotals(): void {
    if (!this.#frames.isAtSegmentStart) return;
    const { payloadBytesBefore: payloadBytes, logBytesBefore: logBytes } = this.#frames.header;
    this.#moveTo(this.#position.nextSequence, payloadBytes, logBytes);
  }

  /** Moves to a record, with the totals before it clamped between the current ones and those of the end: at the end, to those. */
  #moveTo(nextSequence: number, payloadBytes: number, logBytes: number): void {
    const at = this.#position;
    const { acknowledged: end } = this.#deps.view.ends;
    const isEnd = nextSequence === end.nextSequence;
    at.nextSequence = nextSequence;
    at.payloadBytes = isEnd ? end.payloadBytes : Math.min(Math.max(payloadBytes, at.payloadBytes), end.payloadBytes);
    at.logBytes = isEnd ? end.logBytes : Math.min(Math.max(logBytes, at.logBytes), end.logBytes);
  }

  /** Whether the current frame continues the batch, with nothing unreadable in between. */
  #joins(builder: BatchBuilder): boolean {
    const { header } = this.#frames;
    const isNext = this.#skipped.isEmpty && this.#firstAhead <= builder.sequence;
    if (!isNext || header.codecVersion !== builder.codecVersion) return false;
    builder.isJson &&= header.isJson;
    if (this.#frames.isAtSegmentStart) {
      const from = this.#copyPosition();
      this.#correctTotals();
      builder.shift(from, this.#position);
    }
    return true;
  }

  /** Moves records from the current frame to the batch, as many as fit; returns their bytes. */
  #take(builder: BatchBuilder, limits: ReadLimits): number {
    const frame = this.#frames.frame!;
    const { offset: from, index: first } = this.#frames;
    const isFirst = builder.records === 0;
    const most = first + limits.maxRecords - builder.records;
    const last = Math.min(frame.count, most, this.#before - frame.firstSequence);
    const { payloadBytes: before } = builder;
    let at = from;
    let index = first;
    builder.notePutTime(frame.putTime);
    while (index < last) {
      const length = frame.view.getUint32(at, true);
      const isAlone = isFirst && at === from;
      if (builder.payloadBytes + length > limits.maxBytes && !isAlone) break;
      builder.note(at - from, length);
      index++;
      at += RECORD_HEADER_BYTES + length;
    }
    if (at === from) return 0;
    builder.copy(frame.bytes, from, at);
    builder.checksum = addFrameChecksum(builder.checksum, frame.view, frame.offset);
    this.#frames.use(index, at);
    const payloadBytes = this.#position.payloadBytes + builder.payloadBytes - before;
    this.#moveTo(builder.sequence, payloadBytes, this.#frames.logBytes);
    return at - from;
  }

  /** Refuses what was skipped on the way to the current frame, or to the end; or quarantines it and goes past it. */
  async #settleSkipped(): Promise<void> {
    if (!this.#hasSkipped()) return;
    // Of now: what is put while this waits was not skipped.
    const { acknowledged: end } = this.#deps.view.ends;
    const next = this.#firstAhead;
    const { nextSequence } = this.#position;
    const missing = next > nextSequence ? { first: nextSequence, last: next - 1 } : undefined;
    await this.#skipped.settle(missing, this.#frames.gapAt(this.#position));
    // After the last record there is only one right position. Elsewhere the next segment corrects the totals.
    if (this.#frames.frame === undefined) this.#setPosition(end);
    else if (missing !== undefined) this.#moveTo(next, this.#position.payloadBytes, this.#frames.logBytes);
  }

  /** Whether bytes or records were skipped on the way to the current frame, or to the end of the log. */
  #hasSkipped(): boolean {
    return !this.#skipped.isEmpty || this.#firstAhead > this.#position.nextSequence;
  }

  /** The first sequence of the current frame; if there is none, the one after the end of the log. */
  get #firstAhead(): number {
    return this.#frames.frame?.firstSequence ?? this.#deps.view.ends.acknowledged.nextSequence;
  }
}
