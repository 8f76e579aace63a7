/**
 * Checks of arguments: whole numbers in a range, one of several strings, objects with certain methods.
 *
 * Each error names the option, what it must be, and what was given.
 *
 * @module
 */

/** The longest timer: all runtimes take 31 bits. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;

/** Options with every default filled in: no member is missing or `undefined`. */
export type Complete<O> = { readonly [K in keyof O]-?: Exclude<O[K], undefined> };

/** Throws unless `value` is a whole number in the range. `doing` completes "Cannot ..." in the message. */
export function checkInteger(
  name: string,
  value: unknown,
  least: number,
  most: number,
  doing = "open buffer",
): asserts value is number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot ${doing}: ${name} must be a number, got ${describe(value)}`);
  }
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`Cannot ${doing}: ${name} must be a whole number from ${least} to ${most}, got ${value}`);
  }
}

/** Throws unless `value` is one of the strings. `doing` completes "Cannot ..." in the message. */
export function checkOneOf(name: string, value: unknown, allowed: readonly string[], doing = "open buffer"): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  const list = allowed.map((one) => `"${one}"`).join(", ");
  throw new TypeError(`Cannot ${doing}: ${name} must be one of ${list}, got ${describe(value)}`);
}

/** Throws unless `value` is an object with these methods. `doing` completes "Cannot ..." in the message. */
export function checkMethods(name: string, value: unknown, methods: readonly string[], doing = "open buffer"): void {
  for (const method of methods) {
    const found = typeof value === "object" && value !== null ? Reflect.get(value, method) : undefined;
    if (typeof found !== "function") {
      throw new TypeError(`Cannot ${doing}: ${name} must have a method ${method}(), got ${describe(value)}`);
    }
  }
}

/** Describes a value in a message. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
