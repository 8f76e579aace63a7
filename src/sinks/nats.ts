/**
 * Sends records to a stream of NATS JetStream, one message a record, each once and in order, whatever is sent again.
 *
 * The stream is the producer's own: nobody else publishes to it. Several producers have a stream each; one more can source
 * them all, from server 2.11 on (2.12 for mirrors), which don't check the headers below once more.
 *
 * **Order.** Every message says the number that the stream must stand at before it (`Nats-Expected-Last-Sequence`):
 * record k of a delivery expects `last + k`. All but the first of an attempt say, too, which message must be the last one
 * there (`Nats-Expected-Last-Msg-Id`): the record before. So the messages of a delivery can be on their way together, and
 * still none is stored unless the one before it is. The number alone would not do: where somebody else's message, or
 * another batch's, has taken the place of a record, the next one would find the number that it expects. The first one
 * needs the number only, because numbers never go back: at that number the stream is what it was when the sink looked.
 *
 * **Once.** `Nats-Msg-Id` is the record's identity, and the server refuses what it has seen within its duplicate window.
 * But that window is finite, 2 minutes by default, and an outage isn't. So before a delivery that may have been sent
 * before, the sink looks at the end of the stream. All that it can have stored is found there, because
 * 1. a batch's records are stored in ascending order without a gap, so the last one that is there says which are;
 * 2. records of one attempt stand one right behind the other, so a whole run of another batch is passed in one step;
 * 3. at most 16 batches of a buffer are in flight together, so once 16 earlier ones were met, what lies before was
 *    stored before this one was first handed over, and it isn't there.
 * Messages of an earlier attempt that are still on their way when the sink looks can't do harm: they and the new ones
 * expect the same numbers, so one of the two is refused, and the sink looks again. All of this holds without the window.
 *
 * Headers and error codes: NATS documentation, "JetStream headers" (https://docs.nats.io/nats-concepts/jetstream/headers),
 * and `server/errors.json` of https://github.com/nats-io/nats-server.
 *
 * @module
 */

import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import {
  bufferOf,
  firstSequenceOf,
  identityFromText,
  identityToText,
  type RecordIdentity,
  type SinkResult,
} from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { SinkResult } from "./record_identity.ts";

/** Messages that wait for their acknowledgement together; the server refuses to queue without limit. */
const MAX_UNACKNOWLEDGED = 1_000;
/** Batches of one buffer in flight at a time, at most. */
const MAX_IN_FLIGHT = 16;
/** Batches of other buffers, and messages that aren't a sink's, that the search passes before it gives up. */
const MAX_STRANGERS = 64;

/** JetStream: the message is larger than the stream's limit. */
const MESSAGE_EXCEEDS_MAXIMUM = 10054;
/** JetStream: there is no such stream. */
const STREAM_NOT_FOUND = 10059;
/** JetStream: the subject belongs to another stream. */
const STREAM_NOT_MATCH = 10060;
/** JetStream: the last message of the stream isn't the one that the message expects. */
const WRONG_LAST: readonly unknown[] = [10070, 10071];

/**
 * What the sink uses of a client of JetStream; `jetstream(connection)` of `@nats-io/jetstream` is one.
 *
 * @example What each message says about itself
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type NatsJetStream, natsSink } from "@sluice/buffer/sinks/nats";
 * import { assertEquals, assertMatch } from "@std/assert";
 *
 * type PublishOptions = Parameters<NatsJetStream["publish"]>[2];
 *
 * const published: PublishOptions[] = [];
 * const streams = { info: async () => ({ state: { first_seq: 1, last_seq: 40 } }), getMessage: async () => null };
 * const jetStream: NatsJetStream = {
 *   jetstreamManager: async () => ({ streams }),
 *   publish: async (_subject, _payload, options) => ({ seq: 40 + published.push(options), duplicate: false }),
 * };
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send: natsSink<string>(jetStream, { stream: "LINES", subject: "lines" }) });
 * await producer.putMany(["one", "two"]);
 * await producer.flush();
 * assertMatch(published[1].msgID, /-1-2:2$/); // record 2 of the batch of 1 and 2
 * assertEquals(published[1].expect.lastSequence, 41); // stored only if record 1 is right before it
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface NatsJetStream {
  /** Publishes a message and waits for the acknowledgement. */
  publish(
    subject: string,
    payload: Uint8Array,
    options: { msgID: string; expect: { streamName: string; lastSequence: number; lastMsgID?: string } },
  ): Promise<{ readonly seq: number; readonly duplicate: boolean }>;
  /** Gives access to what is stored; `false` saves a question about the account. */
  jetstreamManager(checkApi: boolean): Promise<NatsManager>;
}

/**
 * What the sink uses of a manager of JetStream.
 *
 * @example A stream that has the records already
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type NatsJetStream, type NatsManager, natsSink, type SinkResult } from "@sluice/buffer/sinks/nats";
 * import { assertEquals } from "@std/assert";
 *
 * const ids: string[] = [];
 * const manager: NatsManager = {
 *   streams: {
 *     info: async () => ({ state: { first_seq: 1, last_seq: ids.length } }),
 *     getMessage: async (_stream, { seq }) => ({ header: { get: () => ids[seq - 1] } }),
 *   },
 * };
 * const jetStream: NatsJetStream = {
 *   jetstreamManager: async () => manager,
 *   async publish(_subject, _payload, { msgID }) {
 *     ids.push(msgID);
 *     throw new Error("stored, but the answer was lost");
 *   },
 * };
 * const results: SinkResult[] = [];
 * const send = natsSink<string>(jetStream, { stream: "S", subject: "s", onDelivered: (one) => results.push(one) });
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.putMany(["one", "two"]);
 * await producer.flush();
 * assertEquals(results, [{ stored: 0, duplicates: 2 }]); // the second attempt has looked before it sent
 * assertEquals(ids.length, 2);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface NatsManager {
  /** The streams. */
  readonly streams: {
    /** Where a stream begins and ends. */
    info(stream: string): Promise<{ readonly state: { readonly first_seq: number; readonly last_seq: number } }>;
    /** A stored message; null if it is gone. */
    getMessage(
      stream: string,
      query: { seq: number },
    ): Promise<{ readonly header: { get(name: string): string } } | null>;
  };
}

/**
 * Options of {@linkcode natsSink}.
 *
 * @example A subject for each kind of record
 * ```ts
 * import type { NatsSinkOptions } from "@sluice/buffer/sinks/nats";
 * import { assertEquals } from "@std/assert";
 *
 * const options: NatsSinkOptions<{ sensor: string; celsius: number }> = {
 *   stream: "READINGS", // of this producer only; it takes the subjects "readings.>"
 *   subject: ({ sensor }) => `readings.${sensor.replaceAll(/[^\w-]/g, "_")}`,
 *   whenUnknown: "resend", // twice is better than not at all
 * };
 * const { subject } = options;
 * assertEquals(typeof subject === "function" && subject({ sensor: "hall 1.a", celsius: 20 }), "readings.hall_1_a");
 * ```
 */
export interface NatsSinkOptions<T> {
  /** Name of the stream, which takes messages of this producer only. */
  readonly stream: string;
  /** The subject of every message, or a function that says it for each record. */
  readonly subject: string | ((record: T) => string);
  /**
   * What to do when the end of the stream is gone (purged, expired, or taken by a consumer of a work queue), so that
   * nobody can tell whether records that come again were stored: `"fail"` rejects the delivery for good, `"resend"`
   * relies on the server's duplicate window.
   *
   * @default {"fail"}
   */
  readonly whenUnknown?: "fail" | "resend";
  /** Is told of every delivery that the stream has. */
  readonly onDelivered?: (result: SinkResult) => void;
}

/**
 * Makes a {@linkcode Send} that publishes to a stream of JetStream, each record as a message with its payload.
 *
 * Deliveries take turns. A message that is too large is reported as a failed record, with those behind it to be sent
 * again without it; no such stream, or a subject of another one, can't be mended by trying again; anything else can.
 *
 * @param jetStream A client of JetStream.
 * @param options The stream and the subject.
 * @returns The function to give to a producer.
 * @throws {TypeError} if an option is missing or of the wrong type.
 *
 * @example A message for each record
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type NatsJetStream, natsSink } from "@sluice/buffer/sinks/nats";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: const jetStream = jetstream(await connect({ servers: "localhost" }));
 * const stored: string[] = [];
 * const streams = {
 *   info: async () => ({ state: { first_seq: 1, last_seq: stored.length } }),
 *   getMessage: async () => null,
 * };
 * const jetStream: NatsJetStream = {
 *   jetstreamManager: async () => ({ streams }),
 *   publish: async (subject, payload) => ({
 *     seq: stored.push(`${subject} ${new TextDecoder().decode(payload)}`),
 *     duplicate: false,
 *   }),
 * };
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const send = natsSink<string>(jetStream, { stream: "LINES", subject: "lines.a" });
 * const producer = new Producer({ buffer, send });
 * await producer.putMany(["one", "two"]);
 * await producer.flush();
 * assertEquals(stored, ['lines.a "one"', 'lines.a "two"']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function natsSink<T>(jetStream: NatsJetStream, options: NatsSinkOptions<T>): Send<T> {
  const { stream, subject, whenUnknown = "fail" } = options;
  if (typeof stream !== "string" || stream === "") {
    throw new TypeError(`Cannot make a sink: stream must be a name, got ${String(stream)}`);
  }
  if (typeof subject !== "string" && typeof subject !== "function") {
    throw new TypeError(`Cannot make a sink: subject must be a string or a function, got ${String(subject)}`);
  }
  if (whenUnknown !== "fail" && whenUnknown !== "resend") {
    throw new TypeError(`Cannot make a sink: whenUnknown must be "fail" or "resend", got ${String(whenUnknown)}`);
  }
  const writer = new StreamWriter(jetStream, options);
  const queue = new SerialQueue();
  return (delivery, context) => runExclusive(queue, () => writer.deliver(delivery, context), context.signal);
}

/** What is known of the end of a stream. */
interface StreamEnds {
  readonly first_seq: number;
  readonly last_seq: number;
}

/** Publishes deliveries, one at a time. */
class StreamWriter<T> {
  readonly #jetStream: NatsJetStream;
  readonly #options: NatsSinkOptions<T>;
  #manager: Promise<NatsManager> | undefined;
  /** Number of the last message of the stream; `undefined` when it has to be asked for. */
  #last: number | undefined;

  constructor(jetStream: NatsJetStream, options: NatsSinkOptions<T>) {
    this.#jetStream = jetStream;
    this.#options = options;
  }

  async deliver(delivery: Delivery<T>, { attempt, signal }: SendContext): Promise<void> {
    const subjects = this.#subjectsOf(delivery);
    let next = 0;
    let duplicates = 0;
    let mayBeStored = delivery.redelivered || attempt > 1;
    while (next < delivery.length) {
      signal.throwIfAborted();
      if (mayBeStored || this.#last === undefined) {
        const found = await this.#lookUp(delivery, next, mayBeStored);
        duplicates += found;
        next += found;
        if (next === delivery.length) break;
      }
      const published = await this.#publish(delivery, subjects, next);
      next += published.acknowledged;
      duplicates += published.duplicates;
      mayBeStored = published.isRefused;
    }
    this.#options.onDelivered?.({ stored: delivery.length - duplicates, duplicates });
  }

  #subjectsOf(delivery: Delivery<T>): readonly string[] {
    const { subject } = this.#options;
    if (typeof subject === "string") return new Array(delivery.length).fill(subject);
    return delivery.records.map((record, index) => {
      try {
        return subject(record);
      } catch (error) {
        throw refusalOf(index, delivery.length, error);
      }
    });
  }

  /** Asks where the stream ends, and how many records of the delivery, from `next` on, it has. */
  async #lookUp(delivery: Delivery<T>, next: number, mayBeStored: boolean): Promise<number> {
    try {
      this.#manager ??= this.#jetStream.jetstreamManager(false);
      const { streams } = await this.#manager;
      const { state } = await streams.info(this.#options.stream);
      const last = mayBeStored ? await this.#lastStored(delivery.batchId, state) : 0;
      this.#last = state.last_seq;
      return delivery.sequences.slice(next).filter((sequence) => sequence <= last).length;
    } catch (error) {
      throw this.#describe(error);
    }
  }

  /** Sequence of the last record of a batch that the stream has; 0 if it has none. See the head of this file. */
  async #lastStored(batchId: string, ends: StreamEnds): Promise<number> {
    const buffer = bufferOf(batchId);
    const first = firstSequenceOf(batchId);
    const earlier = new Set<string>();
    let isAlone = true;
    let strangers = 0;
    for (let at = ends.last_seq; at > 0 && at >= ends.first_seq;) {
      const found = await this.#identityAt(at);
      if (found?.batchId === batchId) return found.sequence;
      const isStranger = found === undefined || bufferOf(found.batchId) !== buffer;
      if (isStranger && ++strangers >= MAX_STRANGERS) return 0;
      if (!isStranger) isAlone = false;
      if (!isStranger && firstSequenceOf(found.batchId) < first) earlier.add(found.batchId);
      if (earlier.size >= MAX_IN_FLIGHT) return 0;
      at = (found === undefined ? at : await this.#startOfRun(found, at, ends)) - 1;
    }
    if (ends.first_seq > 1 && isAlone && strangers === 0 && this.#options.whenUnknown !== "resend") {
      throw new DeliveryError({
        reason: `the end of stream ${this.#options.stream} is gone, so what was stored can't be told`,
        retryable: false,
      });
    }
    return 0;
  }

  /** Where the consecutive records begin that end with `last` at `at`. */
  async #startOfRun(last: RecordIdentity, at: number, { first_seq }: StreamEnds): Promise<number> {
    const isInRun = async (place: number) => {
      const found = await this.#identityAt(place);
      return found?.batchId === last.batchId && found.sequence === last.sequence - (at - place);
    };
    let before = Math.max(first_seq, at - (last.sequence - firstSequenceOf(last.batchId)));
    if (before >= at || await isInRun(before)) return Math.min(before, at);
    let start = at;
    while (start - before > 1) {
      const middle = Math.floor((before + start) / 2);
      if (await isInRun(middle)) start = middle;
      else before = middle;
    }
    return start;
  }

  async #identityAt(seq: number): Promise<RecordIdentity | undefined> {
    const { streams } = await this.#manager!;
    const message = await streams.getMessage(this.#options.stream, { seq });
    return identityFromText(message?.header?.get("Nats-Msg-Id") ?? "");
  }

  /** Publishes records from `next` on, as many as may be on their way at a time. */
  async #publish(delivery: Delivery<T>, subjects: readonly string[], next: number): Promise<Published> {
    const count = Math.min(MAX_UNACKNOWLEDGED, delivery.length - next);
    const last = this.#last!;
    this.#last = undefined;
    const { batchId, payloads } = delivery;
    const ids = delivery.sequences.slice(next, next + count).map((sequence) => identityToText({ batchId, sequence }));
    const messages = ids.map((msgID, k) => {
      const expect = { streamName: this.#options.stream, lastSequence: last + k };
      return this.#jetStream.publish(subjects[next + k]!, payloads[next + k]!, {
        msgID,
        expect: k === 0 ? expect : { ...expect, lastMsgID: ids[k - 1]! },
      });
    });
    const answers = await Promise.allSettled(messages);
    let acknowledged = 0;
    let duplicates = 0;
    for (const answer of answers) {
      if (answer.status === "rejected") {
        if (acknowledged > 0 && WRONG_LAST.includes(codeOf(answer.reason))) {
          return { acknowledged, duplicates, isRefused: true };
        }
        throw this.#describe(answer.reason, { index: next + acknowledged, length: delivery.length });
      }
      acknowledged++;
      if (answer.value.duplicate) duplicates++;
    }
    if (duplicates === 0) this.#last = last + count;
    return { acknowledged, duplicates, isRefused: false };
  }

  /** What an error of the client means; with `at`, where in the delivery it happened. */
  #describe(error: unknown, at?: { readonly index: number; readonly length: number }): DeliveryError {
    if (error instanceof DeliveryError) return error;
    this.#manager = at === undefined ? undefined : this.#manager;
    const code = codeOf(error);
    // The client refuses by itself what is larger than the server takes at all.
    const isTooLarge = code === MESSAGE_EXCEEDS_MAXIMUM ||
      (error as Error | undefined)?.name === "InvalidArgumentError";
    if (isTooLarge && at !== undefined) return refusalOf(at.index, at.length, error);
    const retryable = code !== STREAM_NOT_FOUND && code !== STREAM_NOT_MATCH;
    return new DeliveryError({ reason: reasonOf(error), retryable }, { cause: error });
  }
}

/** How far one round of publishing came. */
interface Published {
  /** Records that the stream has, from the first one on without a gap. */
  readonly acknowledged: number;
  /** Those of them that it had before. */
  readonly duplicates: number;
  /** Whether the stream wasn't where it was expected to be: what it has must be looked up. */
  readonly isRefused: boolean;
}

/** One record was refused for good, and those behind it must wait until it is out of the way. */
function refusalOf(index: number, length: number, cause: unknown): DeliveryError {
  const reason = reasonOf(cause);
  const behind = Array.from({ length: length - index - 1 }, (_, k) => ({
    index: index + 1 + k,
    retryable: true,
    reason: "the record before it was refused",
  }));
  return new DeliveryError({ reason, failed: [{ index, retryable: false, reason }, ...behind] }, { cause });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}
