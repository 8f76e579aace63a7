/**
 * What `open()` learns of segments that it doesn't read: where the log begins, and how large some of them are.
 *
 * Guarantees: of a healthy log one segment is looked at, the oldest, whatever the backlog; two more where records behind a
 * batch in flight were dropped, because there the running totals count segments that are gone.
 *
 * @module
 */

import type { SegmentSize } from "../disk_usage.ts";
import { type CursorState, LOG_START, type LogPosition } from "../position.ts";
import { headerMatches, type LogLocation, readSegmentHeader, type Segment, withSegment } from "../segment_files.ts";

/** Where a log begins. */
export interface LogStart {
  /** Before the first record of the oldest segment. */
  readonly start: LogPosition;
  /** That segment, and those before it that can't be read. */
  readonly sizes: readonly SegmentSize[];
}

/** Looks at the oldest segments, until one is of this log; `otherwise` says what is before the last, if none is. */
export function findLogStart(
  place: LogLocation,
  segments: readonly Segment[],
  { uuid, otherwise }: { uuid: string; otherwise: LogPosition },
): LogStart {
  const sizes: SegmentSize[] = [];
  if (segments.length === 0) return { start: LOG_START, sizes };
  const { firstSequence: nextSequence } = segments[0];
  for (const segment of segments) {
    const size = measureSegment(place, segment, uuid);
    sizes.push(size);
    if (size.logBytesBefore === undefined) continue;
    const { payloadBytesBefore: payloadBytes, logBytesBefore: logBytes } = size;
    return { start: { nextSequence, payloadBytes, logBytes }, sizes };
  }
  return { start: { ...otherwise, nextSequence }, sizes };
}

/** The sizes of the two segments between which others were dropped, if records behind a batch in flight were. */
export function measureAroundDropped(
  place: LogLocation,
  segments: readonly Segment[],
  { uuid, state: { boundaries, resume } }: { uuid: string; state: Pick<CursorState, "boundaries" | "resume"> },
): SegmentSize[] {
  const last = boundaries.at(-1)?.nextSequence ?? Infinity;
  if (last >= resume.nextSequence) return [];
  const behind = segments.findIndex(({ firstSequence }) => firstSequence >= last);
  return segments.slice(Math.max(0, behind - 1), behind + 1).map((segment) => measureSegment(place, segment, uuid));
}

interface MeasuredSegment extends SegmentSize {
  readonly payloadBytesBefore: number;
}

function measureSegment(place: LogLocation, segment: Segment, uuid: string): MeasuredSegment {
  return withSegment(place, segment, (handle) => {
    const result = readSegmentHeader(handle);
    const header = result.kind === "header" && headerMatches(result.header, uuid, segment) ? result.header : undefined;
    return {
      segment,
      bytes: handle.size(),
      logBytesBefore: header?.logBytesBefore,
      payloadBytesBefore: header?.payloadBytesBefore ?? 0,
    };
  });
}
