/**
 * What a command of the command line is: types, exit codes and errors.
 *
 * A command gets everything that it uses (file system, clock, streams) passed in, so that tests need no process, and returns its
 * exit code, so that nothing here ends a process.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../fs/file_system.ts";

/** Done; for commands that check the log: it is sound. */
export const EXIT_OK = 0;
/** Done, and something is wrong with the log: damage, missing records, something left to repair. */
export const EXIT_UNSOUND = 1;
/** The command line is wrong; nothing was done. */
export const EXIT_USAGE = 2;
/** It can't be done: no buffer there, a newer version, no permission, locked, a failing disk or target. */
export const EXIT_FAILED = 3;

/** Options of {@linkcode Output.write}. */
export interface WriteOptions {
  /**
   * Whether to wait for the reader even if the user interrupts the command: for what must not be written twice.
   *
   * @default {false}
   */
  readonly untilTaken?: boolean | undefined;
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
   * Writes to the stream. Resolves when the system has the data, so that nothing accumulates; the caller may then reuse the bytes.
   *
   * @param data Text or bytes.
   * @param options Whether an interruption ends the wait.
   * @throws {OutputClosedError} (as a rejection) when the reader is gone, as with `| head`.
   */
  write(data: string | Uint8Array, options?: WriteOptions): Promise<void>;
}

/** The reader of the output is gone: the command ends quietly. */
export class OutputClosedError extends Error {
  override readonly name = "OutputClosedError";
}

/** The command line is wrong. The message says how, and what is allowed. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What a command works with. */
export interface CommandContext {
  /** Where the files are. */
  readonly fileSystem: FileSystem;
  /** The time, for ages, intervals and durations. */
  readonly clock: Clock;
  /** Standard input, in chunks. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Standard output: results only. */
  readonly output: Output;
  /** Standard error: progress, warnings, errors. */
  readonly errors: Output;
  /** Aborts when the user interrupts the command (Ctrl+C, SIGTERM). */
  readonly signal: AbortSignal;
  /**
   * Has a listener called when the process is told to open its files again (SIGHUP), instead of being ended by that. Returns how to
   * stop it. Not given or `undefined` where there is no such signal.
   */
  readonly onHangup?: ((listener: () => void) => () => void) | undefined;
}

/** An option of a command: its type, as `parseArgs` of `node:util` takes it, and its help. */
export interface CommandOption {
  readonly type: "string" | "boolean";
  /**
   * Whether it may be given several times, as `--header` may.
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

/** The parsed arguments of a command. */
export interface CommandArguments {
  /** The arguments that are no options. */
  readonly positionals: readonly string[];
  /** Options by name; an option that may be given several times has all its values, in order. */
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
}

/** One command. */
export interface Command {
  readonly name: string;
  /** Its arguments, for the help: "PATH [--from N]". */
  readonly usage: string;
  readonly summary: string;
  /** The rest of its help: what it does, what it never does, examples, its own exit codes. */
  readonly details: string;
  readonly options: Readonly<Record<string, CommandOption>>;
  /** Runs it and resolves with the exit code. Throws a {@linkcode UsageError} before it has any effect. */
  run(args: CommandArguments, context: CommandContext): Promise<number>;
}

/** A reason for `ship` to end that is no failure of the buffer. The message says everything. */
export class ShipError extends Error {
  override readonly name = "ShipError";
}
