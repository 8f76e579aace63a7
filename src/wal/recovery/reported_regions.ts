/**
 * The damage that recovery has reported, for whoever meets it again.
 *
 * Guarantees: a region is known if all of it was reported, its bytes and the sequences that are missing; a question costs as
 * much for thousands of regions as for one, because a reader asks it for each that it meets.
 *
 * @module
 */

import { isWithinRanges, mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import type { DamagedRegion } from "./damage.ts";
import { keyOf } from "./known_losses.ts";

/** Regions that were reported. */
export class ReportedRegions {
  readonly #bytes: ReadonlySet<string>;
  readonly #allMissing: readonly SequenceRange[];

  /** These. */
  constructor(regions: readonly DamagedRegion[]) {
    this.#bytes = new Set(regions.map(keyOf));
    this.#allMissing = mergeRanges(regions.flatMap(({ missing }) => missing ?? []));
  }

  /** Whether all of a region was reported; one without bytes, where whole frames are missing, by its sequences. */
  has(region: DamagedRegion): boolean {
    const { length, missing } = region;
    if (length === 0) return missing === undefined || isWithinRanges(missing, this.#allMissing);
    const key = keyOf(region);
    return this.#bytes.has(key) && (missing === undefined || isWithinRanges(missing, this.#allMissing));
  }
}
