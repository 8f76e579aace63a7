/**
 * The sinks' way to use the package `pg`: a pool, or a single client.
 *
 * - A connection whose statement was aborted, or that is broken, isn't given back to its pool: it is ended, and the next attempt
 *   has another one. So a connection that is silently dead costs one attempt.
 * - A single client is used by one transaction at a time, also by several sinks. It can't connect again: once its connection is
 *   lost, it is gone for good.
 * - A connection on which somebody has left a transaction open isn't used: what is inserted there may never be committed.
 * - A `COMMIT` that the server answers with `ROLLBACK`, because a statement has failed that nobody looked at, is a failure.
 *
 * @module
 */

import { abortable, runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { PgClient, PgPool, PgPoolClient, PostgresRows, PostgresTransaction } from "./postgres_client.ts";
import { isAboutConnection } from "./postgres_rules.ts";
import { type PostgresDriver, PreparedStatements } from "./postgres_statements.ts";

/** The work on each single client, of all sinks that have it. */
const queues = new WeakMap<PgClient, SerialQueue>();
/** What a client says whose connection is lost, or that its owner has closed. */
const IS_GONE = /is not queryable$/;
/** An error of the connection comes with its statement, too. */
const ignore = (): void => {};

/** A pool or a client of `pg`. */
export class PgDriver implements PostgresDriver {
  readonly #client: PgPool | PgClient;
  readonly #statements = new PreparedStatements();

  constructor(client: PgPool | PgClient) {
    this.#client = client;
  }

  run(text: string, values: string[], signal: AbortSignal): Promise<number> {
    return this.#use(signal, (connection) =>
      this.#statements.run(text, async (name) => {
        signal.throwIfAborted();
        const { rowCount } = await connection.query(name === undefined ? { text, values } : { name, text, values });
        return rowCount ?? 0;
      }));
  }

  transact(body: Parameters<PostgresDriver["transact"]>[0], signal: AbortSignal): Promise<void> {
    return this.#use(signal, async (connection) => {
      await connection.query({ text: "begin", values: [] });
      try {
        await body(new PgTransaction(connection, signal), connection);
        signal.throwIfAborted();
      } catch (error) {
        // Whatever the error is: it may be about something else that the body has asked. If that fails, the connection is gone, and
        // the transaction with it.
        await connection.query({ text: "rollback", values: [] }).catch(ignore);
        throw error;
      }
      const { command } = await connection.query({ text: "commit", values: [] });
      if (command !== "COMMIT") {
        throw new DeliveryError({ reason: "the server rolled the transaction back, because a statement in it failed" });
      }
    });
  }

  #use<R>(signal: AbortSignal, work: (connection: PgClient) => Promise<R>): Promise<R> {
    const client = this.#client;
    return "totalCount" in client ? usePool(client, work, signal) : useClient(client, work, signal);
  }
}

async function usePool<R>(
  pool: PgPool,
  work: (connection: PgClient) => Promise<R>,
  signal: AbortSignal,
): Promise<R> {
  signal.throwIfAborted();
  const connecting = new Promise<PgPoolClient>((resolve, reject) => {
    // By callback: the server may end the connection in the same chunk of bytes that makes it ready.
    pool.connect((error, connection) => {
      if (connection === undefined) return reject(error);
      connection.on("error", ignore);
      resolve(connection);
    });
  });
  const connection = await abortable(connecting, signal).catch((error) => {
    if (signal.aborted) connecting.then((late) => giveBack(late, true), ignore);
    throw error;
  });
  try {
    checkIdle(connection);
    const result = await abortable(work(connection), signal);
    giveBack(connection, true);
    return result;
  } catch (error) {
    giveBack(connection, !signal.aborted && !isAboutConnection(error) && isIdle(connection));
    throw error;
  }
}

function isIdle(connection: PgClient): boolean {
  return (connection.getTransactionStatus?.() ?? "I") === "I";
}

function checkIdle(connection: PgClient): void {
  if (isIdle(connection)) return;
  const reason = "somebody has left a transaction open on the connection";
  throw new DeliveryError({ reason, scope: "target", retryable: true });
}

function giveBack(connection: PgPoolClient, isSound: boolean): void {
  if (isSound) connection.removeListener("error", ignore);
  connection.release(!isSound);
}

function useClient<R>(
  client: PgClient,
  work: (connection: PgClient) => Promise<R>,
  signal: AbortSignal,
): Promise<R> {
  let queue = queues.get(client);
  if (queue === undefined) queues.set(client, queue = new SerialQueue());
  const listened = async (): Promise<R> => {
    client.on("error", ignore);
    try {
      checkIdle(client);
      return await work(client);
    } catch (error) {
      const { message } = error as { message?: unknown };
      if (typeof message !== "string" || !IS_GONE.test(message)) throw error;
      const reason = `${message}; a Pool would connect again`;
      throw new DeliveryError({ reason, scope: "target", final: true }, { cause: error });
    } finally {
      client.removeListener("error", ignore);
    }
  };
  return runExclusive(queue, listened, signal);
}

/** A transaction of `pg`, used like one of `postgres`. */
class PgTransaction implements PostgresTransaction {
  readonly #connection: PgClient;
  readonly #signal: AbortSignal;
  #savepoints = 0;

  constructor(connection: PgClient, signal: AbortSignal) {
    this.#connection = connection;
    this.#signal = signal;
  }

  async unsafe(text: string, values: string[]): Promise<PostgresRows> {
    this.#signal.throwIfAborted();
    const { rows, rowCount } = await this.#connection.query({ text, values });
    return Object.assign([...rows], { count: rowCount ?? 0 });
  }

  async savepoint(body: (transaction: PostgresTransaction) => Promise<void>): Promise<void> {
    const name = `sluice_${this.#savepoints++}`;
    await this.unsafe(`savepoint ${name}`, []);
    try {
      await body(this);
    } catch (error) {
      await this.unsafe(`rollback to ${name}`, []);
      throw error;
    }
  }
}
