/**
 * The search for rows at fault when it can't be finished in one attempt: what is left is never taken for stored, and a distant server is
 * left in time, with what was found.
 */

import { assert, assertEquals, assertLess } from "@std/assert";
import { test } from "node:test";
import { MemoryBuffer, Producer } from "../../mod.ts";
import { postgresSink, type PostgresTransaction } from "../../src/sinks/postgres.ts";
import { RowSplitter } from "../../src/sinks/postgres_insert.ts";
import { buildColumnSet, type Row } from "../../src/sinks/postgres_rows.ts";
import { CLIENTS, openClient } from "./postgres_tools.ts";
import { testWithServer, withSql } from "./tools.ts";

for (const name of CLIENTS) {
  const title = `postgresSink() stores each row of a table that takes few of them in a statement, with ${name}`;
  testWithServer("postgres", title, async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql.unsafe(`create table t (batch_id text, sequence bigint, record jsonb, primary key (batch_id, sequence));
        create function limit_rows() returns trigger language plpgsql as $$ begin
          if (select count(*) from added) > 1 then raise exception 'too many'; end if; return null; end $$;
        create trigger limit_rows after insert on t referencing new table as added for each statement
          execute function limit_rows()`);
      const { client, end } = await openClient(name, { port });
      const results: number[] = [];
      const send = postgresSink<number>(client, { table: "t", onDelivered: ({ stored }) => void results.push(stored) });
      const buffer = await MemoryBuffer.open<number>({ maxRecords: 600 });
      const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1, maxDelayMs: 5 } });
      try {
        await producer.putMany(Array.from({ length: 600 }, (_, n) => n));
        await producer.flush();
        const rows = await sql`select record from t order by sequence`;
        assertEquals(rows.map(({ record }) => record), Array.from({ length: 600 }, (_, n) => n));
        assertEquals(results.reduce((sum, stored) => sum + stored, 0), 600);
        assert(results.length > 1);
      } finally {
        await producer.close();
        await buffer.close();
        await end();
      }
    });
  });
}

test("RowSplitter ends in time on a distant server, and has found something", async () => {
  for (const answerMs of [20, 200, 2_000]) {
    let nowMs = 0;
    const wait = () => void (nowMs += answerMs);
    const transaction: PostgresTransaction = {
      unsafe(_statement, [json]) {
        wait();
        const values = JSON.parse(json ?? "[]") as readonly { readonly n: number }[];
        if (!values.some(({ n }) => n % 5 === 0)) return Promise.resolve(Object.assign([], { count: values.length }));
        return Promise.reject(Object.assign(new Error("a fifth"), { code: "P0001", severity: "ERROR" }));
      },
      async savepoint(body) {
        wait();
        await body(transaction).finally(wait);
      },
    };
    const set = buildColumnSet(["n"], [undefined], { into: "t", conflict: "n" });
    const rows = Array.from({ length: 1_000 }, (_, index): Row => ({ index, set, fields: [String(index)] }));
    const splitter = new RowSplitter(transaction, "t", undefined, () => nowMs);
    await splitter.insert(rows);
    // Up to the first row at fault it takes one try for each half.
    assertLess(nowMs, Math.max(6_000, 40 * answerMs));
    const refused = splitter.refused.map(({ index }) => index);
    assert(refused.length > 0 && refused.every((index) => index % 5 === 0));
    assertEquals(splitter.stored + refused.length + splitter.left.length, 1_000);
    assert(splitter.left.length > 1);
  }
});
