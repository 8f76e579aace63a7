/**
 * A frame as a scan yields it: without records that don't belong there, and with its payloads as views.
 *
 * @module
 */

import { FRAME_HEADER_BYTES, payloadStart, recordEnd, type SegmentHeader, skipRecords } from "../wal/format.ts";
import type { Frame } from "../wal/segment_reader.ts";
import type { ScannedFrame } from "./scan_items.ts";

/** Makes a scan item of a frame's records from `first` up to, and without, `end`. */
export function toScannedFrame(
  segment: string,
  header: SegmentHeader,
  frame: Frame,
  { first, end }: { readonly first: number; readonly end: number },
): ScannedFrame {
  const from = Math.max(0, first - frame.firstSequence);
  const to = end - frame.firstSequence;
  const start = skipRecords(frame.view, frame.offset + FRAME_HEADER_BYTES, from);
  return {
    kind: "frame",
    segment,
    offset: frame.fileOffset,
    length: frame.length,
    firstSequence: frame.firstSequence + from,
    count: to - from,
    putTime: frame.putTime,
    payloads: () => payloadsOf(frame, start, to - from),
    body: () => frame.bytes.subarray(start, skipRecords(frame.view, start, to - from)),
    codecVersion: header.codecVersion,
    isJson: header.isJson,
  };
}

/** The payloads of `count` records, views of the reader's bytes; the length of the first one is at `at`. */
function payloadsOf({ bytes, view }: Frame, at: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => {
    const payload = bytes.subarray(payloadStart(at), recordEnd(view, at));
    at = recordEnd(view, at);
    return payload;
  });
}
