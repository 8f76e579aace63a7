/**
 * What is known to be lost: the file `quarantine/losses.json`, beside the bytes that were set aside.
 *
 * It holds three things:
 * - *Lost sequences.* Whoever passes bad bytes, recovery or a reader, writes down which sequences can't be delivered
 *   because of them. Later the cursor is past them as if they had been; so only this says whether a record that is found
 *   in the quarantine was ever delivered.
 * - *Accepted losses*, bytes and sequences, written by `repair`. Bad bytes that are set aside stay in their segment, and
 *   sequences that are lost stay lost, until the consumer is past them. With `onDamage: "fail"` they would be refused for
 *   ever; what somebody has looked at and accepted is not.
 * - *Unproven losses*: sequences of which nothing proved that they had been acknowledged when they were found to be missing
 *   (see `segment_scan.ts`). They count as accepted; and nobody who comes later can know that any more.
 *
 * Guarantees: the file is replaced in one step and synced, its name, too; one that is missing or can't be read says that
 * nothing is known; a log that is damaged all over doesn't make it grow without end. Pure but for reading and saving it.
 *
 * @module
 */

import { join } from "@std/path/join";
import { isSequenceRange, isWithinRanges, mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { closeQuietly, readFile, removeIfExists } from "../../fs/file_helpers.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import { LOSSES_NAME } from "../names.ts";
import type { DamagedRegion } from "./damage.ts";
/** What is written before it takes that name. */
const NEW_NAME = "losses.json.new";
/** More than this was not written by us. */
const MAX_FILE_BYTES: number = 64 * 1024 * 1024;
/** So many runs of lost sequences are written down, the first ones; each is a write and a sync. */
export const MAX_LOST_RANGES = 4096;

/** Bad bytes of a segment. */
export type Region = Pick<DamagedRegion, "segment" | "offset" | "length">;

/** What {@linkcode KnownLosses} are made of. */
export interface Losses {
  /** Sequences that were not delivered, and won't be. */
  readonly lost: readonly SequenceRange[];
  /** Bytes whose loss was accepted. */
  readonly acceptedRegions: readonly Region[];
  /** Sequences whose loss was accepted. */
  readonly acceptedSequences: readonly SequenceRange[];
  /** Those of them that nobody may have been promised. */
  readonly unprovenSequences: readonly SequenceRange[];
}

/** What is known to be lost; the ranges in order, without overlaps. */
export class KnownLosses implements Losses {
  readonly lost: readonly SequenceRange[];
  readonly acceptedRegions: readonly Region[];
  readonly acceptedSequences: readonly SequenceRange[];
  readonly unprovenSequences: readonly SequenceRange[];
  /** Made when it is first asked for. */
  #acceptedKeys: ReadonlySet<string> | undefined;

  /** These; by default none. */
  constructor(losses: Partial<Losses> = {}) {
    const { lost = [], acceptedRegions = [], acceptedSequences = [], unprovenSequences = [] } = losses;
    this.lost = mergeRanges(lost).slice(0, MAX_LOST_RANGES);
    this.acceptedRegions = acceptedRegions;
    this.acceptedSequences = mergeRanges(acceptedSequences);
    this.unprovenSequences = mergeRanges(unprovenSequences);
  }

  /** Those of the quarantine at `path`. */
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

  /** Whether all of a loss was accepted: its bytes, if there are any, and its sequences, if any are missing. */
  isAccepted({ segment, offset, length, missing }: Region & { readonly missing: SequenceRange | undefined }): boolean {
    this.#acceptedKeys ??= new Set(this.acceptedRegions.map(keyOf));
    const isKnown = length === 0 || this.#acceptedKeys.has(keyOf({ segment, offset, length }));
    return isKnown && (missing === undefined || isWithinRanges(missing, this.acceptedSequences));
  }

  /** Whether sequences are missing, and none of them may have been promised. */
  isUnproven(missing: SequenceRange | undefined): boolean {
    return missing !== undefined && isWithinRanges(missing, this.unprovenSequences);
  }

  /** Whether to write down that a run of sequences is lost changes nothing: it is known, or there are too many before it. */
  hasRecorded(lost: SequenceRange): boolean {
    const isFull = this.lost.length === MAX_LOST_RANGES && lost.first > this.lost[MAX_LOST_RANGES - 1].last + 1;
    return isFull || isWithinRanges(lost, this.lost);
  }

  /** These and others. */
  with(losses: Partial<Losses>): KnownLosses {
    const { lost = [], acceptedRegions = [], acceptedSequences = [], unprovenSequences = [] } = losses;
    const others = acceptedRegions.filter((region) => !this.isAccepted({ ...region, missing: undefined }));
    const all = new KnownLosses({
      lost: [...this.lost, ...lost],
      acceptedRegions: [...this.acceptedRegions, ...others],
      acceptedSequences: [...this.acceptedSequences, ...acceptedSequences],
      unprovenSequences: [...this.unprovenSequences, ...unprovenSequences],
    });
    // A reader asks for each region, and notes each loss: the keys need not be made again in between.
    if (others.length === 0) all.#acceptedKeys = this.#acceptedKeys;
    return all;
  }

  /** Whether these are the same. */
  equals(other: KnownLosses): boolean {
    return this.#toText() === other.#toText();
  }

  #toText(): string {
    const { lost, acceptedRegions, acceptedSequences } = this;
    const unprovenSequences = this.unprovenSequences.length > 0 ? this.unprovenSequences : undefined;
    return JSON.stringify({ lost, acceptedRegions, acceptedSequences, unprovenSequences }, undefined, 2) + "\n";
  }

  /** Writes them to the quarantine at `path`, which is there. */
  async save(fileSystem: FileSystem, path: string): Promise<void> {
    const newPath = join(path, NEW_NAME);
    removeIfExists(fileSystem, newPath);
    const handle = fileSystem.open(newPath, "create");
    try {
      handle.write(new TextEncoder().encode(this.#toText()), 0);
      await handle.sync();
    } catch (error) {
      closeQuietly(handle);
      fileSystem.remove(newPath);
      throw error;
    }
    closeQuietly(handle);
    fileSystem.rename(newPath, join(path, LOSSES_NAME));
    await fileSystem.syncDirectory(path);
  }
}

/** A region as one text. */
export function keyOf({ segment, offset, length }: Region): string {
  return `${segment}-${offset}-${length}`;
}

function readText(fileSystem: FileSystem, path: string): string {
  try {
    return new TextDecoder().decode(readFile(fileSystem, path, MAX_FILE_BYTES));
  } catch (error) {
    if (error instanceof FileSystemError && ["ENOENT", "ENOTDIR"].includes(error.errno)) return "";
    throw error;
  }
}

function isRegion(value: Partial<Region>): value is Region {
  return typeof value.segment === "string" && Number.isSafeInteger(value.offset) && Number.isSafeInteger(value.length);
}
