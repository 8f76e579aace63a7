/**
 * Segments that count how often somebody looks at them: what work a list of them takes, whatever the machine.
 */

import { segmentName } from "../../src/wal/names.ts";
import type { Segment } from "../../src/wal/segment_files.ts";

/** Segments that begin with the sequences 1, 2, 3 ... */
export class CountedSegments {
  readonly segments: readonly Segment[];
  #looks = 0;

  /** So many. */
  constructor(count: number) {
    const look = (value: number): number => {
      this.#looks++;
      return value;
    };
    this.segments = Array.from({ length: count }, (_, i) => ({
      name: segmentName(i + 1),
      get firstSequence() {
        return look(i + 1);
      },
    }));
  }

  /** How often one of them was looked at, all in all. */
  get looks(): number {
    return this.#looks;
  }

  /** How often one of them is looked at by a call. */
  looksOf(call: () => unknown): number {
    const before = this.#looks;
    call();
    return this.#looks - before;
  }
}
