/**
 * The data that a report is drawn from: plain, and of bounded size however large the log is.
 *
 * `report --json` prints the same data. Nothing in it grows with the log: a row can cover several segments, and a
 * stretch several neighbours. A list ends after a fixed number of entries, and the total number is stated beside it.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import type { LockOwner } from "../../errors/mod.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import type { RepairSteps } from "../shared/repair_plan.ts";

/**
 * The kinds of stretches of the log, from good to bad. Records that are `pending` are neither committed nor in flight; `free` is
 * preallocated space, zeros after the last frame.
 */
export const STRETCH_KINDS = [
  "free",
  "committed",
  "dropped",
  "pending",
  "inFlight",
  "torn",
  "missing",
  "damaged",
  "unusable",
] as const;
export type StretchKind = typeof STRETCH_KINDS[number];

/** A stretch of a row of the drawing. */
export interface Stretch {
  readonly kind: StretchKind;
  /** The offset in the row, in bytes. */
  readonly at: number;
  /** 0 where records are missing without a trace. */
  readonly length: number;
  /** The file name of the segment that it begins in, and the offset in that file. */
  readonly segment: string;
  readonly offset: number;
  /** The sequences of its records, or those that are missing because of it. */
  readonly sequences: SequenceRange | undefined;
  readonly records: number;
  /** When its first and its last record were put: milliseconds since 1970. */
  readonly putFrom: number | undefined;
  readonly putTo: number | undefined;
  /** How many neighbours of different kinds were joined, to keep the drawing small; `kind` is the worst of them. */
  readonly joined: number;
}

/** A row of the drawing: one segment, or several if the log has many. */
export interface ReportRow {
  readonly segments: number;
  /** The file names of the first and the last segment. */
  readonly first: string;
  readonly last: string;
  readonly bytes: number;
  /** In order, without overlaps. Bytes outside of all stretches are headers. */
  readonly stretches: readonly Stretch[];
}

/** A defect of the log, or bytes that opening the buffer would cut off. */
export interface BadRegion {
  readonly kind: "damaged" | "torn" | "missing" | "unusable" | "contradiction";
  /** File name; `undefined` for missing records that belong to no file. */
  readonly segment?: string | undefined;
  readonly offset: number;
  readonly length: number;
  /** Without what is committed. For an unusable file of unknown content: the most that it can have held. */
  readonly missing?: SequenceRange | undefined;
  /** Whether no consumer will read it any more, because everything there is committed or dropped. */
  readonly isPast: boolean;
  /** Why a whole file can't be used. */
  readonly why?: "header" | "version" | "foreign" | undefined;
  /** The format version that such a file states, if it is a newer one. */
  readonly version?: number | undefined;
  /** For a contradiction: what the running totals of the file, or those of the cursor, should be. */
  readonly what?: string | undefined;
}

/** Records whose payload has at least `from` and fewer than `to` bytes. */
export interface SizeBucket {
  readonly from: number;
  readonly to: number;
  readonly records: number;
}

/** Records that were put within the width of a bin, from `from` on. */
export interface TimeBin {
  readonly from: number;
  readonly records: number;
}

/** Totals over the whole log, of which nothing is counted yet. */
export const NO_COUNTS = {
  segments: 0,
  segmentBytes: 0,
  /** Segments that the writer removed during the scan. */
  goneSegments: 0,
  /** Committed records that are still on disk. */
  committedRecords: 0,
  /** The last committed sequence; 0 if there is none, `undefined` if the cursor doesn't say. */
  committedThrough: undefined as number | undefined,
  /** Records that are not committed, including those in flight; and the bytes of their payloads. */
  pendingRecords: 0,
  pendingBytes: 0,
  inFlightRecords: 0,
  inFlightBatches: 0,
  /** Records that `drop-oldest` skipped while others were in flight. */
  droppedRecords: 0,
  /** When the oldest record that is not committed was put. */
  oldestPutTime: undefined as number | undefined,
  /** The highest sequence found. */
  lastSequence: 0,
  damagedRegions: 0,
  damagedBytes: 0,
  tornBytes: 0,
  freeBytes: 0,
  /** Files that can't be used as a part of the log, and their bytes. */
  unusableFiles: 0,
  unusableBytes: 0,
  /** Segments without content, left by a crash. */
  emptyFiles: 0,
  /** Sequences that are missing and not committed. */
  missingRecords: 0,
  contradictions: 0,
};
export type ReportCounts = typeof NO_COUNTS;

/** What `repair` would do to the log, as `repair --dry-run` prints it. */
export interface ReportPlan {
  /** The first steps of each kind. */
  readonly steps: RepairSteps;
  /** The number of steps left out. */
  readonly more: number;
}

/** Everything that a report shows. */
export interface ReportData {
  readonly path: string;
  /** When the report was created: milliseconds since 1970. */
  readonly generatedAt: number;
  readonly uuid: string | undefined;
  readonly cursor: DirectorySnapshot["cursorState"];
  readonly owner: LockOwner | undefined;
  /** The verdict of `verify`. An unfinished write at the end is sound, because every kill may leave one. */
  readonly isSound: boolean;
  readonly counts: Readonly<ReportCounts>;
  readonly rows: readonly ReportRow[];
  /** At least 1; higher if the log has too many segments for a row each. */
  readonly segmentsPerRow: number;
  /** By powers of two, from the smallest to the largest that has records. */
  readonly sizes: readonly SizeBucket[];
  /** In order, without empty bins. */
  readonly times: { readonly widthMs: number; readonly bins: readonly TimeBin[] };
  /** The first bad regions. */
  readonly regions: readonly BadRegion[];
  /** The number of all bad regions. */
  readonly regionsInAll: number;
  /** `refusal`: why there can be no plan. */
  readonly plan: ReportPlan | { readonly refusal: string };
  readonly quarantine: {
    readonly files: number;
    readonly bytes: number;
    /** The first files by name. */
    readonly listed: readonly { readonly name: string; readonly bytes: number }[];
  };
}
