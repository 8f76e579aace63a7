/**
 * A way through the network that a test can make ill: connections that die without a word, stand still, or are cut at a request or
 * at its answer.
 *
 * What dies on its way to the server is kept: a real network may deliver it in the end, when the client has long left.
 */

import type { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What of a connection goes nowhere; with `"answers"` its end is told. `"unread"`: everything, and nobody takes it, so that the buffers of the sender get full. */
export type Swallowed = "answers" | "everything" | "unread";

/** Where a connection is cut: with a request that the server hasn't got, or with an answer that the client hasn't got. */
export type Cut = "request" | "answer";

/** A connection that goes through. */
interface Link {
  readonly client: Socket;
  readonly server: Socket;
  dead: "no" | Swallowed;
  /** What the server has not got. */
  readonly kept: Buffer[];
  /** Whether the client was the last to send. */
  isAsking: boolean;
}

/** Listens on a port of its own and passes everything on. */
export class TcpProxy {
  /** How many connections were made. */
  accepted = 0;
  /** How often a client has sent something and waited for the answer. */
  turns = 0;
  /** Bytes that were swallowed on their way to the server since `swallow()`. */
  swallowed = 0;
  /** Called with all that comes from a client. */
  onRequest: (() => void) | undefined;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  /** What waits for the way to open again. */
  readonly #held: (() => void)[] = [];
  #isHolding = false;
  #swallowsNew = false;
  #cut: Cut | undefined;
  #wake: () => void = () => {};

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Passes on to a port of loopback, which need not be listened to yet. */
  static async start(target: number): Promise<TcpProxy> {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      proxy.accepted++;
      proxy.#pass(() => proxy.#link(client, target));
    });
    const proxy = new TcpProxy(server);
    await once(server.listen(0, "127.0.0.1"), "listening");
    return proxy;
  }

  /** Where it listens. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * The connections of now are dead, and new ones if so wished: they stay open, and what is sent on them, or answered, goes
   * nowhere.
   */
  swallow(dead: Swallowed = "everything", { alsoNew = false } = {}): void {
    this.#swallowsNew = alsoNew;
    this.swallowed = 0;
    for (const link of this.#links) {
      link.dead = dead;
      if (dead === "unread") [link.client, link.server].forEach((socket) => socket.pause());
    }
  }

  /** Resolves when `bytes` were swallowed on their way to the server. */
  async hasSwallowed(bytes: number): Promise<void> {
    while (this.swallowed < bytes) await new Promise<void>((resolve) => this.#wake = resolve);
  }

  /** New connections work again; those that are dead stay so. */
  heal(): void {
    this.#swallowsNew = false;
  }

  /** The connections of now aren't dead any more, and the server gets what was swallowed. */
  revive(): void {
    for (const link of this.#links) {
      link.dead = "no";
      for (const bytes of link.kept.splice(0)) link.server.write(bytes);
      // It was away unnoticed.
      if (link.client.destroyed) link.server.destroySoon();
    }
  }

  /** Nothing goes through, but nothing is lost. */
  hold(): void {
    this.#isHolding = true;
  }

  /** All that was held goes through. */
  release(): void {
    this.#isHolding = false;
    for (const pass of this.#held.splice(0)) pass();
  }

  /** Cuts the connection whose turn it is next. */
  cutNext(at: Cut): void {
    this.#cut = at;
  }

  /** Cuts all connections. */
  cutAll(): void {
    for (const link of this.#links) this.#end(link);
  }

  /** Ends it with all connections. */
  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cutAll();
    await closed;
  }

  #pass(action: () => void): void {
    if (this.#isHolding) this.#held.push(action);
    else action();
  }

  #link(client: Socket, target: number): void {
    const server = connect({ host: "127.0.0.1", port: target, noDelay: true });
    const dead = this.#swallowsNew ? "everything" : "no";
    const link: Link = { client, server, dead, kept: [], isAsking: false };
    this.#links.add(link);
    client.on("data", (bytes: Buffer) => this.#onRequest(link, bytes));
    server.on("data", (bytes: Buffer) => {
      link.isAsking = false;
      if (link.dead === "no") this.#forward(link, server, client, bytes, "answer");
    });
    for (const [from, to] of [[client, server], [server, client]] as const) {
      const end = (): void => {
        // The other side doesn't learn of it while the connection is dead.
        if (link.dead === "no" || link.dead === "answers") this.#pass(() => this.#end(link, to));
      };
      from.on("error", () => {}).on("end", end).on("close", end);
    }
  }

  #onRequest(link: Link, bytes: Buffer): void {
    if (!link.isAsking) this.turns++;
    link.isAsking = true;
    this.onRequest?.();
    if (link.dead === "no" || link.dead === "answers") {
      return this.#forward(link, link.client, link.server, bytes, "request");
    }
    link.kept.push(bytes);
    this.swallowed += bytes.length;
    this.#wake();
  }

  #forward(link: Link, from: Socket, to: Socket, bytes: Buffer, at: Cut): void {
    this.#pass(() => {
      if (this.#cut === at) {
        this.#cut = undefined;
        this.#end(link);
      } else if (!to.write(bytes)) {
        from.pause();
        to.once("drain", () => {
          if (link.dead !== "unread") from.resume();
        });
      }
    });
  }

  /** Ends both sides; `last` gets what was sent to it before. */
  #end(link: Link, last?: Socket): void {
    this.#links.delete(link);
    for (const socket of [link.client, link.server]) {
      if (socket === last) socket.destroySoon();
      else socket.destroy();
    }
  }
}
