/**
 * Stand-in for `@std/path/dirname`, over `node:path`: a path without its last segment.
 *
 * The published function leaves no separators at the end, where `node:path` takes off only one of a run.
 *
 * @module
 */

import { dirname as nodeDirname } from "node:path";
import { fileURLToPath } from "node:url";

export function dirname(path: string | URL): string {
  const directory = nodeDirname(path instanceof URL ? fileURLToPath(path) : path);
  let end = directory.length;
  while (end > 1 && directory[end - 1] === "/") end--;
  return directory.slice(0, end);
}
