/**
 * The engines as targets of a test program: the sink over the real client, and what the target holds in the end.
 *
 * Whoever sends knows nothing of the engine; whoever reads gets the records in the order in which the target has them.
 */

// @ts-types="npm:@types/pg@8.23.1"
import type pg from "pg";
import type postgres from "postgres";
import type { Send } from "../../mod.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import { postgresSink, postgresTransactionSink } from "../../src/sinks/postgres.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { loadJetStream, loadNats, loadPg, loadPostgres } from "./clients.ts";
import { connectRedis, type RedisClientName } from "./redis_clients.ts";
import type { Engine } from "./servers.ts";

/** An engine; for PostgreSQL, the way it is written to and the client, `postgres` where the name has no other; for Redis, the client. */
export type TargetName =
  | Engine
  | "postgres-transaction"
  | "postgres-pg"
  | "postgres-pg-transaction"
  | RedisClientName;

/** A connection to a target for records of type `T`. */
export interface Target<T> {
  /** Sends to it. */
  readonly send: Send<T>;
  /** Makes what records are put into: stream, table. */
  setUp(): Promise<void>;
  /** All records, in the target's order. */
  read(): Promise<T[]>;
  /** Ends the connection. */
  close(): Promise<void>;
}

/** How a target is connected to. */
export interface TargetOptions {
  readonly port: number;
  /** Is told how many records of a delivery were stored, and how many were there already. */
  readonly onDelivered?: ((result: { stored: number; duplicates: number }) => void) | undefined;
}

/** The shortest that a server takes: so that the window of a stream is over when something is sent again. */
const DUPLICATE_WINDOW_NANOSECONDS = 100_000_000;
const PAGE_RECORDS = 500;

/** What records and notes are put into. */
const TABLES = `
  create table records (
    place bigint generated always as identity, batch_id text, sequence bigint, record jsonb not null,
    unique (batch_id, sequence)
  );
  create table sluice_delivered (
    batch_id text primary key, sequences int8multirange not null, known int8multirange,
    delivered_at timestamptz not null default now()
  )`;
const READ = "select record from records order by place";

/** Connects; the server need not be up yet. */
export function connectTo<T>(
  name: TargetName,
  options: TargetOptions,
): Promise<Target<T>> {
  switch (name) {
    case "nats":
      return toNats(options);
    case "postgres":
    case "postgres-transaction":
      return toPostgres(name, options);
    case "postgres-pg":
    case "postgres-pg-transaction":
      return toPg(name, options);
    default:
      return toRedis(name, options);
  }
}

async function toNats<T>({ port, onDelivered = () => {} }: TargetOptions): Promise<Target<T>> {
  const { connect } = await loadNats();
  const { jetstream, jetstreamManager } = await loadJetStream();
  const connecting = connect({
    servers: `127.0.0.1:${port}`,
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 20,
    reconnectJitter: 0,
  });
  let sink: Send<T> | undefined;
  const options = { stream: "RECORDS", subject: "records.all", onDelivered };
  connecting.then((connection) => sink = natsSink<T>(jetstream(connection, { timeout: 300 }), options));
  return {
    send(delivery, context) {
      if (sink === undefined) throw new Error("there was no connection yet");
      return sink(delivery, context);
    },
    async setUp() {
      const manager = await jetstreamManager(await connecting);
      const window = { duplicate_window: DUPLICATE_WINDOW_NANOSECONDS };
      await manager.streams.add({ name: "RECORDS", subjects: ["records.>"], ...window });
    },
    async read() {
      const manager = await jetstreamManager(await connecting);
      const { state } = await manager.streams.info("RECORDS");
      const records: T[] = [];
      for (let from = 1; from <= state.last_seq; from += PAGE_RECORDS) {
        const count = Math.min(PAGE_RECORDS, state.last_seq - from + 1);
        const page = Array.from({ length: count }, (_, i) => manager.streams.getMessage("RECORDS", { seq: from + i }));
        records.push(...(await Promise.all(page)).map((message) => message!.json<T>()));
      }
      return records;
    },
    close: async () => await (await connecting).close(),
  };
}

async function toRedis<T>(name: RedisClientName, { port, onDelivered = () => {} }: TargetOptions): Promise<Target<T>> {
  const { client, connecting, command, close } = await connectRedis(name, { port, isLazy: true, failsOffline: true });
  return {
    send: redisSink<T>(client, { stream: "records", onDelivered }),
    setUp: async () => void await connecting,
    async read() {
      await connecting;
      const records: T[] = [];
      for (let after = "-";;) {
        const page = await command<[id: string, words: string[]][]>(
          "XRANGE",
          "records",
          after,
          "+",
          "COUNT",
          String(PAGE_RECORDS),
        );
        if (page.length === 0) return records;
        records.push(...page.map(([, words]) => JSON.parse(words[1]!)));
        after = `(${page.at(-1)![0]}`;
      }
    },
    close,
  };
}

async function toPostgres<T>(
  name: "postgres" | "postgres-transaction",
  { port, onDelivered = () => {} }: TargetOptions,
): Promise<Target<T>> {
  const open = await loadPostgres();
  const sql = open({
    host: "127.0.0.1",
    port,
    user: "postgres",
    database: "postgres",
    backoff: () => 0.02,
    // With it, a connection that ends while it asks for the types is an unhandled rejection, which ends the process.
    fetch_types: false,
    onnotice() {},
  });
  const send = name === "postgres"
    ? postgresSink<T>(sql, { table: "records", onDelivered })
    : postgresTransactionSink(sql, {
      apply: (transaction: postgres.TransactionSql, records: readonly T[]) =>
        transaction`insert into records (record)
          select * from json_array_elements(${JSON.stringify(records)}::text::json)`,
      onDelivered,
    });
  return {
    send,
    setUp: async () => void await sql.unsafe(TABLES),
    async read() {
      const rows = await sql.unsafe<{ record: T }[]>(READ);
      return rows.map(({ record }) => record);
    },
    close: () => sql.end({ timeout: 1 }),
  };
}

async function toPg<T>(
  name: "postgres-pg" | "postgres-pg-transaction",
  { port, onDelivered = () => {} }: TargetOptions,
): Promise<Target<T>> {
  const { Pool } = await loadPg();
  const pool = new Pool({
    host: "127.0.0.1",
    port,
    user: "postgres",
    database: "postgres",
    connectionTimeoutMillis: 1_000,
  });
  // Without a listener, a connection that ends would end the process.
  pool.on("error", () => {});
  const send = name === "postgres-pg"
    ? postgresSink<T>(pool, { table: "records", onDelivered })
    : postgresTransactionSink(pool, {
      apply: (client: pg.PoolClient, records: readonly T[]) =>
        client.query("insert into records (record) select * from json_array_elements($1::text::json)", [
          JSON.stringify(records),
        ]),
      onDelivered,
    });
  return {
    send,
    setUp: async () => void await pool.query(TABLES),
    read: async () => (await pool.query<{ record: T }>(READ)).rows.map(({ record }) => record),
    close: () => pool.end(),
  };
}
