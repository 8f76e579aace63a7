/**
 * A quick way to write rows as JSON, where `JSON.stringify()` is exact: all rows of a delivery at once. It stores exactly what
 * `postgres_rows.ts` stores, or isn't taken: rows must have the same columns, and values that JSON has as they are.
 *
 * The batch's id, which all rows have in common, is sent once if it is in the first column: it is as long as a small record.
 *
 * @module
 */

import { isPlain } from "./exact_json.ts";
import {
  buildColumnSet,
  type ColumnSet,
  MAX_STATEMENT_CHARACTERS,
  MAX_STATEMENT_ROWS,
  type Target,
  type Values,
} from "./postgres_rows.ts";

/** A statement, and its parameters. */
export interface PlainStatement {
  readonly statement: string;
  readonly parameters: string[];
  /** The columns. */
  readonly set: ColumnSet;
}

/** The statement that inserts all rows; `undefined` if they have to be written one by one. */
export function plainStatement(
  rows: readonly Values[],
  batchId: string,
  { into, conflict }: Target,
): PlainStatement | undefined {
  if (rows.length === 0 || rows.length > MAX_STATEMENT_ROWS) return undefined;
  const names = Object.keys(rows[0] ?? {});
  if (names.length === 0 || !rows.every((row) => isPlain(row) && haveNames(row, names))) return undefined;
  let set: ColumnSet;
  try {
    set = buildColumnSet(names, [], { into, conflict });
  } catch {
    // The rows are refused one by one.
    return undefined;
  }
  const columns = set.columns.map(({ name }) => name);
  let json = JSON.stringify(rows);
  const parameters: string[] = [];
  const selected = [...columns];
  const [first, second] = names as [string, string | undefined];
  if (second !== undefined && rows.every((row) => row[first] === batchId && row[second] !== undefined)) {
    const shared = `{${JSON.stringify(first)}:${JSON.stringify(batchId)}`;
    const shorter = json.replaceAll(`${shared},`, "{");
    // Unless a value has such an object in it.
    if (json.length - shorter.length === rows.length * shared.length) {
      json = shorter;
      parameters.push(`${shared}}`);
      selected[0] = `(select (json_populate_record(null::${into}, $2::text::json)).${columns[0]})`;
    }
  }
  if (json.length > MAX_STATEMENT_CHARACTERS) return undefined;
  const statement = `insert into ${into} (${columns.join(", ")}) select ${selected.join(", ")} ` +
    `from json_populate_recordset(null::${into}, $1::text::json) on conflict (${conflict}) do nothing`;
  return { statement, parameters: [json, ...parameters], set };
}

function haveNames(row: Values, names: readonly string[]): boolean {
  const own = Object.keys(row);
  if (own.length !== names.length) return false;
  for (let i = 0; i < names.length; i++) if (own[i] !== names[i]) return false;
  return true;
}
