/**
 * Teaches Node the names that deno.json gives to Deno: `node --import ./tests/std/resolve.mjs program.ts`.
 *
 * `@std/...` becomes the stand-in of that name, `@sluice/buffer` this package. The table is the one in tsconfig.json,
 * which Bun reads by itself. Packages from npm are those in the directory that `SLUICE_CLIENTS` names, which Bun finds by `NODE_PATH`.
 * It also marks TypeScript files as modules, because there is no package.json to say so.
 *
 * `registerHooks()` came with Node 22.15; before that `register()` runs this same file again, in a thread of its own,
 * and calls `resolve` there.
 */

import { readFileSync } from "node:fs";
import * as module from "node:module";
import process from "node:process";
import { pathToFileURL } from "node:url";

const tsconfigUrl = new URL("./tsconfig.json", import.meta.url);
const { baseUrl, paths } = JSON.parse(readFileSync(tsconfigUrl, "utf8")).compilerOptions;
const rootUrl = new URL(`${baseUrl}/`, tsconfigUrl);

/** The URL of the file that `specifier` stands for, or `specifier` itself. */
function lookUp(specifier) {
  return Object.hasOwn(paths, specifier) ? new URL(paths[specifier][0], rootUrl).href : specifier;
}

const clients = process.env.SLUICE_CLIENTS;

/** Where the search for a package begins: our own files have none beside them. */
function startOf(specifier, context) {
  const isPackage = /^@?[a-z][\w./-]*$/.test(specifier) && context.parentURL?.startsWith(rootUrl.href);
  return isPackage && clients ? { ...context, parentURL: pathToFileURL(`${clients}/`).href } : context;
}

function asModule(resolved) {
  return resolved.url.endsWith(".ts") ? { ...resolved, format: "module-typescript" } : resolved;
}

export async function resolve(specifier, context, nextResolve) {
  const found = lookUp(specifier);
  return asModule(await nextResolve(found, startOf(found, context)));
}

const inHooksThread = import.meta.url.endsWith("?hooks");
if (module.registerHooks !== undefined) {
  module.registerHooks({
    resolve(specifier, context, nextResolve) {
      const found = lookUp(specifier);
      return asModule(nextResolve(found, startOf(found, context)));
    },
  });
} else if (!inHooksThread) {
  module.register(`${import.meta.url}?hooks`);
}
