/**
 * Stand-in for `@std/fs/ensure-dir`, over Deno's own calls as the published one, elsewhere over `node:fs`: makes a directory, with
 * its parents, unless it is there.
 *
 * Same results as the published functions, and the same `code` on what they throw; on other runtimes than Deno the classes are
 * those of `node:fs`. A link to a directory counts as a directory; anything else in the way is an error.
 *
 * @module
 */

import type process from "node:process";

/** What both file systems tell of a file. */
interface Info {
  readonly isDirectory: boolean | (() => boolean);
  readonly isFile: boolean | (() => boolean);
}

/** The calls that both have. */
interface Calls {
  statSync(path: string | URL): Info;
  stat(path: string | URL): Promise<Info>;
  mkdirSync(path: string | URL, options: { readonly recursive: true }): unknown;
  mkdir(path: string | URL, options: { readonly recursive: true }): Promise<unknown>;
}

/** Loads `node:fs` only where it is needed. */
function calls(): Calls {
  const { Deno, process: node } = globalThis as unknown as { Deno?: Calls; process: typeof process };
  if (Deno !== undefined) return Deno;
  const { statSync, mkdirSync, promises: { stat, mkdir } } = node.getBuiltinModule("node:fs");
  return { statSync, mkdirSync, stat, mkdir };
}

export async function ensureDir(dir: string | URL): Promise<void> {
  const { stat, mkdir } = calls();
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
  const { statSync, mkdirSync } = calls();
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

function throwIfNotDirectory(info: Info): void {
  if (is(info, "isDirectory")) return;
  throw new Error(
    `Failed to ensure directory exists: expected 'dir', got '${is(info, "isFile") ? "file" : undefined}'`,
  );
}

/** A property on Deno, a method on Node. */
function is(info: Info, what: keyof Info): boolean {
  const found = info[what];
  return typeof found === "function" ? found.call(info) : found;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
