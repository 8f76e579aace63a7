/**
 * What a buffer tells about itself: what `open()` found, events as they happen, and figures.
 *
 * @module
 */

import type { BufferError } from "./errors.ts";
import type { DamagedRegion, SequenceRange } from "./wal/damage.ts";

/** What `open()` found and did. */
export interface RecoveryReport {
  /** Records that were there, not committed. */
  readonly recoveredRecords: number;
  /**
   * Bytes of an unfinished last write that were cut off. No acknowledged record was among them. After a crash with
   * `fsync: "always"` they are mostly zeros, space that was set aside for the next writes.
   */
  readonly truncatedBytes: number;
  /** Regions that `open()` met; those in segments that it didn't read are reported as events when they are. */
  readonly damaged: readonly DamagedRegion[];
  /** Whether the commit position was lost, so that everything on disk is delivered again. */
  readonly cursorLost: boolean;
  /** How long `open()` took, in milliseconds. */
  readonly durationMs: number;
}

/** Something that happened in a buffer, for logs and metrics. */
export type BufferEvent =
  | { readonly type: "recovered"; readonly report: RecoveryReport }
  | { readonly type: "damage"; readonly region: DamagedRegion }
  | {
    readonly type: "drop";
    /** The dropped sequences. */
    readonly sequences: SequenceRange;
    /** How many records were dropped. */
    readonly records: number;
    /** Their payload bytes. */
    readonly bytes: number;
  }
  | { readonly type: "full"; readonly backlogBytes: number }
  | { readonly type: "segment-created"; readonly segment: string }
  | { readonly type: "segment-removed"; readonly segment: string }
  /** A sync has ended; `durationMs` is how long it took, all files of it together. */
  | { readonly type: "synced"; readonly durationMs: number }
  | { readonly type: "warning"; readonly error: BufferError }
  | { readonly type: "failed"; readonly error: BufferError };

/** A buffer in figures: a plain object, made without I/O. */
export interface BufferStats {
  /** Records accepted and not yet committed, in flight included. */
  readonly pendingRecords: number;
  /** Their payload bytes. */
  readonly pendingBytes: number;
  /** What they take against `maxBacklogBytes`: payloads and framing. */
  readonly backlogBytes: number;
  /** Records of the batch in flight. */
  readonly inFlightRecords: number;
  /** Age of the oldest record that is not in flight, in milliseconds; 0 when there is none. */
  readonly oldestAgeMs: number;
  /** Segments on disk. */
  readonly segments: number;
  /** Bytes of all segments on disk. */
  readonly diskBytes: number;
  /** Records accepted since `open()`. */
  readonly puts: number;
  /** Batches handed over for the first time since `open()`. */
  readonly batchesEmitted: number;
  /** Batches committed since `open()`. */
  readonly batchesCommitted: number;
  /** Batches handed over again since `open()`. */
  readonly batchesRedelivered: number;
  /** Syncs finished since `open()`. */
  readonly syncs: number;
  /** Milliseconds spent waiting for them. */
  readonly syncMs: number;
  /** Puts rejected since `open()`, for whatever reason. */
  readonly rejected: number;
  /** Records dropped by `whenFull: "drop-oldest"` since `open()`. */
  readonly dropped: number;
  /** Bytes copied to the quarantine since `open()`. */
  readonly quarantinedBytes: number;
  /** Wall time of the last put, emit or commit that succeeded, or of `open()`: milliseconds since 1970. */
  readonly lastProgressAt: number;
}
