/**
 * Rules of PostgreSQL that have nothing to do with records: how names are written in SQL, and what errors mean.
 *
 * Sources: "Identifiers and Key Words" (https://www.postgresql.org/docs/current/sql-syntax-lexical.html) and "PostgreSQL
 * Error Codes" (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";

/**
 * A table's name, or the names of its schema and of the table. They are quoted, so case matters.
 *
 * @example A table of a schema
 * ```ts
 * import { postgresSink, type PostgresTable } from "@sluice/buffer/sinks/postgres";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const table: PostgresTable = ["shop", "orders"]; // "shop"."orders"; the text "shop.orders" would be one name
 * const sql = { begin: () => Promise.resolve() };
 * assertEquals(typeof postgresSink(sql, { table }), "function");
 * assertThrows(() => postgresSink(sql, { table: "" }), TypeError);
 * ```
 */
export type PostgresTable = string | readonly [schema: string, table: string];

/** An error that the server has sent; those of the client have no severity. */
interface ServerError extends Error {
  /** SQLSTATE: the first two characters are its class. */
  readonly code: string;
  readonly severity: string;
}

/** The table's name as it stands in a statement. @internal */
export function quoteTable(option: string, table: PostgresTable): string {
  const names = typeof table === "string" ? [table] : table;
  if (!Array.isArray(names) || names.length < 1 || names.length > 2) {
    throw new TypeError(`Cannot make a sink: ${option} must be a name, or a schema's and a table's`);
  }
  return names.map((name) => quote(option, name)).join(".");
}

/** Names of columns as they stand in a list of a statement. @internal */
export function quoteColumns(option: string, columns: readonly string[]): string {
  if (!Array.isArray(columns) || columns.length === 0) {
    throw new TypeError(`Cannot make a sink: ${option} must name columns`);
  }
  return columns.map((column) => quote(option, column)).join(", ");
}

function quote(option: string, name: string): string {
  if (typeof name !== "string" || name === "" || name.includes("\0")) {
    throw new TypeError(`Cannot make a sink: ${option} has ${JSON.stringify(name)} for a name`);
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Whether the error is about the values of a row: data exceptions and violated constraints. @internal */
export function isAboutValues(error: unknown): error is ServerError {
  return isServerError(error) && /^2[23]/.test(error.code);
}

/**
 * Classes of errors that don't go away by themselves: no such thing, wrong syntax, no permission, a feature or a database
 * that isn't there, bad values. What isn't listed may: connection (08), transaction rolled back (40), read-only (25006),
 * resources (53), locks (55), operator (57), system (58).
 */
const LASTING = /^(0A|0L|0P|21|22|23|26|28|2B|2F|34|38|39|3B|3D|3F|42|44)/;
const PROGRAM_LIMIT_EXCEEDED = "54";

/** Whether the connection is gone: the client says so, or the server did before it has ended it. */
function isAboutConnection(error: unknown): boolean {
  if (isServerError(error)) return /^(FATAL|PANIC)$/.test(error.severity);
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" && /^(CONNECTION_[A-Z]+|E[A-Z]+)$/.test(code);
}

/**
 * What becomes of the body of a transaction, or of a savepoint, once the connection is gone: it never ends, and whoever
 * waits is told by `onLost` instead. There is nothing left to roll back, and the client `postgres` (3.4) would send the
 * rollback into the closed connection, which throws where nobody can catch it, and ends the process.
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

/** Runs `body` in a transaction; rejects if it does, or if the connection is gone. @internal */
export function inTransaction<Tx>(
  sql: { begin(body: (transaction: Tx) => Promise<void>): Promise<unknown> },
  body: (transaction: Tx) => Promise<void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    sql.begin(unlessLost(body, reject)).then(() => resolve(), reject);
  });
}

/** What an error means for a delivery of `length` records. @internal */
export function failureOf(error: unknown, length: number): DeliveryError {
  if (error instanceof DeliveryError && error.failed === undefined) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof DeliveryError) {
    // Naming records, it would say that all others were stored; but the transaction was rolled back.
    const { retryable, retryAfterMs, tooLarge } = error;
    return new DeliveryError({ reason: "a record was refused", retryable, retryAfterMs, tooLarge }, { cause: error });
  }
  if (!isServerError(error)) return new DeliveryError({ reason }, { cause: error });
  const tooLarge = error.code.startsWith(PROGRAM_LIMIT_EXCEEDED);
  const retryable = tooLarge ? length > 1 : !LASTING.test(error.code);
  return new DeliveryError({ reason: `${error.code} ${reason}`, retryable, tooLarge }, { cause: error });
}

function isServerError(error: unknown): error is ServerError {
  const { code, severity } = (error ?? {}) as Partial<ServerError>;
  return error instanceof Error && typeof code === "string" && typeof severity === "string";
}
