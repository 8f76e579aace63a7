/**
 * JSON that says what a value is, or no JSON at all.
 *
 * `JSON.stringify()` changes values without a word: NaN, the infinities and invalid dates become `null`, -0 becomes 0, a Map or
 * an ArrayBuffer becomes `{}`, a function disappears. Here each of them is written exactly, or refused with its place and the
 * reason:
 *
 * - Integers and bigints keep all their digits, and -0 its sign.
 * - An object with `toJSON()` is what that returns; a property that is `undefined` is left out, as if it weren't there.
 * - NaN, infinities, invalid dates, bytes, functions, symbols, `undefined` in an array, and objects of a kind that JSON doesn't have
 *   are refused. So is text that UTF-8 has no bytes for (half of a surrogate pair), and NUL, which PostgreSQL can't store.
 *
 * @module
 */

/** Writes digits up to here, as JavaScript does; larger numbers have an exponent. */
const MAX_DIGITS_VALUE = 1e21;

/**
 * The JSON of a value. `JSON.stringify()` is several times as fast, and used where it is exact.
 *
 * @param at The value's place, for the error: a path such as `.tags[2]`.
 * @throws {TypeError} if JSON has no text for the value, or for something in it.
 */
export function exactJson(value: unknown, at = ""): string {
  switch (typeof value) {
    case "string":
      return textJson(value, at);
    case "number":
      if (!Number.isFinite(value)) throw refusal(`${value}`, at);
      return numberJson(value);
    case "boolean":
    case "bigint":
      return String(value);
    case "object":
      if (value === null) return "null";
      return at === "" && isPlain(value) ? JSON.stringify(value) : objectJson(value, at);
    default:
      throw refusal(describeKind(value), at);
  }
}

/** The JSON of a finite number. */
export function numberJson(value: number): string {
  if (Object.is(value, -0)) return "-0";
  return String(isRounded(value) ? BigInt(value) : value);
}

/** Whether the shortest digits that mean this number are others than its own. */
function isRounded(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < MAX_DIGITS_VALUE;
}

/** Whether `JSON.stringify()` writes exactly what is there. */
export function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() && !value.includes("\0");
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) && !isRounded(value);
    case "boolean":
      return true;
    case "object": {
      if (value === null) return true;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) if (!isPlain(value[i])) return false;
        return !hasToJson(value);
      }
      const prototype = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null || hasToJson(value)) return false;
      for (const name of Object.keys(value)) {
        const item = (value as Record<string, unknown>)[name];
        if (item !== undefined && !isPlain(item) || !isPlain(name)) return false;
      }
      return !(Symbol.toStringTag in value);
    }
    default:
      return false;
  }
}

function hasToJson(value: object): value is { toJSON(key: string): unknown } {
  return typeof (value as { toJSON?: unknown }).toJSON === "function";
}

/** What an object is: `Date`, `Map`, `Uint8Array`; `Object` for one of the program's own classes. */
export function kindOf(value: object): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

/** A value's kind, for messages. */
export function describeKind(value: unknown): string {
  if (typeof value === "object" && value !== null) return `a value of type ${kindOf(value)}`;
  return value === undefined ? "undefined" : `a ${typeof value}`;
}

function objectJson(value: object, at: string): string {
  const kind = kindOf(value);
  // Before `toJSON()`: that of an invalid date is null, and that of Buffer an object.
  if (kind === "Date" && Number.isNaN(Number(value))) throw refusal("an invalid date", at);
  if (ArrayBuffer.isView(value)) throw refusal(describeKind(value), at);
  if (hasToJson(value)) return exactJson(value.toJSON(""), at);
  switch (kind) {
    case "Array":
      return `[${Array.from(value as unknown[], (item, i) => exactJson(item, `${at}[${i}]`)).join(",")}]`;
    case "Object": {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      return `{${
        entries.map(([name, item]) => `${textJson(name, at)}:${exactJson(item, `${at}.${name}`)}`).join(",")
      }}`;
    }
    case "Number":
    case "String":
    case "Boolean":
    case "BigInt":
      return exactJson(value.valueOf(), at);
    default:
      throw refusal(describeKind(value), at);
  }
}

function textJson(text: string, at: string): string {
  if (!text.isWellFormed()) throw refusal("half of a surrogate pair", at);
  if (text.includes("\0")) throw refusal("a NUL character", at);
  return JSON.stringify(text);
}

function refusal(what: string, at: string): TypeError {
  return new TypeError(`it can't hold ${what}${at === "" ? "" : ` (at ${at})`}`);
}
