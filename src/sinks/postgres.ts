/**
 * Sends records to PostgreSQL, each once, whatever is resent. A delivery is one transaction.
 *
 * Two ways, for two needs:
 * - {@linkcode postgresSink} inserts a row per record into a table with a unique key that holds the record's identity, and skips
 *   rows that exist (`on conflict do nothing`).
 * - {@linkcode postgresTransactionSink} runs the user's own SQL, in the transaction that notes which records were delivered: the
 *   pattern known as inbox, or idempotent consumer.
 *
 * Either way the note and the effect are committed together or not at all. If the reply to the commit is lost, the next attempt
 * finds out which. If an aborted attempt is still running when the next one begins, the next one waits for it at the unique key.
 *
 * Rows travel as JSON, in one parameter per statement, and `json_populate_recordset` turns them into rows of the table's own types
 * (https://www.postgresql.org/docs/current/functions-json.html). So the limit on the number of parameters (65,535) doesn't
 * apply, and the statement's text stays the same, so it is prepared once.
 *
 * @module
 */

import { abortable } from "../base/abortable.ts";
import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import type { PostgresClient, PostgresTransaction } from "./postgres_client.ts";
import {
  inTransaction,
  isAboutValues,
  type PostgresTable,
  quoteColumns,
  quoteTable,
  toDeliveryError,
  unlessLost,
} from "./postgres_rules.ts";
import type { RecordIdentity, SinkResult } from "./record_identity.ts";

export type { PostgresClient, PostgresRows, PostgresTransaction } from "./postgres_client.ts";
export type { PostgresTable } from "./postgres_rules.ts";
export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { RecordIdentity, SinkResult } from "./record_identity.ts";

/** The most rows in one statement. */
const MAX_STATEMENT_ROWS = 5_000;
/** The most JSON in one statement, unless it is a single row; the server's limit is 1 GB. */
const MAX_STATEMENT_CHARACTERS = 4 * 2 ** 20;

/** Options of {@linkcode postgresSink}. */
export interface PostgresSinkOptions<T> {
  /** The table. */
  readonly table: PostgresTable;
  /**
   * Makes a record's row: values by column, the same columns for every record. Numbers, strings, bigints, Dates, bytes and null
   * become values of the column's type, other objects become JSON. Omitted columns get their default.
   *
   * @default {batch_id, sequence, and record with the record as JSON}
   */
  readonly row?: ((record: T, identity: RecordIdentity) => Readonly<Record<string, unknown>>) | undefined;
  /**
   * Columns of the unique key that identifies a record; a unique index on exactly these columns must exist. If records have a
   * key of their own, such as `["order_id"]`, a second record with the same key is skipped, wherever it comes from.
   *
   * @default {["batch_id", "sequence"]}
   */
  readonly key?: readonly string[] | undefined;
  /** Called after every delivery, when the table has all of it. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that inserts each record as a row.
 *
 * If the server refuses a value (a constraint, or text that doesn't fit the column's type), the other records are inserted, and
 * the refused ones are reported as failed. A missing table, column or permission is a permanent failure. A lost connection, a
 * server that starts or stops, a conflict of transactions and the like are retried.
 *
 * With `postgres` up to 3.4.9, set `fetch_types: false`: if the connection is lost while that client fetches types, it has an
 * unhandled rejection, which ends the process (https://github.com/porsager/postgres/issues/1192).
 *
 * @param sql A client of PostgreSQL.
 * @param options The table, and how a record becomes a row.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type.
 * @typeParam T The records' type.
 *
 * @example Insert into an existing table
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type PostgresClient, postgresSink, type PostgresTransaction } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals, assertMatch } from "@std/assert";
 *
 * // create table logins (
 * //   batch_id text, sequence bigint, name text not null, primary key (batch_id, sequence)
 * // )
 * // In a program: const sql = postgres("postgres://localhost/app");
 * const statements: string[][] = [];
 * const sql: PostgresClient<PostgresTransaction> = {
 *   begin: (body) =>
 *     body({
 *       unsafe: async (statement, [json]) => (statements.push([statement, json]), Object.assign([], { count: 1 })),
 *       savepoint: async () => {},
 *     }),
 * };
 * const send = postgresSink<{ user: string }>(sql, {
 *   table: "logins",
 *   row: ({ user }, { batchId, sequence }) => ({ batch_id: batchId, sequence, name: user }),
 * });
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const producer = new Producer({ buffer, send });
 * await producer.put({ user: "ada" });
 * await producer.flush();
 * assertMatch(statements[0][0], /^insert into "logins" .* on conflict \("batch_id", "sequence"\) do nothing$/);
 * assertEquals(JSON.parse(statements[0][1])[0].name, "ada");
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function postgresSink<T>(
  sql: PostgresClient<PostgresTransaction>,
  options: PostgresSinkOptions<T>,
): Send<T> {
  const { table, row = defaultRow, key = ["batch_id", "sequence"], onDelivered } = options;
  if (typeof row !== "function") {
    throw new TypeError(`Cannot make a PostgreSQL sink: row must be a function, got ${String(row)}`);
  }
  const into = quoteTable("table", table);
  const conflict = quoteColumns("key", key);
  return async (delivery, { signal }) => {
    const { rows, failed } = encodeRows(delivery, row);
    let stored = 0;
    const transact = (body: (transaction: PostgresTransaction) => Promise<void>) => {
      stored = 0;
      const work = inTransaction(sql, async (transaction) => {
        await body(transaction);
        // An aborted attempt isn't committed.
        signal.throwIfAborted();
      });
      return abortable(work, signal);
    };
    const insert = async (transaction: PostgresTransaction, part: readonly Row[]) => {
      for (const { statement, json } of buildStatements(part, into, conflict)) {
        stored += (await transaction.unsafe(statement, [json])).count;
      }
    };
    const refused: FailedRecord[] = [...failed];
    try {
      await transact((transaction) => insert(transaction, rows)).catch(async (error) => {
        if (!isAboutValues(error)) throw error;
        // Some row can't be stored: start over, and leave out the refused rows.
        await transact(async (transaction) => {
          refused.splice(failed.length);
          // Otherwise a constraint may fail at the commit, when the row can't be identified any more.
          await transaction.unsafe("set constraints all immediate", []);
          await insertSeparately(transaction, rows, insert, refused);
        });
      });
    } catch (error) {
      throw signal.aborted ? error : toDeliveryError(error, rows.length);
    }
    onDelivered?.({ stored, duplicates: delivery.length - stored - refused.length });
    if (refused.length > 0) {
      refused.sort((a, b) => a.index - b.index);
      throw new DeliveryError({ reason: refused[0]!.reason, failed: refused, retryable: false });
    }
  };
}

/** Inserts rows; splits refused ones in half until each row at fault is alone. */
async function insertSeparately(
  transaction: PostgresTransaction,
  rows: readonly Row[],
  insert: (transaction: PostgresTransaction, rows: readonly Row[]) => Promise<void>,
  refused: FailedRecord[],
): Promise<void> {
  if (rows.length === 0) return;
  try {
    await new Promise<void>((resolve, reject) => {
      const body = unlessLost((inner: PostgresTransaction) => insert(inner, rows), reject);
      transaction.savepoint(body).then(() => resolve(), reject);
    });
  } catch (error) {
    if (!isAboutValues(error)) throw error;
    if (rows.length === 1) {
      refused.push({ index: rows[0]!.index, retryable: false, reason: error.message });
      return;
    }
    const half = Math.ceil(rows.length / 2);
    await insertSeparately(transaction, rows.slice(0, half), insert, refused);
    await insertSeparately(transaction, rows.slice(half), insert, refused);
  }
}

/** A record's row as JSON. */
interface Row {
  /** The record's position in the delivery. */
  readonly index: number;
  readonly columns: readonly string[];
  readonly json: string;
}

function defaultRow(record: unknown, { batchId, sequence }: RecordIdentity): Record<string, unknown> {
  return { batch_id: batchId, sequence, record };
}

function encodeRows<T>(
  delivery: Delivery<T>,
  row: (record: T, identity: RecordIdentity) => Readonly<Record<string, unknown>>,
): { rows: readonly Row[]; failed: readonly FailedRecord[] } {
  const rows: Row[] = [];
  const failed: FailedRecord[] = [];
  delivery.records.forEach((record, index) => {
    try {
      const values = row(record, { batchId: delivery.batchId, sequence: delivery.sequences[index]! });
      const entries = Object.entries(values).map(([column, value]) => [column, toJsonValue(value)] as const);
      if (entries.length === 0) throw new TypeError("a row needs a column");
      rows.push({ index, columns: Object.keys(values), json: JSON.stringify(Object.fromEntries(entries)) });
    } catch (error) {
      failed.push({ index, retryable: false, reason: String(error) });
    }
  });
  return { rows, failed };
}

/** The JSON from which PostgreSQL makes the value. */
function toJsonValue(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) {
    return `\\x${Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
  return value;
}

/** Splits the rows into statements of bounded size. Rows with other columns start a new one. */
function* buildStatements(
  rows: readonly Row[],
  into: string,
  conflict: string,
): Generator<{ statement: string; json: string }> {
  for (let from = 0, to = 0; from < rows.length; from = to) {
    const { columns } = rows[from]!;
    let characters = 0;
    while (to < rows.length && to - from < MAX_STATEMENT_ROWS) {
      const { json, columns: others } = rows[to]!;
      if (to > from && characters + json.length > MAX_STATEMENT_CHARACTERS) break;
      if (others.length !== columns.length || others.some((column, i) => column !== columns[i])) break;
      characters += json.length;
      to++;
    }
    const names = quoteColumns("row", columns);
    const statement = `insert into ${into} (${names}) select ${names} ` +
      `from json_populate_recordset(null::${into}, $1::text::json) on conflict (${conflict}) do nothing`;
    yield { statement, json: `[${rows.slice(from, to).map(({ json }) => json).join(",")}]` };
  }
}

/** Options of {@linkcode postgresTransactionSink}. */
export interface PostgresTransactionSinkOptions<T, Tx> {
  /**
   * Handles records that weren't delivered before, in the transaction that notes them. It must do everything with
   * `transaction`: only that is rolled back with the note.
   */
  readonly apply: (
    transaction: Tx,
    records: readonly T[],
    identities: readonly RecordIdentity[],
  ) => PromiseLike<unknown>;
  /**
   * The table that notes deliveries, see {@linkcode postgresTransactionSink}.
   *
   * @default {"sluice_delivered"}
   */
  readonly delivered?: PostgresTable | undefined;
  /** Called after every delivery, when its transaction is committed. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that runs the user's own SQL, once for each record.
 *
 * It needs PostgreSQL 14 or later, and a table with a row for each batch:
 *
 * ```sql
 * create table sluice_delivered (
 *   batch_id text primary key,
 *   sequences int8multirange not null,
 *   known int8multirange,
 *   delivered_at timestamptz not null default now()
 * )
 * ```
 *
 * Rows older than any batch that can be redelivered may be deleted. If `apply` throws, or its SQL fails, the whole delivery
 * is rolled back; the record at fault is unknown.
 *
 * @param sql A client of PostgreSQL.
 * @param options What to run.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type.
 * @typeParam T The records' type.
 * @typeParam Tx The client's own type of a transaction, which `apply` gets.
 *
 * @example Each payment changes the balance once
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import {
 *   type PostgresClient,
 *   type PostgresTransaction,
 *   postgresTransactionSink,
 * } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: const sql = postgres("postgres://localhost/app");
 * const statements: string[] = [];
 * const sql: PostgresClient<PostgresTransaction> = {
 *   begin: (body) =>
 *     body({
 *       unsafe: async (statement, parameters) => {
 *         statements.push(`${statement.split(" ")[0]} ${parameters.at(-1)}`);
 *         return Object.assign([], { count: 1 });
 *       },
 *       savepoint: async () => {},
 *     }),
 * };
 * const send = postgresTransactionSink<{ account: number; cents: number }, PostgresTransaction>(sql, {
 *   async apply(transaction, payments) {
 *     for (const { account, cents } of payments) {
 *       const parameters = [String(cents), String(account)];
 *       await transaction.unsafe("update accounts set balance = balance + $1 where id = $2", parameters);
 *     }
 *   },
 * });
 * const buffer = await MemoryBuffer.open<{ account: number; cents: number }>();
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ account: 7, cents: 100 }, { account: 8, cents: -100 }]);
 * await producer.flush();
 * assertEquals(statements, ["insert {[1,3)}", "update 7", "update 8"]); // the note, and the effect
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function postgresTransactionSink<T, Tx extends PostgresTransaction>(
  sql: PostgresClient<Tx>,
  options: PostgresTransactionSinkOptions<T, Tx>,
): Send<T> {
  const { apply, delivered = "sluice_delivered", onDelivered } = options;
  if (typeof apply !== "function") {
    throw new TypeError(`Cannot make a PostgreSQL sink: apply must be a function, got ${String(apply)}`);
  }
  const table = quoteTable("delivered", delivered);
  // One statement notes the sequences, takes a lock for which another attempt at the batch waits until this one has ended, and
  // returns what was noted before. An existing row can't return its old value, so the update copies it to `known`.
  const statement = `insert into ${table} as noted (batch_id, sequences) values ($1, $2::text::int8multirange) ` +
    `on conflict (batch_id) do update set known = noted.sequences, sequences = noted.sequences + excluded.sequences ` +
    `returning known::text`;
  return async (delivery, { signal }) => {
    let stored = 0;
    const work = inTransaction(sql, async (transaction) => {
      const [row] = await transaction.unsafe(statement, [delivery.batchId, formatMultirange(delivery.sequences)]);
      const known = parseMultirange(row?.["known"]);
      const isNew = (sequence: number) => !known.some(([first, end]) => sequence >= first && sequence < end);
      const indexes = [...delivery.sequences.keys()].filter((i) => isNew(delivery.sequences[i]!));
      stored = indexes.length;
      if (stored > 0) {
        const identities = indexes.map((i) => ({ batchId: delivery.batchId, sequence: delivery.sequences[i]! }));
        await apply(transaction, indexes.map((i) => delivery.records[i]!), identities);
      }
      signal.throwIfAborted();
    });
    try {
      await abortable(work, signal);
    } catch (error) {
      throw signal.aborted ? error : toDeliveryError(error, delivery.length);
    }
    onDelivered?.({ stored, duplicates: delivery.length - stored });
  };
}

/** Formats ascending sequences as `{[first,end),...}`. */
function formatMultirange(sequences: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const sequence of sequences) {
    const last = ranges.at(-1);
    if (last?.[1] === sequence) last[1]++;
    else ranges.push([sequence, sequence + 1]);
  }
  return `{${ranges.map(([first, end]) => `[${first},${end})`).join(",")}}`;
}

/** Parses the first and end of each range of a multirange. */
function parseMultirange(text: unknown): readonly (readonly [number, number])[] {
  return Array.from(String(text ?? "").matchAll(/\[(\d+),(\d+)\)/g), ([, first, end]) => [Number(first), Number(end)]);
}
