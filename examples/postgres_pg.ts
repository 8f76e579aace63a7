/**
 * The same as `postgres.ts`, with the package `pg`: puts orders and delivers them to a table of PostgreSQL, each once.
 *
 *     DATABASE_URL=postgres://localhost/shop deno run -A examples/postgres_pg.ts
 *
 * On Bun and Node: `npm install pg`, and run this file.
 */

import process from "node:process";
import pg from "pg";
import { FileBuffer, Producer } from "@sluice/buffer";
import { postgresSink } from "@sluice/buffer/sinks/postgres";

interface Order {
  readonly item: string;
  readonly cents: number;
}

const pool = new pg.Pool({
  connectionString: process.env["DATABASE_URL"] ?? "postgres://127.0.0.1/postgres",
  // Without it, a connection to a server that doesn't answer is waited for by every attempt.
  connectionTimeoutMillis: 10_000,
});
// Without a listener, an idle connection that is lost ends the process.
pool.on("error", (error: Error) => console.error(error.message));
await pool.query(`create table if not exists orders (
  batch_id text, sequence bigint, item text not null, cents bigint not null, primary key (batch_id, sequence)
)`);

const buffer = await FileBuffer.open<Order>({ path: "./orders-postgres-pg.wal", maxAgeMs: 500 });
const producer = new Producer({
  buffer,
  send: postgresSink<Order>(pool, {
    table: "orders",
    row: (order, { batchId, sequence }) => ({ batch_id: batchId, sequence, ...order }),
  }),
  onEvent: (event) => event.type === "attempt-failed" && console.error(event.error),
});

for (let i = 1; i <= 1000; i++) await producer.put({ item: `item ${i}`, cents: i });
await producer.flush(); // resolves when the table has all of them
console.log(`delivered ${producer.stats().deliveredRecords} orders`);

await producer.close();
await buffer.close();
await pool.end();
