/**
 * One record at fault doesn't keep the others of its batch out of PostgreSQL: each kind of fault on a real server; and on a
 * client that fails as it is told, how many statements are spent on it, and which clients are refused.
 */

import { test } from "node:test";
import type postgres from "postgres";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { DeliveryError, MemoryBuffer, Producer, type Send } from "../../mod.ts";
import {
  type PostgresClient,
  postgresSink,
  type PostgresTransaction,
  postgresTransactionSink,
} from "../../src/sinks/postgres.ts";
import { batchOf, refusalOf, send, testWithServer, withSql } from "./tools.ts";

const number = (sequence: number) => sequence;
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const key = (batchId: string, sequence: number) => ({ batch_id: batchId, sequence });

/** Sends ten records through a sink, and tells which of them are refused, and why. */
async function refusedBy(sink: Send<number>): Promise<(readonly [record: number, reason: string])[]> {
  const { failed } = await refusalOf(sink, batchOf([1, 10], number));
  assert(failed?.every(({ retryable }) => !retryable));
  return failed!.map(({ index, reason }) => [index + 1, reason] as const);
}

testWithServer("postgres", "postgresSink() refuses a row at fault alone, whatever the fault", async ({ port }) => {
  await withSql(port, async (sql) => {
    await sql`create table faults (batch_id text, sequence bigint, n int, big bigint, name varchar(5),
      twice int generated always as (n * 2) stored, secret int, deep jsonb, primary key (batch_id, sequence))`;
    await sql`create function refuse() returns trigger language plpgsql as $$ begin
      if new.n = 101 then raise exception 'not that one'; end if;
      if new.n = 102 then raise exception 'by a code' using errcode = 'MINE1'; end if;
      if new.n = 103 then execute 'insert into nowhere values (1)'; end if;
      return new;
    end $$`;
    await sql`create trigger refuse before insert on faults for each row execute function refuse()`;
    await sql`create index on faults (name)`;
    await sql`alter table faults add column long text`;
    await sql`create index on faults (long)`;
    const noise = range(1, 3_000).map((i) => String.fromCodePoint(0x4e00 + (i * 7919) % 20_000)).join("");
    const faults: readonly (readonly [Record<string, unknown>, reason: string])[] = [
      [{ no_column: 1 }, 'column "no_column"'],
      [{ twice: 4 }, 'column "twice"'],
      [{ n: "four" }, 'column "n": invalid input syntax for type integer: "four"'],
      [{ n: 2 ** 40 }, 'column "n": value "1099511627776" is out of range for type integer'],
      [{ n: 1.5 }, 'column "n": invalid input syntax'],
      [{ name: "too long" }, 'column "name": value too long'],
      [{ n: 101 }, "not that one"],
      [{ n: 102 }, "by a code"],
      [{ n: 103 }, '"nowhere" does not exist'],
      [{ long: noise }, "index row"],
      [{ name: "nul\0" }, 'column "name": it can\'t hold a NUL character'],
      [{ name: "\ud800" }, 'column "name": it can\'t hold half of a surrogate pair'],
      [{ ["n".repeat(64)]: 1 }, "PostgreSQL can't have that name"],
      [{ "": 1 }, "row must not have the name"],
    ];
    for (const [fault, expected] of faults) {
      const sink = postgresSink<number>(sql, {
        table: "faults",
        row: (n, { batchId, sequence }) => ({ ...key(batchId, sequence), n, ...n === 4 || n === 9 ? fault : {} }),
      });
      const refused = await refusedBy(sink);
      assertEquals(refused.map(([n]) => n), [4, 9], expected);
      for (const [, reason] of refused) assertStringIncludes(reason, expected);
      const stored = await sql<{ n: number }[]>`delete from faults returning n`;
      assertEquals(stored.map(({ n }) => n).sort((a, b) => a - b), [1, 2, 3, 5, 6, 7, 8, 10], expected);
    }
  });
});

testWithServer(
  "postgres",
  "postgresSink() refuses what permissions and policies refuse, row by row",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table guarded (batch_id text, sequence bigint, n int, secret int, primary key (batch_id, sequence))`;
      await sql`create view seen as select * from guarded where n <> 5 with check option`;
      await sql`create role writer login`;
      await sql`grant select, insert (batch_id, sequence, n) on guarded to writer`;
      await sql`grant select, insert on seen to writer`;
      await sql`alter table guarded enable row level security`;
      await sql`create policy reads on guarded for select using (true)`;
      await sql`create policy writes on guarded for insert with check (n <> 7)`;
      await withSql(port, async (writer) => {
        const rowOf = (extra: (n: number) => object) =>
        (
          n: number,
          { batchId, sequence }: { batchId: string; sequence: number },
        ) => ({
          ...key(batchId, sequence),
          n,
          ...extra(n),
        });
        const byPolicy = postgresSink<number>(writer, { table: "guarded", row: rowOf(() => ({})) });
        assertEquals((await refusedBy(byPolicy)).map(([n]) => n), [7]);
        const byGrant = postgresSink<number>(writer, {
          table: "guarded",
          row: (n, at) => rowOf((n) => n === 2 ? { secret: 1 } : {})(n, { ...at, batchId: "other" }),
        });
        assertEquals((await refusedBy(byGrant)).map(([n]) => n), [2, 7]);
        const byView = postgresSink<number>(writer, {
          table: "seen",
          row: (n, at) => rowOf(() => ({}))(n, { ...at, batchId: "third" }),
        });
        assertEquals((await refusedBy(byView)).map(([n]) => n), [5]);
      }, "writer");
      assertEquals((await sql`select from guarded`).count, 9 + 8 + 9);
    });
  },
);

testWithServer("postgres", "postgresSink() finds every row at fault, however many there are", async ({ port }) => {
  await withSql(port, async (sql) => {
    await sql`create table many (batch_id text, sequence bigint, n int check (n % 50 = 0), primary key (batch_id, sequence))`;
    const sink = postgresSink<number>(sql, {
      table: "many",
      row: (n, { batchId, sequence }) => ({ ...key(batchId, sequence), n }),
    });
    const { refused, attempts } = await deliver(sink, range(1, 700));
    assertEquals(refused, range(1, 700).filter((n) => n % 50 !== 0));
    const stored = await sql<{ n: number }[]>`select n from many order by n`;
    assertEquals(stored.map(({ n }) => n), range(1, 14).map((n) => 50 * n));
    assert(attempts > 1, "all of it was one attempt, which may take longer than it may");
  });
});

testWithServer("postgres", "postgresTransactionSink() refuses the record at fault alone", async ({ port }) => {
  await withSql(port, async (sql) => {
    await sql`create table sluice_delivered (batch_id text primary key, sequences int8multirange not null,
      known int8multirange, delivered_at timestamptz not null default now())`;
    await sql`create table checked (n int check (n <> 13), late int unique deferrable initially deferred)`;
    await sql`insert into checked values (0, 17)`;
    const sink = postgresTransactionSink(sql, {
      async apply(transaction: postgres.TransactionSql, records: readonly number[]) {
        const named = records.flatMap((n, index) => n === 20 ? [{ index, retryable: false, reason: "named" }] : []);
        if (named.length > 0) throw new DeliveryError({ reason: "one of them", failed: named });
        for (const n of records) {
          if (n === 15) await transaction`insert into ${transaction("checked")} ${transaction({ n, missing: 1 })}`;
          else await transaction`insert into checked values (${n}, ${n})`;
        }
      },
    });
    // A constraint, a column of one record's, a constraint that fails at the commit, one that is named.
    const { refused, reasons } = await deliver(sink, range(1, 40));
    assertEquals(refused, [20, 13, 15, 17]);
    assertEquals(reasons[0], "named");
    const stored = await sql<{ n: number }[]>`select n from checked where n > 0 order by n`;
    assertEquals(stored.map(({ n }) => n), range(1, 40).filter((n) => ![13, 15, 17, 20].includes(n)));

    // Nothing in the records: it isn't divided.
    const broken = postgresTransactionSink(sql, {
      apply: async (transaction: postgres.TransactionSql) => void await transaction`insert into nowhere values (1)`,
    });
    const { scope, retryable, tooLarge } = await refusalOf(broken, batchOf([50, 99], number));
    assertEquals([scope, retryable, tooLarge], ["target", false, false]);
    // A column that is missing for the first record of a batch may be missing for all.
    const alone = await refusalOf(sink, batchOf([15, 15], number, { checksum: "0badcafe" }));
    assertEquals([alone.scope, alone.retryable, alone.tooLarge], ["target", false, false]);
  });
});

/** Delivers records as one batch by a producer; the refused ones, in their order, and how many attempts there were. */
async function deliver(
  sink: Send<number>,
  records: readonly number[],
): Promise<{ refused: number[]; reasons: string[]; attempts: number }> {
  const refused: number[] = [];
  const reasons: string[] = [];
  let attempts = 0;
  const refuse = (record: number, reason: string) => {
    refused.push(record);
    reasons.push(reason);
  };
  const buffer = await MemoryBuffer.open<number>({ maxRecords: records.length });
  const producer = new Producer<number>({
    buffer,
    // What is refused for good is taken here, as by a buffer for dead letters; the producer sees the rest.
    async send(delivery, context) {
      attempts++;
      try {
        await sink(delivery, context);
      } catch (error) {
        if (!(error instanceof DeliveryError) || (error.failed === undefined && error.retryable)) throw error;
        if (error.failed === undefined) return delivery.records.forEach((record) => refuse(record, error.message));
        const again = error.failed.filter(({ retryable }) => retryable);
        for (const { index, retryable, reason } of error.failed) {
          if (!retryable) refuse(delivery.records[index]!, reason);
        }
        if (again.length > 0) throw new DeliveryError({ reason: "the rest", failed: again, tooLarge: error.tooLarge });
      }
    },
    retry: { firstDelayMs: 1 },
  });
  await producer.putMany(records);
  await producer.flush();
  await producer.close();
  await buffer.close();
  return { refused, reasons, attempts };
}

/** A client whose statements fail as `failureOf` says. A savepoint runs its body. */
function failingClient(failureOf: (statement: string) => Error | undefined): {
  client: PostgresClient<PostgresTransaction>;
  statements: string[];
} {
  const statements: string[] = [];
  const transaction: PostgresTransaction = {
    unsafe(statement) {
      statements.push(statement);
      const failure = statement.startsWith("insert") ? failureOf(statement) : undefined;
      return failure === undefined ? Promise.resolve(Object.assign([], { count: 1 })) : Promise.reject(failure);
    },
    savepoint: (body) => body(transaction),
  };
  return { client: { begin: (body) => body(transaction) }, statements };
}

const serverError = (code: string, more: object = {}) =>
  Object.assign(new Error("no"), { code, severity: "ERROR", ...more });

for (
  const code of ["42P01", "42P10", "3F000", "42501", "08006", "25006", "53100", "53300", "57P03", "XX000", "42703"]
) {
  test(`postgresSink() doesn't look for a row at fault where ${code} isn't about one`, async () => {
    const { client, statements } = failingClient(() => serverError(code));
    const { failed } = await refusalOf(postgresSink<number>(client, { table: "a" }), batchOf([1, 1_000], number));
    assert(statements.length <= 10, `${statements.length} statements`);
    // Never a record that others are to be stored without: none was.
    assertEquals(failed?.length ?? 1_000, 1_000);
  });
}

test("postgresSink() bounds an attempt that refuses row after row, and goes on with the rest", async () => {
  const { client, statements } = failingClient(() => serverError("23514"));
  const refusal = await refusalOf(postgresSink<number>(client, { table: "a" }), batchOf([1, 5_000], number));
  assert(statements.length < 600, `${statements.length} statements`);
  const { failed, tooLarge } = refusal;
  assertEquals([failed?.length, tooLarge], [5_000, true]);
  assertEquals(failed?.[0]?.retryable, false);
  assert(failed!.filter(({ retryable }) => retryable).length > 1);
  const { refused } = await deliver(postgresSink<number>(client, { table: "a" }), range(1, 3_000));
  assertEquals(refused.sort((a, b) => a - b), range(1, 3_000));
});

test("postgresSink() tries again what a changed table makes of a prepared statement", async () => {
  const { client } = failingClient(() => serverError("0A000", { routine: "RevalidateCachedQuery" }));
  const { retryable, failed } = await refusalOf(postgresSink<number>(client, { table: "a" }), batchOf([1, 2], number));
  assertEquals([retryable, failed], [true, undefined]);
});

test("postgresSink() and postgresTransactionSink() refuse other clients when they are made", () => {
  const others = { query() {}, execute() {}, end() {}, on() {} };
  const apply = () => Promise.resolve();
  const cases: readonly (readonly [client: unknown, message: string])[] = [
    [others, "mysql2"],
    [Object.assign(() => {}, { raw() {}, transaction() {} }), "query builder"],
    [{ $transaction() {} }, "query builder"],
    [{ unsafe() {}, savepoint() {} }, "a transaction"],
    [() => {}, "got function"],
    ["postgres://localhost", "got string"],
    [null, "got null"],
    [undefined, "got undefined"],
    [{}, "got object"],
  ];
  for (const [client, message] of cases) {
    assertThrows(() => postgresSink(client as never, { table: "a" }), TypeError, message);
    assertThrows(() => postgresTransactionSink(client as never, { apply }), TypeError, message);
    const fits = "must be one of the package postgres, or a Pool or Client of the package pg";
    assertThrows(() => postgresSink(client as never, { table: "a" }), TypeError, fits);
  }
});

test("postgresSink() stores the other rows when one isn't an object of columns", async () => {
  const { client } = failingClient(() => undefined);
  const rows: unknown[] = [undefined, null, {}, Promise.resolve({ a: 1 }), { a: 1 }];
  const sink = postgresSink<number>(client, { table: "a", row: (n) => rows[n - 1] as Record<string, unknown> });
  const { failed } = await refusalOf(sink, batchOf([1, 5], number));
  assertEquals(failed?.map(({ index }) => index), [0, 1, 2, 3]);
  await send(sink, batchOf([5, 5], number));
});
