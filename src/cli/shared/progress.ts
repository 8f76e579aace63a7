/**
 * A progress bar on standard error, only if that is a terminal and the work takes longer than a second.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { ScanRunOptions } from "../../maintenance/scan_run.ts";
import type { CommandContext, Output } from "./command.ts";
import { formatBytes } from "./text.ts";

/** Shorter work needs no progress bar. */
const SHOWN_AFTER_MS = 1000;
/** More frequent updates can't be seen. */
const EVERY_MS = 100;
const MAX_BAR_COLUMNS = 40;
const ESCAPE = "\x1b[";

/** Options of {@linkcode Progress}. */
export interface ProgressOptions {
  /** Standard error. */
  readonly errors: Output;
  readonly clock: Clock;
  /** One word: "verify". */
  readonly label: string;
}

/** Runs `work` with a progress bar, and clears the bar when the work ends or fails. */
export async function withProgress<R>(
  { errors, clock, signal }: CommandContext,
  label: string,
  work: (options: ScanRunOptions) => Promise<R>,
): Promise<R> {
  const progress = new Progress({ errors, clock, label });
  try {
    return await work({ signal, onProgress: (doneBytes, totalBytes) => progress.update(doneBytes, totalBytes) });
  } finally {
    progress.clear();
  }
}

/** Shows how much of the work is done. */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #startedAt: number;
  #shownAt = -Infinity;
  #isShown = false;

  /** Starts the clock: the work begins now. */
  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonic();
  }

  /** Shows how many bytes are done, if the last update was long enough ago. */
  update(doneBytes: number, totalBytes: number): void {
    const { errors, clock } = this.#options;
    if (errors.columns === undefined) return;
    const now = clock.monotonic();
    if (now - this.#startedAt < SHOWN_AFTER_MS || now - this.#shownAt < EVERY_MS) return;
    this.#shownAt = now;
    this.#isShown = true;
    this.#write(this.#line({ doneBytes, totalBytes }, now - this.#startedAt, errors.columns));
  }

  /** Clears the bar: the next output begins on an empty line. */
  clear(): void {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#shownAt = -Infinity;
    this.#write(`\r${ESCAPE}K`);
  }

  #line(
    { doneBytes, totalBytes }: { doneBytes: number; totalBytes: number },
    elapsedMs: number,
    columns: number,
  ): string {
    const { label } = this.#options;
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
    const rate = formatBytes(doneBytes / (elapsedMs / 1000));
    const text = `${label} ${String(Math.floor(share * 100)).padStart(3)} %`;
    const rest = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, ${rate}/s`;
    const room = Math.min(MAX_BAR_COLUMNS, columns - text.length - rest.length - 7);
    const filled = Math.round(share * room);
    const bar = room < 5 ? "" : ` [${"#".repeat(filled)}${"-".repeat(room - filled)}]`;
    const line = `${text}${bar}  ${rest}`;
    return `\r${line.length < columns ? line : text}${ESCAPE}K`;
  }

  #write(text: string): void {
    // If standard error is gone, the work still continues.
    this.#options.errors.write(text).catch(() => {});
  }
}
