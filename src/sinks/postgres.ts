/**
 * Sends records to PostgreSQL, each once, whatever is resent. A delivery is one transaction, and for {@linkcode postgresSink} one
 * round trip.
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
 * One record at fault doesn't keep the others out: {@linkcode postgresSink} finds the rows at fault and inserts all others, see
 * `postgres_insert.ts`; {@linkcode postgresTransactionSink} has the producer send the delivery in halves.
 *
 * What isn't a record's fault never refuses one: a wrong password (28P01), a missing table (42P01) or permission (42501), a full disk
 * (53100), a read-only server (25006) and the like are faults of the target, which last until somebody acts; a lost connection, a
 * server that starts or stops, a lock (55P03), a conflict (40001) are faults of the target that pass. A column that isn't there, or
 * a table that a trigger misses, is a record's fault only if the table takes other records at the same time. A client that is closed
 * is final.
 *
 * Clients are those of the packages `postgres` and `pg`. What to know of each is in the
 * [README](https://github.com/sluice/buffer/blob/main/src/sinks/README.md#settings-of-the-engine).
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { Send } from "../producer/delivery.ts";
import type {
  PgClient,
  PgPool,
  PgPoolClient,
  PostgresClient,
  PostgresClientWithOptions,
  PostgresTransaction,
} from "./postgres_client.ts";
import { DeliveryInserter } from "./postgres_delivery.ts";
import { toDriver } from "./postgres_driver.ts";
import { type PostgresTable, quoteColumns, quoteTable, toDeliveryError } from "./postgres_rules.ts";
import type { RecordIdentity, SinkResult } from "./record_identity.ts";

export type {
  PgClient,
  PgPool,
  PgPoolClient,
  PgResult,
  PgStatement,
  PostgresClient,
  PostgresClientWithOptions,
  PostgresRows,
  PostgresStatementOptions,
  PostgresTransaction,
} from "./postgres_client.ts";
export type { PostgresTable } from "./postgres_rules.ts";
export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { RecordIdentity, SinkResult } from "./record_identity.ts";

/** Options of {@linkcode postgresSink}. */
export interface PostgresSinkOptions<T> {
  /** The table. */
  readonly table: PostgresTable;
  /**
   * Makes a record's row: values by column. Numbers, strings, booleans, bigints, `Date`s and null become values of the column's type;
   * `undefined` becomes null. A `Uint8Array`, `ArrayBuffer` or `DataView` is for a column of bytes, NaN and the infinities for one of
   * numbers. Other objects become JSON, for `json`, `jsonb`, array and text columns. Omitted columns get their default.
   *
   * Every value is stored as what it is. What the column can't hold is refused with the column and the reason: an invalid date, bytes
   * or NaN for a `jsonb`, a Map, NaN inside an object. A column keeps what its type keeps, no more: -0 is 0 in an `int`.
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
 * If the server refuses a row, the other records are inserted, and the refused ones are reported as failed: for a constraint, a
 * value that isn't of the column's type, an unknown column, a trigger that raises an error. All else is the target's fault, and the
 * records wait.
 *
 * The statement is prepared, unless the client is told not to, or a pooler is in between that loses it.
 *
 * - `postgres`: up to 3.4.9, set `fetch_types: false`. If the connection is lost while that client fetches types, it has an unhandled
 *   rejection, which ends the process (https://github.com/porsager/postgres/issues/1192). A connection that is silently dead stays
 *   occupied, and the next attempt takes another one: don't set `max: 1`.
 * - `pg`: pass a `Pool` with `connectionTimeoutMillis`, without which it waits for ever for a server that doesn't answer, and with
 *   a listener for `"error"`. An attempt that takes too long ends its connection, and the next one has another. A single `Client`
 *   must be connected and have no other use; it can't connect again, so the producer stops when its connection is lost.
 *
 * @param client A client of the package `postgres`, or a `Pool` or `Client` of the package `pg`.
 * @param options The table, and how a record becomes a row.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another package's.
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
  client: PostgresClient<PostgresTransaction> | PgPool | PgClient,
  options: PostgresSinkOptions<T>,
): Send<T> {
  const { table, row, key = ["batch_id", "sequence"], onDelivered } = options;
  const driver = toDriver(client);
  if (row !== undefined && typeof row !== "function") {
    throw new TypeError(`Cannot make a PostgreSQL sink: row must be a function, got ${String(row)}`);
  }
  const target = { into: quoteTable("table", table), conflict: quoteColumns("key", key) };
  const inserter = new DeliveryInserter<T>(driver, target, row);
  return async (delivery, { signal }) => {
    const { stored, refused, left } = await inserter.insert(delivery, signal);
    const again = left.map((index) => ({ index, retryable: true, reason: "not tried, because many rows are refused" }));
    onDelivered?.({ stored, duplicates: delivery.length - stored - refused.length - again.length });
    const failed = [...refused, ...again];
    if (failed.length === 0) return;
    throw new DeliveryError({
      reason: failed[0]!.reason,
      failed,
      retryable: false,
      // In halves, the rest begins at once, with its time before it.
      tooLarge: again.length > 0,
    });
  };
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
 * is rolled back. Where one record may be at fault (a constraint, a bad value, an error that a trigger raises), the producer sends
 * the delivery in halves until it is found, and only that one is refused. `apply` can name records itself, by a
 * {@linkcode DeliveryError} whose `failed` has their positions in `records`: those that aren't retryable are refused, and all
 * others come again without them.
 *
 * A column that isn't there is the record's fault only if other records of its batch were taken; else it is the target's, like a
 * missing table, and the records wait. What `apply` throws by itself says nothing about the target.
 *
 * @param client A client of the package `postgres`, or a `Pool` or `Client` of the package `pg`; see {@linkcode postgresSink}.
 * @param options What to run.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another package's.
 * @typeParam T The records' type.
 * @typeParam Tx What `apply` gets: the client's own type of a transaction; with `pg`, the client that has begun one.
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
export function postgresTransactionSink<T, Tx extends PostgresTransaction | PgClient = PostgresTransaction>(
  client: TransactionClient<Tx>,
  options: PostgresTransactionSinkOptions<T, Tx>,
): Send<T> {
  const { apply, delivered = "sluice_delivered", onDelivered } = options;
  const driver = toDriver(client);
  if (typeof apply !== "function") {
    throw new TypeError(`Cannot make a PostgreSQL sink: apply must be a function, got ${String(apply)}`);
  }
  const table = quoteTable("delivered", delivered);
  // One statement notes the sequences, takes a lock for which another attempt at the batch waits until this one has ended, and
  // returns what was noted before. An existing row can't return its old value, so the update copies it to `known`.
  const statement = `insert into ${table} as noted (batch_id, sequences) values ($1, $2::text::int8multirange) ` +
    `on conflict (batch_id) do update set known = noted.sequences, sequences = noted.sequences + excluded.sequences ` +
    `returning known::text`;
  /** The batch that records were taken of last. */
  let lastTaken: string | undefined;
  return async (delivery, { signal }) => {
    const { batchId, length } = delivery;
    let stored = 0;
    // Before the transaction: a payload that doesn't decode is no failure of the server.
    const { records } = delivery;
    try {
      await driver.transact(
        async (transaction, own) => {
          const [row] = await transaction.unsafe(statement, [batchId, formatMultirange(delivery.sequences)]);
          const known = parseMultirange(row?.["known"]);
          const isNew = (sequence: number) => !known.some(([first, end]) => sequence >= first && sequence < end);
          const indexes = [...delivery.sequences.keys()].filter((i) => isNew(delivery.sequences[i]!));
          stored = indexes.length;
          if (stored === 0) return;
          const identities = indexes.map((i) => ({ batchId, sequence: delivery.sequences[i]! }));
          try {
            await apply(own as Tx, indexes.map((i) => records[i]!), identities);
          } catch (error) {
            throw error instanceof DeliveryError ? toRolledBack(error, indexes, length) : error;
          }
        },
        signal,
        true,
      );
    } catch (error) {
      if (signal.aborted) throw error;
      throw toDeliveryError(error, { length, isOfUser: true, areOthersTaken: lastTaken === batchId });
    }
    lastTaken = batchId;
    onDelivered?.({ stored, duplicates: length - stored });
  };
}

/** A client whose transactions are a `Tx`. */
export type TransactionClient<Tx> =
  | PostgresClient<Tx>
  | PostgresClientWithOptions<Tx>
  | (Tx extends PgPoolClient ? PgPool<Tx> : never)
  | (Tx extends PgClient ? Tx : never);

/**
 * What `apply` said of single records, after all was rolled back: those that it refuses for good are named, all others come again.
 * `indexes` are the positions in the delivery of the records that it got.
 */
function toRolledBack(error: DeliveryError, indexes: readonly number[], length: number): DeliveryError {
  if (error.failed === undefined) return error;
  const { scope, retryable, final, retryAfterMs, tooLarge, split } = error;
  const refused = new Map(
    error.failed.filter((one) => !one.retryable && one.index in indexes).map((
      { index, reason },
    ) => [indexes[index]!, reason]),
  );
  const failed = refused.size === 0 ? undefined : Array.from({ length }, (_, index) => ({
    index,
    retryable: !refused.has(index),
    reason: refused.get(index) ?? "rolled back, because of another record",
  }));
  const reason = "a record was refused";
  return new DeliveryError({ reason, scope, retryable, final, retryAfterMs, tooLarge, split, failed }, {
    cause: error,
  });
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
