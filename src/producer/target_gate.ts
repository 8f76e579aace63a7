/**
 * The gate in front of the target. It is closed while the target takes nothing, whatever is sent, because of
 * - a fault of its own (`DeliveryError.scope` is `"target"`): a wrong password, a missing table, no connection; or
 * - refusals of whole deliveries, too many in a row. A target that says "bad request" or "too large" to everything is ill as
 *   well, although it blames the records: believed each time, it would be asked thousands of times a second, and all that
 *   is in the buffer would become dead letters.
 *
 * Guarantees:
 * - While it is closed, one batch sends: the prober. It is the one whose failure closed the gate, so that order is kept and an ill
 *   target gets one attempt after each pause, however many batches are in flight. Attempts that had begun before go on.
 * - It opens as soon as the target has taken all of a delivery, or some records and blames others. Records that are taken
 *   together with a fault of the target begin the count of faults again, and the gate stays closed.
 * - A prober that fails because of its own records hands the role to the batch that has waited longest: a bad record keeps no other
 *   one from being tried. So does one that has to put dead letters, before it puts them: their buffer may be full.
 * - A fault of the target makes no dead letter. When `retry` allows no further attempt, the producer stops.
 * - A producer that ends opens it for good: nothing is left that waits.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import type { DeliveryError } from "../errors/mod.ts";
import type { Backoff } from "./backoff.ts";
import type { Delivery } from "./delivery.ts";
import type { ProducerEvent, Reporter } from "./events.ts";
import type { Shutdown } from "./shutdown.ts";

/**
 * How many refusals in a row are believed at once. From the next on each one has to be repeated after a pause: a few bad
 * records in a row are usual, and a healthy target takes something in between.
 */
const MAX_REFUSALS_AT_ONCE = 4;

/** Collaborators of a {@linkcode TargetGate}. */
export interface TargetGateDeps {
  readonly clock: Clock;
  readonly shutdown: Shutdown;
  readonly backoff: Backoff;
  readonly reporter: Reporter;
}

type Part = Pick<Delivery<unknown>, "id" | "batchId">;
type Cause = Pick<Extract<ProducerEvent, { type: "blocked" }>, "error" | "reason">;

/** A batch that is to be tried. */
interface Candidate {
  readonly batchId: string;
  /** Whether it was refused, and that isn't believed yet. */
  readonly isDoubted: boolean;
}

/** The state of a closed gate; times are monotonic. */
interface Block {
  readonly closedAt: number;
  /** Id of the batch that keeps trying; `undefined`: the next one that comes. */
  prober: string | undefined;
  /** When it may try. */
  notBefore: number;
}

/** The gate of one producer, until it stops or is closed. */
export class TargetGate {
  readonly #deps: TargetGateDeps;
  #block: Block | undefined;
  /** In the order in which they came. */
  #waiters: (Candidate & { readonly resolve: () => void })[] = [];
  /** Faults of the target in a row, those of the prober only, and the monotonic time of the first. */
  #faults = 0;
  #firstFaultAt = 0;
  /** Deliveries in a row that were refused as a whole. */
  #refusals = 0;

  constructor(deps: TargetGateDeps) {
    this.#deps = deps;
    deps.shutdown.stopping.addEventListener("abort", () => this.#open(), { once: true });
  }

  /** Whether an attempt may have to wait. */
  get isClosed(): boolean {
    return this.#block !== undefined;
  }

  /** Waits until an attempt at `part` may begin; false if the producer ends before. */
  async enter({ id, batchId }: Part, isDoubted: boolean): Promise<boolean> {
    const { clock, shutdown, backoff } = this.#deps;
    for (;;) {
      if (shutdown.stopping.aborted) return false;
      const block = this.#block;
      if (block === undefined) return true;
      if (block.prober === undefined) this.#assign(block, { batchId, isDoubted });
      if (block.prober === batchId) {
        // Whole milliseconds: the clock of a system has fractions, and none of them is to be left.
        const delayMs = Math.ceil(block.notBefore - clock.monotonic());
        if (delayMs <= 0) return true;
        if (!await backoff.wait(delayMs, id)) return false;
      } else {
        await new Promise<void>((resolve) => this.#waiters.push({ batchId, isDoubted, resolve }));
      }
    }
  }

  /** The target has taken something, and there is no fault of its own. */
  onTaken(batchId: string): void {
    this.#faults = this.#refusals = 0;
    if (this.#block === undefined) return;
    const blockedMs = Math.round(this.#deps.clock.monotonic() - this.#block.closedAt);
    this.#open();
    this.#deps.reporter.tell({ type: "unblocked", batchId, blockedMs });
  }

  /**
   * An attempt has failed because of the target, after it had taken `taken` records.
   *
   * @returns False if `retry` allows no further attempt.
   */
  onFault(part: Part, error: DeliveryError, taken: number): boolean {
    const { clock, backoff } = this.#deps;
    const { retryAfterMs } = error;
    const now = clock.monotonic();
    if (taken > 0) this.#faults = this.#refusals = 0;
    if (!this.#isForProber(part)) {
      // It was sent before the gate closed, so that it is no further fault in the row. How long it asks to wait counts.
      const block = this.#block!;
      block.notBefore = Math.max(block.notBefore, now + backoff.askedMs(retryAfterMs));
      return true;
    }
    if (this.#faults++ === 0) this.#firstFaultAt = now;
    const delayMs = backoff.delayMs({
      tries: this.#faults,
      elapsedMs: now - this.#firstFaultAt,
      retryAfterMs,
      // Somebody has to act, which takes its time, whatever the count of attempts is.
      isSteady: !error.retryable,
    });
    if (delayMs === undefined) return false;
    this.#close(part, { delayMs, error, reason: "target-fault" });
    return true;
  }

  /**
   * All of a delivery was refused, or given up, and nothing of it was taken.
   *
   * @returns Whether to believe it. If not, it has to be sent again: the pause before that is seen to.
   */
  onRefusal(part: Part, error: unknown, retryAfterMs: number | undefined): boolean {
    this.#refusals++;
    if (this.#refusals <= MAX_REFUSALS_AT_ONCE) return true;
    // If another batch is the prober, this one has its pause when it is its turn.
    if (!this.#isForProber(part)) return false;
    const delayMs = Math.max(this.#refusalDelayMs(), this.#deps.backoff.askedMs(retryAfterMs));
    this.#close(part, { delayMs, error, reason: "refusals" });
    return false;
  }

  /**
   * An attempt has failed because of its records, or for a reason that isn't known. If that was the prober, it has been answered, so
   * no row of faults goes on; and the next batch is tried. Every end of a batch that was sent comes through here, unless the gate
   * opens by it.
   */
  onRecordFailure(batchId: string): void {
    if (this.#block?.prober === batchId) this.#faults = 0;
    this.onLeave(batchId);
  }

  /** A batch ends without an attempt. If it was the prober, the next one is tried. */
  onLeave(batchId: string): void {
    const block = this.#block;
    if (block?.prober !== batchId) return;
    block.prober = undefined;
    const next = this.#waiters.shift();
    if (next === undefined) return;
    this.#assign(block, next);
    next.resolve();
  }

  /** The next attempt needs no pause, whatever was asked for; false if there was none before it. */
  skipPause(): boolean {
    const block = this.#block;
    if (block === undefined || block.notBefore <= this.#deps.clock.monotonic()) return false;
    block.notBefore = 0;
    return true;
  }

  #isForProber({ batchId }: Part): boolean {
    const { prober = batchId } = this.#block ?? {};
    return prober === batchId;
  }

  /** Closes the gate if it is open; `part` is tried next, after the pause. */
  #close(part: Part, { delayMs, ...cause }: Cause & { readonly delayMs: number }): void {
    const { clock, reporter } = this.#deps;
    const { id, batchId } = part;
    const now = clock.monotonic();
    const isNew = this.#block === undefined;
    const block = this.#block ??= { closedAt: now, prober: batchId, notBefore: now };
    block.prober = batchId;
    block.notBefore = Math.max(block.notBefore, now + delayMs);
    if (isNew) reporter.tell({ type: "blocked", id, batchId, ...cause, until: clock.now() + delayMs });
  }

  #open(): void {
    this.#block = undefined;
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  #assign(block: Block, { batchId, isDoubted }: Candidate): void {
    block.prober = batchId;
    if (!isDoubted) return;
    block.notBefore = Math.max(block.notBefore, this.#deps.clock.monotonic() + this.#refusalDelayMs());
  }

  #refusalDelayMs(): number {
    return this.#deps.backoff.refusalDelayMs(this.#refusals - MAX_REFUSALS_AT_ONCE);
  }
}
