/**
 * A frame as a scan yields it: without records that an earlier segment has as well, and with its payloads as views.
 *
 * @module
 */

import { FRAME_HEADER_BYTES, payloadStart, recordEnd, type SegmentHeader, skipRecords } from "../wal/format.ts";
import type { Frame } from "../wal/segment_reader.ts";
import type { ScannedFrame } from "./scan_items.ts";

/** Makes a scan item of a frame, without the records below `known`, which an earlier segment has as well. */
export function toScannedFrame(segment: string, header: SegmentHeader, frame: Frame, known: number): ScannedFrame {
  const skipped = Math.max(0, known - frame.firstSequence);
  return {
    kind: "frame",
    segment,
    offset: frame.fileOffset,
    length: frame.length,
    firstSequence: frame.firstSequence + skipped,
    count: frame.count - skipped,
    putTime: frame.putTime,
    payloads: () => payloadsOf(frame, skipped),
    body: () => frame.bytes.subarray(bodyStart(frame, skipped), frame.offset + frame.length),
    codecVersion: header.codecVersion,
    isJson: header.isJson,
  };
}

/** Where the records of a frame begin, without the first `skipped` ones. */
function bodyStart({ view, offset }: Frame, skipped: number): number {
  return skipRecords(view, offset + FRAME_HEADER_BYTES, skipped);
}

/** The payloads of a frame without its first `skipped` ones, views of the reader's bytes. */
function payloadsOf(frame: Frame, skipped: number): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  let at = bodyStart(frame, skipped);
  for (let i = skipped; i < frame.count; i++) {
    const end = recordEnd(frame.view, at);
    payloads.push(frame.bytes.subarray(payloadStart(at), end));
    at = end;
  }
  return payloads;
}
