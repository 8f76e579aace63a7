/**
 * What the stand-ins of `@std/path` share. Like the published ones they load no module of Node where they don't need it: on Deno
 * those cost more than all else that a short-lived program does.
 *
 * @module
 */

import type nodePath from "node:path";
import type process from "node:process";

/** Deno is asked itself where it is there, as the published package does. */
const globals = globalThis as unknown as {
  readonly Deno?: { readonly build: { readonly os: string } };
  readonly process: typeof process;
};

/** A path as text; it may be given as a `file:` URL. */
export function toText(path: string | URL): string {
  return path instanceof URL ? globals.process.getBuiltinModule("node:url").fileURLToPath(path) : path;
}

/**
 * Node's functions for a path with the separators of Windows; `undefined` for all others. A path that begins with a slash, as
 * those of the file system in memory do, keeps to slashes on Windows, too: else the faults that tests plan for a path would miss it.
 */
export function windowsPaths(path: string): typeof nodePath | undefined {
  const isWindows = globals.Deno === undefined
    ? globals.process.platform === "win32"
    : globals.Deno.build.os === "windows";
  return isWindows && !path.startsWith("/") ? globals.process.getBuiltinModule("node:path") : undefined;
}
