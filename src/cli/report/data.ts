/**
 * What a report is drawn from: plain data, bounded however large the log is.
 *
 * It is also what `report --json` prints. Nothing in it grows with the log: rows stand for several segments, stretches
 * for several neighbours, and lists end after so many entries, with the number of all of them beside.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import type { LockOwner } from "../../errors/mod.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import type { RepairSteps } from "../shared/repair_plan.ts";

/** What a stretch of the log is; `pending` are records that are neither committed nor in flight. */
export type StretchKind =
  | "committed"
  | "inFlight"
  | "dropped"
  | "pending"
  /** Zeros behind the last frame: space that is set aside. */
  | "free"
  | "torn"
  | "missing"
  | "damaged"
  | "unusable";

/** A stretch of a row of the drawing. */
export interface Stretch {
  readonly kind: StretchKind;
  /** Where it begins in the row, in bytes. */
  readonly at: number;
  /** 0 where records are missing without a trace. */
  readonly length: number;
  /** File name of the segment that it begins in, and where in that file. */
  readonly segment: string;
  readonly offset: number;
  /** Of its records, or those that are missing because of it. */
  readonly sequences: SequenceRange | undefined;
  readonly records: number;
  /** When its first and its last record were put: milliseconds since 1970. */
  readonly putFrom: number | undefined;
  readonly putTo: number | undefined;
  /** How many neighbours of different kinds were made one, to keep the drawing small; `kind` is the worst of them. */
  readonly joined: number;
}

/** A row of the drawing: one segment, or several in a log of many. */
export interface ReportRow {
  readonly segments: number;
  /** File names of the first and the last. */
  readonly first: string;
  readonly last: string;
  readonly bytes: number;
  /** In order, without overlaps. Bytes that belong to none are headers. */
  readonly stretches: readonly Stretch[];
}

/** Something that is wrong, or that opening the buffer would cut off. */
export interface BadRegion {
  readonly kind: "damaged" | "torn" | "missing" | "unusable" | "contradiction";
  /** File name; `undefined` where no file has what is missing. */
  readonly segment: string | undefined;
  readonly offset: number;
  readonly length: number;
  /** Not committed. Of a file that can't be used: the most that it can have held, if nobody knows what it did. */
  readonly missing: SequenceRange | undefined;
  /** Whether nobody will read it any more, because everything there is committed or dropped. */
  readonly isPast: boolean;
  /** Why a whole file can't be used. */
  readonly why: "header" | "version" | "foreign" | undefined;
  /** The format version that such a file states, if it is a newer one. */
  readonly version: number | undefined;
  /** How that file contradicts the others: what its running totals, or the cursor's, should be. */
  readonly what: string | undefined;
}

/** Records whose payload has from `from` up to (not including) `to` bytes. */
export interface SizeBucket {
  readonly from: number;
  readonly to: number;
  readonly records: number;
}

/** Records that were put from `from` on, for the width of a bin. */
export interface TimeBin {
  readonly from: number;
  readonly records: number;
}

/** Sums over the whole log. */
export interface ReportCounts {
  readonly segments: number;
  readonly segmentBytes: number;
  /** Segments that the writer removed while they were looked for. */
  readonly goneSegments: number;
  /** Committed records that are still on disk. */
  readonly committedRecords: number;
  /** The last committed sequence; 0 if none is, `undefined` if the cursor doesn't say. */
  readonly committedThrough: number | undefined;
  /** Not committed, in flight included; and the bytes of their payloads. */
  readonly pendingRecords: number;
  readonly pendingBytes: number;
  readonly inFlightRecords: number;
  readonly inFlightBatches: number;
  /** Passed over by `drop-oldest` while others were in flight. */
  readonly droppedRecords: number;
  /** When the oldest record that is not committed was put. */
  readonly oldestPutTime: number | undefined;
  /** The highest sequence that was seen. */
  readonly lastSequence: number;
  readonly damagedRegions: number;
  readonly damagedBytes: number;
  readonly tornBytes: number;
  readonly freeBytes: number;
  /** Files that can't be used, and their bytes. */
  readonly unusableFiles: number;
  readonly unusableBytes: number;
  /** Segments without content, which a crash left. */
  readonly emptyFiles: number;
  /** Sequences that are missing and were not committed. */
  readonly missingRecords: number;
  readonly contradictions: number;
}

/** What is to be done about a log, as `repair --dry-run` says it. */
export interface ReportPlan {
  /** The first of each kind. */
  readonly steps: RepairSteps;
  /** How many steps are left out. */
  readonly more: number;
}

/** Everything that a report shows. */
export interface ReportData {
  readonly path: string;
  /** When it was made: milliseconds since 1970. */
  readonly generatedAt: number;
  readonly uuid: string | undefined;
  readonly cursor: DirectorySnapshot["cursorState"];
  readonly owner: LockOwner | undefined;
  /** As `verify` judges: an unfinished write at the end is no harm, every kill may leave one. */
  readonly isSound: boolean;
  readonly counts: ReportCounts;
  readonly rows: readonly ReportRow[];
  /** At least 1; more if the log has too many segments for a row each. */
  readonly segmentsPerRow: number;
  /** Powers of two, from the smallest that has records to the largest. */
  readonly sizes: readonly SizeBucket[];
  /** In order; those without records are left out. */
  readonly times: { readonly widthMs: number; readonly bins: readonly TimeBin[] };
  /** The first of them. */
  readonly regions: readonly BadRegion[];
  /** How many there are. */
  readonly regionsInAll: number;
  /** `refusal`: why nothing can be planned. */
  readonly plan: ReportPlan | { readonly refusal: string };
  readonly quarantine: {
    readonly files: number;
    readonly bytes: number;
    /** The first of them by name. */
    readonly listed: readonly { readonly name: string; readonly bytes: number }[];
  };
}
