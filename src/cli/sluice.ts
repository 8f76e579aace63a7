/**
 * The command line: `deno run -R jsr:@sluice/buffer/cli COMMAND ...`, also on Bun and Node.
 *
 * As a program it runs the command line, and ends the process when everything is written. With `--json` an error is an object.
 * Imported it runs nothing, also where a bundler puts it into one file with the program that imports it.
 *
 * | exit code | meaning |
 * |---|---|
 * | 0 | done; for commands that check the log: it is sound |
 * | 1 | done, and something is wrong with the log |
 * | 2 | the command line is wrong; nothing was done |
 * | 3 | it can't be done: no buffer there, a newer version, no permission, a failing disk or target |
 * | 130, 143 | ended by SIGINT, SIGTERM |
 * | 149, 129 | on Windows: ended by Ctrl+Break, by the closing of the console |
 * | 141 | the reader of the output is gone, as with `\| head` |
 *
 * @example Run a command from a program
 * ```ts
 * import { main } from "@sluice/buffer/cli";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await main(["--version"]), 0);
 * ```
 *
 * @module
 */

import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { main } from "./main.ts";

export type { Clock, TimerOptions } from "../base/clock.ts";
export type { FileHandle, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
export { main } from "./main.ts";
export type { CommandContext, Output, WriteOptions } from "./shared/command.ts";

/** The place of this file in the package; a bundle's `import.meta` is that of another file, or empty. */
const PLACE = /\/src\/cli\/sluice\.[jt]s$/;

/** Whether this file is the program. Node before 24.2 doesn't say so; there a resolver that follows links decides. */
function isProgram(): boolean {
  const url: string | undefined = import.meta.url;
  if (url === undefined || !PLACE.test(url)) return false;
  if (import.meta.main !== undefined) return import.meta.main;
  try {
    return createRequire(url).resolve(process.argv[1] ?? "") === fileURLToPath(url);
  } catch {
    return false;
  }
}

// No await: a module that has one at its top level can't be loaded by require().
if (isProgram()) {
  // All writes have ended by then. A pending read of standard input would keep the process alive on Deno and Bun.
  main(process.argv.slice(2)).then((exitCode) => process.exit(exitCode));
}
