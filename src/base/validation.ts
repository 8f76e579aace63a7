/**
 * Checks of what callers pass in: whole numbers in a range, one of several words, objects with certain methods.
 *
 * Each error names the option, what it must be, and what was given.
 *
 * @module
 */

/** Timers of all runtimes take 31 bits. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;

/** Throws unless `value` is a whole number in the range; `doing` is what can't be done with it. */
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

/** Throws unless `value` is one of the strings. */
export function checkOneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  const list = allowed.map((one) => `"${one}"`).join(", ");
  throw new TypeError(`Cannot open buffer: ${name} must be one of ${list}, got ${describe(value)}`);
}

/** Throws unless `value` is an object with these methods; `doing` is what can't be done without. */
export function checkMethods(name: string, value: unknown, methods: readonly string[], doing = "open buffer"): void {
  for (const method of methods) {
    const found = typeof value === "object" && value !== null ? Reflect.get(value, method) : undefined;
    if (typeof found !== "function") {
      throw new TypeError(`Cannot ${doing}: ${name} must have a method ${method}(), got ${describe(value)}`);
    }
  }
}

/** A value, for messages. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
