/**
 * Builds the documentation as HTML, in `docs/`, and checks it: `deno run -A tests/packaging/docs.ts`, or `deno task docs`.
 *
 * Fails on whatever `deno doc` warns about, for every entry point of deno.json; on an exported symbol without an example;
 * on an example that isn't run or asserts nothing. `deno task test deno` runs the examples.
 */

import { stripVTControlCharacters } from "node:util";
import { documentationFaults, documentedFiles, examplesOf, faultOf } from "./doc_examples.ts";

const root = decodeURIComponent(new URL("../..", import.meta.url).pathname).replace(/^\/(?=[A-Z]:)/, "");

interface Config {
  readonly name: string;
  readonly exports: Readonly<Record<string, string>>;
}

/** Runs `deno doc`; what it complains about is a fault. */
async function denoDoc(args: readonly string[]): Promise<{ stdout: string; faults: string[] }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: ["doc", ...args], cwd: root })
    .output();
  const [out, errors] = [stdout, stderr].map((bytes) => stripVTControlCharacters(new TextDecoder().decode(bytes)));
  // On success it says what it has done, and nothing else.
  const told = errors!.split("\n").filter((line) => line !== "" && !/^(Checked|Written|Check|Download) /.test(line));
  return { stdout: out!, faults: success && told.length === 0 ? [] : [`deno doc ${args[0]}: ${told.join("\n")}`] };
}

const { name, exports }: Config = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
const entryPoints = Object.values(exports);
const linted = await denoDoc(["--lint", ...entryPoints]);
const built = await denoDoc(["--html", `--name=${name}`, "--output=docs", ...entryPoints]);
const { stdout } = await denoDoc(["--json", ...entryPoints]);
const examples = documentedFiles(root).flatMap((file) => examplesOf(file, Deno.readTextFileSync(root + file)));
const faults = [
  ...linted.faults,
  ...built.faults,
  ...documentationFaults(JSON.parse(stdout)),
  ...examples.flatMap((example) => {
    const fault = faultOf(example);
    return fault === undefined ? [] : [`${example.file}:${example.line}: the example ${fault}`];
  }),
];
for (const fault of faults) console.error(fault.replaceAll(new URL(`file://${root}`).href, ""));
if (faults.length > 0) Deno.exit(1);
console.log(`${examples.length} examples; the documentation is in docs/`);
