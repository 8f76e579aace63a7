/**
 * Stand-in for `@std/path/join`: joins path segments and normalizes the result. The first one may be a `file:` URL.
 *
 * @module
 */

import { toText, windowsPaths } from "./_paths.ts";

export function join(path: string | URL, ...paths: string[]): string {
  const first = toText(path);
  const joined = [first, ...paths].filter((part) => part !== "").join("/");
  return windowsPaths(first)?.join(first, ...paths) ?? normalize(joined);
}

function normalize(path: string): string {
  const root = path.startsWith("/") ? "/" : "";
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== "..") names.push(name);
    else if (names.length > 0 && names.at(-1) !== "..") names.pop();
    else if (root === "") names.push(name);
  }
  if (names.length === 0) return root || (path.endsWith("/") ? "./" : ".");
  return root + names.join("/") + (path.endsWith("/") ? "/" : "");
}
