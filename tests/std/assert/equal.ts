/**
 * The comparison behind the stand-in for `@std/assert`: deep, and strict about types.
 *
 * As the published one documents and does it: objects need the same prototype (none counts as `Object.prototype`),
 * the same enumerable keys, so that a missing key isn't an `undefined` one, and equal values, inherited getters
 * included; NaN equals NaN and 0 equals -0; dates go by time, maps and sets by content in any order, typed arrays and
 * buffers by their elements; cycles end.
 *
 * @module
 */

export function equal(actual: unknown, expected: unknown): boolean {
  return compare(actual, expected, new Map());
}

/** `seen` holds the pairs under comparison: met again inside themselves, they are equal unless something else differs. */
function compare(a: unknown, b: unknown, seen: Map<object, object>): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (prototypeOf(a) !== prototypeOf(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp || a instanceof URL || a instanceof URLSearchParams) return String(a) === String(b);
  if (isBytes(a) && isBytes(b)) return sameElements(a, b);
  if (a instanceof WeakMap) throw new TypeError("Cannot compare WeakMap instances");
  if (a instanceof WeakSet) throw new TypeError("Cannot compare WeakSet instances");
  if (seen.get(a) === b) return true;
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  seen.set(a, b);
  if (a instanceof Set && b instanceof Set) return sameEntries(a, b, seen);
  if (a instanceof Map && b instanceof Map) return sameEntries(a, b, seen);
  return sameProperties(a, b, seen);
}

function prototypeOf(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function isBytes(value: object): value is ArrayBuffer | SharedArrayBuffer | Uint8Array {
  return ArrayBuffer.isView(value) && !(value instanceof DataView) || value instanceof ArrayBuffer ||
    value instanceof SharedArrayBuffer;
}

function sameElements(a: ArrayBuffer | SharedArrayBuffer | Uint8Array, b: typeof a): boolean {
  const left = ArrayBuffer.isView(a) ? a : new Uint8Array(a);
  const right = ArrayBuffer.isView(b) ? b : new Uint8Array(b);
  return left.length === right.length && left.every((value, i) => value === right[i] || Object.is(value, right[i]));
}

type Keyed = Set<unknown> | Map<unknown, unknown>;

function sameEntries(a: Keyed, b: Keyed, seen: Map<object, object>): boolean {
  if (a.size !== b.size) return false;
  const others = [...b.entries()];
  return [...a.entries()].every(([key, value]) =>
    others.some(([otherKey, otherValue]) => compare(key, otherKey, seen) && compare(value, otherValue, seen))
  );
}

function sameProperties(a: object, b: object, seen: Map<object, object>): boolean {
  for (const key of new Set([...keysOf(a), ...keysOf(b)])) {
    if (key in a !== key in b) return false;
    if (!compare(Reflect.get(a, key), Reflect.get(b, key), seen)) return false;
  }
  return true;
}

/** Enumerable keys of plain objects and arrays; of other objects all of them, up the prototype chain. */
function keysOf(value: object): PropertyKey[] {
  let prototype = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype || prototype === Array.prototype) {
    return Reflect.ownKeys({ ...value });
  }
  const keys = Reflect.ownKeys(value);
  for (; prototype !== null && prototype !== Object.prototype; prototype = Object.getPrototypeOf(prototype)) {
    keys.push(...Reflect.ownKeys(prototype));
  }
  return keys;
}
