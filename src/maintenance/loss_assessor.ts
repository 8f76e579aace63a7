/**
 * Assesses a loss that a scan has found: whether `repair` has accepted it, and whether it is unproven (see
 * `segment_scan.ts`).
 *
 * Guarantees: it comes to the same conclusion as recovery, because it asks recovery's plan. The plan and `losses.json` are
 * read once, at the first loss. Where the plan can't be made, as beside a writer that removes segments, every loss counts
 * as proven.
 *
 * @module
 */

import type { SequenceRange } from "../base/sequences.ts";
import { UnsupportedVersionError } from "../errors/mod.ts";
import { isNoSuchFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { awaitedSequences, type CursorState } from "../wal/position.ts";
import type { KnownLosses } from "../wal/recovery/known_losses.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { planRecovery, type RecoveryPlan } from "../wal/recovery/recovery_plan.ts";
import type { DamagedBytes, MissingRecords } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

type Proof = Pick<RecoveryPlan, "provenBefore" | "isSynced">;

/** The circumstances of a loss. */
interface LossContext {
  readonly cursor: CursorState | undefined;
  /**
   * The sequence that was expected there, if a power cut can have caused the loss.
   *
   * @default {0}
   */
  readonly expected?: number | undefined;
  /** Records below this sequence are proven; by default those that {@linkcode LossAssessor.provenBefore} returns. */
  readonly provenBefore?: number | undefined;
}

/** Assesses the losses of one log. */
export class LossAssessor {
  readonly #fileSystem: FileSystem;
  readonly #snapshot: DirectorySnapshot;
  #losses: KnownLosses | undefined;
  #proof: Proof | undefined;

  constructor(fileSystem: FileSystem, snapshot: DirectorySnapshot) {
    this.#fileSystem = fileSystem;
    this.#snapshot = snapshot;
  }

  /** The loss, marked if it was accepted or is unproven. Committed and dropped sequences don't count. */
  assess<L extends DamagedBytes | MissingRecords>(
    loss: L,
    { cursor, expected = 0, provenBefore = this.provenBefore() }: LossContext,
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
   * The sequence below which all records are proven.
   *
   * @param unreadable The first sequence of an unreadable segment. Its records are unproven only if its owner acknowledged
   * puts after a sync.
   */
  provenBefore(unreadable?: number): number {
    this.#proof ??= this.#findProof();
    const { provenBefore, isSynced } = this.#proof;
    return unreadable === undefined || isSynced ? provenBefore : Infinity;
  }

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

/** The sequences of a range that are neither committed nor dropped, going by the cursor. */
export function notDone(range: SequenceRange, cursor: CursorState | undefined): SequenceRange[] {
  return cursor === undefined ? [range] : awaitedSequences(cursor, range);
}
