/**
 * The contract between a log and its reader: what the reader sees of the log, what it is asked for, and what it returns.
 * Types only.
 *
 * @module
 */

import type { DiskUsage } from "../disk_usage.ts";
import type { OrderedSegments } from "../ordered_segments.ts";
import type { LogPosition } from "../position.ts";
import type { Segment } from "../segment_files.ts";

/** What the reader needs to know of the log. It changes while the reader reads. */
export interface LogView {
  readonly segments: SegmentsView;
  /** The position after the last record that may be delivered. */
  readonly ends: { readonly acknowledged: LogPosition };
  /** The segment that is written to, if there is one, and where its data ends. */
  readonly active: { readonly name: string; readonly position: number } | undefined;
}

/** The segments of a log. The first ones may be removed once they are committed. */
interface SegmentsView {
  /** All of them, going by their names. */
  readonly ordered: Pick<OrderedSegments, "last" | "findAtOrBefore" | "findAfter">;
  /** Takes the size of each segment that is opened. */
  readonly usage: Pick<DiskUsage, "recordSize">;
  /** Where the segment after another one begins; `undefined` after the last. Files of another log don't count. */
  nextAfter(segment: Segment): number | undefined;
}

/** How much to read. */
export interface ReadLimits {
  readonly maxRecords: number;
  readonly maxBytes: number;
  /** Only records below this sequence. */
  readonly before: number;
  /** Whether the batch may end before a place that can't be read now. A batch that was handed over before may not. */
  readonly mayEndEarly: boolean;
}

/** What was read at a position. */
export interface ReadResult {
  /** `undefined` if there is nothing to read. */
  readonly batch: ReadBatch | undefined;
  /** Where to continue: after the batch; if there is none, after what turned out to be missing. */
  readonly next: LogPosition;
}

/** Records that were put at one time, up to the next run. */
export interface PutTimeRun {
  readonly from: number;
  readonly putTime: number;
}

/** Consecutive records that were read. */
export interface ReadBatch {
  readonly firstSequence: number;
  readonly count: number;
  /** Holds all payloads, each after its length, and behind the last one at least one more byte of this batch's. */
  readonly bytes: Uint8Array;
  /** Whether they are in memory that other batches share: then no caller of the buffer may see it. */
  readonly isShared: boolean;
  /** Two entries per record: where its payload begins and ends in `bytes`. */
  readonly bounds: readonly number[];
  readonly payloadBytes: number;
  /** When the records were put: of each run of one put time, the first sequence and the time as it is stored. */
  readonly putTimes: readonly PutTimeRun[];
  readonly codecVersion: number;
  /** Whether each payload is known to be the text of one JSON value. */
  readonly isJson: boolean;
  /** A checksum over those of the frames that hold them; `undefined` where records can only be lost all together. */
  readonly checksum: number | undefined;
  /** The positions before the first record and after the last. */
  readonly start: LogPosition;
  readonly end: LogPosition;
}
