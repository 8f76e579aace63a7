/**
 * What of the losses that recovery finds is proven to be one, and what isn't: the first is damage, the second may be what a
 * power cut took of records that nobody was promised. What proves it is said at the head of `segment_scan.ts`.
 *
 * Pure but for reading segments and what is known of earlier losses.
 *
 * @module
 */

import { behind } from "../../base/sequences.ts";
import { acknowledgedBefore } from "../format.ts";
import { segmentName } from "../names.ts";
import { type CursorState, LOG_START, type LogPosition } from "../position.ts";
import type { Segment, SegmentPlace } from "../segment_files.ts";
import { Quarantine } from "./quarantine.ts";
import { type Finding, headerOf, type MetFinding, type Scan, scanEarlier } from "./segment_scan.ts";

/** What is read of a log before anything is concluded. */
export interface ReadLog {
  readonly uuid: string;
  /** Those that can be read, in order. */
  readonly segments: readonly Segment[];
  /** The last of them. */
  readonly scan: Scan | undefined;
  readonly cursor: CursorState | undefined;
}

/** What is promised, and the segments before the last one that hold records of which that isn't known. */
export function findPromised(
  place: SegmentPlace,
  { uuid, segments, scan, cursor }: ReadLog,
): { promised: number; earlier: Segment[] } {
  const { lastSequence, resume } = cursor ?? { lastSequence: 0, resume: LOG_START };
  let promised = Math.max(lastSequence + 1, resume.nextSequence, scan?.acknowledged ?? 0);
  if (scan === undefined) return { promised, earlier: [] };
  let first = segments.length - 1;
  for (let isFound = scan.segment.firstSequence <= promised; !isFound && first > 0;) {
    const header = headerOf(place, segments[--first], uuid);
    if (header === undefined) continue;
    promised = Math.max(promised, acknowledgedBefore(header));
    isFound = header.firstSequence <= promised;
  }
  return { promised, earlier: segments.slice(first, -1) };
}

/** A loss of which nothing proves that it is one. */
function unproven(finding: Finding): Finding {
  return { ...finding, unproven: true };
}

/** Also what was found before, and said to be unproven: by now the cursor vouches for it. */
export function label({ fileSystem, directory }: SegmentPlace, findings: readonly Finding[]): Finding[] {
  if (findings.length === 0) return [];
  const { losses } = new Quarantine(fileSystem, directory);
  return findings.map((finding) => losses.isUnproven(finding.missing) ? unproven(finding) : finding);
}

/** What was met, as what is promised and what isn't: a loss may be a part of both. */
export function splitAt(promised: number, { finding, expected }: MetFinding): Finding[] {
  const { segment, offset, missing } = finding;
  if (expected >= promised) return [unproven(finding)];
  if (missing === undefined || missing.last < promised) return [finding];
  return [
    { ...finding, missing: { first: missing.first, last: promised - 1 } },
    unproven({ segment, offset, length: 0, missing: { first: Math.max(missing.first, promised), last: missing.last } }),
  ];
}

/** What is bad in the last segment; and in the earlier ones where nothing is promised: the rest is for who reads them. */
export function findingsOf(
  place: SegmentPlace,
  { uuid, earlier, scan, promised }: {
    uuid: string;
    earlier: readonly Segment[];
    scan: Scan | undefined;
    promised: number;
  },
): Finding[] {
  if (scan === undefined) return [];
  const { met } = scanEarlier(place, { segments: earlier, next: scan.segment, uuid });
  const split = (one: MetFinding): Finding[] => splitAt(promised, one);
  return [...met.flatMap(split).filter((finding) => finding.unproven === true), ...scan.met.flatMap(split)];
}

/**
 * The segments behind the end of the log that can't be used, the newest first, and the sequences that are missing before
 * each of them: its name says that they were given out. What can be read in front of one can't be in it.
 */
export function unusableBehind(
  found: readonly Finding[],
  { nextSequence }: LogPosition,
  { resume, place, isUnproven }: {
    resume: LogPosition;
    place: Pick<Finding, "segment" | "offset"> | undefined;
    isUnproven: (finding: Finding) => boolean;
  },
): { unusable: Finding[]; gaps: Finding[] } {
  const unusable: Finding[] = [];
  const gaps: Finding[] = [];
  let next = Math.max(nextSequence, resume.nextSequence);
  for (const one of found.toReversed()) {
    const mark = isUnproven(one) ? unproven : (finding: Finding) => finding;
    const missing = behind(one.missing, nextSequence);
    unusable.unshift(mark({ ...one, missing }));
    if (missing === undefined) continue;
    if (next < missing.first) {
      const { segment, offset } = place ?? { segment: segmentName(next), offset: 0 };
      gaps.push(mark({ segment, offset, length: 0, missing: { first: next, last: missing.first - 1 } }));
    }
    next = Math.max(next, missing.last + 1);
  }
  return { unusable, gaps };
}
