/**
 * Finds the frame of a record, across segments: opens the segment that holds a position, goes on frame by frame, and passes
 * what can't be read.
 *
 * Guarantees: every frame is valid, and of a segment of this log. What is passed on the way is noted as skipped, never
 * dropped silently; what becomes of it is for `log_reader.ts` to decide. One segment is open at a time.
 *
 * @module
 */

import { join } from "@std/path/join";
import { overlapsRanges } from "../../base/sequences.ts";
import { UnsupportedVersionError } from "../../errors/mod.ts";
import { closeQuietly } from "../../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../../fs/file_system.ts";
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
import type { Quarantine } from "../recovery/quarantine.ts";
import { headerMatches, readSegmentHeader, type Segment } from "../segment_files.ts";
import { type Frame, SegmentReader } from "../segment_reader.ts";
import type { LogView } from "./log_view.ts";
import type { SkippedRegion, SkippedRegions } from "./skipped_regions.ts";

/** What a {@linkcode FrameSource} is made with. */
export interface FrameSourceDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
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
  /** Where the segment behind begins; `undefined` as long as there is none. */
  next: number | undefined;
}

/** Frames of one log, from a position on. */
export class FrameSource {
  readonly #deps: FrameSourceDeps;
  readonly #skipped: SkippedRegions;
  #open: OpenSegment | undefined;
  /** The frame that holds the next record, and the next record in it: its number, and where its length stands. */
  #frame: Frame | undefined;
  #index = 0;
  #offset = 0;
  #opened = 0;

  /** What can't be read goes to `skipped`. */
  constructor(deps: FrameSourceDeps, skipped: SkippedRegions) {
    this.#deps = deps;
    this.#skipped = skipped;
  }

  /** The frame that holds the next record; `undefined` before `advance`, and when the frame is used up. */
  get frame(): Frame | undefined {
    return this.#frame;
  }

  /** The number of the next record in the frame. */
  get index(): number {
    return this.#index;
  }

  /** Where the length of the next record stands in the frame's bytes. */
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

  /** Where the frame begins, or else the one behind it, in bytes of frames from the start of the log. */
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

  /** Takes over what was just written to a segment at `position`, if that is the one being read. */
  offer(name: string, position: number, bytes: Uint8Array): void {
    if (this.#open?.segment.name === name) this.#open.reader.offer(position, bytes, this.#frame === undefined);
  }

  /** Lets go of the file: the next `advance` finds its way from its position again. */
  close(): void {
    closeQuietly(this.#open?.handle);
    this.#open = undefined;
    this.#frame = undefined;
  }

  /** The records of the frame before `index` are used; that one's length stands at `offset`. */
  use(index: number, offset: number): void {
    this.#index = index;
    this.#offset = offset;
    if (index === this.#frame!.count) this.#frame = undefined;
  }

  /** Where records at `position` are missing without a trace. */
  gapAt(position: LogPosition): SkippedRegion {
    if (this.#open === undefined) return { segment: segmentName(position.nextSequence), offset: 0, length: 0 };
    const { segment, reader } = this.#open;
    return { segment: segment.name, offset: this.#frame?.fileOffset ?? reader.position, length: 0 };
  }

  /** Makes the frame of the record at `position` current, past whatever can't be read; false at the end of the log. */
  advance(position: LogPosition): boolean {
    while (this.#open !== undefined || this.#openAt(position)) {
      const { segment, reader } = this.#open!;
      if (reader.expected >= this.#nextOf(this.#open!)) {
        this.#passRest(this.#open!);
        if (!this.#openBehind(segment.firstSequence)) return false;
        continue;
      }
      const item = reader.next(this.#endOf(this.#open!));
      if (item.kind === "frame") {
        if (item.frame.firstSequence + item.frame.count <= position.nextSequence) continue;
        if (this.#isNamedMissing(item.frame, position)) continue;
        this.#enter(item.frame, position);
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
  #isNamedMissing({ firstSequence, count }: Frame, { nextSequence }: LogPosition): boolean {
    const { reportedMissing } = this.#deps.quarantine;
    if (reportedMissing.length === 0) return false;
    const first = Math.max(firstSequence, nextSequence);
    return overlapsRanges({ first, last: firstSequence + count - 1 }, reportedMissing);
  }

  /** Makes `frame` current, at the record at `position`. */
  #enter(frame: Frame, { nextSequence }: LogPosition): void {
    this.#frame = frame;
    this.#index = Math.max(0, nextSequence - frame.firstSequence);
    this.#offset = skipRecords(frame.view, frame.offset + FRAME_HEADER_BYTES, this.#index);
  }

  /**
   * What is left in a segment behind which the next one goes on. No record is missing: it is garbage, or was cut off by
   * the process that began the next segment, and the cut was undone by a power cut. In no case may a frame of it be believed.
   */
  #passRest(open: OpenSegment): void {
    const { segment, reader } = open;
    this.#skipped.add({ segment: segment.name, offset: reader.position, length: reader.tailBytes(this.#endOf(open)) });
  }

  #noteSize({ segment, header: { logBytesBefore } }: OpenSegment, bytes: number): void {
    this.#deps.view.segments.usage.recordSize({ segment, bytes, logBytesBefore });
  }

  /** Where the segment behind begins, if there is one by now. */
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

  /** Opens the segment that holds the position, going by names and headers, or else the first one behind it. */
  #openAt({ nextSequence, logBytes }: LogPosition): boolean {
    const { segments } = this.#deps.view;
    let segment = segments.ordered.findAtOrBefore(nextSequence);
    while (segment !== undefined && this.#open === undefined) {
      this.#open = this.#openSegment(segment);
      segment = segments.ordered.findAtOrBefore(segment.firstSequence - 1);
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

  /** Opens one segment; passes it as a whole, and returns `undefined`, if it is not one of ours. */
  #openSegment(segment: Segment): OpenSegment | undefined {
    const { fileSystem, directory, uuid, view, ownership } = this.#deps;
    const path = join(directory, segment.name);
    ownership.verify();
    const handle = fileSystem.open(path, "read");
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
        return { segment, handle, header, reader: new SegmentReader(handle, header), next: undefined };
      }
      this.#skipped.add({ segment: segment.name, offset: 0, length: bytes });
      return undefined;
    } finally {
      if (!isKept) closeQuietly(handle);
    }
  }
}
