/**
 * What tests of PostgreSQL's sinks share: each client that they take, and a proxy that counts round trips, cuts connections and
 * lets them die.
 */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server as TcpServer, type Socket } from "node:net";
// @ts-types="npm:@types/pg@8.23.1"
import type pg from "pg";
import type postgres from "postgres";
import { loadPg, loadPostgres } from "../engines/clients.ts";

/** The clients, by the names of their packages. */
export const CLIENTS = ["postgres", "pg"] as const;
export type ClientName = typeof CLIENTS[number];

/** A client that sinks take. */
export interface TestClient {
  readonly client: postgres.Sql | pg.Pool;
  /** Runs a statement on one of its connections. */
  run(statement: string): Promise<unknown>;
  end(): Promise<unknown>;
}

/** How a client connects. */
export interface ConnectOptions {
  readonly port: number;
  readonly user?: string;
  readonly password?: string;
  /** The most connections. */
  readonly max?: number;
}

/** Opens a client; it connects when it is used. */
export async function openClient(name: ClientName, options: ConnectOptions): Promise<TestClient> {
  const where = { host: "127.0.0.1", user: "postgres", password: "none", database: "postgres", max: 5, ...options };
  if (name === "postgres") {
    const open = await loadPostgres();
    const sql = open({ ...where, fetch_types: false, onnotice: () => {}, backoff: () => 0.01 });
    return { client: sql, run: (statement) => sql.unsafe(statement), end: () => sql.end({ timeout: 1 }) };
  }
  const { Pool } = await loadPg();
  const pool = new Pool({ ...where, connectionTimeoutMillis: 5_000 });
  pool.on("error", () => {});
  return { client: pool, run: (statement) => pool.query(statement), end: () => pool.end() };
}

/** When a connection is cut: with a statement that the server hasn't got, or with an answer that the client hasn't got. */
export type Cut = "statement" | "answer";

/** A way to a server. */
export class PostgresProxy {
  /** How often a client has sent something and waited for the answer. */
  turns = 0;
  /** Called with each connection's bytes from the client, once. */
  onStatement: (() => void) | undefined;
  #cut: Cut | undefined;
  readonly #server: TcpServer;
  readonly #pairs = new Set<{ readonly client: Socket; readonly server: Socket; isDead: boolean }>();

  private constructor(target: number) {
    this.#server = createServer((client) => this.#join(client, connect({ host: "127.0.0.1", port: target })));
  }

  static async start(target: number): Promise<PostgresProxy> {
    const proxy = new PostgresProxy(target);
    await once(proxy.#server.listen(0, "127.0.0.1"), "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Cuts the connection that is used next. */
  cut(at: Cut): void {
    this.#cut = at;
  }

  /** The connections of now stay open, and nothing arrives any more. */
  swallow(): void {
    for (const pair of this.#pairs) pair.isDead = true;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const { client, server } of this.#pairs) [client, server].forEach((socket) => socket.destroy());
    await closed;
  }

  #join(client: Socket, server: Socket): void {
    const pair = { client, server, isDead: false };
    this.#pairs.add(pair);
    let isAsking = false;
    const end = () => {
      client.destroy();
      server.destroy();
      this.#pairs.delete(pair);
    };
    const pass = (from: Socket, to: Socket, at: Cut) => {
      from.on("data", (bytes) => {
        if (at === "statement" && !isAsking) this.turns++;
        isAsking = at === "statement";
        if (at === "statement") this.onStatement?.();
        if (pair.isDead) return;
        if (this.#cut !== at) return void to.write(bytes);
        this.#cut = undefined;
        end();
      });
      from.on("error", () => {});
      from.on("close", end);
    };
    pass(client, server, "statement");
    pass(server, client, "answer");
  }
}
