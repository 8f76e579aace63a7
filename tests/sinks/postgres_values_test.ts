/**
 * What `postgresSink()` stores is what the row had, on a real server: for each kind of value and each type of column either the
 * value itself, read back, or a refusal with the column and the reason. Never another value.
 */

import { Buffer } from "node:buffer";
import { inspect } from "node:util";
import { assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { type Delivery, DeliveryError } from "../../mod.ts";
import { bytesCodec } from "../../src/base/codec.ts";
import { postgresSink } from "../../src/sinks/postgres.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { batchOf, refusalOf, send, testWithServer, withSql } from "./tools.ts";

/** The columns, by the name that the cases use. */
const TYPES = {
  int: "int",
  big: "bigint",
  float: "float8",
  real: "float4",
  numeric: "numeric",
  text: "text",
  json: "json",
  jsonb: "jsonb",
  bytes: "bytea",
  time: "timestamptz",
  plain: "timestamp",
  day: "date",
  list: "int[]",
  flag: "boolean",
} as const;
type ColumnName = keyof typeof TYPES;

/** A value, and for each column the text of what is stored; in all columns that aren't named it is refused. */
interface Case {
  readonly value: unknown;
  readonly stored: Partial<Record<ColumnName, string>>;
}

const numbers = (text: string): Partial<Record<ColumnName, string>> => ({ float: text, real: text, numeric: text });
const whole = (text: string): Partial<Record<ColumnName, string>> => ({
  big: text,
  numeric: text,
  text,
  json: text,
  jsonb: text,
});
const nothing = {};
const bytes = { bytes: "\\x0080ff" };
/** An object of a program's own class. */
class Point {
  readonly x = 1;
  readonly y = undefined;
}

const CASES: readonly Case[] = [
  { value: NaN, stored: numbers("NaN") },
  { value: Infinity, stored: numbers("Infinity") },
  { value: -Infinity, stored: numbers("-Infinity") },
  // What has no negative zero stores the zero.
  {
    value: -0,
    stored: {
      int: "0",
      big: "0",
      float: "-0",
      real: "-0",
      numeric: "0",
      text: "-0",
      json: "-0",
      jsonb: "0",
    },
  },
  {
    value: 2 ** 60,
    stored: { ...whole("1152921504606846976"), float: "1.152921504606847e+18", real: "1.1529215e+18" },
  },
  {
    value: 2n ** 62n,
    stored: { ...whole("4611686018427387904"), float: "4.611686018427388e+18", real: "4.611686e+18" },
  },
  {
    value: 2n ** 70n,
    stored: {
      numeric: "1180591620717411303424",
      text: "1180591620717411303424",
      json: "1180591620717411303424",
      jsonb: "1180591620717411303424",
      float: "1.1805916207174113e+21",
      real: "1.1805916e+21",
    },
  },
  { value: new Date(NaN), stored: nothing },
  {
    value: new Date("2026-01-02T03:04:05.678Z"),
    stored: {
      time: "2026-01-02 03:04:05.678+00",
      plain: "2026-01-02 03:04:05.678",
      day: "2026-01-02",
      text: "2026-01-02T03:04:05.678Z",
      json: '"2026-01-02T03:04:05.678Z"',
      jsonb: '"2026-01-02T03:04:05.678Z"',
    },
  },
  {
    value: new Date("+012345-01-02T03:04:05.678Z"),
    stored: {
      time: "12345-01-02 03:04:05.678+00",
      plain: "12345-01-02 03:04:05.678",
      day: "12345-01-02",
    },
  },
  {
    value: new Date("-000043-03-15T00:00:00.000Z"),
    stored: {
      time: "0044-03-15 00:00:00+00 BC",
      plain: "0044-03-15 00:00:00 BC",
      day: "0044-03-15 BC",
    },
  },
  {
    value: new Date("0000-12-31T00:00:00.000Z"),
    stored: {
      time: "0001-12-31 00:00:00+00 BC",
      plain: "0001-12-31 00:00:00 BC",
      day: "0001-12-31 BC",
    },
  },
  {
    value: new Date(8.64e15),
    stored: { time: "275760-09-13 00:00:00+00", plain: "275760-09-13 00:00:00", day: "275760-09-13" },
  },
  { value: new Date(-8.64e15), stored: nothing },
  { value: new Uint8Array([0, 128, 255]), stored: bytes },
  { value: new Uint8ClampedArray([0, 128, 255]), stored: bytes },
  { value: Buffer.from([0, 128, 255]), stored: bytes },
  { value: new Uint8Array([9, 0, 128, 255, 9]).subarray(1, 4), stored: bytes },
  { value: new Uint8Array([0, 128, 255]).buffer, stored: bytes },
  { value: new DataView(new Uint8Array([9, 0, 128, 255]).buffer, 1), stored: bytes },
  { value: new SharedArrayBuffer(2), stored: { bytes: "\\x0000" } },
  { value: new Int8Array(2), stored: nothing },
  { value: new Float64Array(2), stored: nothing },
  { value: new BigInt64Array(2), stored: nothing },
  { value: new Map([[1, 2]]), stored: nothing },
  { value: new Set([1]), stored: nothing },
  { value: new WeakMap(), stored: nothing },
  { value: new Error("lost"), stored: nothing },
  { value: /lost/, stored: nothing },
  { value: new URLSearchParams("a=1"), stored: nothing },
  { value: Promise.resolve(1), stored: nothing },
  { value: () => 1, stored: nothing },
  { value: Symbol("lost"), stored: nothing },
  { value: "nul \0", stored: nothing },
  { value: "\udc00 half", stored: nothing },
  { value: { deep: [{ a: NaN }] }, stored: nothing },
  { value: { deep: -Infinity }, stored: nothing },
  { value: [new Date(NaN)], stored: nothing },
  { value: { at: new Uint8Array(1) }, stored: nothing },
  { value: { at: Buffer.from("x") }, stored: nothing },
  { value: { at: new Map() }, stored: nothing },
  { value: { at: () => 1 }, stored: nothing },
  { value: { at: "\ud800" }, stored: nothing },
  { value: { "\0": 1 }, stored: nothing },
  { value: [1, undefined], stored: nothing },
  { value: new Array(1), stored: nothing },
  {
    value: { n: 2n ** 62n, z: -0, b: 2 ** 60, u: undefined },
    stored: {
      text: '{"n":4611686018427387904,"z":-0,"b":1152921504606846976}',
      json: '{"n":4611686018427387904,"z":-0,"b":1152921504606846976}',
      jsonb: '{"b": 1152921504606846976, "n": 4611686018427387904, "z": 0}',
    },
  },
  { value: new Point(), stored: { text: '{"x":1}', json: '{"x":1}', jsonb: '{"x": 1}' } },
  {
    value: [1, 2, null],
    stored: { list: "{1,2,NULL}", text: "[1,2,null]", json: "[1,2,null]", jsonb: "[1, 2, null]" },
  },
  { value: { toJSON: () => NaN }, stored: numbers("NaN") },
  { value: { toJSON: () => ({ a: 1 }) }, stored: { text: '{"a":1}', json: '{"a":1}', jsonb: '{"a": 1}' } },
  {
    value: new Number(5.5),
    stored: { float: "5.5", real: "5.5", numeric: "5.5", text: "5.5", json: "5.5", jsonb: "5.5" },
  },
];

testWithServer(
  "postgres",
  "postgresSink() stores each value as what it is, or refuses it with column and reason",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      const columns = Object.entries(TYPES).map(([name, type]) => `"${name}" ${type}`).join(", ");
      await sql.unsafe(
        `create table kinds (batch_id text, sequence bigint, ${columns}, primary key (batch_id, sequence))`,
      );
      await sql.unsafe(`alter role postgres set timezone to 'UTC'`);
    });
    await withSql(port, async (sql) => {
      for (const column of Object.keys(TYPES) as ColumnName[]) {
        // What the text of other values is as bytes is PostgreSQL's business.
        const cases = CASES.filter(({ stored }) => column !== "bytes" || stored === nothing || column in stored);
        const sink = postgresSink<number>(sql, {
          table: "kinds",
          row: (n, { batchId, sequence }) => ({ batch_id: batchId, sequence, [column]: cases[n - 1]!.value }),
        });
        const { failed } = await refusalOf(sink, batchOf([1, cases.length], (n) => n));
        const rows = await sql.unsafe(`select sequence, "${column}"::text as text from kinds order by sequence`);
        await sql`delete from kinds`;
        for (const [index, { value, stored }] of cases.entries()) {
          const refused = failed?.find((one) => one.index === index);
          const text = rows.find(({ sequence }) => Number(sequence) === index + 1)?.["text"];
          const label = `${inspect(value)} in ${column}: ${refused?.reason}`;
          assertEquals(text, stored[column], label);
          if (stored[column] !== undefined) continue;
          assertEquals(refused?.retryable, false, label);
          assertStringIncludes(refused!.reason, `column "${column}"`, label);
        }
        assertEquals(rows.length + failed!.length, cases.length);
      }
    });
  },
);

testWithServer(
  "postgres",
  "postgresSink() says where in a value there is what JSON doesn't have",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table plain (batch_id text, sequence bigint, record jsonb, primary key (batch_id, sequence))`;
      const raw = await refusalOf(
        postgresSink<unknown>(sql, { table: "plain" }),
        deliveryOf<unknown>([new Uint8Array(2)], { codec: bytesCodec() as never }),
      );
      assertStringIncludes(raw.failed![0]!.reason, `column "record" can't hold bytes`);
      const cycle: Record<string, unknown> = {};
      cycle["self"] = cycle;
      const values = [{ a: [1, { b: NaN }] }, cycle, { fine: true }, { m: new Map() }];
      const sink = postgresSink<number>(sql, {
        table: "plain",
        row: (n, { batchId, sequence }) => ({ batch_id: batchId, sequence, record: values[n - 1] }),
      });
      const { failed } = await refusalOf(sink, batchOf([1, 4], (n) => n));
      assertEquals(failed?.map(({ index }) => index), [0, 1, 3]);
      for (const { reason } of failed!) assertStringIncludes(reason, `column "record"`);
      assertStringIncludes(failed![0]!.reason, "it can't hold NaN (at .a[1].b)");
      assertStringIncludes(failed![2]!.reason, "it can't hold a value of type Map (at .m)");
      assertEquals((await sql`select record from plain`).map(({ record }) => record), [{ fine: true }]);
    });
  },
);

/** Records that were put: as values, or as the text of a payload. */
const RECORDS: readonly string[] = [
  // Four at a time: these take the short way wherever the column allows it.
  ...[null, true, "plain", 0.1].map((record) => JSON.stringify(record)),
  ...[{ a: 1, b: [] }, ["ü", "\u{1f600}", "line\nbreak", "\u2028"], { "": { batch_id: "no", sequence: -1 } }, ""]
    .map((record) => JSON.stringify(record)),
  ...['{"a":1,"a":2}', ' { "a" : [ 1 , 2 ] } ', "1.5e-7", '"with \\"quotes\\" [1,1234567890123456789]"'],
  // These don't, or not with others.
  ...[0, 0.30000000000000004, 2 ** 53 - 1, 2 ** 53, 2 ** 60, 1e21, 1e300, -(2 ** 70)].map((record) =>
    JSON.stringify(record)
  ),
  ...["a nul \0 in it", { "key \0": 1 }, { deep: [{ ns: 1_767_225_600_123_456_789 }, 1.25] }].map((record) =>
    JSON.stringify(record)
  ),
  ...['"half \\ud800 of a pair"', "12345678901234567890", "1e400", "-0", '{"n":-1E+400}'],
];

testWithServer(
  "postgres",
  "postgresSink() stores the same by payloads, by rows at once, and by rows value by value",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      const records: readonly unknown[] = RECORDS.map((text) => JSON.parse(text));
      const payloads = RECORDS.map((text) => new TextEncoder().encode(text));
      /** A delivery of records from one position to another, with sequences from `first` on. */
      const deliver = (first: number, from: number, to: number, isJson: boolean): Delivery<unknown> => ({
        ...batchOf<unknown>([first, first + to - from - 1], (n) => n),
        records: records.slice(from, to),
        payloads: payloads.slice(from, to),
        byteLength: payloads.slice(from, to).reduce((sum, { length }) => sum + length, 0),
        json: isJson,
      });
      for (const type of ["jsonb", "json", "text", "int", "jsonb not null check (jsonb_typeof(record) <> 'array')"]) {
        const outcomes: unknown[] = [];
        for (const way of ["payloads", "at once", "by value"] as const) {
          await sql`drop table if exists kept`;
          await sql.unsafe(
            `create table kept (batch_id text, sequence bigint, record ${type}, primary key (batch_id, sequence))`,
          );
          // Without `unsafe()`, a client can't take the short ways.
          const client = way === "by value" ? { begin: sql.begin.bind(sql) as typeof sql.begin } : sql;
          const sink = postgresSink<unknown>(client, { table: "kept" });
          // All together; then few or one, because a single unusual number decides about the way of all.
          const size = type === "jsonb" ? 1 : 4;
          const parts: (readonly [first: number, from: number, to: number])[] = [[1, 0, records.length]];
          for (let i = 0; i < records.length; i += size) parts.push([101 + i, i, Math.min(i + size, records.length)]);
          const failed: number[] = [];
          for (const [first, from, to] of parts) {
            try {
              await send(sink, deliver(first, from, to, way === "payloads"));
            } catch (error) {
              assertInstanceOf(error, DeliveryError);
              // Records that are refused, and no others; or, where none was ever taken, the target is at fault.
              failed.push(...error.failed?.map(({ index }) => first + index) ?? [-first]);
            }
          }
          const rows = await sql`select sequence, record::text as text from kept order by sequence`;
          outcomes.push({ rows: rows.map(({ sequence, text }) => [Number(sequence), text]), failed });
        }
        assertEquals(outcomes[0], outcomes[2], type);
        assertEquals(outcomes[1], outcomes[2], type);
      }
    });
  },
);

testWithServer(
  "postgres",
  "postgresSink() sends the batch's id once, and leaves it where a value has it",
  async ({ port }) => {
    await withSql(port, async (sql) => {
      await sql`create table nested (batch_id text, deep jsonb, sequence bigint, primary key (batch_id, sequence))`;
      for (const [first, deepOf] of [[1, (n: number) => n], [11, () => undefined]] as const) {
        for (const isNested of [false, true]) {
          const from = first + (isNested ? 5 : 0);
          const sink = postgresSink<number>(sql, {
            table: "nested",
            row: (n, { batchId, sequence }) => ({
              batch_id: batchId,
              deep: isNested && n === from ? { batch_id: batchId, n } : deepOf(n),
              sequence,
            }),
          });
          const batch = batchOf([from, from + 1], (n) => n);
          await send(sink, batch);
          const rows = await sql`select deep from nested where batch_id = ${batch.batchId} order by sequence`;
          const expected = [from, from + 1].map((n) =>
            isNested && n === from ? { batch_id: batch.batchId, n } : deepOf(n) ?? null
          );
          assertEquals(rows.map(({ deep }) => deep), expected);
        }
      }
    });
  },
);
