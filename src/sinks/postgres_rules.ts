/**
 * Rules of PostgreSQL: how names are quoted in SQL, and what errors mean.
 *
 * Sources: "Identifiers and Key Words" (https://www.postgresql.org/docs/current/sql-syntax-lexical.html) and "PostgreSQL
 * Error Codes" (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 *
 * @module
 */

import { DeliveryError } from "../errors/mod.ts";
import type { PostgresClient } from "./postgres_client.ts";

/**
 * A table's name, or the names of its schema and of the table: `["shop", "orders"]` for `"shop"."orders"`. Names are quoted, so case
 * matters, and `"shop.orders"` is a single name.
 */
export type PostgresTable = string | readonly [schema: string, table: string];

/** An error that the server sent; errors of the client have no severity. @internal */
export interface ServerError extends Error {
  /** SQLSTATE: the first two characters are its class. */
  readonly code: string;
  readonly severity: string;
  /** The functions in which it was raised, a trigger's for example. */
  readonly where?: unknown;
  /** The function of the server's source that raised it. */
  readonly routine?: unknown;
}

/** The server cuts longer names, in bytes. Cut in the statement, a name would no longer be the one in the JSON. */
const MAX_NAME_BYTES = 63;

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

/** Quotes the name of a column of a row. @internal */
export function quoteColumn(option: string, name: string): string {
  if (!name.isWellFormed() || new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    throw new TypeError(`${option} must not have the column ${JSON.stringify(name)}: PostgreSQL can't have that name`);
  }
  return quote(option, name);
}

function quote(option: string, name: string): string {
  if (typeof name !== "string" || name === "" || name.includes("\0")) {
    throw new TypeError(`Cannot make a PostgreSQL sink: ${option} must not have the name ${JSON.stringify(name)}`);
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Refuses what isn't a client of the package `postgres`, which every attempt would find out again. @internal */
export function checkClient(sql: unknown): void {
  const { begin, savepoint, connect, query } = (sql ?? {}) as Record<string, unknown>;
  if (typeof begin === "function") return;
  const found = typeof savepoint === "function"
    ? "got a transaction: a sink begins its own"
    : typeof connect === "function" && typeof query === "function"
    ? "got what looks like a Pool or Client of the package pg"
    : `got ${sql === null ? "null" : typeof sql}`;
  throw new TypeError(
    `Cannot make a PostgreSQL sink: sql must be a client of the package postgres, with a method begin(); ${found}`,
  );
}

/**
 * Classes of errors that pass: connection (08), state of the transaction (25), its rollback (40), resources (53), an object's
 * state and locks (55), the operator (57), the system (58), a snapshot (72), the configuration (F0), a foreign server (HV), a fault
 * inside the server (XX). All others are permanent, also codes of the user's own that a trigger raises.
 */
const PASSING = /^(08|25|40|53|55|57|58|72|F0|HV|XX)/;
/** After a change of the table, a prepared statement fails once, with the code of a missing feature. */
const CACHED_PLAN_ROUTINE = "RevalidateCachedQuery";
/**
 * Classes of permanent errors that a value can't cause by itself: missing objects, wrong syntax, no permission, a missing feature or
 * database.
 */
const ABOUT_STATEMENT = /^(0A|0L|0P|26|28|2B|34|3B|3D|3F|42)/;
/** No such column; one that is generated, of a view, or not granted; a type that can't be the column's. */
const ABOUT_COLUMNS = /^(0A000|42501|42703|42804|42846|428C9)$/;
const INSUFFICIENT_PRIVILEGE = "42501";
/** The policy of a table with row security refuses a row with the code of a missing permission. */
const ROW_SECURITY_ROUTINE = "ExecWithCheckOptions";

/** Whether the server refuses this for good. @internal */
export function isPermanent(error: unknown): error is ServerError {
  return isServerError(error) && !PASSING.test(error.code) && error.routine !== CACHED_PLAN_ROUTINE;
}

/**
 * Whether the error may be about some rows only: their values, a constraint, what a trigger thinks of them, or that they are too
 * many or too large. In a function that is called for a row, even a missing table may be the row's fault. @internal
 */
export function isAboutRows(error: unknown): error is ServerError {
  if (!isPermanent(error) || isFatal(error)) return false;
  return !ABOUT_STATEMENT.test(error.code) || error.routine === ROW_SECURITY_ROUTINE ||
    (typeof error.where === "string" && error.where !== "");
}

/** Whether the error is about the columns of a statement, so that it is the same for all rows with them. @internal */
export function isAboutColumns(error: unknown): error is ServerError {
  return isPermanent(error) && !isFatal(error) && ABOUT_COLUMNS.test(error.code);
}

/** Whether a value isn't of its column's type: such an error doesn't name the column. @internal */
export function isAboutType(error: unknown): error is ServerError {
  return isPermanent(error) && /^(22|42804|42846)/.test(error.code);
}

/** Whether the server closes the connection after this error. */
function isFatal({ severity }: ServerError): boolean {
  return severity === "FATAL" || severity === "PANIC";
}

/** Whether the connection is gone: the client says so, or the server said so before it closed it. */
function isAboutConnection(error: unknown): boolean {
  if (isServerError(error)) return isFatal(error);
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
  sql: PostgresClient<Tx>,
  body: (transaction: Tx) => Promise<void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    sql.begin(unlessLost(body, reject)).then(() => resolve(), reject);
  });
}

/**
 * Translates an error at a delivery of `length` records, none of which was stored. Where a part of them may be at fault, the
 * producer is to send them in halves, until that part is found. @internal
 */
export function toDeliveryError(error: unknown, length: number): DeliveryError {
  if (error instanceof DeliveryError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (!isServerError(error)) return new DeliveryError({ reason }, { cause: error });
  // A missing permission is more likely one for the table than one for a column.
  const isDivisible = (isAboutColumns(error) && error.code !== INSUFFICIENT_PRIVILEGE) || isAboutRows(error);
  const tooLarge = length > 1 && isDivisible;
  const retryable = tooLarge || !isPermanent(error);
  return new DeliveryError({ reason: `${error.code} ${reason}`, retryable, tooLarge }, { cause: error });
}

function isServerError(error: unknown): error is ServerError {
  const { code, severity } = (error ?? {}) as Partial<ServerError>;
  return error instanceof Error && typeof code === "string" && typeof severity === "string";
}
