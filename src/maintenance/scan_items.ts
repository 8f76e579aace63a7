/**
 * What a scan meets in a log: types only.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { SegmentHeader } from "../wal/format.ts";

/** What a scan meets, in the order of the log. */
export type ScanItem =
  | SegmentBegin
  | ScannedFrame
  | DamagedBytes
  | TornTail
  | MissingRecords
  | UnusableSegment
  | GoneSegment;

/** A segment begins. */
export interface SegmentBegin {
  readonly kind: "segment";
  readonly segment: string;
  readonly bytes: number;
  readonly header: SegmentHeader;
  /** Whether it is the one that a torn tail may be at the end of. */
  readonly isLast: boolean;
}

/** A valid frame. */
export interface ScannedFrame {
  readonly kind: "frame";
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly firstSequence: number;
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly putTime: number;
  /** The payloads, views that are valid until the next item. */
  readonly payloads: () => Uint8Array[];
  /** The same as they stand in the frame: each behind its length in 4 bytes, little-endian. Much cheaper for many. */
  readonly body: () => Uint8Array;
  readonly codecVersion: number;
  readonly isJson: boolean;
}

/** Bad bytes with good ones behind them, or (length 0) frames that are missing without a trace. */
export interface DamagedBytes {
  readonly kind: "damaged";
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly missing: SequenceRange | undefined;
  /** Present if `repair` has set the bytes aside and the loss was accepted: a buffer reads past it, whatever `onDamage`. */
  readonly isAccepted?: true;
  /** Present if nothing proves that any of it was ever acknowledged: a buffer reads past that, too. */
  readonly isUnproven?: true;
}

/** Bad bytes at the end of the last segment: an unfinished write, or (`isZeroFilled`) space set aside. */
export interface TornTail {
  readonly kind: "torn";
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly isZero: boolean;
}

/** Sequences that no segment has, between two segments or behind the last (going by the cursor). */
export interface MissingRecords {
  readonly kind: "missing";
  readonly missing: SequenceRange;
  /** As with {@linkcode DamagedBytes}. */
  readonly isAccepted?: true;
  /** As with {@linkcode DamagedBytes}. */
  readonly isUnproven?: true;
}

/** A whole file that can't be read as a part of this log. */
export interface UnusableSegment {
  readonly kind: "unusable";
  readonly segment: string;
  readonly bytes: number;
  /** `"empty"`: its creation was interrupted, or is under way; that is no damage. */
  readonly why: "header" | "version" | "foreign" | "empty";
  readonly version: number | undefined;
  /**
   * Behind the last segment that can be read: the most sequences that it can have held. Of one before that, a
   * {@linkcode MissingRecords} says exactly what is missing.
   */
  readonly mayHold: SequenceRange | undefined;
  /** As with {@linkcode DamagedBytes}. */
  readonly isUnproven?: true;
}

/** The writer removed it while the scan was under way: its records are committed. */
export interface GoneSegment {
  readonly kind: "gone";
  readonly segment: string;
}
