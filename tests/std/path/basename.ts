/**
 * Stand-in for `@std/path/basename`: the last segment of a path, without `suffix`.
 *
 * Of the root it gives the root; the suffix is taken off after trailing separators, and never all of a name.
 *
 * @module
 */

import { toText, windowsPaths } from "./_paths.ts";

export function basename(path: string | URL, suffix = ""): string {
  const text = toText(path);
  const name = windowsPaths(text)?.basename(text) ?? lastName(text);
  return name.length > suffix.length && name.endsWith(suffix) ? name.slice(0, name.length - suffix.length) : name;
}

function lastName(path: string): string {
  return /([^/]+)\/*$/.exec(path)?.[1] ?? path.slice(0, 1);
}
