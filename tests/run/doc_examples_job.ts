/**
 * The examples of the documentation as one test file on Deno.
 *
 * Every example becomes a module, with its code on the lines on which it stands in its file, so that an error shows the
 * place; one test imports each. `deno test --doc` would do as well, but starts again for each example, which takes ten
 * times as long. They get a directory of their own, and the two permissions that the package needs, for that alone.
 */

import { documentedFiles, examplesOf } from "../packaging/doc_examples.ts";
import type { Job } from "./jobs.ts";
import { deno, DENO_TEST } from "./runtimes.ts";

/** Writes the examples into `cwd`, which it makes; `root` is the repository's, and ends with a slash. */
export function makeExamplesJob(root: string, cwd: string): Job {
  Deno.mkdirSync(cwd);
  const examples = documentedFiles(root)
    .flatMap((file) => examplesOf(file, Deno.readTextFileSync(root + file)))
    .filter(({ isIgnored }) => !isIgnored);
  const tests = examples.map(({ file, line, code }) => {
    const name = `${file.replaceAll("/", ".")}.${line}.ts`;
    Deno.writeTextFileSync(`${cwd}/${name}`, "\n".repeat(line - 1) + code);
    return `Deno.test("${file}:${line}", async () => void await import("./${name}"));\n`;
  });
  Deno.writeTextFileSync(`${cwd}/examples_test.ts`, tests.join(""));
  const test = DENO_TEST.filter((arg) => arg !== "--no-check");
  return {
    runtime: deno(),
    name: "examples of the documentation",
    args: [...test, `--config=${root}deno.json`, "--allow-read=.", "--allow-write=.", "examples_test.ts"],
    cwd,
    env: { TMPDIR: cwd },
  };
}
