/**
 * A stream of JetStream in memory, as far as `natsSink()` looks: numbers, the duplicate window, the number that a message
 * expects, atomic batches; and what can go wrong on the way, at the test's command.
 *
 * Servers look for the id in the window and compare the expected number, in either order: 2.9 the id first, later ones
 * the number (nats-server, `processJetStreamMsg`). The window ends when the test says so.
 */

import type { NatsConnection, NatsJetStream, NatsManager, NatsReply } from "../../src/sinks/nats.ts";

/** What becomes of a message: stored; refused; stored, but the answer is lost; or it arrives later. */
export type Fate = "stored" | "refused" | "unanswered" | "late";

/** What is said when no message is there. */
const NO_REPLY: NatsReply = { subject: "", data: new Uint8Array() };

/** That of a message that was stored. */
interface Answer {
  readonly seq: number;
  readonly duplicate: boolean;
}

interface Message {
  readonly id: string;
  readonly messageId?: string | undefined;
  readonly text: string;
}

/** An error with a code, as the client throws it. */
export class StreamError extends Error {
  override readonly name = "JetStreamApiError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** The stream. */
export class FakeStream implements NatsJetStream {
  /** Decides what becomes of each message. */
  fateOf: (id: string) => Fate = () => "stored";
  /** Which of the two a server does first. */
  looksForIdFirst = true;
  /** Whether a refused message's id counts as seen. */
  remembersRefused = false;
  /** The largest message with its headers; no limit if it is -1. */
  maxMessageBytes = -1;
  /** Whether messages may be published as one. */
  allowsAtomic = false;
  /** How many messages have come from clients. */
  sent = 0;
  /** How often a stored message was asked for. */
  reads = 0;
  #messages: (Message | undefined)[] = [];
  #first = 1;
  #window = new Map<string, number>();
  #late: (() => void)[] = [];
  readonly #batches = new Map<string, { readonly messages: Message[]; readonly expected: number }>();

  /** Texts of what is stored, in order. */
  get texts(): string[] {
    return this.#messages.filter((message) => message !== undefined).map(({ text }) => text);
  }

  /** The server forgets which ids it has seen. */
  endWindow(): void {
    this.#window.clear();
  }

  /** All messages go; the numbers go on. */
  purge(): void {
    this.#messages = this.#messages.map(() => undefined);
    this.#first = this.#messages.length + 1;
  }

  /** The stream is deleted, and made again. */
  recreate(): void {
    this.#messages = [];
    this.#first = 1;
    this.endWindow();
  }

  /** One message goes. */
  delete(seq: number): void {
    this.#messages[seq - 1] = undefined;
  }

  /** Messages of earlier attempts arrive. */
  letLateArrive(): void {
    for (const arrive of this.#late.splice(0)) arrive();
  }

  /** Somebody else publishes. */
  publishAsStranger(text: string): void {
    this.#messages.push({ id: "", text });
  }

  /** A connection to it, whose messages are answered to an inbox. A lost answer ends the client's wait at once. */
  connect(): NatsConnection {
    let answer: (error: Error | null, message: NatsReply) => void = () => {};
    const unanswered = () => queueMicrotask(() => answer(new Error("timeout"), NO_REPLY));
    const reply = (subject: string, result: unknown) => {
      const data = new TextEncoder().encode(JSON.stringify(result));
      queueMicrotask(() => answer(null, { subject, data }));
    };
    return {
      isClosed: () => false,
      subscribe: (_subject, { callback }) => {
        answer = callback;
        return { isClosed: () => false };
      },
      publish: (_subject, payload, { reply: inbox, headers }) => {
        try {
          const result = this.#receive(payload, headers);
          if (result === undefined || inbox === undefined) return;
          if (result === "no answer") queueMicrotask(unanswered);
          else reply(inbox, { stream: "NUMBERS", ...result });
        } catch (error) {
          const { code, message } = error as StreamError;
          if (inbox !== undefined) reply(inbox, { error: { err_code: code, description: message } });
        }
      },
    };
  }

  async publish(
    _subject: string,
    payload: Uint8Array,
    { headers }: { headers: { encode(): Uint8Array } },
  ): Promise<{ seq: number; duplicate: boolean }> {
    const answer = this.#receive(payload, headers);
    await Promise.resolve();
    if (answer === undefined || answer === "no answer") throw new Error("timeout");
    return answer;
  }

  jetstreamManager(): Promise<NatsManager> {
    return Promise.resolve({
      streams: {
        info: () =>
          Promise.resolve({
            state: { first_seq: this.#first, last_seq: this.#messages.length },
            config: { max_msg_size: this.maxMessageBytes, allow_atomic: this.allowsAtomic },
          }),
        getMessage: (_stream, { seq }) => {
          this.reads++;
          const message = this.#messages[seq - 1];
          return Promise.resolve(
            message === undefined
              ? null
              : { header: { get: (name: string) => name === "Sluice-Record" ? message.id : "" } },
          );
        },
      },
    });
  }

  /** Takes a message of a client; `undefined` for one that is only a part of an atomic batch. */
  #receive(payload: Uint8Array, headers: { encode(): Uint8Array }): Answer | "no answer" | undefined {
    const bytes = headers.encode();
    const lines = new TextDecoder().decode(bytes).split("\r\n");
    const valueOf = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    this.sent++;
    const isTooLarge = this.maxMessageBytes > 0 && bytes.length + payload.length > this.maxMessageBytes;
    if (isTooLarge) throw new StreamError(10054, "message size exceeds maximum allowed");
    const id = valueOf("Sluice-Record")!;
    const message = { id, messageId: valueOf("Nats-Msg-Id"), text: new TextDecoder().decode(payload) };
    const expected = Number(valueOf("Nats-Expected-Last-Sequence"));
    const batchId = valueOf("Nats-Batch-Id");
    if (batchId === undefined) {
      return this.#act(this.fateOf(id), () => this.#store(message, expected));
    }
    if (!this.allowsAtomic) throw new StreamError(10174, "atomic publish is disabled");
    const batch = this.#batches.get(batchId) ?? { messages: [], expected };
    this.#batches.set(batchId, batch);
    batch.messages.push(message);
    if (valueOf("Nats-Batch-Commit") === undefined) return undefined;
    if (batch.messages.length !== Number(valueOf("Nats-Batch-Sequence"))) {
      throw new StreamError(10176, "atomic publish batch is incomplete");
    }
    const fates = batch.messages.map((one) => this.fateOf(one.id));
    const fate = fates.find((one) => one !== "stored") ?? "stored";
    return this.#act(fate, () => this.#storeTogether(batch));
  }

  #act(fate: Fate, store: () => Answer): Answer | "no answer" {
    if (fate === "refused") throw new StreamError(10077, "maximum bytes exceeded");
    if (fate === "late") {
      this.#late.push(() => {
        try {
          store();
        } catch {
          // Nobody waits for the answer.
        }
      });
      return "no answer";
    }
    const answer = store();
    return fate === "unanswered" ? "no answer" : answer;
  }

  #storeTogether({ messages, expected }: { messages: readonly Message[]; expected: number }): Answer {
    if (expected !== this.#messages.length) throw new StreamError(10071, "wrong last sequence");
    return { seq: this.#messages.push(...messages), duplicate: false };
  }

  #store(message: Message, expected: number): Answer {
    const { messageId = "" } = message;
    const seen = this.#window.get(messageId);
    if (seen !== undefined && this.looksForIdFirst) return { seq: seen, duplicate: true };
    if (expected !== this.#messages.length) {
      // As replicated servers 2.10.20 to 2.10.29 do: the id counts as seen.
      if (this.remembersRefused && messageId !== "") this.#window.set(messageId, 0);
      throw new StreamError(10071, "wrong last sequence");
    }
    if (seen !== undefined) return { seq: seen, duplicate: true };
    const seq = this.#messages.push(message);
    if (messageId !== "") this.#window.set(messageId, seq);
    return { seq, duplicate: false };
  }
}
