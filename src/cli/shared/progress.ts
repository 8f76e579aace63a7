/**
 * A progress bar on standard error: only if that is a terminal, and only when the work takes longer than a second.
 *
 * @module
 */

import type { Clock } from "../../base/clock.ts";
import type { Output } from "./command.ts";
import { formatBytes } from "./text.ts";

/** Before that nobody asks. */
const SHOWN_AFTER_MS = 1000;
/** More often nobody can see. */
const EVERY_MS = 100;
const WIDEST_BAR = 40;
const ESCAPE = "\x1b[";

/** What is under way. */
export interface ProgressOptions {
  /** Standard error. */
  readonly errors: Output;
  readonly clock: Clock;
  /** One word: "verify". */
  readonly label: string;
  /** The whole of the work, in bytes. */
  readonly totalBytes: number;
}

/** Shows how much of some work is done. */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #startedAt: number;
  #shownAt = -Infinity;
  #isShown = false;

  /** The work begins now. */
  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonic();
  }

  /** So many bytes are done; shows it, if it is time to. */
  update(doneBytes: number): void {
    const { errors, clock } = this.#options;
    if (errors.columns === undefined) return;
    const now = clock.monotonic();
    if (now - this.#startedAt < SHOWN_AFTER_MS || now - this.#shownAt < EVERY_MS) return;
    this.#shownAt = now;
    this.#isShown = true;
    this.#write(this.#line(doneBytes, now - this.#startedAt, errors.columns));
  }

  /** Takes the bar away: what follows begins on an empty line. */
  clear(): void {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#shownAt = -Infinity;
    this.#write(`\r${ESCAPE}K`);
  }

  #line(doneBytes: number, elapsedMs: number, columns: number): string {
    const { label, totalBytes } = this.#options;
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
    const rate = formatBytes(doneBytes / (elapsedMs / 1000));
    const text = `${label} ${String(Math.floor(share * 100)).padStart(3)} %`;
    const rest = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, ${rate}/s`;
    const room = Math.min(WIDEST_BAR, columns - text.length - rest.length - 7);
    const filled = Math.round(share * room);
    const bar = room < 5 ? "" : ` [${"#".repeat(filled)}${"-".repeat(room - filled)}]`;
    const line = `${text}${bar}  ${rest}`;
    return `\r${line.length < columns ? line : text}${ESCAPE}K`;
  }

  #write(text: string): void {
    // If nobody sees it, nothing is lost.
    this.#options.errors.write(text).catch(() => {});
  }
}
