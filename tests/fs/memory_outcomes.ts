/**
 * What the tests of `MemoryFileSystem` have in common: a file system to begin with, and every state that a power cut
 * may leave.
 */

import type { FileHandle } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { bytesOf } from "./conformance.ts";

/** How many seeds are tried: enough to find every state of a few changes. */
export const SEEDS = 500;

/** A file system with the synced file `/log`, and a handle on it. */
export function withLog(text: string): { fileSystem: MemoryFileSystem; file: FileHandle } {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/log", bytesOf(text));
  return { fileSystem, file: fileSystem.open("/log", "write") };
}

/** The content of a file as text, or `(none)`. */
export function textOf(fileSystem: MemoryFileSystem, path: string): string {
  return fileSystem.paths().includes(path) ? new TextDecoder().decode(fileSystem.readFile(path)) : "(none)";
}

/** Every state that the seeds find, as `describe` puts it. */
export function outcomes(fileSystem: MemoryFileSystem, describe: (crashed: MemoryFileSystem) => string): string[] {
  const found = new Set<string>();
  for (let seed = 0; seed < SEEDS; seed++) found.add(describe(fileSystem.crash({ seed })));
  return [...found].sort();
}

/** The content of the file that `withLog()` made. */
export const logText = (crashed: MemoryFileSystem): string => textOf(crashed, "/log");
