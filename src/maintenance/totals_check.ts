/**
 * Adds up a log while it is scanned, and compares the running totals in its headers and its cursor with the sums.
 *
 * Each segment's header, and each position in the cursor, states how many bytes precede it. A buffer opens without reading
 * its log because it trusts these totals. They are checked wherever the bytes in between could be read. After damage the
 * right totals are unknown.
 *
 * @module
 */

import { payloadBytesOf, SEGMENT_HEADER_BYTES, type SegmentHeader } from "../wal/format.ts";
import { CURSOR_NAME } from "../wal/names.ts";
import type { CursorState, LogPosition } from "../wal/position.ts";
import { headerPosition } from "../wal/recovery/cursor_position_tracker.ts";
import type { Contradiction } from "./findings.ts";
import type { ScanItem, ScannedFrame, SegmentBegin } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

/** The sums over one segment. */
export interface SegmentSums extends Pick<SegmentHeader, "codecVersion" | "isJson" | "createdAt" | "firstSequence"> {
  readonly name: string;
  readonly bytes: number;
  /** `undefined` if it holds no record. */
  lastSequence: number | undefined;
  frames: number;
  records: number;
  payloadBytes: number;
}

/** A position in the cursor, and its name. */
interface CursorPosition {
  readonly name: string;
  readonly position: LogPosition;
}

/** Checks the running totals of one log. */
export class TotalsCheck {
  /** The sums over each segment, in order. */
  readonly segments: SegmentSums[] = [];
  readonly #cursor: CursorState | undefined;
  /** The positions of the cursor that are not reached yet, ascending. */
  readonly #positions: CursorPosition[];
  #header: SegmentHeader | undefined;
  /** The position after the last frame; `undefined` after damage in this segment. */
  #end: LogPosition | undefined;

  /** `cursor`: as it was at the beginning of the scan. */
  constructor(cursor: CursorState | undefined) {
    this.#cursor = cursor;
    this.#positions = positionsOf(cursor);
  }

  /** Adds the next item of the scan, and returns the contradictions found with it. */
  add(item: ScanItem): Contradiction[] {
    if (item.kind === "segment") return this.#begin(item);
    if (item.kind === "frame") return this.#addFrame(item);
    if (item.kind !== "torn") this.#end = undefined;
    return [];
  }

  /** Ends the scan, and returns the remaining contradictions, which are about the cursor. */
  end({ segments, cursorState, isSingleFile }: DirectorySnapshot): Contradiction[] {
    const found: Contradiction[] = [];
    if (this.#end !== undefined) found.push(...this.#checkPositions(this.#end));
    if (isSingleFile || (cursorState === "ok" && isInOrder(this.#cursor!))) return found;
    const what = {
      ok: "its positions are not in order",
      // Without segments it is no contradiction: nothing was put yet, or everything is gone.
      missing: segments.length === 0 ? undefined : "is missing: committed records will come again",
      damaged: "can't be read: committed records will come again",
      foreign: "is another buffer's: committed records will come again",
    }[cursorState];
    if (what !== undefined) found.push({ kind: "contradiction", segment: CURSOR_NAME, what });
    return found;
  }

  #begin({ segment, bytes, header }: SegmentBegin): Contradiction[] {
    const { codecVersion, isJson, createdAt, firstSequence } = header;
    this.segments.push({
      name: segment,
      bytes,
      codecVersion,
      isJson,
      createdAt,
      firstSequence,
      lastSequence: undefined,
      frames: 0,
      records: 0,
      payloadBytes: 0,
    });
    const before = this.#end;
    const start = headerPosition(header);
    this.#header = header;
    this.#end = start;
    // Where segments in between were removed, the right totals are unknown.
    if (before === undefined || before.nextSequence !== firstSequence || isSame(before, start)) return [];
    return [{ kind: "contradiction", segment, what: `its header counts ${difference(start, before)} before it` }];
  }

  #addFrame(frame: ScannedFrame): Contradiction[] {
    const { firstSequence, count, offset, length } = frame;
    const sums = this.segments[this.segments.length - 1];
    const payloadBytes = payloadBytesOf(frame);
    sums.frames++;
    sums.records += count;
    sums.payloadBytes += payloadBytes;
    sums.lastSequence = firstSequence + count - 1;
    const start = this.#end;
    if (start === undefined) return [];
    this.#end = {
      nextSequence: firstSequence + count,
      payloadBytes: start.payloadBytes + payloadBytes,
      logBytes: this.#header!.logBytesBefore + offset + length - SEGMENT_HEADER_BYTES,
    };
    const next = this.#positions[0]?.position.nextSequence;
    return next !== undefined && next < firstSequence + count ? this.#checkPositions(start, frame) : [];
  }

  /** Checks the positions of the cursor that are at `start` or in the frame that begins there; skips those before. */
  #checkPositions(start: LogPosition, frame?: ScannedFrame): Contradiction[] {
    const found: Contradiction[] = [];
    const end = start.nextSequence + (frame?.count ?? 1);
    while (this.#positions.length > 0 && this.#positions[0].position.nextSequence < end) {
      const { name, position } = this.#positions.shift()!;
      const inside = position.nextSequence - start.nextSequence;
      if (inside < 0) continue;
      const before = frame?.payloads().slice(0, inside).reduce((sum, payload) => sum + payload.length, 0) ?? 0;
      const right = { ...start, nextSequence: position.nextSequence, payloadBytes: start.payloadBytes + before };
      if (isSame(position, right)) continue;
      const what = `its ${name} position counts ${difference(position, right)} before ${position.nextSequence}`;
      found.push({ kind: "contradiction", segment: CURSOR_NAME, what });
    }
    return found;
  }
}

function positionsOf(cursor: CursorState | undefined): CursorPosition[] {
  if (cursor === undefined) return [];
  const { committed, resume, boundaries } = cursor;
  return [
    { name: "committed", position: committed },
    ...boundaries.map((position) => ({ name: "in-flight", position })),
    { name: "resume", position: resume },
  ].sort((a, b) => a.position.nextSequence - b.position.nextSequence);
}

function isInOrder({ committed, resume, boundaries }: CursorState): boolean {
  const sequences = [committed, ...boundaries, resume].map(({ nextSequence }) => nextSequence);
  return sequences.every((sequence, i) => i === 0 || sequences[i - 1] <= sequence);
}

function isSame(a: LogPosition, b: LogPosition): boolean {
  return a.payloadBytes === b.payloadBytes && a.logBytes === b.logBytes;
}

function difference(said: LogPosition, right: LogPosition): string {
  return said.payloadBytes === right.payloadBytes
    ? `${said.logBytes} bytes of frames, not ${right.logBytes},`
    : `${said.payloadBytes} payload bytes, not ${right.payloadBytes},`;
}
