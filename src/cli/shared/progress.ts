/**
 * A progress bar on standard error, only if that is a terminal and the work takes longer than a second.
 *
 * @module
 */

import { scanLog, type ScanOptions } from "../../maintenance/scan.ts";
import type { ScanItem } from "../../maintenance/scan_items.ts";
import { runScan, type ScanRunOptions, segmentBytesOf } from "../../maintenance/scan_run.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import type { CommandContext } from "./command.ts";
import { formatBytes } from "./text.ts";

/** Shorter work needs no progress bar. */
const SHOWN_AFTER_MS = 1000;
/** More frequent updates can't be seen. */
const EVERY_MS = 100;
const MAX_BAR_COLUMNS = 40;

/** Runs `work` with a progress bar, and clears the bar when the work ends or fails. `label` is one word: "verify". */
export async function withProgress<R>(
  { errors, clock, signal }: CommandContext,
  label: string,
  work: (options: ScanRunOptions) => Promise<R>,
): Promise<R> {
  const startedAt = clock.monotonic();
  let shownAt = -Infinity;
  const write = (line: string): void => {
    // If standard error is gone, the work still continues.
    errors.write(`\r${line}\x1b[K`).catch(() => {});
  };
  const onProgress = (doneBytes: number, totalBytes: number): void => {
    if (errors.columns === undefined) return;
    const now = clock.monotonic();
    if (now - startedAt < SHOWN_AFTER_MS || now - shownAt < EVERY_MS) return;
    shownAt = now;
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
    const text = `${label} ${String(Math.floor(share * 100)).padStart(3)} %`;
    const rate = formatBytes(doneBytes / ((now - startedAt) / 1000));
    const rest = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, ${rate}/s`;
    const room = Math.min(MAX_BAR_COLUMNS, errors.columns - text.length - rest.length - 7);
    const filled = Math.round(share * room);
    const bar = room < 5 ? "" : ` [${"#".repeat(filled)}${"-".repeat(room - filled)}]`;
    const line = `${text}${bar}  ${rest}`;
    write(line.length < errors.columns ? line : text);
  };
  try {
    return await work({ signal, onProgress });
  } finally {
    if (shownAt > -Infinity) write("");
  }
}

/** Scans a log with a progress bar, and calls `visit` for each item. */
export function scanWithProgress(
  context: CommandContext,
  label: string,
  options: ScanOptions & { readonly snapshot: DirectorySnapshot },
  visit: (item: ScanItem) => Promise<void> | void,
): Promise<void> {
  const { snapshot } = options;
  const scan = scanLog(context.fileSystem, snapshot.path, options);
  const totalBytes = segmentBytesOf(snapshot);
  return withProgress(context, label, (run) => runScan(scan, { ...run, totalBytes }, visit));
}
