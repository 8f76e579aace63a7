/**
 * What the sinks of PostgreSQL use of a client, so that this package needs none: types only.
 *
 * @module
 */

/** What the sinks use of a transaction; that of `postgres` is one. */
export interface PostgresTransaction {
  /** Runs a statement. */
  unsafe(statement: string, parameters: string[]): PromiseLike<PostgresRows>;
  /** Runs `body` so that, if it rejects, only what it did is undone. */
  savepoint(body: (transaction: PostgresTransaction) => Promise<void>): Promise<unknown>;
}

/** Rows of an answer, and how many rows the statement has touched. */
export interface PostgresRows extends Iterable<Readonly<Record<string, unknown>>> {
  /** Number of rows. */
  readonly count: number;
}

/** What the sinks use of a client of PostgreSQL; `postgres()` of the package `postgres` is one. */
export interface PostgresClient<Tx> {
  /** Runs `body` in a transaction, which is committed when it resolves and rolled back when it rejects. */
  begin(body: (transaction: Tx) => Promise<void>): Promise<unknown>;
}
