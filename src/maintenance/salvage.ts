/**
 * Finds sound frames in bytes that a log could not use: conditions 1 to 4 of `format.ts`, without the fifth, which is
 * about their place in a log.
 *
 * For that the salt must be known. Where both copies of a segment's header are lost, it is computed from a frame (see
 * `crc32_seed.ts`). A salt fits any one frame, so it is believed only if the frame behind goes on with the next
 * sequence and has the right checksum, too: by accident that happens once in 2^32 times.
 *
 * Guarantees: pure; no length is trusted that reaches behind the data; what looks like frames and isn't costs a bounded
 * amount of work. A frame inside the payload of a sound frame is never taken for one.
 *
 * @module
 */

import { crc32SeedSolver } from "../base/crc32_seed.ts";
import {
  decodeFrameHeader,
  FLAG_CONTINUED,
  FLAG_CONTINUES,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  isFrameIntact,
  RECORD_HEADER_BYTES,
  saltOf,
} from "../wal/format.ts";

/** The shortest frame. */
const MIN_FRAME_BYTES = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES;
/** So many bytes of what looked like frames and wasn't are checked; then the rest is left alone. */
const BUDGET_BYTES = 1024 * 1024 * 1024;
/** Where no limit is known, the length of a payload is bounded by the data alone. */
export const NO_RECORD_LIMIT: number = 2 ** 32 - 1;

/** What has to be known of a segment to check its frames. */
export interface FrameSeal {
  readonly salt: number;
  readonly recordLimit: number;
}

/** A sound frame. */
export interface SoundFrame extends FrameHeader {
  /** Where it begins in the bytes. */
  readonly offset: number;
  /** The number of its `putMany` among these frames; frames that stand alone have one each. */
  readonly group: number;
  /** Whether all of that `putMany` is here. */
  readonly isWhole: boolean;
}

/** The sound frames in `bytes`, in the order in which they stand there. */
export function findSoundFrames(bytes: Uint8Array, seal: FrameSeal, from = 0): SoundFrame[] {
  const view = viewOf(bytes);
  const found: (FrameHeader & { offset: number })[] = [];
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

/** Finds out which frames belong to one `putMany`, and whether it is whole. */
function groupFrames(found: readonly (FrameHeader & { readonly offset: number })[]): SoundFrame[] {
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
function continues(frame: FrameHeader & { offset: number }, next: FrameHeader & { offset: number }): boolean {
  return (frame.flags & FLAG_CONTINUES) !== 0 && (next.flags & FLAG_CONTINUED) !== 0 &&
    next.offset === frame.offset + frame.length && next.firstSequence === frame.firstSequence + frame.count;
}

/**
 * Computes the salt of frames whose segment's header is lost.
 *
 * @param candidates Salts that may be right: what is left of the header says so. One frame proves them.
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
    const behind = at + header.length;
    const next = behind + MIN_FRAME_BYTES <= bytes.length ? headerAt(behind) : undefined;
    if (next?.firstSequence !== header.firstSequence + header.count) continue;
    triedBytes += header.length + next.length;
    const salt = saltOf(bytes, view, at, header, solve);
    if (isIntact(at, header, salt) && isIntact(behind, next, salt)) return salt;
  }
  return undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
