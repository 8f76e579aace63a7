/**
 * What a buffer tells about itself: what `open()` found, events as they happen, and figures.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import type { BufferError, NoSpaceError } from "../errors/mod.ts";
import type { DamagedRegion } from "../wal/recovery/damage.ts";

/**
 * What `open()` found and did.
 *
 * @example After a crash: what is there again, and what was cut off
 * ```ts
 * import { FileBuffer, type RecoveryReport } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const summary = ({ recoveredRecords, truncatedBytes, damaged, cursorLost }: RecoveryReport) =>
 *   `${recoveredRecords} records, ${truncatedBytes} bytes cut off, ${damaged.length} damaged` +
 *   (cursorLost ? ", commits lost: expect duplicates" : "");
 *
 * const dead = new MemoryFileSystem();
 * const options = { fsync: "never", statusMs: 0 } as const; // no timer goes on for the process that dies
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem: dead, ...options });
 * await buffer.putMany(["a", "b"]);
 * const fileSystem = dead.kill();
 * const segment = "/events.wal/00000000000000000001.wal";
 * const bytes = fileSystem.readFile(segment);
 * fileSystem.writeFile(segment, new Uint8Array([...bytes, 1, 2, 3])); // a third put had just begun
 *
 * const again = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * assertEquals(summary(again.recovery), "2 records, 3 bytes cut off, 0 damaged");
 * await again.close();
 * ```
 */
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

/**
 * Something that happened in a buffer, for logs and metrics.
 *
 * @example A line of a log for what an operator must know; the rest is for metrics
 * ```ts
 * import { type BufferEvent, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function lineOf(event: BufferEvent): string | undefined {
 *   switch (event.type) {
 *     case "damage":
 *       return `lost sequences ${event.region.missing?.first} to ${event.region.missing?.last}`;
 *     case "drop":
 *       return `dropped ${event.records} records, from sequence ${event.sequences.first} on`;
 *     case "full":
 *       return `full with ${event.backlogBytes} bytes`;
 *     case "warning":
 *     case "failed":
 *     case "reserve-used":
 *       return `${event.type}: ${event.error.message}`;
 *     case "recovered":
 *     case "reserve-restored":
 *     case "segment-created":
 *     case "segment-removed":
 *     case "synced":
 *       return undefined;
 *   }
 * }
 *
 * const lines: string[] = [];
 * const onEvent = (event: BufferEvent) => lines.push(lineOf(event) ?? "");
 * const buffer = await MemoryBuffer.open<string>({ onEvent, maxBacklogBytes: 50, whenFull: "drop-oldest" });
 * await buffer.put("x".repeat(30));
 * await buffer.put("y".repeat(30));
 * assertEquals(lines, ["full with 36 bytes", "dropped 1 records, from sequence 1 on"]);
 * await buffer.close();
 * ```
 */
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
  /**
   * The disk is full: a part of the reserve was given up for what has failed with `error`, `bytesLeft` are left of it.
   * Until it is whole again puts are rejected with `NoSpaceError`; batches are handed over and committed.
   */
  | { readonly type: "reserve-used"; readonly bytesLeft: number; readonly error: NoSpaceError }
  /** There was room to make the reserve whole; it has so many bytes. */
  | { readonly type: "reserve-restored"; readonly bytes: number }
  /** A sync has ended; `durationMs` is how long it took, all files of it together. */
  | { readonly type: "synced"; readonly durationMs: number }
  | { readonly type: "warning"; readonly error: BufferError }
  | { readonly type: "failed"; readonly error: BufferError };

/**
 * A buffer in figures: a plain object, made without I/O.
 *
 * @example Is the target away?
 * ```ts
 * import { type BufferStats, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * // Two looks, further apart than a batch takes to grow old and to be sent.
 * const isStuck = (before: BufferStats, now: BufferStats) =>
 *   now.pendingRecords > 0 && now.batchesCommitted === before.batchesCommitted;
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const first = buffer.stats();
 * await buffer.put("waits");
 * const second = buffer.stats();
 * assertEquals(isStuck(first, second), true); // nobody has taken it
 *
 * await buffer.commit(await buffer.emit());
 * await buffer.put("the next one");
 * assertEquals(isStuck(second, buffer.stats()), false);
 * await buffer.close();
 * ```
 */
export interface BufferStats {
  /** Records accepted and not yet committed, in flight included. */
  readonly pendingRecords: number;
  /** Their payload bytes. */
  readonly pendingBytes: number;
  /** What they take against `maxBacklogBytes`: payloads and framing. */
  readonly backlogBytes: number;
  /** The most that may be: the option. */
  readonly maxBacklogBytes: number;
  /** Records of the batch in flight. */
  readonly inFlightRecords: number;
  /** Age of the oldest record that is not in flight, in milliseconds; 0 when there is none. */
  readonly oldestAgeMs: number;
  /** Segments on disk. */
  readonly segments: number;
  /**
   * Bytes of all segments on disk; of those that nobody has looked at since `open()`, what was written to them. The other
   * files, such as the reserve, are not among them.
   */
  readonly diskBytes: number;
  /**
   * Sequence of the last record that was accepted, by whomever and whenever; 0 for a new buffer. At the start it says how
   * far a source has got that is read again from its beginning.
   */
  readonly lastSequence: number;
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
