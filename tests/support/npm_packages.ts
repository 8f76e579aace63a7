/**
 * Packages from npm for tests, at exact versions, on whichever runtime.
 *
 * Deno has its own way to load them. For Bun and Node they are installed into a directory that is removed again, by Deno,
 * which is there when `SLUICE_DENO` names it, as the test task does, or else by npm.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentRuntime } from "./children.ts";

/** A package that was loaded. */
export interface LoadedPackage<M> {
  /** What it exports. */
  readonly module: M;
  /** Removes what was installed. */
  readonly remove: () => void;
}

/** Packages that were loaded. */
export interface LoadedPackages<Ms> {
  /** What each exports, by the package's name. */
  readonly modules: Ms;
  /** Removes what was installed. */
  readonly remove: () => void;
}

/**
 * Loads a package that is written as CommonJS or has an entry for it.
 *
 * @returns The package; `undefined` if it can't be had here.
 */
export async function loadPackage<M>(name: string, version: string): Promise<LoadedPackage<M> | undefined> {
  const loaded = await loadPackages<Record<string, M>>({ [name]: version });
  return loaded && { module: loaded.modules[name]!, remove: loaded.remove };
}

/** Loads packages that belong together, by one installation; see `loadPackage()`. */
export async function loadPackages<Ms extends Record<string, unknown>>(
  versions: Readonly<Record<keyof Ms & string, string>>,
): Promise<LoadedPackages<Ms> | undefined> {
  const names = Object.keys(versions) as (keyof Ms & string)[];
  if (currentRuntime().name === "deno") {
    const modules = await Promise.all(names.map(async (name) => {
      const module = await import(`npm:${name}@${versions[name]}`);
      return [name, module.default ?? module];
    }));
    return { modules: Object.fromEntries(modules), remove: () => {} };
  }
  const directory = installPackages(versions);
  if (directory === undefined) return undefined;
  const require = createRequire(join(directory, "index.js"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  return { modules: Object.fromEntries(names.map((name) => [name, require(name)])) as Ms, remove };
}

/**
 * Installs packages into a new directory, for tests that run them as programs or need their files.
 *
 * @returns The directory, whose `node_modules` has them; `undefined` if they can't be had here.
 */
export function installPackages(versions: Readonly<Record<string, string>>): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), "sluice-npm-"));
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module", dependencies: versions }));
  const { name, command } = currentRuntime();
  const deno = name === "deno" ? command : process.env["SLUICE_DENO"];
  // Deno also wants to know the optional packages of other platforms, which a mirror need not have.
  const ways = [
    ...(deno === undefined ? [] : [[deno, "install", "--quiet", "--node-modules-dir=auto"]]),
    ["npm", "install", "--silent", "--ignore-scripts", "--no-audit"],
  ];
  for (const [program, ...args] of ways) {
    if (spawnSync(program!, args, { cwd: directory }).status === 0) return directory;
  }
  rmSync(directory, { recursive: true, force: true });
  return undefined;
}
