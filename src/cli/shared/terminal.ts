/**
 * The streams and signals of this process, as commands see them.
 *
 * Guarantees: a write resolves when the stream has the data, so that nothing accumulates. When the reader is gone, it rejects with
 * an `OutputClosedError`, on every runtime. The first SIGINT or SIGTERM, on Windows also Ctrl+Break and the closing of the
 * console, aborts the command and any wait for a reader; a second one ends the process at once, by the system's default. Nothing here reads an environment variable, which would take
 * a permission on Deno; that is why there are no colours.
 *
 * @module
 */

import { constants } from "node:os";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { systemClock } from "../../base/clock.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import { type CommandContext, type Output, OutputClosedError } from "./command.ts";

const CLOSED_CODES: ReadonlySet<string | undefined> = new Set([
  "EPIPE",
  "ECONNRESET",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
]);

const WINDOWS_SIGNALS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGBREAK: 21 };

/** A signal interrupted the command. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
  /** The code that shells report for a process that a signal ended: 130, 143; on Windows also 129, 149. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`Cannot go on: ${signal}`);
    // Those of Windows are not listed elsewhere.
    this.exitCode = 128 + (constants.signals[signal] ?? WINDOWS_SIGNALS[signal] ?? constants.signals.SIGINT);
  }
}

/**
 * The signals that interrupt a command. On Windows SIGBREAK is Ctrl+Break, and SIGHUP the closing of the console, which ends the
 * process some seconds later in any case.
 */
export function interruptingSignals(platform: string = process.platform): readonly NodeJS.Signals[] {
  return platform === "win32" ? ["SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"] : ["SIGINT", "SIGTERM"];
}

/** The context of a command in this process; `release` removes its signal listeners. */
export function processContext(fileSystem: FileSystem): { context: CommandContext; release: () => void } {
  const controller = new AbortController();
  const { signal } = controller;
  const names = interruptingSignals();
  const release = (): void => {
    for (const name of names) process.removeListener(name, abort);
  };
  const abort = (name: NodeJS.Signals): void => {
    release();
    controller.abort(new InterruptedError(name));
  };
  for (const name of names) process.on(name, abort);
  const context: CommandContext = {
    fileSystem,
    clock: systemClock,
    input: { [Symbol.asyncIterator]: () => inputOf(process.stdin, signal) },
    output: outputTo(process.stdout, signal),
    errors: outputTo(process.stderr, signal),
    signal,
    onHangup: process.platform === "win32" ? undefined : onHangup,
  };
  return { context, release };
}

/** On Windows it means that the console is closed, and the process ends in any case. */
function onHangup(listener: () => void): () => void {
  process.on("SIGHUP", listener);
  return () => void process.removeListener("SIGHUP", listener);
}

/** Standard input. `return()` closes it at once, even during a read, which would keep the process alive. */
function inputOf(input: Readable, signal: AbortSignal): AsyncIterator<Uint8Array> {
  const chunks = readInput(input, signal);
  return {
    next: () => chunks.next(),
    return() {
      input.destroy();
      return chunks.return(undefined);
    },
  };
}

/** Chunks of standard input, up to its end or until the command is interrupted. */
async function* readInput(input: Readable, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const stop = (): void => void input.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (!signal.aborted) { for await (const chunk of input) yield chunk; }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** An output to a stream, of this process or another. */
export function outputTo(
  stream: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number },
  signal: AbortSignal,
): Output {
  let failure: Error | undefined;
  // Errors also arrive as events, and one without a listener would end the process.
  stream.on("error", (error: NodeJS.ErrnoException) => failure ??= translate(error));
  return {
    get columns() {
      return stream.isTTY === true ? stream.columns : undefined;
    },
    get rows() {
      return stream.isTTY === true ? stream.rows : undefined;
    },
    write: (data, { untilTaken = false } = {}) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) return reject(failure);
        if (data.length === 0) return resolve();
        const stop = (): void => reject(signal.reason);
        const fail = (error: NodeJS.ErrnoException): void => settle(() => reject(failure ??= translate(error)));
        const settle = (answer: () => void): void => {
          signal.removeEventListener("abort", stop);
          stream.removeListener("error", fail);
          answer();
        };
        // What is written after the abort is final output, which isn't aborted.
        if (!signal.aborted && !untilTaken) signal.addEventListener("abort", stop, { once: true });
        stream.on("error", fail);
        try {
          stream.write(data, (error) => {
            if (error) fail(error);
            else settle(resolve);
          });
        } catch (error) {
          // Deno writes synchronously, and throws what the others report later.
          fail(error as NodeJS.ErrnoException);
        }
      }),
  };
}

function translate(error: NodeJS.ErrnoException): Error {
  if (CLOSED_CODES.has(error.code)) {
    return new OutputClosedError("Cannot write: nobody reads any more", { cause: error });
  }
  return new Error(`Cannot write the output: ${error.code ?? error.message}`, { cause: error });
}
