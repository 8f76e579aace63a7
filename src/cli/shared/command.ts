/**
 * What a command of the command line is: types, exit codes and how a command says that it can't go on.
 *
 * A command gets everything it touches (file system, clock, streams) passed in, so that it is tested without a process,
 * and returns its exit code, so that nothing here ends a process.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../fs/file_system.ts";

/** Done; for commands that judge: the log is sound. */
export const EXIT_OK = 0;
/** Done, and something is wrong with the log: damage, missing records, something left to repair. */
export const EXIT_UNSOUND = 1;
/** The command line is wrong; nothing was done. */
export const EXIT_USAGE = 2;
/** It can't be done: no buffer there, newer version, no permission, locked, a failing disk or target. */
export const EXIT_FAILED = 3;

/**
 * Options of {@linkcode Output.write}.
 *
 * @example An output that waits where it must, and gives up where it may
 * ```ts
 * import type { Output, WriteOptions } from "@sluice/buffer/cli";
 * import { assertEquals } from "@std/assert";
 *
 * const seen: string[] = [];
 * const output: Output = {
 *   columns: undefined,
 *   write: async (data, { untilTaken = false }: WriteOptions = {}) => void seen.push(`${data} ${untilTaken}`),
 * };
 * await output.write("a table");
 * await output.write("a record", { untilTaken: true });
 * assertEquals(seen, ["a table false", "a record true"]);
 * ```
 */
export interface WriteOptions {
  /**
   * Whether to wait for the reader even if the user wants the command to end: for what must not be written twice.
   *
   * @default {false}
   */
  readonly untilTaken?: boolean;
}

/**
 * Where a command writes.
 *
 * @example A terminal of 40 columns
 * ```ts
 * import { type CommandContext, main, type Output } from "@sluice/buffer/cli";
 * import { ManualClock, MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const output: Output = {
 *   columns: 40,
 *   write: async (data) => void lines.push(...String(data).split("\n")),
 * };
 * const context: CommandContext = {
 *   fileSystem: new MemoryFileSystem(),
 *   clock: new ManualClock(),
 *   input: (async function* () {})(),
 *   output,
 *   errors: output,
 *   signal: new AbortController().signal,
 * };
 * assertEquals(await main(["--help"], context), 0);
 * assert(lines.every((line) => line.length <= 40));
 * ```
 */
export interface Output {
  /** Width in columns if this is a terminal; `undefined` if it is not. */
  readonly columns: number | undefined;
  /** Its height in rows; not given or `undefined` if it isn't known. */
  readonly rows?: number | undefined;
  /**
   * Resolves when the system has taken it, so that nothing piles up; the bytes may be written over then.
   *
   * @throws {OutputClosedError} (as a rejection) when nobody reads any more, as with `| head`.
   */
  write(data: string | Uint8Array, options?: WriteOptions): Promise<void>;
}

/** Nobody reads what a command writes: it ends, quietly. */
export class OutputClosedError extends Error {
  override readonly name = "OutputClosedError";
}

/** The command line is wrong; the message says how, and what is allowed. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * What a command works with.
 *
 * @example A command on files in memory
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
export interface CommandContext {
  /** Where the files are. */
  readonly fileSystem: FileSystem;
  /** What time it is, and how much of it a command takes. */
  readonly clock: Clock;
  /** Standard input, in chunks. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Standard output: results only. */
  readonly output: Output;
  /** Standard error: progress, warnings, errors. */
  readonly errors: Output;
  /** Aborted when the user wants it to end (Ctrl+C, SIGTERM). */
  readonly signal: AbortSignal;
}

/** An option of a command, as `parseArgs` of `node:util` takes it, and what it is. */
export interface CommandOption {
  readonly type: "string" | "boolean";
  /**
   * Whether it may be given several times, as `--header` may: then it is in {@linkcode CommandArguments.lists}.
   *
   * @default {false}
   */
  readonly multiple?: boolean;
  readonly short?: string;
  /** What a string option takes, for the help: "N", "FILE". */
  readonly value?: string;
  /** One line for the help, with the default. */
  readonly help: string;
}

/** The command line of one command, taken apart. */
export interface CommandArguments {
  /** What stands behind the command's name and is no option. */
  readonly positionals: readonly string[];
  /** Options by name. */
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  /** Those that may be given several times, by name: what was given, in order. */
  readonly lists?: Readonly<Record<string, readonly string[]>>;
}

/** One command. */
export interface Command {
  readonly name: string;
  /** Its arguments, for the help: "PATH [--from N]". */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** What the help says besides: what it does, what it never does, examples, exit codes of its own. */
  readonly details: string;
  readonly options: Readonly<Record<string, CommandOption>>;
  /** Does it, and resolves with the exit code. Throws a {@linkcode UsageError} before it has done anything. */
  run(args: CommandArguments, context: CommandContext): Promise<number>;
}

/**
 * A reason for `ship` to end that is no failure of the buffer.
 *
 * @module
 */

/** Why it can't go on; the message says it all. */
export class ShipError extends Error {
  override readonly name = "ShipError";
}
