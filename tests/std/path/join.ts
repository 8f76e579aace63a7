/**
 * Stand-in for `@std/path/join`, over `node:path`: joins path segments and normalizes the result.
 *
 * The published function also takes a `file:` URL as its first segment; so does this one.
 *
 * @module
 */

import { join as nodeJoin } from "node:path";
import { fileURLToPath } from "node:url";

export function join(path: string | URL, ...paths: string[]): string {
  return nodeJoin(path instanceof URL ? fileURLToPath(path) : path, ...paths);
}
