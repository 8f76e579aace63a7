/**
 * Finds the frame of a record, across segments: opens the segment that holds a position, reads frame by frame, and skips
 * what can't be read.
 *
 * Guarantees: every frame is valid, and belongs to a segment of this log. What is skipped is recorded, and `log_reader.ts`
 * decides what to do about it. One segment is open at a time.
 *
 * @module
 */

import { join } from "@std/path/join";
import { overlapsRanges } from "../../base/sequences.ts";
import { UnsupportedVersionError } from "../../errors/mod.ts";
import { closeQuietly } from "../../fs/file_helpers.ts";
import type { FileHandle } from "../../fs/file_system.ts";
import { retryBlocking } from "../../fs/retry.ts";
import {
  FRAME_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  type SegmentHeader,
  skipRecords,
} from "../format.ts";
import { segmentName } from "../names.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import type { Region } from "../recovery/known_losses.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import { headerMatches, type LogLocation, readSegmentHeader, type Segment } from "../segment_files.ts";
import { type Frame, SegmentReader } from "../segment_reader.ts";
import type { LogView } from "./log_view.ts";
import type { SkippedRegions } from "./skipped_regions.ts";

export interface FrameSourceDeps extends LogLocation {
  readonly uuid: string;
  readonly view: LogView;
  readonly ownership: Pick<Ownership, "verify">;
  readonly quarantine: Quarantine;
}

/** A segment that is being read. */
interface OpenSegment {
  readonly segment: Segment;
  readonly handle: FileHandle;
  readonly header: SegmentHeader;
  readonly reader: SegmentReader;
  /** Where the next segment begins; `undefined` as long as there is none. */
  next: number | undefined;
}

/** Reads the frames of one log, from a position on. */
export class FrameSource {
  readonly #deps: FrameSourceDeps;
  readonly #skipped: SkippedRegions;
  #open: OpenSegment | undefined;
  /** The frame that holds the next record, the record's number in it, and the offset of the record's length. */
  #frame: Frame | undefined;
  #index = 0;
  #offset = 0;
  #opened = 0;

  /** Adds what can't be read to `skipped`. */
  constructor(deps: FrameSourceDeps, skipped: SkippedRegions) {
    this.#deps = deps;
    this.#skipped = skipped;
  }

  /** The frame that holds the next record; `undefined` before `advance`, and when all its records are used. */
  get frame(): Frame | undefined {
    return this.#frame;
  }

  /** The number of the next record in the frame, from 0. */
  get index(): number {
    return this.#index;
  }

  /** The offset of the next record's length in the frame's bytes. */
  get offset(): number {
    return this.#offset;
  }

  /** The header of the segment that the frame is in. */
  get header(): SegmentHeader {
    return this.#open!.header;
  }

  /** Whether the next record is the first of its segment. */
  get isAtSegmentStart(): boolean {
    return this.#index === 0 && this.#frame!.fileOffset <= SEGMENT_HEADER_BYTES;
  }

  /** Where the frame begins, or the next one if there is none: bytes of all frames before it. */
  get logBytes(): number {
    const { header, reader } = this.#open!;
    return header.logBytesBefore + (this.#frame?.fileOffset ?? reader.position) - SEGMENT_HEADER_BYTES;
  }

  /** The number of segments opened since the last call. */
  takeOpened(): number {
    const opened = this.#opened;
    this.#opened = 0;
    return opened;
  }

  /** Takes frames that were just written to a segment at `position`, if that segment is being read. */
  offer(name: string, position: number, bytes: Uint8Array): void {
    if (this.#open?.segment.name === name) this.#open.reader.offer(position, bytes, this.#frame === undefined);
  }

  /** Closes the file. The next `advance` searches from its position again. */
  close(): void {
    closeQuietly(this.#open?.handle);
    this.#open = undefined;
    this.#frame = undefined;
  }

  /** Moves to the record `index` of the frame, whose length is at `offset`. */
  use(index: number, offset: number): void {
    this.#index = index;
    this.#offset = offset;
    if (index === this.#frame!.count) this.#frame = undefined;
  }

  /** The place where records at `position` are missing without a trace. */
  gapAt(position: LogPosition): Region {
    if (this.#open === undefined) return { segment: segmentName(position.nextSequence), offset: 0, length: 0 };
    const { segment, reader } = this.#open;
    return { segment: segment.name, offset: this.#frame?.fileOffset ?? reader.position, length: 0 };
  }

  /** Goes to the frame of the record at `position`, past what can't be read; `false` at the end of the log. */
  advance(position: LogPosition): boolean {
    while (this.#open !== undefined || this.#openAt(position)) {
      const { segment, reader } = this.#open!;
      if (reader.expected >= this.#nextOf(this.#open!)) {
        this.#skipRest(this.#open!);
        if (!this.#openAfter(segment.firstSequence)) return false;
        continue;
      }
      const item = reader.next(this.#endOf(this.#open!));
      if (item.kind === "frame") {
        if (item.frame.firstSequence + item.frame.count <= position.nextSequence) continue;
        if (this.#wasReportedMissing(item.frame, position)) continue;
        this.#enter(item.frame, position);
        return true;
      }
      if (item.kind === "bad") {
        this.#skipped.add({ segment: segment.name, offset: item.offset, length: item.length });
        continue;
      }
      // Zeros at the end of a file may be a hole.
      if (item.zeros > 0) this.#noteSize(this.#open!, reader.position);
      if (!this.#openAfter(segment.firstSequence)) return false;
    }
    return false;
  }

  /**
   * Whether records of `frame` that come next were reported missing earlier, after a search in another way. They stay missing:
   * the user may have replaced them since, and `restore` takes them for undelivered.
   */
  #wasReportedMissing({ firstSequence, count }: Frame, { nextSequence }: LogPosition): boolean {
    const { reportedMissing } = this.#deps.quarantine;
    if (reportedMissing.length === 0) return false;
    const first = Math.max(firstSequence, nextSequence);
    return overlapsRanges({ first, last: firstSequence + count - 1 }, reportedMissing);
  }

  /** Goes to the record at `position` in `frame`. */
  #enter(frame: Frame, { nextSequence }: LogPosition): void {
    this.#frame = frame;
    this.#index = Math.max(0, nextSequence - frame.firstSequence);
    this.#offset = skipRecords(frame.view, frame.offset + FRAME_HEADER_BYTES, this.#index);
  }

  /**
   * Skips the rest of a segment whose records continue in the next one. No record is missing. The rest is garbage; or the
   * process that began the next segment cut it off, and a power cut undid that. No frame in it may be trusted.
   */
  #skipRest(open: OpenSegment): void {
    const { segment, reader } = open;
    this.#skipped.add({ segment: segment.name, offset: reader.position, length: reader.tailBytes(this.#endOf(open)) });
  }

  #noteSize({ segment, header: { logBytesBefore } }: OpenSegment, bytes: number): void {
    this.#deps.view.segments.usage.recordSize({ segment, bytes, logBytesBefore });
  }

  /** Where the next segment begins; `Infinity` as long as there is none. */
  #nextOf(open: OpenSegment): number {
    const { segments } = this.#deps.view;
    if (open.next === undefined && segments.ordered.last?.name !== open.segment.name) {
      open.next = segments.nextAfter(open.segment);
    }
    return open.next ?? Infinity;
  }

  /** Where the data of the segment ends. */
  #endOf(open: OpenSegment): number {
    const { active } = this.#deps.view;
    return active?.name === open.segment.name ? active.position : open.handle.size();
  }

  /** Opens the segment that holds the position, going by names and headers; if there is none, the first one after it. */
  #openAt({ nextSequence, logBytes }: LogPosition): boolean {
    const { segments } = this.#deps.view;
    let segment = segments.ordered.findAtOrBefore(nextSequence);
    while (segment !== undefined && this.#open === undefined) {
      this.#open = this.#openSegment(segment);
      segment = segments.ordered.findAtOrBefore(segment.firstSequence - 1);
    }
    if (this.#open === undefined && !this.#openAfter(nextSequence)) return false;
    // The position says where its frame is, which saves reading the segment up to there. It may be wrong: `seek` checks it.
    const { header, reader } = this.#open!;
    const offset = SEGMENT_HEADER_BYTES + logBytes - header.logBytesBefore;
    const end = this.#endOf(this.#open!);
    // Never to the end of the data: something is left to read, or this would not have been called.
    if (offset > SEGMENT_HEADER_BYTES && offset < end) reader.seek(offset, nextSequence, end);
    return true;
  }

  /** Opens the first readable segment that begins after `sequence`; `false`, with nothing changed, if there is none. */
  #openAfter(sequence: number): boolean {
    const { segments } = this.#deps.view;
    let segment = segments.ordered.findAfter(sequence);
    while (segment !== undefined) {
      const opened = this.#openSegment(segment);
      if (opened !== undefined) {
        closeQuietly(this.#open?.handle);
        this.#open = opened;
        return true;
      }
      segment = segments.ordered.findAfter(segment.firstSequence);
    }
    return false;
  }

  /** Opens a segment. One that is not of this log is skipped as a whole, and `undefined` returned. */
  #openSegment(segment: Segment): OpenSegment | undefined {
    const { fileSystem, directory, uuid, view, ownership } = this.#deps;
    const path = join(directory, segment.name);
    ownership.verify();
    const handle = retryBlocking(() => fileSystem.open(path, "read"));
    this.#opened++;
    let isKept = false;
    try {
      const result = readSegmentHeader(handle);
      if (result.kind === "version") {
        throw new UnsupportedVersionError({ path, version: result.version, supported: SEGMENT_VERSION });
      }
      const isOurs = result.kind === "header" && headerMatches(result.header, uuid, segment);
      const bytes = handle.size();
      view.segments.usage.recordSize({
        segment,
        bytes,
        logBytesBefore: isOurs ? result.header.logBytesBefore : undefined,
      });
      if (isOurs) {
        isKept = true;
        const { header } = result;
        const reader = new SegmentReader(handle, header, this.#open?.reader);
        return { segment, handle, header, reader, next: undefined };
      }
      this.#skipped.add({ segment: segment.name, offset: 0, length: bytes });
      return undefined;
    } finally {
      if (!isKept) closeQuietly(handle);
    }
  }
}
