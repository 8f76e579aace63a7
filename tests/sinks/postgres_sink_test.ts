/**
 * `postgresSink()` and `postgresTransactionSink()` on a real server, and what their errors mean on a client that does what
 * it is told.
 */

import { test } from "node:test";
import type postgres from "postgres";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { DeliveryError } from "../../mod.ts";
import {
  type PostgresClient,
  postgresSink,
  type PostgresTransaction,
  postgresTransactionSink,
} from "../../src/sinks/postgres.ts";
import { batchOf, refusalOf, send, testWithServer, withSql } from "./tools.ts";

const number = (sequence: number) => sequence;
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const batch = (first: number, last: number) => batchOf([first, last], number).batchId;

testWithServer(
  "postgres",
  "postgresSink() stores each record once, in whatever table it is given",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table numbers (
      place int generated always as identity, batch_id text, sequence bigint, record jsonb, primary key (batch_id, sequence)
    )`;
      const stored = async () =>
        (await sql<{ record: number }[]>`select record from numbers order by place`).map(({ record }) => record);
      const results: unknown[] = [];
      const sink = postgresSink<number>(sql, { table: "numbers", onDelivered: (result) => results.push(result) });

      // More than one statement takes; then again, as by another process.
      await send(sink, batchOf([1, 12_000], number));
      await send(sink, batchOf([1, 12_000], number, { redelivered: true }));
      await send(sink, batchOf([12_001, 12_005], number, { sequences: [12_002, 12_004] }));
      await send(sink, batchOf([12_001, 12_005], number, { redelivered: true }));
      assertEquals(await stored(), [...range(1, 12_000), 12_002, 12_004, 12_001, 12_003, 12_005]);
      assertEquals(results, [
        { stored: 12_000, duplicates: 0 },
        { stored: 0, duplicates: 12_000 },
        { stored: 2, duplicates: 0 },
        { stored: 3, duplicates: 2 },
      ]);
      // Sequences that are given out again after a power cut are other records.
      await send(sink, batchOf([1, 1], number, { checksum: "0badcafe", redelivered: true }));
      assertEquals((await stored()).length, 12_006);

      // Two attempts at the same time, one of them given up.
      await Promise.all(range(1, 4).map(() => send(sink, batchOf([12_006, 12_100], number, { redelivered: true }))));
      assertEquals((await stored()).length, 12_101);

      // A schema, names that need quotes, columns of many types.
      await sql`create schema "Weird ""Schema"`;
      await sql`create table "Weird ""Schema"."order" (
      "key" text primary key, "select" timestamptz, big bigint, raw bytea, list int[], more jsonb, plain text, rest int default 7
    )`;
      interface Mixed {
        readonly at: Date;
        readonly text: string;
      }
      const mixed = postgresSink<Mixed>(sql, {
        table: ['Weird "Schema', "order"],
        key: ["key"],
        row: ({ at, text }, { batchId, sequence }) => ({
          key: `${batchId}:${sequence}`,
          select: at,
          big: 2n ** 62n,
          raw: new Uint8Array([0, 128, 255]),
          list: [1, 2],
          more: { text },
          plain: sequence === 1 ? undefined : text,
        }),
      });
      const at = new Date("2026-01-02T03:04:05.678Z");
      const mixedRecords = batchOf<Mixed>([1, 2], (n) => ({ at, text: `'"\\ü${n}` }));
      await send(mixed, mixedRecords);
      await send(mixed, mixedRecords, 2);
      const rows = await sql`select *, encode(raw, 'hex') as hex, list::text as list_text
      from "Weird ""Schema"."order" order by key`;
      assertEquals(
        rows.map((
          { select, big, hex, list_text, more, plain, rest },
        ) => [select, big, hex, list_text, more, plain, rest]),
        [
          [at, String(2n ** 62n), "0080ff", "{1,2}", { text: `'"\\ü1` }, null, 7],
          [at, String(2n ** 62n), "0080ff", "{1,2}", { text: `'"\\ü2` }, `'"\\ü2`, 7],
        ],
      );
    });
  },
);

testWithServer(
  "postgres",
  "postgresSink() reports the records whose values are refused, and stores the others",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table checked_friends (id int primary key)`;
      await sql`insert into checked_friends values (1)`;
      await sql`create table checked (batch_id text, sequence int, n int check (n <> 3), name text not null unique,
      friend int references checked_friends deferrable initially deferred, unique (batch_id, sequence))`;
      const sink = postgresSink<number>(sql, {
        table: "checked",
        row(n, { batchId, sequence }) {
          if (n === 9) throw new Error("no row for 9");
          const name = n === 5 ? null : n === 6 ? "nul \0" : n === 8 ? "name 1" : `name ${n}`;
          return { batch_id: batchId, sequence, n: n === 4 ? "four" : n, name, friend: n === 7 ? 2 : 1 };
        },
      });
      // A constraint, a type, null, a character that can't be stored, a deferred constraint, a unique name, no row at all.
      const { failed, retryable } = await refusalOf(sink, batchOf([1, 12], number));
      assertEquals(
        failed?.map(({ index, retryable }) => [index, retryable]),
        range(2, 8).map((index) => [index, false]),
      );
      assertEquals(retryable, false);
      const stored = await sql<{ n: number }[]>`select n from checked order by n`;
      assertEquals(stored.map(({ n }) => n), [1, 2, 10, 11, 12]);
      // Once more, as after a crash: the same verdict, nothing twice.
      const again = await refusalOf(sink, batchOf([1, 12], number, { redelivered: true }));
      assertEquals(again.failed?.map(({ index }) => index), range(2, 8));
      assertEquals((await sql`select from checked`).count, 5);

      const missing = postgresSink<number>(sql, { table: "nowhere" });
      const { message, ...refusal } = await refusalOf(missing, batchOf([1, 2], number));
      assertEquals(
        [refusal.scope, refusal.retryable, refusal.failed, refusal.tooLarge],
        ["target", false, undefined, false],
      );
      assertStringIncludes(message, "42P01");
      const keyless = postgresSink<number>(sql, {
        table: "checked_friends",
        key: ["id"],
        row: (n) => ({ no_column: n }),
      });
      assertEquals((await refusalOf(keyless, batchOf([1, 2], number))).retryable, false);
    });
  },
);

testWithServer(
  "postgres",
  "postgresTransactionSink() applies each record once, or nothing of a delivery",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table sluice_delivered (batch_id text primary key, sequences int8multirange not null,
      known int8multirange, delivered_at timestamptz not null default now())`;
      await sql`create table totals (id int primary key, sum bigint not null, checked int check (checked < 100))`;
      await sql`insert into totals values (1, 0, 0)`;
      const sum = async () => Number((await sql`select sum from totals`)[0]!["sum"]);
      let seen: unknown[] = [];
      const sink = postgresTransactionSink(sql, {
        async apply(transaction: postgres.TransactionSql, records: readonly number[], identities) {
          seen = identities.map(({ batchId, sequence }, i) => [batchId, sequence, records[i]]);
          const total = records.reduce((sum, n) => sum + n, 0);
          await transaction`update totals set sum = sum + ${total}`;
          if (records.includes(13)) throw new Error("unlucky");
          if (records.includes(14)) {
            throw new DeliveryError({
              reason: "later",
              retryAfterMs: 5,
              failed: [{ index: 0, retryable: true, reason: "" }],
            });
          }
          if (records.includes(15)) await transaction`update totals set checked = 100`;
        },
      });
      await send(sink, batchOf([1, 4], number));
      assertEquals(await sum(), 10);
      assertEquals(seen, range(1, 4).map((n) => [batch(1, 4), n, n]));
      await send(sink, batchOf([1, 4], number, { redelivered: true }));
      assertEquals(await sum(), 10);
      // Parts, then the whole.
      await send(sink, batchOf([5, 9], number, { sequences: [5, 6, 8] }));
      assertEquals(await sum(), 29);
      await send(sink, batchOf([5, 9], number, { redelivered: true }));
      assertEquals(seen, [[batch(5, 9), 7, 7], [batch(5, 9), 9, 9]]);
      assertEquals(await sum(), 45);
      // Several attempts at a time.
      await Promise.all(range(1, 5).map(() => send(sink, batchOf([10, 10], number, { redelivered: true }))));
      assertEquals(await sum(), 55);

      const unlucky = await refusalOf(sink, batchOf([13, 13], number));
      assertEquals([unlucky.retryable, unlucky.message], [true, "Cannot deliver: unlucky"]);
      const later = await refusalOf(sink, batchOf([14, 14], number));
      assertEquals([later.retryable, later.retryAfterMs, later.failed], [true, 5, undefined]);
      const refused = await refusalOf(sink, batchOf([15, 15], number));
      assertEquals([refused.retryable, refused.failed], [false, undefined]);
      assertEquals(await sum(), 55);
      assertEquals((await sql`select from sluice_delivered`).count, 3);
    });
  },
);

/** A client whose transactions fail with `error`. */
function failing(error: unknown): PostgresClient<PostgresTransaction> {
  return { begin: () => Promise.reject(error) };
}

function serverError(code: string): Error & { code: string } {
  return Object.assign(new Error("no"), { code, severity: "ERROR" });
}

const { record, target } = { record: "record", target: "target" } as const;
const clientError = (code: string) => Object.assign(new Error(`write ${code}`), { code });
for (
  const [error, scope, passes, isTooLarge] of [
    // Faults of the target that pass.
    [serverError("08006"), target, true, false],
    [serverError("40001"), target, true, false],
    [serverError("40P01"), target, true, false],
    [serverError("53300"), target, true, false],
    [serverError("55P03"), target, true, false],
    [serverError("55006"), target, true, false],
    [serverError("57014"), target, true, false],
    [serverError("57P01"), target, true, false],
    [serverError("57P03"), target, true, false],
    [serverError("XX000"), target, true, false],
    [clientError("CONNECTION_CLOSED"), target, true, false],
    [clientError("CONNECT_TIMEOUT"), target, true, false],
    [clientError("ECONNREFUSED"), target, true, false],
    [new Error("Connection terminated unexpectedly"), target, true, false],
    [new Error("timeout exceeded when trying to connect"), target, true, false],
    ["a text", target, true, false],
    // Faults of the target that last.
    [serverError("25006"), target, false, false],
    [serverError("28P01"), target, false, false],
    [serverError("3D000"), target, false, false],
    [serverError("3F000"), target, false, false],
    [serverError("42P01"), target, false, false],
    [serverError("42501"), target, false, false],
    [serverError("42601"), target, false, false],
    [serverError("42703"), target, false, false],
    [serverError("53100"), target, false, false],
    [serverError("55000"), target, false, false],
    [serverError("58030"), target, false, false],
    [serverError("F0000"), target, false, false],
    [serverError("XX001"), target, false, false],
    // Of records, one of which may be at fault.
    [serverError("23505"), record, true, true],
    [serverError("54000"), record, true, true],
    [serverError("MINE1"), record, true, true],
  ] as const
) {
  const name = typeof error === "string" ? error : "code" in error ? error.code : error.message;
  test(`postgresSink() says whose fault ${name} is, and whether it passes`, async () => {
    const refusal = await refusalOf(postgresSink<number>(failing(error), { table: "a" }), batchOf([1, 2], number));
    const { retryable, tooLarge, final, failed } = refusal;
    assertEquals([refusal.scope, retryable, tooLarge, final, failed], [scope, passes, isTooLarge, false, undefined]);
  });
}

for (const error of [clientError("CONNECTION_ENDED"), new Error("Cannot use a pool after calling end on the pool")]) {
  test(`postgresSink() says that its client is closed for good after "${error.message}"`, async () => {
    const refusal = await refusalOf(postgresSink<number>(failing(error), { table: "a" }), batchOf([1, 2], number));
    assertEquals([refusal.scope, refusal.final, refusal.tooLarge], ["target", true, false]);
    assertStringIncludes(refusal.message, "closed");
  });
}

test("postgresSink() doesn't roll back on a connection that is gone", async () => {
  let hasEnded = false;
  const lost = Object.assign(new Error("write CONNECTION_CLOSED"), { code: "CONNECTION_CLOSED" });
  const client: PostgresClient<PostgresTransaction> = {
    async begin(body) {
      const end = () => hasEnded = true;
      const transaction = { unsafe: () => Promise.reject(lost), savepoint: () => Promise.reject(lost) };
      await body(transaction).then(end, end);
    },
  };
  const refusal = await refusalOf(postgresSink<number>(client, { table: "a" }), batchOf([1, 2], number));
  assertEquals([refusal.retryable, refusal.cause, hasEnded], [true, lost, false]);
});

test("postgresSink() commits nothing once its signal is aborted", async () => {
  const stop = new AbortController();
  const ends: unknown[] = [];
  let work: Promise<unknown> | undefined;
  const client: PostgresClient<PostgresTransaction> = {
    begin(body) {
      const transaction: PostgresTransaction = {
        unsafe() {
          stop.abort(new Error("enough"));
          return Promise.resolve(Object.assign([], { count: 1 }));
        },
        savepoint: () => Promise.resolve(),
      };
      return work = body(transaction).then(() => ends.push("commit"), (error) => ends.push(error));
    },
  };
  const sending = postgresSink<number>(client, { table: "a" })(batchOf([1, 1], number), {
    attempt: 1,
    signal: stop.signal,
  });
  await assertRejects(async () => await sending, Error, "enough");
  await work;
  assertEquals(ends, [stop.signal.reason]);
});

test("postgresSink() and postgresTransactionSink() check their options", () => {
  const client = failing(undefined);
  assertThrows(() => postgresSink(client, { table: "" }), TypeError, "table");
  assertThrows(() => postgresSink(client, { table: "a\0b" }), TypeError, "table");
  assertThrows(() => postgresSink(client, { table: ["a", "b", "c"] as never }), TypeError, "table");
  assertThrows(() => postgresSink(client, { table: 5 as never }), TypeError, "table");
  assertThrows(() => postgresSink(client, { table: "a", key: [] }), TypeError, "key");
  assertThrows(() => postgresSink(client, { table: "a", row: {} as never }), TypeError, "row");
  assertThrows(() => postgresTransactionSink(client, { apply: 1 as never }), TypeError, "apply");
  const apply = () => Promise.resolve();
  assertThrows(() => postgresTransactionSink(client, { apply, delivered: "" }), TypeError, "delivered");
});
