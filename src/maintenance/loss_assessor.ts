/**
 * What is known of a loss that a scan has met: whether `repair` has accepted it, and whether anything proves that it ever was
 * acknowledged.
 *
 * Guarantees: it judges as recovery does, by the same promises; `losses.json` and the promises are read once, when there is
 * a loss; where it can't be told, as beside a writer that removes segments, a loss is taken for one.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import { UnsupportedVersionError } from "../errors/mod.ts";
import { isNoSuchFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { awaitedSequences, type CursorState } from "../wal/position.ts";
import type { KnownLosses } from "../wal/recovery/known_losses.ts";
import { planRecovery, type RecoveryPlan } from "../wal/recovery/recovery_plan.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import type { DamagedBytes, MissingRecords } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

type Proof = Pick<RecoveryPlan, "provenBefore" | "isSynced">;

/** What has to be known of the place of a loss. */
export interface LossContext {
  readonly cursor: CursorState | undefined;
  /**
   * The sequence that should have come there, if a power cut can have made it.
   *
   * @default {0}
   */
  readonly expected?: number | undefined;
  /** Up to where records are proven to have been acknowledged; by default what {@linkcode LossAssessor.promisedBefore} says. */
  readonly provenBefore?: number | undefined;
}

/** Judges the losses of one log. */
export class LossAssessor {
  readonly #fileSystem: FileSystem;
  readonly #snapshot: DirectorySnapshot;
  #losses: KnownLosses | undefined;
  #proof: Proof | undefined;

  /** Of the log in that directory. */
  constructor(fileSystem: FileSystem, snapshot: DirectorySnapshot) {
    this.#fileSystem = fileSystem;
    this.#snapshot = snapshot;
  }

  /** A loss, and whether it was accepted, or can't be proven to be one; nobody misses what is done with. */
  assess<L extends DamagedBytes | MissingRecords>(
    loss: L,
    { cursor, expected = 0, provenBefore = this.promisedBefore() }: LossContext,
  ): L {
    const losses = this.#losses ??= new Quarantine(this.#fileSystem, this.#snapshot.path).losses;
    const place = { segment: "", offset: 0, length: 0, ...loss };
    const { missing } = loss;
    const missed = missing === undefined ? [] : notDone(missing, cursor);
    const isUnproven = missed.length === 0
      ? expected >= provenBefore
      : missed.every(({ first, last }) =>
        first >= provenBefore || losses.isUnproven({ first, last: Math.min(last, provenBefore - 1) })
      );
    if (isUnproven) return { ...loss, isUnproven };
    const isAccepted = losses.isAccepted({ ...place, missing: undefined }) &&
      missed.every((range) => losses.isAccepted({ ...place, length: 0, missing: range }));
    return isAccepted ? { ...loss, isAccepted } : loss;
  }

  /**
   * Up to where records are proven to have been acknowledged.
   *
   * @param unreadable Where a segment begins that can't be read: of its records, only its owner can tell.
   */
  promisedBefore(unreadable?: number): number {
    this.#proof ??= this.#findProof();
    const { provenBefore, isSynced } = this.#proof;
    return unreadable === undefined || isSynced ? provenBefore : Infinity;
  }

  /** As recovery would find it. */
  #findProof(): Proof {
    const { path, isSingleFile } = this.#snapshot;
    const none = { provenBefore: Infinity, isSynced: false };
    if (isSingleFile) return none;
    try {
      return planRecovery({ fileSystem: this.#fileSystem, directory: path });
    } catch (error) {
      if (isNoSuchFile(error) || error instanceof UnsupportedVersionError) return none;
      throw error;
    }
  }
}

/** What of a range the cursor doesn't say is done with: committed, or dropped. */
export function notDone(range: SequenceRange, cursor: CursorState | undefined): SequenceRange[] {
  return cursor === undefined ? [range] : awaitedSequences(cursor, range);
}
