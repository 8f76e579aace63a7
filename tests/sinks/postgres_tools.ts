/**
 * What tests of PostgreSQL's sinks share: each client that they take.
 */

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
