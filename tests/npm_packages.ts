/**
 * Packages from npm for tests with real clients, at exact versions, on whichever runtime.
 *
 * Deno has its own way to them. For Bun and Node they are installed into a directory that is removed again, by Deno,
 * which is there when `SLUICE_DENO` names it, as the test task does, or else by npm.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentRuntime } from "./child.ts";

/** A package that was loaded. */
export interface LoadedPackage<M> {
  /** What it exports. */
  readonly module: M;
  /** Removes what was installed. */
  readonly remove: () => void;
}

/**
 * Loads a package that is written as CommonJS or has an entry for it.
 *
 * @returns The package; `undefined` if it can't be had here.
 */
export async function loadPackage<M>(name: string, version: string): Promise<LoadedPackage<M> | undefined> {
  if (currentRuntime().name === "deno") {
    const module = await import(`npm:${name}@${version}`);
    return { module: module.default ?? module, remove: () => {} };
  }
  const directory = mkdtempSync(join(tmpdir(), "sluice-npm-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  writeFileSync(join(directory, "package.json"), JSON.stringify({ dependencies: { [name]: version } }));
  const deno = process.env["SLUICE_DENO"];
  const { status } = deno === undefined
    ? spawnSync("npm", ["install", "--silent", "--ignore-scripts", "--no-audit"], { cwd: directory })
    : spawnSync(deno, ["install", "--quiet", "--node-modules-dir=auto"], { cwd: directory });
  if (status !== 0) {
    remove();
    return undefined;
  }
  return { module: createRequire(join(directory, "index.js"))(name), remove };
}
