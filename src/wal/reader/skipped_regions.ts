/**
 * The bad bytes that a reader has skipped since the last valid frame. They are refused, or quarantined and reported, as
 * `onDamage` says.
 *
 * Guarantees: a region is reported once its copy is in the quarantine, or can't be made; missing sequences are reported once,
 * with the last of the regions.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import { DamagedLogError } from "../../errors/mod.ts";
import { type DamagedRegion, describeDamage, type OnDamage } from "../recovery/damage.ts";
import type { Region } from "../recovery/known_losses.ts";
import type { Quarantine } from "../recovery/quarantine.ts";

/** What {@linkcode SkippedRegions} are made with. */
export interface SkippedRegionsDeps {
  readonly quarantine: Quarantine;
  readonly onDamage: OnDamage;
  /** Called for every region that is not refused. */
  readonly report: (region: DamagedRegion) => void;
}

/** Skipped regions, in the order of the log. */
export class SkippedRegions {
  readonly #deps: SkippedRegionsDeps;
  #regions: Region[] = [];
  /** Where they begin: a reader that waits at one meets it repeatedly. */
  readonly #places = new Set<string>();

  constructor(deps: SkippedRegionsDeps) {
    this.#deps = deps;
  }

  /** Whether there are none. */
  get isEmpty(): boolean {
    return this.#regions.length === 0;
  }

  /** Adds a region. One without bytes is not needed: the sequences show it. */
  add({ segment, offset, length }: Region): void {
    const place = `${segment}-${offset}`;
    if (length === 0 || this.#places.has(place)) return;
    this.#places.add(place);
    this.#regions.push({ segment, offset, length });
  }

  /** Forgets them, because they will be met again. */
  clear(): void {
    this.#regions = [];
    this.#places.clear();
  }

  /** Copies them to the quarantine without a report: their segment may be removed before the next read. */
  async copy(): Promise<void> {
    const { onDamage, quarantine } = this.#deps;
    if (onDamage === "fail") return;
    for (const region of [...this.#regions]) await quarantine.copy(region);
  }

  /**
   * Refuses them, or quarantines, reports and forgets them.
   *
   * @param missing The sequences that can't be delivered because of them.
   * @param place Where these are missing, if there is no region.
   */
  async settle(missing: SequenceRange | undefined, place: Region): Promise<void> {
    const { onDamage, quarantine, report } = this.#deps;
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

  #isAccepted(regions: readonly Region[], gap: Omit<DamagedRegion, "quarantined">): boolean {
    const { losses } = this.#deps.quarantine;
    return losses.isAccepted(gap) && regions.every((region) => losses.isAccepted({ ...region, missing: undefined }));
  }
}
