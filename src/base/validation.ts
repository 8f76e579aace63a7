/**
 * Checks of arguments.
 *
 * Each error names the option, what it must be, and what was given.
 *
 * @module
 */

import { processOfNode } from "./runtime.ts";

/** The longest timer: all runtimes take 31 bits. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;

/** Options with every default filled in: no member is missing or `undefined`. */
export type Complete<O> = { readonly [K in keyof O]-?: Exclude<O[K], undefined> };

/** Throws unless `value` is a whole number in the range. Here and below, `doing` completes "Cannot ..." in the message. */
export function checkInteger(
  name: string,
  value: unknown,
  least: number,
  most: number,
  doing = "open buffer",
): asserts value is number {
  if (typeof value !== "number") throw wrongType(name, "a number", value, doing);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`Cannot ${doing}: ${name} must be a whole number from ${least} to ${most}, got ${value}`);
  }
}

/** Throws unless `value` is one of the strings. */
export function checkOneOf(name: string, value: unknown, allowed: readonly string[], doing = "open buffer"): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  throw wrongType(name, `one of ${allowed.map((one) => `"${one}"`).join(", ")}`, value, doing);
}

/** Throws unless `value` is an object with these methods. */
export function checkMethods(name: string, value: unknown, methods: readonly string[], doing = "open buffer"): void {
  for (const method of methods) {
    const found = typeof value === "object" && value !== null ? Reflect.get(value, method) : undefined;
    if (typeof found !== "function") {
      throw new TypeError(`Cannot ${doing}: ${name} must have a method ${method}(), got ${describe(value)}`);
    }
  }
}

/** Throws unless `value` is a function. */
export function checkFunction(name: string, value: unknown, doing = "open buffer"): void {
  if (typeof value !== "function") throw wrongType(name, "a function", value, doing);
}

/** Throws unless `value` is an object. */
export function checkObject(name: string, value: unknown, doing = "open buffer"): void {
  if (typeof value !== "object" || value === null) throw wrongType(name, "an object", value, doing);
}

/** Throws unless `value` is an object with no members but the known ones. `name` is "options", or that of the option. */
export function checkOptions(name: string, value: object, known: readonly string[], doing = "open buffer"): void {
  checkObject(name, value, doing);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  const prefix = name === "options" ? "" : `${name}.`;
  if (unknown !== undefined) throw new TypeError(`Cannot ${doing}: unknown option ${prefix}${unknown}`);
}

/** The error about a value that isn't what it must be. */
export function wrongType(name: string, expected: string, value: unknown, doing: string): TypeError {
  return new TypeError(`Cannot ${doing}: ${name} must be ${expected}, got ${describe(value)}`);
}

/**
 * Returns a path as a string: it may be given as a `file:` URL, too, as an object or a string. A string with another scheme is
 * a path, because a file system of the user's own may take it.
 *
 * @param what Completes "path must be ..." in the message.
 * @throws {TypeError} for anything else.
 */
export function checkPath(value: unknown, what: string, doing = "open buffer"): string {
  // Not `instanceof`: test environments have a URL of their own.
  const text = typeof value === "object" && value !== null && "href" in value ? String(value.href) : value;
  const fault = `Cannot ${doing}: path must be ${what}, or its file: URL, got ${describe(text)}`;
  if (typeof text !== "string" || text === "" || text.includes("\0")) throw new TypeError(fault);
  const isUrl = text !== value || /^file:\//i.test(text);
  try {
    const path = isUrl ? processOfNode().getBuiltinModule("node:url").fileURLToPath(text) : text;
    if (!path.includes("\0")) return path;
  } catch (cause) {
    throw new TypeError(fault, { cause });
  }
  throw new TypeError(fault);
}

/** Describes a value in a message. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
