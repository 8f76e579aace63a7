/**
 * Tracks the cursor's positions while a segment is read through, and takes their totals from the frames.
 *
 * After bad frames the totals of the frames differ from those of the cursor, and the backlog is the difference of two positions:
 * the frames' own replace the cursor's.
 *
 * @module
 */

import {
  FRAME_HEADER_BYTES,
  payloadBytesIn,
  payloadBytesOf,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  skipRecords,
} from "../format.ts";
import type { CursorState, LogPosition } from "../position.ts";
import type { Frame } from "../segment_reader.ts";

/** The position before the first frame of a segment. */
export function headerPosition(header: SegmentHeader): LogPosition {
  const { firstSequence, payloadBytesBefore, logBytesBefore } = header;
  return { nextSequence: firstSequence, payloadBytes: payloadBytesBefore, logBytes: logBytesBefore };
}

/** The positions of a cursor in one segment. */
export class CursorPositionTracker {
  readonly #header: SegmentHeader;
  /** The positions ahead, ascending. */
  readonly #positions: LogPosition[];
  readonly #found = new Map<number, LogPosition>();
  #payloadBytes: number;

  /** For the positions of `cursor` in the segment with that header. */
  constructor(header: SegmentHeader, cursor: CursorState | undefined) {
    this.#header = header;
    this.#payloadBytes = header.payloadBytesBefore;
    const positions = cursor === undefined ? [] : [cursor.committed, ...cursor.boundaries, cursor.resume];
    this.#positions = positions.filter(({ nextSequence }) => nextSequence >= header.firstSequence)
      .sort((a, b) => a.nextSequence - b.nextSequence);
  }

  /** The positions reached so far, by sequence, with totals taken from the frames. */
  get positions(): ReadonlyMap<number, LogPosition> {
    return this.#found;
  }

  /** Adds the next frame. */
  addFrame(frame: Frame): void {
    const { firstSequence, count, fileOffset } = frame;
    const logBytes = this.#header.logBytesBefore + fileOffset - SEGMENT_HEADER_BYTES;
    while (this.#positions.length > 0 && this.#positions[0].nextSequence < firstSequence + count) {
      const { nextSequence, payloadBytes } = this.#positions.shift()!;
      const inside = sumFirstPayloads(frame, nextSequence - firstSequence);
      this.#payloadBytes = Math.max(this.#payloadBytes, payloadBytes - inside);
      this.#found.set(nextSequence, { nextSequence, payloadBytes: this.#payloadBytes + inside, logBytes });
    }
    this.#payloadBytes += payloadBytesOf(frame);
  }

  /** Ends the segment: no frame follows. Returns the payload bytes before `expected`, the sequence that comes next. */
  finish(expected: number): number {
    for (const { nextSequence, payloadBytes } of this.#positions) {
      if (nextSequence <= expected) this.#payloadBytes = Math.max(this.#payloadBytes, payloadBytes);
    }
    return this.#payloadBytes;
  }
}

/** The bytes of the first `records` payloads of a frame. */
function sumFirstPayloads(frame: Frame, records: number): number {
  const first = frame.offset + FRAME_HEADER_BYTES;
  return payloadBytesIn(skipRecords(frame.view, first, records) - first, records);
}
