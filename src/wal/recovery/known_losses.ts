/**
 * Known losses: the file `quarantine/losses.json`, beside the quarantined bytes.
 *
 * It holds three lists:
 * - *Lost sequences*: those that can't be delivered because of bad bytes. Recovery or a reader writes them down when it
 *   skips the bytes. Later the cursor is past them, as if they had been delivered. So only this list says whether a
 *   record that is found in the quarantine was ever delivered.
 * - *Accepted losses*: bytes and sequences, written down by `repair`. Quarantined bytes stay in their segment, and lost
 *   sequences stay lost, until the consumer is past them. With `onDamage: "fail"` they would be refused forever. What
 *   somebody has examined and accepted is not refused.
 * - *Unproven losses*: sequences that nothing proved to have been acknowledged when they were found missing (see
 *   `segment_scan.ts`). They count as accepted. They are written down because a later start can no longer
 *   tell them from proven losses.
 *
 * Guarantees:
 * - The file is replaced atomically, and synced together with its name.
 * - A file that is missing or has no valid content counts as empty.
 * - Damage all over a log doesn't make the file grow without bound.
 * - Pure, apart from reading and saving the file.
 *
 * @module
 */

import { join } from "@std/path/join";
import { isSequenceRange, isWithinRanges, mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import { isNotFound, readFile } from "../../fs/file_helpers.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import { replaceFile } from "../../fs/replace_file.ts";
import { retryBlocking } from "../../fs/retry.ts";
import { LOSSES_NAME } from "../names.ts";
import type { DamagedRegion } from "./damage.ts";

/** The most bytes that are read: a longer file is not ours. */
const MAX_FILE_BYTES: number = 64 * 1024 * 1024;
/** The most ranges of lost sequences that are written down: the first ones. Each costs a write and a sync. */
export const MAX_LOST_RANGES = 4096;

/** Bad bytes in a segment. */
export type Region = Pick<DamagedRegion, "segment" | "offset" | "length">;

/** The content of {@linkcode KnownLosses}. */
export interface Losses {
  /** Sequences that were not delivered, and won't be. */
  readonly lost: readonly SequenceRange[];
  /** Bytes whose loss was accepted. */
  readonly acceptedRegions: readonly Region[];
  /** Sequences whose loss was accepted. */
  readonly acceptedSequences: readonly SequenceRange[];
  /** Those of them that nothing proves to have been acknowledged. */
  readonly unprovenSequences: readonly SequenceRange[];
}

/** The known losses of a log. Ranges are in order, without overlaps. */
export class KnownLosses implements Losses {
  readonly lost: readonly SequenceRange[];
  readonly acceptedRegions: readonly Region[];
  readonly acceptedSequences: readonly SequenceRange[];
  readonly unprovenSequences: readonly SequenceRange[];
  /** Created when first needed. */
  #acceptedKeys: ReadonlySet<string> | undefined;

  /** With these losses; by default none. */
  constructor(losses: Partial<Losses> = {}) {
    const { lost = [], acceptedRegions = [], acceptedSequences = [], unprovenSequences = [] } = losses;
    this.lost = mergeRanges(lost).slice(0, MAX_LOST_RANGES);
    this.acceptedRegions = acceptedRegions;
    this.acceptedSequences = mergeRanges(acceptedSequences);
    this.unprovenSequences = mergeRanges(unprovenSequences);
  }

  /** Accepts these regions and all sequences that are missing because of them. */
  static of(regions: readonly DamagedRegion[]): KnownLosses {
    const acceptedSequences = regions.flatMap(({ missing }) => missing ?? []);
    return new KnownLosses({ acceptedRegions: regions, acceptedSequences });
  }

  /** Reads the losses of the quarantine at `path`. */
  static read(fileSystem: FileSystem, path: string): KnownLosses {
    const text = readText(fileSystem, join(path, LOSSES_NAME));
    try {
      const { lost, acceptedRegions, acceptedSequences, unprovenSequences = [] } = JSON.parse(text);
      return new KnownLosses({
        lost: lost.filter(isSequenceRange),
        acceptedRegions: acceptedRegions.filter(isRegion),
        acceptedSequences: acceptedSequences.filter(isSequenceRange),
        unprovenSequences: unprovenSequences.filter(isSequenceRange),
      });
    } catch {
      return new KnownLosses();
    }
  }

  /** Whether a whole loss is accepted: its bytes, if there are any, and its missing sequences, if there are any. */
  isAccepted({ segment, offset, length, missing }: Region & { readonly missing: SequenceRange | undefined }): boolean {
    this.#acceptedKeys ??= new Set(this.acceptedRegions.map(keyOf));
    const isKnown = length === 0 || this.#acceptedKeys.has(keyOf({ segment, offset, length }));
    return isKnown && (missing === undefined || isWithinRanges(missing, this.acceptedSequences));
  }

  /** Whether sequences are missing, and all of them are unproven. */
  isUnproven(missing: SequenceRange | undefined): boolean {
    return missing !== undefined && isWithinRanges(missing, this.unprovenSequences);
  }

  /** Whether writing down this lost range would change nothing: it is known, or the list is full of earlier ones. */
  hasRecorded(lost: SequenceRange): boolean {
    const isFull = this.lost.length === MAX_LOST_RANGES && lost.first > this.lost[MAX_LOST_RANGES - 1].last + 1;
    return isFull || isWithinRanges(lost, this.lost);
  }

  /** The union of these losses and others. */
  with(losses: Partial<Losses>): KnownLosses {
    const { lost = [], acceptedRegions = [], acceptedSequences = [], unprovenSequences = [] } = losses;
    const others = acceptedRegions.filter((region) => !this.isAccepted({ ...region, missing: undefined }));
    const all = new KnownLosses({
      lost: [...this.lost, ...lost],
      acceptedRegions: [...this.acceptedRegions, ...others],
      acceptedSequences: [...this.acceptedSequences, ...acceptedSequences],
      unprovenSequences: [...this.unprovenSequences, ...unprovenSequences],
    });
    // The keys are reused: a reader looks up each region and notes each loss, mostly without a new accepted region.
    if (others.length === 0) all.#acceptedKeys = this.#acceptedKeys;
    return all;
  }

  /** Whether both hold the same losses. */
  equals(other: KnownLosses): boolean {
    return this.#toText() === other.#toText();
  }

  #toText(): string {
    const { lost, acceptedRegions, acceptedSequences } = this;
    const unprovenSequences = this.unprovenSequences.length > 0 ? this.unprovenSequences : undefined;
    return JSON.stringify({ lost, acceptedRegions, acceptedSequences, unprovenSequences }, undefined, 2) + "\n";
  }

  /** Writes the losses to the quarantine at `path`, which must exist. */
  async save(fileSystem: FileSystem, path: string): Promise<void> {
    const bytes = new TextEncoder().encode(this.#toText());
    await replaceFile(fileSystem, join(path, LOSSES_NAME), (handle) => handle.write(bytes, 0));
  }
}

/** A region as the key of a set. */
export function keyOf({ segment, offset, length }: Region): string {
  return `${segment}-${offset}-${length}`;
}

function readText(fileSystem: FileSystem, path: string): string {
  try {
    return new TextDecoder().decode(retryBlocking(() => readFile(fileSystem, path, MAX_FILE_BYTES)));
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}

function isRegion(value: Partial<Region>): value is Region {
  return typeof value.segment === "string" && Number.isSafeInteger(value.offset) && Number.isSafeInteger(value.length);
}
