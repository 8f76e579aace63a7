/**
 * A way through the network that a test can make ill: connections that die without a word, or stand still for a while.
 */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A connection that goes through. */
interface Link {
  readonly ends: readonly Socket[];
  dead: "no" | Swallowed;
}

/** What of a connection goes nowhere. `"unread"`: everything, and nobody takes it, so that the buffers of the sender get full. */
export type Swallowed = "answers" | "everything" | "unread";

/** Listens on a port of its own and passes everything on. */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  /** What waits for the way to open again. */
  readonly #held: (() => void)[] = [];
  #isHolding = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Passes on to a port of loopback, which need not be listened to yet. */
  static async start(target: number): Promise<TcpProxy> {
    const server = createServer({ noDelay: true }, (socket) => proxy.#pass(() => proxy.#link(socket, target)));
    const proxy = new TcpProxy(server);
    await once(server.listen(0, "127.0.0.1"), "listening");
    return proxy;
  }

  /** Where it listens. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many connections go through. */
  get connections(): number {
    return this.#links.size;
  }

  /** The connections of now are dead: they stay open, and what is sent on them, or answered, goes nowhere. New ones aren't. */
  swallow(dead: Swallowed): void {
    for (const link of this.#links) {
      link.dead = dead;
      if (dead === "unread") link.ends.forEach((socket) => socket.pause());
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

  /** Ends it with all connections. */
  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const { ends } of this.#links) ends.forEach((socket) => socket.destroy());
    await closed;
  }

  #pass(action: () => void): void {
    if (this.#isHolding) this.#held.push(action);
    else action();
  }

  #link(client: Socket, target: number): void {
    const server = connect({ host: "127.0.0.1", port: target, noDelay: true });
    const link: Link = { ends: [client, server], dead: "no" };
    this.#links.add(link);
    for (const [from, to] of [[client, server], [server, client]] as const) {
      from.on("data", (bytes) => {
        if (link.dead !== "no" && (link.dead !== "answers" || from === server)) return;
        this.#pass(() => {
          if (to.write(bytes)) return;
          from.pause();
          to.once("drain", () => from.resume());
        });
      });
      from.on("error", () => {});
      from.on("close", () => {
        this.#pass(() => {
          this.#links.delete(link);
          if (link.dead === "no") to.destroySoon();
          else to.destroy();
        });
      });
    }
  }
}
