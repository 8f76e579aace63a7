/**
 * The damage that recovery has reported, so that a reader that meets it again doesn't report it twice.
 *
 * Guarantees: a region counts as reported only if all of it was, its bytes and its missing sequences; the cost of a lookup
 * doesn't grow with the number of regions, because a reader makes one for each region that it meets.
 *
 * @module
 */

import { isWithinRanges, mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import type { DamagedRegion } from "./damage.ts";
import { keyOf } from "./known_losses.ts";

/** The regions that recovery has reported. */
export class ReportedRegions {
  readonly #bytes: ReadonlySet<string>;
  readonly #allMissing: readonly SequenceRange[];

  /** Of these regions. */
  constructor(regions: readonly DamagedRegion[]) {
    this.#bytes = new Set(regions.map(keyOf));
    this.#allMissing = mergeRanges(regions.flatMap(({ missing }) => missing ?? []));
  }

  /** Whether all of a region was reported. A region without bytes (missing frames) is identified by its sequences. */
  has(region: DamagedRegion): boolean {
    const { length, missing } = region;
    if (length === 0) return missing === undefined || isWithinRanges(missing, this.#allMissing);
    const key = keyOf(region);
    return this.#bytes.has(key) && (missing === undefined || isWithinRanges(missing, this.#allMissing));
  }
}
