/**
 * `postgresTransactionSink()` when `apply` fails for a reason of its own, such as a file that is missing or a service that it asks: the
 * transaction is rolled back at once, so that its connection and its locks are free for the next attempt. And what `apply` says of
 * the target is passed on.
 */

import type postgres from "postgres";
import { assertEquals } from "@std/assert";
import { DeliveryError, type DeliveryErrorData } from "../../mod.ts";
import { type PgClient, type PostgresTransaction, postgresTransactionSink } from "../../src/sinks/postgres.ts";
import { loadPg } from "../engines/clients.ts";
import { openClient } from "./postgres_tools.ts";
import { batchOf, refusalOf, send, testWithServer, withSql } from "./tools.ts";

/** A transaction of either client. */
type Transaction = PostgresTransaction & Partial<Pick<PgClient, "query">>;

const number = (sequence: number) => sequence;
const NOTES = `create table sluice_delivered (batch_id text primary key, sequences int8multirange not null,
  known int8multirange, delivered_at timestamptz not null default now())`;
const OPEN_TRANSACTIONS = "select pid from pg_stat_activity where state like 'idle in transaction%'";
const SUICIDE = { text: "select pg_terminate_backend(pg_backend_pid())", values: [] };
/** What it may say beside records that failed. */
const SAYINGS: readonly Partial<DeliveryErrorData>[] = [{ scope: "target" }, { final: true }, { split: true }];
/** Errors that look like those of a lost connection. */
const FAULTS = ["ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE"].map((code) =>
  Object.assign(new Error(`${code}: of something else`), { code })
);

for (const name of ["postgres", "pg", "a single client of pg"] as const) {
  const title = `postgresTransactionSink() rolls back at once when apply fails with a system's error, with ${name}`;
  testWithServer("postgres", title, async (server) => {
    const where = { host: "127.0.0.1", port: server.port, user: "postgres", database: "postgres" };
    const open = async () => {
      if (name !== "a single client of pg") return await openClient(name, where);
      const { Client } = await loadPg();
      const client = new Client(where);
      await client.connect();
      return { client, end: () => client.end() };
    };
    await withSql(server.port, async (sql) => {
      await sql.unsafe(`${NOTES}; create table applied (n int)`);
      const { client, end } = await open();
      const faults = [...FAULTS];
      const sink = postgresTransactionSink<number, PostgresTransaction>(client as never, {
        async apply(transaction: Transaction, records) {
          const fault = faults.shift();
          if (fault !== undefined) throw fault;
          await sql`insert into applied ${sql(records.map((n) => ({ n })))}`;
          if (!records.includes(7)) return;
          await (transaction.query?.(SUICIDE) ?? transaction.unsafe(SUICIDE.text, SUICIDE.values));
        },
      });
      for (const { message } of FAULTS) {
        const refusal = await refusalOf(sink, batchOf([1, 3], number));
        assertEquals([refusal.message, refusal.retryable], [`Cannot deliver: ${message}`, true]);
        assertEquals((await sql.unsafe(OPEN_TRANSACTIONS)).length, 0);
      }
      await send(sink, batchOf([1, 3], number), 2);
      assertEquals((await sql`select n from applied order by n`).map(({ n }) => n), [1, 2, 3]);
      // A connection that is really lost costs one attempt.
      const lost = await refusalOf(sink, batchOf([7, 7], number));
      assertEquals([lost.scope, lost.retryable], ["target", true]);
      await end().catch(() => {});
    });
  });
}

testWithServer("postgres", "postgresTransactionSink() keeps what apply says of the target", async (server) => {
  await withSql(server.port, async (sql) => {
    await sql.unsafe(NOTES);
    const failed = [{ index: 1, retryable: false, reason: "closed" }];
    for (const said of SAYINGS) {
      const sink = postgresTransactionSink<number, postgres.TransactionSql>(sql, {
        apply: () => Promise.reject(new DeliveryError({ reason: "the shop is closed", failed, ...said })),
      });
      const { scope, final, split } = await refusalOf(sink, batchOf([1, 3], number));
      assertEquals<Partial<DeliveryErrorData>>({ scope, final, split }, {
        scope: "record",
        final: false,
        split: false,
        ...said,
      });
    }
  });
});
