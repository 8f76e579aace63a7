/**
 * A target that is ill is told from a record that is bad, by each client, on a real server: no fault of the server or of the way to
 * it refuses a record, and each record is there once when the fault is over. And one delivery is one round trip.
 */

import { readFileSync, writeFileSync } from "node:fs";
import type postgres from "postgres";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import type { DeliveryError, Send } from "../../mod.ts";
import { postgresSink } from "../../src/sinks/postgres.ts";
import type { Server } from "../engines/servers.ts";
import { contextOf } from "../support/deliveries.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { CLIENTS, type ConnectOptions, openClient, type TestClient } from "./postgres_tools.ts";
import { batchOf, refusalOf, send, testWithServer, withSql } from "./tools.ts";

const TABLE = "batch_id text, sequence bigint, n int, primary key (batch_id, sequence)";
const number = (sequence: number) => sequence;
const row = (n: number, { batchId, sequence }: { batchId: string; sequence: number }) => ({
  batch_id: batchId,
  sequence,
  n,
});

/** What a test of one client has. */
interface Scene {
  readonly server: Server;
  /** A connection of an administrator's. */
  readonly sql: postgres.Sql;
  /** Opens the client, which is ended with the test. */
  open(options?: Partial<ConnectOptions>): Promise<TestClient>;
}

/** A test for each client. */
function testClients(name: string, body: (scene: Scene) => Promise<void>): void {
  testWithServer("postgres", `postgresSink() ${name}`, async (server) => {
    for (const client of CLIENTS) {
      const opened: TestClient[] = [];
      try {
        await withSql(server.port, async (sql) => {
          await sql.unsafe(`drop table if exists t; create table t (${TABLE})`);
          await body({
            server,
            sql,
            async open(options) {
              const one = await openClient(client, { port: server.port, ...options });
              opened.push(one);
              return one;
            },
          });
        });
      } catch (error) {
        throw new Error(`with ${client}: ${error instanceof Error ? error.message : error}`, { cause: error });
      } finally {
        await Promise.allSettled(opened.map((one) => one.end()));
      }
    }
  });
}

/** What the error says to a producer. */
function verdictOf({ scope, retryable, final, failed, tooLarge }: DeliveryError): unknown[] {
  return [scope, retryable, final, failed, tooLarge];
}

const LASTS = ["target", false, false, undefined, false];
const PASSES = ["target", true, false, undefined, false];

testClients("refuses no record while the server refuses all of them", async ({ server, sql, open }) => {
  await sql.unsafe(`drop role if exists writer; create role writer login password 'right';
    grant select, insert on t to writer; create or replace function fail() returns trigger language plpgsql as
    $$ begin raise exception 'full' using errcode = '53100'; end $$;
    create or replace function audit() returns trigger language plpgsql as
    $$ begin execute 'insert into audit values (1)'; return new; end $$`);
  const hba = join(server.directory, "data", "pg_hba.conf");
  const trusting = readFileSync(hba, "utf8");
  const reload = (text: string) => (writeFileSync(hba, text), sql`select pg_reload_conf()`);
  const whole = postgresSink<number>((await open({ user: "writer", password: "right" })).client, { table: "t", row });
  let first = 1;
  const faults: readonly (readonly [code: string, begin: string, end: string])[] = [
    ["42P01", "alter table t rename to elsewhere", "alter table elsewhere rename to t"],
    ["42501", "revoke insert on t from writer", "grant insert on t to writer"],
    ["42703", "alter table t rename n to m", "alter table t rename m to n"],
    ["53100", "create trigger f before insert on t for each row execute function fail()", "drop trigger f on t"],
    ["42P01", "create trigger f before insert on t for each row execute function audit()", "drop trigger f on t"],
  ];
  for (const isTaken of [false, true]) {
    // Also before the sink has ever got a row into the table, and with a single record.
    if (isTaken) await send(whole, batchOf([first, first++], number));
    for (const [code, begin, end] of faults) {
      await sql.unsafe(begin);
      for (const length of [1, 10]) {
        const refusal = await refusalOf(whole, batchOf([first, first + length - 1], number));
        assertEquals(verdictOf(refusal), LASTS, `${begin}, ${length} records`);
        assertStringIncludes(refusal.message, code);
      }
      await sql.unsafe(end);
    }
    await send(whole, batchOf([first, first + 9], number));
    first += 10;
  }
  const single = await open({ user: "writer", password: "right", max: 1 });
  const readOnly = postgresSink<number>(single.client, { table: "t", row });
  await single.run("set default_transaction_read_only = on");
  const unwritable = await refusalOf(readOnly, batchOf([first, first + 9], number));
  assertEquals(verdictOf(unwritable), LASTS);
  assertStringIncludes(unwritable.message, "25006");
  await single.run("set default_transaction_read_only = off");
  await send(readOnly, batchOf([first, first + 9], number));
  first += 10;

  await reload(`host all writer 127.0.0.1/32 scram-sha-256\n${trusting}`);
  // The server reads its rules a moment later.
  for (let isRefused = false; !isRefused;) {
    const probe = await openClient("pg", { port: server.port, user: "writer", password: "wrong" });
    isRefused = await probe.run("select 1").then(() => false, () => true);
    await probe.end();
  }
  const refused = postgresSink<number>((await open({ user: "writer", password: "wrong" })).client, { table: "t", row });
  const refusal = await refusalOf(refused, batchOf([first, first + 9], number));
  assertEquals(verdictOf(refusal), LASTS);
  assertStringIncludes(refusal.message, "28P01");
  await sql`alter role writer password 'wrong'`;
  await send(refused, batchOf([first, first + 9], number));
  const missing = postgresSink<number>((await open({ user: "nobody" })).client, { table: "t", row });
  assertEquals(verdictOf(await refusalOf(missing, batchOf([first, first], number))), LASTS);
  await reload(trusting);
  const [count] = await sql`select count(*)::int as all, count(distinct n)::int as numbers from t`;
  assertEquals(count, { all: first + 9, numbers: first + 9 });
  await sql`drop table t`;
  await sql`drop role writer`;
});

testClients(
  "brings each record once through servers that stop and connections that are cut",
  async ({ server, sql, open }) => {
    const proxy = await TcpProxy.start(server.port);
    try {
      const results: unknown[] = [];
      const onDelivered = (result: unknown) => results.push(result);
      const sink = postgresSink<number>((await open({ port: proxy.port })).client, { table: "t", onDelivered, row });
      await send(sink, batchOf([1, 10], number));
      proxy.cutNext("request");
      assertEquals(verdictOf(await refusalOf(sink, batchOf([11, 20], number))), PASSES);
      assertEquals((await sql`select from t`).count, 10);
      await send(sink, batchOf([11, 20], number, { redelivered: true }));
      proxy.cutNext("answer");
      assertEquals(verdictOf(await refusalOf(sink, batchOf([21, 30], number))), PASSES);
      await send(sink, batchOf([21, 30], number, { redelivered: true }));
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`;
      // Either the client has noticed, and connects again, or the statement meets the end of the connection.
      await sendUntilTaken(sink, [31, 40]);
      // Without the proxy: it takes connections when the server doesn't, and `postgres` then tries for ever.
      const direct = postgresSink<number>((await open()).client, { table: "t", onDelivered, row });
      await send(direct, batchOf([41, 50], number));
      await server.stop();
      for (let attempt = 0; attempt < 2; attempt++) {
        assertEquals(verdictOf(await refusalOf(direct, batchOf([51, 60], number))), PASSES);
      }
      await server.start();
      await sendUntilTaken(direct, [51, 60]);
      assertEquals(results, [
        { stored: 10, duplicates: 0 },
        { stored: 10, duplicates: 0 },
        { stored: 0, duplicates: 10 },
        { stored: 10, duplicates: 0 },
        { stored: 10, duplicates: 0 },
        { stored: 10, duplicates: 0 },
      ]);
    } finally {
      await proxy.close();
    }
  },
);

/** Sends until it isn't refused; each refusal must be one that passes. */
async function sendUntilTaken(sink: Send<number>, range: readonly [number, number]): Promise<void> {
  for (;;) {
    const result = await sink(batchOf(range, number), contextOf())?.then(
      () => undefined,
      (error: DeliveryError) => error,
    );
    if (result === undefined) return;
    assertEquals(verdictOf(result), PASSES);
  }
}

testClients("leaves a connection that is silently dead", async ({ server, sql, open }) => {
  const proxy = await TcpProxy.start(server.port);
  try {
    const sink = postgresSink<number>((await open({ port: proxy.port })).client, { table: "t", row });
    await send(sink, batchOf([1, 10], number));
    proxy.swallow();
    const attempt = new AbortController();
    // As the producer's time for an attempt would end it.
    proxy.onRequest = () => attempt.abort(new Error("it took too long"));
    const delivery = batchOf([11, 20], number);
    await assertRejects(
      async () => await sink(delivery, contextOf({ signal: attempt.signal })),
      Error,
      "it took too long",
    );
    proxy.onRequest = undefined;
    await send(sink, delivery);
    assertEquals((await sql`select from t`).count, 20);
  } finally {
    await proxy.close();
  }
});

testClients("takes one round trip for a delivery, with payloads and with rows", async ({ server, sql, open }) => {
  await sql`drop table if exists documents`;
  await sql`create table documents (batch_id text, sequence bigint, record jsonb, primary key (batch_id, sequence))`;
  const proxy = await TcpProxy.start(server.port);
  try {
    const { client } = await open({ port: proxy.port, max: 1 });
    const deliver = async (sink: Send<{ n: number }>, first: number) => {
      await send(sink, { ...batchOf([first, first + 999], (n) => ({ n })), json: true });
    };
    const sinks = [
      postgresSink<{ n: number }>(client, { table: "documents" }),
      postgresSink<{ n: number }>(client, { table: "t", row: ({ n }, identity) => row(n, identity) }),
      // Rows that are written value by value.
      postgresSink<{ n: number }>(client, { table: "t", row: ({ n }, identity) => row(BigInt(n) as never, identity) }),
    ];
    for (const [i, sink] of sinks.entries()) {
      const first = 1 + 10_000 * i;
      // To connect, and to parse the statement.
      await deliver(sink, first);
      proxy.turns = 0;
      for (const delivery of [1, 2, 3]) await deliver(sink, first + 1_000 * delivery);
      assertEquals(proxy.turns, 3);
    }
    assertEquals((await sql`select from documents union all select from t`).count, 12_000);
  } finally {
    await proxy.close();
  }
});

testClients(
  "refuses a bad record among good ones alone, and records alone whose columns others don't have",
  async ({ sql, open }) => {
    const sink = postgresSink<number>((await open()).client, {
      table: "t",
      row: (n, identity) => n % 10 === 3 ? { ...row(n, identity), no_column: 1 } : row(n === 5 ? NaN : n, identity),
    });
    const failedOf = async (first: number, last: number) =>
      (await refusalOf(sink, batchOf([first, last], number))).failed?.map((
        { index, retryable },
      ) => [first + index, retryable]);
    assertEquals(await failedOf(1, 10), [[3, false], [5, false]]);
    // The table takes other columns, as before.
    assertEquals(await failedOf(13, 13), [[13, false]]);
    await sql`alter table t rename to elsewhere`;
    assertEquals(verdictOf(await refusalOf(sink, batchOf([23, 23], number))), LASTS);
    await sql`alter table elsewhere rename column n to m`;
    await sql`alter table elsewhere rename to t`;
    assertEquals(verdictOf(await refusalOf(sink, batchOf([23, 23], number))), LASTS);
    await sql`alter table t rename column m to n`;
    assertEquals(await failedOf(21, 30), [[23, false]]);
    assertEquals((await sql`select from t`).count, 8 + 9);
  },
);

testClients(
  "goes on without prepared statements where they get lost, and says when its client is closed for good",
  async ({ sql, open }) => {
    const one = await open({ max: 1 });
    const sink = postgresSink<number>(one.client, { table: "t", row });
    for (let batch = 0; batch < 4; batch++) {
      await send(sink, batchOf([1 + 10 * batch, 10 + 10 * batch], number));
      // As a pooler does that gives the next transaction another connection of the server's.
      await one.run("deallocate all");
    }
    assertEquals((await sql`select from t`).count, 40);
    await one.client.end();
    for (let attempt = 0; attempt < 2; attempt++) {
      const refusal = await refusalOf(sink, batchOf([41, 50], number));
      assertEquals([refusal.scope, refusal.final, refusal.failed], ["target", true, undefined]);
      assertStringIncludes(refusal.message, "the client is closed");
    }
  },
);
