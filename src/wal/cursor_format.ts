/**
 * The bytes of the cursor on disk, versions 1 and 2. Pure: no I/O, no state. Nothing else in Sluice knows an offset in it.
 *
 * Version 2. Four slots of 512 bytes at offsets 0, 4096, 8192 and 12288. A write goes to one that holds neither the newest
 * state, nor the newest that was synced, nor the one that a sync under way is making durable. So a write that is torn by the
 * end of the process leaves the newest state; a power cut leaves at least what the last finished sync covered, however many
 * writes came during that sync and since; and both hold on a device that writes whole pages. The file has its full length
 * from the start: a commit needs no space.
 *
 * ```text
 *           0  CRC              4   CRC-32 of all that follows, up to the last boundary
 *           4  magic            4   "SLCR"
 *           8  version          4
 *          12  count            4   number of boundaries, at most 16
 *          16  generation       8   the valid slot with the highest one counts
 *          24  buffer uuid     16   as in the segments
 *          40  last sequence    8   highest one acknowledged when the slot was written: none is given out twice, even if
 *                                   the end of the log is lost
 *          48  committed       24   position behind the last committed record
 *          72  resume          24   position from which the next batch is cut: behind what is in flight or dropped
 *          96  place            8   of the directory that this cursor belongs to; 0 if it is not known. See `ownership.ts`
 *         104  flags            4   1: a put is acknowledged only after a sync ("always")
 *         108  boundaries   n * 24  position behind each batch in flight, oldest first
 *
 * position: 0  next sequence    8   of the record that follows
 *           8  payload bytes    8   of all records ever put before it
 *          16  log bytes        8   where its frame begins in the log, counted over all segments without headers
 * ```
 *
 * Version 1 has three slots, no place and no flags; its boundaries, at most 17, begin at 96. A slot of either version is
 * read; version 2 is written.
 *
 * @module
 */

import { crc32 } from "../base/crc32.ts";
import { bytesToUuid, getUint64, isNewer, setUint64, uuidToBytes } from "./encoding.ts";
import type { CursorOwner, CursorPositions, CursorState, LogPosition } from "./position.ts";

/** The version of the cursor that is written, and the newest that is read; every one before is read, too. */
export const CURSOR_VERSION = 2;

/** Bytes of one cursor slot, at most. */
export const CURSOR_SLOT_BYTES = 512;
/** Number of slots. */
export const CURSOR_SLOTS = 4;
/** Distance of the slots: at least the page of any device. */
export const CURSOR_SLOT_STRIDE = 4096;
/** Length of the cursor file. */
export const CURSOR_FILE_BYTES: number = cursorFileBytes(CURSOR_SLOTS);

/** Length of a cursor file with that many slots. */
export function cursorFileBytes(slots: number): number {
  return (slots - 1) * CURSOR_SLOT_STRIDE + CURSOR_SLOT_BYTES;
}

const CURSOR_MAGIC = 0x52434c53;
/** Where the boundaries begin in a slot: in version 1, and since. */
const CURSOR_FIXED_BYTES_V1 = 4 + 4 + 4 + 4 + 8 + 16 + 8 + 24 + 24;
const CURSOR_FIXED_BYTES: number = CURSOR_FIXED_BYTES_V1 + 8 + 4;
const CURSOR_FLAG_SYNCED = 1;
const POSITION_BYTES = 8 + 8 + 8;
/** The most boundaries that fit one slot, which is how many batches can be in flight. */
export const MAX_BOUNDARIES: number = Math.floor((CURSOR_SLOT_BYTES - CURSOR_FIXED_BYTES) / POSITION_BYTES);

/** A slot's worth of bytes, with what never changes in place. */
export function newCursorSlot({ uuid, place, isSynced }: CursorOwner): Uint8Array {
  const bytes = new Uint8Array(CURSOR_SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(uuidToBytes(uuid), 24);
  setUint64(view, 96, place);
  view.setUint32(104, isSynced ? CURSOR_FLAG_SYNCED : 0, true);
  return bytes;
}

/**
 * Writes a cursor's state into a slot made by {@linkcode newCursorSlot} and returns how many bytes count.
 *
 * @param view A view of all of `bytes`.
 */
export function encodeCursor(bytes: Uint8Array, view: DataView, generation: number, state: CursorPositions): number {
  const length = CURSOR_FIXED_BYTES + state.boundaries.length * POSITION_BYTES;
  view.setUint32(4, CURSOR_MAGIC, true);
  view.setUint32(8, CURSOR_VERSION, true);
  view.setUint32(12, state.boundaries.length, true);
  setUint64(view, 16, generation);
  setUint64(view, 40, state.lastSequence);
  setPosition(view, 48, state.committed);
  setPosition(view, 72, state.resume);
  for (let i = 0; i < state.boundaries.length; i++) {
    setPosition(view, CURSOR_FIXED_BYTES + i * POSITION_BYTES, state.boundaries[i]);
  }
  view.setUint32(0, crc32(bytes, 0, 4, length, view), true);
  return length;
}

/** What is in a cursor slot: its state, the version of a newer format, or nothing valid. */
export type CursorResult =
  | { readonly kind: "cursor"; readonly state: CursorState }
  | { readonly kind: "version"; readonly version: number }
  | { readonly kind: "bad" };

/** Reads a cursor slot from the `CURSOR_SLOT_BYTES` in `bytes`. */
export function decodeCursor(bytes: Uint8Array): CursorResult {
  if (bytes.length < CURSOR_FIXED_BYTES_V1) return { kind: "bad" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(4, true) !== CURSOR_MAGIC) return { kind: "bad" };
  const version = view.getUint32(8, true);
  if (isNewer(version, CURSOR_VERSION)) return { kind: "version", version };
  if (version < 1 || version > CURSOR_VERSION) return { kind: "bad" };
  const fixedBytes = version === 1 ? CURSOR_FIXED_BYTES_V1 : CURSOR_FIXED_BYTES;
  const count = view.getUint32(12, true);
  const length = fixedBytes + count * POSITION_BYTES;
  if (length > Math.min(bytes.length, CURSOR_SLOT_BYTES)) return { kind: "bad" };
  if (view.getUint32(0, true) !== crc32(bytes, 0, 4, length)) return { kind: "bad" };
  const boundaries: LogPosition[] = [];
  for (let i = 0; i < count; i++) boundaries.push(getPosition(view, fixedBytes + i * POSITION_BYTES));
  const state: CursorState = {
    generation: getUint64(view, 16),
    uuid: bytesToUuid(bytes.subarray(24, 40)),
    place: version === 1 ? 0 : getUint64(view, 96),
    isSynced: version !== 1 && (view.getUint32(104, true) & CURSOR_FLAG_SYNCED) !== 0,
    lastSequence: getUint64(view, 40),
    committed: getPosition(view, 48),
    resume: getPosition(view, 72),
    boundaries,
  };
  return { kind: "cursor", state };
}

function setPosition(view: DataView, offset: number, position: LogPosition): void {
  setUint64(view, offset, position.nextSequence);
  setUint64(view, offset + 8, position.payloadBytes);
  setUint64(view, offset + 16, position.logBytes);
}

function getPosition(view: DataView, offset: number): LogPosition {
  return {
    nextSequence: getUint64(view, offset),
    payloadBytes: getUint64(view, offset + 8),
    logBytes: getUint64(view, offset + 16),
  };
}
