/**
 * Saves where the consumer is, and removes the segments that it is done with.
 *
 * **Commit first, unlink second.** A segment is removed only after the cursor that says so is on stable storage, with
 * `fsync: "never"`, too: the other way round, a power cut between the two would leave a log that begins behind its own
 * cursor, and look like damage. That is one sync for each round of removals, and nobody waits for it.
 *
 * **Only the owner writes and removes.** Before a removal it is confirmed that the directory is still ours, and before a
 * write of the cursor, too; that is a file of each owner's own, so that a write that comes too late changes nothing for the
 * next owner.
 *
 * **Removals keep up, and keep nobody waiting.** A round removes what one state has done with, as many segments as that are,
 * and gives the event loop a turn after each `REMOVALS_A_TURN`: twice as many as the reader opens in one, so that what a
 * drained backlog leaves to be removed doesn't grow with the backlog, and no batch waits for more than that.
 *
 * @module
 */

import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { FileSystemError } from "../../errors/mod.ts";
import type { Cursor } from "../cursor.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState } from "../position.ts";
import type { LogEnds } from "./log_ends.ts";
import type { LogHealth } from "./log_health.ts";
import type { SegmentList } from "./segment_list.ts";

/** After so many removed segments the event loop gets a turn. */
const REMOVALS_A_TURN = 32;

/** What a {@linkcode CommitTracker} is made with. */
export interface CommitTrackerDeps {
  readonly cursor: Cursor;
  readonly list: SegmentList;
  /** What recovery found. */
  readonly state: CommitState;
  /** Whether a state must be on stable storage before it counts. */
  readonly isSynced: boolean;
  readonly ownership: Pick<Ownership, "verify" | "verifyThrottled">;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  readonly onRemoved: (name: string) => void;
  readonly onWarning: (error: FileSystemError) => void;
}

/** The commit state of one log. */
export class CommitTracker {
  readonly #options: CommitTrackerDeps;
  #state: CommitState;
  #isDropping = false;
  #dropping: Promise<void> | undefined;
  #isClosed = false;
  readonly #budget = new YieldBudget(REMOVALS_A_TURN);

  /** For one log. */
  constructor(options: CommitTrackerDeps) {
    this.#options = options;
    this.#state = options.state;
  }

  /** The state that was saved last. */
  get state(): CommitState {
    return this.#state;
  }

  /**
   * Makes a state durable: in the operating system, or on stable storage. If it throws or rejects, the state before
   * stands, in memory and on disk. Without a promise if there is nothing to wait for.
   */
  save(state: CommitState): MaybePromise<void> {
    const { isSynced, health } = this.#options;
    if (health.failure !== undefined) throw health.failure;
    this.#write(state);
    if (isSynced) return this.#sync(state);
    this.#apply(state);
    return undefined;
  }

  async #sync(state: CommitState): Promise<void> {
    const { cursor, ownership, health } = this.#options;
    try {
      await cursor.sync();
      ownership.verify();
    } catch (error) {
      throw health.fail(error);
    }
    this.#apply(state);
  }

  #apply(state: CommitState): void {
    this.#state = state;
    this.drop();
  }

  /** Starts to remove segments that hold nothing but committed or dropped records. */
  drop(): void {
    const { list, health } = this.#options;
    if (this.#isDropping || health.failure !== undefined || !list.mayDrop(this.#state)) return;
    this.#isDropping = true;
    this.#dropping = this.#dropLoop();
  }

  /** Writes the state a last time, with the sequences given out since. */
  saveLast(): void {
    this.#write(this.#state);
  }

  #write({ committed, resume, boundaries }: CommitState): void {
    const { cursor, ends, ownership } = this.#options;
    ownership.verifyThrottled();
    cursor.write({ lastSequence: ends.acknowledged.nextSequence - 1, committed, resume, boundaries });
  }

  /** Resolves when nothing is being removed any more, and nothing will be. */
  async close(): Promise<void> {
    await this.#dropping;
    this.#isClosed = true;
    await this.#dropping;
  }

  /**
   * Makes the cursor durable, then removes what it has done with; again, while there is more. Nobody but `close` waits for
   * it. Bound of a round: the segments that may go when it begins, one sync of the cursor, and the one under way. New
   * commits can keep it going, but only by making more segments removable.
   */
  async #dropLoop(): Promise<void> {
    const { cursor, list, health, onWarning } = this.#options;
    try {
      for (;;) {
        const state = this.#state;
        if (list.nextDroppable(state, -1) === undefined || !this.#mayRemove) return;
        try {
          await cursor.sync();
        } catch (error) {
          health.fail(error);
          return;
        }
        await this.#removeAll(state);
      }
    } catch (error) {
      // Tried again with the next commit; not if the directory isn't ours any more, which has failed the log.
      if (error instanceof FileSystemError) onWarning(error);
      else if (health.failure === undefined) throw error;
    } finally {
      // In the same breath as the last look: a commit that comes next starts anew.
      this.#isDropping = false;
    }
  }

  get #mayRemove(): boolean {
    return !this.#isClosed && this.#options.health.failure === undefined;
  }

  /** Removes the segments that `state` has done with, which is on stable storage. */
  async #removeAll(state: CommitState): Promise<void> {
    const { list, onRemoved } = this.#options;
    let segment = list.nextDroppable(state, -1);
    while (segment !== undefined && this.#mayRemove) {
      await list.remove(segment);
      onRemoved(segment.name);
      if (this.#budget.spend(1)) await yieldToEventLoop();
      segment = list.nextDroppable(state, segment.firstSequence);
    }
  }
}
