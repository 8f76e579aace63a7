/**
 * Reads segments through for recovery: what is good, what is bad, and what their headers prove about the records before.
 *
 * **What is proven.** Where a put is acknowledged only after a sync, a power cut may take a record and keep one behind it,
 * both of which nobody was promised. Records below the highest `acknowledgedBefore` of all that can be read (see
 * `format.ts`) and below what the cursor knows of are *promised*: what is missing of them is damage. Of those from there on
 * nothing proves that they were acknowledged, and nothing that they weren't.
 *
 * @module
 */

import type { FileHandle } from "../../fs/file_system.ts";
import { acknowledgedBefore, SEGMENT_HEADER_BYTES, type SegmentHeader } from "../format.ts";
import type { CursorState, LogPosition } from "../position.ts";
import { isOf, readSegmentHeader, type Segment, type SegmentPlace, withSegment } from "../segment_files.ts";
import { SegmentReader } from "../segment_reader.ts";
import { CursorPlaces } from "./cursor_places.ts";
import type { DamagedRegion } from "./damage.ts";
import type { Region } from "./known_losses.ts";

/** A bad region, not set aside yet. */
export type Finding = Omit<DamagedRegion, "quarantined">;

/** A bad region, and the sequence that should have followed there; 0 if bytes are bad and no record is missing. */
export interface MetFinding {
  readonly finding: Finding;
  readonly expected: number;
}

/** The last segment, read through. */
export interface Scan {
  readonly segment: Segment;
  readonly header: SegmentHeader;
  /** Behind its last good frame: in the file, and in the log. */
  readonly position: number;
  readonly end: LogPosition;
  /** The cursor's positions in it, by their sequences, with what the frames say of them. */
  readonly found: ReadonlyMap<number, LogPosition>;
  readonly met: readonly MetFinding[];
  /** Bytes behind `position`, and whether they are more than zeros. */
  readonly tailBytes: number;
  readonly tailIsZero: boolean;
  /** The records below this sequence were acknowledged, going by its headers. */
  readonly acknowledged: number;
}

/**
 * Reads a segment from its first frame to the last good one. Where somebody is going to read on from the middle, it is read
 * as he will: what he finds there counts, not what stands before it. What is said to be missing and what is delivered would
 * not agree otherwise where frames have changed places, or the beginning of a `putMany` is damaged.
 */
export function scanSegment(
  handle: FileHandle,
  { segment, header, cursor }: { segment: Segment; header: SegmentHeader; cursor: CursorState | undefined },
): Scan {
  const size = handle.size();
  const reader = new SegmentReader(handle, header);
  const places = new CursorPlaces(header, cursor);
  const met: MetFinding[] = [];
  let acknowledged = acknowledgedBefore(header);
  let position = SEGMENT_HEADER_BYTES;
  let tailIsZero = true;
  for (;;) {
    places.enter(reader, size);
    const expected = reader.expected;
    const item = reader.next(size);
    if (item.kind === "frame") {
      places.pass(item.frame);
      position = reader.position;
      acknowledged = Math.max(acknowledged, acknowledgedBefore(item.frame));
      continue;
    }
    const isLast = item.kind === "end" || item.last;
    const [offset, length] = item.kind === "end" ? [reader.position, item.zeros] : [item.offset, item.length];
    const entered = places.enterWithin(reader, { from: offset, to: offset + length, size });
    if (entered !== undefined) {
      // What was there is committed or dropped.
      const finding = { segment: segment.name, offset, length: entered - offset, missing: undefined };
      met.push({ finding, expected: 0 });
    } else if (!isLast) {
      // A writer leaves no room between two frames: where all records are there, no power cut has made those bytes.
      const missing = reader.expected > expected ? { first: expected, last: reader.expected - 1 } : undefined;
      const finding = { segment: segment.name, offset, length, missing };
      met.push({ finding, expected: missing === undefined ? 0 : expected });
    } else {
      tailIsZero = item.kind === "end";
      break;
    }
  }
  const end: LogPosition = {
    nextSequence: reader.expected,
    payloadBytes: places.end(reader.expected),
    logBytes: header.logBytesBefore + position - SEGMENT_HEADER_BYTES,
  };
  const { found } = places;
  const tailBytes = Math.max(0, size - position);
  return { segment, header, position, end, found, met, tailBytes, tailIsZero, acknowledged };
}

/** Segments before the last one. */
export interface EarlierSegments {
  /** In order. */
  readonly segments: readonly Segment[];
  /** Where the last one begins. */
  readonly next: Segment;
  readonly uuid: string;
}

/** What was met in them, and what their headers prove. */
export interface EarlierScan {
  readonly met: readonly MetFinding[];
  readonly acknowledged: number;
}

/**
 * Reads segments as the reader of a log does, up to where the last one begins. What is none of this log is left to that
 * reader.
 */
export function scanEarlier(place: SegmentPlace, { segments, next, uuid }: EarlierSegments): EarlierScan {
  const scan = new EarlierSegmentsScan(segments[0]?.firstSequence ?? next.firstSequence);
  segments.forEach((segment, i) => {
    const behind = segments.slice(i + 1).find((other) => headerOf(place, other, uuid) !== undefined) ?? next;
    withSegment(place, segment, (handle) => {
      const result = readSegmentHeader(handle);
      if (result.kind === "bad") scan.skip({ segment: segment.name, offset: 0, length: handle.size() });
      if (result.kind === "header" && isOf(result.header, uuid, segment)) {
        scan.read(handle, { segment, header: result.header, next: behind.firstSequence });
      }
    });
  });
  scan.settle(next.firstSequence, { segment: next.name, offset: SEGMENT_HEADER_BYTES, length: 0 });
  return scan;
}

/** The header of a segment of this log. */
export function headerOf(place: SegmentPlace, segment: Segment, uuid: string): SegmentHeader | undefined {
  const result = withSegment(place, segment, readSegmentHeader);
  return result.kind === "header" && isOf(result.header, uuid, segment) ? result.header : undefined;
}

/** Bad regions are gathered until good bytes follow: then it is known which sequences are missing because of them. */
class EarlierSegmentsScan implements EarlierScan {
  readonly met: MetFinding[] = [];
  acknowledged = 0;
  #expected: number;
  #regions: Region[] = [];

  constructor(expected: number) {
    this.#expected = expected;
  }

  skip(region: Region): void {
    if (region.length > 0) this.#regions.push(region);
  }

  settle(next: number, place: Region): void {
    const expected = this.#expected;
    const missing = next > expected ? { first: expected, last: next - 1 } : undefined;
    const regions = this.#regions.length > 0 || missing === undefined ? this.#regions : [place];
    regions.forEach((region, i) => {
      const finding = { ...region, missing: i === regions.length - 1 ? missing : undefined };
      this.met.push({ finding, expected });
    });
    this.#regions = [];
    this.#expected = Math.max(expected, next);
  }

  read(
    handle: FileHandle,
    { segment: { name, firstSequence }, header, next }: { segment: Segment; header: SegmentHeader; next: number },
  ): void {
    const size = handle.size();
    const reader = new SegmentReader(handle, header);
    this.settle(firstSequence, { segment: name, offset: SEGMENT_HEADER_BYTES, length: 0 });
    this.#prove(acknowledgedBefore(header));
    while (reader.expected < next) {
      const item = reader.next(size);
      if (item.kind === "frame") {
        const { fileOffset, firstSequence, count } = item.frame;
        // As in the last segment: such bytes are for the reader of the log.
        if (firstSequence <= this.#expected) this.#regions = [];
        this.settle(firstSequence, { segment: name, offset: fileOffset, length: 0 });
        this.#expected = firstSequence + count;
        this.#prove(acknowledgedBefore(item.frame));
        continue;
      }
      if (item.kind === "bad") this.skip({ segment: name, offset: item.offset, length: item.length });
      if (item.kind === "end" || item.last) return;
    }
    this.skip({ segment: name, offset: reader.position, length: reader.tailBytes(size) });
  }

  #prove(acknowledged: number): void {
    this.acknowledged = Math.max(this.acknowledged, acknowledged);
  }
}
