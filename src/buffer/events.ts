/**
 * What a buffer reports: what `open()` found, events as they happen, and stats.
 *
 * @module
 */

import type { ListenerFailedEvent } from "../base/listeners.ts";
import type { SequenceRange } from "../base/sequences.ts";
import type { NoSpaceError, SluiceError } from "../errors/mod.ts";
import type { DamagedRegion } from "../wal/recovery/damage.ts";

/** What `open()` found and did. */
export interface RecoveryReport {
  /** Uncommitted records found. */
  readonly recoveredRecords: number;
  /**
   * Bytes of an unfinished last write that were cut off. No acknowledged record was among them. After a crash with
   * `fsync: "always"` they are mostly zeros, space that was set aside for the next writes.
   */
  readonly truncatedBytes: number;
  /** Damaged regions that `open()` met. It doesn't read every segment; damage found later is an event. */
  readonly damaged: readonly DamagedRegion[];
  /** Whether the commit position was lost, so that everything on disk is delivered again. */
  readonly cursorLost: boolean;
  /**
   * Why the file that keeps the commit position isn't as the last owner of this directory left it; missing if it is.
   *
   * - `"foreign"`: it is another directory's, most likely of a copy of this one that has gone on. It isn't believed, and
   *   everything on disk is delivered again.
   * - `"older"`: it was restored from a backup, or lost its last state in a power cut. What was committed since is delivered
   *   again.
   * - `"shared"`: a copy of the directory made of hard links has it, too. From now on each has its own.
   */
  readonly cursorProblem?: "foreign" | "older" | "shared";
  /** How long `open()` took, in milliseconds. */
  readonly durationMs: number;
}

/** Something that happened in a buffer, for logs and metrics. */
export type BufferEvent =
  | { readonly type: "recovered"; readonly report: RecoveryReport }
  /** Bytes that can't be read, or records that are missing. */
  | { readonly type: "damage-found"; readonly region: DamagedRegion }
  | {
    /** Records were dropped that nobody has had. */
    readonly type: "records-dropped";
    /** `whenFull: "drop-oldest"` made room, or they were older than `maxRecordAgeMs`. */
    readonly reason: "backlog-full" | "expired";
    /** The dropped sequences. */
    readonly sequences: SequenceRange;
    /** How many records were dropped. */
    readonly records: number;
    /** Their payload bytes. */
    readonly bytes: number;
  }
  /** A put didn't fit the backlog; told once until there is room again. */
  | { readonly type: "backlog-filled"; readonly backlogBytes: number }
  | { readonly type: "segment-created"; readonly segment: string }
  | { readonly type: "segment-removed"; readonly segment: string }
  /**
   * The disk is full: a part of the reserve was given up for what has failed with `error`, `bytesLeft` are left of it.
   * Until it is whole again puts are rejected with `NoSpaceError`; batches are handed over and committed.
   */
  | { readonly type: "reserve-used"; readonly bytesLeft: number; readonly error: NoSpaceError }
  /** There was room to make the reserve whole; `bytes` is its size. */
  | { readonly type: "reserve-restored"; readonly bytes: number }
  /** A sync has ended; `durationMs` is how long it took, all files of it together. */
  | { readonly type: "synced"; readonly durationMs: number }
  /** Something went wrong that costs no record and stops nothing, such as a file that could not be removed. */
  | { readonly type: "warned"; readonly error: SluiceError }
  | ListenerFailedEvent
  /** The buffer has failed: every call rejects from now on. */
  | { readonly type: "failed"; readonly error: SluiceError };

/** Counts and sizes of a buffer: a plain object, made without I/O. Each says its unit. */
export interface BufferStats {
  /** Records accepted and not yet committed, in flight included. */
  readonly pendingRecords: number;
  /** Payload bytes of those records. */
  readonly pendingBytes: number;
  /**
   * Bytes that they take of `maxBacklogBytes`: payloads and framing. Records that a power cut took out of the
   * middle count until a batch passes the place where they were.
   */
  readonly backlogBytes: number;
  /** The option `maxBacklogBytes`, in bytes. */
  readonly maxBacklogBytes: number;
  /** Records of the batches in flight. */
  readonly inFlightRecords: number;
  /** Age of the oldest record that is not in flight, in milliseconds; 0 when there is none. */
  readonly oldestAgeMs: number;
  /** Number of segments on disk. */
  readonly segments: number;
  /**
   * Bytes of all segments on disk; for segments not read since `open()`, the bytes written to them. Other files, such as the
   * reserve, aren't counted.
   */
  readonly diskBytes: number;
  /**
   * Sequence of the last record ever accepted, also by an earlier process; 0 for a new buffer. A source that is read again
   * from its beginning goes on behind that record.
   */
  readonly lastSequence: number;
  /** Number of records accepted since `open()`, each record of a `putMany()` counted. */
  readonly puts: number;
  /** Number of batches handed over for the first time, since `open()`. */
  readonly batchesEmitted: number;
  /** Number of batches committed since `open()`. */
  readonly batchesCommitted: number;
  /** Number of times that a batch was handed over again, since `open()`. */
  readonly batchesRedelivered: number;
  /** Number of syncs finished since `open()`. */
  readonly syncs: number;
  /** Milliseconds spent waiting for those syncs. */
  readonly syncMs: number;
  /** Number of puts rejected since `open()`, for any reason; a `putMany()` counts once. */
  readonly rejected: number;
  /** Number of records dropped by `whenFull: "drop-oldest"` since `open()`. */
  readonly dropped: number;
  /** Number of records dropped because they were older than `maxRecordAgeMs`, since `open()`. */
  readonly expired: number;
  /** Bytes copied to the quarantine since `open()`. */
  readonly quarantinedBytes: number;
  /**
   * Wall time of the last put, emit or commit that succeeded, or of `open()`: milliseconds since 1970, by the wall clock as it is
   * now. So the time since is right also after the clock was set; what the machine has slept may not count.
   */
  readonly lastProgressAt: number;
}
