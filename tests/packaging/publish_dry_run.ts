/**
 * Checks that the package can be published to JSR: `deno run -A tests/packaging/publish_dry_run.ts`.
 *
 * `deno publish` refuses packages whose `links` point into themselves, which ours do, at the stand-ins for `@std`. So
 * this copies what is published to a temporary directory, and the stand-ins to another one beside it. Publishing for
 * real takes the same copy, without `links`.
 */

import { cpSync } from "node:fs";

const root = new URL("../../", import.meta.url);
const scratch = Deno.makeTempDirSync({ prefix: "sluice-publish-" });
try {
  const config = JSON.parse(Deno.readTextFileSync(new URL("deno.json", root)));
  for (const name of ["mod.ts", "src", "README.md", "LICENSE"]) {
    cpSync(new URL(name, root), `${scratch}/package/${name}`, { recursive: true });
  }
  cpSync(new URL("tests/std", root), `${scratch}/std`, { recursive: true });
  config.links = config.links.map((link: string) => link.replace("./tests/", "../"));
  Deno.writeTextFileSync(`${scratch}/package/deno.json`, JSON.stringify(config));
  const publish = new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty"],
    cwd: `${scratch}/package`,
    stdout: "inherit",
    stderr: "inherit",
  });
  Deno.exitCode = (await publish.output()).code;
} finally {
  Deno.removeSync(scratch, { recursive: true });
}
