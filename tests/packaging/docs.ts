/**
 * Builds the documentation as HTML, in `docs/`, and checks it: `deno run -A tests/packaging/docs.ts`, or `deno task docs`.
 *
 * Fails on any warning of `deno doc`, for every entry point of deno.json; on a tag or an example that `doc_rules.ts` asks
 * for and that is missing; on an example that isn't run or asserts nothing. `deno task test deno` runs the examples.
 */

import { stripVTControlCharacters } from "node:util";
import { documentedFiles, examplesOf, faultOf } from "./doc_examples.ts";
import { documentationFaults } from "./doc_rules.ts";
import { namingFaults } from "./public_names.ts";

const root = decodeURIComponent(new URL("../..", import.meta.url).pathname).replace(/^\/(?=[A-Z]:)/, "");

interface Config {
  readonly name: string;
  readonly exports: Readonly<Record<string, string>>;
}

/** Runs `deno doc`; each complaint is a fault. */
async function denoDoc(args: readonly string[]): Promise<{ stdout: string; faults: string[] }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: ["doc", ...args], cwd: root })
    .output();
  const [out, errors] = [stdout, stderr].map((bytes) => stripVTControlCharacters(new TextDecoder().decode(bytes)));
  // On success it only lists what it has done.
  const complaints = errors!.split("\n").filter((line) =>
    line !== "" && !/^(Checked|Written|Check|Download) /.test(line)
  );
  return {
    stdout: out!,
    faults: success && complaints.length === 0 ? [] : [`deno doc ${args[0]}: ${complaints.join("\n")}`],
  };
}

const { name, exports }: Config = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
const entryPoints = Object.values(exports);
const linted = await denoDoc(["--lint", ...entryPoints]);
const built = await denoDoc(["--html", `--name=${name}`, "--output=docs", ...entryPoints]);
const { stdout } = await denoDoc(["--json", ...entryPoints]);
const rootUrl = new URL(`file://${root}`).href;
const missing = documentationFaults(JSON.parse(stdout), (filename) => Deno.readTextFileSync(new URL(filename)));
const examples = documentedFiles(root).flatMap((file) => examplesOf(file, Deno.readTextFileSync(root + file)));
const faults = [
  ...linted.faults,
  ...built.faults,
  ...missing,
  ...namingFaults(JSON.parse(stdout).nodes),
  ...examples.flatMap((example) => {
    const fault = faultOf(example);
    return fault === undefined ? [] : [`${example.file}:${example.line}: the example ${fault}`];
  }),
];
for (const fault of faults) console.error(fault.replaceAll(rootUrl, ""));
if (faults.length > 0) Deno.exit(1);
console.log(`${examples.length} examples; the documentation is in docs/`);
