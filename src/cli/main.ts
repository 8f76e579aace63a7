/**
 * Runs a command line: finds the command, parses its arguments, runs it, and turns any error into one line on standard error
 * and an exit code. It ends no process: `sluice.ts` does.
 *
 * @module
 */

import { SluiceError } from "../errors/mod.ts";
import { detectFileSystem } from "../fs/detect.ts";
import { SEGMENT_VERSION } from "../wal/format.ts";
import { dumpCommand } from "./dump.ts";
import { inspectCommand } from "./inspect.ts";
import { repairCommand } from "./repair.ts";
import { reportCommand } from "./report.ts";
import { restoreCommand } from "./restore.ts";
import { parseArguments, suggest } from "./shared/arguments.ts";
import {
  type Command,
  type CommandContext,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  OutputClosedError,
  UsageError,
} from "./shared/command.ts";
import { helpOf, overview } from "./shared/help.ts";
import { InterruptedError, processContext } from "./shared/terminal.ts";
import { widthOf } from "./shared/text.ts";
import { VERSION } from "./shared/version.ts";
import { shipCommand } from "./ship.ts";
import { topCommand } from "./top.ts";
import { verifyCommand } from "./verify.ts";

/** The reader of the output is gone: the code that shells report for a process that SIGPIPE ended. */
const EXIT_CLOSED = 141;
/** Aborted by an unknown signal. */
const EXIT_INTERRUPTED = 130;

/** All commands, in the order of the help. */
const COMMANDS: readonly Command[] = [
  inspectCommand,
  verifyCommand,
  dumpCommand,
  topCommand,
  reportCommand,
  repairCommand,
  restoreCommand,
  shipCommand,
];

/**
 * Runs a command line.
 *
 * @param args The arguments behind the program's name.
 * @param context What the command works with; by default this process's streams and this runtime's file system.
 * @returns Resolves with the exit code. It doesn't reject when a command fails.
 *
 * @example An error is a line on standard error and an exit code
 * ```ts
 * import { type CommandContext, main } from "@sluice/buffer/cli";
 * import { ManualClock, MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertMatch } from "@std/assert";
 *
 * const errors: string[] = [];
 * const context: CommandContext = {
 *   fileSystem: new MemoryFileSystem(),
 *   clock: new ManualClock(),
 *   input: (async function* () {})(),
 *   output: { columns: undefined, write: async () => {} },
 *   errors: { columns: undefined, write: async (data) => void errors.push(String(data)) },
 *   signal: new AbortController().signal,
 * };
 * assertEquals(await main(["verify", "/nowhere.wal"], context), 3); // it can't be done
 * assertEquals(await main(["verfy", "/nowhere.wal"], context), 2); // the command line is wrong
 * assertMatch(errors[0], /^sluice: Cannot .*\/nowhere\.wal/);
 * ```
 *
 * @example Dump a buffer that is in memory
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { type CommandContext, main } from "@sluice/buffer/cli";
 * import { ManualClock, MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
 * await buffer.putMany(["a", "b"]);
 * await buffer.close();
 *
 * let text = "";
 * const write = async (data: string | Uint8Array) => {
 *   text += typeof data === "string" ? data : new TextDecoder().decode(data);
 * };
 * const context: CommandContext = {
 *   fileSystem,
 *   clock: new ManualClock(),
 *   input: (async function* () {})(),
 *   output: { columns: undefined, write },
 *   errors: { columns: undefined, write },
 *   signal: new AbortController().signal,
 * };
 * assertEquals(await main(["dump", "/events.wal"], context), 0);
 * assertEquals(text, '"a"\n"b"\n');
 * ```
 */
export async function main(args: readonly string[], context?: CommandContext): Promise<number> {
  if (context !== undefined) return await runReported(args, context);
  const own = processContext(await detectFileSystem());
  try {
    return await runReported(args, own.context);
  } finally {
    own.release();
  }
}

async function runReported(args: readonly string[], context: CommandContext): Promise<number> {
  try {
    return await run(args, context);
  } catch (error) {
    return await report(error, args, context);
  }
}

async function run([name, ...rest]: readonly string[], context: CommandContext): Promise<number> {
  const { output } = context;
  const width = widthOf(output);
  if (name === undefined) throw new UsageError("Cannot run: no command is given, see --help");
  if (name === "--version" || name === "-V") {
    await output.write(`sluice ${VERSION} (format ${SEGMENT_VERSION})\n`);
    return EXIT_OK;
  }
  const isHelp = name === "--help" || name === "-h" || name === "help";
  const [asked] = rest.filter((arg) => !arg.startsWith("-"));
  if (isHelp && asked === undefined) {
    await output.write(overview(COMMANDS, width));
    return EXIT_OK;
  }
  const command = findCommand(isHelp ? asked : name);
  const parsed = isHelp ? undefined : parseArguments(command, rest);
  if (parsed === undefined || parsed.options["help"] === true) {
    await output.write(helpOf(command, width));
    return EXIT_OK;
  }
  return await command.run(parsed, context);
}

function findCommand(name: string): Command {
  const command = COMMANDS.find((one) => one.name === name);
  if (command !== undefined) return command;
  const known = Object.fromEntries(COMMANDS.map((one) => [one.name, one]));
  const what = name.startsWith("-") ? "the command comes first" : "there is no such command";
  throw new UsageError(`Cannot run ${name}: ${what}${suggest(name, known) || ", see --help"}`);
}

/** Reports an error, and returns its exit code. */
async function report(error: unknown, args: readonly string[], { errors, signal }: CommandContext): Promise<number> {
  if (error instanceof OutputClosedError) return EXIT_CLOSED;
  if (signal.aborted) return signal.reason instanceof InterruptedError ? signal.reason.exitCode : EXIT_INTERRUPTED;
  const isUsage = error instanceof UsageError;
  const message = error instanceof Error ? error.message : String(error);
  const line = args.includes("--json")
    ? JSON.stringify({ error: { code: isUsage ? "USAGE" : codeOf(error), message, ...dataOf(error) } })
    : `sluice: ${message.replaceAll(/\s+/g, " ")}`;
  try {
    await errors.write(`${line}\n`);
  } catch {
    // Standard error is gone; the exit code still reports the failure.
  }
  return isUsage ? EXIT_USAGE : EXIT_FAILED;
}

function codeOf(error: unknown): string {
  return error instanceof SluiceError ? error.code : "FAILED";
}

/** An error's data, apart from its code and message. */
function dataOf(error: unknown): Record<string, unknown> {
  if (!(error instanceof SluiceError)) return {};
  const { name: _name, code: _code, cause: _cause, ...data } = error as SluiceError & Record<string, unknown>;
  return data;
}
