/**
 * The on-disk format of the cursor, versions 1 and 2. Pure: no I/O, no state. All offsets in the cursor are known to
 * this file only.
 *
 * Version 2 has four slots of 512 bytes, at the offsets 0, 4096, 8192 and 12288. A write goes to a slot that holds none
 * of these: the newest state, the newest synced state, the state that a running sync is making durable. So:
 *
 * - A write that is torn by the end of the process leaves the newest state.
 * - A power cut leaves at least what the last finished sync covered, however many writes came during that sync and
 *   since.
 * - Both hold on a device that writes whole pages, too.
 *
 * The file has its full length from the start, so a commit needs no additional disk space.
 *
 * ```text
 *           0  CRC              4   CRC-32 of everything after it, up to the last boundary
 *           4  magic            4   "SLCR"
 *           8  version          4
 *          12  count            4   number of boundaries, at most 16
 *          16  generation       8   the valid slot with the highest generation counts
 *          24  buffer uuid     16   as in the segments
 *          40  last sequence    8   the highest one acknowledged when the slot was written: no sequence is assigned
 *                                   twice, even if the end of the log is lost
 *          48  committed       24   position after the last committed record
 *          72  resume          24   position where the next batch begins: after what is in flight or dropped
 *          96  place            8   id of the directory that this cursor belongs to; 0 if unknown. See `ownership.ts`
 *         104  flags            4   1: a put is acknowledged only after a sync ("always")
 *         108  boundaries   n * 24  position after each batch in flight, oldest first
 *
 * position: 0  next sequence    8   of the record that follows
 *           8  payload bytes    8   of all records ever put before it
 *          16  log bytes        8   where its frame begins: bytes of all frames before that one, without headers
 * ```
 *
 * Version 1 has three slots, no place and no flags. Its boundaries, at most 17, begin at offset 96. Slots of both
 * versions are read; version 2 is written.
 *
 * @module
 */

import { crc32 } from "../base/crc32.ts";
import { bytesToUuid, getUint64, isNewer, setUint64, uuidToBytes } from "./encoding.ts";
import type { CursorOwner, CursorPositions, CursorState, LogPosition } from "./position.ts";

/** The cursor version that is written, and the newest that is read. All earlier versions are read, too. */
export const CURSOR_VERSION = 2;

/** The most bytes of a cursor slot. */
export const CURSOR_SLOT_BYTES = 512;
/** The number of slots. */
export const CURSOR_SLOTS = 4;
/** The distance between two slots: at least the page of any device. */
export const CURSOR_SLOT_STRIDE = 4096;
/** The length of the cursor file. */
export const CURSOR_FILE_BYTES: number = cursorFileBytes(CURSOR_SLOTS);

/** The length of a cursor file with that many slots. */
export function cursorFileBytes(slots: number): number {
  return (slots - 1) * CURSOR_SLOT_STRIDE + CURSOR_SLOT_BYTES;
}

const CURSOR_MAGIC = 0x52434c53;
/** Where the boundaries begin in a slot: in version 1, and in version 2. */
const CURSOR_FIXED_BYTES_V1 = 4 + 4 + 4 + 4 + 8 + 16 + 8 + 24 + 24;
const CURSOR_FIXED_BYTES: number = CURSOR_FIXED_BYTES_V1 + 8 + 4;
const CURSOR_FLAG_SYNCED = 1;
const POSITION_BYTES = 8 + 8 + 8;
/** The most boundaries that fit into a slot, and so the most batches that can be in flight. */
export const MAX_BOUNDARIES: number = Math.floor((CURSOR_SLOT_BYTES - CURSOR_FIXED_BYTES) / POSITION_BYTES);

/** Creates the bytes of a slot, and fills in what never changes. */
export function newCursorSlot({ uuid, place, isSynced }: CursorOwner): Uint8Array {
  const bytes = new Uint8Array(CURSOR_SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(uuidToBytes(uuid), 24);
  setUint64(view, 96, place);
  view.setUint32(104, isSynced ? CURSOR_FLAG_SYNCED : 0, true);
  return bytes;
}

/**
 * Encodes a cursor's state into a slot created by {@linkcode newCursorSlot}.
 *
 * @param view A view of all of `bytes`.
 * @returns How many bytes of the slot are used.
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

/** The result of {@linkcode decodeCursor}: a state, the version of a newer format, or nothing valid. */
export type CursorResult =
  | { readonly kind: "cursor"; readonly state: CursorState }
  | { readonly kind: "version"; readonly version: number }
  | { readonly kind: "bad" };

/** Decodes a cursor slot from `bytes`, which may be fewer than `CURSOR_SLOT_BYTES`. */
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
