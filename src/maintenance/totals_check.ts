/**
 * Adds a log up while it is scanned, and holds what its headers and its cursor say about sums against that.
 *
 * Each segment's header says how many bytes there were before it, and each position in the cursor how many before it. The
 * buffer opens without reading the log because it believes these numbers. They are checked wherever the bytes in
 * between could be read; behind damage nobody can say what they should be.
 *
 * @module
 */

import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "../wal/format.ts";
import { CURSOR_NAME } from "../wal/names.ts";
import type { CursorState, LogPosition } from "../wal/position.ts";
import { payloadBytesOf } from "../wal/segment_files.ts";
import type { Contradiction } from "./findings.ts";
import type { ScanItem, ScannedFrame, SegmentBegin } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

/** What a segment adds up to. */
export interface SegmentSums {
  readonly name: string;
  readonly bytes: number;
  readonly codecVersion: number;
  readonly isJson: boolean;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly firstSequence: number;
  /** `undefined` if it holds no record. */
  lastSequence: number | undefined;
  frames: number;
  records: number;
  payloadBytes: number;
}

/** A position of the cursor, and what it is for. */
interface CursorPosition {
  readonly name: string;
  readonly position: LogPosition;
}

/** Checks one log. */
export class TotalsCheck {
  /** What the segments add up to, in order. */
  readonly segments: SegmentSums[] = [];
  readonly #cursor: CursorState | undefined;
  /** The positions of the cursor that are not reached yet, the first one first. */
  readonly #positions: CursorPosition[];
  #header: SegmentHeader | undefined;
  /** Behind the last frame, as long as everything since the header could be read. */
  #end: LogPosition | undefined;

  /** With the cursor as it was when the scan began. */
  constructor(cursor: CursorState | undefined) {
    this.#cursor = cursor;
    this.#positions = positionsOf(cursor);
  }

  /** Takes the next item of the scan, and says what it contradicts. */
  add(item: ScanItem): Contradiction[] {
    switch (item.kind) {
      case "segment":
        return this.#begin(item);
      case "frame":
        return this.#addFrame(item);
      case "torn":
        return [];
      default:
        this.#end = undefined;
        return [];
    }
  }

  /** The scan is over: says what is left to say about the cursor. */
  end({ segments, cursorState, isSingleFile }: DirectorySnapshot): Contradiction[] {
    const found: Contradiction[] = [];
    if (this.#end !== undefined) found.push(...this.#checkPositions(this.#end));
    if (isSingleFile || (cursorState === "ok" && isInOrder(this.#cursor!))) return found;
    const what = {
      ok: "its positions are not in order",
      // Nothing was put yet, or everything is gone.
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
    const start: LogPosition = {
      nextSequence: firstSequence,
      payloadBytes: header.payloadBytesBefore,
      logBytes: header.logBytesBefore,
    };
    this.#header = header;
    this.#end = start;
    // Where segments in between were removed, nothing can be said about the sum.
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

  /** Checks the positions of the cursor that are at `start` or in the frame that begins there; those before are passed. */
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
