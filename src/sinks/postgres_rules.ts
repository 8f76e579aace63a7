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

/** An error that the server sent, as `postgres` and `pg` have it; errors of the client have no severity. @internal */
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

/**
 * Classes of errors that pass by themselves: connection (08), state of the transaction (25), its rollback (40), resources (53), locks
 * and objects in use (55P03, 55006), the operator (57), a snapshot (72), a foreign server (HV), a fault inside the server (XX).
 */
const PASSING = /^(08|25|40|53|55P03|55006|57|72|HV|XX)/;
/**
 * Errors of the server that last until somebody acts, whatever is sent: read-only (25006), disk full (53100), an object's state (55),
 * the system and its files (58), the configuration (F0), damaged data (XX001, XX002).
 */
const LASTING = /^(25006|53100|55(?!P03|006)|58|F0|XX001|XX002)/;
/** After a change of the table, a prepared statement fails once, with the code of a missing feature. */
const CACHED_PLAN_ROUTINE = "RevalidateCachedQuery";
/**
 * Classes of errors that a value can't cause by itself: missing objects, wrong syntax, no permission, a missing feature or
 * database. They last, too. All other codes are about rows, also codes of the user's own that a trigger raises.
 */
const ABOUT_STATEMENT = /^(0A|0L|0P|26|28|2B|34|3B|3D|3F|42)/;
/** No such column; one that is generated, of a view, or not granted; a type that can't be the column's. */
const ABOUT_COLUMNS = /^(0A000|42501|42703|42804|42846|428C9)$/;
const INSUFFICIENT_PRIVILEGE = "42501";
/** The policy of a table with row security refuses a row with the code of a missing permission. */
const ROW_SECURITY_ROUTINE = "ExecWithCheckOptions";
/** A prepared statement that the server doesn't have, or has already: a pooler in between gives out other connections. */
const ABOUT_PREPARED = /^(26000|42P05)$/;

/** Whether the server refuses this as it is. Other errors have nothing to do with what was sent. @internal */
export function isRefusal(error: unknown): error is ServerError {
  return isServerError(error) && !PASSING.test(error.code) && !LASTING.test(error.code) &&
    error.routine !== CACHED_PLAN_ROUTINE;
}

/**
 * Whether the error may be about some rows only: their values, a constraint, what a trigger thinks of them, or that they are too
 * many or too large. In a function that is called for a row, even a missing table may be the row's fault. @internal
 */
export function isAboutRows(error: unknown): error is ServerError {
  if (!isRefusal(error) || isFatal(error)) return false;
  return !ABOUT_STATEMENT.test(error.code) || error.routine === ROW_SECURITY_ROUTINE ||
    (typeof error.where === "string" && error.where !== "");
}

/** Whether the error is about the columns of a statement, so that it is the same for all rows with them. @internal */
export function isAboutColumns(error: unknown): error is ServerError {
  return isRefusal(error) && !isFatal(error) && ABOUT_COLUMNS.test(error.code);
}

/**
 * Whether an error that was met at a row may be the target's all the same, as when a trigger writes to a table that is missing. It
 * is the row's only where others were taken. @internal
 */
export function isDoubtful({ code, routine }: ServerError): boolean {
  return ABOUT_STATEMENT.test(code) && routine !== ROW_SECURITY_ROUTINE;
}

/** Whether a value isn't of its column's type: such an error doesn't name the column. @internal */
export function isAboutType(error: unknown): error is ServerError {
  return isRefusal(error) && /^(22|42804|42846)/.test(error.code);
}

/** Whether the error says that prepared statements don't work here. @internal */
export function isAboutPrepared(error: unknown): boolean {
  return isServerError(error) && ABOUT_PREPARED.test(error.code);
}

/** Whether the server closes the connection after this error. */
function isFatal({ severity }: ServerError): boolean {
  return severity === "FATAL" || severity === "PANIC";
}

/** Whether the connection is gone, or there was none: the client says so, or the server said so before it closed it. @internal */
export function isAboutConnection(error: unknown): boolean {
  if (isServerError(error)) return isFatal(error);
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return (typeof code === "string" && /^(CONNECTION_[A-Z]+|CONNECT_TIMEOUT|E[A-Z]+)$/.test(code)) ||
    (typeof message === "string" && PG_CONNECTION.test(message));
}

/** What `pg` says of a connection, without a code. */
const PG_CONNECTION =
  /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Query read timeout|Client |Cannot use a pool)/;
/** What `pg` says when its pool was closed. A single client is known only where it is used: `postgres_pg.ts`. */
const PG_POOL_ENDED = /after calling end on the pool$/;

/** Whether the client was closed by its owner: no later attempt can succeed with it. */
function isFinal(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return code === "CONNECTION_ENDED" || (typeof message === "string" && PG_POOL_ENDED.test(message));
}

/**
 * Wraps the body of a transaction or savepoint: when the connection is lost, `onLost` gets the error, and the body never settles.
 * There is nothing left to roll back, and the client `postgres` (3.4) would send the rollback into the closed connection, which
 * throws where it can't be caught and ends the process. `isLost` is asked where the same error may be about something else, such as
 * a file or another server.
 *
 * @internal
 */
export function unlessLost<Tx>(
  body: (transaction: Tx) => Promise<void>,
  onLost: (error: unknown) => void,
  isLost?: () => Promise<boolean>,
): (transaction: Tx) => Promise<void> {
  return async (transaction) => {
    try {
      await body(transaction);
    } catch (error) {
      if (!isAboutConnection(error) || await isLost?.() === false) throw error;
      onLost(error);
      await new Promise<never>(() => {});
    }
  };
}

/** Where an error was met. @internal */
export interface FaultContext {
  /** How many records the delivery has. */
  readonly length: number;
  /** Whether the user's own code may have caused it: nothing is known about the target then, and nobody has looked for a row. */
  readonly isOfUser?: boolean;
  /** Whether other records were taken by the same statements, so that a column that isn't there is the record's fault. */
  readonly areOthersTaken?: boolean;
}

/**
 * Translates an error at a delivery, none of which was stored. Where a part of it may be at fault, the producer is to send it in
 * halves, until that part is found. All else is the target's fault. @internal
 */
export function toDeliveryError(error: unknown, context: FaultContext): DeliveryError {
  if (error instanceof DeliveryError) return error;
  const { length, isOfUser = false, areOthersTaken = false } = context;
  const reason = error instanceof Error ? error.message : String(error);
  const options = { cause: error };
  if (isFinal(error)) {
    return new DeliveryError({ reason: `the client is closed: ${reason}`, scope: "target", final: true }, options);
  }
  if (!isServerError(error)) {
    const scope = isOfUser && !isAboutConnection(error) ? "record" : "target";
    return new DeliveryError({ reason, scope, retryable: true }, options);
  }
  const { code } = error;
  const said = { reason: `${code} ${reason}` };
  // A missing permission is more likely one for the table than one for a column.
  const isOfPart = isAboutRows(error) || (isAboutColumns(error) && code !== INSUFFICIENT_PRIVILEGE);
  if (isOfPart && (!isDoubtful(error) || (isOfUser && (length > 1 || areOthersTaken)))) {
    return new DeliveryError({ ...said, retryable: length > 1, tooLarge: length > 1 }, options);
  }
  const retryable = !isRefusal(error) && !LASTING.test(code);
  return new DeliveryError({ ...said, scope: "target", retryable }, options);
}

function isServerError(error: unknown): error is ServerError {
  const { code, severity } = (error ?? {}) as Partial<ServerError>;
  return error instanceof Error && typeof code === "string" && typeof severity === "string";
}
