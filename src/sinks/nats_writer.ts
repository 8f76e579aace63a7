/**
 * Publishes the deliveries of one buffer to a stream of JetStream, one at a time.
 *
 * Guarantee: it resolves when the stream has each record of the delivery, once, however often it was sent before. What makes that true is
 * said at the head of `nats.ts`. All it remembers between deliveries saves requests, except for what is in doubt.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, SendContext } from "../producer/delivery.ts";
import type { NatsJetStream, NatsManager, NatsSinkOptions } from "./nats.ts";
import { Doubts, type Places } from "./nats_doubts.ts";
import {
  isAnswer,
  isAtomicRefusal,
  isIncompleteBatch,
  isRecordFault,
  isTimeout,
  isTooManyTogether,
  isWrongLast,
  toRefusal,
  toTargetError,
} from "./nats_errors.ts";
import { chooseSubjects, makeMessages, type MessagePlan, rangeOf } from "./nats_messages.ts";
import { InboxPublisher, type NatsConnection, type Outcome, publishByClient } from "./nats_publish.ts";
import { identityOf, StreamSearch } from "./nats_search.ts";
import { identityToText } from "./record_identity.ts";

/** The most messages that wait for their acknowledgement together; the server's queue, and an atomic batch, are limited. */
const MAX_UNACKNOWLEDGED = 1_000;
/** How many records are sent one by one after somebody else has published. */
const CAREFUL_RECORDS = 1_000;
/** The most rounds in a row that store nothing, because somebody else was quicker. */
const MAX_VAIN_ROUNDS = 16;
/** The most batches whose beginning in the stream is remembered; 16 are in flight. */
const MAX_FLOORS = 64;
/** How long a round waits for the next acknowledgement, unless the client says otherwise. */
const ACK_TIMEOUT_MS = 5_000;

/** What is asked for. */
interface Look {
  /** Whether the batch may have been sent before. */
  readonly mayBeStored: boolean;
  /** The stream's last number before that; `undefined` if nobody knows. */
  readonly floor: number | undefined;
  readonly signal: AbortSignal;
}

/** What is sent in one round. */
interface Round<T> extends MessagePlan<T> {
  readonly signal: AbortSignal;
}

/** What one round has brought. */
interface RoundResult {
  /** Those that aren't stored yet. */
  readonly pending: readonly number[];
  /** Whether the stream's end wasn't as expected. */
  readonly isRefused: boolean;
  /** Whether a message must be sent by itself, so that the server says which one it refuses. */
  readonly hasCulprit?: boolean | undefined;
}

/** Publishes deliveries, one at a time. @internal */
export class StreamWriter<T> {
  readonly #jetStream: NatsJetStream;
  readonly #options: NatsSinkOptions<T>;
  readonly #inbox: InboxPublisher | undefined;
  readonly #stream: string;
  #manager: Promise<NatsManager> | undefined;
  /** Number of the stream's last message; `undefined` when it must be requested. */
  #last: number | undefined;
  /** The stream's last number when this sink first looked. */
  #begin: number | undefined;
  /** The largest message that the stream takes. */
  #maxMessageBytes = Infinity;
  /** Whether the stream takes atomic batches. */
  #allowsAtomic = false;
  /** The most messages in an atomic batch. */
  #maxAtomic = MAX_UNACKNOWLEDGED;
  /** The stream's last number before a batch was first sent. */
  readonly #floors = new Map<string, number>();
  /** Batches that this sink was the first to try, and of which it hasn't sent anything yet. */
  readonly #unsent = new Set<string>();
  readonly #doubts = new Doubts();
  /** How many records are still to be sent one by one, because somebody else publishes. */
  #careful = 0;

  constructor(jetStream: NatsJetStream, options: NatsSinkOptions<T>) {
    this.#jetStream = jetStream;
    this.#options = options;
    this.#stream = options.stream;
    const { nc, timeout } = jetStream as { nc?: NatsConnection; timeout?: number };
    const connection = options.connection ?? (typeof nc?.subscribe === "function" ? nc : undefined);
    this.#inbox = connection && new InboxPublisher(connection, timeout ?? ACK_TIMEOUT_MS);
  }

  async deliver(delivery: Delivery<T>, { attempt, signal }: SendContext): Promise<void> {
    const { subjects, fault } = chooseSubjects(delivery, this.#options.subject);
    let pending: readonly number[] = Array.from(subjects.keys());
    let duplicates = 0;
    let vainRounds = 0;
    let hasCulprit = false;
    this.#noticeAttempt(delivery, attempt);
    let mayBeStored = !this.#unsent.has(delivery.batchId);
    let searchedTo = this.#floors.get(delivery.batchId);
    while (pending.length > 0) {
      await this.#waitUntilUp(signal);
      if (mayBeStored || this.#last === undefined) {
        const left = await this.#lookUp(delivery, pending, { mayBeStored, floor: searchedTo, signal });
        duplicates += pending.length - left.length;
        pending = left;
        if (pending.length === 0) break;
      }
      if (this.#unsent.delete(delivery.batchId)) this.#setFloor(delivery.batchId, this.#last!);
      searchedTo = this.#last!;
      const isAtomic = this.#allowsAtomic && !hasCulprit;
      const count = this.#countTogether(delivery, pending, isAtomic, vainRounds);
      const result = await this.#publish({
        delivery,
        subjects,
        pending,
        count,
        isAtomic,
        signal,
        stream: this.#stream,
        last: searchedTo,
        maxMessageBytes: this.#maxMessageBytes,
        hasMessageId: this.#options.whenUnknown === "resend",
      });
      vainRounds = result.pending.length < pending.length ? 0 : vainRounds + 1;
      if (vainRounds > MAX_VAIN_ROUNDS) {
        throw toTargetError(new Error("somebody else publishes to the stream, and was quicker each time"));
      }
      pending = result.pending;
      mayBeStored = result.isRefused;
      hasCulprit ||= result.hasCulprit === true;
    }
    // Those before it are stored by now, as the refusal says.
    if (fault !== undefined) {
      throw toRefusal(subjects.length, rangeOf(subjects.length + 1, delivery.length), fault.cause);
    }
    this.#options.onDelivered?.({ stored: delivery.length - duplicates, duplicates });
  }

  /** Remembers which batches nobody has sent yet. All attempts after the first one say that theirs may have been. */
  #noticeAttempt({ id, batchId, redelivered }: Delivery<T>, attempt: number): void {
    if (attempt > 1) return;
    // Of an earlier producer, who may have had another sink meanwhile.
    if (redelivered && id === batchId) this.#unsent.delete(batchId);
    if (redelivered || this.#floors.has(batchId)) return;
    this.#unsent.add(batchId);
    if (this.#unsent.size > MAX_FLOORS) this.#unsent.delete(this.#unsent.keys().next().value!);
  }

  /** Remembers where the stream ended before a batch was first sent. */
  #setFloor(batchId: string, last: number): void {
    this.#floors.set(batchId, last);
    if (this.#floors.size > MAX_FLOORS) this.#floors.delete(this.#floors.keys().next().value!);
  }

  async #waitUntilUp(signal: AbortSignal): Promise<void> {
    try {
      signal.throwIfAborted();
      await this.#inbox?.link.waitUntilUp(signal);
    } catch (error) {
      throw toTargetError(error);
    }
  }

  /** Requests where the stream ends, and gives those of the records that it hasn't. */
  async #lookUp(
    { batchId, sequences }: Delivery<T>,
    pending: readonly number[],
    { mayBeStored, floor, signal }: Look,
  ): Promise<readonly number[]> {
    try {
      const reading = this.#read(batchId, { mayBeStored, floor, signal });
      const link = this.#inbox?.link;
      const look = await abortable(link === undefined ? reading : abortable(reading, link.lost), signal);
      const { state, config, found, hasStrays } = look;
      if (this.#begin === undefined || state.last_seq < this.#begin) this.#forget(state.last_seq);
      this.#maxMessageBytes = Math.min(toLimit(config?.max_msg_size), toLimit(link?.connection.info?.max_payload));
      // With message ids, the server refuses a whole batch of which it has one.
      this.#allowsAtomic = config?.allow_atomic === true && link !== undefined &&
        this.#options.whenUnknown !== "resend";
      if (hasStrays) this.#careful = CAREFUL_RECORDS;
      // Who sent it before, and how far that process had got, is unknown.
      if (mayBeStored && floor === undefined) this.#doubts.addUnknown(this.#begin! + MAX_UNACKNOWLEDGED);
      if (found?.isUnknown && this.#options.whenUnknown !== "resend") {
        const reason = `the end of stream ${this.#stream} is gone, so it is unknown what was stored`;
        throw new DeliveryError({ reason, scope: "target", retryable: false });
      }
      this.#last = state.last_seq;
      return found === undefined ? pending : pending.filter((index) => !found.stored.has(sequences[index]!));
    } catch (error) {
      throw this.#toFailure(error, isTimeout(error) || isAttemptOver(signal));
    }
  }

  /** Reads the stream's state, and, if the batch may have been sent before, what it has of it. */
  async #read(batchId: string, { mayBeStored, floor, signal }: Look) {
    this.#manager ??= this.#jetStream.jetstreamManager(false);
    const { streams } = await this.#manager;
    const { state, config } = await streams.info(this.#stream);
    const search = new StreamSearch((seq) => {
      signal.throwIfAborted();
      return streams.getMessage(this.#stream, { seq });
    }, state);
    const known = floor !== undefined && floor <= state.last_seq ? floor : undefined;
    const found = mayBeStored ? await search.find(batchId, known) : undefined;
    const hasStrays = found?.hasStrays ?? (this.#begin === undefined && await search.hasStrayAtEnd());
    return { state, config, found, hasStrays };
  }

  /** Begins with a stream of which nothing is known, or which was made again. */
  #forget(last: number): void {
    this.#begin = last;
    this.#floors.clear();
    this.#doubts.clear();
  }

  /** How many of the pending records may be in flight together. */
  #countTogether(delivery: Delivery<T>, pending: readonly number[], isAtomic: boolean, vainRounds: number): number {
    // A batch that is smaller is quicker than those who were quicker.
    if (isAtomic) return Math.max(1, Math.min(pending.length, this.#maxAtomic) >> vainRounds);
    if (this.#careful > 0) return 1;
    const last = this.#last!;
    return this.#doubts.isSafeTogether(this.#placesOf(delivery, pending, last), last) ? MAX_UNACKNOWLEDGED : 1;
  }

  /** Which places the messages of these records expect. */
  #placesOf({ batchId, sequences }: Delivery<T>, indexes: readonly number[], last: number): Places {
    return { batchId, places: new Map(indexes.map((index, k) => [sequences[index]!, last + k])) };
  }

  /** Publishes the first of the pending records. */
  async #publish(round: Round<T>): Promise<RoundResult> {
    const { delivery, pending, last, signal } = round;
    const messages = makeMessages(round);
    const isAtomic = round.isAtomic && messages.length > 1;
    this.#last = undefined;
    const received = this.#inbox?.link.connection.stats?.().inMsgs;
    let outcomes: readonly Outcome[];
    try {
      if (this.#inbox === undefined) {
        outcomes = await publishByClient(
          ({ subject, payload, headers }) => this.#jetStream.publish(subject, payload, { headers: headers as never }),
          messages,
        );
      } else outcomes = await this.#inbox.publish(messages, { isAtomic, signal });
    } catch (error) {
      throw toTargetError(error);
    }
    const isStored = await Promise.all(outcomes.map((outcome, k) => this.#isStored(outcome, delivery, pending[k]!)));
    const left = pending.filter((_, k) => isStored[k] !== true);
    const stored = pending.length - left.length;
    this.#careful = Math.max(0, this.#careful - stored);
    // Of an atomic batch only the first place counts, and whatever is sent next expects that one or a higher one.
    if (!isAtomic) {
      const places = new Map<number, number>();
      for (const [k, outcome] of outcomes.entries()) {
        if (isInDoubt(outcome)) places.set(delivery.sequences[pending[k]!]!, last + k);
      }
      this.#doubts.add({ batchId: delivery.batchId, places }, last);
    }
    const failed = outcomes.findIndex((outcome) => "error" in outcome && !isWrongLast(outcome.error));
    if (failed < 0) {
      const isRefused = stored < outcomes.length;
      if (!isRefused) this.#last = last + stored;
      return { pending: left, isRefused };
    }
    const { error } = outcomes[failed] as { error: unknown };
    if (isAtomic && isAnswer(error)) {
      if (isTooManyTogether(error)) this.#maxAtomic = Math.max(1, messages.length >> 1);
      if (isTooManyTogether(error) || this.#hasCulprit(error)) {
        return { pending, isRefused: false, hasCulprit: this.#hasCulprit(error) };
      }
    }
    this.#throwFailure(outcomes, { failed, left, received, round: { ...round, isAtomic } });
  }

  /** Whether an atomic batch was refused for one message, of which the server doesn't say which. */
  #hasCulprit(error: unknown): boolean {
    const isSubjectOfRecord = typeof this.#options.subject === "function";
    // A message for another stream leaves a gap.
    return isRecordFault(error, isSubjectOfRecord) || isAtomicRefusal(error) ||
      (isSubjectOfRecord && isIncompleteBatch(error));
  }

  /** Whether the stream has it. A duplicate is believed when its place has been read. */
  async #isStored(outcome: Outcome, { batchId, sequences }: Delivery<T>, index: number): Promise<boolean> {
    if ("error" in outcome) return false;
    if (outcome.duplicate !== true) return true;
    if (!(outcome.seq > 0)) return false;
    try {
      this.#manager ??= this.#jetStream.jetstreamManager(false);
      const { streams } = await this.#manager;
      const found = identityOf(await streams.getMessage(this.#stream, { seq: outcome.seq }));
      return found !== undefined && identityToText(found) === identityToText({ batchId, sequence: sequences[index]! });
    } catch {
      return false;
    }
  }

  /** Says why a round has failed: for one record, if it is surely that one's fault and nothing is in doubt. */
  #throwFailure(
    outcomes: readonly Outcome[],
    { failed, left, received, round: { delivery, subjects, pending, isAtomic, signal } }: {
      failed: number;
      left: readonly number[];
      received: number | undefined;
      round: Round<T>;
    },
  ): never {
    const doubt = outcomes.find(isInDoubt) as { error: unknown } | undefined;
    const { error } = outcomes[failed] as { error: unknown };
    if (doubt === undefined && !isAtomic && isRecordFault(error, typeof this.#options.subject === "function")) {
      const index = pending[failed]!;
      // A record before it that was displaced comes again, too.
      const others = left.filter((at) => at !== index);
      throw toRefusal(index, [...others, ...rangeOf(subjects.length, delivery.length)], error);
    }
    const isSilent = doubt !== undefined && received === this.#inbox?.link.connection.stats?.().inMsgs;
    throw this.#toFailure(doubt?.error ?? error, isSilent && (isTimeout(doubt!.error) || isAttemptOver(signal)));
  }

  /** Translates an error, and leaves a connection that says nothing any more. */
  #toFailure(error: unknown, isSilent: boolean): DeliveryError {
    this.#manager = undefined;
    if (isSilent) this.#inbox?.link.leave();
    return toTargetError(error);
  }
}

/** Whether the producer has ended the attempt because it took too long. */
function isAttemptOver({ aborted, reason }: AbortSignal): boolean {
  return aborted && reason instanceof DeliveryError;
}

function isInDoubt(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && "error" in outcome && outcome.isInDoubt;
}

/** A limit of the server, which has none if the number isn't positive. */
function toLimit(bytes: number | undefined): number {
  return bytes !== undefined && bytes > 0 ? bytes : Infinity;
}
