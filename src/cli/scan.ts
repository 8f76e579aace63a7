/**
 * What is in a buffer's directory, without its lock and without changing anything: types of what a scan finds.
 *
 * @module
 */

import type { CursorState, SegmentHeader } from "../wal/format.ts";
import type { LockOwner } from "../errors.ts";
import type { SequenceRange } from "../wal/damage.ts";

/** The small files and the names: all that is known without reading a segment through. */
export interface DirectoryPicture {
  readonly path: string;
  readonly uuid: string | undefined;
  /** `undefined` if there is none, or it can't be read. */
  readonly cursor: CursorState | undefined;
  readonly cursorState: "ok" | "missing" | "damaged";
  /** Who opened it last, going by `owner.json`; it need not be open any more. */
  readonly owner: LockOwner | undefined;
  readonly segments: readonly { readonly name: string; readonly firstSequence: number; readonly bytes: number }[];
  readonly quarantine: readonly { readonly name: string; readonly bytes: number }[];
}

/** What a scan meets, in the order of the log. */
export type ScanItem =
  /** A segment begins. `isLast`: the one that a torn tail may be at the end of. */
  | {
    readonly kind: "segment";
    readonly segment: string;
    readonly bytes: number;
    readonly header: SegmentHeader;
    readonly isLast: boolean;
  }
  | {
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
    readonly codecVersion: number;
    readonly isJson: boolean;
  }
  /** Bad bytes with good ones behind them, or (length 0) frames that are missing without a trace. */
  | {
    readonly kind: "damaged";
    readonly segment: string;
    readonly offset: number;
    readonly length: number;
    readonly missing: SequenceRange | undefined;
  }
  /** Bad bytes at the end of the last segment: an unfinished write, or (`isZero`) space set aside. */
  | {
    readonly kind: "torn";
    readonly segment: string;
    readonly offset: number;
    readonly length: number;
    readonly isZero: boolean;
  }
  /** Sequences that no segment has, between two segments or behind the last (going by the cursor). */
  | { readonly kind: "missing"; readonly missing: SequenceRange }
  /** A whole file that can't be read as a part of this log. */
  | {
    readonly kind: "unusable";
    readonly segment: string;
    readonly bytes: number;
    readonly why: "header" | "version" | "foreign" | "empty";
    readonly version: number | undefined;
  }
  /** The writer removed it while the scan was under way: its records are committed. */
  | { readonly kind: "gone"; readonly segment: string };
