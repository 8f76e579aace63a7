/**
 * Put times: in the log they are wall time, as programs that read it expect; a buffer counts ages in a time of its own, which
 * the wall clock doesn't move (`stampClock`). This class converts between the two.
 *
 * Guarantees: what is stamped is within a second of the wall clock, also after that was set or the machine has slept. A stamp of
 * this process converts back to the very time, however the wall clock has jumped in between; one of an earlier process stands
 * for itself.
 *
 * @module
 */

import { type Clock, unlessSet } from "../base/clock.ts";

/** The most jumps that are remembered. Of a record put before more than that, the age is off by the oldest ones. */
const MAX_SHIFTS = 64;

/** Converts the put times of one log. */
export class PutTimes {
  readonly #clock: Clock;
  /** What was added to the buffer's time, from which sequence on; in order. The first holds for earlier processes as well. */
  readonly #shifts = [{ from: 0, ms: 0 }];
  /** What is added now. */
  #shiftMs = 0;

  /** For a buffer whose own time begins as the wall time of now. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What to write into the log for the record with `sequence`, which is put at `time`. */
  stamp(sequence: number, time: number): number {
    const expected = time + this.#shiftMs;
    const wall = unlessSet(expected, this.#clock.now());
    if (wall !== expected) this.#shift(sequence, Math.round(wall) - time);
    return Math.max(0, time + this.#shiftMs);
  }

  #shift(from: number, ms: number): void {
    if (this.#shifts.length === MAX_SHIFTS) this.#shifts.splice(1, 1);
    this.#shifts.push({ from, ms });
    this.#shiftMs = ms;
  }

  /** When the record with `sequence` was put, in the buffer's own time, if the log says `putTime`. */
  timeOf(sequence: number, putTime: number): number {
    return putTime - this.#shifts.findLast(({ from }) => from <= sequence)!.ms;
  }
}
