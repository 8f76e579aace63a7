/**
 * `postgresSink()` beside what a good user writes by hand for the same exactly-once table: one prepared statement for a delivery, which
 * inserts the records' JSON, or their columns, and skips rows that are there.
 */

import type { Delivery } from "../../../src/producer/delivery.ts";
import { postgresSink, type PostgresSinkOptions } from "../../../src/sinks/postgres.ts";
import { loadPg, loadPostgres } from "../../engines/clients.ts";
import { Server, whyNot } from "../../engines/servers.ts";
import type { BenchRecord, SinkContest } from "./contest.ts";

/** The least share of the rate by hand. */
const GOAL = 0.8;
const TABLE = `create table records (
  batch_id text, sequence bigint, record jsonb, id bigint, text text, primary key (batch_id, sequence)
)`;
const decoder = new TextDecoder();

/** A table that is written to: how the sink makes rows, and the same by hand. */
interface Way {
  readonly name: string;
  readonly options: PostgresSinkOptions<BenchRecord>;
  /** Takes the batch's id, what comes before the first sequence, and a value made from the records. */
  readonly statement: string;
  valueOf(delivery: Delivery<BenchRecord>): string;
}

const WAYS: readonly Way[] = [
  {
    name: "JSON",
    options: { table: "records" },
    statement: `insert into records (batch_id, sequence, record) select $1, $2::text::bigint + place, record
      from jsonb_array_elements($3::text::jsonb) with ordinality as given (record, place)
      on conflict (batch_id, sequence) do nothing`,
    valueOf: ({ payloads }) => `[${payloads.map((payload) => decoder.decode(payload)).join()}]`,
  },
  {
    name: "columns",
    options: {
      table: "records",
      row: ({ id, text }, { batchId, sequence }) => ({ batch_id: batchId, sequence, id, text }),
    },
    statement: `insert into records (batch_id, sequence, id, text) select $1, $2::text::bigint + place, id, text
      from rows from (json_to_recordset($3::text::json) as (id bigint, text text)) with ordinality as given (id, text, place)
      on conflict (batch_id, sequence) do nothing`,
    valueOf: ({ records }) => JSON.stringify(records),
  },
];

/** The contests of both clients. */
export const contests: readonly SinkContest[] = WAYS.flatMap((way) => [withPostgres(way), withPg(way)]);

function withPostgres({ name, options, statement, valueOf }: Way): SinkContest {
  return {
    name: `PostgreSQL, ${name}, postgres`,
    goal: GOAL,
    async open() {
      if (await whyNot("postgres") !== undefined) return undefined;
      const server = await Server.make("postgres");
      const connect = await loadPostgres();
      const sql = connect({
        port: server.port,
        user: "postgres",
        database: "postgres",
        fetch_types: false,
        host: HOST,
      });
      await sql.unsafe(TABLE);
      return {
        ours: postgresSink<BenchRecord>(sql, options),
        async byHand(delivery) {
          await sql.unsafe(statement, valuesOf(delivery, valueOf), { prepare: true });
        },
        async close() {
          await sql.end({ timeout: 5 });
          await server.remove();
        },
      };
    },
  };
}

function withPg({ name, options, statement, valueOf }: Way): SinkContest {
  return {
    name: `PostgreSQL, ${name}, pg`,
    goal: GOAL,
    async open() {
      if (await whyNot("postgres") !== undefined) return undefined;
      const server = await Server.make("postgres");
      const { Pool } = await loadPg();
      const pool = new Pool({ host: HOST, port: server.port, user: "postgres", database: "postgres" });
      await pool.query(TABLE);
      return {
        ours: postgresSink<BenchRecord>(pool, options),
        async byHand(delivery) {
          await pool.query({ name: "insert", text: statement, values: valuesOf(delivery, valueOf) });
        },
        async close() {
          await pool.end();
          await server.remove();
        },
      };
    },
  };
}

const HOST = "127.0.0.1";

function valuesOf(delivery: Delivery<BenchRecord>, valueOf: Way["valueOf"]): string[] {
  return [delivery.batchId, String(delivery.sequences[0]! - 1), valueOf(delivery)];
}
