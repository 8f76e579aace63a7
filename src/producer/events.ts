/**
 * What a producer reports: events as they happen, and the stats that they add up to.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import { type ListenerFailedEvent, Listeners } from "../base/listeners.ts";
import { DeliveryError, type SluiceError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";

/** Something that happened in a producer, for logs and metrics. */
export type ProducerEvent =
  | {
    /** A delivery is being sent. */
    readonly type: "attempt-started";
    readonly id: string;
    readonly batchId: string;
    readonly records: number;
    /** Counts the attempts at this delivery, from 1. */
    readonly attempt: number;
    /** Whether all of its records were sent before, by this producer, perhaps in other deliveries. */
    readonly retry: boolean;
  }
  | {
    /** The target has taken all of a delivery. */
    readonly type: "delivered";
    readonly id: string;
    readonly batchId: string;
    readonly records: number;
    /** How long the attempt took, in milliseconds. */
    readonly durationMs: number;
  }
  /** The sink has seen something that isn't a failure, but that somebody should see, such as a success that looks wrong. */
  | { readonly type: "warned"; readonly id: string; readonly batchId: string; readonly reason: string }
  | {
    /** The target did not take all of a delivery. */
    readonly type: "attempt-failed";
    readonly id: string;
    readonly batchId: string;
    readonly attempt: number;
    /** Number of its records that the target has taken. */
    readonly taken: number;
    readonly error: unknown;
    /** How long the attempt took, or was waited for, in milliseconds. */
    readonly durationMs: number;
    /** It took longer than `timeoutMs`. */
    readonly timedOut: boolean;
    /** It didn't answer its signal either, and may still be running. */
    readonly abandoned: boolean;
  }
  | {
    /** A pause before something is tried again: the delivery `id`, or without an id a call of a buffer. */
    readonly type: "backoff-started";
    readonly id: string | undefined;
    readonly delayMs: number;
    /** Wall time of its end: milliseconds since 1970. */
    readonly until: number;
  }
  | {
    /** The target takes nothing, whatever is sent: one batch keeps trying, the others wait, until `unblocked` or the end. */
    readonly type: "blocked";
    /** The delivery that failed. */
    readonly id: string;
    readonly batchId: string;
    readonly error: unknown;
    /** `"target-fault"`: an error of scope `"target"`. `"refusals"`: too many deliveries in a row were refused as a whole. */
    readonly reason: "target-fault" | "refusals";
    /** Wall time of the next attempt: milliseconds since 1970. */
    readonly until: number;
  }
  | {
    /** The target takes records again. */
    readonly type: "unblocked";
    /** The batch of which it has taken some. */
    readonly batchId: string;
    /** Milliseconds since `blocked`. */
    readonly blockedMs: number;
  }
  /** `retryNow()` has ended the pauses. */
  | { readonly type: "retry-requested" }
  /** A delivery was too large, or refused because of some of its records, and was split in two. */
  | { readonly type: "halved"; readonly id: string; readonly halves: readonly [string, string] }
  /** An undeliverable record is in the dead-letter buffer; `key` is its key there. */
  | {
    readonly type: "dead-lettered";
    readonly key: string;
    readonly batchId: string;
    readonly sequence: number;
    readonly error: string;
  }
  | {
    /** Records were older than `maxRecordAgeMs` before they could be sent, or sent again: dead letters, or else left out. */
    readonly type: "records-expired";
    readonly batchId: string;
    readonly sequences: readonly number[];
    readonly records: number;
  }
  /** A call of a buffer failed; it is made again after a pause. */
  | {
    readonly type: "buffer-call-failed";
    readonly what: "emit" | "commit" | "dead-letter";
    /** The batch that waits for it; `undefined` for `"emit"`. */
    readonly batchId: string | undefined;
    readonly error: unknown;
  }
  | { readonly type: "committed"; readonly batchId: string; readonly records: number }
  /** A delivered batch could not be committed, because it is gone: the buffer was cleared, or the batch committed elsewhere. */
  | { readonly type: "commit-skipped"; readonly batchId: string }
  | ListenerFailedEvent
  /** The producer has stopped by itself: it delivers nothing until `resume()`. */
  | { readonly type: "stopped"; readonly error: SluiceError }
  /** `resume()` was called: delivering goes on. */
  | { readonly type: "resumed" }
  | { readonly type: "closed" };

/** Counts of a producer since it was made: a plain object. Each says its unit. */
export interface ProducerStats {
  /**
   * `"stopped"`: by itself, with `lastError` as the reason; puts are still persisted. `"closing"`: `close()` waits for what
   * runs. In either case nothing new is sent.
   */
  readonly state: "running" | "stopped" | "closing" | "closed";
  /** Number of batches handed over by the buffer and not committed yet. */
  readonly inFlightBatches: number;
  /** Number of attempts: calls of `send`. */
  readonly attempts: number;
  /** Number of attempts whose records were all sent before. */
  readonly retries: number;
  /** Number of attempts that failed, in part or as a whole. */
  readonly failedAttempts: number;
  /** Number of attempts that took longer than `timeoutMs`. */
  readonly timeouts: number;
  /** Number of attempts that did not end when their signal was aborted either. */
  readonly abandoned: number;
  /** Number of deliveries split in two because they were too large, or refused because of some of their records. */
  readonly halved: number;
  /** Number of attempts that failed because of the target, whatever was sent. */
  readonly targetFaults: number;
  /** How often the target took nothing, so that everything waited: the events `blocked`. */
  readonly blocks: number;
  /** Wall time since when that is so, in milliseconds since 1970; `undefined` if it isn't. */
  readonly blockedSince: number | undefined;
  /** Number of records that the target has taken. */
  readonly deliveredRecords: number;
  /** Number of records put into the dead-letter buffer. */
  readonly deadLetters: number;
  /** Number of records that were older than `maxRecordAgeMs` before they could be sent; those with dead letters count there, too. */
  readonly expiredRecords: number;
  /** Number of batches committed. */
  readonly committedBatches: number;
  /** Number of records in those batches. */
  readonly committedRecords: number;
  /** Wall time of the next retry, in milliseconds since 1970; `undefined` if nothing waits for one. */
  readonly backoffUntil: number | undefined;
  /** What went wrong last, as text, and the wall time, in milliseconds since 1970. */
  readonly lastError: { readonly message: string; readonly at: number } | undefined;
}

/** The stats that events add up to. */
type Counts = {
  -readonly [K in Exclude<keyof ProducerStats, "state" | "inFlightBatches" | "backoffUntil">]: ProducerStats[K];
};

/** Reports events, and adds them up. */
export class Reporter {
  readonly #clock: Clock;
  readonly listeners: Listeners<ProducerEvent>;
  /** What went wrong last with each batch that isn't committed, the latest at the end; without an id: with any. */
  readonly #failures = new Map<string | undefined, unknown>();
  readonly counts: Counts = {
    attempts: 0,
    retries: 0,
    failedAttempts: 0,
    timeouts: 0,
    abandoned: 0,
    halved: 0,
    targetFaults: 0,
    blocks: 0,
    blockedSince: undefined,
    deliveredRecords: 0,
    deadLetters: 0,
    expiredRecords: 0,
    committedBatches: 0,
    committedRecords: 0,
    lastError: undefined,
  };

  /** `onEvent` is called with each event. */
  constructor(clock: Clock, onEvent: ((event: ProducerEvent) => void) | undefined) {
    this.#clock = clock;
    this.listeners = new Listeners<ProducerEvent>(onEvent, (event) => this.#count(event));
  }

  /** What went wrong last with what isn't committed; `undefined` if nothing has. */
  get lastFailure(): unknown {
    return [...this.#failures.values()].at(-1);
  }

  /** Counts an event, and sends it to the listeners. */
  tell(event: ProducerEvent): void {
    this.#count(event);
    this.listeners.tell(event);
  }

  #count(event: ProducerEvent): void {
    const { counts } = this;
    switch (event.type) {
      case "attempt-started":
        counts.attempts++;
        if (event.retry) counts.retries++;
        break;
      case "delivered":
        counts.deliveredRecords += event.records;
        break;
      case "attempt-failed":
        counts.failedAttempts++;
        if (event.timedOut) counts.timeouts++;
        if (event.abandoned) counts.abandoned++;
        counts.deliveredRecords += event.taken;
        if (event.error instanceof DeliveryError && event.error.scope === "target") counts.targetFaults++;
        this.#noteFailure(event.batchId, event.error);
        break;
      case "blocked":
        counts.blocks++;
        counts.blockedSince = this.#clock.now();
        break;
      case "unblocked":
      case "closed":
        counts.blockedSince = undefined;
        break;
      case "halved":
        counts.halved++;
        break;
      case "dead-lettered":
        counts.deadLetters++;
        break;
      case "records-expired":
        counts.expiredRecords += event.records;
        break;
      case "committed":
        counts.committedBatches++;
        counts.committedRecords += event.records;
        this.#forgetFailure(event.batchId);
        break;
      case "commit-skipped":
        this.#forgetFailure(event.batchId);
        break;
      case "buffer-call-failed":
        this.#noteFailure(event.batchId, event.error);
        break;
      case "resumed": {
        // A batch that was committed by hand doesn't come again: the next commit ends what was wrong before.
        const { lastFailure } = this;
        this.#failures.clear();
        if (lastFailure !== undefined) this.#failures.set(undefined, lastFailure);
        break;
      }
      case "stopped":
        counts.blockedSince = undefined;
        this.#noteError(event.error);
        break;
      case "listener-failed":
        this.#noteError(event.error);
    }
  }

  /** With several batches in flight the commit of one says nothing of what is wrong with another. */
  #noteFailure(batchId: string | undefined, error: unknown): void {
    this.#failures.delete(batchId);
    this.#failures.set(batchId, error);
    this.#noteError(error);
  }

  #forgetFailure(batchId: string): void {
    this.#failures.delete(batchId);
    this.#failures.delete(undefined);
  }

  #noteError(error: unknown): void {
    this.counts.lastError = { message: errorText(error), at: this.#clock.now() };
  }
}
