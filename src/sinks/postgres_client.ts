/**
 * What the sinks of PostgreSQL use of a client, so that this package depends on none: types only.
 *
 * @module
 */

/** What the sinks use of a transaction; a transaction of `postgres` has it. */
export interface PostgresTransaction {
  /** Runs a statement. */
  unsafe(statement: string, parameters: string[]): PromiseLike<PostgresRows>;
  /** Runs `body` in a savepoint: if it rejects, only its own effects are rolled back. */
  savepoint(body: (transaction: PostgresTransaction) => Promise<void>): Promise<unknown>;
}

/** The rows of a result, and how many rows the statement affected. */
export interface PostgresRows extends Iterable<Readonly<Record<string, unknown>>> {
  /** Number of rows. */
  readonly count: number;
}

/** What the sinks use of a client of PostgreSQL; `postgres()` of the package `postgres` has it. */
export interface PostgresClient<Tx> {
  /** Runs `body` in a transaction, which is committed when it resolves and rolled back when it rejects. */
  begin(body: (transaction: Tx) => Promise<void>): Promise<unknown>;
}

/**
 * The same of a client whose `begin()` takes options, too, as `postgres` declares it: from a type with overloads TypeScript infers
 * only by one with as many.
 */
export interface PostgresClientWithOptions<Tx> extends PostgresClient<Tx> {
  /** Runs `body` in a transaction, which is committed when it resolves and rolled back when it rejects. */
  begin(body: (transaction: Tx) => Promise<void>): Promise<unknown>;
  /** The same with options of the transaction, such as its isolation level. */
  begin(options: string, body: (transaction: Tx) => Promise<void>): Promise<unknown>;
}
