/**
 * What to say about a place in the log that can't be read: types only.
 *
 * @module
 */

/** What to do about damage: set the bad bytes aside and deliver the rest, or refuse. */
export type OnDamage = "quarantine" | "fail";

/** A run of sequences, both ends included. */
export interface SequenceRange {
  /** The first sequence. */
  readonly first: number;
  /** The last sequence. */
  readonly last: number;
}

/** A place in the log that could not be read. */
export interface DamagedRegion {
  /** File name of the segment. */
  readonly segment: string;
  /** Where in it the bad bytes begin. */
  readonly offset: number;
  /** How many bytes are bad; 0 when whole frames are missing without a trace. */
  readonly length: number;
  /**
   * The sequences that can't be delivered because of it; `undefined` when none is missing. Where a whole segment can't be
   * read, nobody knows how many it held: then it is the most that fit.
   */
  readonly missing: SequenceRange | undefined;
  /** Whether the bad bytes are in the quarantine; not if that is full, or the disk is. */
  readonly quarantined: boolean;
}
