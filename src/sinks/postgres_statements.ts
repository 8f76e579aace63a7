/**
 * What a sink of PostgreSQL does with a client, whichever it is; and which statements are prepared.
 *
 * A pooler may give each transaction another connection of the server's, which doesn't know what was prepared on the one before. Then
 * nothing is prepared any more, and the statement is run again at once: the server had not begun it.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { PostgresTransaction } from "./postgres_client.ts";
import { isAboutPrepared } from "./postgres_rules.ts";

/** A client's ways to run statements. */
export interface PostgresDriver {
  /** Runs a statement that commits by itself, and returns how many rows it affected. Not every client can. */
  readonly run?: ((statement: string, parameters: string[], signal: AbortSignal) => Promise<number>) | undefined;
  /**
   * Runs `body` in a transaction. Rejects when the signal aborts. `own` is what the client itself calls a transaction. A body of the
   * user's may fail because of something else than this connection.
   */
  transact(
    body: (transaction: PostgresTransaction, own: unknown) => Promise<void>,
    signal: AbortSignal,
    isOfUser?: boolean,
  ): Promise<void>;
}

/** The most statements that are prepared on each connection: rows with ever other columns would fill the server's memory. */
const MAX_PREPARED = 50;

/** Which statements are prepared, and under which names. */
export class PreparedStatements {
  readonly #names = new Map<string, string>();
  #areUsable = true;

  /** Calls `run` with the name that the statement is prepared under, and again without one where that doesn't work. */
  async run(statement: string, run: (name: string | undefined) => PromiseLike<number>): Promise<number> {
    const name = this.#nameOf(statement);
    try {
      return await run(name);
    } catch (error) {
      if (name === undefined || !isAboutPrepared(error)) throw error;
      this.#areUsable = false;
      return await run(undefined);
    }
  }

  #nameOf(statement: string): string | undefined {
    if (!this.#areUsable) return undefined;
    let name = this.#names.get(statement);
    if (name === undefined && this.#names.size < MAX_PREPARED) {
      // `pg` refuses one name for two statements, also where two sinks share a connection.
      name = `sluice_${createHash("sha256").update(statement).digest("hex").slice(0, 32)}`;
      this.#names.set(statement, name);
    }
    return name;
  }
}
