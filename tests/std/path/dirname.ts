/**
 * Stand-in for `@std/path/dirname`, over `node:path`: a path without its last segment.
 *
 * A path that begins with a slash keeps to slashes on Windows, too; see `join.ts`.
 *
 * The published function leaves no separators at the end, where `node:path` takes off only one of a run.
 *
 * @module
 */

import { dirname as nodeDirname, posix } from "node:path";
import { fileURLToPath } from "node:url";

export function dirname(path: string | URL): string {
  const text = path instanceof URL ? fileURLToPath(path) : path;
  const directory = text.startsWith("/") ? posix.dirname(text) : nodeDirname(text);
  let end = directory.length;
  while (end > 1 && directory[end - 1] === "/") end--;
  return directory.slice(0, end);
}
