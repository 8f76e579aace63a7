/**
 * Runs reading commands in this process, on a file system that refuses every change, and records what they write.
 */

import { Buffer } from "node:buffer";
import type { Clock } from "../../src/base/clock.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { main } from "../../src/cli/main.ts";
import { type CommandContext, type Output, OutputClosedError } from "../../src/cli/shared/command.ts";
import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { assertSameBytes } from "../support/bytes.ts";
import { DIRECTORY, snapshot } from "../support/logs.ts";

/** What a command has left behind. */
export interface Reading {
  readonly code: number;
  readonly output: string;
  readonly bytes: Uint8Array;
  readonly errors: string;
}

/** With what it runs. */
export interface ReadingOptions {
  /** Width of the terminal; without one there is none. */
  readonly columns?: number | undefined;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  /** Nobody reads any more after so many writes. */
  readonly closesAfter?: number;
  /** Called before each write. */
  readonly onWrite?: () => void;
}

/** Runs `sluice ...args`; whatever tries to change anything fails. */
export async function read(
  fileSystem: FileSystem,
  args: readonly string[],
  options: ReadingOptions = {},
): Promise<Reading> {
  const { clock = new ManualClock(), signal = new AbortController().signal } = options;
  const [output, errors] = [new Recorder(options), new Recorder({ columns: options.columns })];
  const context: CommandContext = {
    fileSystem: readOnly(fileSystem),
    clock,
    input: (async function* () {})(),
    output,
    errors,
    signal,
  };
  const code = await main(args, context);
  const bytes = Buffer.concat(output.chunks);
  return { code, bytes, output: bytes.toString(), errors: Buffer.concat(errors.chunks).toString() };
}

/** The same, and every file is byte for byte what it was. */
export async function readUnchanged(
  fileSystem: MemoryFileSystem,
  args: readonly string[],
  options: ReadingOptions = {},
): Promise<Reading> {
  const before = snapshot(fileSystem);
  const reading = await read(fileSystem, args, options);
  const after = snapshot(fileSystem);
  if (Object.keys(after).join() !== Object.keys(before).join()) throw new Error(`${args[0]} changed the names`);
  for (const [path, bytes] of Object.entries(before)) assertSameBytes(after[path]!, bytes, `${args[0]} ${path}`);
  return reading;
}

/** Lines of an output. */
export function linesOf(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

/** A log of JSON records, put one a second from 2026 on: two are committed, two in flight, one more is pending. */
export async function makeJsonLog(): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem();
  const clock = new ManualClock();
  const buffer = await FileBuffer.open<unknown>({ path: DIRECTORY, fileSystem, clock, maxRecords: 2 });
  for (const record of [{ n: 1 }, "two", [3], null, { text: "fünf" }]) {
    await buffer.put(record);
    clock.advance(1000);
  }
  await buffer.commit(await buffer.emit());
  await buffer.emit();
  return fileSystem.kill();
}

class Recorder implements Output {
  readonly columns: number | undefined;
  readonly chunks: Uint8Array[] = [];
  readonly #options: Pick<ReadingOptions, "closesAfter" | "onWrite">;

  constructor({ columns, ...options }: ReadingOptions) {
    this.columns = columns;
    this.#options = options;
  }

  write(data: string | Uint8Array): Promise<void> {
    const { closesAfter = Infinity, onWrite } = this.#options;
    onWrite?.();
    if (this.chunks.length >= closesAfter) return Promise.reject(new OutputClosedError("closed"));
    this.chunks.push(typeof data === "string" ? Buffer.from(data) : data.slice());
    return Promise.resolve();
  }
}

/** A file system that can only be read; it never even asks for the lock. */
export function readOnly(fileSystem: FileSystem): FileSystem {
  const refuse = (what: string) => (...args: unknown[]): never => {
    throw new Error(`a reading command called ${what}(${args.join(", ")})`);
  };
  return {
    name: fileSystem.name,
    open: (path, mode) => mode === "read" ? readOnlyHandle(fileSystem.open(path, mode)) : refuse("open")(path, mode),
    list: (path) => fileSystem.list(path),
    makeDirectory: refuse("makeDirectory"),
    rename: refuse("rename"),
    remove: refuse("remove"),
    syncDirectory: refuse("syncDirectory"),
    lock: refuse("lock"),
  };

  function readOnlyHandle(handle: FileHandle): FileHandle {
    return {
      size: () => handle.size(),
      read: (into, position) => handle.read(into, position),
      close: () => handle.close(),
      write: refuse("write"),
      truncate: refuse("truncate"),
      sync: refuse("sync"),
    };
  }
}
