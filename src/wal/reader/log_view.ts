/**
 * The contract between a log and its reader: what the reader sees of the log, what it is asked for, and what it gives.
 * Types only.
 *
 * @module
 */

import type { SegmentSize } from "../disk_usage.ts";
import type { LogPosition } from "../position.ts";
import type { Segment } from "../segment_files.ts";

/** What the reader must know of the log: changes while it reads. */
export interface LogView {
  readonly segments: SegmentsView;
  /** Behind the last record that may be given out. */
  readonly ends: { readonly acknowledged: LogPosition };
  /** The segment that is written to, if there is one, and where its data ends. */
  readonly active: { readonly name: string; readonly position: number } | undefined;
}

/** The segments of a log, in order; those in front may go when they are committed. */
export interface SegmentsView {
  /** The segment behind all others. */
  readonly last: Segment | undefined;
  /** The last segment that begins at `sequence` or before, going by its name. */
  upTo(sequence: number): Segment | undefined;
  /** The first segment that begins behind `sequence`, going by its name. */
  behind(sequence: number): Segment | undefined;
  /** Where the segment behind another one begins; `undefined` behind the last. Strays don't count. */
  nextAfter(segment: Segment): number | undefined;
  /** Takes the size of a segment that was opened. */
  note(size: SegmentSize): void;
}

/** How much to read. */
export interface ReadLimits {
  readonly maxRecords: number;
  readonly maxBytes: number;
  /** No record at or behind this sequence. */
  readonly before: number;
  /**
   * Whether the batch may end before a place that can't be read just now; not if it was handed over before, and has
   * its end.
   */
  readonly mayEndEarly: boolean;
}

/** What was read at a position. */
export interface ReadResult {
  /** `undefined` if there is nothing to be read. */
  readonly batch: ReadBatch | undefined;
  /** Where to read on: behind the batch, and behind what turned out to be missing if there is none. */
  readonly next: LogPosition;
}

/** Consecutive records that were read. */
export interface ReadBatch {
  readonly firstSequence: number;
  readonly count: number;
  /** Holds all payloads, each after its length, and at least one more byte. */
  readonly bytes: Uint8Array;
  /** Whether they are in memory that other batches share: then no caller of the buffer may see it. */
  readonly isShared: boolean;
  /** Two entries per record: where its payload begins and ends in `bytes`. */
  readonly bounds: readonly number[];
  readonly payloadBytes: number;
  readonly codecVersion: number;
  /** Whether each payload is known to be the text of one JSON value. */
  readonly isJson: boolean;
  /** A checksum over those of the frames that hold them; `undefined` where records can only be lost all together. */
  readonly checksum: number | undefined;
  /** The positions before the first record and after the last. */
  readonly start: LogPosition;
  readonly end: LogPosition;
}
