/**
 * Which runtime is this? The only place that asks.
 *
 * Guarantees: exactly one adapter is loaded, so that a program never fetches, parses or type-checks code for a runtime
 * that it doesn't run on. The specifiers are literals, for JSR and for bundlers.
 *
 * @module
 */

import type { FileSystem } from "./file_system.ts";

/**
 * Loads the file system of the runtime that this process runs on.
 *
 * @returns The file system of Deno, Bun or Node.
 * @throws {TypeError} (as a rejection) On any other runtime.
 *
 * @example
 * ```ts ignore
 * import { detectFileSystem } from "./detect.ts";
 *
 * const fileSystem = await detectFileSystem();
 * fileSystem.makeDirectory("./events.wal");
 * ```
 */
export async function detectFileSystem(): Promise<FileSystem> {
  // All three fill in `process.versions`; Deno and Bun name a Node version, too, so they are asked about first. Global
  // objects named after a runtime prove less: packages and test environments define such names on other runtimes.
  const { process } = globalThis as { process?: { versions?: Record<string, string | undefined> } };
  const versions = process?.versions ?? {};
  if (versions.deno !== undefined) return (await import("./deno.ts")).denoFileSystem;
  if (versions.bun !== undefined) return (await import("./bun.ts")).bunFileSystem;
  if (versions.node !== undefined) return (await import("./node.ts")).nodeFileSystem;
  throw new TypeError(
    "Cannot choose a file system: this is not Deno, Bun or Node; pass one as the option `fileSystem`",
  );
}
