/**
 * A stream of JetStream in memory, as far as `natsSink()` looks: numbers, the duplicate window, the number that a message
 * expects; and what can go wrong on the way, at the test's command.
 *
 * Servers look for the id in the window and compare the expected number, in either order: 2.9 the id first, later ones
 * the number (nats-server, `processJetStreamMsg`). The window ends when the test says so.
 */

import type { NatsJetStream, NatsManager } from "../../src/sinks/nats.ts";

/** What becomes of a message: stored; refused; stored, but the answer is lost; or it arrives later. */
export type Fate = "stored" | "refused" | "unanswered" | "late";

interface Message {
  readonly id: string;
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
  /** How often a stored message was asked for. */
  reads = 0;
  #messages: (Message | undefined)[] = [];
  #first = 1;
  #window = new Map<string, number>();
  #late: (() => void)[] = [];

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

  async publish(
    _subject: string,
    payload: Uint8Array,
    { msgID, expect }: { msgID: string; expect: { lastSequence: number; lastMsgID?: string } },
  ): Promise<{ seq: number; duplicate: boolean }> {
    const text = new TextDecoder().decode(payload);
    const fate = this.fateOf(msgID);
    if (fate === "refused") throw new StreamError(10077, "maximum bytes exceeded");
    if (fate === "late") {
      this.#late.push(() => {
        try {
          this.#store({ id: msgID, text }, expect);
        } catch {
          // Nobody waits for the answer.
        }
      });
      throw new Error("timeout");
    }
    const answer = this.#store({ id: msgID, text }, expect);
    await Promise.resolve();
    if (fate === "unanswered") throw new Error("timeout");
    return answer;
  }

  jetstreamManager(): Promise<NatsManager> {
    return Promise.resolve({
      streams: {
        info: () => Promise.resolve({ state: { first_seq: this.#first, last_seq: this.#messages.length } }),
        getMessage: (_stream, { seq }) => {
          this.reads++;
          const message = this.#messages[seq - 1];
          return Promise.resolve(message === undefined ? null : { header: { get: () => message.id } });
        },
      },
    });
  }

  #store(message: Message, expect: { lastSequence: number; lastMsgID?: string }): { seq: number; duplicate: boolean } {
    const seen = this.#window.get(message.id);
    if (seen !== undefined && this.looksForIdFirst) return { seq: seen, duplicate: true };
    if (expect.lastSequence !== this.#messages.length) throw new StreamError(10071, "wrong last sequence");
    if (seen !== undefined) return { seq: seen, duplicate: true };
    const last = this.#messages.at(-1)?.id ?? "";
    if (expect.lastMsgID !== undefined && expect.lastMsgID !== last) throw new StreamError(10070, "wrong last msg id");
    const seq = this.#messages.push(message);
    this.#window.set(message.id, seq);
    return { seq, duplicate: false };
  }
}
