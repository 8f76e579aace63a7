/**
 * Frames and segments made and read without the code under test.
 *
 * Offsets are taken from the head comment of `format.ts`, not from its code: so the tests hold one against the other.
 */

import { crc32 } from "node:zlib";
import { encodeSegmentHeader, type SegmentHeader } from "../../src/wal/format.ts";
import { bytesOf, concat, filledBytes, uint32, viewOf } from "./bytes.ts";

/** Bytes of both copies of a segment's header. */
export const HEADER_BYTES = 160;
/** Bytes of a frame before its records. */
export const FRAME_BYTES = 28;
/** Flags of a frame. */
export const CONTINUES = 1;
export const CONTINUED = 2;
export const UUID_A = "00112233-4455-6677-8899-aabbccddeeff";
export const UUID_B = "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff";

/** A frame as the format's page describes it. */
export interface FrameParts {
  readonly sequence: number;
  readonly payloads: readonly (string | Uint8Array)[];
  readonly salt: number;
  readonly flags?: number;
  readonly putTime?: number;
  /** Records right before it that were not acknowledged. */
  readonly unacknowledged?: number;
}

/** The bytes of a frame, made without the code under test. */
export function frameOf(parts: FrameParts): Uint8Array {
  const { sequence, payloads, salt, flags = 0, putTime = 1_700_000_000_000, unacknowledged = 0 } = parts;
  const records = payloads.map((payload) => {
    const bytes = typeof payload === "string" ? bytesOf(payload) : payload;
    return concat(uint32(bytes.length), bytes);
  });
  const frame = concat(new Uint8Array(FRAME_BYTES), ...records);
  const view = viewOf(frame);
  view.setUint32(0, frame.length, true);
  view.setBigUint64(8, BigInt(sequence), true);
  view.setUint32(16, putTime % 2 ** 32, true);
  view.setUint16(20, Math.floor(putTime / 2 ** 32), true);
  frame[22] = 1;
  frame[23] = flags;
  view.setUint16(24, payloads.length, true);
  view.setUint16(26, unacknowledged, true);
  return sealFrame(frame, salt);
}

/** The same frame with the checksum that its content needs: for frames that are wrong in every other way. */
export function sealFrame(frame: Uint8Array, salt: number): Uint8Array {
  const sealed = frame.slice();
  const crc = crc32(sealed.subarray(8), crc32(sealed.subarray(0, 4), salt));
  viewOf(sealed).setUint32(4, crc, true);
  return sealed;
}

/** What a frame's header says, and where it begins. */
export interface FrameFound {
  readonly offset: number;
  readonly length: number;
  readonly sequence: number;
  readonly count: number;
  readonly flags: number;
  readonly unacknowledged: number;
}

/** The frames of an undamaged segment. */
export function framesOf(segment: Uint8Array): FrameFound[] {
  const view = viewOf(segment);
  const frames: FrameFound[] = [];
  for (let offset = HEADER_BYTES; offset < filledBytes(segment); offset += frames.at(-1)!.length) {
    frames.push({
      offset,
      length: view.getUint32(offset, true),
      sequence: Number(view.getBigUint64(offset + 8, true)),
      flags: segment[offset + 23]!,
      count: view.getUint16(offset + 24, true),
      unacknowledged: view.getUint16(offset + 26, true),
    });
  }
  return frames;
}

/** A segment's header, complete; `parts` say what is not as usual. */
export function headerOf(parts: Partial<SegmentHeader> = {}): SegmentHeader {
  return {
    codecVersion: 0,
    uuid: UUID_A,
    firstSequence: 1,
    payloadBytesBefore: 0,
    logBytesBefore: 0,
    createdAt: 1_700_000_000_000,
    unacknowledged: 0,
    salt: 0x5a17ab1e,
    recordLimit: 1024,
    isJson: false,
    ...parts,
  };
}

/** The bytes of a segment. */
export function segmentOf(header: SegmentHeader, ...frames: readonly Uint8Array[]): Uint8Array {
  return concat(encodeSegmentHeader(header), ...frames);
}
