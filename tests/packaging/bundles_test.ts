/**
 * The package in other programs' hands: bundled by esbuild, rolldown, rollup and vite, as a module and as CommonJS, loaded by
 * `require()`, and run as the command that an npm script names. Only the last one is the command line; a program that imports
 * it stays itself.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../src/cli/shared/version.ts";
import { currentRuntime } from "../support/children.ts";
import { installPackages } from "../support/npm_packages.ts";
import { writePublishedPackage } from "../support/published_package.ts";

const PACKAGES = {
  esbuild: "0.28.2",
  rolldown: "1.3.3",
  rollup: "4.68.8",
  "@rollup/plugin-node-resolve": "16.0.3",
  typescript: "5.5.4",
  vite: "8.4.0",
};

/** A program with commands of its own, one of which is one of ours. */
const PROGRAM = `
import process from "node:process";
import { FileBuffer } from "@sluice/buffer";
import { main } from "@sluice/buffer/cli";

async function run([command, path]) {
  if (command === "show") return await main(["dump", path]);
  const buffer = await FileBuffer.open({ path });
  await buffer.put("x");
  await buffer.close();
  console.log(command, buffer.stats().puts);
  return 0;
}
run(process.argv.slice(2)).then((code) => process.exitCode = code);
`;

/** How each bundler is called for a format; the program comes last. */
const BUNDLERS: readonly { name: string; formats: readonly string[]; args: (format: string) => string[] }[] = [
  {
    name: "esbuild/bin/esbuild",
    formats: ["esm", "cjs"],
    args: (format) => ["--bundle", "--platform=node", `--format=${format}`, "--outdir=out"],
  },
  {
    name: "rolldown/bin/cli.mjs",
    formats: ["esm", "cjs"],
    args: (format) => ["--platform", "node", "--format", format, "--dir", "out"],
  },
  {
    name: "rollup/dist/bin/rollup",
    formats: ["esm", "cjs"],
    args: (format) => ["--format", format, "--dir", "out", "--plugin=node-resolve"],
  },
  {
    name: "vite/bin/vite.js",
    formats: ["esm"],
    args: () => ["build", "--outDir=out", "--ssr"],
  },
];

const SLOW = { timeout: 300_000 };
const { name: runtime, command } = currentRuntime();
let directory = "";

before(() => {
  const installed = installPackages(PACKAGES);
  assert(installed !== undefined, "npm's packages can't be had");
  directory = installed;
  writePublishedPackage(directory, createRequire(join(directory, "index.js"))("typescript"));
}, SLOW);

after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a program of the directory on this runtime. */
function run(program: string, args: readonly string[], cwd = directory) {
  const flags = runtime === "deno" ? ["run", "-A", "--no-prompt"] : [];
  return spawnSync(command, [...flags, join(directory, program), ...args], { cwd, encoding: "utf8" });
}

for (const { name, formats, args } of BUNDLERS) {
  for (const format of formats) {
    const [bundler] = name.split("/");
    test(
      `a program that ${bundler} has bundled as ${format} stays itself, and runs our commands when asked`,
      SLOW,
      () => {
        const folder = join(directory, `${bundler}-${format}`);
        mkdirSync(folder);
        writeFileSync(join(folder, "program.mjs"), PROGRAM);
        writeFileSync(join(folder, "package.json"), JSON.stringify({ type: format === "cjs" ? "commonjs" : "module" }));
        writeFileSync(join(folder, "vite.config.js"), "export default { ssr: { noExternal: true } };\n");
        const bundled = run(`node_modules/${name}`, [...args(format), "program.mjs"], folder);
        assertEquals(bundled.status, 0, bundled.stderr);
        const program = `${bundler}-${format}/out/program.js`;
        const served = run(program, ["serve", "./buffer"], folder);
        assertEquals([served.status, served.stdout, served.stderr], [0, "serve 1\n", ""]);
        const shown = run(program, ["show", "./buffer"], folder);
        assertEquals([shown.status, shown.stdout, shown.stderr], [0, '"x"\n', ""]);
        assertEquals(run(program, ["show", "./nowhere"], folder).status, 3);
      },
    );
  }
}

/** Modules of Node that edge runtimes have as well. */
const EVERYWHERE = ["--external:node:process", "--external:node:timers", "--external:node:url"];

test("httpSink() is bundled for edge runtimes: it imports nothing of Node that they may not have", SLOW, () => {
  const program =
    'import { httpSink } from "@sluice/buffer/sinks/http"; console.log(typeof httpSink("https://a.example"));';
  writeFileSync(join(directory, "edge.mjs"), program);
  const args = ["--bundle", "--platform=browser", "--format=esm", "--outfile=edge.out.mjs", ...EVERYWHERE];
  const bundled = run("node_modules/esbuild/bin/esbuild", [...args, "edge.mjs"]);
  assertEquals(bundled.status, 0, bundled.stderr);
  assertEquals(run("edge.out.mjs", []).stdout, "function\n");
});

test("require() loads every entry point, and runs nothing", SLOW, () => {
  const { exports } = JSON.parse(readFileSync(join(directory, "node_modules/@sluice/buffer/package.json"), "utf8"));
  const names = Object.keys(exports).map((name) => name.replace(".", "@sluice/buffer"));
  const lines = names.map((name) => `console.log(typeof require("${name}"));`);
  writeFileSync(join(directory, "required.cjs"), lines.join("\n"));
  const { status, stdout } = run("required.cjs", ["serve"]);
  assertEquals([status, stdout], [0, "object\n".repeat(names.length)]);
});

test("the file that an npm script names is the command line", SLOW, () => {
  const program = "node_modules/@sluice/buffer/src/cli/sluice.js";
  assertEquals(run(program, ["--version"]).stdout, `sluice ${VERSION} (format 2)\n`);
  const missing = run(program, ["verify", "./nowhere"]);
  assertEquals([missing.status, missing.stdout], [3, ""]);
  assertStringIncludes(missing.stderr, "there is no such directory");
});
