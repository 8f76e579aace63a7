/**
 * Puts orders and delivers them to a table of PostgreSQL, each once, whatever is killed meanwhile.
 *
 *     DATABASE_URL=postgres://localhost/shop deno run -A examples/postgres.ts
 *
 * On Bun and Node: `npm install postgres`, and run this file.
 */

import process from "node:process";
import postgres from "postgres";
import { FileBuffer, Producer } from "@sluice/buffer";
import { postgresSink } from "@sluice/buffer/sinks/postgres";

interface Order {
  readonly item: string;
  readonly cents: number;
}

const sql = postgres(process.env["DATABASE_URL"] ?? "postgres://127.0.0.1/postgres", {
  // With it, version 3.4 of this client lets a connection that is lost early end the process.
  fetch_types: false,
  onnotice: () => {},
});
await sql`create table if not exists orders (
  batch_id text, sequence bigint, item text not null, cents bigint not null, primary key (batch_id, sequence)
)`;

const buffer = await FileBuffer.open<Order>({ path: "./orders-postgres.wal", maxAgeMs: 500 });
const producer = new Producer({
  buffer,
  send: postgresSink<Order>(sql, {
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
await sql.end();
