/**
 * What the sinks of PostgreSQL use of a client, so that this package needs none: types only.
 *
 * @module
 */

/**
 * What the sinks use of a transaction; that of `postgres` is one.
 *
 * @example What a transaction is asked
 * ```ts
 * import type { PostgresRows, PostgresTransaction } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals } from "@std/assert";
 *
 * const answer: PostgresRows = Object.assign([{ balance: "100" }], { count: 1 });
 * const transaction: PostgresTransaction = { // in a program: what sql.begin() of `postgres` gives
 *   unsafe: async () => answer,
 *   savepoint: (body) => body(transaction),
 * };
 *
 * async function balanceOf(account: number, { unsafe }: PostgresTransaction): Promise<number> {
 *   const [row] = await unsafe("select balance from accounts where id = $1 for update", [String(account)]);
 *   return Number(row?.balance);
 * }
 * assertEquals(await balanceOf(7, transaction), 100);
 * ```
 */
export interface PostgresTransaction {
  /** Runs a statement. */
  unsafe(statement: string, parameters: string[]): PromiseLike<PostgresRows>;
  /** Runs `body` so that, if it rejects, only what it did is undone. */
  savepoint(body: (transaction: PostgresTransaction) => Promise<void>): Promise<unknown>;
}

/**
 * Rows of an answer, and how many rows the statement has touched.
 *
 * @example Rows, and how many a statement has touched
 * ```ts
 * import type { PostgresRows } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals } from "@std/assert";
 *
 * function onlyOne(rows: PostgresRows): Readonly<Record<string, unknown>> {
 *   if (rows.count !== 1) throw new Error(`${rows.count} rows instead of one`);
 *   const [row] = rows;
 *   return row;
 * }
 * assertEquals(onlyOne(Object.assign([{ id: 7 }], { count: 1 })), { id: 7 });
 * ```
 */
export interface PostgresRows extends Iterable<Readonly<Record<string, unknown>>> {
  /** Number of rows. */
  readonly count: number;
}

/**
 * What the sinks use of a client of PostgreSQL; `postgres()` of the package `postgres` is one.
 *
 * @example A client that begins again when the server has chosen it as the victim of a deadlock
 * ```ts
 * import type { PostgresClient, PostgresTransaction } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals } from "@std/assert";
 *
 * function patient(sql: PostgresClient<PostgresTransaction>): PostgresClient<PostgresTransaction> {
 *   return {
 *     begin: (body) =>
 *       sql.begin(body).catch((error) => {
 *         if (error?.code !== "40P01") throw error;
 *         return sql.begin(body); // all of it was rolled back
 *       }),
 *   };
 * }
 *
 * let begun = 0;
 * const deadlock = Object.assign(new Error("deadlock detected"), { code: "40P01" });
 * const sql = patient({ begin: () => ++begun === 1 ? Promise.reject(deadlock) : Promise.resolve() });
 * await sql.begin(async () => {});
 * assertEquals(begun, 2);
 * ```
 */
export interface PostgresClient<Tx> {
  /** Runs `body` in a transaction, which is committed when it resolves and rolled back when it rejects. */
  begin(body: (transaction: Tx) => Promise<void>): Promise<unknown>;
}
