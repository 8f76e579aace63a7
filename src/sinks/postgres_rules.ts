/**
 * Rules of PostgreSQL: how names are quoted in SQL, and what errors mean.
 *
 * Sources: "Identifiers and Key Words" (https://www.postgresql.org/docs/current/sql-syntax-lexical.html) and "PostgreSQL
 * Error Codes" (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";

/**
 * A table's name, or the names of its schema and of the table: `["shop", "orders"]` for `"shop"."orders"`. Names are quoted, so case
 * matters, and `"shop.orders"` is a single name.
 */
export type PostgresTable = string | readonly [schema: string, table: string];

/** An error that the server sent; errors of the client have no severity. */
interface ServerError extends Error {
  /** SQLSTATE: the first two characters are its class. */
  readonly code: string;
  readonly severity: string;
}

/** Quotes a table's name for a statement. @internal */
export function quoteTable(option: string, table: PostgresTable): string {
  const names = typeof table === "string" ? [table] : table;
  if (!Array.isArray(names) || names.length < 1 || names.length > 2) {
    throw new TypeError(`Cannot make a PostgreSQL sink: ${option} must be a table's name, or a schema's and a table's`);
  }
  return names.map((name) => quote(option, name)).join(".");
}

/** Quotes columns as a list for a statement. @internal */
export function quoteColumns(option: string, columns: readonly string[]): string {
  if (!Array.isArray(columns) || columns.length === 0) {
    throw new TypeError(`Cannot make a PostgreSQL sink: ${option} must list at least one column`);
  }
  return columns.map((column) => quote(option, column)).join(", ");
}

function quote(option: string, name: string): string {
  if (typeof name !== "string" || name === "" || name.includes("\0")) {
    throw new TypeError(`Cannot make a PostgreSQL sink: ${option} must not have the name ${JSON.stringify(name)}`);
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Whether the error is about the values of a row: data exceptions and violated constraints. @internal */
export function isAboutValues(error: unknown): error is ServerError {
  return isServerError(error) && /^2[23]/.test(error.code);
}

/**
 * Classes of permanent errors: missing objects, wrong syntax, no permission, a missing feature or database, bad values. Other
 * classes are retried: connection (08), transaction rollback (40), read-only (25006), resources (53), locks (55), operator (57),
 * system (58).
 */
const PERMANENT = /^(0A|0L|0P|21|22|23|26|28|2B|2F|34|38|39|3B|3D|3F|42|44)/;
const PROGRAM_LIMIT_EXCEEDED = "54";

/** Whether the connection is gone: the client says so, or the server said so before it closed it. */
function isAboutConnection(error: unknown): boolean {
  if (isServerError(error)) return /^(FATAL|PANIC)$/.test(error.severity);
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" && /^(CONNECTION_[A-Z]+|E[A-Z]+)$/.test(code);
}

/**
 * Wraps the body of a transaction or savepoint: when the connection is lost, `onLost` gets the error, and the body never settles.
 * There is nothing left to roll back, and the client `postgres` (3.4) would send the rollback into the closed connection, which
 * throws where it can't be caught and ends the process.
 *
 * @internal
 */
export function unlessLost<Tx>(
  body: (transaction: Tx) => Promise<void>,
  onLost: (error: unknown) => void,
): (transaction: Tx) => Promise<void> {
  return async (transaction) => {
    try {
      await body(transaction);
    } catch (error) {
      if (!isAboutConnection(error)) throw error;
      onLost(error);
      await new Promise<never>(() => {});
    }
  };
}

/** Runs `body` in a transaction; rejects if it does, or if the connection is lost. @internal */
export function inTransaction<Tx>(
  sql: { begin(body: (transaction: Tx) => Promise<void>): Promise<unknown> },
  body: (transaction: Tx) => Promise<void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    sql.begin(unlessLost(body, reject)).then(() => resolve(), reject);
  });
}

/** Translates an error at a delivery of `length` records. @internal */
export function toDeliveryError(error: unknown, length: number): DeliveryError {
  if (error instanceof DeliveryError && error.failed === undefined) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof DeliveryError) {
    // An error that names records would say that all others were stored, but the transaction was rolled back.
    const { retryable, retryAfterMs, tooLarge } = error;
    return new DeliveryError({ reason: "a record was refused", retryable, retryAfterMs, tooLarge }, { cause: error });
  }
  if (!isServerError(error)) return new DeliveryError({ reason }, { cause: error });
  const tooLarge = error.code.startsWith(PROGRAM_LIMIT_EXCEEDED);
  const retryable = tooLarge ? length > 1 : !PERMANENT.test(error.code);
  return new DeliveryError({ reason: `${error.code} ${reason}`, retryable, tooLarge }, { cause: error });
}

function isServerError(error: unknown): error is ServerError {
  const { code, severity } = (error ?? {}) as Partial<ServerError>;
  return error instanceof Error && typeof code === "string" && typeof severity === "string";
}
