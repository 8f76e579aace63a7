/**
 * Inserts a delivery into a table, in as few round trips as it takes.
 *
 * 1. Payloads as they are, in one statement that is a transaction of its own: see `postgres_payloads.ts`.
 * 2. If that can't be, rows of columns, in one such statement; all at once, see `postgres_plain_rows.ts`, or value by value.
 * 3. Rows with different columns, or too many for one statement, in one transaction.
 * 4. If rows are refused, the search for those at fault, in another transaction: see `postgres_insert.ts`.
 *
 * Each way inserts what isn't there yet, so it doesn't matter how far the one before came.
 *
 * @module
 */

import type { FailedRecord } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";
import { insertTogether, RowSplitter } from "./postgres_insert.ts";
import { payloadParameters, payloadStatement } from "./postgres_payloads.ts";
import { type PlainStatement, plainStatement } from "./postgres_plain_rows.ts";
import { callRow, type ColumnSet, encodeRows, groupRows, type Row, rowsToJson, type Target } from "./postgres_rows.ts";
import { isAboutColumns, isAboutRows, isAboutType, toDeliveryError } from "./postgres_rules.ts";
import type { PostgresDriver } from "./postgres_statements.ts";
import type { RecordIdentity } from "./record_identity.ts";

/** What became of a delivery. */
export interface InsertOutcome {
  /** Rows that weren't there before. */
  readonly stored: number;
  /** Records that the table never takes. */
  readonly refused: readonly FailedRecord[];
  /** Records for another attempt: positions in the delivery. */
  readonly left: readonly number[];
}

/** Makes a record's row. */
type ToRow<T> = (record: T, identity: RecordIdentity) => Readonly<Record<string, unknown>>;

/** Inserts deliveries into one table. */
export class DeliveryInserter<T> {
  readonly #driver: PostgresDriver;
  readonly #target: Target;
  readonly #row: ToRow<T>;
  /** The statement for payloads; `undefined` if records have rows of their own, or the server has refused it. */
  #payloadStatement: string | undefined;
  /** Columns that the table has taken. */
  #taken: ColumnSet | undefined;

  constructor(driver: PostgresDriver, target: Target, row: ToRow<T> | undefined) {
    this.#driver = driver;
    this.#target = target;
    this.#row = row ?? defaultRow;
    this.#payloadStatement = row === undefined ? payloadStatement(target) : undefined;
  }

  /** Inserts all records but those at fault. Rejects with the signal's reason, or with a `DeliveryError`; nothing is decided then. */
  async insert(delivery: Delivery<T>, signal: AbortSignal): Promise<InsertOutcome> {
    const { length } = delivery;
    const stored = await translated(length, signal, () => this.#insertPayloads(delivery, signal));
    if (stored !== undefined) return { stored, refused: [], left: [] };
    // A payload that doesn't decode is no failure of the server.
    const given = callRow(delivery, this.#row);
    return await translated(length, signal, async () => {
      const plain = this.#driver.run === undefined
        ? undefined
        : plainStatement(given.values, delivery.batchId, this.#target);
      const stored = plain === undefined ? undefined : await this.#insertPlain(plain, signal);
      if (stored !== undefined) return { stored, refused: given.failed, left: [] };
      const { rows, failed } = encodeRows(given, this.#target);
      // What was refused as a whole isn't tried as a whole again.
      const together = plain === undefined ? await this.#insertTogether(rows, signal) : undefined;
      const outcome = together ?? await this.#split(rows, signal);
      const refused = [...failed, ...outcome.refused].sort((a, b) => a.index - b.index);
      return { stored: outcome.stored, refused, left: outcome.left };
    });
  }

  /** How many of the payloads were stored; `undefined` if they can't be inserted as they are. */
  async #insertPayloads(delivery: Delivery<T>, signal: AbortSignal): Promise<number | undefined> {
    const statement = this.#driver.run === undefined ? undefined : this.#payloadStatement;
    const parameters = statement === undefined ? undefined : payloadParameters(delivery);
    if (parameters === undefined) return undefined;
    try {
      return await this.#driver.run!(statement!, parameters, signal);
    } catch (error) {
      if (!isAboutRows(error) && !isAboutColumns(error)) throw error;
      if (isAboutColumns(error) && isAboutType(error)) this.#payloadStatement = undefined;
      return undefined;
    }
  }

  /** How many rows were stored; `undefined` if some of them are refused. */
  async #insertPlain({ statement, parameters, set }: PlainStatement, signal: AbortSignal): Promise<number | undefined> {
    try {
      const stored = await this.#driver.run!(statement, parameters, signal);
      this.#taken = set;
      return stored;
    } catch (error) {
      if (!isAboutRows(error) && !isAboutColumns(error)) throw error;
      return undefined;
    }
  }

  /** Inserts all rows; `undefined` if some of them are refused. */
  async #insertTogether(rows: readonly Row[], signal: AbortSignal): Promise<InsertOutcome | undefined> {
    const [first, ...others] = groupRows(rows);
    if (first === undefined) return { stored: 0, refused: [], left: [] };
    let stored = 0;
    try {
      if (others.length === 0 && this.#driver.run !== undefined) {
        stored = await this.#driver.run(first.set.statement, [rowsToJson(first.set.columns, rows)], signal);
      } else {
        await this.#driver.transact(async (transaction) => {
          stored = await insertTogether(transaction, rows);
        }, signal);
      }
    } catch (error) {
      if (!isAboutRows(error) && !isAboutColumns(error)) throw error;
      return undefined;
    }
    this.#taken = rows.at(-1)!.set;
    return { stored, refused: [], left: [] };
  }

  /** Inserts all rows but those at fault. */
  async #split(rows: readonly Row[], signal: AbortSignal): Promise<InsertOutcome> {
    let splitter: RowSplitter | undefined;
    await this.#driver.transact(async (transaction) => {
      splitter = new RowSplitter(transaction, this.#target.into, this.#taken);
      await splitter.insert(rows);
    }, signal);
    this.#taken = splitter!.taken;
    return splitter!;
  }
}

/** Runs `work`, and makes a `DeliveryError` of what it rejects with, unless that is the signal's reason. */
async function translated<R>(length: number, signal: AbortSignal, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    throw signal.aborted ? error : toDeliveryError(error, { length });
  }
}

function defaultRow(record: unknown, { batchId, sequence }: RecordIdentity): Record<string, unknown> {
  return { batch_id: batchId, sequence, record };
}
