/**
 * Inserts rows when some of them are refused: finds those, and inserts all others.
 *
 * Each try is a savepoint. Refused rows are split in half until each row at fault is alone. Two things bound that:
 *
 * - An error that depends on the statement alone (a column that isn't there, a column that may not be written) is the same for all
 *   rows with those columns, which are refused together. One that depends on nothing in the row (a missing table) ends it all.
 * - An error that may be the table's as well as the row's is the row's only if rows with other columns are taken at the same time.
 * - After {@linkcode MAX_TRIES} or {@linkcode MAX_SEARCH_MS} the rest is left for another attempt. So an attempt ends in time, however
 *   many rows are at fault and however distant the server is, and each one decides on some rows.
 *
 * @module
 */

import type { FailedRecord } from "../errors/mod.ts";
import type { PostgresTransaction } from "./postgres_client.ts";
import {
  isAboutColumns,
  isAboutRows,
  isAboutType,
  isDoubtful,
  isRefusal,
  type ServerError,
  unlessLost,
} from "./postgres_rules.ts";
import { type ColumnSet, groupRows, type Row, rowsToJson } from "./postgres_rows.ts";

/** Savepoints of one attempt, each with up to three answers to wait for: half a second on a near server. */
const MAX_TRIES = 500;
/** How long an attempt searches a distant server, once it has found something: much less than it may take as a whole. */
const MAX_SEARCH_MS = 5_000;

/** Inserts all rows of one delivery, or fails. Returns how many of them were new. */
export async function insertTogether(transaction: PostgresTransaction, rows: readonly Row[]): Promise<number> {
  let stored = 0;
  for (const group of groupRows(rows)) stored += await insertGroup(transaction, group.set, group.rows);
  return stored;
}

/** Inserts rows of one delivery, except those at fault. */
export class RowSplitter {
  /** Rows that were inserted, and weren't there before. */
  stored = 0;
  /** The rows at fault. */
  readonly refused: FailedRecord[] = [];
  /** Rows for another attempt: positions in the delivery. */
  readonly left: number[] = [];
  /** Columns that the table takes: of rows in this delivery, or else of an earlier one. */
  taken: ColumnSet | undefined;
  readonly #transaction: PostgresTransaction;
  readonly #into: string;
  /** Columns that are refused whatever their values are, by statement, and why. */
  readonly #refusedSets = new Map<string, string>();
  #hasTaken = false;
  /** An error that is a row's only if the table takes others. */
  #doubt: ServerError | undefined;
  #tries = 0;
  readonly #now: () => number;
  readonly #beganAt: number;

  /** `taken` are columns that the table took before, if there are such. */
  constructor(
    transaction: PostgresTransaction,
    into: string,
    taken: ColumnSet | undefined,
    now: () => number = () => performance.now(),
  ) {
    this.#transaction = transaction;
    this.#into = into;
    this.taken = taken;
    this.#now = now;
    this.#beganAt = now();
  }

  /** Inserts rows. Rejects for an error that no row has caused; nothing is decided then. */
  async insert(rows: readonly Row[]): Promise<void> {
    // Otherwise a constraint may fail at the commit, when the row can't be identified any more.
    await this.#transaction.unsafe("set constraints all immediate", []);
    for (const group of groupRows(rows)) await this.#split(group.set, group.rows);
    const doubt = this.#doubt;
    if (doubt !== undefined && !(await this.#takesOthers(isAboutRows(doubt)))) throw doubt;
  }

  /** Whether the table takes rows as it did; `inFact` if some of this delivery are needed to show it. */
  async #takesOthers(inFact: boolean): Promise<boolean> {
    const taken = this.taken;
    if (taken === undefined || this.#refusedSets.has(taken.statement) || (inFact && !this.#hasTaken)) return false;
    return await this.#try((transaction) => insertGroup(transaction, taken, [])) === undefined;
  }

  async #split(set: ColumnSet, rows: readonly Row[]): Promise<void> {
    const known = this.#refusedSets.get(set.statement);
    if (known !== undefined) return this.#refuse(rows, known);
    // A row that is left alone would count as too large for the target.
    if (this.#isOver() && (rows.length > 1 || this.left.length > 0)) {
      this.left.push(...rows.map(({ index }) => index));
      return;
    }
    let stored = 0;
    const error = await this.#try(async (transaction) => {
      stored = await insertGroup(transaction, set, rows);
    });
    if (error === undefined) {
      this.stored += stored;
      this.taken = set;
      this.#hasTaken = true;
      return;
    }
    const isOfValue = isAboutType(error) && set.columns.some(({ what }) => what !== undefined);
    if (isDoubtful(error) && !isOfValue && !isAboutRows(this.#doubt)) this.#doubt = error;
    if (!isAboutRows(error)) {
      if (!isAboutColumns(error)) throw error;
      const reason = await this.#explain(rows[0]!, error);
      this.#refusedSets.set(set.statement, reason);
      return this.#refuse(rows, reason);
    }
    if (rows.length === 1) return this.#refuse(rows, await this.#explain(rows[0]!, error));
    const half = Math.ceil(rows.length / 2);
    await this.#split(set, rows.slice(0, half));
    await this.#split(set, rows.slice(half));
  }

  #isOver(): boolean {
    const hasFound = this.#hasTaken || this.refused.length > 0;
    return this.#tries >= MAX_TRIES || (hasFound && this.#now() - this.#beganAt > MAX_SEARCH_MS);
  }

  #refuse(rows: readonly Row[], reason: string): void {
    this.refused.push(...rows.map(({ index }) => ({ index, retryable: false, reason })));
  }

  /** Runs `body` in a savepoint. Returns the refusal that rolled it back; rejects for any other error. */
  async #try(body: (transaction: PostgresTransaction) => Promise<unknown>): Promise<ServerError | undefined> {
    this.#tries++;
    try {
      await new Promise<void>((resolve, reject) => {
        const whole = async (transaction: PostgresTransaction): Promise<void> => void await body(transaction);
        this.#transaction.savepoint(unlessLost(whole, reject)).then(() => resolve(), reject);
      });
      return undefined;
    } catch (error) {
      if (isRefusal(error)) return error;
      throw error;
    }
  }

  /** The reason for a refusal. The server doesn't name the column whose value or type is wrong: each is tried alone. */
  async #explain({ set, fields }: Row, error: ServerError): Promise<string> {
    if (isAboutType(error)) {
      for (const [i, column] of set.columns.entries()) {
        const { name, selected, what } = column;
        const probe = `select ${selected} from json_populate_recordset(null::${this.#into}, $1::text::json)`;
        const parameters = [rowsToJson([column], [{ fields: [fields[i]!] }])];
        const found = await this.#try((transaction) => Promise.resolve(transaction.unsafe(probe, parameters)));
        if (found?.code !== error.code) continue;
        return `column ${name}${what === undefined ? "" : ` can't hold ${what}`}: ${found.message}`;
      }
    }
    return error.message;
  }
}

async function insertGroup(
  transaction: PostgresTransaction,
  set: ColumnSet,
  rows: readonly Row[],
): Promise<number> {
  return (await transaction.unsafe(set.statement, [rowsToJson(set.columns, rows)])).count;
}
