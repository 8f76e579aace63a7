/**
 * A network between a client and a server on loopback, for faults that no server makes: connections that are cut, and those that
 * are silently dead, because whatever is written to them is swallowed.
 *
 * What is swallowed on its way to the server is kept: a real network may deliver it in the end, when the client has long left the
 * connection.
 */

import type { Buffer } from "node:buffer";
import { connect, createServer, type Server, type Socket } from "node:net";

interface Connection {
  readonly client: Socket;
  readonly server: Socket;
  isDead: boolean;
  readonly kept: Buffer[];
}

/** The network. */
export class Proxy {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  #wake: () => void = () => {};
  #swallowsNew = false;
  /** How many connections were made. */
  accepted = 0;
  /** Bytes that were swallowed on their way to the server. */
  swallowed = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a free port and passes everything on to `port`. */
  static async make(port: number): Promise<Proxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new Proxy(server);
    server.on("connection", (client) => proxy.#accept(client, port));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Nothing comes through on the connections that there are; nor on new ones, if so wished. */
  swallow({ alsoNew = false } = {}): void {
    this.#swallowsNew = alsoNew;
    this.swallowed = 0;
    for (const connection of this.#connections) connection.isDead = true;
  }

  /** New connections work again; those that are dead stay so. */
  heal(): void {
    this.#swallowsNew = false;
  }

  /** Delivers to the server what was swallowed, and all that follows. */
  release(): void {
    for (const connection of this.#connections) {
      connection.isDead = false;
      for (const bytes of connection.kept.splice(0)) connection.server.write(bytes);
    }
  }

  /** Cuts all connections. */
  cut(): void {
    for (const { client, server } of this.#connections) {
      client.destroy();
      server.destroy();
    }
    this.#connections.clear();
  }

  /** Resolves when `bytes` were swallowed since it swallows. */
  async hasSwallowed(bytes: number): Promise<void> {
    while (this.swallowed < bytes) await new Promise<void>((resolve) => this.#wake = resolve);
  }

  /** Ends it with all its connections. */
  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(client: Socket, port: number): void {
    this.accepted++;
    const server = connect({ port, host: "127.0.0.1" });
    const connection: Connection = { client, server, isDead: this.#swallowsNew, kept: [] };
    this.#connections.add(connection);
    client.on("data", (bytes: Buffer) => {
      if (!connection.isDead) return void server.write(bytes);
      connection.kept.push(bytes);
      this.swallowed += bytes.length;
      this.#wake();
    });
    server.on("data", (bytes: Buffer) => {
      if (!connection.isDead && client.writable) client.write(bytes);
    });
    const end = (): void => {
      // The server doesn't learn of it while the connection is dead.
      if (connection.isDead) return;
      client.destroy();
      server.destroy();
      this.#connections.delete(connection);
    };
    for (const socket of [client, server]) socket.on("error", () => {}).on("end", end).on("close", end);
  }
}
