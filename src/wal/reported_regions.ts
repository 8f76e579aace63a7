/**
 * The damage that recovery has reported, for whoever meets it again.
 *
 * Guarantees: a region is known if all of it was reported, its bytes and the sequences that are missing; a question costs as
 * much for thousands of regions as for one, because a reader asks it for each that it meets.
 *
 * @module
 */

import type { DamagedRegion, SequenceRange } from "./damage.ts";
import { isWithin, keyOf, unite } from "./known_losses.ts";

/** Regions that were reported. */
export class ReportedRegions {
  /** What is missing because of each, by its bytes. */
  readonly #missing: ReadonlyMap<string, SequenceRange | undefined>;
  readonly #allMissing: readonly SequenceRange[];

  /** These. */
  constructor(regions: readonly DamagedRegion[]) {
    this.#missing = new Map(regions.map((region) => [keyOf(region), region.missing]));
    this.#allMissing = unite(regions.flatMap(({ missing }) => missing ?? []));
  }

  /** Whether all of a region was reported; one without bytes, where whole frames are missing, by its sequences. */
  has(region: DamagedRegion): boolean {
    const { length, missing } = region;
    if (length === 0) return missing === undefined || isWithin(missing, this.#allMissing);
    const key = keyOf(region);
    if (missing === undefined) return this.#missing.has(key);
    const known = this.#missing.get(key);
    return known !== undefined && isWithin(missing, [known]);
  }
}
