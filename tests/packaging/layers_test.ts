/**
 * The doors between the rooms of `src/`: a room imports only from the rooms in its row, and only the adapters touch a
 * runtime.
 *
 * A room is a folder, or single files of one. Rows are read from the top: a file belongs to the first row that names it.
 */

import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";

/** `x/*` stands for the files of a folder, `x/**` for those of its folders, too; `(types)` for nothing but types. */
const DOORS: readonly (readonly [room: string, doors: string])[] = [
  ["base/*", ""],
  ["errors/*", ""],
  ["fs/*", "base/* errors/*"],
  ["testing/*", "fs/* base/* errors/*"],
  ["wal/*", "fs/* base/* errors/*"],
  ["wal/recovery/*", "wal/* fs/* base/* errors/*"],
  ["wal/reader/*", "wal/recovery/* wal/* fs/* base/* errors/*"],
  ["wal/writer/*", "wal/reader/*(types) wal/recovery/* wal/* fs/* base/* errors/*"],
  ["buffer/*", "wal/** fs/* base/* errors/*"],
  ["maintenance/*", "wal/recovery/* wal/* fs/* base/* errors/*"],
  ["producer/*", "buffer/record_buffer buffer/batch buffer/events buffer/options base/* errors/*"],
  ["sinks/presets", "buffer/options"],
  ["sinks/*", "producer/delivery fs/* base/* errors/*"],
  ["metrics/*", "buffer/record_buffer buffer/events producer/producer producer/events base/* errors/*"],
  ["cli/**", "**"],
];

/** What only these files may use. */
const ONLY_IN: readonly { readonly what: string; readonly found: RegExp; readonly files: readonly string[] }[] = [
  { what: "Deno.", found: /\bDeno\??\./, files: ["fs/deno"] },
  { what: "Bun.", found: /\bBun\??\./, files: ["fs/bun"] },
  { what: "node:fs", found: /"node:fs\b/, files: ["fs/node", "fs/bun", "fs/overwrites_in_place", "fs/random_bytes"] },
  { what: "@std/fs", found: /"@std\/fs\b/, files: ["fs/deno"] },
  { what: "@std/assert", found: /"@std\/assert\b/, files: [] },
  // Node 22 has neither, and stripping types doesn't turn them into something it has.
  { what: "await using", found: /\busing\s+\w+\s*=/, files: [] },
  // Whole packages: dozens of modules to fetch for one function.
  { what: "a package without a function's name", found: /(from|import)\s*\(?\s*"@std\/\w+"/, files: [] },
];

interface Source {
  /** Path below `src/` without `.ts`. */
  readonly name: string;
  readonly text: string;
  /** The text without comments. */
  readonly code: string;
}

const sourceUrl = new URL("../../src/", import.meta.url);

function readSources(): Source[] {
  return readdirSync(sourceUrl, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith(".ts"))
    .sort()
    .map((path) => {
      const text = readFileSync(new URL(path, sourceUrl), "utf8");
      return { name: path.slice(0, -".ts".length), text, code: withoutComments(text) };
    });
}

/** Strings are matched, too, and kept, so that a `//` or `/*` inside one starts no comment. */
function withoutComments(text: string): string {
  const pattern = /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[^]*?\*\/|\/\/.*/g;
  return text.replace(pattern, (_match, string: string | undefined) => string ?? "");
}

interface Import {
  /** Path below `src/` without `.ts`. */
  readonly name: string;
  readonly isType: boolean;
}

/** What `source` imports or re-exports of the package. */
function importsOf(source: Source): Import[] {
  const pattern = /\b(?:(import|export)\s+(type\s+)?(?:\{[^}]*\}|[\w*\s]+)\s*from|import)\s*\(?\s*"(\.[^"]*)\.ts"/g;
  return Array.from(source.code.matchAll(pattern), ([, , type, specifier]) => {
    const url = new URL(specifier!, new URL(source.name, sourceUrl));
    const name = url.href.startsWith(sourceUrl.href) ? url.href.slice(sourceUrl.href.length) : specifier!;
    return { name, isType: type !== undefined };
  });
}

/** Whether a pattern of the table names a file. */
function covers(pattern: string, name: string): boolean {
  if (pattern.endsWith("**")) return name.startsWith(pattern.slice(0, -"**".length));
  if (!pattern.endsWith("/*")) return pattern === name;
  const folder = pattern.slice(0, -"*".length);
  return name.startsWith(folder) && !name.slice(folder.length).includes("/");
}

function rowOf(name: string): (typeof DOORS)[number] | undefined {
  return DOORS.find(([room]) => covers(room, name));
}

/** Whether there is a door from one file to another; files of one room know each other. */
function isOpen(source: string, { name, isType }: Import): boolean {
  const [room, doors] = rowOf(source) ?? ["", ""];
  const open = doors.split(" ").filter((door) => isType || !door.endsWith("(types)"));
  return [room, ...open].some((door) => covers(door.replace("(types)", ""), name));
}

test("source files are in a room of the table", () => {
  assertEquals(readSources().filter(({ name }) => rowOf(name) === undefined).map(({ name }) => name), []);
});

test("source files import only through the doors of their room", () => {
  const breaches = readSources().flatMap((source) =>
    importsOf(source).filter((target) => !isOpen(source.name, target)).map(({ name }) => `${source.name} -> ${name}`)
  );
  assertEquals(breaches, []);
});

test("the parts of a command are imported by that command alone", () => {
  const parts = readSources().flatMap((source) => importsOf(source).map(({ name }) => [source.name, name] as const))
    .map(([from, to]) => [from, to, /^cli\/(\w+)\//.exec(to)?.[1]] as const)
    .filter(([from, , command]) => command !== undefined && command !== "shared" && !from.startsWith(`cli/${command}`));
  assertEquals(parts.map(([from, to]) => `${from} -> ${to}`), []);
});

test("source files don't import each other in a circle", () => {
  const sources = new Map(readSources().map((source) => [source.name, importsOf(source)]));
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) circles.push([...path.slice(path.indexOf(name)), name].join(" -> "));
    if (done.has(name)) return;
    done.add(name);
    for (const { name: next, isType } of sources.get(name) ?? []) if (!isType) visit(next, [...path, name]);
  };
  for (const name of sources.keys()) visit(name, []);
  assertEquals(circles, []);
});

for (const { what, found, files } of ONLY_IN) {
  test(`source files don't use ${what}${files.length === 0 ? "" : `, except ${files.join(", ")}`}`, () => {
    const users = readSources().filter(({ name, code }) => !files.includes(name) && found.test(code));
    assertEquals(users.map(({ name }) => name), []);
  });
}

test("source files open with a comment that documents the module", () => {
  const bare = readSources().filter(({ text }) => !/^\/\*\*[^]*?@module\s*\*\//.test(text));
  assertEquals(bare.map(({ name }) => name), []);
});
