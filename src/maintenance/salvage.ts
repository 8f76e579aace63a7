/**
 * Salvages sound frames from bytes that a log could not use. A frame is sound if it meets conditions 1 to 4 of `format.ts`;
 * the fifth is about its position in a log.
 *
 * To check a frame, the salt must be known. Where both copies of a segment's header are lost, the salt is computed from a
 * frame (see `crc32_seed.ts`). For any single frame there is a salt that fits. So a salt is accepted only if the next frame
 * continues with the next sequence and has the right checksum, too; by accident that happens once in 2^32 times.
 *
 * Guarantees: pure; no length is trusted beyond the end of the data; the work on bytes that only look like frames is
 * bounded; a frame inside the payload of a sound frame is never taken for a frame.
 *
 * @module
 */

import { crc32SeedSolver } from "../base/crc32_seed.ts";
import {
  decodeFrameHeader,
  FLAG_CONTINUED,
  FLAG_CONTINUES,
  type FrameHeader,
  isFrameIntact,
  MIN_FRAME_BYTES,
  NO_RECORD_LIMIT,
  saltOf,
  type SegmentHeader,
} from "../wal/format.ts";

/** The bytes that are checked in vain before the search gives up. */
const BUDGET_BYTES = 1024 * 1024 * 1024;

/** What has to be known about a segment to check its frames. */
type FrameSeal = Pick<SegmentHeader, "salt" | "recordLimit">;

interface FoundFrame extends FrameHeader {
  /** Its offset in the bytes. */
  readonly offset: number;
}

/** A sound frame. */
export interface SoundFrame extends FoundFrame {
  /** Identifies its `putMany` among these frames; a frame of its own has a number of its own. */
  readonly group: number;
  /** Whether that `putMany` is complete. */
  readonly isWhole: boolean;
}

/** Finds the sound frames in `bytes`, in the order of their offsets. */
export function findSoundFrames(bytes: Uint8Array, seal: FrameSeal, from = 0): SoundFrame[] {
  const view = viewOf(bytes);
  const found: FoundFrame[] = [];
  let refusedBytes = 0;
  for (let at = from; at + MIN_FRAME_BYTES <= bytes.length && refusedBytes < BUDGET_BYTES;) {
    const header = decodeFrameHeader(view, at, bytes.length - at, seal.recordLimit);
    if (header !== undefined && isFrameIntact(bytes, view, at, header, seal)) {
      found.push({ ...header, offset: at });
      at += header.length;
    } else {
      refusedBytes += header?.length ?? 0;
      at++;
    }
  }
  return groupFrames(found);
}

/** Groups frames by their `putMany`, and determines whether each is complete. */
function groupFrames(found: readonly FoundFrame[]): SoundFrame[] {
  const frames: SoundFrame[] = [];
  for (let i = 0; i < found.length;) {
    let end = i + 1;
    while (end < found.length && continues(found[end - 1], found[end])) end++;
    const opens = (found[i].flags & FLAG_CONTINUED) === 0;
    const closes = (found[end - 1].flags & FLAG_CONTINUES) === 0;
    for (const frame of found.slice(i, end)) frames.push({ ...frame, group: i, isWhole: opens && closes });
    i = end;
  }
  return frames;
}

/** Whether `next` is the frame of the same `putMany` that follows `frame`. */
function continues(frame: FoundFrame, next: FoundFrame): boolean {
  return (frame.flags & FLAG_CONTINUES) !== 0 && (next.flags & FLAG_CONTINUED) !== 0 &&
    next.offset === frame.offset + frame.length && next.firstSequence === frame.firstSequence + frame.count;
}

/**
 * Computes the salt of frames whose segment's header is lost.
 *
 * @param candidates Salts from the remains of the header. One frame is enough to prove one of them.
 * @returns `undefined` if no two frames in a row agree on one.
 */
export function solveSalt(bytes: Uint8Array, candidates: readonly number[], from = 0): number | undefined {
  const view = viewOf(bytes);
  const solve = crc32SeedSolver();
  const isIntact = (at: number, header: FrameHeader, salt: number): boolean =>
    isFrameIntact(bytes, view, at, header, { salt, recordLimit: NO_RECORD_LIMIT });
  const headerAt = (at: number): FrameHeader | undefined =>
    decodeFrameHeader(view, at, bytes.length - at, NO_RECORD_LIMIT);
  let triedBytes = 0;
  for (let at = from; at + MIN_FRAME_BYTES <= bytes.length && triedBytes < BUDGET_BYTES; at++) {
    const header = headerAt(at);
    if (header === undefined) continue;
    const known = candidates.find((salt) => isIntact(at, header, salt));
    if (known !== undefined) return known;
    triedBytes += candidates.length * header.length;
    const after = at + header.length;
    const next = after + MIN_FRAME_BYTES <= bytes.length ? headerAt(after) : undefined;
    if (next?.firstSequence !== header.firstSequence + header.count) continue;
    triedBytes += header.length + next.length;
    const salt = saltOf(bytes, view, at, header, solve);
    if (isIntact(at, header, salt) && isIntact(after, next, salt)) return salt;
  }
  return undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
