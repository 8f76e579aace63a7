/**
 * Makes the messages of a round: their subjects, and headers that say whose they are and where they may be stored.
 *
 * Guarantee: no message is larger than the stream takes.
 *
 * @module
 */

import type { Delivery } from "../producer/delivery.ts";
import { checkText } from "./encode_records.ts";
import { toRefusal } from "./nats_errors.ts";
import { MessageHeaders, type Outgoing } from "./nats_publish.ts";
import { identityLines } from "./nats_search.ts";

/** Larger than the headers of a message. */
const MAX_HEADER_BYTES = 1_000;
/** Larger than what an atomic batch adds to them. */
const MAX_BATCH_HEADER_BYTES = 200;

/** What messages are made from. @internal */
export interface MessagePlan<T> {
  readonly delivery: Delivery<T>;
  /** The subject of each record, by index. */
  readonly subjects: readonly string[];
  /** Indexes of those that aren't stored yet. */
  readonly pending: readonly number[];
  /** The most that are sent. */
  readonly count: number;
  readonly isAtomic: boolean;
  readonly stream: string;
  /** Number of the stream's last message. */
  readonly last: number;
  /** The largest message that the stream takes. */
  readonly maxMessageBytes: number;
  readonly hasMessageId: boolean;
}

/** The subjects of the records, up to the first one that has none, and why it hasn't. @internal */
export function chooseSubjects<T>(
  { length, records }: Delivery<T>,
  subject: string | ((record: T) => string),
): { readonly subjects: readonly string[]; readonly fault?: { cause: unknown } } {
  if (typeof subject === "string") return { subjects: new Array(length).fill(subject) };
  const subjects: string[] = [];
  for (const record of records) {
    try {
      subjects.push(checkSubject(subject(record)));
    } catch (cause) {
      return { subjects, fault: { cause } };
    }
  }
  return { subjects };
}

/** White space would end it, and begin another word of the protocol. @internal */
export function checkSubject(subject: unknown): string {
  const text = checkText(subject, "subject");
  if (text === "" || /[\s\0]/.test(text)) throw new TypeError(`subject must be a word, got ${JSON.stringify(text)}`);
  return text;
}

/** The messages of a round, up to the first one that is too large; throws if that is the very first. @internal */
export function makeMessages<T>(plan: MessagePlan<T>): readonly Outgoing[] {
  const { delivery, subjects, pending, count, isAtomic, stream, last, maxMessageBytes } = plan;
  const { batchId, payloads, sequences } = delivery;
  const messages: Outgoing[] = [];
  for (const index of pending.slice(0, count)) {
    // Within an atomic batch, the first one speaks for all.
    const isFirst = !isAtomic || messages.length === 0;
    const expected = isFirst ? `Nats-Expected-Last-Sequence: ${last + messages.length}\r\n` : "";
    const identity = identityLines({ batchId, sequence: sequences[index]! }, plan.hasMessageId);
    const headers = new MessageHeaders(`Nats-Expected-Stream: ${stream}\r\n${expected}${identity}`);
    const message = { subject: subjects[index]!, payload: payloads[index]!, headers };
    const bytes = sizeOf(message, maxMessageBytes);
    if (bytes > maxMessageBytes) {
      if (messages.length > 0) break;
      const cause = new RangeError(`a message of ${bytes} bytes, the most is ${maxMessageBytes}`);
      throw toRefusal(index, [...pending.slice(1), ...rangeOf(subjects.length, delivery.length)], cause);
    }
    const isLarge = isAtomic && bytes + MAX_BATCH_HEADER_BYTES > maxMessageBytes;
    // It goes by itself, where it has no more headers.
    if (isLarge && messages.length > 0) break;
    messages.push(message);
    if (isLarge) break;
  }
  return messages;
}

/** The size of a message with its headers, or less if it is far from the limit. */
function sizeOf({ payload, headers }: Outgoing, maxMessageBytes: number): number {
  const isNear = payload.length + MAX_HEADER_BYTES > maxMessageBytes;
  return payload.length + (isNear ? headers.encode().length : 0);
}

/** Indexes from `from` on, below `end`. @internal */
export function rangeOf(from: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - from) }, (_, k) => from + k);
}
