/**
 * Sends records to a stream of NATS JetStream, one message per record, each once and in order, whatever is resent.
 *
 * The stream belongs to the producer: no other program publishes to it. Several producers have a stream each. Another stream can
 * source them all, from server 2.11 on (2.12 for mirrors), which don't check the headers below a second time.
 *
 * **Order.** Every message states which sequence number must be the stream's last (`Nats-Expected-Last-Sequence`): record k of a
 * delivery expects `last + k`. All but the first of an attempt also state which message must be the last
 * (`Nats-Expected-Last-Msg-Id`): the record before. So the messages of a delivery can be in flight together, and still none is
 * stored unless the one before it is. The number alone isn't enough: if a foreign message, or another batch's, has taken a
 * record's place, the next record would find the number that it expects. For the first message the number is enough, because
 * numbers never go back: at that number the stream is as the sink last saw it.
 *
 * **Once.** `Nats-Msg-Id` is the record's identity, and the server refuses an id that it has seen within its duplicate window. That
 * window is finite, 2 minutes by default; an outage isn't. So before a delivery that may have been sent before, the sink
 * searches the end of the stream. All of the batch that is stored is found there, because
 * 1. a batch's records are stored in ascending order without a gap, so the last one says which are stored;
 * 2. the records of one attempt are consecutive, so the search skips a run of another batch in one step;
 * 3. at most 16 batches of a buffer are in flight together: after 16 earlier ones, what lies before was stored before this
 *    batch was first handed over.
 * Messages of an earlier attempt that are still in flight during the search can do no harm: they and the new ones expect the same
 * numbers, so the server refuses one of the two, and the sink searches again. All of this holds without the window.
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
import { checkText } from "./encode_records.ts";
import {
  identityFromText,
  identityToText,
  parseBufferUuid,
  parseFirstSequence,
  type RecordIdentity,
  type SinkResult,
} from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { SinkResult } from "./record_identity.ts";

/** The most messages that wait for their acknowledgement together; the server's queue is limited. */
const MAX_UNACKNOWLEDGED = 1_000;
/** The most batches of one buffer in flight. */
const MAX_IN_FLIGHT = 16;
/**
 * The most foreign runs (batches of other buffers, messages without an identity) that the search skips before it gives up.
 */
const MAX_STRANGERS = 64;

/** JetStream: the message is larger than the stream's limit. */
const MESSAGE_EXCEEDS_MAXIMUM = 10054;
/** JetStream: there is no such stream. */
const STREAM_NOT_FOUND = 10059;
/** JetStream: the subject belongs to another stream. */
const STREAM_NOT_MATCH = 10060;
/** JetStream: the stream's last message isn't the expected one. */
const WRONG_LAST: readonly unknown[] = [10070, 10071];

/** What the sink uses of a client of JetStream; `jetstream(connection)` of `@nats-io/jetstream` is one. */
export interface NatsJetStream {
  /** Publishes a message and waits for the acknowledgement. */
  publish(
    subject: string,
    payload: Uint8Array,
    options: { msgID: string; expect: { streamName: string; lastSequence: number; lastMsgID?: string } },
  ): Promise<{ readonly seq: number; readonly duplicate: boolean }>;
  /** Gives access to what is stored; `false` saves a request about the account. */
  jetstreamManager(checkApi: boolean): Promise<NatsManager>;
}

/** What the sink uses of a manager of JetStream. */
export interface NatsManager {
  /** The streams. */
  readonly streams: {
    /** The first and last number of a stream. */
    info(stream: string): Promise<{ readonly state: { readonly first_seq: number; readonly last_seq: number } }>;
    /** A stored message; null if it is gone. */
    getMessage(
      stream: string,
      query: { seq: number },
    ): Promise<{ readonly header: { get(name: string): string } } | null>;
  };
}

/** Options of {@linkcode natsSink}. */
export interface NatsSinkOptions<T> {
  /** Name of the stream, to which only this producer publishes. */
  readonly stream: string;
  /** The subject of every message, or a function that returns the subject for a record. */
  readonly subject: string | ((record: T) => string);
  /**
   * What to do when the end of the stream is gone (purged, expired, or consumed from a work queue), so that it is unknown
   * whether redelivered records were stored: `"fail"` fails the delivery permanently, `"resend"` relies on the server's
   * duplicate window.
   *
   * @default {"fail"}
   */
  readonly whenUnknown?: "fail" | "resend" | undefined;
  /** Called after every delivery, when the stream has all of it. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that publishes each record to a stream of JetStream, as a message with the record's payload.
 *
 * Deliveries are sent one after the other. A message that is too large is reported as a failed record, and the records behind it
 * are sent again without it. A missing stream, or a subject of another stream, is a permanent failure; any other is retried.
 *
 * @param jetStream A client of JetStream.
 * @param options The stream and the subject.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type.
 * @typeParam T The records' type.
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
    throw new TypeError(`Cannot make a NATS sink: stream must be a name, got ${String(stream)}`);
  }
  for (const name of ["publish", "jetstreamManager"] as const) {
    if (typeof jetStream?.[name] === "function") continue;
    throw new TypeError(
      `Cannot make a NATS sink: it takes a client of JetStream, jetstream(connection), with ${name}()`,
    );
  }
  if (typeof subject !== "string" && typeof subject !== "function") {
    throw new TypeError(`Cannot make a NATS sink: subject must be a string or a function, got ${String(subject)}`);
  }
  if (typeof subject === "string") checkSubject(subject);
  if (whenUnknown !== "fail" && whenUnknown !== "resend") {
    throw new TypeError(`Cannot make a NATS sink: whenUnknown must be "fail" or "resend", got ${String(whenUnknown)}`);
  }
  const writer = new StreamWriter(jetStream, options);
  const queue = new SerialQueue();
  return (delivery, context) => runExclusive(queue, () => writer.deliver(delivery, context), context.signal);
}

/** The first and last number of a stream. */
interface StreamEnds {
  readonly first_seq: number;
  readonly last_seq: number;
}

/** Publishes deliveries, one at a time. */
class StreamWriter<T> {
  readonly #jetStream: NatsJetStream;
  readonly #options: NatsSinkOptions<T>;
  #manager: Promise<NatsManager> | undefined;
  /** Number of the stream's last message; `undefined` when it must be requested. */
  #last: number | undefined;

  constructor(jetStream: NatsJetStream, options: NatsSinkOptions<T>) {
    this.#jetStream = jetStream;
    this.#options = options;
  }

  async deliver(delivery: Delivery<T>, { attempt, signal }: SendContext): Promise<void> {
    const { subjects, fault } = this.#chooseSubjects(delivery);
    const end = subjects.length;
    let next = 0;
    let duplicates = 0;
    let mayBeStored = delivery.redelivered || attempt > 1;
    while (next < end) {
      signal.throwIfAborted();
      if (mayBeStored || this.#last === undefined) {
        const found = await this.#lookUp(delivery, next, mayBeStored);
        duplicates += found;
        next += found;
        if (next >= end) break;
      }
      const published = await this.#publish(delivery, subjects, next);
      next += published.acknowledged;
      duplicates += published.duplicates;
      mayBeStored = published.isRefused;
    }
    // Those before it are stored by now, as the refusal says.
    if (fault !== undefined) throw toRefusal(end, delivery.length, fault.cause);
    this.#options.onDelivered?.({ stored: delivery.length - duplicates, duplicates });
  }

  /** The subjects of the records, up to the first one that has none, and why it hasn't. */
  #chooseSubjects(
    delivery: Delivery<T>,
  ): { readonly subjects: readonly string[]; readonly fault?: { cause: unknown } } {
    const { subject } = this.#options;
    if (typeof subject === "string") return { subjects: new Array(delivery.length).fill(subject) };
    const subjects: string[] = [];
    for (const record of delivery.records) {
      try {
        subjects.push(checkSubject(subject(record)));
      } catch (cause) {
        return { subjects, fault: { cause } };
      }
    }
    return { subjects };
  }

  /** Requests where the stream ends, and counts the records of the delivery, from `next` on, that it has. */
  async #lookUp(delivery: Delivery<T>, next: number, mayBeStored: boolean): Promise<number> {
    try {
      this.#manager ??= this.#jetStream.jetstreamManager(false);
      const { streams } = await this.#manager;
      const { state } = await streams.info(this.#options.stream);
      const last = mayBeStored ? await this.#findLastStored(delivery.batchId, state) : 0;
      this.#last = state.last_seq;
      return delivery.sequences.slice(next).filter((sequence) => sequence <= last).length;
    } catch (error) {
      throw this.#toDeliveryError(error);
    }
  }

  /** Sequence of the last record of a batch that the stream has; 0 if it has none. See the head of this file. */
  async #findLastStored(batchId: string, ends: StreamEnds): Promise<number> {
    const buffer = parseBufferUuid(batchId);
    const first = parseFirstSequence(batchId);
    const earlier = new Set<string>();
    let isAlone = true;
    let strangers = 0;
    for (let at = ends.last_seq; at > 0 && at >= ends.first_seq;) {
      const found = await this.#readIdentity(at);
      if (found?.batchId === batchId) return found.sequence;
      const isStranger = found === undefined || parseBufferUuid(found.batchId) !== buffer;
      if (isStranger && ++strangers >= MAX_STRANGERS) return 0;
      if (!isStranger) isAlone = false;
      if (!isStranger && parseFirstSequence(found.batchId) < first) earlier.add(found.batchId);
      if (earlier.size >= MAX_IN_FLIGHT) return 0;
      at = (found === undefined ? at : await this.#findStartOfRun(found, at, ends)) - 1;
    }
    if (ends.first_seq > 1 && isAlone && strangers === 0 && this.#options.whenUnknown !== "resend") {
      throw new DeliveryError({
        reason: `the end of stream ${this.#options.stream} is gone, so it is unknown what was stored`,
        retryable: false,
      });
    }
    return 0;
  }

  /** Finds where the consecutive records begin that end with `last` at `at`. */
  async #findStartOfRun(last: RecordIdentity, at: number, { first_seq }: StreamEnds): Promise<number> {
    const isInRun = async (place: number) => {
      const found = await this.#readIdentity(place);
      return found?.batchId === last.batchId && found.sequence === last.sequence - (at - place);
    };
    let before = Math.max(first_seq, at - (last.sequence - parseFirstSequence(last.batchId)));
    if (before >= at || await isInRun(before)) return Math.min(before, at);
    let start = at;
    while (start - before > 1) {
      const middle = Math.floor((before + start) / 2);
      if (await isInRun(middle)) start = middle;
      else before = middle;
    }
    return start;
  }

  async #readIdentity(seq: number): Promise<RecordIdentity | undefined> {
    const { streams } = await this.#manager!;
    const message = await streams.getMessage(this.#options.stream, { seq });
    return identityFromText(message?.header?.get("Nats-Msg-Id") ?? "");
  }

  /** Publishes records from `next` on, as many as may be in flight. */
  async #publish(delivery: Delivery<T>, subjects: readonly string[], next: number): Promise<Published> {
    const count = Math.min(MAX_UNACKNOWLEDGED, subjects.length - next);
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
        throw this.#toDeliveryError(answer.reason, { index: next + acknowledged, length: delivery.length });
      }
      acknowledged++;
      if (answer.value.duplicate) duplicates++;
    }
    if (duplicates === 0) this.#last = last + count;
    return { acknowledged, duplicates, isRefused: false };
  }

  /** Translates an error of the client. `at` is the record of the delivery that failed. */
  #toDeliveryError(error: unknown, at?: { readonly index: number; readonly length: number }): DeliveryError {
    if (error instanceof DeliveryError) return error;
    this.#manager = at === undefined ? undefined : this.#manager;
    const code = codeOf(error);
    // The client itself refuses what is larger than the server's limit.
    const isTooLarge = code === MESSAGE_EXCEEDS_MAXIMUM ||
      (error as Error | undefined)?.name === "InvalidArgumentError";
    if (isTooLarge && at !== undefined) return toRefusal(at.index, at.length, error);
    const retryable = code !== STREAM_NOT_FOUND && code !== STREAM_NOT_MATCH;
    return new DeliveryError({ reason: errorText(error), retryable }, { cause: error });
  }
}

/** White space would end it, and begin another word of the protocol. */
function checkSubject(subject: unknown): string {
  const text = checkText(subject, "subject");
  if (text === "" || /[\s\0]/.test(text)) throw new TypeError(`subject must be a word, got ${JSON.stringify(text)}`);
  return text;
}

/** The result of one round of publishing. */
interface Published {
  /** Records that the stream has, from the round's first one without a gap. */
  readonly acknowledged: number;
  /** How many of them it had before. */
  readonly duplicates: number;
  /** Whether the stream's end was not as expected, so that it must be searched. */
  readonly isRefused: boolean;
}

/** One record failed permanently. Those behind it must be sent again without it. */
function toRefusal(index: number, length: number, cause: unknown): DeliveryError {
  const reason = errorText(cause);
  const behind = Array.from({ length: length - index - 1 }, (_, k) => ({
    index: index + 1 + k,
    retryable: true,
    reason: "the record before it was refused",
  }));
  return new DeliveryError({ reason, failed: [{ index, retryable: false, reason }, ...behind] }, { cause });
}

function errorText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}
