/**
 * Chooses the file system of the current runtime.
 *
 * Guarantees: exactly one adapter is loaded, so that a program never fetches, parses or type-checks code for a runtime that it
 * doesn't run on. The specifiers are literals, for JSR and for bundlers.
 *
 * @module
 */

import { runtimeName } from "../base/runtime.ts";
import type { FileSystem } from "./file_system.ts";
import { preloadSqlite } from "./sqlite_lock.ts";

/**
 * Loads the file system of this process's runtime.
 *
 * @returns The file system of Deno, Bun or Node.
 * @throws {TypeError} (as a rejection) on any other runtime.
 */
export async function detectFileSystem(): Promise<FileSystem> {
  switch (runtimeName()) {
    case "deno": {
      const [{ denoFileSystem }] = await Promise.all([import("./deno.ts"), preloadSqlite()]);
      return denoFileSystem;
    }
    case "bun":
      return (await import("./bun.ts")).bunFileSystem;
    case "node":
      return (await import("./node.ts")).nodeFileSystem;
  }
  throw new TypeError(
    "Cannot choose a file system: this is not Deno, Bun or Node; pass one as the option `fileSystem`",
  );
}
