/**
 * Sends records to a stream of NATS JetStream, one message per record, each once and in order, whatever is resent.
 *
 * The stream belongs to the producer: several producers have a stream each, and another stream can source them all. What somebody else
 * publishes to it all the same costs neither a record nor a copy, but time, and the order of a few records; see below.
 *
 * **Headers.** Every message states which number must be the stream's last (`Nats-Expected-Last-Sequence`), and whose it is
 * (`Sluice-Record`). It states neither `Nats-Expected-Last-Msg-Id`, because a wrong one stops the replicas of a stream for good from
 * server 2.14 on, nor `Nats-Msg-Id`, because replicated servers 2.10.20 to 2.10.29 answer a message that they have refused, and that is
 * sent again with its id, with "duplicate" and don't store it.
 *
 * **Order.** Record k of a round expects `last + k`, so all messages of a round can be in flight together, and one that is lost keeps all
 * behind it out. The message of somebody else that comes between record k - 1 and record k takes the place of record k, which is refused.
 * Record k + 1 expects just the number that this message has got, so it is stored, before anybody can hear of it, and all behind it are.
 * Record k is sent again at once, behind those of its round. So one foreign message displaces one record, or, where messages of an earlier
 * attempt arrive late as well, a run of them. From then on, for a thousand records, each message waits for the one before it.
 *
 * A stream that allows atomic batches (`allow_atomic`, from server 2.12 on) keeps the order in spite of that: a round is one batch, of which
 * all or nothing is stored, in one piece. If somebody else was quicker, it is sent again, with fewer messages each time.
 *
 * **Once.** Before a delivery that may have been sent before, the sink searches the end of the stream for its records; see
 * `nats_search.ts`. Messages of earlier attempts may still be in flight then, and arrive later. They do no harm, because what a message
 * expects excludes them; see `nats_doubts.ts`. All of this holds without the server's duplicate window.
 *
 * **Dead connections.** When no answer came in time, and nothing else came in either, the sink has the client leave the connection and connect
 * again. While it is lost, attempts wait for it, and none waits for answers that can't come any more.
 *
 * Headers and error codes: NATS documentation, "JetStream headers" (https://docs.nats.io/nats-concepts/jetstream/headers),
 * and `server/errors.json` of https://github.com/nats-io/nats-server.
 *
 * @module
 */

import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import type { Send } from "../producer/delivery.ts";
import { checkSubject } from "./nats_messages.ts";
import type { NatsConnection } from "./nats_publish.ts";
import { StreamWriter } from "./nats_writer.ts";
import type { SinkResult } from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { NatsConnection, NatsReply, NatsSubscription } from "./nats_publish.ts";
export type { SinkResult } from "./record_identity.ts";

/** What the sink uses of a client of JetStream; `jetstream(connection)` of `@nats-io/jetstream` is one. */
export interface NatsJetStream {
  /** Publishes a message and waits for the acknowledgement. The headers are what its client takes as such. */
  publish(
    subject: string,
    payload: Uint8Array,
    options: { headers: never },
  ): Promise<{ readonly seq: number; readonly duplicate: boolean }>;
  /** Gives access to what is stored; `false` saves a request about the account. */
  jetstreamManager(checkApi: boolean): Promise<NatsManager>;
}

/** What the sink uses of a manager of JetStream. */
export interface NatsManager {
  /** The streams. */
  readonly streams: {
    /** The first and last number of a stream, and what it takes. */
    info(stream: string): Promise<{
      readonly state: { readonly first_seq: number; readonly last_seq: number };
      readonly config?: { readonly max_msg_size?: number | undefined; readonly allow_atomic?: boolean | undefined };
    }>;
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
   * whether redelivered records were stored: `"fail"` keeps them in the buffer and waits for somebody to act, `"resend"` sends
   * them again and relies on the server's duplicate window. Messages have a `Nats-Msg-Id` then, and no batch is atomic.
   *
   * @default {"fail"}
   */
  readonly whenUnknown?: "fail" | "resend" | undefined;
  /**
   * The connection of the client, for speed, for atomic batches, and to leave it when it is dead. Clients of `@nats-io/jetstream` 3 have
   * it themselves. Without any, messages go through the client's `publish()`.
   *
   * @default {the client's}
   */
  readonly connection?: NatsConnection | undefined;
  /** Called after every delivery, when the stream has all of it. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that publishes each record to a stream of JetStream, as a message with the record's payload.
 *
 * Deliveries are sent one after the other. A message that is too large is reported as a failed record, and the records behind it
 * are sent again without it. All else is a fault of the target, for which records wait: a stream that is missing or full, a
 * permission, a lost connection.
 *
 * Connect with `maxReconnectAttempts: -1`. By default the client gives up after 10 attempts, some 20 seconds, and closes itself. A client
 * that is closed never connects again, so the producer stops, and says so; give a new producer a new client.
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
