/**
 * Rows for PostgreSQL: a record's columns as JSON, and the statements that insert many of them.
 *
 * Rows travel as JSON, in one parameter per statement, and `json_populate_recordset` turns them into rows of the table's own types
 * (https://www.postgresql.org/docs/current/functions-json.html). So the limit on the number of parameters (65,535) doesn't
 * apply, and the statement's text stays the same, so it is prepared once.
 *
 * Guarantees: a value is stored as what it is, or its record is refused with the column and the reason.
 *
 * - JSON has no NaN, no infinities and no bytes. They travel as text, and the statement states their type: the server refuses them
 *   in a column of another kind, such as `jsonb`, instead of storing the text.
 * - A `Date` outside the years 1 to 9999 is written as PostgreSQL writes it, and likewise refused in a column that isn't a time.
 * - All else as `exact_json.ts` says.
 *
 * @module
 */

import type { FailedRecord } from "../errors/mod.ts";
import type { Delivery } from "../producer/delivery.ts";
import { describeKind, exactJson, kindOf, numberJson } from "./exact_json.ts";
import { quoteColumn } from "./postgres_rules.ts";
import type { RecordIdentity } from "./record_identity.ts";

/** The most rows in one statement. */
export const MAX_STATEMENT_ROWS = 5_000;
/** The most JSON in one statement, unless it is a single row; the server's limit is 1 GB. */
export const MAX_STATEMENT_CHARACTERS = 4 * 2 ** 20;

/** A column of a statement. */
interface Column {
  /** Its name, quoted. */
  readonly name: string;
  /** Its name as JSON, and a colon. */
  readonly label: string;
  /** The expression that selects its value. */
  readonly selected: string;
  /** What it holds, for messages, if its type is stated. */
  readonly what: string | undefined;
}

/** The columns that rows have in common, and with them the text of their statement. */
export interface ColumnSet {
  readonly columns: readonly Column[];
  readonly statement: string;
}

/** A record's row. */
export interface Row {
  /** The record's position in the delivery. */
  readonly index: number;
  readonly set: ColumnSet;
  /** The value of each column, as JSON. */
  readonly fields: readonly string[];
}

/** Rows for one statement. */
export interface RowGroup {
  readonly set: ColumnSet;
  readonly rows: readonly Row[];
}

/** A table to insert into, and the columns of its unique key, quoted. */
export interface Target {
  readonly into: string;
  readonly conflict: string;
}

/** A record's values, by column. */
export type Values = Readonly<Record<string, unknown>>;

/** What a delivery's records are as rows. */
export interface GivenRows {
  /** The values of each record that has some, and the record's position in the delivery. */
  readonly values: Values[];
  readonly indexes: number[];
  /** Records that have none. */
  readonly failed: FailedRecord[];
}

/** Calls `row` for the records of a delivery, and lists those that it refuses. */
export function callRow<T>(
  delivery: Delivery<T>,
  row: (record: T, identity: RecordIdentity) => Values,
): GivenRows {
  const given: GivenRows = { values: [], indexes: [], failed: [] };
  // Outside of the loop: a payload that doesn't decode is none of a row's faults.
  const { records } = delivery;
  for (let index = 0; index < delivery.length; index++) {
    try {
      given.values.push(row(records[index]!, { batchId: delivery.batchId, sequence: delivery.sequences[index]! }));
      given.indexes.push(index);
    } catch (error) {
      given.failed.push({ index, retryable: false, reason: String(error) });
    }
  }
  return given;
}

/** Encodes rows, and lists those that can't be encoded beside the others. */
export function encodeRows({ values, indexes, failed }: GivenRows, target: Target): {
  rows: readonly Row[];
  failed: readonly FailedRecord[];
} {
  const sets = new Map<string, ColumnSet>();
  const rows: Row[] = [];
  const unfit: FailedRecord[] = [...failed];
  for (const [i, index] of indexes.entries()) {
    try {
      rows.push(encodeRow(index, values[i]!, sets, target));
    } catch (error) {
      unfit.push({ index, retryable: false, reason: String(error) });
    }
  }
  return { rows, failed: unfit };
}

/** Divides rows among statements of bounded size, in order. Rows with other columns start a new one. */
export function* groupRows(rows: readonly Row[]): Generator<RowGroup> {
  for (let from = 0, to = 0; from < rows.length; from = to) {
    const { set } = rows[from]!;
    let characters = 0;
    while (to < rows.length && to - from < MAX_STATEMENT_ROWS && rows[to]!.set === set) {
      const length = rows[to]!.fields.reduce((sum, field) => sum + field.length, 0);
      if (to > from && characters + length > MAX_STATEMENT_CHARACTERS) break;
      characters += length;
      to++;
    }
    yield { set, rows: rows.slice(from, to) };
  }
}

/** The parameter of a statement: values in order of the columns. */
export function rowsToJson(columns: readonly Column[], rows: readonly Pick<Row, "fields">[]): string {
  if (rows.length === 0) return "[]";
  let json = "";
  for (const { fields } of rows) {
    json += json === "" ? "[{" : "},{";
    for (let i = 0; i < fields.length; i++) json += `${i === 0 ? "" : ","}${columns[i]!.label}${fields[i]!}`;
  }
  return `${json}}]`;
}

function encodeRow(
  index: number,
  values: Values,
  sets: Map<string, ColumnSet>,
  target: Target,
): Row {
  const entries = Object.entries(values);
  if (entries.length === 0) throw new TypeError("a row needs a column");
  const fields: string[] = [];
  const types: (StatedType | undefined)[] = [];
  let key = "";
  for (const [name, value] of entries) {
    const { json, type } = encodeColumn(name, value);
    fields.push(json);
    types.push(type);
    // A NUL in a name is refused when the set is made.
    key += `${name}\0${type?.name ?? ""}\0`;
  }
  let set = sets.get(key);
  if (set === undefined) sets.set(key, set = buildColumnSet(entries.map(([name]) => name), types, target));
  return { index, set, fields };
}

/** The statement for rows with these columns, in this order. A type is stated where a value has to be of it. */
export function buildColumnSet(
  names: readonly string[],
  types: readonly (StatedType | undefined)[],
  { into, conflict }: Target,
): ColumnSet {
  const columns = names.map((given, i): Column => {
    const name = quoteColumn("row", given);
    const type = types[i];
    // Never true: it makes the server compare the two types, and refuse those that have none in common.
    const selected = type === undefined ? name : `case when false then null::${type.name} else ${name} end`;
    return { name, label: `${JSON.stringify(given)}:`, selected, what: type?.what };
  });
  const statement = `insert into ${into} (${columns.map(({ name }) => name).join(", ")}) ` +
    `select ${columns.map(({ selected }) => selected).join(", ")} ` +
    `from json_populate_recordset(null::${into}, $1::text::json) on conflict (${conflict}) do nothing`;
  return { columns, statement };
}

/** A type of PostgreSQL that a column must have, or a common one with it. */
interface StatedType {
  readonly name: string;
  /** What the value is, for messages. */
  readonly what: string;
}

const FLOAT: StatedType = { name: "float8", what: "NaN or an infinity" };
const BYTES: StatedType = { name: "bytea", what: "bytes" };
const TIME: StatedType = { name: "timestamptz", what: "a date outside the years 1 to 9999" };

function encodeColumn(name: string, value: unknown): { readonly json: string; readonly type?: StatedType } {
  try {
    return encodeValue(value);
  } catch (error) {
    throw new TypeError(`column ${JSON.stringify(name)}: ${error instanceof Error ? error.message : error}`);
  }
}

function encodeValue(value: unknown): { readonly json: string; readonly type?: StatedType } {
  if (value === undefined) return { json: "null" };
  if (typeof value === "number") {
    return Number.isFinite(value) ? { json: numberJson(value) } : { json: `"${value}"`, type: FLOAT };
  }
  if (typeof value !== "object" || value === null) return { json: exactJson(value) };
  const bytes = toBytes(value);
  if (bytes !== undefined) return { json: `"\\\\x${toHex(bytes)}"`, type: BYTES };
  if (kindOf(value) === "Date") return encodeDate(new Date(Number(value)));
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === "function" ? encodeValue(toJSON.call(value, "")) : { json: exactJson(value) };
}

function encodeDate(date: Date): { readonly json: string; readonly type?: StatedType } {
  if (Number.isNaN(date.getTime())) return { json: exactJson(date) };
  const year = date.getUTCFullYear();
  const iso = date.toISOString();
  if (year >= 1 && year <= 9_999) return { json: `"${iso}"` };
  const era = year < 1 ? " BC" : "";
  // There is no year 0: 1 BC comes before 1 AD.
  const digits = String(year < 1 ? 1 - year : year).padStart(4, "0");
  return { json: `"${digits}${iso.slice(iso.indexOf("-", 1))}${era}"`, type: TIME };
}

/** The bytes of a value that is bytes. An array of wider numbers is neither bytes nor JSON. */
function toBytes(value: object): Uint8Array | undefined {
  switch (kindOf(value)) {
    case "ArrayBuffer":
    case "SharedArrayBuffer":
      return new Uint8Array(value as ArrayBuffer);
    case "Uint8Array":
    case "Uint8ClampedArray":
    case "DataView": {
      const { buffer, byteOffset, byteLength } = value as DataView;
      return new Uint8Array(buffer, byteOffset, byteLength);
    }
    default:
      if (ArrayBuffer.isView(value)) {
        throw new TypeError(`it can't hold ${describeKind(value)}; pass bytes or an array`);
      }
      return undefined;
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
