/**
 * Each rule for public documentation is enforced: what breaks it is a fault, and what keeps it is none.
 * `tests/packaging/docs.ts` applies the rules to the package.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { CALLED, type DocDeclaration, documentationFaults, FOREIGN, IMPLEMENTED } from "./doc_rules.ts";

const EXAMPLE = { kind: "example", doc: "A title\n```ts\nassert(true);\n```\n" };
const LOCATION = { filename: "a.ts", line: 0 };
const VOID = { repr: "void" };

type Definition = NonNullable<DocDeclaration["def"]>;
type Method = NonNullable<Definition["methods"]>[number];
type Tags = NonNullable<NonNullable<DocDeclaration["jsDoc"]>["tags"]>;

/** The faults of symbols by name, all declared on line 1 of a.ts. */
function faultsOf(symbols: Record<string, Partial<DocDeclaration>>, source = ""): string[] {
  const nodes = {
    a: {
      symbols: Object.entries(symbols).map(([name, declaration]) => ({
        name,
        declarations: [{ kind: "function", location: LOCATION, ...declaration }],
      })),
    },
  };
  return documentationFaults({ nodes }, () => source);
}

function method(name: string, tags: Tags, rest: Partial<Method> = {}): Method {
  return { name, kind: "method", location: LOCATION, jsDoc: { doc: "Does it.", tags }, ...rest };
}

test("a function needs @param, @returns, @typeParam and an example", () => {
  const def: Definition = {
    params: [{ kind: "identifier", name: "a" }, { kind: "assign", left: { kind: "identifier", name: "b" } }],
    returnType: { repr: "string" },
    typeParams: [{ name: "T" }],
  };
  assertEquals(faultsOf({ make: { def } }), [
    "a.ts:1 make: has no @param a",
    "a.ts:1 make: has no @param b",
    "a.ts:1 make: has no @returns",
    "a.ts:1 make: has no @typeParam T",
    "a.ts:1 make: has no example",
  ]);
  const tags = [
    { kind: "param", name: "a", doc: "One." },
    { kind: "param", name: "b", doc: "Two." },
    { kind: "return", doc: "Both." },
    { kind: "template", name: "T", doc: "A type." },
    EXAMPLE,
  ];
  assertEquals(faultsOf({ make: { def, jsDoc: { tags } } }), []);
  const empty = tags.map((tag) => tag.kind === "return" ? { kind: "return" } : tag);
  assertEquals(faultsOf({ make: { def, jsDoc: { tags: empty } } }), ["a.ts:1 make: has no @returns"]);
});

test("a pattern may have a @param of any name, and no parameter may have none", () => {
  const def: Definition = { params: [{ kind: "object" }], returnType: VOID };
  const tags = [{ kind: "param", name: "options", doc: "All." }, EXAMPLE];
  assertEquals(faultsOf({ make: { def, jsDoc: { tags: [EXAMPLE] } } }), ["a.ts:1 make: has no @param for parameter 1"]);
  assertEquals(faultsOf({ make: { def, jsDoc: { tags } } }), []);
  assertEquals(faultsOf({ make: { def: { params: [], returnType: VOID }, jsDoc: { tags } } }), [
    "a.ts:1 make: has a @param for no parameter",
  ]);
});

test("what returns nothing needs no @returns", () => {
  const promise = (repr: string) => ({ repr: "Promise", value: { typeParams: [{ repr }] } });
  for (const returnType of [VOID, { repr: "never" }, promise("void")]) {
    assertEquals(faultsOf({ act: { def: { returnType }, jsDoc: { tags: [EXAMPLE] } } }), []);
  }
  assertEquals(faultsOf({ act: { def: { returnType: promise("number") }, jsDoc: { tags: [EXAMPLE] } } }), [
    "a.ts:1 act: has no @returns",
  ]);
});

test("code that throws needs @throws", () => {
  const act = { def: { returnType: VOID }, jsDoc: { tags: [EXAMPLE] } };
  const thrower = "export function act(): void {\n  throw new TypeError();\n}\n";
  assertEquals(faultsOf({ act }, thrower), ["a.ts:1 act: throws, and has no @throws"]);
  assertEquals(faultsOf({ act: { ...act, jsDoc: { tags: [EXAMPLE, { kind: "throws" }] } } }, thrower), []);
  for (
    const source of [
      "export function act(): void {\n  // Can't throw.\n}\n\nfunction other() {\n  throw 1;\n}\n",
      "  act(): void;\n\n  other() {\n    throw 1;\n  }\n",
      "export function act(): void {}\n\nfunction other() {\n  throw 1;\n}\n",
    ]
  ) {
    assertEquals(faultsOf({ act }, source), []);
  }
  const wrapped = "export function act(\n  a: string,\n): void {\n  throw 1;\n}\n";
  assertEquals(faultsOf({ act }, wrapped), ["a.ts:1 act: throws, and has no @throws"]);
});

test("a class needs an example, and so does each of its public methods", () => {
  const methods = [
    method("run", []),
    method("size", [], { kind: "getter" }),
    method("secret", [], { accessibility: "private" }),
    method("[Symbol.asyncDispose]", []),
    method("shown", [EXAMPLE], { functionDef: { returnType: { repr: "number" } } }),
  ];
  const constructors = [method("constructor", [], { params: [{ kind: "identifier", name: "path" }] })];
  const def: Definition = { methods, constructors, typeParams: [{ name: "T" }] };
  assertEquals(faultsOf({ Log: { kind: "class", def } }), [
    "a.ts:1 Log: has no example",
    "a.ts:1 Log: has no @typeParam T",
    "a.ts:1 new Log: has no @param path",
    "a.ts:1 Log.run: has no example",
    "a.ts:1 Log.shown: has no @returns",
  ]);
});

test("a method that implements an exported interface may link there", () => {
  const functionDef = { returnType: { repr: "number" } };
  const now = (doc: string) => ({ ...method("now", [], { functionDef }), jsDoc: { doc } });
  const symbols = (doc: string) => ({
    Clock: {
      kind: "interface",
      jsDoc: { tags: [EXAMPLE] },
      def: { methods: [method("now", [{ kind: "return", doc: "The time." }], functionDef)] },
    },
    Wall: {
      kind: "class",
      jsDoc: { tags: [EXAMPLE] },
      def: { methods: [now(doc)], implements: [{ repr: "Clock" }] },
    },
  });
  assertEquals(faultsOf(symbols("See {@linkcode Clock.now}.")), []);
  assertEquals(faultsOf(symbols("The time.")), ["a.ts:1 Wall.now: has no @returns", "a.ts:1 Wall.now: has no example"]);
});

test("a method of an interface needs tags, unless another package documents it", () => {
  const def = (name: string): Record<string, Partial<DocDeclaration>> => ({
    [name]: {
      kind: "interface",
      jsDoc: { tags: IMPLEMENTED.has(name) ? [EXAMPLE] : [] },
      def: { methods: [method("get", [], { returnType: { repr: "number" } })] },
    },
  });
  assertEquals(faultsOf(def("Store")), ["a.ts:1 Store.get: has no @returns"]);
  for (const name of FOREIGN) assertEquals(faultsOf(def(name)), []);
  for (const name of CALLED) {
    assertEquals(faultsOf(def(name)), [`a.ts:1 ${name}.get: has no @returns`, `a.ts:1 ${name}.get: has no example`]);
  }
});

test("a type has an example if users implement it, and only then", () => {
  for (const kind of ["interface", "typeAlias"]) {
    assertEquals(faultsOf({ Codec: { kind } }), ["a.ts:1 Codec: has no example"]);
    assertEquals(faultsOf({ Options: { kind } }), []);
    assertEquals(faultsOf({ Options: { kind, jsDoc: { tags: [EXAMPLE] } } }), [
      "a.ts:1 Options: has an example, but users don't implement it",
    ]);
  }
  assertEquals(faultsOf({ LIMIT: { kind: "variable" } }), []);
});

test("an example has a title and code", () => {
  const symbol = (doc: string) => ({ LIMIT: { kind: "variable", jsDoc: { tags: [{ kind: "example", doc }] } } });
  assertEquals(faultsOf(symbol("```ts\nassert(true);\n```\n")), ["a.ts:1 LIMIT: an example has no title"]);
  assertEquals(faultsOf(symbol("A title\n```sh\nls\n```\n")), ["a.ts:1 LIMIT: an example has no code"]);
});

test("a link must lead to something that is exported", () => {
  const symbol = (doc: string) => ({ LIMIT: { kind: "variable", jsDoc: { doc } } });
  assertEquals(faultsOf(symbol("{@linkcode LIMIT}, {@link LIMIT.a | a} and {@link https://a.example/}.")), []);
  assertEquals(faultsOf(symbol("See {@linkcode Nothing.put}.")), [
    "{@link Nothing.put} leads to nothing that is exported",
  ]);
});

test("a tag that deno doc leaves out is a fault", () => {
  const tags = [{ kind: "unsupported", value: "@default 5" }];
  assertEquals(faultsOf({ LIMIT: { kind: "variable", jsDoc: { tags } } }), ["@default 5: is left out"]);
});
