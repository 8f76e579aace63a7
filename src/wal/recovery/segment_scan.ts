/**
 * Reads segments through for recovery: valid frames, bad regions, and which records are proven to have been acknowledged.
 *
 * **Proven and unproven records.** Where a put is acknowledged only after a sync, a power cut may take one record and keep
 * a later one, neither of which was acknowledged. So a missing record is not always a broken promise. A record is *proven*
 * to have been acknowledged if its sequence is below `acknowledgedBefore` of any readable frame or header (see
 * `format.ts`), or was known to the cursor. All other records are *unproven*: nothing shows that they were acknowledged,
 * and nothing that they were not. The loss of a proven record is damage. The loss of an unproven record is reported as
 * `unproven`, and never refused.
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
import { ReaderStarts } from "./reader_starts.ts";

/** A bad region or missing sequences, before anything is copied to the quarantine. */
export type RecoveryFinding = Omit<DamagedRegion, "quarantined">;

/** A finding, and the sequence that was expected there; 0 if bytes are bad and no record is missing. */
export interface ScanFinding {
  readonly finding: RecoveryFinding;
  readonly expected: number;
}

/** The result of reading the last segment through. */
export interface SegmentScan {
  readonly segment: Segment;
  readonly header: SegmentHeader;
  /** The offset in the file after its last valid frame. */
  readonly position: number;
  /** The position in the log after its last valid frame. */
  readonly end: LogPosition;
  /** The cursor's positions in this segment, by sequence, with totals taken from the frames. */
  readonly positions: ReadonlyMap<number, LogPosition>;
  readonly findings: readonly ScanFinding[];
  /** The number of bytes after `position`, and whether all of them are zero. */
  readonly tailBytes: number;
  readonly tailIsZero: boolean;
  /** Records below this sequence are proven, going by this segment. */
  readonly provenBefore: number;
}

/** Reads a segment from its first frame to the last valid one, and finds what a reader of the log finds. */
export function scanSegment(
  handle: FileHandle,
  { segment, header, cursor }: { segment: Segment; header: SegmentHeader; cursor: CursorState | undefined },
): SegmentScan {
  const size = handle.size();
  const reader = new SegmentReader(handle, header);
  const tracker = new CursorPositionTracker(header, cursor);
  const starts = new ReaderStarts({ handle, header, size }, cursor);
  const findings: ScanFinding[] = [];
  let provenBefore = acknowledgedBefore(header);
  let position = SEGMENT_HEADER_BYTES;
  let tailIsZero = true;
  for (;;) {
    starts.seek(reader);
    const expected = reader.expected;
    const item = reader.next(size);
    if (item.kind === "frame") {
      const end = item.frame.firstSequence + item.frame.count;
      if (end <= starts.limitFor(end)) tracker.addFrame(item.frame);
      position = reader.position;
      provenBefore = Math.max(provenBefore, acknowledgedBefore(item.frame));
      continue;
    }
    const isLast = item.kind === "end" || item.last;
    const [offset, length] = item.kind === "end" ? [reader.position, item.zeros] : [item.offset, item.length];
    const entered = starts.seekWithin(reader, { from: offset, to: offset + length });
    if (entered !== undefined) {
      // The bytes before the reader's beginning are committed or dropped.
      const finding = { segment: segment.name, offset, length: entered - offset, missing: undefined };
      findings.push({ finding, expected: 0 });
    } else if (!isLast) {
      // A writer leaves no gap between frames: where no record is missing, no power cut has left these bytes.
      const next = Math.min(reader.expected, starts.limitFor(reader.expected));
      const missing = next > expected ? { first: expected, last: next - 1 } : undefined;
      const finding = { segment: segment.name, offset, length, missing };
      findings.push({ finding, expected: missing === undefined ? 0 : expected });
    } else {
      tailIsZero = item.kind === "end";
      break;
    }
  }
  const end: LogPosition = {
    nextSequence: reader.expected,
    payloadBytes: tracker.finish(reader.expected),
    logBytes: header.logBytesBefore + position - SEGMENT_HEADER_BYTES,
  };
  const { positions } = tracker;
  const tailBytes = Math.max(0, size - position);
  return { segment, header, position, end, positions, findings, tailBytes, tailIsZero, provenBefore };
}

/** Segments before the last one, to be scanned. */
export interface EarlierSegments {
  /** In order. */
  readonly segments: readonly Segment[];
  /** The last one. */
  readonly next: Segment;
  readonly uuid: string;
}

/** The result of reading them through. */
export interface EarlierScan {
  readonly findings: readonly ScanFinding[];
  readonly provenBefore: number;
}

/**
 * Reads segments like the reader of a log, up to the beginning of the last one. Segments of other logs are left to that
 * reader.
 */
export function scanEarlierSegments(location: LogLocation, { segments, next, uuid }: EarlierSegments): EarlierScan {
  const scan = new EarlierSegmentsScanner(segments[0]?.firstSequence ?? next.firstSequence);
  segments.forEach((segment, i) => {
    const following = segments.slice(i + 1).find((other) => readHeaderIfOurs(location, other, uuid) !== undefined) ??
      next;
    withSegment(location, segment, (handle) => {
      const result = readSegmentHeader(handle);
      if (result.kind === "bad") scan.addBadRegion({ segment: segment.name, offset: 0, length: handle.size() });
      if (result.kind === "header" && headerMatches(result.header, uuid, segment)) {
        scan.readSegment(handle, { segment, header: result.header, next: following.firstSequence });
      }
    });
  });
  scan.closeGap(next.firstSequence, { segment: next.name, offset: SEGMENT_HEADER_BYTES, length: 0 });
  return scan;
}

/** Reads the header of a segment; `undefined` if it is none of this log. */
export function readHeaderIfOurs(location: LogLocation, segment: Segment, uuid: string): SegmentHeader | undefined {
  const result = withSegment(location, segment, readSegmentHeader);
  return result.kind === "header" && headerMatches(result.header, uuid, segment) ? result.header : undefined;
}

/** Collects bad regions until a valid frame follows: its sequence says which records are missing because of them. */
class EarlierSegmentsScanner implements EarlierScan {
  readonly findings: ScanFinding[] = [];
  provenBefore = 0;
  #expected: number;
  #regions: Region[] = [];

  constructor(expected: number) {
    this.#expected = expected;
  }

  /** Adds a bad region whose missing sequences are not known yet. */
  addBadRegion(region: Region): void {
    if (region.length > 0) this.#regions.push(region);
  }

  /** Attributes the sequences missing before `next` to the collected regions, or to `at` if there are none. */
  closeGap(next: number, at: Region): void {
    const expected = this.#expected;
    const missing = next > expected ? { first: expected, last: next - 1 } : undefined;
    const regions = this.#regions.length > 0 || missing === undefined ? this.#regions : [at];
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
    this.#raiseProven(acknowledgedBefore(header));
    while (reader.expected < next) {
      const item = reader.next(size);
      if (item.kind === "frame") {
        const { fileOffset, firstSequence, count } = item.frame;
        // No record is missing because of these bytes: they are left to the reader of the log, as in the last segment.
        if (firstSequence <= this.#expected) this.#regions = [];
        this.closeGap(firstSequence, { segment: name, offset: fileOffset, length: 0 });
        this.#expected = firstSequence + count;
        this.#raiseProven(acknowledgedBefore(item.frame));
        continue;
      }
      if (item.kind === "bad") this.addBadRegion({ segment: name, offset: item.offset, length: item.length });
      if (item.kind === "end" || item.last) return;
    }
    this.addBadRegion({ segment: name, offset: reader.position, length: reader.tailBytes(size) });
  }

  #raiseProven(acknowledged: number): void {
    this.provenBefore = Math.max(this.provenBefore, acknowledged);
  }
}
