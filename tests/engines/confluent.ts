/**
 * `@confluentinc/kafka-javascript`, whose binding npm doesn't have: it is downloaded from GitHub or built. Tests use a build that is
 * there and skip otherwise, because building takes some minutes. This program builds it once, with the librdkafka that is in the package
 * (Debian's 2.0.2 is too old for it), for the Node that `SLUICE_NODE` names; it needs g++, make, python3 and npm:
 *
 *     deno run -A tests/engines/confluent.ts
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import process from "node:process";
import type * as Confluent from "npm:@confluentinc/kafka-javascript@1.10.1";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { say } from "../support/children.ts";

const NAME = "@confluentinc/kafka-javascript";
const VERSION = "1.10.1";

/** Where the build for a Node of this ABI is. */
function pathOf(abi: string | undefined): string {
  return join(tmpdir(), `sluice-confluent-${VERSION}-${abi}`);
}

/** Loads it; a reason in words where that can't be done. */
export function loadConfluent(): typeof Confluent | string {
  if (process.versions.deno !== undefined || process.versions.bun !== undefined) return `${NAME} is for Node`;
  const directory = pathOf(process.versions.modules);
  if (!existsSync(directory)) return `there is no build of ${NAME} for this Node: tests/engines/confluent.ts makes one`;
  return createRequire(join(directory, "package.json"))(NAME);
}

function build(): void {
  const node = process.env["SLUICE_NODE"] ?? "node";
  const [executable, version, abi] = JSON.parse(
    execFileSync(node, ["-p", "JSON.stringify([process.execPath, process.versions.node, process.versions.modules])"], {
      encoding: "utf8",
    }),
  );
  const scratch = mkdtempSync(`${pathOf(abi)}-`);
  // This package has Node's headers beside its executable.
  const headers = `node-linux-${process.arch}`;
  writeFileSync(
    join(scratch, "package.json"),
    JSON.stringify({ private: true, dependencies: { [NAME]: VERSION, [headers]: version, "node-gyp": "12.4.0" } }),
  );
  const modules = join(scratch, "node_modules");
  const options = {
    stdio: "inherit",
    env: {
      ...process.env,
      PATH: `${dirname(executable)}:${process.env["PATH"]}`,
      BUILD_LIBRDKAFKA: "1",
      CKJS_LINKING: "dynamic",
    },
  } as const;
  execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund"], { ...options, cwd: scratch });
  const args = [join(modules, "node-gyp", "bin", "node-gyp.js"), "rebuild", `--nodedir=${join(modules, headers)}`];
  execFileSync(node, args, { ...options, cwd: join(modules, NAME) });
  renameSync(scratch, pathOf(abi));
  say(`built in ${pathOf(abi)}`);
}

if (import.meta.main) build();
