/**
 * Tracks the cursor's positions while a segment is read through, and takes their totals from the frames.
 *
 * A reader that begins in the middle of a segment goes to the offset that the cursor gives (`SegmentReader.seek`), if the
 * frame is there. A scan of the segment has to begin at the same frame, to see what that reader sees. The totals of the
 * frames then replace those of the cursor: after bad frames the two differ, and the backlog is the difference of two
 * positions.
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
import type { Frame, SegmentReader } from "../segment_reader.ts";

/** The position before the first frame of a segment. */
export function headerPosition(header: SegmentHeader): LogPosition {
  const { firstSequence, payloadBytesBefore, logBytesBefore } = header;
  return { nextSequence: firstSequence, payloadBytes: payloadBytesBefore, logBytes: logBytesBefore };
}

/** The positions of a cursor in one segment. */
export class CursorPositionTracker {
  readonly #header: SegmentHeader;
  /**
   * Where readers begin: at what is in flight; at what was never handed over, unless that directly follows what is in
   * flight.
   */
  readonly #starts: LogPosition[];
  /** The positions ahead, ascending. */
  readonly #positions: LogPosition[];
  readonly #found = new Map<number, LogPosition>();
  #payloadBytes: number;

  /** For the positions of `cursor` in the segment with that header. */
  constructor(header: SegmentHeader, cursor: CursorState | undefined) {
    this.#header = header;
    this.#payloadBytes = header.payloadBytesBefore;
    const positions: LogPosition[] = [];
    const starts: LogPosition[] = [];
    if (cursor !== undefined) {
      const { committed, resume, boundaries } = cursor;
      const last = boundaries.at(-1);
      if (last !== undefined) starts.push(committed);
      if (last === undefined || last.nextSequence < resume.nextSequence) starts.push(resume);
      positions.push(committed, ...boundaries, resume);
    }
    const isHere = ({ nextSequence }: LogPosition) => nextSequence >= header.firstSequence;
    this.#positions = positions.filter(isHere).sort((a, b) => a.nextSequence - b.nextSequence);
    this.#starts = starts.filter((start) => isHere(start) && this.#offsetOf(start) > SEGMENT_HEADER_BYTES);
  }

  /** The positions reached so far, by sequence, with totals taken from the frames. */
  get positions(): ReadonlyMap<number, LogPosition> {
    return this.#found;
  }

  /** Makes `reader` begin here as a reader of the log does, if one begins exactly here. */
  seekToStart(reader: SegmentReader, size: number): void {
    while (this.#starts.length > 0 && this.#offsetOf(this.#starts[0]) <= reader.position) {
      const start = this.#starts.shift()!;
      const isHere = this.#offsetOf(start) === reader.position && reader.position < size;
      if (isHere) reader.seek(reader.position, start.nextSequence, size);
    }
  }

  /**
   * Moves `reader` to where a reader of the log begins, if that is within the bad bytes from `from` to `to`.
   *
   * @returns The offset it moved to; `undefined` if it didn't.
   */
  seekToStartWithin(
    reader: SegmentReader,
    { from, to, size }: { from: number; to: number; size: number },
  ): number | undefined {
    const [start] = this.#starts;
    if (start === undefined) return undefined;
    const offset = this.#offsetOf(start);
    if (offset <= from || offset >= to) return undefined;
    reader.seek(offset, start.nextSequence, size);
    if (reader.position !== offset) return undefined;
    this.#starts.shift();
    return offset;
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

  #offsetOf({ logBytes }: LogPosition): number {
    return SEGMENT_HEADER_BYTES + logBytes - this.#header.logBytesBefore;
  }
}

/** The bytes of the first `records` payloads of a frame. */
function sumFirstPayloads(frame: Frame, records: number): number {
  const first = frame.offset + FRAME_HEADER_BYTES;
  return payloadBytesIn(skipRecords(frame.view, first, records) - first, records);
}
