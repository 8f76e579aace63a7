/**
 * Reads the log from a position on, across segments, a batch at a time.
 *
 * Guarantees: records come in order, each once, never one that isn't acknowledged yet; what can't be read is set aside and
 * reported before anything behind it is given out, or refused, as `onDamage` says. A gap ends a batch, so that the
 * sequences in a batch are consecutive, and so does a change of the codec's version. Memory: the batch that is being
 * read and the segment reader's chunk. A long batch gives the event loop a turn every MiB, and every 16 segments that it
 * opens.
 *
 * If a read fails, nothing has moved: the next call starts again where this one did.
 *
 * @module
 */

import { join } from "@std/path/join";
import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { overlapsRanges } from "../../base/sequences.ts";
import { UnsupportedVersionError } from "../../errors/mod.ts";
import { closeQuietly } from "../../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../../fs/file_system.ts";
import {
  addFrameChecksum,
  FRAME_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  type SegmentHeader,
} from "../format.ts";
import { segmentName } from "../names.ts";
import { clampPosition, type LogPosition } from "../position.ts";
import { headerMatches, readSegmentHeader, type Segment } from "../segment_files.ts";
import { type Frame, SegmentReader } from "../segment_reader.ts";
import { BatchArena, BatchBuilder } from "./batch_builder.ts";
import type { LogView, ReadBatch, ReadLimits } from "./log_view.ts";
import { type SkippedRegion, SkippedRegions, type SkippedRegionsDeps } from "./skipped_regions.ts";

/** After so many bytes the event loop gets a turn. */
const TURN_BYTES = 1024 * 1024;
/** What a segment, however short, counts besides: to open one costs as much as to read so much. */
const COST_OF_SEGMENT_BYTES = 64 * 1024;
/** What a batch, however small, counts besides. */
const COST_OF_BATCH_BYTES = 4096;
/** A batch's memory to begin with: at least, and at most; it grows if that isn't enough. */
const MIN_BATCH_BYTES = 64;
const MAX_GUESSED_BYTES = 256 * 1024;

/** What a {@linkcode LogReader} is made with. */
export interface LogReaderDeps extends SkippedRegionsDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly uuid: string;
  readonly view: LogView;
  /** Throws if the directory isn't ours any more. */
  readonly confirm: () => void;
}

/** A segment that is being read. */
interface OpenSegment {
  readonly segment: Segment;
  readonly handle: FileHandle;
  readonly header: SegmentHeader;
  readonly reader: SegmentReader;
  /** Where the segment behind begins; `undefined` as long as there is none. */
  next: number | undefined;
}

/** Reads batches. One call at a time. */
export class LogReader {
  readonly #options: LogReaderDeps;
  #position: LogPosition;
  #open: OpenSegment | undefined;
  /** The frame that holds the next record, and the next record in it: its number, and where its length stands. */
  #frame: Frame | undefined;
  #index = 0;
  #offset = 0;
  readonly #skipped: SkippedRegions;
  readonly #arena = new BatchArena();
  readonly #budget = new YieldBudget(TURN_BYTES);
  /** Segments opened since the last turn was asked for. */
  #opened = 0;

  /** Starts at `position`. */
  constructor(options: LogReaderDeps, position: LogPosition) {
    this.#options = options;
    this.#position = position;
    this.#skipped = new SkippedRegions(options);
  }

  /** Where the next batch begins. */
  get position(): LogPosition {
    return this.#position;
  }

  /**
   * Takes over what was just written to a segment at `position`, if that is the one being read: a consumer that keeps up
   * needs no call to read it back.
   */
  offer(name: string, position: number, bytes: Uint8Array): void {
    if (this.#open?.segment.name === name) this.#open.reader.offer(position, bytes, this.#frame === undefined);
  }

  /** Goes to a position; keeps its place in the file if it is there already. */
  seek(position: LogPosition): void {
    if (position.nextSequence !== this.#position.nextSequence) this.close();
    this.#position = position;
  }

  /** Lets go of the file; the next call opens it again. */
  close(): void {
    closeQuietly(this.#open?.handle);
    this.#open = undefined;
    this.#frame = undefined;
    this.#skipped.clear();
  }

  /**
   * Reads the records that follow, as many as the limits and the gaps allow; at least one, however long, if there is
   * one.
   *
   * @returns `undefined` if there is none.
   * @throws {DamagedLogError} if what follows is damaged and is to be refused.
   */
  read(limits: ReadLimits): MaybePromise<ReadBatch | undefined> {
    const { view } = this.#options;
    const before = Math.min(limits.before, view.end.nextSequence);
    try {
      if (this.#position.nextSequence >= before) return undefined;
      if (this.#frame === undefined) this.#advance();
      const { maxRecords, maxBytes, mayEndEarly } = limits;
      const bounded = { maxRecords, maxBytes, before, mayEndEarly };
      const batch = this.#hasPassed() ? this.#readBehindPassed(bounded) : this.#readHere(bounded);
      return batch instanceof Promise ? batch.catch((error) => this.#giveUp(error)) : batch;
    } catch (error) {
      return this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): never {
    this.close();
    throw error;
  }

  async #readBehindPassed(limits: ReadLimits): Promise<ReadBatch | undefined> {
    await this.#settlePassed(this.#options.view.end);
    return await this.#readHere(limits);
  }

  #readHere(limits: ReadLimits): MaybePromise<ReadBatch | undefined> {
    if (this.#frame === undefined || this.#position.nextSequence >= limits.before) return undefined;
    this.#correctTotals();
    const { codecVersion, isJson } = this.#open!.header;
    const start = { start: this.#position, codecVersion, isJson };
    return this.#gather(new BatchBuilder(start, this.#guessBytes(limits), this.#arena), limits);
  }

  /** When the next record was put, or `undefined` if there is none or it can't be read. */
  nextPutTime(): number | undefined {
    try {
      if (this.#frame === undefined && this.#position.nextSequence < this.#options.view.end.nextSequence) {
        this.#advance();
      }
    } catch {
      // The read that follows meets the same error, and reports it.
      this.close();
    }
    return this.#frame?.putTime;
  }

  /** Collects records until a limit, a gap or the end; without a promise as long as nothing has to be waited for. */
  #gather(builder: BatchBuilder, limits: ReadLimits): MaybePromise<ReadBatch> {
    for (;;) {
      const bytes = this.#take(builder, limits);
      const { sequence } = builder;
      if (this.#frame !== undefined || sequence >= limits.before || !this.#lookAhead(limits.mayEndEarly)) break;
      // A batch that has its end already goes on past what is no part of it.
      if (!limits.mayEndEarly && !this.#skipped.isEmpty && this.#frame!.firstSequence <= sequence) {
        return this.#gatherBehindPassed(builder, limits);
      }
      if (!this.#joins(builder)) break;
      if (this.#budget.spend(bytes + this.#costOfOpened())) {
        return yieldToEventLoop().then(() => this.#gather(builder, limits));
      }
    }
    return this.#finish(builder);
  }

  /** What the segments count that were opened since the last call. */
  #costOfOpened(): number {
    const bytes = this.#opened * COST_OF_SEGMENT_BYTES;
    this.#opened = 0;
    return bytes;
  }

  async #gatherBehindPassed(builder: BatchBuilder, limits: ReadLimits): Promise<ReadBatch> {
    await this.#settlePassed(this.#options.view.end);
    return await (this.#joins(builder) ? this.#gather(builder, limits) : this.#finish(builder));
  }

  #finish(builder: BatchBuilder): MaybePromise<ReadBatch> {
    const batch = builder.toBatch(this.#position);
    const isTurnDue = this.#budget.spend(COST_OF_BATCH_BYTES + this.#costOfOpened());
    return isTurnDue || !this.#skipped.isEmpty ? this.#finishLater(batch, isTurnDue) : batch;
  }

  async #finishLater(batch: ReadBatch, isTurnDue: boolean): Promise<ReadBatch> {
    if (!this.#skipped.isEmpty) await this.#skipped.copy();
    if (isTurnDue) await yieldToEventLoop();
    return batch;
  }

  /** How much memory the batch is going to need if its records are as long as all that follow, or a little longer. */
  #guessBytes({ maxRecords }: ReadLimits): number {
    const { end } = this.#options.view;
    const records = end.nextSequence - this.#position.nextSequence;
    const bytes = end.payloadBytes - this.#position.payloadBytes + records * RECORD_HEADER_BYTES;
    const share = Math.min(1, 1.1 * maxRecords / records);
    return Math.min(MAX_GUESSED_BYTES, Math.max(MIN_BATCH_BYTES, Math.ceil(bytes * share) + 1));
  }

  /** As `#advance`, but what fails there may be left to the next read: the records before it can be delivered. */
  #lookAhead(mayFail: boolean): boolean {
    try {
      return this.#advance();
    } catch (error) {
      if (!mayFail) throw error;
      this.close();
      return false;
    }
  }

  /** At the start of a segment: its header's total counts what was lost before, too; ours doesn't. Never goes back. */
  #correctTotals(): void {
    if (this.#index > 0 || this.#frame!.fileOffset > SEGMENT_HEADER_BYTES) return;
    const { payloadBytesBefore: payloadBytes, logBytesBefore: logBytes } = this.#open!.header;
    this.#moveTo({ ...this.#position, payloadBytes, logBytes });
  }

  /** Goes on to a position, whose totals may not be below those of the one before, nor above those of the end. */
  #moveTo(position: LogPosition): void {
    this.#position = clampPosition(position, this.#position, this.#options.view.end);
  }

  /** Whether the current frame goes on where the batch ends so far, with nothing unreadable in between. */
  #joins(builder: BatchBuilder): boolean {
    const { header } = this.#open!;
    const isNext = this.#skipped.isEmpty && this.#frame!.firstSequence <= builder.sequence;
    if (!isNext || header.codecVersion !== builder.codecVersion) return false;
    builder.isJson &&= header.isJson;
    const from = this.#position;
    this.#correctTotals();
    if (this.#position !== from) builder.shift(from, this.#position);
    return true;
  }

  /**
   * Takes from the current frame what still fits the batch; lets go of the frame when it is used up. Returns how many
   * bytes that were.
   */
  #take(builder: BatchBuilder, limits: ReadLimits): number {
    const frame = this.#frame!;
    const from = this.#offset;
    const isFirst = builder.records === 0;
    const most = this.#index + limits.maxRecords - builder.records;
    const last = Math.min(frame.count, most, limits.before - frame.firstSequence);
    const { payloadBytes: before } = builder;
    let at = from;
    let index = this.#index;
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
    this.#index = index;
    this.#offset = at;
    if (index === frame.count) this.#frame = undefined;
    const payloadBytes = this.#position.payloadBytes + builder.payloadBytes - before;
    this.#moveTo(this.#positionAt(builder.sequence, payloadBytes));
    return at - from;
  }

  /**
   * The position before `sequence`, which is in the current frame, or else begins the next one. Behind the last record
   * it is the log's own, whatever was lost on the way there.
   */
  #positionAt(sequence: number, payloadBytes: number): LogPosition {
    const { end } = this.#options.view;
    if (sequence === end.nextSequence) return end;
    const { header, reader } = this.#open!;
    const fileOffset = this.#frame?.fileOffset ?? reader.position;
    return {
      nextSequence: sequence,
      payloadBytes,
      logBytes: header.logBytesBefore + fileOffset - SEGMENT_HEADER_BYTES,
    };
  }

  /** Makes the frame of the next record current, past whatever can't be read; false at the end of the log. */
  #advance(): boolean {
    while (this.#open !== undefined || this.#openAt()) {
      const { segment, reader } = this.#open!;
      if (reader.expected >= this.#nextOf(this.#open!)) {
        this.#passRest(this.#open!);
        if (!this.#openBehind(segment.firstSequence)) return false;
        continue;
      }
      const item = reader.next(this.#endOf(this.#open!));
      if (item.kind === "frame") {
        if (item.frame.firstSequence + item.frame.count <= this.#position.nextSequence) continue;
        if (this.#isNamedMissing(item.frame)) continue;
        this.#enter(item.frame);
        return true;
      }
      if (item.kind === "bad") {
        this.#skipped.add({ segment: segment.name, offset: item.offset, length: item.length });
        continue;
      }
      // Zeros that fill a file up may be a hole.
      if (item.zeros > 0) this.#noteSize(this.#open!, reader.position);
      if (!this.#openBehind(segment.firstSequence)) return false;
    }
    return false;
  }

  /**
   * Whether records of `frame` that would come next were named missing before, when they were looked for in another way:
   * that stands. Who was told so may have got them from elsewhere, and `restore` would take them for undelivered.
   */
  #isNamedMissing({ firstSequence, count }: Frame): boolean {
    const { reportedMissing } = this.#options.quarantine;
    if (reportedMissing.length === 0) return false;
    const first = Math.max(firstSequence, this.#position.nextSequence);
    return overlapsRanges({ first, last: firstSequence + count - 1 }, reportedMissing);
  }

  /** Makes `frame` current, at the next record. */
  #enter(frame: Frame): void {
    this.#frame = frame;
    this.#index = 0;
    this.#offset = frame.offset + FRAME_HEADER_BYTES;
    while (frame.firstSequence + this.#index < this.#position.nextSequence) {
      this.#offset += RECORD_HEADER_BYTES + frame.view.getUint32(this.#offset, true);
      this.#index++;
    }
  }

  /**
   * What is left in a segment behind which the next one goes on. No record is missing: it is garbage, or was cut off by
   * whoever began the next segment, and the cut was undone by a power cut. In no case may a frame of it be believed.
   */
  #passRest(open: OpenSegment): void {
    const { segment, reader } = open;
    this.#skipped.add({ segment: segment.name, offset: reader.position, length: reader.tailBytes(this.#endOf(open)) });
  }

  #noteSize({ segment, header: { logBytesBefore } }: OpenSegment, bytes: number): void {
    this.#options.view.note({ segment, bytes, logBytesBefore });
  }

  /** Where the segment behind begins, if there is one by now. */
  #nextOf(open: OpenSegment): number {
    const { view } = this.#options;
    if (open.next === undefined && view.lastSegment?.name !== open.segment.name) {
      open.next = view.nextAfter(open.segment);
    }
    return open.next ?? Infinity;
  }

  /** Where the data of the segment ends. */
  #endOf(open: OpenSegment): number {
    const { active } = this.#options.view;
    return active?.name === open.segment.name ? active.position : open.handle.size();
  }

  /** Opens the segment that holds the position, going by names and headers, or else the first one behind it. */
  #openAt(): boolean {
    const { nextSequence, logBytes } = this.#position;
    const { view } = this.#options;
    let segment = view.segmentUpTo(nextSequence);
    while (segment !== undefined && this.#open === undefined) {
      this.#open = this.#openSegment(segment);
      segment = view.segmentUpTo(segment.firstSequence - 1);
    }
    if (this.#open === undefined && !this.#openBehind(nextSequence)) return false;
    // The position's word for where its frame is saves reading the segment up to there; it need not be true.
    const { header, reader } = this.#open!;
    const offset = SEGMENT_HEADER_BYTES + logBytes - header.logBytesBefore;
    const end = this.#endOf(this.#open!);
    // Not at the end: there is something to be read, or we weren't here.
    if (offset > SEGMENT_HEADER_BYTES && offset < end) reader.seek(offset, nextSequence, end);
    return true;
  }

  /** Opens the first segment that begins behind `sequence` and can be read; false, with nothing changed, if there is none. */
  #openBehind(sequence: number): boolean {
    const { view } = this.#options;
    let segment = view.segmentBehind(sequence);
    while (segment !== undefined) {
      const opened = this.#openSegment(segment);
      if (opened !== undefined) {
        closeQuietly(this.#open?.handle);
        this.#open = opened;
        return true;
      }
      segment = view.segmentBehind(segment.firstSequence);
    }
    return false;
  }

  /** Opens one segment; passes it as a whole, and returns `undefined`, if it is not one of ours. */
  #openSegment(segment: Segment): OpenSegment | undefined {
    const { fileSystem, directory, uuid, view, confirm } = this.#options;
    const path = join(directory, segment.name);
    confirm();
    const handle = fileSystem.open(path, "read");
    this.#opened++;
    let isKept = false;
    try {
      const result = readSegmentHeader(handle);
      if (result.kind === "version") {
        throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
      }
      const bytes = handle.size();
      if (result.kind === "header" && headerMatches(result.header, uuid, segment)) {
        isKept = true;
        view.note({ segment, bytes, logBytesBefore: result.header.logBytesBefore });
        return {
          segment,
          handle,
          header: result.header,
          reader: new SegmentReader(handle, result.header),
          next: undefined,
        };
      }
      view.note({ segment, bytes, logBytesBefore: undefined });
      this.#skipped.add({ segment: segment.name, offset: 0, length: bytes });
      return undefined;
    } finally {
      if (!isKept) closeQuietly(handle);
    }
  }

  /**
   * Deals with what was passed on the way to the current frame, or to the end of the log: refuses it, or sets it aside
   * and goes on behind it.
   */
  async #settlePassed(end: LogPosition): Promise<void> {
    if (!this.#hasPassed()) return;
    const next = this.#frame?.firstSequence ?? end.nextSequence;
    const { nextSequence } = this.#position;
    const missing = next > nextSequence ? { first: nextSequence, last: next - 1 } : undefined;
    await this.#skipped.settle(missing, this.#gapHere());
    // Behind the last record there is only one right position; elsewhere the totals are set right by the next segment.
    if (this.#frame === undefined) this.#position = end;
    else if (missing !== undefined) this.#moveTo(this.#positionAt(next, this.#position.payloadBytes));
  }

  /** Whether bytes or records were passed on the way to the current frame, or to the end of the log. */
  #hasPassed(): boolean {
    const next = this.#frame?.firstSequence ?? this.#options.view.end.nextSequence;
    return !this.#skipped.isEmpty || next > this.#position.nextSequence;
  }

  /** Where records are missing without a trace. */
  #gapHere(): SkippedRegion {
    if (this.#open === undefined) return { segment: segmentName(this.#position.nextSequence), offset: 0, length: 0 };
    const { segment, reader } = this.#open;
    return { segment: segment.name, offset: this.#frame?.fileOffset ?? reader.position, length: 0 };
  }
}
