/**
 * What the sinks of PostgreSQL use of a client, so that this package depends on none: types only.
 *
 * @module
 */

/** How a statement is run. */
export interface PostgresStatementOptions {
  /** Whether the server is to keep the parsed statement for the next time. */
  readonly prepare: boolean;
}

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
  /** Runs a statement by itself. Where a client has it, `postgresSink()` needs one round trip instead of four. */
  unsafe?(statement: string, parameters: string[], options: PostgresStatementOptions): PromiseLike<PostgresRows>;
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

/** A statement for a client of the package `pg`. */
export interface PgStatement {
  /** The SQL. */
  readonly text: string;
  /** Its parameters. */
  readonly values: string[];
  /** Under which name the server keeps the parsed statement; without it, it doesn't. */
  readonly name?: string;
}

/** What a client of the package `pg` says of a statement. */
export interface PgResult {
  /** The rows that it returned. */
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  /** How many rows it returned or affected. */
  readonly rowCount: number | null;
  /** What was done, such as `"COMMIT"`. */
  readonly command: string;
}

/** What the sinks use of a `Client` of the package `pg`, which must be connected. */
export interface PgClient {
  /** Runs a statement. */
  query(statement: PgStatement): Promise<PgResult>;
  /** Quotes a name. Only a client has it, not a pool. */
  escapeIdentifier(name: string): string;
  /** Says whether it is in a transaction: `"I"` if it isn't. Old versions don't have it. */
  getTransactionStatus?(): string | null;
  /** Adds a listener: an error of the connection that nobody listens to ends the process. */
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Removes it. */
  removeListener(event: "error", listener: (error: Error) => void): unknown;
}

/** A {@linkcode PgClient} of a pool. */
export interface PgPoolClient extends PgClient {
  /** Gives it back, or has its connection ended. */
  release(destroy?: boolean): void;
}

/** What the sinks use of a `Pool` of the package `pg`. */
export interface PgPool<Connection extends PgPoolClient = PgPoolClient> {
  /** How many connections it has. Only a pool has it, not a client. */
  readonly totalCount: number;
  /** Takes a connection out. */
  connect(): Promise<Connection>;
  /** The same with a callback: so that a listener is there in time. */
  connect(callback: (error: Error | undefined, client: Connection | undefined, release: () => void) => void): void;
}
