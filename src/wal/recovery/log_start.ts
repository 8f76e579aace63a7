/**
 * Where a log begins, and the sizes of segments that recovery doesn't read: one header is read instead of each segment.
 *
 * Guarantees: in a healthy log one segment is opened, the oldest, whatever the backlog. If records after a batch in flight
 * were dropped, two more are opened, because the running totals between them count segments that were removed.
 *
 * @module
 */

import type { SegmentSize } from "../disk_usage.ts";
import { type CursorState, LOG_START, type LogPosition } from "../position.ts";
import { type LogLocation, readOwnHeader, type Segment, withSegment } from "../segment_files.ts";

/** The start of a log. */
interface LogStart {
  /** The position before the first record of the oldest segment. */
  readonly start: LogPosition;
  /** The sizes of the segments that were opened for it. */
  readonly sizes: readonly SegmentSize[];
}

/** Opens segments, the oldest first, until the header of one can be read; takes the totals of `fallback` if none can. */
export function findLogStart(
  location: LogLocation,
  segments: readonly Segment[],
  { uuid, fallback }: { uuid: string; fallback: LogPosition },
): LogStart {
  const sizes: SegmentSize[] = [];
  if (segments.length === 0) return { start: LOG_START, sizes };
  const { firstSequence: nextSequence } = segments[0];
  for (const segment of segments) {
    const size = measureSegment(location, segment, uuid);
    sizes.push(size);
    if (size.logBytesBefore === undefined) continue;
    const { payloadBytesBefore: payloadBytes, logBytesBefore: logBytes } = size;
    return { start: { nextSequence, payloadBytes, logBytes }, sizes };
  }
  return { start: { ...fallback, nextSequence }, sizes };
}

/** Measures the two segments between which others were dropped, if records after a batch in flight were dropped. */
export function measureAroundDropped(
  location: LogLocation,
  segments: readonly Segment[],
  { uuid, state: { boundaries, resume } }: { uuid: string; state: Pick<CursorState, "boundaries" | "resume"> },
): SegmentSize[] {
  const last = boundaries.at(-1)?.nextSequence ?? Infinity;
  if (last >= resume.nextSequence) return [];
  const next = segments.findIndex(({ firstSequence }) => firstSequence >= last);
  return segments.slice(Math.max(0, next - 1), next + 1).map((segment) => measureSegment(location, segment, uuid));
}

interface MeasuredSegment extends SegmentSize {
  readonly payloadBytesBefore: number;
}

/** Opens a segment: its size, and the totals in its header if it is one of this log. */
export function measureSegment(location: LogLocation, segment: Segment, uuid: string): MeasuredSegment {
  return withSegment(location, segment, (handle) => {
    const { logBytesBefore, payloadBytesBefore = 0 } = readOwnHeader(handle, segment, uuid) ?? {};
    return { segment, bytes: handle.size(), logBytesBefore, payloadBytesBefore };
  });
}
