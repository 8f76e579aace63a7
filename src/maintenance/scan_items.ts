/**
 * The items that a scan of a log yields: types only.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { FrameHeader, SegmentHeader } from "../wal/format.ts";
import type { Region } from "../wal/recovery/known_losses.ts";

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
export interface ScannedFrame
  extends
    Region,
    Pick<FrameHeader, "firstSequence" | "count" | "putTime">,
    Pick<SegmentHeader, "codecVersion" | "isJson"> {
  readonly kind: "frame";
  /** The payloads. They are views, valid until the next item. */
  readonly payloads: () => Uint8Array[];
  /**
   * The payloads as encoded in the frame, each after its length (4 bytes, little-endian). Much cheaper for many records.
   */
  readonly body: () => Uint8Array;
}

/** What is known about a loss. */
interface Loss {
  /** Present if `repair` has accepted the loss: a buffer reads past it, whatever `onDamage` is. */
  readonly isAccepted?: true;
  /** Present if nothing proves that any of it was ever acknowledged: a buffer reads past it, too. */
  readonly isUnproven?: true;
}

/** Bad bytes with valid frames after them, or (length 0) frames that are missing without a trace. */
export interface DamagedBytes extends Region, Loss {
  readonly kind: "damaged";
  readonly missing: SequenceRange | undefined;
}

/** Bad bytes at the end of the last segment: an unfinished write, or (`isZero`) preallocated space. */
export interface TornTail extends Region {
  readonly kind: "torn";
  readonly isZero: boolean;
}

/** Sequences that no segment has: between two segments, or after the last one (going by the cursor). */
export interface MissingRecords extends Loss {
  readonly kind: "missing";
  readonly missing: SequenceRange;
}

/** A whole file that can't be used as a part of this log. */
export interface UnusableSegment extends Pick<Loss, "isUnproven"> {
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
}

/** A segment that the writer removed during the scan: its records are committed. */
export interface GoneSegment {
  readonly kind: "gone";
  readonly segment: string;
}
