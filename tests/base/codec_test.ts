/**
 * Codecs: what goes in comes back equal, on both ways of encoding, and what can't come back equal is refused.
 *
 * The properties run on random records; the seed is printed, and `SLUICE_SEED` repeats a run.
 */

import { Buffer } from "node:buffer";
import process from "node:process";
import { test } from "node:test";
import {
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  bytesCodec,
  type Codec,
  jsonCodec,
  jsonDecoderOfMany,
  type StandardSchema,
  textCodec,
} from "../../src/base/codec.ts";
import { seededRandom } from "../support/random.ts";

const FILLER = 0xa5;

/** Encodes both ways, with room of every size from none to more than enough, and returns the payload. */
function encodeEveryWay<T>(codec: Codec<T>, record: T, note: string): Uint8Array {
  const payload = codec.encode(record);
  // Every size for short payloads, the sizes around the length for long ones.
  const from = payload.length <= 300 ? 0 : payload.length - 20;
  for (let size = from; size <= payload.length + 9; size++) {
    const into = new Uint8Array(size).fill(FILLER);
    const length = codec.encodeInto!(record, into);
    if (size < payload.length) {
      assertEquals(length, -1, `${note}: ${payload.length} bytes into ${size}`);
    } else {
      assertEquals(length, payload.length, `${note}: length in ${size} bytes`);
      assertEquals(into.subarray(0, length), payload, `${note}: bytes`);
      assertEquals(into.subarray(length), new Uint8Array(size - length).fill(FILLER), `${note}: bytes behind`);
    }
  }
  return payload;
}

function assertRoundTrip<T>(codec: Codec<T>, record: T, note = JSON.stringify(record)): void {
  assertEquals(codec.decode(encodeEveryWay(codec, record, note), codec.version ?? 0), record, note);
}

/** Both ways of encoding must refuse, and alike. */
function assertRefuses<T>(codec: Codec<T>, record: unknown, messageIncludes = ""): void {
  assertThrows(() => codec.encode(record as T), TypeError, messageIncludes);
  assertThrows(() => codec.encodeInto!(record as T, new Uint8Array(1000)), TypeError, messageIncludes);
}

/** A schema as zod, valibot and arktype make them, reduced to the standard's interface. */
function makeSchema<T>(validate: StandardSchema<T>["~standard"]["validate"]): StandardSchema<T> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

const TEXTS = [
  "",
  "a",
  "two words",
  "\0",
  '"quoted" \\ back \n\r\t\b\f',
  "\u007f\u0080\u07ff\u0800\uffff",
  "Grüße, Жизнь, 漢字, ไทย",
  "😀",
  "a😀b😀",
  "\u{10000}\u{10ffff}",
  "\ufeffstarts with a byte order mark",
  "\u2028\u2029",
  "e\u0301 is not é",
  "x".repeat(1000),
  "漢".repeat(500),
];
const LONE_SURROGATES = ["\ud800", "\udc00", "a\ud83d", "\ude00a", "\udc00\ud800", "😀\ud83d"];

test("jsonCodec() brings back every kind of JSON value", () => {
  const codec = jsonCodec<unknown>();
  const values = [null, true, false, 0, 1, -1.5, 1e21, 5e-324, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER, [], {}];
  for (const value of [...values, ...TEXTS]) assertRoundTrip(codec, value);
  assertRoundTrip(codec, [[], [null, [1, { a: [{}] }]], { b: { c: { d: "e" } } }]);
  assertRoundTrip(codec, Object.fromEntries(TEXTS.map((text, i) => [text, i])));
});

test("jsonCodec() brings back lone surrogates, which it escapes", () => {
  for (const text of LONE_SURROGATES) assertRoundTrip(jsonCodec<unknown>(), { [text]: [text] });
});

test("jsonCodec() brings back a key named __proto__ as a key", () => {
  const record = JSON.parse('{"__proto__":{"admin":true}}');
  const back = jsonCodec<unknown>().decode(jsonCodec<unknown>().encode(record), 0) as object;
  assertEquals(Object.keys(back), ["__proto__"]);
  assertEquals("admin" in back, false);
});

test("jsonCodec() writes the UTF-8 of JSON.stringify() and nothing else", () => {
  const record = { n: 1, text: "漢😀" };
  assertEquals(jsonCodec<unknown>().encode(record), new Uint8Array(Buffer.from(JSON.stringify(record), "utf8")));
});

test("jsonCodec() refuses what JSON has no text for", () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  const codec = jsonCodec<unknown>();
  assertRefuses(codec, undefined, "undefined");
  assertRefuses(codec, () => 1, "function");
  assertRefuses(codec, Symbol("s"), "symbol");
  assertRefuses(codec, 1n);
  assertRefuses(codec, { deep: [1n] });
  assertRefuses(codec, cycle);
  assertRefuses(codec, [cycle]);
  assertRefuses(codec, { toJSON: () => undefined }, "Object");
});

class Money {
  #cents = 5;
  get cents(): number {
    return this.#cents;
  }
}
class Named extends Map {
  name = "of its own";
}
class Failure extends Error {
  code = "EFAILED";
  get [Symbol.toStringTag](): string {
    return "Failure";
  }
}
const systemError = Object.assign(new Error("connect"), { code: "ECONNREFUSED", errno: -111 });
const holder: Record<string, unknown> = {};
holder.self = { deep: [holder] };
const ring: unknown[] = [];
ring.push(ring);

/** Values that `JSON.stringify` changes without an error, wherever they are, and what is said of each. */
const LOST: readonly (readonly [value: unknown, what: string])[] = [
  [new Map([["a", 1]]), "Map"],
  [new Named(), "Named"],
  [new Set([1]), "Set"],
  [new WeakMap(), "WeakMap"],
  [new WeakSet(), "WeakSet"],
  [new WeakRef({}), "WeakRef"],
  [Promise.resolve(1), "Promise"],
  [new Error("lost"), "Error"],
  [new RangeError("lost"), "RangeError"],
  [new AggregateError([], "lost"), "AggregateError"],
  [new DOMException("lost"), "DOMException"],
  [systemError, "Error"],
  [new Failure("lost"), "Failure"],
  [/a/g, "RegExp"],
  [Uint8Array.of(1, 2), "Uint8Array"],
  [new Uint8Array(0), "Uint8Array"],
  [new Float64Array(1), "Float64Array"],
  [new BigInt64Array(1), "BigInt64Array"],
  [new ArrayBuffer(2), "ArrayBuffer"],
  [new SharedArrayBuffer(2), "SharedArrayBuffer"],
  [new DataView(new ArrayBuffer(2)), "DataView"],
  [new Date(NaN), "Date at PATH: it is invalid"],
  [Object(1), "Number"],
  [Object("a"), "String"],
  [Object(true), "Boolean"],
  [Object(Symbol("s")), "Symbol"],
  [NaN, "NaN"],
  [Infinity, "Infinity"],
  [-Infinity, "-Infinity"],
  [1n, "bigint"],
  [() => 1, "function"],
  [class {}, "function"],
  [Symbol("s"), "symbol"],
  [new Money(), "Money at PATH: it has no enumerable properties"],
  [new Map([["a", 1]]).keys(), ""],
  [(function* () {})(), ""],
  [new ReadableStream(), "ReadableStream"],
  [new Blob(["a"]), "Blob"],
  [new AbortController(), "AbortController"],
  [{ toJSON: () => undefined }, "Object at PATH: its toJSON() returns undefined"],
  [{ toJSON: () => new Set() }, "Object"],
  [{ toJSON: () => NaN }, "Object"],
  [holder, ""],
  [ring, "Array"],
];

for (const [value, what] of LOST) {
  const name = what.replace(" at PATH", "") || Object.prototype.toString.call(value);
  test(`jsonCodec() refuses ${name} anywhere in a record, and names the path`, () => {
    const codec = jsonCodec<unknown>();
    const at = (path: string): string => what.includes("PATH") ? what.replace("PATH", path) : `${what} at ${path}`;
    const suffix = value === holder ? ".self.deep[0]" : value === ring ? "[0]" : "";
    assertRefuses(codec, value, at(`$${suffix}`));
    assertRefuses(codec, { a: { b: [0, "1", null, value] } }, at(`$.a.b[3]${suffix}`));
    assertRefuses(codec, [[{ "two words": 1, "ünï": [value] }]], at(`$[0][0].ünï[0]${suffix}`));
    assertRefuses(codec, { n: -0, at: new Date(0), "two words": value }, at(`$["two words"]${suffix}`));
    assertRefuses(codec, Object.assign(new Pair(1, 2), { b: value }), at(`$.b${suffix}`));
    assertRefuses(codec, { toJSON: () => ({ a: value }) }, at(`$.a${suffix}`));
    assertRefuses(jsonCodec({ schema: makeSchema(() => ({ value: [value] })) }), 1, at(`$[0]${suffix}`));
    assertRoundTrip(codec, { n: 1 });
  });
}

/** A class of which all is in its properties. */
class Pair {
  readonly a: unknown;
  readonly b: unknown;
  constructor(a: unknown, b: unknown) {
    this.a = a;
    this.b = b;
  }
}

test("jsonCodec() refuses undefined in an array, and holes, which would come back as null", () => {
  const sparse = ["a", "b"];
  sparse[3] = "d";
  assertRefuses(jsonCodec<unknown>(), { a: [1, undefined] }, "undefined at $.a[1]");
  assertRefuses(jsonCodec<unknown>(), sparse, "undefined at $[2]");
});

test("jsonCodec() brings back -0, wherever it is", () => {
  const codec = jsonCodec<unknown>();
  for (const record of [-0, [-0, 0], { n: -0 }, { a: [{ b: -0, c: "-0" }] }]) {
    assertRoundTrip(codec, record);
    assertStringIncludes(new TextDecoder().decode(codec.encode(record)), "-0");
  }

  assertEquals(Object.is((codec.decode(codec.encode([-0]), 0) as number[])[0], -0), true);
  assertEquals(decodeTogether(codec, [codec.encode(-0), codec.encode(0)]).map((n) => Object.is(n, -0)), [true, false]);
});

test("jsonCodec() takes what toJSON() returns, the properties of a class, and a missing property for undefined", () => {
  const codec = jsonCodec<unknown>();
  const there = (record: unknown): unknown => codec.decode(encodeEveryWay(codec, record, "changed"), 0);
  assertEquals(there({ at: new Date(0) }), { at: "1970-01-01T00:00:00.000Z" });
  assertEquals(there([new URL("http://host/")]), ["http://host/"]);
  assertEquals(there(new Pair(1, new Pair("a", null))), { a: 1, b: { a: "a", b: null } });
  assertEquals(there({ a: undefined, b: 1 }), { b: 1 });
  assertEquals(there({ toJSON: (key: string) => [`key ${key}`] }), ["key "]);
  assertEquals(there([{ toJSON: (key: string) => `key ${key}` }]), ["key 0"]);
  assertEquals(there(Object.assign(new Map(), { toJSON: () => "a map" })), "a map");
  assertEquals(there(Object.assign(new Error(), { toJSON: () => ({ m: -0 }) })), { m: -0 });
  assertRoundTrip(codec, Object.assign(Object.create(null), { a: 1 }), "no prototype");
  assertEquals(there(Object.create(null)), {});
  assertEquals(there(Object.create({ inherited: () => 1 }, { own: { value: 1, enumerable: true } })), { own: 1 });
});

test("jsonCodec() takes one object in several places, and deep ones", () => {
  const shared = { n: -0 };
  assertRoundTrip(jsonCodec<unknown>(), { a: shared, b: [shared, shared] }, "shared");
  let deep: unknown = { n: 1 };
  for (let i = 0; i < 1_000; i++) deep = i % 2 === 0 ? [deep] : { deep };
  assertEquals(JSON.stringify(deep), new TextDecoder().decode(jsonCodec<unknown>().encode(deep)));
});

test("jsonCodec() names a long path only in part", () => {
  let deep: unknown = new Map();
  for (let i = 0; i < 100; i++) deep = { ["key".repeat(5)]: deep };
  const error = assertThrows(() => jsonCodec<unknown>().encode(deep), TypeError, "Map at $.keykey");
  assertEquals(error.message.length < 300, true);
});

test("jsonCodec() refuses numbers that would silently become null", () => {
  for (const value of [NaN, Infinity, -Infinity]) assertRefuses(jsonCodec<number>(), value, String(value));
});

test("jsonCodec() passes on what toJSON() throws", () => {
  const record = {
    toJSON(): never {
      throw new SyntaxError("on purpose");
    },
  };
  assertThrows(() => jsonCodec<unknown>().encode(record), SyntaxError, "on purpose");
});

test("jsonCodec() goes on after a record that it refused", () => {
  const codec = jsonCodec<unknown>();
  assertRefuses(codec, undefined);
  assertRoundTrip(codec, { n: 1 });
});

test("jsonCodec() refuses to decode what is no JSON or no UTF-8, and goes on", () => {
  const codec = jsonCodec<unknown>();
  const bad = ["", "{", "nul", "1 2", "\ufeff1", "'a'"].map((text) => new TextEncoder().encode(text));
  for (const payload of bad) assertThrows(() => codec.decode(payload, 0), SyntaxError);
  for (const bytes of [[0x22, 0xff, 0x22], [0x22, 0xc3], [0x22, 0xed, 0xa0, 0x80, 0x22], [0x22, 0xc0, 0x80, 0x22]]) {
    assertThrows(() => codec.decode(Uint8Array.from(bytes), 0), TypeError);
    assertEquals(codec.decode(new TextEncoder().encode('"é"'), 0), "é");
  }
});

test("jsonCodec() encodes what the schema returns", () => {
  const schema = makeSchema<{ n: number }>((value) => ({ value: { n: Number((value as { n: unknown }).n) } }));
  const codec = jsonCodec({ schema });
  assertEquals(codec.decode(codec.encode({ n: "7", more: true } as unknown as { n: number }), 0), { n: 7 });
  encodeEveryWay(codec, { n: 8 }, "with a schema");
});

test("jsonCodec() refuses a record that the schema refuses, with its issues as cause", () => {
  const issues = [{ message: "n is missing", path: ["n"] }, { message: "m is negative", path: [{ key: "m" }] }];
  const codec = jsonCodec({ schema: makeSchema<{ n: number }>(() => ({ issues })) });
  assertRefuses(codec, { m: -1 }, "n is missing; m is negative");
  const error = assertThrows(() => codec.encode({ n: 1 }), TypeError);
  assertStrictEquals(error.cause, issues);
});

test("jsonCodec() refuses a schema's output that JSON has no text for", () => {
  const codec = jsonCodec({ schema: makeSchema<unknown>(() => ({ value: undefined })) });
  assertRefuses(codec, { n: 1 }, "undefined");
});

test("jsonCodec() passes on what the schema throws", () => {
  const schema = makeSchema<unknown>(() => {
    throw new EvalError("on purpose");
  });
  assertThrows(() => jsonCodec({ schema }).encode(1), EvalError, "on purpose");
});

test("jsonCodec() takes a schema that is a function", () => {
  const schema = Object.assign(() => {}, makeSchema<string>((value) => ({ value: String(value) })));
  assertRoundTrip(jsonCodec({ schema }), "text");
});

test("jsonCodec() refuses a schema that answers asynchronously, and leaves no unhandled rejection", async () => {
  const resolving = makeSchema<unknown>((value) => Promise.resolve({ value }));
  const rejecting = makeSchema<unknown>(() => Promise.reject(new Error("on purpose")));
  // Not every promise is a Promise of this realm.
  const thenable = makeSchema<unknown>((value) =>
    ({ then: (resolve: (result: unknown) => void) => resolve({ value }) }) as unknown as { value: unknown }
  );
  for (const schema of [resolving, rejecting, thenable]) assertRefuses(jsonCodec({ schema }), 1, "asynchronously");
  // An unhandled rejection would be reported between here and the end of the test.
  await assertRejects(() => Promise.reject(new Error("the next turn")), Error, "the next turn");
});

test("jsonCodec() decodes without asking the schema", () => {
  const codec = jsonCodec({ schema: makeSchema<unknown>(() => ({ issues: [{ message: "never" }] })) });
  assertEquals(codec.decode(new TextEncoder().encode("[1]"), 0), [1]);
});

test("jsonCodec() migrates payloads of every other version, and only those", () => {
  const seen: [unknown, number][] = [];
  const codec = jsonCodec<string>({
    version: 3,
    migrate(payload, fromVersion) {
      seen.push([payload, fromVersion]);
      return `${payload} of ${fromVersion}`;
    },
  });
  const payload = codec.encode("text");
  assertEquals(codec.version, 3);
  assertEquals(codec.decode(payload, 3), "text");
  assertEquals(codec.decode(payload, 0), "text of 0");
  assertEquals(codec.decode(payload, 2), "text of 2");
  assertEquals(codec.decode(payload, 4), "text of 4");
  assertEquals(seen, [["text", 0], ["text", 2], ["text", 4]]);
});

test("jsonCodec() takes payloads of all versions as they are when it can't migrate", () => {
  const codec = jsonCodec<string>({ version: 3 });
  assertEquals(codec.decode(codec.encode("text"), 0), "text");
  assertEquals(jsonCodec().version, 0);
});

test("jsonCodec() passes on what migrate() throws", () => {
  const codec = jsonCodec<string>({
    version: 1,
    migrate() {
      throw new EvalError("on purpose");
    },
  });
  assertThrows(() => codec.decode(codec.encode("text"), 0), EvalError, "on purpose");
});

test("jsonCodec() checks its options", () => {
  for (const version of [-1, 0.5, NaN, Infinity, 2 ** 32, "1" as unknown as number]) {
    assertThrows(() => jsonCodec({ version }), RangeError, "version");
  }
  assertEquals(jsonCodec({ version: 2 ** 32 - 1 }).version, 2 ** 32 - 1);
  for (const schema of [{}, null, { "~standard": {} }, () => true] as unknown as StandardSchema<unknown>[]) {
    assertThrows(() => jsonCodec({ schema }), TypeError, "schema");
  }
  assertThrows(() => jsonCodec({ migrate: "later" as unknown as () => unknown }), TypeError, "migrate");
});

test("textCodec() brings back every well-formed string", () => {
  for (const text of TEXTS) assertRoundTrip(textCodec(), text);
});

test("textCodec() writes the string's UTF-8 and nothing else", () => {
  for (const text of TEXTS) assertEquals(textCodec().encode(text), new Uint8Array(Buffer.from(text, "utf8")));
});

test("textCodec() refuses lone surrogates, which UTF-8 can't hold", () => {
  for (const text of LONE_SURROGATES) assertRefuses(textCodec(), text, "surrogate");
});

test("textCodec() refuses what is no string and says what it is", () => {
  assertRefuses(textCodec(), undefined, "undefined");
  assertRefuses(textCodec(), null, "null");
  assertRefuses(textCodec(), 7, "7");
  assertRefuses(textCodec(), ["a"], "Array");
  assertRefuses(textCodec(), Object.create(null), "an object");
  assertRefuses(textCodec(), new String("a"), "String");
});

test("textCodec() refuses to decode what is no UTF-8, and goes on", () => {
  const codec = textCodec();
  for (const bytes of [[0xff], [0x61, 0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
    assertThrows(() => codec.decode(Uint8Array.from(bytes), 0), TypeError);
    assertEquals(codec.decode(Uint8Array.of(0xc3, 0xa9), 0), "é");
  }
});

test("bytesCodec() brings back every byte", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const bytes of [new Uint8Array(0), all, all.subarray(3, 200), new Uint8Array(1000)]) {
    assertRoundTrip(bytesCodec(), bytes, `${bytes.length} bytes`);
  }
});

test("bytesCodec() takes a Buffer and gives back a Uint8Array", () => {
  const codec = bytesCodec();
  const back = codec.decode(codec.encode(Buffer.from("text")), 0);
  assertStrictEquals(back.constructor, Uint8Array);
  assertEquals(back, new TextEncoder().encode("text"));
});

test("bytesCodec() copies both ways", () => {
  const codec = bytesCodec();
  const record = Uint8Array.of(1, 2, 3);
  const payload = codec.encode(record);
  const into = new Uint8Array(3);
  codec.encodeInto!(record, into);
  record.fill(9);
  assertEquals([payload, into], [Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 3)]);

  const back = codec.decode(payload, 0);
  payload.fill(8);
  assertEquals(back, Uint8Array.of(1, 2, 3));
  assertNotStrictEquals(back.buffer, payload.buffer);
  // A view into something larger must not keep it, nor show it.
  assertEquals(codec.decode(new Uint8Array(100).subarray(50, 52), 0).buffer.byteLength, 2);
});

test("bytesCodec() refuses what is no Uint8Array and says what it is", () => {
  assertRefuses(bytesCodec(), undefined, "undefined");
  assertRefuses(bytesCodec(), "text", "string");
  assertRefuses(bytesCodec(), [1, 2], "Array");
  assertRefuses(bytesCodec(), new ArrayBuffer(2), "ArrayBuffer");
  assertRefuses(bytesCodec(), new Uint16Array(2), "Uint16Array");
  assertRefuses(bytesCodec(), new DataView(new ArrayBuffer(2)), "DataView");
});

/** Lays payloads out as a batch has them, and decodes them together. */
function decodeTogether<T>(codec: Codec<T>, payloads: readonly Uint8Array[], version = 0): T[] {
  const bounds: number[] = [];
  const bytes = new Uint8Array(payloads.reduce((sum, { length }) => sum + 4 + length, 1)).fill(FILLER);
  let at = 0;
  for (const payload of payloads) {
    bytes.set(payload, at + 4);
    bounds.push(at + 4, at + 4 + payload.length);
    at += 4 + payload.length;
  }
  return jsonDecoderOfMany(codec)!(bytes, bounds, version);
}

test("jsonCodec() decodes many payloads together as it does one by one", () => {
  const random = seededRandom(7);
  const codec = jsonCodec<unknown>();
  for (let round = 0; round < 200; round++) {
    const records = Array.from({ length: 1 + random(20) }, () => randomJson(random, 3));
    const payloads = records.map((record) => codec.encode(record));
    assertEquals(decodeTogether(codec, payloads), payloads.map((payload) => codec.decode(payload, 0)));
  }
  const older = jsonCodec<string>({ version: 1, migrate: (payload, from) => `${payload} of ${from}` });
  const payloads = ["a", "b"].map((text) => older.encode(text));
  assertEquals(decodeTogether(older, payloads, 0), ["a of 0", "b of 0"]);
  assertEquals(decodeTogether(older, payloads, 1), ["a", "b"]);
});

test("jsonCodec() decodes many payloads together, whatever pieces their lengths make", () => {
  const random = seededRandom(11);
  const codec = jsonCodec<string>();
  // Pieces end at 128 KiB: some payloads are longer alone, some fill a piece to the byte, or almost.
  for (const length of [1000, 32 * 1024 - 6, 32 * 1024 - 5, 64 * 1024 - 5, 128 * 1024 - 2, 128 * 1024, 200_000]) {
    const records = Array.from({ length: 12 }, (_, i) => String(i).padEnd(length - random(3), "x"));
    records.push("");
    assertEquals(decodeTogether(codec, records.map((record) => codec.encode(record))), records);
  }
});

test("codecs in which a function is replaced use no faster way past it", () => {
  const loud: Codec<string> = { ...jsonCodec<string>(), decode: (payload) => new TextDecoder().decode(payload) + "!" };
  assertEquals(jsonDecoderOfMany(loud), undefined);
  assertEquals(jsonDecoderOfMany({ ...jsonCodec() }) === undefined, false);
  assertEquals(jsonDecoderOfMany(textCodec()), undefined);
  const encode = () => new Uint8Array(1);
  assertEquals({ ...jsonCodec(), encode }.encodeInto!("a", new Uint8Array(99)), -1);
  assertEquals({ ...textCodec(), encode }.encodeInto!("a", new Uint8Array(99)), -1);
  assertEquals({ ...bytesCodec(), encode }.encodeInto!(encode(), new Uint8Array(99)), -1);
});

test("codecs bring back random records, both ways of encoding equal", () => {
  const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 2 ** 31);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 300; round++) {
    const note = `seed ${seed}, round ${round}`;
    assertRoundTrip(jsonCodec<unknown>(), randomJson(random, 4), note);
    assertRoundTrip(textCodec(), randomText(random).toWellFormed(), note);
    assertRoundTrip(bytesCodec(), Uint8Array.from({ length: random(80) }, () => random(256)), note);
  }
});

/** A string of UTF-16 units from all over the range, surrogates in and out of pairs among them. */
function randomText(random: (below: number) => number): string {
  const unit = [
    () => String.fromCharCode(random(128)),
    () => String.fromCharCode(random(0x800)),
    () => String.fromCharCode(random(0x10000)),
    () => String.fromCharCode(0xd800 + random(0x800)),
    () => String.fromCodePoint(0x10000 + random(0x100000)),
  ];
  let text = "";
  for (let left = random(25); left > 0; left--) text += unit[random(unit.length)]();
  return text;
}

function randomJson(random: (below: number) => number, depth: number): unknown {
  switch (random(depth > 0 ? 7 : 5)) {
    case 0:
      return null;
    case 1:
      return random(2) === 0;
    case 2:
      return random(2 ** 32) - 2 ** 31;
    case 3:
      return (random(2 ** 32) + 1) / (random(1000) + 1);
    case 4:
      return randomText(random);
    case 5:
      return Array.from({ length: random(4) }, () => randomJson(random, depth - 1));
    default:
      return Object.fromEntries(
        Array.from({ length: random(4) }, () => [`k${randomText(random)}`, randomJson(random, depth - 1)]),
      );
  }
}
