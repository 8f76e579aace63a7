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
import { headerMatches, type LogLocation, readSegmentHeader, type Segment, withSegment } from "../segment_files.ts";
import { SegmentReader } from "../segment_reader.ts";
import { CursorPositionTracker } from "./cursor_position_tracker.ts";
import type { DamagedRegion } from "./damage.ts";
import type { Region } from "./known_losses.ts";

/** A bad region, not set aside yet. */
export type RecoveryFinding = Omit<DamagedRegion, "quarantined">;

/** A bad region, and the sequence that should have followed there; 0 if bytes are bad and no record is missing. */
export interface ScanFinding {
  readonly finding: RecoveryFinding;
  readonly expected: number;
}

/** The last segment, read through. */
export interface SegmentScan {
  readonly segment: Segment;
  readonly header: SegmentHeader;
  /** Behind its last good frame: in the file, and in the log. */
  readonly position: number;
  readonly end: LogPosition;
  /** The cursor's positions in it, by their sequences, with what the frames say of them. */
  readonly positions: ReadonlyMap<number, LogPosition>;
  readonly findings: readonly ScanFinding[];
  /** Bytes behind `position`, and whether they are more than zeros. */
  readonly tailBytes: number;
  readonly tailIsZero: boolean;
  /** The records below this sequence were acknowledged, going by its headers. */
  readonly provenBefore: number;
}

/**
 * Reads a segment from its first frame to the last good one. Where somebody is going to read on from the middle, it is read
 * as he will: what he finds there counts, not what stands before it. What is said to be missing and what is delivered would
 * not agree otherwise where frames have changed places, or the beginning of a `putMany` is damaged.
 */
export function scanSegment(
  handle: FileHandle,
  { segment, header, cursor }: { segment: Segment; header: SegmentHeader; cursor: CursorState | undefined },
): SegmentScan {
  const size = handle.size();
  const reader = new SegmentReader(handle, header);
  const places = new CursorPositionTracker(header, cursor);
  const met: ScanFinding[] = [];
  let acknowledged = acknowledgedBefore(header);
  let position = SEGMENT_HEADER_BYTES;
  let tailIsZero = true;
  for (;;) {
    places.seekToStart(reader, size);
    const expected = reader.expected;
    const item = reader.next(size);
    if (item.kind === "frame") {
      places.addFrame(item.frame);
      position = reader.position;
      acknowledged = Math.max(acknowledged, acknowledgedBefore(item.frame));
      continue;
    }
    const isLast = item.kind === "end" || item.last;
    const [offset, length] = item.kind === "end" ? [reader.position, item.zeros] : [item.offset, item.length];
    const entered = places.seekToStartWithin(reader, { from: offset, to: offset + length, size });
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
    payloadBytes: places.finish(reader.expected),
    logBytes: header.logBytesBefore + position - SEGMENT_HEADER_BYTES,
  };
  const { positions } = places;
  const tailBytes = Math.max(0, size - position);
  return { segment, header, position, end, positions, findings, tailBytes, tailIsZero, provenBefore };
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
  readonly findings: readonly ScanFinding[];
  readonly provenBefore: number;
}

/**
 * Reads segments as the reader of a log does, up to where the last one begins. What is none of this log is left to that
 * reader.
 */
export function scanEarlierSegments(place: LogLocation, { segments, next, uuid }: EarlierSegments): EarlierScan {
  const scan = new EarlierSegmentsScanner(segments[0]?.firstSequence ?? next.firstSequence);
  segments.forEach((segment, i) => {
    const behind = segments.slice(i + 1).find((other) => readHeaderIfOurs(place, other, uuid) !== undefined) ?? next;
    withSegment(place, segment, (handle) => {
      const result = readSegmentHeader(handle);
      if (result.kind === "bad") scan.addBadRegion({ segment: segment.name, offset: 0, length: handle.size() });
      if (result.kind === "header" && headerMatches(result.header, uuid, segment)) {
        scan.readSegment(handle, { segment, header: result.header, next: behind.firstSequence });
      }
    });
  });
  scan.closeGap(next.firstSequence, { segment: next.name, offset: SEGMENT_HEADER_BYTES, length: 0 });
  return scan;
}

/** The header of a segment of this log. */
export function readHeaderIfOurs(place: LogLocation, segment: Segment, uuid: string): SegmentHeader | undefined {
  const result = withSegment(place, segment, readSegmentHeader);
  return result.kind === "header" && headerMatches(result.header, uuid, segment) ? result.header : undefined;
}

/** Bad regions are gathered until good bytes follow: then it is known which sequences are missing because of them. */
class EarlierSegmentsScanner implements EarlierScan {
  readonly findings: ScanFinding[] = [];
  provenBefore = 0;
  #expected: number;
  #regions: Region[] = [];

  constructor(expected: number) {
    this.#expected = expected;
  }

  addBadRegion(region: Region): void {
    if (region.length > 0) this.#regions.push(region);
  }

  closeGap(next: number, place: Region): void {
    const expected = this.#expected;
    const missing = next > expected ? { first: expected, last: next - 1 } : undefined;
    const regions = this.#regions.length > 0 || missing === undefined ? this.#regions : [place];
    regions.forEach((region, i) => {
      const finding = { ...region, missing: i === regions.length - 1 ? missing : undefined };
      this.findings.push({ finding, expected });
    });
    this.#regions = [];
    this.#expected = Math.max(expected, next);
  }

  readSegment(
    handle: FileHandle,
    { segment: { name, firstSequence }, header, next }: { segment: Segment; header: SegmentHeader; next: number },
  ): void {
    const size = handle.size();
    const reader = new SegmentReader(handle, header);
    this.closeGap(firstSequence, { segment: name, offset: SEGMENT_HEADER_BYTES, length: 0 });
    this.#prove(acknowledgedBefore(header));
    while (reader.expected < next) {
      const item = reader.next(size);
      if (item.kind === "frame") {
        const { fileOffset, firstSequence, count } = item.frame;
        // As in the last segment: such bytes are for the reader of the log.
        if (firstSequence <= this.#expected) this.#regions = [];
        this.closeGap(firstSequence, { segment: name, offset: fileOffset, length: 0 });
        this.#expected = firstSequence + count;
        this.#prove(acknowledgedBefore(item.frame));
        continue;
      }
      if (item.kind === "bad") this.addBadRegion({ segment: name, offset: item.offset, length: item.length });
      if (item.kind === "end" || item.last) return;
    }
    this.addBadRegion({ segment: name, offset: reader.position, length: reader.tailBytes(size) });
  }

  #prove(acknowledged: number): void {
    this.provenBefore = Math.max(this.provenBefore, acknowledged);
  }
}
