/**
 * Publishes messages to JetStream together, and waits for what becomes of each.
 *
 * The connection of the client is used where it is known: one inbox takes all acknowledgements, so that a message costs neither a
 * promise nor a timer nor an error of its own. Without it, the client's `publish()` is.
 *
 * Guarantee: an outcome says "not stored" only if the server or the client has said so. No answer in time, or an attempt that was
 * aborted, leaves a message in doubt; it may arrive at any later time.
 *
 * @module
 */

import { isAnswer, JetStreamRefusal } from "./nats_errors.ts";
import { ConnectionLink } from "./nats_link.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The headers of a message, encoded as the client wants it. @internal */
export class MessageHeaders {
  #text: string;

  /** Begins with lines that are encoded already, each with its end. */
  constructor(lines: string) {
    this.#text = lines;
  }

  /** Adds a header; the client does, too. */
  set(name: string, value: string): void {
    this.#text += `${name}: ${value}\r\n`;
  }

  /** All of it as bytes. */
  encode(): Uint8Array {
    return encoder.encode(`NATS/1.0\r\n${this.#text}\r\n`);
  }
}

/** What the sink uses of a connection of NATS, `connect()` of `@nats-io/transport-node`. */
export interface NatsConnection {
  /**
   * Publishes a message.
   *
   * @param subject Where to.
   * @param payload Its bytes.
   * @param options Where the answer is to be sent, and its headers.
   */
  publish(subject: string, payload: Uint8Array, options: { reply?: string; headers: never }): void;
  /**
   * Subscribes to a subject.
   *
   * @param subject The subject, which may have wildcards.
   * @param options What to call for each message.
   * @returns The subscription.
   */
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: NatsReply) => void },
  ): NatsSubscription;
  /**
   * Says whether it is closed for good.
   *
   * @returns True if it is.
   */
  isClosed(): boolean;
  /** Leaves the server and connects again. */
  reconnect?(): Promise<void>;
  /**
   * Reports what becomes of the connection: it is lost (`"disconnect"`), and there again (`"reconnect"`).
   *
   * @returns What happens, until it is closed.
   */
  status?(): AsyncIterable<{ readonly type: string }>;
  /**
   * Counts what has come in.
   *
   * @returns How many messages that were.
   */
  stats?(): { readonly inMsgs: number };
  /** What the server has said of itself. */
  readonly info?: { readonly max_payload: number } | undefined;
}

/** What the sink uses of a subscription. */
export interface NatsSubscription {
  /**
   * Says whether the client has ended it.
   *
   * @returns True if it has.
   */
  isClosed(): boolean;
}

/** What the sink uses of a message. */
export interface NatsReply {
  /** Where it was sent to. */
  readonly subject: string;
  /** Its bytes. */
  readonly data: Uint8Array;
  /** Its headers, whose code is 503 if nobody has taken the message that it answers. */
  readonly headers?: { readonly code: number } | undefined;
}

/** A message to publish. @internal */
export interface Outgoing {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly headers: MessageHeaders;
}

/** What became of a message: stored, refused, or in doubt. @internal */
export type Outcome =
  | { readonly seq: number; readonly duplicate?: boolean | undefined }
  | { readonly error: unknown; readonly isInDoubt: boolean };

/** The client's way, a promise a message. @internal */
export async function publishByClient(
  publish: (message: Outgoing) => Promise<{ readonly seq: number; readonly duplicate: boolean }>,
  messages: readonly Outgoing[],
): Promise<Outcome[]> {
  const answers = await Promise.allSettled(messages.map(publish));
  return answers.map((answer) => {
    if (answer.status === "rejected") return { error: answer.reason, isInDoubt: !isAnswer(answer.reason) };
    if (Number.isInteger(answer.value?.seq)) return answer.value;
    return { error: new Error("the answer isn't that of a stream"), isInDoubt: true };
  });
}

/** Messages that wait for their acknowledgements. */
interface Round {
  /** Where the acknowledgements come, without the message's place. */
  readonly prefix: string;
  readonly outcomes: (Outcome | undefined)[];
  missing: number;
  end(error: unknown): void;
}

/** Publishes over a connection. @internal */
export class InboxPublisher {
  readonly link: ConnectionLink;
  /** No other publisher has it. */
  readonly #id: string;
  readonly #inbox: string;
  readonly #timeoutMs: number;
  #subscription: NatsSubscription | undefined;
  #round: Round | undefined;
  #rounds = 0;

  constructor(connection: NatsConnection, timeoutMs: number) {
    this.link = new ConnectionLink(connection, timeoutMs);
    this.#timeoutMs = timeoutMs;
    const { inboxPrefix } = (connection as { options?: { inboxPrefix?: string } }).options ?? {};
    this.#id = crypto.randomUUID().replaceAll("-", "");
    this.#inbox = `${inboxPrefix ?? "_INBOX"}.${this.#id}`;
  }

  /**
   * Publishes in order, until the client refuses one. Resolves when each has its answer. When none has come for the timeout, the signal
   * aborts, or the connection is lost, those without are in doubt. An atomic batch has one answer, which is that of each of its messages.
   */
  async publish(
    messages: readonly Outgoing[],
    { isAtomic, signal }: { isAtomic: boolean; signal: AbortSignal },
  ): Promise<Outcome[]> {
    this.#subscribe(messages[0]!.subject);
    const round = this.#begin(`${this.#inbox}.${++this.#rounds}.`, signal);
    const end = messages.length - 1;
    for (const [k, { subject, payload, headers }] of messages.entries()) {
      if (isAtomic) {
        headers.set("Nats-Batch-Id", `${this.#id}-${this.#rounds}`);
        headers.set("Nats-Batch-Sequence", String(k + 1));
        if (k === end) headers.set("Nats-Batch-Commit", "1");
      }
      if (!isAtomic || k === 0) {
        round.outcomes.push(undefined);
        round.missing++;
      }
      const place = round.outcomes.length - 1;
      const reply = isAtomic && k < end ? {} : { reply: round.prefix + place };
      try {
        this.link.connection.publish(subject, payload, { ...reply, headers: headers as never });
      } catch (error) {
        // Those behind it would only be refused.
        this.#settle(round, place, { error, isInDoubt: !isAnswer(error) });
        break;
      }
    }
    const outcomes = await round.done;
    return isAtomic ? messages.map(() => outcomes[0]!) : outcomes;
  }

  #begin(prefix: string, signal: AbortSignal): Round & { readonly done: Promise<Outcome[]> } {
    const { promise, resolve } = Promise.withResolvers<Outcome[]>();
    const outcomes: (Outcome | undefined)[] = [];
    const { lost } = this.link;
    const onAbort = (): void => round.end(signal.reason);
    const onLost = (): void => round.end(lost.reason);
    let seen = 0;
    const check = (): void => {
      if (round.missing === seen) {
        const reason = `no acknowledgement for ${this.#timeoutMs} ms`;
        return round.end(Object.assign(new Error(reason), { name: "TimeoutError" }));
      }
      seen = round.missing;
      timer = setTimeout(check, this.#timeoutMs);
    };
    let timer = setTimeout(check, this.#timeoutMs);
    const round = {
      prefix,
      outcomes,
      missing: 0,
      done: promise,
      end: (error: unknown): void => {
        if (this.#round !== round) return;
        this.#round = undefined;
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        lost.removeEventListener("abort", onLost);
        resolve(outcomes.map((outcome) => outcome ?? { error, isInDoubt: true }));
      },
    };
    signal.addEventListener("abort", onAbort);
    lost.addEventListener("abort", onLost);
    this.#round = round;
    return round;
  }

  #subscribe(subject: string): void {
    if (this.#subscription?.isClosed() !== false) this.#subscription = this.#open();
    // The client reports a publication that isn't permitted to the subscription that names its subject.
    Object.assign(this.#subscription, { requestSubject: subject });
  }

  #open(): NatsSubscription {
    const callback = (error: Error | null, message: NatsReply): void => {
      if (error !== null) return this.#round?.end(error);
      const { subject } = message;
      if (this.#round === undefined || !subject.startsWith(this.#round.prefix)) return;
      const outcome = toOutcome(message);
      if (outcome === undefined) return;
      this.#settle(this.#round, Number(subject.slice(this.#round.prefix.length)), outcome);
    };
    return this.link.connection.subscribe(`${this.#inbox}.*.*`, { callback });
  }

  #settle(round: Round, place: number, outcome: Outcome): void {
    if (round.outcomes[place] !== undefined) return;
    round.outcomes[place] = outcome;
    if (--round.missing === 0) round.end(undefined);
  }
}

/** What the stream has answered; `undefined` if it is the answer of somebody else who has the subject, a service for example. */
function toOutcome({ data, headers }: NatsReply): Outcome | undefined {
  if (headers?.code === 503) {
    const error = Object.assign(new Error("503: no responders, the stream has no leader or takes no such subject"), {
      name: "NoResponders",
    });
    return { error, isInDoubt: false };
  }
  let answer: {
    stream?: unknown;
    seq?: unknown;
    duplicate?: boolean;
    error?: { err_code?: unknown; description?: string };
  };
  try {
    answer = JSON.parse(decoder.decode(data)) ?? {};
  } catch {
    return undefined;
  }
  const { stream, seq, duplicate, error } = answer;
  if (typeof error?.err_code === "number") {
    return { error: new JetStreamRefusal(error.err_code, error.description ?? ""), isInDoubt: false };
  }
  return typeof stream === "string" && Number.isInteger(seq) ? { seq: seq as number, duplicate } : undefined;
}
