/**
 * The rule for examples of the documentation: what breaks it is found. `tests/packaging/docs.ts` holds the documentation to it.
 */

import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals, assertGreater } from "@std/assert";
import {
  type DocDeclaration,
  documentationFaults,
  documentedFiles,
  type Example,
  examplesOf,
  faultOf,
} from "./doc_examples.ts";

const ASSERTS = 'import { assertEquals } from "@std/assert";\n\nassertEquals(1 + 1, 2);\n';

function example(code: string, isIgnored = false): Example {
  return { file: "a.ts", line: 1, code, isIgnored };
}

/** The faults of one symbol with these examples and this text. */
function faultsOf(examples: readonly string[], doc = ""): string[] {
  const declaration: DocDeclaration = {
    kind: "class",
    location: { filename: "a.ts", line: 6 },
    jsDoc: { doc, tags: examples.map((doc) => ({ kind: "example", doc })) },
  };
  const reference: DocDeclaration = { kind: "reference", location: { filename: "b.ts", line: 1 } };
  return documentationFaults({
    nodes: {
      a: { symbols: [{ name: "Thing", declarations: [declaration] }] },
      b: { symbols: [{ name: "Thing", declarations: [reference] }] },
    },
  });
}

test("examplesOf() finds code in doc comments, with its line, and nothing elsewhere", () => {
  const text = [
    'const fence = "```ts";',
    "/**",
    " * Text.",
    " *",
    " * ```ts",
    " * const a = 1;",
    " *",
    " *   indented();",
    " * ```",
    " * ```sh",
    " * ls",
    " * ```",
    " * ```ts ignore",
    " * never",
    " * ```",
    " */",
    "/* ```ts",
    "no doc comment",
    "``` */",
  ].join("\n");
  assertEquals(examplesOf("a.ts", text), [
    { file: "a.ts", line: 6, code: "const a = 1;\n\n  indented();\n", isIgnored: false },
    { file: "a.ts", line: 14, code: "never\n", isIgnored: true },
  ]);
});

test("examplesOf() finds code in Markdown", () => {
  const text = "# Title\n\n```sh\nls\n```\n\n```ts\nconst a = 1;\n```\n";
  assertEquals(examplesOf("a.md", text), [{ file: "a.md", line: 8, code: "const a = 1;\n", isIgnored: false }]);
});

test("an example is found to assert nothing, or not to be run", () => {
  assertEquals(faultOf(example(ASSERTS)), undefined);
  assertEquals(faultOf(example(ASSERTS.replace("assertEquals(", "assertEquals<number>("))), undefined);
  assertEquals(faultOf(example("console.log(1);\n")), "asserts nothing");
  assertEquals(faultOf(example('import { assertEquals } from "@std/assert";\n')), "asserts nothing");
  assertEquals(faultOf(example("assertEquals(1, 1);\n")), "asserts nothing");
  assertEquals(faultOf(example(ASSERTS, true)), "isn't run");
  assertEquals(faultOf({ ...example("console.log(1);\n"), file: "README.md" }), undefined);
  assertEquals(faultOf({ ...example("console.log(1);\n", true), file: "README.md" }), "isn't run");
});

test("a symbol is found to have no example, one without a title, or one without code", () => {
  assertEquals(faultsOf([`A title\n\`\`\`ts\n${ASSERTS}\`\`\`\n`]), []);
  assertEquals(faultsOf([]), ["a.ts:7 Thing: has no example"]);
  assertEquals(faultsOf([`\`\`\`ts\n${ASSERTS}\`\`\`\n`]), ["a.ts:7 Thing: an example has no title"]);
  assertEquals(faultsOf(["A title\n```sh\nls\n```\n"]), ["a.ts:7 Thing: an example has no code"]);
});

test("a link is found to lead nowhere", () => {
  const good = [`A title\n\`\`\`ts\n${ASSERTS}\`\`\`\n`];
  assertEquals(faultsOf(good, "See {@linkcode Thing}, {@link Thing.put | put()} and {@link https://a.example/}."), []);
  assertEquals(faultsOf(good, "See {@linkcode Nothing.put}."), [
    "{@link Nothing.put} leads to nothing that is exported",
  ]);
});

test("a tag is found that deno doc leaves out", () => {
  const tags = [{ kind: "example", doc: `A title\n\`\`\`ts\n${ASSERTS}\`\`\`\n` }, {
    kind: "unsupported",
    value: "@default 5",
  }];
  const declaration = { kind: "variable", location: { filename: "a.ts", line: 0 }, jsDoc: { tags } };
  const nodes = { a: { symbols: [{ name: "limit", declarations: [declaration] }] } };
  assertEquals(documentationFaults({ nodes }), ["@default 5: is left out"]);
});

test("the pages and the sources are looked at", () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const counts = new Map(
    documentedFiles(root).map((file) => [file, examplesOf(file, readFileSync(root + file, "utf8")).length]),
  );
  const pages = ["README.md", "src/sinks/README.md", "examples/README.md"];
  for (const file of [...pages, "mod.ts", "src/buffer/record_buffer.ts", "src/sinks/file.ts"]) {
    assertGreater(counts.get(file), 0);
  }
});
