/**
 * Whether the connection of a client of NATS is there, and how to leave one that is dead.
 *
 * Guarantees: what waits for an answer ends when the connection is lost, because the client never sends a message again. What is to be
 * sent waits until the connection is there again, because the client drops what is published meanwhile.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import type { NatsConnection } from "./nats_publish.ts";

/** How long the client may take to give up a connection that is to be left. */
const LEAVE_MS = 500;

/** Watches a connection, as far as the client says what becomes of it. @internal */
export class ConnectionLink {
  readonly connection: NatsConnection;
  readonly #timeoutMs: number;
  /** Aborts when the connection of now is lost. */
  #lost = new AbortController();
  /** Resolves when the lost connection is there again, or is closed for good. */
  #back = Promise.withResolvers<void>();
  #cutOffTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: NatsConnection, timeoutMs: number) {
    this.connection = connection;
    this.#timeoutMs = timeoutMs;
    if (connection.status !== undefined) this.#watch(connection.status()).catch(() => {});
  }

  /** Resolves when messages can be sent; rejects if they never can be again, or that takes too long. */
  async waitUntilUp(signal: AbortSignal): Promise<void> {
    if (this.#lost.signal.aborted && !this.connection.isClosed()) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => late.reject(this.#lost.signal.reason), LEAVE_MS + this.#timeoutMs);
      try {
        await abortable(Promise.race([this.#back.promise, late.promise]), signal);
      } finally {
        clearTimeout(timer);
      }
    }
    if (this.connection.isClosed()) {
      throw Object.assign(new Error("the connection is closed"), { name: "ClosedConnectionError" });
    }
  }

  /** Aborts when the connection is lost. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Has the client leave a connection that says nothing any more. */
  leave(): void {
    const { connection } = this;
    if (this.#lost.signal.aborted || connection.isClosed() || connection.reconnect === undefined) return;
    connection.reconnect().catch(() => {});
    // The client would still send to it.
    if (connection.status === undefined) return;
    this.#lose();
    this.#cutOffTimer = setTimeout(() => cutOff(connection), LEAVE_MS);
  }

  async #watch(statuses: AsyncIterable<{ readonly type: string }>): Promise<void> {
    try {
      for await (const { type } of statuses) {
        if (type === "disconnect") this.#lose();
        if (type === "reconnect") this.#rise();
      }
    } finally {
      this.#lose();
      this.#back.resolve();
    }
  }

  #lose(): void {
    clearTimeout(this.#cutOffTimer);
    if (!this.#lost.signal.aborted) this.#lost.abort(new Error("the connection to the server is lost"));
  }

  #rise(): void {
    clearTimeout(this.#cutOffTimer);
    if (!this.#lost.signal.aborted) return;
    this.#lost = new AbortController();
    this.#back.resolve();
    this.#back = Promise.withResolvers<void>();
  }
}

/**
 * Ends a connection whose buffers are full. The client waits until it has sent all that it was given, which takes until the system gives
 * up, a quarter of an hour later.
 */
function cutOff(connection: NatsConnection): void {
  const { protocol } = connection as { protocol?: { transport?: { socket?: { destroy?(): void } } } };
  protocol?.transport?.socket?.destroy?.();
}
