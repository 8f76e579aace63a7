/**
 * Damage in a log, and what to do about it.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";

/** What to do about damage: quarantine the bad bytes and deliver the rest, or refuse the log. */
export type OnDamage = "quarantine" | "fail";

/** A part of the log that can't be read. */
export interface DamagedRegion {
  /** File name of the segment. */
  readonly segment: string;
  /** The offset in it at which the bad bytes begin. */
  readonly offset: number;
  /** The number of bad bytes; 0 where whole frames are missing without a trace. */
  readonly length: number;
  /**
   * The sequences that can't be delivered because of it; `undefined` if none is missing. If a whole segment is unreadable,
   * this is an upper bound: as many sequences as it can have held.
   */
  readonly missing: SequenceRange | undefined;
  /** Whether the bad bytes are in the quarantine; `false` if the quarantine or the disk is full. */
  readonly quarantined: boolean;
  /**
   * Present if nothing proves that any of it was ever acknowledged. For example, a power cut may take one of several
   * records whose puts are waiting for a sync. With `fsync: "always"`, no acknowledged record is lost then, unless the disk
   * has failed as well; so `onDamage: "fail"` doesn't refuse it.
   */
  readonly unproven?: true;
}

/** Describes damage, for the error that refuses it. */
export function describeDamage({ length, missing }: Pick<DamagedRegion, "length" | "missing">): string {
  const what = missing === undefined ? "" : `sequences ${missing.first} to ${missing.last} are missing`;
  return length === 0 ? what : `${length} bytes are damaged${what === "" ? "" : `, ${what}`}`;
}
