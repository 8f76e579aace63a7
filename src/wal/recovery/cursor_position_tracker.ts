/**
 * Where a cursor's positions are in a segment that is read through: by the place that the cursor names, if the frame is there.
 *
 * A reader that begins in the middle of a segment goes by that place (`SegmentReader.seek`), so whoever judges the segment
 * before him must go by it, too. What the frames say of the totals then replaces what the cursor says: where frames before a
 * position are bad, the two don't agree, and what is pending is the difference of two positions.
 *
 * @module
 */

import { FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, type SegmentHeader } from "../format.ts";
import type { CursorState, LogPosition } from "../position.ts";
import { payloadBytesOf } from "../segment_files.ts";
import type { Frame, SegmentReader } from "../segment_reader.ts";

/** Before the first frame of a segment. */
export function headerPosition(header: SegmentHeader): LogPosition {
  const { firstSequence, payloadBytesBefore, logBytesBefore } = header;
  return { nextSequence: firstSequence, payloadBytes: payloadBytesBefore, logBytes: logBytesBefore };
}

/** The positions of a cursor in one segment, while that is read. */
export class CursorPositionTracker {
  readonly #header: SegmentHeader;
  /** Where reading begins: what is in flight, and what was never handed over, unless that follows right behind. */
  readonly #starts: LogPosition[];
  /** Positions that weren't passed yet. */
  readonly #positions: LogPosition[];
  readonly #found = new Map<number, LogPosition>();
  #payloadBytes: number;

  /** Those of `cursor` in the segment with that header. */
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

  /** What the frames say of the positions, by their sequences. */
  get positions(): ReadonlyMap<number, LogPosition> {
    return this.#found;
  }

  /** If reading begins right here, `reader` does so, too. */
  seekToStart(reader: SegmentReader, size: number): void {
    while (this.#starts.length > 0 && this.#offsetOf(this.#starts[0]) <= reader.position) {
      const start = this.#starts.shift()!;
      const isHere = this.#offsetOf(start) === reader.position && reader.position < size;
      if (isHere) reader.seek(reader.position, start.nextSequence, size);
    }
  }

  /**
   * If reading begins among the bytes from `from` to `to`, which `reader` couldn't make anything of, it goes there.
   *
   * @returns The place, or `undefined` if there is none.
   */
  seekToStartWithin(
    reader: SegmentReader,
    { from, to, size }: { from: number; to: number; size: number },
  ): number | undefined {
    const [start] = this.#starts;
    if (start === undefined) return undefined;
    const place = this.#offsetOf(start);
    if (place <= from || place >= to) return undefined;
    reader.seek(place, start.nextSequence, size);
    if (reader.position !== place) return undefined;
    this.#starts.shift();
    return place;
  }

  /** A frame was read. */
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

  /** No frame follows; returns the payload bytes before `expected`, the sequence that comes next. */
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

/** Sum of the first `records` payloads of a frame. */
function sumFirstPayloads(frame: Frame, records: number): number {
  let at = frame.offset + FRAME_HEADER_BYTES;
  let bytes = 0;
  for (let i = 0; i < records; i++) {
    const length = frame.view.getUint32(at, true);
    bytes += length;
    at += RECORD_HEADER_BYTES + length;
  }
  return bytes;
}
