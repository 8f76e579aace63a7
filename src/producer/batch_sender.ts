/**
 * Delivers one batch: attempts, retries, splitting, partial resends, dead letters.
 *
 * Before each attempt, records that are older than `maxRecordAgeMs` are set aside as dead letters, or left out for good.
 *
 * What a failure leads to is decided in this order, because each rules out what comes after it:
 * 1. This way to the target is closed for good (`final`): the producer stops.
 * 2. Payloads don't decode: they are undeliverable, and the others are sent at once.
 * 3. It was too much at once: two halves.
 * 4. The target is at fault: all that it hasn't taken is sent again, after the pause that its gate keeps.
 * 5. The records are: those that may be taken later are sent again after a pause, the others are undeliverable.
 *
 * Guarantees: when `deliver` says that a batch is delivered, each of its records was taken by the target or is
 * persisted as a dead letter, so that the batch may be committed. The parts of a batch are sent one after the other, in
 * order; what has to be sent again comes before what was not sent yet. A record is left out of a delivery only if the
 * target said that it has it, or never will, or if it has expired.
 *
 * Nothing is kept after a batch or the process: a batch that was delivered in parts is sent again as a whole, with the same
 * ids.
 *
 * @module
 */

import type { Batch } from "../buffer/batch.ts";
import { CodecError, DeliveryError, ProducerStoppedError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import { type AttemptLimits, runAttempt } from "./attempt.ts";
import type { Backoff } from "./backoff.ts";
import { BatchPart } from "./batch_part.ts";
import type { DeadLetters } from "./dead_letters.ts";
import type { Send } from "./delivery.ts";
import type { Reporter } from "./events.ts";
import { classifyFailure, type FailureOutcome, toFailureOutcome, type Undeliverable } from "./failure.ts";
import type { TargetGate } from "./target_gate.ts";

/** Collaborators of a {@linkcode BatchSender}. */
export interface BatchSenderDeps<T> extends AttemptLimits {
  readonly send: Send<T>;
  readonly backoff: Backoff;
  readonly gate: TargetGate;
  readonly reporter: Reporter;
  /** Where undeliverable records go; without it they stop the producer. */
  readonly deadLetters: DeadLetters<T> | undefined;
}

/** A part of a batch that is to be sent. */
interface PendingPart<T> {
  readonly part: BatchPart<T>;
  /** Attempts made at just this part. */
  readonly attempts: number;
  /** Attempts made at its records, with others or alone. */
  readonly sends: number;
  /** Those of them that failed because of the records, or for a reason that isn't known: `retry` bounds them. */
  readonly tries: number;
  /** Monotonic time of the first attempt, moved on by what faults of the target took: they use up no record's time. */
  readonly startedAt: number | undefined;
  /** All of it was refused, and that isn't believed until it is repeated. */
  readonly isDoubted: boolean;
}

/** Delivers the batches of one producer. */
export class BatchSender<T> {
  readonly #deps: BatchSenderDeps<T>;

  constructor(deps: BatchSenderDeps<T>) {
    this.#deps = deps;
  }

  /**
   * @returns True when all of it is taken care of, false if the producer ends before.
   * @throws {ProducerStoppedError} for a record that can be neither delivered nor put aside.
   */
  async deliver(batch: Batch<T>): Promise<boolean> {
    let parts: readonly PendingPart<T>[] = [firstPart(new BatchPart(batch))];
    while (parts.length > 0) {
      if (this.#deps.shutdown.stopping.aborted) return false;
      const [pending, ...rest] = parts;
      const left = await this.#run(pending);
      if (left === undefined) return false;
      parts = [...left, ...rest];
    }
    return true;
  }

  /**
   * Sends a part once; what is left to be done of it then, or `undefined` if the producer ends before that is known.
   */
  async #run({ part, ...before }: PendingPart<T>): Promise<readonly PendingPart<T>[] | undefined> {
    const { send, clock, gate, shutdown, reporter } = this.#deps;
    const { id, batchId, length } = part;
    const attempt = before.attempts + 1;
    const cameAt = clock.monotonic();
    if (gate.isClosed && !await gate.enter(part, before.isDoubted)) return undefined;
    const expired = part.expiredRecords;
    if (expired > 0) return await this.#expire({ ...before, part }, expired);
    const beganAt = clock.monotonic();
    const startedAt = before.startedAt === undefined ? beganAt : before.startedAt + beganAt - cameAt;
    const pending: PendingPart<T> = { ...before, part, attempts: attempt, sends: before.sends + 1, startedAt };
    reporter.tell({ type: "attempt-started", id, batchId, records: length, attempt, retry: before.sends > 0 });
    const warn = (reason: string): void => reporter.tell({ type: "warned", id, batchId, reason });
    const outcome = await runAttempt((signal) => send(part, { signal, attempt, warn }), this.#deps);
    const durationMs = clock.monotonic() - beganAt;
    if (outcome.kind === "done") {
      reporter.tell({ type: "delivered", id, batchId, records: length, durationMs });
      gate.onTaken(batchId);
      return [];
    }
    const { error } = outcome;
    const failure = this.#classify(part, error);
    const taken = length - failure.again.length - failure.undeliverable.length;
    const abandoned = outcome.kind === "abandoned";
    const timedOut = abandoned ? !shutdown.aborting.aborted : outcome.isTimeout;
    reporter.tell({ type: "attempt-failed", id, batchId, attempt, taken, error, durationMs, timedOut, abandoned });
    if (taken > 0 && !failure.isTargetFault) gate.onTaken(batchId);
    if (shutdown.stopping.aborted) return undefined;
    if (error instanceof DeliveryError && error.final) throw closedByOwner(batchId, error);
    if (!failure.isTargetFault) return await this.#goOn({ ...pending, tries: before.tries + 1 }, error, failure);
    if (!gate.onFault(part, error as DeliveryError, taken)) throw outOfRetries(batchId, error);
    return [sentAgain({ ...pending, startedAt: startedAt + durationMs }, failure.again)];
  }

  /** Sets aside the first records of a part, which have expired; what is left, or `undefined` if the producer ends before. */
  async #expire(pending: PendingPart<T>, expired: number): Promise<readonly PendingPart<T>[] | undefined> {
    const { part, sends } = pending;
    const { deadLetters, gate, reporter } = this.#deps;
    const { batchId } = part;
    const indexes = Array.from({ length: part.length }, (_, i) => i);
    const sequences = part.sequences.slice(0, expired);
    // Their buffer may be full for long, and the target be well.
    if (deadLetters !== undefined || expired === part.length) gate.onLeave(batchId);
    if (deadLetters !== undefined) {
      const letters = indexes.slice(0, expired).map((index) => ({ index, reason: "older than maxRecordAgeMs" }));
      if (!await deadLetters.put(part, letters, sends)) return undefined;
    }
    reporter.tell({ type: "records-expired", batchId, sequences, records: expired });
    if (expired === part.length) return [];
    return [{ ...pending, part: part.pick(indexes.slice(expired)), attempts: 0 }];
  }

  /** What a failure means. A payload that doesn't decode is no failure of the target, and no retry helps. */
  #classify(part: BatchPart<T>, error: unknown): FailureOutcome {
    const undeliverable = error instanceof CodecError && error.operation === "decode" ? findUndecodable(part) : [];
    if (undeliverable.length === 0) return classifyFailure(error, part.length);
    const lost = new Set(undeliverable.map(({ index }) => index));
    const again = Array.from({ length: part.length }, (_, i) => i).filter((index) => !lost.has(index));
    return toFailureOutcome({ again, undeliverable });
  }

  /** Sets undeliverable records aside, waits, and returns what is to be sent next. */
  async #goOn(
    pending: PendingPart<T>,
    error: unknown,
    failure: FailureOutcome,
  ): Promise<readonly PendingPart<T>[] | undefined> {
    const { part } = pending;
    const { backoff, gate } = this.#deps;
    const { length } = failure.again;
    if (failure.isTooLarge && length > 1) {
      if (failure.undeliverable.length > 0) gate.onRecordFailure(part.batchId);
      if (!await this.#putAside(pending, error, failure.undeliverable)) return undefined;
      return await this.#halve(part.pick(failure.again), failure.retryAfterMs);
    }
    const delayMs = this.#delayMs(pending, error, failure);
    const isHopeless = delayMs === undefined || (failure.isTooLarge && length === 1);
    const givenUp = isHopeless ? failure.again : [];
    const hopeless = givenUp.map((index) => ({ index, reason: failure.reasons.get(index) ?? errorText(error) }));
    const undeliverable = [...failure.undeliverable, ...hopeless].sort((a, b) => a.index - b.index);
    // A target that was not asked has refused nothing.
    const isRefused = undeliverable.length === part.length &&
      !(error instanceof CodecError && error.operation === "decode");
    if (isRefused && !pending.isDoubted && !gate.onRefusal(part, error, failure.retryAfterMs)) {
      part.redelivered = true;
      return [{ ...pending, isDoubted: true }];
    }
    gate.onRecordFailure(part.batchId);
    if (!await this.#putAside(pending, error, undeliverable)) return undefined;
    if (length === 0 || isHopeless) return [];
    const next = sentAgain(pending, failure.again);
    return delayMs > 0 && !await backoff.wait(delayMs, next.part.id) ? undefined : [next];
  }

  /** How long to wait before the next attempt; `undefined` to give up. */
  #delayMs(
    { tries, startedAt }: PendingPart<T>,
    error: unknown,
    { undeliverable, retryAfterMs }: FailureOutcome,
  ): number | undefined {
    if (error instanceof CodecError && undeliverable.length > 0) return 0;
    const { clock, backoff } = this.#deps;
    const now = clock.monotonic();
    return backoff.delayMs({ tries, elapsedMs: now - (startedAt ?? now), retryAfterMs });
  }

  /** Two parts instead of one that was too much. Their attempts count from one: the target took nothing of the whole. */
  async #halve(part: BatchPart<T>, retryAfterMs: number | undefined): Promise<readonly PendingPart<T>[] | undefined> {
    const halves = part.halves();
    for (const half of halves) half.redelivered = true;
    this.#deps.reporter.tell({ type: "halved", id: part.id, halves: [halves[0].id, halves[1].id] });
    if (retryAfterMs !== undefined) {
      // Halves are no retries: no bound of those ends them.
      const delayMs = this.#deps.backoff.endlessDelayMs(1, retryAfterMs);
      if (!await this.#deps.backoff.wait(delayMs, halves[0].id)) return undefined;
    }
    return halves.map(firstPart);
  }

  /** Sets undeliverable records aside; false if the producer ends before. */
  async #putAside(pending: PendingPart<T>, cause: unknown, undeliverable: readonly Undeliverable[]): Promise<boolean> {
    if (undeliverable.length === 0) return true;
    const { part, sends } = pending;
    const { deadLetters } = this.#deps;
    if (deadLetters !== undefined) return await deadLetters.put(part, undeliverable, sends);
    const { batchId } = part;
    const sequences = undeliverable.map(({ index }) => part.sequences[index]);
    const reason = `sequence ${sequences[0]} of batch ${batchId} is undeliverable: ${undeliverable[0].reason}`;
    throw new ProducerStoppedError({ reason, batchId, sequences }, { cause });
  }
}

function firstPart<T>(part: BatchPart<T>): PendingPart<T> {
  return { part, attempts: 0, sends: 0, tries: 0, startedAt: undefined, isDoubted: false };
}

/** The records of a part that are sent again. */
function sentAgain<T>(pending: PendingPart<T>, indexes: readonly number[]): PendingPart<T> {
  const part = pending.part.pick(indexes);
  part.redelivered = true;
  return { ...pending, part, attempts: part === pending.part ? pending.attempts : 0 };
}

function closedByOwner(batchId: string, cause: DeliveryError): ProducerStoppedError {
  const reason = `the client was closed by its owner: ${errorText(cause)}; once it is open again, resume() goes on`;
  return new ProducerStoppedError({ reason, batchId }, { cause });
}

function outOfRetries(batchId: string, cause: unknown): ProducerStoppedError {
  const reason = `the target takes nothing, and retry allows no further attempt: ${errorText(cause)}; resume() goes on`;
  return new ProducerStoppedError({ reason, batchId }, { cause });
}

/** The records of a part whose payloads don't decode. */
function findUndecodable<T>(part: BatchPart<T>): Undeliverable[] {
  const found: Undeliverable[] = [];
  for (let index = 0; index < part.length; index++) {
    try {
      part.decode(index);
    } catch (error) {
      found.push({ index, reason: errorText(error) });
    }
  }
  return found;
}
