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
 * **One that can't be removed stops none behind it.** On Windows a program that has it open or mapped can keep it. It is tried
 * again with the next commit, and some time later for a minute if there is none.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import { YieldBudget, yieldToEventLoop } from "../../base/event_loop.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { retryWhilePassing } from "../../fs/retry.ts";
import type { Cursor } from "../cursor.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState } from "../position.ts";
import type { LogEnds } from "./log_ends.ts";
import type { LogHealth } from "./log_health.ts";
import type { SegmentList } from "./segment_list.ts";

/** The segments that are removed before the event loop gets a turn. */
const REMOVALS_A_TURN = 32;
/** After this many segments that could not be removed a round ends: the directory itself refuses, most likely. */
const MAX_FAILURES_A_ROUND = 8;
/** How long after a round with failures the next one comes by itself; each further one after twice the time. */
const MIN_RETRY_MS = 1_000;
const MAX_RETRY_MS = 32_000;

interface CommitTrackerDeps {
  readonly clock: Clock;
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
  #retryMs = MIN_RETRY_MS;
  #cancelRetry: (() => void) | undefined;
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
      await retryWhilePassing(() => ownership.verify());
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
    this.#cancelRetry?.();
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
        this.#retryMs = MIN_RETRY_MS;
      }
    } catch (error) {
      // Tried again; not after a loss of ownership, which has failed the log.
      if (error instanceof FileSystemError) {
        this.#retryLater();
        onWarning(error);
      } else if (health.failure === undefined) throw error;
    } finally {
      // In the same tick as the last check: a commit that comes next starts another loop.
      this.#isDropping = false;
    }
  }

  get #mayRemove(): boolean {
    return !this.#isClosed && this.#deps.health.failure === undefined;
  }

  /** Starts a round some time later, if no commit does before. */
  #retryLater(): void {
    if (this.#cancelRetry !== undefined || this.#isClosed || this.#retryMs > MAX_RETRY_MS) return;
    this.#cancelRetry = this.#deps.clock.setTimer(() => {
      this.#cancelRetry = undefined;
      this.drop();
    }, this.#retryMs);
    this.#retryMs *= 2;
  }

  /**
   * Removes the segments that `state` releases, which is on stable storage.
   *
   * @throws {FileSystemError} in the end, why the first one that is left could not be removed.
   */
  async #removeAll(state: CommitState): Promise<void> {
    const { segments, onRemoved } = this.#deps;
    const failures: FileSystemError[] = [];
    let segment = segments.nextDroppable(state, -1);
    while (segment !== undefined && this.#mayRemove && failures.length < MAX_FAILURES_A_ROUND) {
      try {
        await segments.remove(segment);
        onRemoved(segment.name);
      } catch (error) {
        if (!(error instanceof FileSystemError)) throw error;
        failures.push(error);
      }
      if (this.#budget.spend(1)) await yieldToEventLoop();
      segment = segments.nextDroppable(state, segment.firstSequence);
    }
    if (failures.length > 0) throw failures[0];
  }
}
