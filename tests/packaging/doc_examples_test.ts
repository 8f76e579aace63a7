/**
 * Examples of the documentation: they are found wherever they are, and one that proves nothing is noticed.
 */

import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals, assertGreater } from "@std/assert";
import { documentedFiles, type Example, examplesOf, faultOf } from "./doc_examples.ts";

const ASSERTS = 'import { assertEquals } from "@std/assert";\n\nassertEquals(1 + 1, 2);\n';

function example(code: string, isIgnored = false): Example {
  return { file: "a.ts", line: 1, code, isIgnored };
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

test("documentedFiles() lists the pages and the sources", () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const counts = new Map(
    documentedFiles(root).map((file) => [file, examplesOf(file, readFileSync(root + file, "utf8")).length]),
  );
  const pages = ["README.md", "src/sinks/README.md", "examples/README.md"];
  for (const file of [...pages, "mod.ts", "src/buffer/record_buffer.ts", "src/sinks/file.ts"]) {
    assertGreater(counts.get(file), 0);
  }
});
