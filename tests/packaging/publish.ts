/**
 * Publishes the package to JSR, or checks that it can be: `deno run -A tests/packaging/publish.ts [--dry-run] [OPTION ...]`,
 * `deno task publish` and `deno task publish:dry-run`. Options are those of `deno publish`.
 *
 * `deno publish` by itself refuses a clone: `links` in deno.json point into it, at the stand-ins for `@std`, which aren't published.
 * So this copies what is published to a temporary directory, and publishes that. Nothing but `links` differs between the two: the
 * dry run has them, beside the copy, because it must also pass where jsr.io can't be reached.
 *
 * Nothing is published that isn't committed, unless `--allow-dirty` says so.
 */

import { cpSync } from "node:fs";

const root = new URL("../../", import.meta.url);

/** Runs a program, and returns its exit code. */
async function run(command: string, args: readonly string[], cwd: string | URL): Promise<number> {
  const child = new Deno.Command(command, {
    args: [...args],
    cwd,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  });
  return (await child.spawn().status).code;
}

async function isCommitted(): Promise<boolean> {
  const { success, stdout } = await new Deno.Command("git", { args: ["status", "--porcelain"], cwd: root }).output();
  return success && stdout.length === 0;
}

/** Copies what is published to `scratch/package`, and returns its path. */
function copyPackage(scratch: string, isDryRun: boolean): string {
  const config = JSON.parse(Deno.readTextFileSync(new URL("deno.json", root)));
  for (const name of ["mod.ts", "src", "README.md", "LICENSE"]) {
    cpSync(new URL(name, root), `${scratch}/package/${name}`, { recursive: true });
  }
  cpSync(new URL("tests/std", root), `${scratch}/std`, { recursive: true });
  config.links = config.links.map((link: string) => link.replace("./tests/", "../"));
  if (!isDryRun) delete config.links;
  Deno.writeTextFileSync(`${scratch}/package/deno.json`, JSON.stringify(config));
  return `${scratch}/package`;
}

async function publish(options: readonly string[]): Promise<number> {
  const isDryRun = options.includes("--dry-run");
  if (!isDryRun && !options.includes("--allow-dirty") && !await isCommitted()) {
    console.error("Cannot publish: there are changes that aren't committed, or this is no clone; see --allow-dirty");
    return 1;
  }
  const scratch = Deno.makeTempDirSync({ prefix: "sluice-publish-" });
  try {
    return await run(Deno.execPath(), ["publish", ...options], copyPackage(scratch, isDryRun));
  } finally {
    Deno.removeSync(scratch, { recursive: true });
  }
}

Deno.exitCode = await publish(Deno.args);
