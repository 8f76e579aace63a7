/**
 * Where readers of a log begin inside a segment, going by the cursor.
 *
 * A reader that begins in the middle of a segment goes to the offset that the cursor gives (`SegmentReader.seek`), if the
 * frame is there. Whoever reads the whole segment has to begin there again, to find what that reader finds. Otherwise, what is
 * reported missing and what is delivered would contradict each other where frames have changed places, or the beginning of a
 * `putMany` is damaged.
 *
 * @module
 */

import type { FileHandle } from "../../fs/file_system.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "../format.ts";
import type { CursorState } from "../position.ts";
import { SegmentReader } from "../segment_reader.ts";

/** The place where a reader begins: the offset of a frame, and the record in it that comes first. */
interface ReaderStart {
  readonly offset: number;
  readonly sequence: number;
}

/** An open segment. */
interface OpenSegment {
  readonly handle: FileHandle;
  readonly header: SegmentHeader;
  /** Where its data ends. */
  readonly size: number;
}

/** The starts in one segment. */
export class ReaderStarts {
  /** Those ahead: at what is in flight; at what was never handed over, unless that directly follows what is in flight. */
  readonly #ahead: ReaderStart[];
  readonly #open: OpenSegment;
  /** The start that was last looked for in the segment, and whether its frame is there. */
  #sought: { readonly start: ReaderStart; readonly isThere: boolean } | undefined;

  /** For the positions of `cursor` in that segment. */
  constructor(open: OpenSegment, cursor: CursorState | undefined) {
    this.#open = open;
    const { firstSequence, logBytesBefore } = open.header;
    if (cursor === undefined) {
      this.#ahead = [];
      return;
    }
    const { committed, resume, boundaries } = cursor;
    const last = boundaries.at(-1);
    const positions = last === undefined ? [] : [committed];
    if (last === undefined || last.nextSequence < resume.nextSequence) positions.push(resume);
    this.#ahead = positions
      .map(({ nextSequence, logBytes }) => ({
        offset: SEGMENT_HEADER_BYTES + logBytes - logBytesBefore,
        sequence: nextSequence,
      }))
      .filter(({ offset, sequence }) => sequence >= firstSequence && offset > SEGMENT_HEADER_BYTES);
  }

  /**
   * The sequence below which frames count that are found ahead of the next start: records from there on are found behind that
   * start, or not at all. `Infinity` if `reached`, the sequence reached, is not above it, or no reader can begin there.
   */
  limitFor(reached: number): number {
    const start = this.#ahead[0];
    if (start === undefined || reached <= start.sequence) return Infinity;
    if (this.#sought?.start !== start) {
      const { handle, header, size } = this.#open;
      const probe = new SegmentReader(handle, header);
      if (start.offset < size) probe.seek(start.offset, start.sequence, size);
      this.#sought = { start, isThere: probe.position === start.offset };
    }
    return this.#sought.isThere ? start.sequence : Infinity;
  }

  /** Makes `reader` begin here as a reader of the log does, if one begins exactly here. Returns whether one does. */
  seek(reader: SegmentReader): boolean {
    const { size } = this.#open;
    let isStart = false;
    while (this.#ahead.length > 0 && this.#ahead[0].offset <= reader.position) {
      const { offset, sequence } = this.#ahead.shift()!;
      isStart = offset === reader.position && offset < size;
      if (isStart) reader.seek(offset, sequence, size);
    }
    return isStart;
  }

  /**
   * Moves `reader` to where a reader of the log begins, if that is within the bad bytes from `from` to `to`.
   *
   * @returns The offset it moved to; `undefined` if it didn't.
   */
  seekWithin(reader: SegmentReader, { from, to }: { readonly from: number; readonly to: number }): number | undefined {
    const start = this.#ahead[0];
    if (start === undefined || start.offset <= from || start.offset >= to) return undefined;
    reader.seek(start.offset, start.sequence, this.#open.size);
    if (reader.position !== start.offset) return undefined;
    this.#ahead.shift();
    return start.offset;
  }
}
