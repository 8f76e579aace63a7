/**
 * The contract between a producer and its target. Types only; `DeliveryError` is how a target says more than "it failed".
 *
 * A {@linkcode Send} sees a {@linkcode Delivery}, not the batch itself, because a batch may have to go in parts: halved,
 * if it is too large for the target or refused as a whole, or only those of its records that failed before. Each part has an id of its own.
 *
 * After a crash a batch that had gone in parts is sent as a whole again, first. So a target that takes parts of a
 * delivery gets each record once only if it knows its records one by one (by `batchId` and sequence), or keeps its
 * answer together with the id and gives it again. One that takes a delivery or leaves it needs nothing but the id.
 *
 * That holds without `maxRecordAgeMs`. With it a batch loses its oldest records while it waits, and what is left has another id each
 * time. Where an attempt has arrived and nobody knows, because its answer was lost or the process died, the next one may bring some of
 * the same records under another id, and what has expired meanwhile may have a dead letter although it has arrived. There only a
 * target that knows records one by one has each of them once.
 *
 * @module
 */

/**
 * Records to be sent together: a batch, a part of one, or some records of it.
 *
 * The same `id` always stands for the same records, in this process and after a crash: a target that keeps the id
 * together with the records, and skips what it has, gets each record once.
 *
 * @typeParam T The records.
 */
export interface Delivery<T> extends Iterable<T> {
  /** The batch's id, or one made from it for a part of the batch. */
  readonly id: string;
  /** The id of the batch that all of it is from. */
  readonly batchId: string;
  /** Sequence of each record, ascending; consecutive unless only some records are sent again. */
  readonly sequences: readonly number[];
  /** The records, in order. Later attempts get the same objects: don't change them. */
  readonly records: readonly T[];
  /** The encoded bytes of each record, in order. */
  readonly payloads: readonly Uint8Array[];
  /** When each record was put: milliseconds since 1970, see `Batch.putTimes`. */
  readonly putTimes: readonly number[];
  /**
   * Whether each payload is the JSON of its record, so that it can be sent instead of it, without decoding. Where it isn't given,
   * that is unknown.
   */
  readonly json?: boolean | undefined;
  /** Number of records. */
  readonly length: number;
  /** Sum of the payloads' lengths. */
  readonly byteLength: number;
  /** Whether some of it may have been sent before: by an earlier attempt, or by a process that is gone. */
  readonly redelivered: boolean;
}

/** The attempt that a {@linkcode Send} is called for. */
export interface SendContext {
  /** Aborted when the attempt has taken too long, or the producer is closed. Pass it on to every wait, such as `fetch()`. */
  readonly signal: AbortSignal;
  /** Counts the attempts at this delivery, from 1. */
  readonly attempt: number;
  /** Reports something that isn't a failure, but that somebody should see, as an event `warned`. A producer always gives it. */
  readonly warn?: ((reason: string) => void) | undefined;
}

/**
 * Sends records to a target. When it returns, or its promise resolves, the target has all of them. It throws, or
 * rejects, if not; a `DeliveryError` says what is to be done about it, and any other error means: try all of it again.
 *
 * @typeParam T The records of the buffer.
 * @param delivery The records to send, and the id to send with them.
 * @param context A signal that ends the attempt, and how many attempts there were.
 * @returns When the target has all of the records.
 * @throws {DeliveryError} to say what is to be done about the failure; any other error means: try all of it again.
 *
 * @example Measure any target
 * ```ts
 * import { MemoryBuffer, Producer, type Send } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function counted<T>(send: Send<T>, onTaken: (records: number, bytes: number) => void): Send<T> {
 *   return async (delivery, context) => {
 *     await send(delivery, context);
 *     onTaken(delivery.length, delivery.byteLength);
 *   };
 * }
 *
 * const taken: number[][] = [];
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: counted(() => {}, (...numbers) => taken.push(numbers)) });
 * await producer.putMany(["one", "two"]);
 * await producer.flush();
 * assertEquals(taken, [[2, 10]]); // two records, five bytes of JSON each
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example A target that gets everything twice, and keeps it once
 * ```ts
 * import { type Delivery, MemoryBuffer, Producer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const known = new Set<string>(); // in a program: a table with the ids, written in one transaction with the records
 * const stored: string[] = [];
 * function store({ id, records }: Delivery<string>): void {
 *   if (known.has(id)) return;
 *   known.add(id);
 *   stored.push(...records);
 * }
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send(delivery, { attempt }) {
 *     store(delivery);
 *     if (attempt === 1) throw new Error("stored, but the answer was lost");
 *   },
 *   retry: { firstDelayMs: 1 },
 * });
 * await producer.putMany(["a", "b"]);
 * await producer.flush();
 * assertEquals(stored, ["a", "b"]);
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @example An attempt that hangs is ended, and made again
 * ```ts
 * import { MemoryBuffer, Producer, type SendContext } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const attempts: string[] = [];
 * async function request({ signal, attempt }: SendContext): Promise<void> {
 *   if (attempt > 1) return void attempts.push("answered");
 *   await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))); // as fetch() does
 * }
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({
 *   buffer,
 *   send: (_delivery, context) => request(context).finally(() => attempts.push(`attempt ${context.attempt} over`)),
 *   timeoutMs: 10,
 *   retry: { firstDelayMs: 1 },
 * });
 * await producer.put("a");
 * await producer.flush();
 * assertEquals(attempts, ["attempt 1 over", "answered", "attempt 2 over"]);
 * assertEquals(producer.stats().timeouts, 1);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export type Send<T> = (delivery: Delivery<T>, context: SendContext) => Promise<void> | void;
