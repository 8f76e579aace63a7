/**
 * What is particular to the package `pg`: a single client beside a pool, transactions on it, and what it says when it is gone.
 */

// @ts-types="npm:@types/pg@8.23.1"
import type pg from "pg";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { DeliveryError } from "../../mod.ts";
import { postgresSink, postgresTransactionSink } from "../../src/sinks/postgres.ts";
import { loadPg } from "../engines/clients.ts";
import type { Server } from "../engines/servers.ts";
import { contextOf } from "../support/deliveries.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const number = (sequence: number) => sequence;
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const TABLES = `
  create table t (batch_id text, sequence bigint, record jsonb, primary key (batch_id, sequence));
  create table totals (sum bigint not null);
  insert into totals values (0);
  create table sluice_delivered (
    batch_id text primary key, sequences int8multirange not null, known int8multirange,
    delivered_at timestamptz not null default now()
  )`;

/** A test with a pool and a client that is connected. */
function testWithPg(name: string, body: (scene: { pool: pg.Pool; client: pg.Client }) => Promise<void>): void {
  testWithServer("postgres", name, async ({ port }: Server) => {
    const { Client, Pool } = await loadPg();
    const where = { host: "127.0.0.1", port, user: "postgres", database: "postgres" };
    const pool = new Pool(where);
    const client = new Client(where);
    const ignore = () => {};
    pool.on("error", ignore);
    client.on("error", ignore);
    try {
      await client.connect();
      await pool.query(TABLES);
      await body({ pool, client });
    } finally {
      await Promise.allSettled([pool.end(), client.end()]);
    }
  });
}

testWithPg("postgresSink() and postgresTransactionSink() share a single client of pg", async ({ pool, client }) => {
  const notices: string[] = [];
  client.on("notice", ({ message }) => notices.push(String(message)));
  const rows = postgresSink<number>(client, { table: "t" });
  const sums = postgresTransactionSink(client, {
    async apply(transaction: pg.Client, records: readonly number[]) {
      assert(transaction === client);
      const { rows: [before] } = await transaction.query("select sum from totals");
      const sum = records.reduce((sum, n) => sum + n, Number(before.sum));
      await transaction.query("update totals set sum = $1", [sum]);
    },
  });
  // At the same time: their statements must not mix.
  await Promise.all(
    range(0, 4).flatMap((i) => {
      const batch = batchOf([1 + 10 * i, 10 + 10 * i], number, { redelivered: true });
      return [send(rows, batch), send(sums, batch), send(sums, batch)];
    }),
  );
  const { rows: [result] } = await pool.query("select sum, (select count(*) from t) as count from totals");
  assertEquals([Number(result.sum), Number(result.count)], [50 * 51 / 2, 50]);
  assertEquals(notices, []);
});

testWithPg("postgresTransactionSink() applies each record once with a pool of pg", async ({ pool }) => {
  const apply = async (transaction: pg.PoolClient, records: readonly number[]) => {
    await transaction.query("update totals set sum = sum + $1", [records.reduce((sum, n) => sum + n, 0)]);
    if (records.includes(13)) await transaction.query("select 1 / 0");
    if (records.includes(14)) throw new Error("unlucky");
    // Nobody looks at the statement that fails, and the server rolls back at the end.
    if (records.includes(15)) await transaction.query("select * from nowhere").catch(() => {});
  };
  const sink = postgresTransactionSink(pool, { apply });
  const sum = async () => Number((await pool.query("select sum from totals")).rows[0].sum);
  await Promise.all(range(1, 4).map(() => send(sink, batchOf([1, 4], number, { redelivered: true }))));
  assertEquals(await sum(), 10);
  const verdictOf = ({ scope, retryable, tooLarge }: DeliveryError) => [scope, retryable, tooLarge];
  const refused = await refusalOf(sink, batchOf([13, 13], number));
  assertEquals(verdictOf(refused), ["record", false, false]);
  assertStringIncludes(refused.message, "22012");
  assertEquals(verdictOf(await refusalOf(sink, batchOf([12, 13], number))), ["record", true, true]);
  assertEquals(verdictOf(await refusalOf(sink, batchOf([14, 14], number))), ["record", true, false]);
  const undone = await refusalOf(sink, batchOf([15, 15], number));
  assertStringIncludes(undone.message, "rolled the transaction back");
  assertEquals(await sum(), 10);
  assertEquals((await pool.query("select from sluice_delivered")).rowCount, 1);
  // A connection that an attempt has broken isn't given back.
  const broken = postgresTransactionSink(pool, {
    async apply(transaction: pg.PoolClient) {
      await transaction.query("select pg_terminate_backend(pg_backend_pid())");
    },
  });
  assertEquals(verdictOf(await refusalOf(broken, batchOf([16, 16], number))), ["target", true, false]);
  await send(sink, batchOf([16, 16], number));
  assertEquals([await sum(), pool.idleCount, pool.totalCount], [26, pool.totalCount, pool.idleCount]);
});

testWithPg(
  "postgresSink() says that a single client of pg which has lost its connection is gone",
  async ({ pool, client }) => {
    const sink = postgresSink<number>(client, { table: "t" });
    await send(sink, batchOf([1, 10], number));
    const { rows: [{ pid }] } = await client.query("select pg_backend_pid() as pid");
    await pool.query("select pg_terminate_backend($1)", [pid]);
    for (let isFinal = false; !isFinal;) {
      const error = await sink(batchOf([1, 10], number), contextOf())?.then(
        () => undefined,
        (error: DeliveryError) => error,
      );
      if (error === undefined) {
        continue;
      }
      assertEquals([error.scope, error.failed], ["target", undefined]);
      isFinal = error.final;
      if (isFinal) assertStringIncludes(error.message, "a Pool would connect again");
    }
  },
);

testWithPg("postgresSink() doesn't insert into a transaction that somebody has left open", async ({ pool, client }) => {
  const left = await pool.connect();
  await left.query("begin");
  left.release();
  await client.query("begin");
  const ofPool = postgresSink<number>(pool, { table: "t" });
  const ofClient = postgresSink<number>(client, { table: "t" });
  for (const sink of [ofPool, ofClient]) {
    const { scope, retryable, message } = await refusalOf(sink, batchOf([1, 10], number));
    assertEquals([scope, retryable], ["target", true]);
    assertStringIncludes(message, "left a transaction open");
  }
  await client.query("rollback");
  await send(ofPool, batchOf([1, 10], number));
  await send(ofClient, batchOf([11, 20], number));
  await client.end();
  assertEquals((await pool.query("select from t")).rowCount, 20);
});

testWithPg(
  "postgresSink() takes a Pool, a Client and a client of a pool, and nothing else of pg",
  async ({ pool, client }) => {
    const { Query } = await loadPg();
    const checkedOut = await pool.connect();
    try {
      for (const fits of [pool, client, checkedOut]) {
        await send(postgresSink<number>(fits, { table: "t" }), batchOf([1, 1], number));
      }
    } finally {
      checkedOut.release();
    }
    for (const other of [new Query("select 1"), client.connection, { ...pool }]) {
      assertThrows(() => postgresSink(other as never, { table: "t" }), TypeError, "a Pool or Client of the package pg");
    }
  },
);
