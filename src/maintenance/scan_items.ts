/**
 * The items that a scan of a log yields: types only.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { SegmentHeader } from "../wal/format.ts";

/** What a scan yields, in the order of the log. */
export type ScanItem =
  | SegmentBegin
  | ScannedFrame
  | DamagedBytes
  | TornTail
  | MissingRecords
  | UnusableSegment
  | GoneSegment;

export interface SegmentBegin {
  readonly kind: "segment";
  readonly segment: string;
  readonly bytes: number;
  readonly header: SegmentHeader;
  /** Whether it is the last one, which may end with a torn tail. */
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
  /** The payloads. They are views, valid until the next item. */
  readonly payloads: () => Uint8Array[];
  /**
   * The payloads as encoded in the frame, each after its length (4 bytes, little-endian). Much cheaper for many records.
   */
  readonly body: () => Uint8Array;
  readonly codecVersion: number;
  readonly isJson: boolean;
}

/** Bad bytes with valid frames after them, or (length 0) frames that are missing without a trace. */
export interface DamagedBytes {
  readonly kind: "damaged";
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly missing: SequenceRange | undefined;
  /**
   * Present if `repair` has quarantined the bytes and accepted the loss: a buffer reads past it, whatever `onDamage` is.
   */
  readonly isAccepted?: true;
  /** Present if nothing proves that any of it was ever acknowledged: a buffer reads past it, too. */
  readonly isUnproven?: true;
}

/** Bad bytes at the end of the last segment: an unfinished write, or (`isZero`) preallocated space. */
export interface TornTail {
  readonly kind: "torn";
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly isZero: boolean;
}

/** Sequences that no segment has: between two segments, or after the last one (going by the cursor). */
export interface MissingRecords {
  readonly kind: "missing";
  readonly missing: SequenceRange;
  /** As with {@linkcode DamagedBytes}. */
  readonly isAccepted?: true;
  /** As with {@linkcode DamagedBytes}. */
  readonly isUnproven?: true;
}

/** A whole file that can't be used as a part of this log. */
export interface UnusableSegment {
  readonly kind: "unusable";
  readonly segment: string;
  readonly bytes: number;
  /** `"empty"`: its creation was interrupted, or is under way. That is no damage. */
  readonly why: "header" | "version" | "foreign" | "empty";
  readonly version: number | undefined;
  /**
   * The sequences that it can have held at most, if it is after the last usable segment. For an earlier one, a {@linkcode
   * MissingRecords} says exactly what is missing.
   */
  readonly mayHold: SequenceRange | undefined;
  /** As with {@linkcode DamagedBytes}. */
  readonly isUnproven?: true;
}

/** A segment that the writer removed during the scan: its records are committed. */
export interface GoneSegment {
  readonly kind: "gone";
  readonly segment: string;
}
