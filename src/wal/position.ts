/**
 * Positions in a log, and the commit state that the cursor file stores.
 *
 * A position is three running totals: records, payload bytes, frame bytes. So the size of any stretch of the log is the
 * difference of two positions. How a position is encoded: `cursor_format.ts`.
 *
 * Invariant: no such difference is negative. In a healthy log the totals ascend with the sequences. After damage, a
 * segment's header, the cursor and the frames may contradict each other. So code that combines totals of more than one of
 * them clamps the result between its neighbours ({@linkcode clampPosition}) where it combines them, not where differences
 * are taken.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";

/** A position between two records of the log. */
export interface LogPosition {
  /** Sequence of the record that follows. */
  readonly nextSequence: number;
  /** Payload bytes of all records before it. */
  readonly payloadBytes: number;
  /** Where the frame of the record that follows begins: bytes of all frames before that one. */
  readonly logBytes: number;
}

/** The position with its byte totals clamped to those of `from` and `to`; `to` wins if they contradict. */
export function clampPosition(position: LogPosition, from: LogPosition, to: LogPosition): LogPosition {
  const { nextSequence } = position;
  const payloadBytes = Math.min(Math.max(position.payloadBytes, from.payloadBytes), to.payloadBytes);
  const logBytes = Math.min(Math.max(position.logBytes, from.logBytes), to.logBytes);
  const isUnchanged = payloadBytes === position.payloadBytes && logBytes === position.logBytes;
  return isUnchanged ? position : { nextSequence, payloadBytes, logBytes };
}

/** The constant part of a cursor: the same in every write of one owner. */
export interface CursorOwner {
  readonly uuid: string;
  /** The id of the directory that it belongs to, assigned by `ownership.ts`; 0 if unknown. */
  readonly place: number;
  /** Whether a put is acknowledged only after a sync. */
  readonly isSynced: boolean;
}

/** How far the consumer has come: what is committed, and what is in flight. */
export interface CommitState {
  readonly committed: LogPosition;
  /** Where the next batch begins: after what is in flight, and after what was dropped. */
  readonly resume: LogPosition;
  /** The end of each batch in flight, oldest first. */
  readonly boundaries: readonly LogPosition[];
}

/** The part of a cursor that changes from write to write. */
export interface CursorPositions extends CommitState {
  /** The highest sequence acknowledged. */
  readonly lastSequence: number;
}

export interface CursorState extends CursorOwner, CursorPositions {
  /** Ascends with every write. Of the valid slots, the one with the highest generation counts. */
  readonly generation: number;
}

/** The position before the first record of a log. */
export const LOG_START: LogPosition = { nextSequence: 1, payloadBytes: 0, logBytes: 0 };

/**
 * The sequences of a range that the consumer still needs: those in flight, and those from `resume` on. The ones in between
 * were dropped.
 */
export function awaitedSequences(
  { committed, resume, boundaries }: CommitState,
  { first, last }: SequenceRange,
): SequenceRange[] {
  const from = Math.max(first, committed.nextSequence);
  const inFlight = { first: from, last: Math.min(last, (boundaries.at(-1) ?? committed).nextSequence - 1) };
  const waiting = { first: Math.max(from, resume.nextSequence), last };
  return [inFlight, waiting].filter((range) => range.first <= range.last);
}

/** Whether two cursors say the same, apart from owner and generation. */
export function isSameState(one: CursorPositions, other: CursorPositions): boolean {
  const numbersIn = ({ lastSequence, committed, resume, boundaries }: CursorPositions): string =>
    [committed, resume, ...boundaries].flatMap((at) => [at.nextSequence, at.payloadBytes, at.logBytes])
      .concat(lastSequence).join();
  return numbersIn(one) === numbersIn(other);
}
