/**
 * The bad bytes that a reader has passed since the last good frame, and what is done about them: refused, or set aside
 * and reported, as `onDamage` says.
 *
 * Guarantees: nothing is reported before its copy is in the quarantine, or before it is known that it can't be; the
 * sequences that are missing are reported once, with the last of the regions.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import { DamagedLogError } from "../../errors/mod.ts";
import { type DamagedRegion, describeDamage, type OnDamage } from "../recovery/damage.ts";
import type { Quarantine } from "../recovery/quarantine.ts";

/** Bad bytes; none of them where whole frames are missing without a trace. */
export type SkippedRegion = Pick<DamagedRegion, "segment" | "offset" | "length">;

/** What {@linkcode SkippedRegions} are made with. */
export interface SkippedRegionsDeps {
  readonly quarantine: Quarantine;
  readonly onDamage: OnDamage;
  /** Is told of every region that is set aside. */
  readonly report: (region: DamagedRegion) => void;
}

/** Regions in the order in which they were met. */
export class SkippedRegions {
  readonly #options: SkippedRegionsDeps;
  #regions: SkippedRegion[] = [];
  /** Where they begin: a reader that waits at one meets it again and again. */
  readonly #places = new Set<string>();

  /** None yet. */
  constructor(options: SkippedRegionsDeps) {
    this.#options = options;
  }

  /** Whether there are none. */
  get isEmpty(): boolean {
    return this.#regions.length === 0;
  }

  /** Remembers a region; one without bytes shows in the sequences, too. */
  add({ segment, offset, length }: SkippedRegion): void {
    const place = `${segment}-${offset}`;
    if (length === 0 || this.#places.has(place)) return;
    this.#places.add(place);
    this.#regions.push({ segment, offset, length });
  }

  /** Forgets them: they are going to be met again. */
  clear(): void {
    this.#regions = [];
    this.#places.clear();
  }

  /** Copies them to the quarantine, without a report: their segment may be removed before anybody reads on. */
  async copy(): Promise<void> {
    const { onDamage, quarantine } = this.#options;
    if (onDamage === "fail") return;
    for (const region of [...this.#regions]) await quarantine.copy(region);
  }

  /**
   * Refuses them, or sets them aside and reports them; afterwards there are none.
   *
   * @param missing The sequences that can't be delivered because of them.
   * @param place Where these are missing, if no region shows it.
   */
  async settle(missing: SequenceRange | undefined, place: SkippedRegion): Promise<void> {
    const { onDamage, quarantine, report } = this.#options;
    const regions = this.isEmpty ? [place] : this.#regions;
    if (onDamage === "fail" && !this.#isAccepted(regions, { ...place, length: 0, missing })) {
      const reason = describeDamage({ length: regions[0].length, missing });
      throw new DamagedLogError({ ...regions[0], reason });
    }
    const mark = quarantine.losses.isUnproven(missing) ? { unproven: true as const } : {};
    if (missing !== undefined) await quarantine.recordRegions([{ ...place, missing }]);
    for (const [i, region] of regions.entries()) {
      const quarantined = region.length > 0 && await quarantine.copy(region);
      report({ ...region, quarantined, missing: i === regions.length - 1 ? missing : undefined, ...mark });
    }
    this.clear();
  }

  #isAccepted(regions: readonly SkippedRegion[], gap: Omit<DamagedRegion, "quarantined">): boolean {
    const { losses } = this.#options.quarantine;
    return losses.isAccepted(gap) && regions.every((region) => losses.isAccepted({ ...region, missing: undefined }));
  }
}
