/**
 * Codecs: how a record becomes a payload and a payload a record again.
 *
 * Guarantees of the codecs here: `decode(encode(record))` gives an equal record; nothing is lost silently (what JSON
 * has no notation for at the top level, such as `undefined`, is refused; bytes are copied); no state is kept, so
 * one codec may serve any number of buffers; in a copy in which `encode` or `decode` is replaced, what they were is
 * not used any more, by no faster way either.
 *
 * @module
 */

/**
 * Turns records into payloads and back. A codec may throw anything; the buffer wraps it in a CodecError.
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
export interface Codec<T> {
  /**
   * The version of the payloads that `encode` makes, 0 to 2^32 - 1. It is kept with the data, a segment at a time, and
   * given to `decode`, so that a program can read what an older version of itself has written.
   *
   * @default {0}
   */
  readonly version?: number | undefined;
  /** Makes the payload of `record`. The bytes are taken over at once: the caller may reuse them after the call. */
  encode(record: T): Uint8Array;
  /**
   * Makes the record from `payload`, which was encoded by a codec with that `version`. The payload is the batch's own:
   * a codec that returns (part of) it must copy.
   */
  decode(payload: Uint8Array, version: number): T;
  /**
   * Writes the payload into the start of `into` and returns its length, or -1 if there isn't room; then `encode` is
   * called instead. Optional: it saves a copy.
   */
  encodeInto?(record: T, into: Uint8Array): number;
}

/**
 * Makes the records from payloads of one `version` that stand in `bytes`, the i-th from `bounds[2 * i]` up to
 * `bounds[2 * i + 1]`. Each must be the text of one JSON value. At least four bytes before each of them and one behind
 * the last are no payload's, and are written over.
 */
type JsonDecodeMany<T> = (bytes: Uint8Array, bounds: readonly number[], version: number) => T[];

/** The functions of all codecs made by `jsonCodec`: a copy in which one is replaced is another codec. */
const jsonEncoders = new WeakSet<object>();
const jsonDecoders = new WeakMap<object, JsonDecodeMany<unknown>>();

/** Whether everything that a codec encodes is the text of one JSON value. @internal */
export function isJsonCodec<T>({ encode, encodeInto }: Codec<T>): boolean {
  return jsonEncoders.has(encode) && (encodeInto === undefined || jsonEncoders.has(encodeInto));
}

/** What decodes many JSON texts at once as the codec does one by one, if it is one of JSON. @internal */
export function jsonDecoderOfMany<T>({ decode }: Codec<T>): JsonDecodeMany<T> | undefined {
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
export interface StandardSchema<T> {
  /** The properties of the standard. */
  readonly "~standard": {
    /** Version of the standard. */
    readonly version: 1;
    /** Name of the library. */
    readonly vendor: string;
    /** Checks a value: gives it back, perhaps changed, or the issues. */
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>;
  };
}

/**
 * What a {@linkcode StandardSchema} answers.
 *
 * @example Check a value as the codec does
 * ```ts
 * import type { StandardResult, StandardSchema } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function reasons<T>(schema: StandardSchema<T>, value: unknown): string[] {
 *   const result = schema["~standard"].validate(value) as StandardResult<T>;
 *   return result.issues?.map(({ message }) => message) ?? [];
 * }
 *
 * const even: StandardSchema<number> = {
 *   "~standard": {
 *     version: 1,
 *     vendor: "this program",
 *     validate: (value) => Number(value) % 2 === 0 ? { value: Number(value) } : { issues: [{ message: "odd" }] },
 *   },
 * };
 * assertEquals(reasons(even, 2), []);
 * assertEquals(reasons(even, 3), ["odd"]);
 * ```
 */
export type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | {
    readonly issues: ReadonlyArray<{ readonly message: string; readonly path?: ReadonlyArray<unknown> | undefined }>;
  };

/**
 * Options of {@linkcode jsonCodec}.
 *
 * @example Three versions of a record, each read by one step
 * ```ts
 * import { jsonCodec, type JsonCodecOptions } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * interface Price {
 *   cents: number;
 *   currency: string;
 * }
 *
 * const options: JsonCodecOptions<Price> = {
 *   version: 3,
 *   migrate(payload, fromVersion) {
 *     let price = payload;
 *     if (fromVersion < 2) price = { cents: Math.round((price as { euros: number }).euros * 100) }; // 1 to 2
 *     if (fromVersion < 3) price = { ...price as { cents: number }, currency: "EUR" }; // 2 to 3
 *     return price as Price;
 *   },
 * };
 *
 * const codec = jsonCodec(options);
 * const old = new TextEncoder().encode('{"euros":19.9}'); // put a year ago
 * assertEquals(codec.decode(old, 1), { cents: 1990, currency: "EUR" });
 * assertEquals(codec.decode(codec.encode({ cents: 5, currency: "CHF" }), 3), { cents: 5, currency: "CHF" });
 * ```
 */
export interface JsonCodecOptions<T> {
  /**
   * Checks every record at put; what it returns is encoded. It must answer synchronously.
   *
   * @default {none: records are encoded as they are}
   */
  readonly schema?: StandardSchema<T> | undefined;
  /**
   * The version of the records' shape; count it up when the shape changes.
   *
   * @default {0}
   */
  readonly version?: number | undefined;
  /**
   * Makes a record of today's shape from the parsed JSON of a payload that was put under another version. Without it
   * payloads of all versions are taken as they are.
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
 * Records as JSON, in UTF-8.
 *
 * @returns A codec for all that `JSON.stringify` and `JSON.parse` bring back equal; the default of every buffer.
 * @throws {RangeError} for a `version` that is no integer from 0 to 2^32 - 1.
 * @throws {TypeError} for a `schema` or `migrate` of the wrong kind. When encoding: for a record that JSON has no text
 * for (`undefined`, a function, a symbol, a BigInt, NaN, an infinity, a cycle) and for one that the schema refuses.
 *
 * @example Move old records to a new shape
 * ```ts
 * import { jsonCodec } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const old = jsonCodec<{ name: string }>();
 * const codec = jsonCodec<{ first: string }>({
 *   version: 1,
 *   migrate: (payload) => ({ first: (payload as { name: string }).name }),
 * });
 * assertEquals(codec.decode(old.encode({ name: "Ada" }), 0), { first: "Ada" });
 * ```
 */
export function jsonCodec<T>(options: JsonCodecOptions<T> = {}): Codec<T> {
  const { schema, version = 0, migrate } = options;
  if (!Number.isInteger(version) || version < 0 || version >= 2 ** 32) {
    throw new RangeError(`Cannot make a codec: version must be an integer from 0 to 2^32 - 1, got ${version}`);
  }
  if (schema !== undefined && typeof schema?.["~standard"]?.validate !== "function") {
    throw new TypeError("Cannot make a codec: schema does not follow the Standard Schema interface");
  }
  if (migrate !== undefined && typeof migrate !== "function") {
    throw new TypeError(`Cannot make a codec: migrate must be a function, got ${describe(migrate)}`);
  }
  const stringify = (record: T): string => {
    const value: unknown = schema === undefined ? record : validated(schema, record);
    // NaN and the infinities would become "null" without a word.
    const isNoNumber = typeof value === "number" && !Number.isFinite(value);
    const text = isNoNumber ? undefined : JSON.stringify(value);
    if (text === undefined) throw new TypeError(`JSON has no text for ${describe(value)}`);
    return text;
  };
  const encode = (record: T): Uint8Array => encoder.encode(stringify(record));
  const decode = (payload: Uint8Array, fromVersion: number): T => {
    const value = JSON.parse(strictDecoder.decode(payload));
    return migrate !== undefined && fromVersion !== version ? migrate(value, fromVersion) : value;
  };
  const codec: Codec<T> = {
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

/** Bytes of payloads that are parsed together, if there are several: their text is just no large object for V8. */
const PIECE_BYTES = 128 * 1024;

/**
 * Parses payloads, many at a time, as one JSON array, which takes about half the time: writes a comma between each two
 * of them and brackets around all. Because each payload is the text of one whole value, no token or bracket reaches over
 * such a comma, and each separates two elements.
 *
 * In pieces, because large strings don't go with the next small collection of garbage, and a drain would pile them up.
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

/** Parses the payloads whose bounds stand from `from` up to `to`. */
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
 * @throws {TypeError} (when encoding) for what is no string, or has a lone surrogate, which UTF-8 can't hold.
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
    if (typeof record !== "string") throw new TypeError(`expected a string, got ${describe(record)}`);
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
    if (!(record instanceof Uint8Array)) throw new TypeError(`expected a Uint8Array, got ${describe(record)}`);
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

/** Writes `text` into `into` as UTF-8 and returns the length, or -1 when it doesn't fit whole. */
function writeText(text: string, into: Uint8Array): number {
  if (text.length > into.length) return -1;
  const { read, written } = encoder.encodeInto(text, into);
  return read === text.length ? written : -1;
}

/** Puts `value` through the schema and returns its output. */
function validated<T>(schema: StandardSchema<T>, value: unknown): T {
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

/** A value's kind, for messages. */
function describe(value: unknown): string {
  if (typeof value === "number") return String(value);
  return value === null ? "null" : typeof value === "object" ? (value.constructor?.name ?? "an object") : typeof value;
}
