/**
 * Runs a command line in this process, on a file system of the test's, and records what it writes; and what the tests of
 * `restore` have in common.
 */

import { assertEquals } from "@std/assert";
import type { Clock } from "../../src/base/clock.ts";
import { main } from "../../src/cli/main.ts";
import type { Output } from "../../src/cli/shared/command.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { hitHeader, makeBase } from "../support/damaged_logs.ts";
import { copyOf, DIRECTORY, type MadeLog } from "../support/logs.ts";
import { readOnly } from "./reading.ts";

/** What came of a command line. */
export interface CliResult {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** With what it runs. */
export interface CliOptions {
  /** Width of the terminal; without one there is none. */
  readonly columns?: number;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** Runs `sluice ...args`. */
export async function runCli(
  fileSystem: FileSystem,
  args: readonly string[],
  { columns, clock = new ManualClock(), signal = new AbortController().signal }: CliOptions = {},
): Promise<CliResult> {
  const [output, errors] = [recorder(columns), recorder(columns)];
  const input = (async function* (): AsyncGenerator<Uint8Array> {})();
  const code = await main(args, { fileSystem, clock, input, output, errors, signal });
  return { code, output: output.text(), errors: errors.text() };
}

function recorder(columns: number | undefined): Output & { text(): string } {
  const parts: string[] = [];
  const decoder = new TextDecoder();
  return {
    columns,
    write: (data) => {
      parts.push(typeof data === "string" ? data : decoder.decode(data));
      return Promise.resolve();
    },
    text: () => parts.join(""),
  };
}

/** What `restore` says, as `--json`. */
export interface Said {
  readonly finished: readonly { name: string; records?: number }[];
  readonly files: readonly {
    name: string;
    salt: string;
    soundRecords: number;
    restoreRecords: number;
    left: readonly { reason: string; records: number }[];
    restored: { records: number; firstSequence: number } | null;
  }[];
  readonly restoreRecords: number;
}

/** Runs `restore`; with `--dry-run`, on a disk that refuses every change. */
export async function restoreJson(fileSystem: MemoryFileSystem, ...flags: string[]): Promise<Said> {
  const { code, output, errors } = await runCli(flags.includes("--dry-run") ? readOnly(fileSystem) : fileSystem, [
    "restore",
    DIRECTORY,
    "--json",
    ...flags,
  ]);
  assertEquals(errors, "");
  const said: Said = JSON.parse(output);
  const isLeft = flags.includes("--dry-run") && said.restoreRecords + said.finished.length > 0;
  assertEquals(code, isLeft ? 1 : 0, output);
  return said;
}

/** What is left of a command that came to its end, or to an operation at which it had to die. */
export interface Interrupted {
  /** Its exit code; of one that died, without meaning. */
  readonly code: number;
  /** Whether it came to its end. */
  readonly isDone: boolean;
  readonly left: MemoryFileSystem;
}

/** Runs a command on a copy of `log` that dies at its operation number `at`; `end` says what a death leaves. */
export async function runUntil(
  log: MemoryFileSystem,
  args: readonly string[],
  at: number,
  end: (dying: MemoryFileSystem, operation: string | undefined) => MemoryFileSystem,
): Promise<Interrupted> {
  let left: MemoryFileSystem | undefined;
  const dying: MemoryFileSystem = copyOf(log).kill({
    onOperation({ index, operation }) {
      if (index !== at) return;
      left = end(dying, operation);
      dying.kill();
    },
  });
  const { code } = await runCli(dying, args);
  return { code, isDone: left === undefined, left: left ?? end(dying, undefined) };
}

/** Runs `repair`. */
export async function repair(fileSystem: MemoryFileSystem): Promise<void> {
  const { code, errors } = await runCli(fileSystem, ["repair", DIRECTORY]);
  assertEquals([code, errors], [0, ""]);
}

/** The values of a log from a sequence on, sorted. */
export const valuesIn = ({ acknowledged }: Pick<MadeLog, "acknowledged">, from = 1): string[] =>
  acknowledged.filter(({ sequence }) => sequence >= from).map(({ value }) => value).sort();

/** Two segments to be restored, one with a committed beginning. */
export async function interruptedCase(): Promise<{ log: MemoryFileSystem; expected: readonly string[] }> {
  const base = await makeBase(1);
  const log = copyOf(base.fileSystem, {
    [base.path(0)]: hitHeader(base.bytes(0)),
    [base.path(2)]: hitHeader(base.bytes(2)),
  });
  await repair(log);
  return { log, expected: valuesIn(base, 6) };
}
