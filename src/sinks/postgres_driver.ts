/**
 * The clients that the sinks of PostgreSQL take, behind one interface: `postgres` here, `pg` in `postgres_pg.ts`.
 *
 * Guarantees: a statement that is run by itself takes one round trip, once the server has parsed it. What is aborted isn't
 * committed, unless the server has its last statement already. No error of a connection ends the process.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";
import { abortable } from "../base/abortable.ts";
import type { PgClient, PgPool, PostgresClient, PostgresTransaction } from "./postgres_client.ts";
import { PgDriver } from "./postgres_pg.ts";
import { unlessLost } from "./postgres_rules.ts";
import { type PostgresDriver, PreparedStatements } from "./postgres_statements.ts";

/** The client ends the transaction of a lost connection by itself, in the turn in which the statement has failed. */
const MAX_LOSS_MS = 200;

/** A client of the package `postgres`, or what has its `begin()`. */
class PostgresJsDriver implements PostgresDriver {
  readonly run: PostgresDriver["run"];
  readonly #sql: PostgresClient<PostgresTransaction>;

  constructor(sql: PostgresClient<PostgresTransaction>) {
    this.#sql = sql;
    const statements = new PreparedStatements();
    if (typeof sql.unsafe !== "function") return;
    this.run = (statement, parameters, signal) => {
      const work = statements.run(statement, async (name) => {
        signal.throwIfAborted();
        return (await sql.unsafe!(statement, parameters, { prepare: name !== undefined })).count;
      });
      return abortable(work, signal);
    };
  }

  transact(...[body, signal, isOfUser = false]: Parameters<PostgresDriver["transact"]>): Promise<void> {
    const ended = Promise.withResolvers<true>();
    const isLost = isOfUser ? () => isSoon(ended.promise, MAX_LOSS_MS) : undefined;
    const work = new Promise<void>((resolve, reject) => {
      const whole = async (transaction: PostgresTransaction): Promise<void> => {
        await body(transaction, transaction);
        signal.throwIfAborted();
      };
      const transacted = this.#sql.begin(unlessLost(whole, reject, isLost)).then(() => resolve(), reject);
      transacted.finally(() => ended.resolve(true));
    });
    return abortable(work, signal);
  }
}

/** Whether `event` happens before the time is over. */
async function isSoon(event: Promise<true>, maxMs: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), maxMs);
  try {
    return await Promise.race([event, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Refuses what isn't a client that fits, which every attempt would find out again. */
export function toDriver(client: unknown): PostgresDriver {
  const given = (client ?? {}) as Record<string, unknown>;
  const has = (...methods: string[]): boolean => methods.every((method) => typeof given[method] === "function");
  if (has("begin")) return new PostgresJsDriver(client as PostgresClient<PostgresTransaction>);
  const isPool = has("connect", "query") && typeof given["totalCount"] === "number";
  if (isPool || has("query", "escapeIdentifier", "on")) {
    return new PgDriver(client as PgPool | PgClient);
  }
  const found = has("savepoint")
    ? "a transaction: a sink begins its own"
    : has("query", "execute")
    ? "what looks like a pool or connection of mysql2"
    : has("raw", "transaction") || has("execute", "transaction") || has("$transaction")
    ? "what looks like a query builder; pass the client below it"
    : client === null
    ? "null"
    : typeof client;
  throw new TypeError(
    "Cannot make a PostgreSQL sink: the client must be one of the package postgres, or a Pool or Client of the package pg; " +
      `got ${found}`,
  );
}
