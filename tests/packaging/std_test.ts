/**
 * The stand-ins of `tests/std/` do what the documentation of the `@std` packages says, and every runtime finds them.
 *
 * `deno task test:jsr` runs the same tests against the published packages.
 */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import * as std from "@std/assert";
import { assertEquals, AssertionError, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { ensureDir, ensureDirSync } from "@std/fs/ensure-dir";
import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";

// The functions under test judge themselves here, so their verdicts are read off by hand.

/** Whether `check` passes; throws when it fails with anything but an AssertionError. */
function passes(check: () => void): boolean {
  try {
    check();
  } catch (error) {
    if (error instanceof AssertionError) return false;
    throw error;
  }
  return true;
}

/** Throws unless each check passes or fails as its row says. */
function expectVerdicts(rows: readonly (readonly [name: string, expected: boolean, check: () => void])[]): void {
  const wrong = rows.filter(([, expected, check]) => passes(check) !== expected).map(([name]) => name);
  if (wrong.length > 0) throw new Error(`Wrong verdict: ${wrong.join("; ")}`);
}

class Point {
  readonly x: number;
  #hidden: number;
  constructor(x: number, hidden: number) {
    this.x = x;
    this.#hidden = hidden;
  }
  get shown(): number {
    return this.#hidden;
  }
}

function cycle(value: number): { value: number; self?: unknown } {
  const object: { value: number; self?: unknown } = { value };
  object.self = object;
  return object;
}

/** Pairs of values, and whether they are equal. */
const PAIRS: readonly (readonly [name: string, isEqual: boolean, a: unknown, b: unknown])[] = [
  ["same numbers", true, 1, 1],
  ["NaN and NaN", true, NaN, NaN],
  ["0 and -0", true, 0, -0],
  ["a number and its text", false, 1, "1"],
  ["a number and a bigint", false, 1, 1n],
  ["null and undefined", false, null, undefined],
  ["null and an object", false, null, {}],
  ["objects with keys in another order", true, { a: 1, b: 2 }, { b: 2, a: 1 }],
  ["a missing key and an undefined one", false, {}, { a: undefined }],
  ["two keys, of which one is missing in each", false, { a: undefined }, { b: undefined }],
  ["nested objects", true, { a: [{ b: 1 }] }, { a: [{ b: 1 }] }],
  ["nested objects that differ", false, { a: [{ b: 1 }] }, { a: [{ b: 2 }] }],
  ["symbol keys that differ", false, { [Symbol.for("k")]: 1 }, { [Symbol.for("k")]: 2 }],
  ["an object without prototype and a plain one", true, Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  ["an array and an array-like object", false, [1], { 0: 1 }],
  ["arrays of different length", false, [1], [1, 2]],
  ["a hole and undefined", false, [,], [undefined]],
  ["instances of one class", true, new Point(1, 2), new Point(1, 2)],
  ["instances whose getters differ", false, new Point(1, 2), new Point(1, 3)],
  ["an instance and a plain object", false, new Point(1, 2), { x: 1 }],
  ["dates", true, new Date(5), new Date(5)],
  ["dates that differ", false, new Date(5), new Date(6)],
  ["invalid dates", true, new Date(NaN), new Date(NaN)],
  ["patterns", true, /a/g, /a/g],
  ["patterns with other flags", false, /a/g, /a/i],
  ["URLs that differ", false, new URL("file:///a"), new URL("file:///b")],
  ["bytes", true, new Uint8Array([1, 2]), new Uint8Array([1, 2])],
  ["bytes that differ", false, new Uint8Array([1, 2]), new Uint8Array([1, 3])],
  ["bytes of different length", false, new Uint8Array(2), new Uint8Array(3)],
  ["bytes of another type", false, new Uint8Array([1]), new Int8Array([1])],
  ["a view in the middle of a buffer", true, new Uint8Array([0, 1, 2]).subarray(1), new Uint8Array([1, 2])],
  ["floats that are NaN", true, new Float64Array([NaN]), new Float64Array([NaN])],
  ["buffers", true, new Uint8Array([1]).buffer, new Uint8Array([1]).buffer],
  ["buffers that differ", false, new Uint8Array([1]).buffer, new Uint8Array([2]).buffer],
  ["sets in another order", true, new Set([1, 2]), new Set([2, 1])],
  ["sets that differ", false, new Set([1, 2]), new Set([1, 3])],
  ["a set and a part of it", false, new Set([{ a: 1 }]), new Set([{ a: 1 }, { b: 1 }])],
  ["sets of equal objects", true, new Set([{ a: 1 }, { b: 1 }]), new Set([{ b: 1 }, { a: 1 }])],
  ["a set and an array", false, new Set([1]), [1]],
  ["maps in another order", true, new Map([["a", 1], ["b", 2]]), new Map([["b", 2], ["a", 1]])],
  ["maps whose values differ", false, new Map([["a", 1]]), new Map([["a", 2]])],
  ["a missing entry and an undefined one", false, new Map([["a", undefined]]), new Map([["b", undefined]])],
  ["maps with equal objects as keys", true, new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 1]])],
  ["maps of which one has a property", false, Object.assign(new Map(), { a: 1 }), new Map()],
  ["a map and a set", false, new Map(), new Set()],
  ["an error and itself", true, ...same(new Error("a"))],
  ["errors with other messages", false, new Error("a"), new Error("b")],
  ["one function", true, ...same(() => 1)],
  ["two functions", false, () => 1, () => 1],
  ["cycles", true, cycle(1), cycle(1)],
  ["cycles that differ", false, cycle(1), cycle(2)],
];

function same<T>(value: T): [T, T] {
  return [value, value];
}

test("assertEquals() is deep, and strict about types", () => {
  expectVerdicts(PAIRS.map(([name, isEqual, a, b]) => [name, isEqual, () => assertEquals(a, b)]));
  expectVerdicts(PAIRS.map(([name, isEqual, a, b]) => [`${name}, reversed`, isEqual, () => assertEquals(b, a)]));
});

test("assertNotEquals() says the opposite of assertEquals()", () => {
  expectVerdicts(PAIRS.map(([name, isEqual, a, b]) => [name, !isEqual, () => std.assertNotEquals(a, b)]));
});

test("assertEquals() refuses to compare what can't be looked into", () => {
  assertThrows(() => assertEquals(new WeakMap(), new WeakMap()), TypeError, "WeakMap");
  assertThrows(() => assertEquals(new WeakSet(), new WeakSet()), TypeError, "WeakSet");
});

test("assertions of one value or two pass and fail as documented", () => {
  const object = {};
  expectVerdicts([
    ["assert() of true", true, () => std.assert(true)],
    ["assert() of a non-empty string", true, () => std.assert("a")],
    ["assert() of 0", false, () => std.assert(0)],
    ["assertFalse() of an empty string", true, () => std.assertFalse("")],
    ["assertFalse() of 1", false, () => std.assertFalse(1)],
    ["fail()", false, () => std.fail()],
    ["assertStrictEquals() of one object", true, () => assertStrictEquals(object, object)],
    ["assertStrictEquals() of equal objects", false, () => assertStrictEquals({}, {})],
    ["assertStrictEquals() of NaN", true, () => assertStrictEquals(NaN, NaN)],
    ["assertStrictEquals() of 0 and -0", false, () => assertStrictEquals(0, -0)],
    ["assertNotStrictEquals() of equal objects", true, () => std.assertNotStrictEquals({}, {})],
    ["assertNotStrictEquals() of one object", false, () => std.assertNotStrictEquals(object, object)],
    ["assertExists() of 0", true, () => std.assertExists(0)],
    ["assertExists() of null", false, () => std.assertExists(null)],
    ["assertExists() of undefined", false, () => std.assertExists(undefined)],
    ["assertGreater() of 2 and 1", true, () => std.assertGreater(2, 1)],
    ["assertGreater() of 1 and 1", false, () => std.assertGreater(1, 1)],
    ["assertGreater() of NaN", false, () => std.assertGreater(NaN, 1)],
    ["assertGreaterOrEqual() of 1 and 1", true, () => std.assertGreaterOrEqual(1, 1)],
    ["assertGreaterOrEqual() of 1 and 2", false, () => std.assertGreaterOrEqual(1, 2)],
    ["assertLess() of 1 and 2", true, () => std.assertLess(1, 2)],
    ["assertLess() of 1 and 1", false, () => std.assertLess(1, 1)],
    ["assertLessOrEqual() of 1 and 1", true, () => std.assertLessOrEqual(1, 1)],
    ["assertLessOrEqual() of 2 and 1", false, () => std.assertLessOrEqual(2, 1)],
    ["assertLessOrEqual() of NaN", false, () => std.assertLessOrEqual(NaN, NaN)],
    ["assertAlmostEquals() within a ten-millionth", true, () => std.assertAlmostEquals(1, 1 + 1e-8)],
    ["assertAlmostEquals() further away", false, () => std.assertAlmostEquals(1, 1 + 1e-6)],
    ["assertAlmostEquals() within its tolerance", true, () => std.assertAlmostEquals(10, 11, 1)],
    ["assertAlmostEquals() outside of it", false, () => std.assertAlmostEquals(10, 11.5, 1)],
    ["assertMatch() of a match", true, () => std.assertMatch("abc", /b/)],
    ["assertMatch() of none", false, () => std.assertMatch("abc", /d/)],
    ["assertStringIncludes() of a part", true, () => std.assertStringIncludes("abc", "bc")],
    ["assertStringIncludes() of another string", false, () => std.assertStringIncludes("abc", "cb")],
    ["assertInstanceOf() of a subclass", true, () => std.assertInstanceOf(new TypeError(), Error)],
    ["assertInstanceOf() of another class", false, () => std.assertInstanceOf(new TypeError(), RangeError)],
    ["assertInstanceOf() of null", false, () => std.assertInstanceOf(null, Object)],
  ]);
});

test("assertThrows() passes when the function throws what is expected", () => {
  const boom = () => {
    throw new TypeError("too hot");
  };
  const throwText = () => {
    throw "text";
  };
  expectVerdicts([
    ["anything", true, () => assertThrows(boom)],
    ["nothing thrown", false, () => assertThrows(() => {})],
    ["the class", true, () => assertThrows(boom, TypeError)],
    ["a base class", true, () => assertThrows(boom, Error)],
    ["another class", false, () => assertThrows(boom, RangeError)],
    ["class and part of the message", true, () => assertThrows(boom, TypeError, "hot")],
    ["class and another message", false, () => assertThrows(boom, TypeError, "cold")],
    ["no error object, when none is asked for", true, () => assertThrows(throwText)],
    ["no error object, when one is asked for", false, () => assertThrows(throwText, Error)],
  ]);
});

test("assertThrows() returns what was thrown", () => {
  const error = new TypeError("too hot");
  const boom = () => {
    throw error;
  };
  assertStrictEquals(assertThrows(boom, TypeError), error);
  assertStrictEquals(assertThrows(boom), error);
});

test("assertRejects() passes when the promise rejects with what is expected", async () => {
  const boom = () => Promise.reject(new TypeError("too hot"));
  const throws = () => {
    throw new TypeError("at the call");
  };
  const rows: readonly (readonly [name: string, expected: boolean, check: () => Promise<unknown>])[] = [
    ["anything", true, () => assertRejects(boom)],
    ["nothing rejected", false, () => assertRejects(() => Promise.resolve())],
    ["the class", true, () => assertRejects(boom, TypeError)],
    ["a base class", true, () => assertRejects(boom, Error)],
    ["another class", false, () => assertRejects(boom, RangeError)],
    ["class and part of the message", true, () => assertRejects(boom, TypeError, "hot")],
    ["class and another message", false, () => assertRejects(boom, TypeError, "cold")],
    ["no error object, when one is asked for", false, () => assertRejects(() => Promise.reject("text"), Error)],
    ["thrown at the call", false, () => assertRejects(throws)],
  ];
  const wrong: string[] = [];
  for (const [name, expected, check] of rows) {
    const verdict = await check().then(() => true, (error: unknown) => error instanceof AssertionError ? false : null);
    if (verdict !== expected) wrong.push(name);
  }
  if (wrong.length > 0) throw new Error(`Wrong verdict: ${wrong.join("; ")}`);
});

test("assertRejects() resolves to what was rejected", async () => {
  const error = new TypeError("too hot");
  assertStrictEquals(await assertRejects(() => Promise.reject(error), TypeError), error);
});

test("assertions put the caller's message into theirs", async () => {
  const messages = [
    assertThrows(() => std.assert(false, "why"), AssertionError).message,
    assertThrows(() => std.fail("why"), AssertionError).message,
    assertThrows(() => assertEquals(1, 2, "why"), AssertionError).message,
    assertThrows(() => std.assertLess(2, 1, "why"), AssertionError).message,
    assertThrows(() => std.assertMatch("a", /b/, "why"), AssertionError).message,
    assertThrows(() => assertThrows(() => {}, "why"), AssertionError).message,
    assertThrows(() => assertThrows(() => {}, Error, "", "why"), AssertionError).message,
    (await assertRejects(() => assertRejects(() => Promise.resolve(), "why"), AssertionError)).message,
  ];
  assertEquals(messages.filter((message) => !message.includes("why")), []);
});

test("AssertionError is an Error with a name, a message and a cause", () => {
  const error = new AssertionError("why", { cause: 1 });
  assertEquals([error instanceof Error, error.name, error.message, error.cause], [true, "AssertionError", "why", 1]);
});

const isWindows = process.platform === "win32";

test("join() normalizes what it joins", { skip: isWindows }, () => {
  const rows: readonly (readonly [paths: [string, ...string[]], joined: string])[] = [
    [["/foo", "bar", "baz/asdf", "quux", ".."], "/foo/bar/baz/asdf"],
    [["a", "b"], "a/b"],
    [["a/", "/b"], "a/b"],
    [["a/b", "../../../c"], "../c"],
    [["a", ""], "a"],
    [["a/", ""], "a/"],
    [["", ""], "."],
    [["./"], "./"],
    [["/", ".."], "/"],
    [["//", "a"], "/a"],
  ];
  for (const [paths, joined] of rows) assertEquals(join(...paths), joined, JSON.stringify(paths));
  assertEquals(join(new URL("file:///foo%20bar"), "baz"), "/foo bar/baz");
});

test("basename() is the last segment, without the suffix", { skip: isWindows }, () => {
  const rows: readonly (readonly [path: string, suffix: string, name: string])[] = [
    ["/home/user/Documents/image.png", "", "image.png"],
    ["/home/user/Documents/image.png", ".png", "image"],
    ["a/b/", "", "b"],
    ["a/b//", "b", "b"],
    ["a.wal/", ".wal", "a"],
    ["a", "", "a"],
    ["", "", ""],
    ["/", "", "/"],
    ["///", "a", "/"],
  ];
  for (const [path, suffix, name] of rows) assertEquals(basename(path, suffix), name, JSON.stringify([path, suffix]));
  assertEquals(basename(new URL("file:///a/b.wal"), ".wal"), "b");
});

test("dirname() is the path without its last segment", { skip: isWindows }, () => {
  const rows: readonly (readonly [path: string, directory: string])[] = [
    ["/home/user/Documents/image.png", "/home/user/Documents"],
    ["a/b/", "a"],
    ["a//b", "a"],
    ["///a///b", "///a"],
    ["a", "."],
    ["", "."],
    ["/a", "/"],
    ["//a//", "/"],
    ["////", "/"],
  ];
  for (const [path, directory] of rows) assertEquals(dirname(path), directory, JSON.stringify(path));
  assertEquals(dirname(new URL("file:///a/b.wal")), "/a");
});

// The published ensureDir() is written on `Deno.*`, so it can't be tested elsewhere; the stand-in can.
for (const [name, ensure] of [["ensureDir()", ensureDir], ["ensureDirSync()", ensureDirSync]] as const) {
  test(`${name} makes a directory with its parents, and leaves one alone that is there`, () =>
    inTempDirectory(async (directory) => {
      await ensure(join(directory, "a", "b"));
      assertEquals(statSync(join(directory, "a", "b")).isDirectory(), true);
      writeFileSync(join(directory, "a", "b", "file"), "content");
      await ensure(join(directory, "a", "b"));
      await ensure(pathToFileURL(join(directory, "a")));
      assertEquals(readFileSync(join(directory, "a", "b", "file"), "utf8"), "content");
    }));

  test(`${name} takes a link to a directory for a directory`, () =>
    inTempDirectory(async (directory) => {
      mkdirSync(join(directory, "real"));
      symlinkSync(join(directory, "real"), join(directory, "link"), "dir");
      await ensure(join(directory, "link"));
      assertEquals(existsSync(join(directory, "link")), true);
    }));

  test(`${name} throws when a file is in the way`, () =>
    inTempDirectory(async (directory) => {
      writeFileSync(join(directory, "file"), "content");
      await assertRejects(
        async () => await ensure(join(directory, "file")),
        Error,
        "Failed to ensure directory exists: expected 'dir', got 'file'",
      );
      const error = await assertRejects(async () => await ensure(join(directory, "file", "below")), Error);
      assertEquals((error as { code?: unknown }).code, "ENOTDIR");
      assertEquals(readFileSync(join(directory, "file"), "utf8"), "content");
    }));
}

async function inTempDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-std-"));
  try {
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("all runtimes find the same file under a name", () => {
  const config = readJson("deno.json");
  const stands: Record<string, string> = {};
  for (const folder of config.links) {
    const { name, exports } = readJson(`${folder}/deno.json`);
    for (const [key, file] of Object.entries<string>(exports)) stands[name + key.slice(1)] = join(folder, file);
  }
  // Packages that examples and tests use; elsewhere they are installed from npm.
  const packages: Record<string, string> = readJson("tests/engines/clients.json").dependencies;
  const names = [...Object.keys(stands), ...Object.keys(packages)];
  assertEquals(Object.keys(config.imports).sort(), names.sort(), "imports, stand-ins and packages");
  for (const [name, specifier] of Object.entries(config.imports)) {
    const version = packages[name];
    // A version may name the package itself: an alias.
    const npm = version?.startsWith("npm:") ? version : `npm:${name}@${version}`;
    assertEquals(specifier, version ? npm : name.replace(/^(@std\/\w+)/, "jsr:$1@^1"));
  }
  const own = Object.entries<string>(config.exports).map(([key, file]) => [config.name + key.slice(1), join(file)]);
  const { paths } = readJson("tests/std/tsconfig.json").compilerOptions;
  const expected = Object.entries({ ...stands, ...Object.fromEntries(own) }).map(([name, file]) => [name, [file]]);
  assertEquals(paths, Object.fromEntries(expected), "deno.json and tests/std/tsconfig.json");
});

// deno-lint-ignore no-explicit-any
function readJson(path: string): any {
  return JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"));
}
