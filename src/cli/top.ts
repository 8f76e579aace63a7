/**
 * `sluice top PATH`: a live view of a buffer that a program has open.
 *
 * Guarantees: it takes no lock and changes no byte. It works beside a writer that rotates, removes and rewrites files. It leaves
 * the terminal as it was, however it ends. Without a terminal it prints one plain block after the other.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../base/clock.ts";
import { readStatus } from "../buffer/status_format.ts";
import { FileSystemError } from "../errors/mod.ts";
import { withFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { readDirectory } from "../maintenance/snapshot.ts";
import type { SegmentHeader } from "../wal/format.ts";
import { readSegmentHeader } from "../wal/segment_files.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandContext, EXIT_OK, type Output, UsageError } from "./shared/command.ts";
import { DEFAULT_COLUMNS } from "./shared/text.ts";
import { renderTop } from "./top/screen.ts";
import { type TopReading, type TopView, TopWatch } from "./top/view.ts";

const DEFAULT_INTERVAL = "1s";
/** Shorter can't be read, longer isn't live. */
const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 3_600_000;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };
/** A writer may leave this factor more time between two status files than its option says. */
const STATUS_SLACK = 1.25;
/** For a terminal that doesn't report its height. */
const DEFAULT_ROWS = 24;

/** The alternate screen, without a cursor and without line wrapping (xterm's control sequences). */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/** Written before a line's text: after a line that fills the last column it would clear that column. */
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

type Show = (view: TopView) => Promise<void>;

export const topCommand: Command = {
  name: "top",
  usage: "PATH [--interval 1s] [--once] [--plain] [--json]",
  summary: "Shows a buffer live: backlog, rates, ages, sync times, problems",
  details: `Shows what the program that has the buffer open says about itself in the file status.json, once a second \
by default (its option statusMs). Without that file (an older writer, statusMs 0) it shows what the directory alone \
tells, and says what isn't known.

Nobody can tell without the lock whether a process lives: "silent" means that it has written nothing for a while, \
because it has nothing to do, is stopped, or is gone. Rates are measured between two looks, so the first ones come \
after one interval. Times are in UTC.

On a terminal the view is redrawn in place until Ctrl+C, which ends it with exit code 0. Elsewhere, and with --plain, \
one block follows the other; with --json, one object a line.`,
  options: {
    interval: { type: "string", value: "TIME", help: "Time between two looks: 500ms, 2s, 1m; default 1s" },
    once: { type: "boolean", help: "Look twice, one interval apart, print the result and end" },
    plain: { type: "boolean", help: "No colours and no redrawing, also on a terminal" },
  },
  async run(args, context) {
    const path = pathOf(args, topCommand);
    const intervalMs = intervalOf(args.options["interval"]);
    const isOnce = args.options["once"] === true;
    const isPlain = args.options["plain"] === true;
    const { output } = context;
    const start = (show: Show): Promise<number> => watch({ path, intervalMs, isOnce }, context, show);
    if (args.options["json"] === true) {
      return await start(({ history: _, ...view }) => output.write(`${JSON.stringify(view)}\n`));
    }
    if (output.columns === undefined || isPlain || isOnce) return await start(showBlock(output, isPlain));
    // Before the terminal is changed, so that an error appears on the normal screen.
    readAll(context, path);
    try {
      await output.write(ENTER);
      return await start(showScreen(output));
    } finally {
      // If the terminal is gone, there is nothing to restore. An earlier error takes precedence.
      await output.write(LEAVE).catch(() => {});
    }
  },
};

/** Reads and shows repeatedly until the user ends it. */
async function watch(
  { path, intervalMs, isOnce }: { readonly path: string; readonly intervalMs: number; readonly isOnce: boolean },
  context: CommandContext,
  show: Show,
): Promise<number> {
  const topWatch = new TopWatch(path);
  const { clock, signal } = context;
  const read = (): TopReading => readAll(context, path);
  try {
    if (isOnce) {
      const first = read();
      topWatch.add(first);
      await sleep(clock, msToSecondReading(first, intervalMs), signal);
      if (!signal.aborted) await show(topWatch.add(read()));
      return EXIT_OK;
    }
    while (!signal.aborted) {
      await show(topWatch.add(read()));
      await sleep(clock, intervalMs, signal);
    }
  } catch (error) {
    // A write that waits for its reader is aborted with the command.
    if (!signal.aborted) throw error;
  }
  return EXIT_OK;
}

/** Long enough for the writer to write another status file, if it has anything to report. */
function msToSecondReading({ status: reading }: TopReading, intervalMs: number): number {
  const statusMs = reading.kind === "status" && reading.status.state !== "closed" ? reading.status.statusMs : 0;
  return Math.max(intervalMs, Math.min(MAX_INTERVAL_MS, STATUS_SLACK * statusMs));
}

/** Reads everything. The status comes last, so that it isn't older than the owner with which it is compared. */
function readAll({ fileSystem, clock }: CommandContext, path: string): TopReading {
  const { owner, cursor, segments, quarantine } = readDirectory(fileSystem, path);
  const last = segments.at(-1);
  const lastHeader = last && headerOf(fileSystem, join(path, last.name));
  const directory = { owner, cursor, segments, quarantine, lastHeader };
  const status = readStatus(fileSystem, path);
  return { now: clock.now(), monotonic: clock.monotonic(), directory, status };
}

/** The header of a segment that may have been removed meanwhile. */
function headerOf(fileSystem: FileSystem, path: string): SegmentHeader | undefined {
  try {
    const result = withFile(fileSystem, path, readSegmentHeader);
    return result.kind === "header" ? result.header : undefined;
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
    return undefined;
  }
}

function showBlock(output: Output, isPlain: boolean): Show {
  let gap = "";
  return (view) => {
    const { columns } = output;
    const hasColours = columns !== undefined && !isPlain;
    const text = renderTop(view, { columns: columns ?? DEFAULT_COLUMNS, rows: undefined, hasColours });
    const block = `${gap}${text}\n`;
    gap = "\n";
    return output.write(block);
  };
}

/** Overwrites the screen line by line, in one write, so that nothing flickers. */
function showScreen(output: Output): Show {
  // To the start of a row, counted from 1.
  const goTo = (row: number): string => `\x1b[${row};1H`;
  return (view) => {
    const { columns = DEFAULT_COLUMNS, rows = DEFAULT_ROWS } = output;
    const lines = renderTop(view, { columns, rows, hasColours: true }).split("\n");
    const drawn = lines.map((line, i) => `${goTo(i + 1)}${CLEAR_LINE}${line}`).join("");
    return output.write(drawn + (lines.length < rows ? `${goTo(lines.length + 1)}${CLEAR_BELOW}` : ""));
  };
}

/** Resolves after `ms` milliseconds, or when the signal aborts. */
function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      cancelTimer();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancelTimer = clock.setTimer(end, ms, { keepAlive: true });
    signal.addEventListener("abort", end, { once: true });
  });
}

function intervalOf(option: unknown = DEFAULT_INTERVAL): number {
  const [, digits, unit = "s"] = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(String(option)) ?? [];
  const ms = Math.round(Number(digits) * UNIT_MS[unit]);
  if (ms >= MIN_INTERVAL_MS && ms <= MAX_INTERVAL_MS) return ms;
  throw new UsageError(`Cannot use --interval=${option}: it must be a time from 100ms to 60m, such as 500ms, 2s or 1m`);
}
