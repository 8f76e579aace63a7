/**
 * What is in flight: the batches that were handed over and are not committed, and what they come to.
 *
 * @module
 */

import type { CommitState, LogPosition } from "../wal/position.ts";
import type { BatchIdentity } from "./batch.ts";
import type { RecordReader } from "./record_store.ts";

/** A batch that was handed over by this process and is not committed. */
export interface InFlight extends BatchIdentity {
  readonly start: LogPosition;
  readonly end: LogPosition;
}

/** What is in flight. */
export interface InFlightAmount {
  readonly records: number;
  readonly payloadBytes: number;
  readonly logBytes: number;
}

/** Nothing is in flight. */
export const NOTHING_IN_FLIGHT: InFlightAmount = { records: 0, payloadBytes: 0, logBytes: 0 };

/**
 * Adds it up: of batches that this process has handed over, what is in them; of the others, what is between their ends. What can't be
 * read between two batches counts with neither.
 */
export function measureInFlight(
  of: readonly InFlight[],
  state: CommitState,
  reader: Pick<RecordReader, "missingFrom">,
): InFlightAmount {
  const last = state.boundaries.at(-1);
  let [records, payloadBytes, logBytes] = [0, 0, 0];
  const add = (from: LogPosition, to: LogPosition, lost: number) => {
    // Of what is gone as a whole nothing is in flight any more, whatever the cursor says.
    if (to.nextSequence - from.nextSequence === lost) return;
    records += to.nextSequence - from.nextSequence - lost;
    payloadBytes += to.payloadBytes - from.payloadBytes;
    logBytes += to.logBytes - from.logBytes;
  };
  let at = state.committed;
  for (const { start, end } of of) {
    // Behind records that only an earlier process has handed over.
    const isGap = state.boundaries.some(({ nextSequence }) => {
      return at.nextSequence < nextSequence && nextSequence <= start.nextSequence;
    });
    if (isGap) add(at, start, reader.missingFrom(at.nextSequence, start.nextSequence));
    add(start, end, 0);
    at = end;
  }
  if (last !== undefined && at.nextSequence < last.nextSequence) {
    add(at, last, reader.missingFrom(at.nextSequence, last.nextSequence));
  }
  return { records, payloadBytes, logBytes };
}
