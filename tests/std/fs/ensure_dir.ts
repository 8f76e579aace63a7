/**
 * Stand-in for `@std/fs/ensure-dir`, over `node:fs`: makes a directory, with its parents, unless it is there.
 *
 * Same results as the published functions, and the same `code` on what they throw; the classes are those of `node:fs`
 * instead of `Deno.errors`. A link to a directory counts as a directory; anything else in the way is an error.
 *
 * @module
 */

import { mkdirSync, type Stats, statSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";

export async function ensureDir(dir: string | URL): Promise<void> {
  try {
    return throwIfNotDirectory(await stat(dir));
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  try {
    await mkdir(dir, { recursive: true });
  } catch (error) {
    // Somebody else made it, or something else, in the meantime.
    if (!hasCode(error, "EEXIST")) throw error;
    throwIfNotDirectory(await stat(dir));
  }
}

export function ensureDirSync(dir: string | URL): void {
  try {
    return throwIfNotDirectory(statSync(dir));
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  try {
    mkdirSync(dir, { recursive: true });
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    throwIfNotDirectory(statSync(dir));
  }
}

function throwIfNotDirectory(stats: Stats): void {
  if (stats.isDirectory()) return;
  throw new Error(`Failed to ensure directory exists: expected 'dir', got '${stats.isFile() ? "file" : undefined}'`);
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
