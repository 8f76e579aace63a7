/**
 * Places in a log, and what a cursor keeps of them.
 *
 * A place is told by three running totals, so that what lies between two of them is always a difference: records, payload
 * bytes and bytes of frames. Types and one constant; how they stand in a file is for `format.ts`.
 *
 * @module
 */

/** A place between two records of the log. */
export interface LogPosition {
  /** Sequence of the record that follows. */
  readonly nextSequence: number;
  /** Payload bytes of all records before. */
  readonly payloadBytes: number;
  /** Where the frame of the record that follows begins, in bytes of frames from the start of the log. */
  readonly logBytes: number;
}

/** What a cursor slot says. */
export interface CursorState {
  /** Counts the writes of the cursor. */
  readonly generation: number;
  /** The buffer's uuid. */
  readonly uuid: string;
  /** The highest sequence given out. */
  readonly lastSequence: number;
  /** Whether the owner that wrote it acknowledges a put only after a sync. */
  readonly isSynced: boolean;
  /** Behind the last committed record. */
  readonly committed: LogPosition;
  /** Where the next batch begins. */
  readonly resume: LogPosition;
  /** The end of each batch in flight. */
  readonly boundaries: readonly LogPosition[];
}

/** The start of every log. */
export const LOG_START: LogPosition = { nextSequence: 1, payloadBytes: 0, logBytes: 0 };
