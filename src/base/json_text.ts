/**
 * The JSON text of a value, if JSON can hold all of it.
 *
 * `JSON.stringify` makes `{}`, `null` or nothing of what it has no text for, without an error. Guarantee of `toJsonText`: such a
 * value is refused, and the error names its path, as in `$.a.b[3]`. JSON holds:
 * - null, booleans, strings, finite numbers, and the elements of an array without holes. -0 is written as `-0`, which a JSON
 *   parser brings back.
 * - the own enumerable properties of an object that have a string as key. A property that is `undefined` counts as missing.
 *   A class instance is its properties, and comes back as a plain object; one without any is refused.
 * - what `toJSON()` returns, if a value has it: a valid Date is its ISO string.
 *
 * A quick check before finds nearly always that nothing is lost. Only in doubt a value is checked while it is written, at several
 * times the cost: if it has a -0, a `toJSON()` other than a Date's, or an array of a subclass, and if it is refused.
 *
 * @module
 */

/** Deeper values aren't checked in advance: they may be cycles. */
const MAX_DEPTH = 1_000;
/** A longer path is cut in the message. */
const MAX_PATH_CHARACTERS = 200;
/** Objects whose content is elsewhere than in their properties, although they may have some, too. */
const HAS_OTHER_CONTENT =
  /^\[object (Error|RegExp|Number|String|Boolean|Symbol|BigInt|(Weak)?(Map|Set)|\w*Array(Buffer)?|DataView)\]$/;

const objectPrototype = Object.prototype;
/** Newer than TypeScript's declarations. */
const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };

/**
 * The text of a value.
 *
 * @throws {TypeError} for a value that JSON can't hold.
 * @throws What a `toJSON()` or a getter throws.
 */
export function toJsonText(value: unknown): string {
  if (isSurelyHeld(value, MAX_DEPTH)) return JSON.stringify(value);
  return JSON.stringify(value, checkingReplacer());
}

/** A value's kind, for messages. */
export function kindOf(value: unknown): string {
  if (typeof value === "number") return String(value);
  return value === null ? "null" : typeof value === "object" ? (value.constructor?.name || "an object") : typeof value;
}

/** Whether JSON holds all of a value, down to a depth; false also in doubt. */
function isSurelyHeld(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return isHeldNumber(value);
    case "object":
      return value === null || isHeldObject(value, depth);
    default:
      return false;
  }
}

/** False for NaN, the infinities, and -0. */
function isHeldNumber(value: number): boolean {
  return value > 0 ? value < Infinity : value < 0 ? value > -Infinity : 1 / value > 0;
}

function isHeldObject(object: object, depth: number): boolean {
  // A load of the property is faster than asking for the prototype, and these two constructors leave no doubt.
  const { constructor } = object;
  if (depth === 0) return false;
  if (constructor === Array) return areHeld(object as readonly unknown[], depth - 1);
  if (constructor !== Object && !isHeldInstance(object)) return false;
  // Also inherited properties, if there are any: to be in doubt about one of those costs only time.
  for (const key in object) {
    const value: unknown = object[key as keyof typeof object];
    // The usual kinds first, without a call: this loop is what encoding costs in addition to JSON.stringify.
    if (typeof value === "string") continue;
    if (typeof value === "number") {
      if (value > 0 ? value < Infinity : value < 0 ? value > -Infinity : 1 / value > 0) continue;
      return false;
    }
    if (typeof value === "boolean" || value === undefined || value === null) continue;
    if (typeof value !== "object" || !isHeldObject(value, depth - 1)) return false;
  }
  return true;
}

function areHeld(values: readonly unknown[], depth: number): boolean {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "string" && !isSurelyHeld(value, depth)) return false;
  }
  return true;
}

/** Whether an instance of a class is a Date, or is its properties, and has some. */
function isHeldInstance(object: object): boolean {
  if (Object.getPrototypeOf(object) === Date.prototype) return !Number.isNaN((object as Date).getTime());
  return !("toJSON" in object) && tagOf(object) === "[object Object]" && Object.keys(object).length > 0;
}

function tagOf(object: object): string {
  return objectPrototype.toString.call(object);
}

/** For `JSON.stringify`: throws at the first value that isn't held, and writes -0. */
function checkingReplacer(): (this: unknown, key: string, value: unknown) => unknown {
  /** The objects around the value, from the outermost, each with its key. */
  const around: { readonly object: unknown; readonly key: string }[] = [];
  return function (key, value) {
    while (around.length > 0 && around.at(-1)!.object !== this) around.pop();
    const before = (this as Record<string, unknown>)[key];
    const isProperty = around.length > 0 && !Array.isArray(this);
    if (value === undefined && before === undefined && isProperty) return undefined;
    if (Object.is(value, -0)) return rawJSON("-0");
    const reason = around.some(({ object }) => object === value) ? ": it contains itself" : lossIn(value, before);
    if (reason !== undefined) {
      const path = pathTo([...around.map((one) => one.key), key]);
      throw new TypeError(`JSON can't hold ${kindOf(before)} at ${path}${reason}`);
    }
    if (typeof value === "object" && value !== null) around.push({ object: value, key });
    return value;
  };
}

/** Why a value can't be held; `undefined` if it can. `before` is what it was before `toJSON()`. */
function lossIn(value: unknown, before: unknown): string | undefined {
  if (value === null) return before instanceof Date ? ": it is invalid" : undefined;
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined;
    case "number":
      return isHeldNumber(value) ? undefined : "";
    case "object":
      break;
    case "undefined":
      return before === undefined ? "" : ": its toJSON() returns undefined";
    default:
      return "";
  }
  if (Array.isArray(value)) return undefined;
  if (value instanceof Error || HAS_OTHER_CONTENT.test(tagOf(value))) return "";
  const prototype = Object.getPrototypeOf(value);
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return isPlain || Object.keys(value).length > 0 ? undefined : ": it has no enumerable properties";
}

/** `$.a["b c"][3]`; the first key is that of the whole value. */
function pathTo([, ...keys]: readonly string[]): string {
  const steps = keys.map((key) => {
    if (/^\d+$/.test(key)) return `[${key}]`;
    return /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  });
  return `$${steps.join("")}`.slice(0, MAX_PATH_CHARACTERS);
}
