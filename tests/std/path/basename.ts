/**
 * Stand-in for `@std/path/basename`, over `node:path`: the last segment of a path, without `suffix`.
 *
 * Of the root the published function gives the root, where `node:path` gives an empty string; and it takes the suffix
 * off after it has taken off trailing separators.
 *
 * @module
 */

import { basename as nodeBasename, parse } from "node:path";
import { fileURLToPath } from "node:url";

export function basename(path: string | URL, suffix = ""): string {
  const text = path instanceof URL ? fileURLToPath(path) : path;
  const name = nodeBasename(text);
  if (name === "") return parse(text).root;
  return name.length > suffix.length && name.endsWith(suffix) ? name.slice(0, name.length - suffix.length) : name;
}
