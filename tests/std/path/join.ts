/**
 * Stand-in for `@std/path/join`, over `node:path`: joins path segments and normalizes the result.
 *
 * The published function also takes a `file:` URL as its first segment; so does this one. A path that begins with a slash, as those
 * of the file system in memory do, keeps to slashes on Windows, too: else the faults that tests plan for a path would miss it.
 *
 * @module
 */

import { join as nodeJoin, posix } from "node:path";
import { fileURLToPath } from "node:url";

export function join(path: string | URL, ...paths: string[]): string {
  const first = path instanceof URL ? fileURLToPath(path) : path;
  return first.startsWith("/") ? posix.join(first, ...paths) : nodeJoin(first, ...paths);
}
