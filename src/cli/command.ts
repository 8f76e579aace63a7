/**
 * What a command of the command line is: types, exit codes and how a command says that it can't go on.
 *
 * A command gets everything it touches (file system, clock, streams) passed in, so that it is tested without a process,
 * and returns its exit code, so that nothing here ends a process.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import type { FileSystem } from "../fs/file_system.ts";

/** Done; for commands that judge: the log is sound. */
export const EXIT_OK = 0;
/** Done, and something is wrong with the log: damage, missing records, something left to repair. */
export const EXIT_UNSOUND = 1;
/** The command line is wrong; nothing was done. */
export const EXIT_USAGE = 2;
/** It can't be done: no buffer there, newer version, no permission, locked, a failing disk or target. */
export const EXIT_FAILED = 3;

/** Where a command writes. */
export interface Output {
  /** Width in columns if this is a terminal; `undefined` if it is not. */
  readonly columns: number | undefined;
  /**
   * Resolves when more can be written without piling up; the bytes may be written over then.
   *
   * @throws {OutputClosedError} (as a rejection) when nobody reads any more, as with `| head`.
   */
  write(data: string | Uint8Array): Promise<void>;
}

/** Nobody reads what a command writes: it ends, quietly. */
export class OutputClosedError extends Error {
  override readonly name = "OutputClosedError";
}

/** The command line is wrong; the message says how, and what is allowed. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What a command works with. */
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
