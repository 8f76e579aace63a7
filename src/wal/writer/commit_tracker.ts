/**
 * Saves how far the consumer has come, and removes the segments that it no longer needs.
 *
 * **Commit first, unlink second.** A segment is removed only after the cursor that releases it is on stable storage, also
 * with `fsync: "never"`. Otherwise a power cut between the two would leave a log that begins after its own cursor, which looks
 * like damage. That takes one sync for each round of removals, in the background.
 *
 * **Only the owner writes and removes.** The ownership is verified before each removal and before each write of the cursor.
 * The cursor is a file of each owner's own, so a late write changes nothing for the next owner.
 *
 * **Removals keep up, and delay no batch.** A round removes all segments that one state has released, and yields to the event
 * loop after each `REMOVALS_A_TURN`: twice as many as the reader opens in a turn, so the removals that a drained backlog
 * leaves don't pile up.
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

/** The segments that are removed before the event loop gets a turn. */
const REMOVALS_A_TURN = 32;

interface CommitTrackerDeps {
  readonly cursor: Cursor;
  readonly segments: SegmentList;
  /** The state that recovery has found. */
  readonly state: CommitState;
  /** Whether a state takes effect only when it is on stable storage. */
  readonly isSynced: boolean;
  readonly ownership: Pick<Ownership, "verify" | "verifyThrottled">;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  readonly onRemoved: (name: string) => void;
  readonly onWarning: (error: FileSystemError) => void;
}

/** The commit state of one log. */
export class CommitTracker {
  readonly #deps: CommitTrackerDeps;
  #state: CommitState;
  #isDropping = false;
  #dropping: Promise<void> | undefined;
  #isClosed = false;
  readonly #budget = new YieldBudget(REMOVALS_A_TURN);

  constructor(deps: CommitTrackerDeps) {
    this.#deps = deps;
    const { committed, resume, boundaries } = deps.state;
    this.#state = { committed, resume, boundaries };
  }

  /** The state that was saved last. */
  get state(): CommitState {
    return this.#state;
  }

  /**
   * Makes a state durable: in the operating system, or on stable storage. If it throws or rejects, the state before remains,
   * in memory and on disk. Returns no promise if there is nothing to wait for.
   */
  save(state: CommitState): MaybePromise<void> {
    const { isSynced, health } = this.#deps;
    if (health.failure !== undefined) throw health.failure;
    this.#write(state);
    return isSynced ? this.#sync(state) : this.#apply(state);
  }

  async #sync(state: CommitState): Promise<void> {
    const { cursor, ownership, health } = this.#deps;
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
    const { segments, health } = this.#deps;
    if (this.#isDropping || health.failure !== undefined || !segments.mayDrop(this.#state)) return;
    this.#isDropping = true;
    this.#dropping = this.#dropLoop();
  }

  /** Writes the state a last time, with the sequences assigned since. */
  saveLast(): void {
    this.#write(this.#state);
  }

  #write({ committed, resume, boundaries }: CommitState): void {
    const { cursor, ends, ownership } = this.#deps;
    ownership.verifyThrottled();
    cursor.write({ lastSequence: ends.acknowledged.nextSequence - 1, committed, resume, boundaries });
  }

  /** Resolves when removals have ended for good. */
  async close(): Promise<void> {
    await this.#dropping;
    this.#isClosed = true;
    await this.#dropping;
  }

  /**
   * Makes the cursor durable, then removes what it releases; again, while there is more. Only `close` waits for it. Bound of a
   * round: the segments that are removable when it begins, one sync of the cursor, and the one under way. New commits extend
   * it only by releasing more segments.
   */
  async #dropLoop(): Promise<void> {
    const { cursor, segments, health, onWarning } = this.#deps;
    try {
      for (;;) {
        const state = this.#state;
        if (segments.nextDroppable(state, -1) === undefined || !this.#mayRemove) return;
        try {
          await cursor.sync();
        } catch (error) {
          health.fail(error);
          return;
        }
        await this.#removeAll(state);
      }
    } catch (error) {
      // Tried again with the next commit; not after a loss of ownership, which has failed the log.
      if (error instanceof FileSystemError) onWarning(error);
      else if (health.failure === undefined) throw error;
    } finally {
      // In the same tick as the last check: a commit that comes next starts another loop.
      this.#isDropping = false;
    }
  }

  get #mayRemove(): boolean {
    return !this.#isClosed && this.#deps.health.failure === undefined;
  }

  /** Removes the segments that `state` releases, which is on stable storage. */
  async #removeAll(state: CommitState): Promise<void> {
    const { segments, onRemoved } = this.#deps;
    let segment = segments.nextDroppable(state, -1);
    while (segment !== undefined && this.#mayRemove) {
      await segments.remove(segment);
      onRemoved(segment.name);
      if (this.#budget.spend(1)) await yieldToEventLoop();
      segment = segments.nextDroppable(state, segment.firstSequence);
    }
  }
}
