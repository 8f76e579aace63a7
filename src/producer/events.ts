/**
 * What a producer tells about itself: events as they happen, and the figures that they add up to.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import { Listeners } from "../base/listeners.ts";
import type { BufferError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";

/**
 * Something that happened in a producer, for logs and metrics.
 *
 * @example The life of a delivery
 * ```ts
 * import { MemoryBuffer, Producer, type ProducerEvent } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function lineOf(event: ProducerEvent): string {
 *   switch (event.type) {
 *     case "attempt":
 *       return `attempt ${event.attempt} at ${event.records} records`;
 *     case "attempt-failed":
 *       return `failed: ${event.error instanceof Error ? event.error.message : event.error}`;
 *     default:
 *       return event.type;
 *   }
 * }
 *
 * const lines: string[] = [];
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send(_, { attempt }) {
 *     if (attempt === 1) throw new Error("no answer");
 *   },
 *   retry: { firstDelayMs: 0 }, // else there is a "backoff" in between
 *   onEvent: (event) => lines.push(lineOf(event)),
 * });
 * await producer.putMany(["a", "b"]);
 * await producer.flush();
 * await producer.close();
 * const first = ["attempt 1 at 2 records", "failed: no answer"];
 * assertEquals(lines, [...first, "attempt 2 at 2 records", "delivered", "committed", "closed"]);
 * await buffer.close();
 * ```
 */
export type ProducerEvent =
  | {
    /** A delivery is being sent. */
    readonly type: "attempt";
    readonly id: string;
    readonly batchId: string;
    readonly records: number;
    /** Counts the attempts at this delivery, from 1. */
    readonly attempt: number;
    /** Whether all of its records were sent before, by this producer and with other ones perhaps. */
    readonly isRetry: boolean;
  }
  | {
    /** The target has taken all of a delivery. */
    readonly type: "delivered";
    readonly id: string;
    readonly batchId: string;
    readonly records: number;
    /** How long the attempt took. */
    readonly durationMs: number;
  }
  | {
    /** The target did not take all of a delivery. */
    readonly type: "attempt-failed";
    readonly id: string;
    readonly batchId: string;
    readonly attempt: number;
    /** How many of its records the target has taken. */
    readonly taken: number;
    readonly error: unknown;
    /** How long the attempt took, or was waited for. */
    readonly durationMs: number;
    readonly isTimeout: boolean;
    /** It didn't answer its signal either, and may still be running. */
    readonly isAbandoned: boolean;
  }
  | {
    /** Nothing is tried for a while: of the delivery `id`, or without one of something that a buffer has to do. */
    readonly type: "backoff";
    readonly id: string | undefined;
    readonly delayMs: number;
    /** Wall time of its end: milliseconds since 1970. */
    readonly until: number;
  }
  /** A delivery was too large, and goes on as two. */
  | { readonly type: "halved"; readonly id: string; readonly halves: readonly [string, string] }
  /** A record that no retry can mend is in the dead-letter buffer; `key` is its key there. */
  | {
    readonly type: "dead-letter";
    readonly key: string;
    readonly batchId: string;
    readonly sequence: number;
    readonly error: string;
  }
  /** A buffer could not do its part, and is asked again later. */
  | { readonly type: "buffer-error"; readonly what: "emit" | "commit" | "dead-letter"; readonly error: unknown }
  | { readonly type: "committed"; readonly batchId: string; readonly records: number }
  /** A batch was gone when it was to be committed: somebody has cleared the buffer, or committed it. */
  | { readonly type: "gone"; readonly batchId: string }
  | { readonly type: "stopped"; readonly error: BufferError }
  | { readonly type: "closed" };

/**
 * A producer in figures since it was made: a plain object.
 *
 * @example What a health check says
 * ```ts
 * import { DeliveryError, MemoryBuffer, Producer, type ProducerStats } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function healthOf({ state, backoffUntil, lastError }: ProducerStats): string {
 *   if (state === "stopped") return `broken: ${lastError?.message}`;
 *   return backoffUntil === undefined ? "well" : `the target is away: ${lastError?.message}`;
 * }
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send: () => {
 *     throw new DeliveryError({ reason: "status 403", retryable: false });
 *   },
 * });
 * assertEquals(healthOf(producer.stats()), "well");
 * await producer.put("a");
 * await producer.flush().catch(() => {});
 * assertEquals(healthOf(producer.stats()).startsWith("broken: "), true);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface ProducerStats {
  /**
   * `"stopped"`: by itself, with `lastError` as the reason. `"closing"`: `close()` waits for what runs. In either case
   * nothing new is begun.
   */
  readonly state: "running" | "stopped" | "closing" | "closed";
  /** Batches handed over by the buffer and not committed yet. */
  readonly inFlightBatches: number;
  /** Times that `send` was called. */
  readonly attempts: number;
  /** Those of them at records that were sent before. */
  readonly retries: number;
  /** Those of them that failed, in part or as a whole. */
  readonly failedAttempts: number;
  /** Those of them that took longer than `timeoutMs`. */
  readonly timeouts: number;
  /** Those of them that did not answer their signal either. */
  readonly abandoned: number;
  /** Deliveries halved because they were too large. */
  readonly halved: number;
  /** Records that the target has taken. */
  readonly deliveredRecords: number;
  /** Records put into the dead-letter buffer. */
  readonly deadLetters: number;
  /** Batches committed. */
  readonly committedBatches: number;
  /** Records in them. */
  readonly committedRecords: number;
  /** Wall time until which something waits to be tried again, the earliest if there are several; else `undefined`. */
  readonly backoffUntil: number | undefined;
  /** What went wrong last, as text, and when. */
  readonly lastError: { readonly message: string; readonly at: number } | undefined;
}

/** The figures that events add up to. */
type Counts = Omit<ProducerStats, "state" | "inFlightBatches" | "backoffUntil">;

/** Tells events, and adds them up. */
export class Reporter {
  readonly #clock: Clock;
  /** Those who want to know. */
  readonly listeners: Listeners<ProducerEvent>;
  #counts: Counts = {
    attempts: 0,
    retries: 0,
    failedAttempts: 0,
    timeouts: 0,
    abandoned: 0,
    halved: 0,
    deliveredRecords: 0,
    deadLetters: 0,
    committedBatches: 0,
    committedRecords: 0,
    lastError: undefined,
  };

  /** `onEvent` is told each event. */
  constructor(clock: Clock, onEvent: ((event: ProducerEvent) => void) | undefined) {
    this.#clock = clock;
    this.listeners = new Listeners(onEvent);
  }

  /** The figures of now. */
  get counts(): Counts {
    return this.#counts;
  }

  /** Counts and tells. */
  tell(event: ProducerEvent): void {
    this.#counts = { ...this.#counts, ...countsAfter(this.#counts, event, this.#clock.now()) };
    this.listeners.tell(event);
  }
}

/** The figures that an event changes. */
function countsAfter(counts: Counts, event: ProducerEvent, now: number): Partial<Counts> {
  switch (event.type) {
    case "attempt":
      return { attempts: counts.attempts + 1, retries: counts.retries + (event.isRetry ? 1 : 0) };
    case "delivered":
      return { deliveredRecords: counts.deliveredRecords + event.records };
    case "attempt-failed":
      return {
        failedAttempts: counts.failedAttempts + 1,
        timeouts: counts.timeouts + (event.isTimeout ? 1 : 0),
        abandoned: counts.abandoned + (event.isAbandoned ? 1 : 0),
        deliveredRecords: counts.deliveredRecords + event.taken,
        lastError: errorAt(event.error, now),
      };
    case "halved":
      return { halved: counts.halved + 1 };
    case "dead-letter":
      return { deadLetters: counts.deadLetters + 1 };
    case "committed":
      return {
        committedBatches: counts.committedBatches + 1,
        committedRecords: counts.committedRecords + event.records,
      };
    case "buffer-error":
    case "stopped":
      return { lastError: errorAt(event.error, now) };
    default:
      return {};
  }
}

function errorAt(error: unknown, at: number): { readonly message: string; readonly at: number } {
  return { message: errorText(error), at };
}
