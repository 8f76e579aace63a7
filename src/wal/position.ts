/**
 * Places in a log, and what a cursor keeps of them.
 *
 * A place is told by three running totals, so that what lies between two of them is always a difference: records, payload
 * bytes and bytes of frames. How they stand in a file is for `format.ts`.
 *
 * No difference may be below zero. In a healthy log the totals go up with the sequences by themselves; behind damage, what a
 * header, a cursor and the frames say need not agree. So whoever makes a position out of more than one of them keeps it
 * `within` those before and behind it: where they meet, not where the differences are taken.
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

/** The position with its totals brought between those of `from` and `to`, of which `to` wins; its sequence stays. */
export function clampPosition(position: LogPosition, from: LogPosition, to: LogPosition): LogPosition {
  const { nextSequence } = position;
  const payloadBytes = Math.min(Math.max(position.payloadBytes, from.payloadBytes), to.payloadBytes);
  const logBytes = Math.min(Math.max(position.logBytes, from.logBytes), to.logBytes);
  const isWithin = payloadBytes === position.payloadBytes && logBytes === position.logBytes;
  return isWithin ? position : { nextSequence, payloadBytes, logBytes };
}

/** Whose cursor it is: the same in every write of one owner. */
export interface CursorOwner {
  /** The buffer's uuid. */
  readonly uuid: string;
  /** The directory that it belongs to, as `ownership.ts` has named it; 0 if that is not known. */
  readonly place: number;
  /** Whether a put is acknowledged only after a sync. */
  readonly isSynced: boolean;
}

/** What changes from write to write. */
export interface CursorPositions {
  /** The highest sequence acknowledged. */
  readonly lastSequence: number;
  /** Behind the last committed record. */
  readonly committed: LogPosition;
  /** Where the next batch begins. */
  readonly resume: LogPosition;
  /** The end of each batch in flight. */
  readonly boundaries: readonly LogPosition[];
}

/** What a cursor slot says. */
export interface CursorState extends CursorOwner, CursorPositions {
  /** Counts the writes of the cursor. */
  readonly generation: number;
}

/** The start of every log. */
export const LOG_START: LogPosition = { nextSequence: 1, payloadBytes: 0, logBytes: 0 };

/** The commit state that the cursor keeps. */
export interface CommitState {
  /** Behind the last committed record. */
  readonly committed: LogPosition;
  /** Where the next batch begins. */
  readonly resume: LogPosition;
  /** The end of each batch in flight. */
  readonly boundaries: readonly LogPosition[];
}
