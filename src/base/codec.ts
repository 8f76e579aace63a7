/**
 * Codecs: how a record becomes a payload, and a payload a record again.
 *
 * Guarantees of the codecs here:
 * - `decode(encode(record))` gives an equal record. Nothing is lost silently: what JSON can't hold is refused (`json_text.ts`
 *   says what that is); bytes are copied.
 * - They keep no state, so one codec may serve any number of buffers.
 * - In a copy whose `encode` or `decode` is replaced, only the replacement is used, also by the fast paths.
 *
 * @module
 */

import { kindOf, toJsonText } from "./json_text.ts";

/**
 * Turns records into payloads and back. A codec may throw anything; the buffer wraps it in a CodecError.
 *
 * @typeParam T What `decode` returns.
 * @typeParam In What `encode` takes, where that is more than `T`: a schema may fill in defaults.
 *
 * @example Twelve bytes instead of thirty of JSON
 * ```ts
 * import { type Codec, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * interface Reading {
 *   at: number;
 *   celsius: number;
 * }
 *
 * const codec: Codec<Reading> = {
 *   encode({ at, celsius }) {
 *     const view = new DataView(new ArrayBuffer(12));
 *     view.setFloat64(0, at);
 *     view.setFloat32(8, celsius);
 *     return new Uint8Array(view.buffer);
 *   },
 *   decode(payload) {
 *     const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
 *     return { at: view.getFloat64(0), celsius: view.getFloat32(8) };
 *   },
 * };
 *
 * const buffer = await MemoryBuffer.open({ codec });
 * await buffer.put({ at: 1_767_225_600_000, celsius: 20.5 });
 * const batch = await buffer.emit();
 * assertEquals([batch.byteLength, batch.records], [12, [{ at: 1_767_225_600_000, celsius: 20.5 }]]);
 * await buffer.close();
 * ```
 */
export interface Codec<T, In = T> {
  /**
   * The version of the payloads that `encode` makes, 0 to 2^32 - 1. Each segment stores it, and `decode` gets it, so that a
   * program can read what an older version of itself wrote.
   *
   * @default {0}
   */
  readonly version?: number | undefined;
  /**
   * Makes the payload of a record. The buffer copies the bytes at once: the codec may reuse them after the call.
   *
   * @param record The user's value.
   * @returns Its payload.
   */
  encode(record: In): Uint8Array;
  /**
   * Makes the record from a payload. The payload belongs to the batch: a codec that returns (part of) it must copy.
   *
   * @param payload The bytes that `encode` made.
   * @param version The `version` of the codec that encoded it.
   * @returns A value equal to the record that was put.
   */
  decode(payload: Uint8Array, version: number): T;
  /**
   * Writes the payload into the start of `into`. Optional: it saves a copy.
   *
   * @param record The user's value.
   * @param into Room for the payload.
   * @returns The payload's length, or -1 if it doesn't fit; then `encode` is called instead.
   */
  encodeInto?(record: In, into: Uint8Array): number;
}

/** A record that is encoded already. A `DeadLetter` is one. */
export interface EncodedRecord {
  /** What a codec has made of the record. */
  readonly payload: Uint8Array;
  /** The version of that codec. */
  readonly codecVersion: number;
}

/**
 * Decodes payloads of one `version`. Payload i is `bytes[bounds[2 * i]..bounds[2 * i + 1])`, the text of one JSON value. At
 * least four bytes before each payload, and one behind the last, belong to no payload and are overwritten.
 */
type JsonDecodeMany<T> = (bytes: Uint8Array, bounds: readonly number[], version: number) => T[];

/** The functions of all codecs that `jsonCodec` made. A copy with one of them replaced is a different codec. */
const jsonEncoders = new WeakSet<object>();
const jsonDecoders = new WeakMap<object, JsonDecodeMany<unknown>>();

/** Whether everything that a codec encodes is the text of one JSON value. @internal */
export function isJsonCodec({ encode, encodeInto }: Codec<unknown, never>): boolean {
  return jsonEncoders.has(encode) && (encodeInto === undefined || jsonEncoders.has(encodeInto));
}

/** Decodes many payloads at once, if the codec is one of `jsonCodec`'s; else `undefined`. @internal */
export function jsonDecoderOfMany<T>({ decode }: Codec<T, never>): JsonDecodeMany<T> | undefined {
  return jsonDecoders.get(decode) as JsonDecodeMany<T> | undefined;
}

/**
 * The part of the Standard Schema interface (https://standardschema.dev, version 1) that `jsonCodec` uses; schemas
 * of zod, valibot, arktype and others have it.
 *
 * @example A schema without a library
 * ```ts
 * import { CodecError, jsonCodec, MemoryBuffer, type StandardSchema } from "@sluice/buffer";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const email: StandardSchema<string> = {
 *   "~standard": {
 *     version: 1,
 *     vendor: "this program",
 *     validate: (value) =>
 *       typeof value === "string" && value.includes("@")
 *         ? { value: value.trim().toLowerCase() }
 *         : { issues: [{ message: "no address" }] },
 *   },
 * };
 *
 * const buffer = await MemoryBuffer.open({ codec: jsonCodec({ schema: email }) });
 * await assertRejects(() => buffer.put("nobody"), CodecError, "no address");
 * await buffer.put(" Ada@Example.com ");
 * assertEquals((await buffer.emit()).records, ["ada@example.com"]); // what the schema made of it
 * await buffer.close();
 * ```
 */
export interface StandardSchema<T, In = T> {
  /** The properties of the standard. */
  readonly "~standard": {
    /** Version of the standard. */
    readonly version: 1;
    /** Name of the library. */
    readonly vendor: string;
    /** The types of what it takes and of what it makes of that; nothing is there at run time. */
    readonly types?: { readonly input: In; readonly output: T } | undefined;
    /** Checks a value. */
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>;
  };
}

/** The result of {@linkcode StandardSchema}'s `validate`: the value, perhaps changed, or what is wrong with it. */
export type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | {
    readonly issues: ReadonlyArray<{ readonly message: string; readonly path?: ReadonlyArray<unknown> | undefined }>;
  };

/** Options of {@linkcode jsonCodec}. */
export interface JsonCodecOptions<T, In = T> {
  /**
   * Checks every record at put. Its output is encoded. It must validate synchronously.
   *
   * @default {none: records are encoded as they are}
   */
  readonly schema?: StandardSchema<T, In> | StandardSchema<T, unknown> | undefined;
  /**
   * The version of the records' shape; increase it when the shape changes.
   *
   * @default {0}
   */
  readonly version?: number | undefined;
  /**
   * Makes a record of the current shape from the parsed JSON of a payload with another version. Without it, payloads of all
   * versions are returned as parsed.
   *
   * @default {none}
   */
  readonly migrate?: ((payload: unknown, fromVersion: number) => T) | undefined;
}

const SPACE = 0x20;
const COMMA = 0x2c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Records as JSON, in UTF-8: null, booleans, strings, finite numbers (also -0), arrays, and objects.
 *
 * - An object is its own enumerable properties with string keys, and an array its elements: nothing else of them is part of the
 *   record. A property that is `undefined` counts as missing. An instance of a class comes back as a plain object.
 * - A value with `toJSON()` is what that returns: a `Date` and a `URL` come back as strings, a Node `Buffer` as an object.
 *
 * Everything else would come back as `{}`, `null`, something else, or not at all, and is refused when it is put, wherever it
 * is in the record: a `Map`, `Set`, `Error`, `RegExp`, `Promise`, typed array, `ArrayBuffer`, `DataView`, invalid `Date`, boxed
 * primitive, or other object without enumerable properties; a function, symbol, BigInt, NaN, or infinity; `undefined` or a hole
 * in an array; a cycle.
 *
 * @param options Schema, version and migration.
 * @returns The codec. It is the default of every buffer.
 * @throws {RangeError} for a `version` that is no integer from 0 to 2^32 - 1.
 * @throws {TypeError} for a `schema` or `migrate` of the wrong type. When encoding: for a value that JSON can't hold, with its
 * path, as in `$.a.b[3]`, and for one that the schema rejects.
 * @typeParam T The records' type.
 * @typeParam In What may be put: the input of the schema, where one is given.
 *
 * @example Three versions of a record, each migrated by one step
 * ```ts
 * import { jsonCodec } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const codec = jsonCodec<{ cents: number; currency: string }>({
 *   version: 2,
 *   migrate(payload, fromVersion) {
 *     let price = payload;
 *     if (fromVersion < 1) price = { cents: Math.round((price as { euros: number }).euros * 100) }; // 0 to 1
 *     return { ...price as { cents: number }, currency: "EUR" }; // 1 to 2
 *   },
 * });
 * const old = new TextEncoder().encode('{"euros":19.9}'); // put a year ago
 * assertEquals(codec.decode(old, 0), { cents: 1990, currency: "EUR" });
 * assertEquals(codec.decode(codec.encode({ cents: 5, currency: "CHF" }), 2), { cents: 5, currency: "CHF" });
 * ```
 */
export function jsonCodec<T, In = T>(options: JsonCodecOptions<T, In> = {}): Codec<T, In> {
  const { schema, version = 0, migrate } = options;
  if (!Number.isInteger(version) || version < 0 || version >= 2 ** 32) {
    throw new RangeError(`Cannot make a codec: version must be an integer from 0 to 2^32 - 1, got ${version}`);
  }
  if (schema !== undefined && typeof schema?.["~standard"]?.validate !== "function") {
    throw new TypeError("Cannot make a codec: schema does not follow the Standard Schema interface");
  }
  if (migrate !== undefined && typeof migrate !== "function") {
    throw new TypeError(`Cannot make a codec: migrate must be a function, got ${kindOf(migrate)}`);
  }
  const stringify: (record: In) => string = schema === undefined
    ? toJsonText
    : (record) => toJsonText(validate(schema, record));
  const encode = (record: In): Uint8Array => encoder.encode(stringify(record));
  const decode = (payload: Uint8Array, fromVersion: number): T => {
    const value = JSON.parse(strictDecoder.decode(payload));
    return migrate !== undefined && fromVersion !== version ? migrate(value, fromVersion) : value;
  };
  const codec: Codec<T, In> = {
    version,
    encode,
    encodeInto(record, into) {
      return this.encode === encode ? writeText(stringify(record), into) : -1;
    },
    decode,
  };
  jsonEncoders.add(encode).add(codec.encodeInto!);
  jsonDecoders.set(decode, (bytes, bounds, fromVersion) => {
    const values = parseJoined(bytes, bounds);
    if (migrate === undefined || fromVersion === version) return values;
    return values.map((value) => migrate(value, fromVersion));
  });
  return codec;
}

/** Payload bytes that are parsed together: text of this size is just below what V8 allocates as a large object. */
const PIECE_BYTES = 128 * 1024;

/**
 * Parses payloads as one JSON array, in about half the time: writes a comma between each two and brackets around all. Each
 * payload is the text of one whole value, so no token or bracket crosses such a comma, and each comma separates two elements.
 *
 * In pieces, because a minor garbage collection doesn't free large strings, and a drain would accumulate them.
 */
function parseJoined(bytes: Uint8Array, bounds: readonly number[]): unknown[] {
  const values: unknown[] = [];
  for (let from = 0; from < bounds.length;) {
    let to = from + 2;
    while (to < bounds.length && bounds[to + 1] - bounds[from] <= PIECE_BYTES) to += 2;
    const piece = parsePiece(bytes, bounds, from, to);
    if (to - from === bounds.length) return piece;
    for (const value of piece) values.push(value);
    from = to;
  }
  return values;
}

/** Parses the payloads whose bounds are `bounds[from..to)`. */
function parsePiece(bytes: Uint8Array, bounds: readonly number[], from: number, to: number): unknown[] {
  const start = bounds[from] - 1;
  const end = bounds[to - 1];
  for (let i = from + 1; i < to - 1; i += 2) {
    bytes[bounds[i]] = COMMA;
    for (let at = bounds[i] + 1; at < bounds[i + 1]; at++) bytes[at] = SPACE;
  }
  bytes[start] = OPENING_BRACKET;
  bytes[end] = CLOSING_BRACKET;
  return JSON.parse(strictDecoder.decode(bytes.subarray(start, end + 1)));
}

/**
 * Records as strings, in UTF-8.
 *
 * @returns A codec for well-formed strings.
 * @throws {TypeError} (when encoding) for a value that is no string, or a string with a lone surrogate, which UTF-8 can't
 * represent.
 *
 * @example Encode a line
 * ```ts
 * import { textCodec } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(textCodec().encode("ok"), new Uint8Array([111, 107]));
 * ```
 */
export function textCodec(): Codec<string> {
  const check = (record: string): string => {
    if (typeof record !== "string") throw new TypeError(`expected a string, got ${kindOf(record)}`);
    if (!record.isWellFormed()) throw new TypeError("the string has a lone surrogate");
    return record;
  };
  const encode = (record: string): Uint8Array => encoder.encode(check(record));
  return {
    encode,
    encodeInto(record, into) {
      return this.encode === encode ? writeText(check(record), into) : -1;
    },
    decode: (payload) => strictDecoder.decode(payload),
  };
}

/**
 * Records as bytes, copied both ways.
 *
 * @returns A codec for `Uint8Array`s.
 * @throws {TypeError} (when encoding) for anything else.
 *
 * @example A payload is the record
 * ```ts
 * import { bytesCodec } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(bytesCodec().encode(new Uint8Array([1, 2])), new Uint8Array([1, 2]));
 * ```
 */
export function bytesCodec(): Codec<Uint8Array> {
  const check = (record: Uint8Array): Uint8Array => {
    if (!(record instanceof Uint8Array)) throw new TypeError(`expected a Uint8Array, got ${kindOf(record)}`);
    return record;
  };
  const encode = (record: Uint8Array): Uint8Array => new Uint8Array(check(record));
  return {
    encode,
    encodeInto(record, into) {
      if (this.encode !== encode || check(record).length > into.length) return -1;
      into.set(record);
      return record.length;
    },
    decode: (payload) => new Uint8Array(payload),
  };
}

/** Takes payloads of `codec`'s version as they are, and encodes those of another one again. @internal */
export function encodedCodec(codec: Codec<unknown, never>): Codec<EncodedRecord> {
  const { version = 0 } = codec;
  // What is in a log of JSON is read as JSON.
  const json = isJsonCodec(codec) ? jsonCodec() : undefined;
  return {
    encode({ payload, codecVersion }) {
      if (codecVersion !== version) return codec.encode(codec.decode(payload, codecVersion) as never);
      json?.decode(payload, 0);
      return payload;
    },
    decode: (payload, codecVersion) => ({ payload, codecVersion }),
  };
}

/** Writes `text` into `into` as UTF-8 and returns the length, or -1 when it doesn't fit whole. */
function writeText(text: string, into: Uint8Array): number {
  if (text.length > into.length) return -1;
  const { read, written } = encoder.encodeInto(text, into);
  return read === text.length ? written : -1;
}

/** Validates `value` against the schema and returns the schema's output. */
function validate<T>(schema: StandardSchema<T, unknown>, value: unknown): T {
  const result = schema["~standard"].validate(value);
  if ("then" in result) {
    Promise.resolve(result).catch(() => {});
    throw new TypeError("the schema answers asynchronously, which a put cannot wait for");
  }
  if (result.issues !== undefined) {
    throw new TypeError(`the schema refuses it: ${result.issues.map(({ message }) => message).join("; ")}`, {
      cause: result.issues,
    });
  }
  return result.value;
}
