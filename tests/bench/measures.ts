/**
 * Numbers: medians, quartiles, memory, and the line by which a process that measured tells them to the one that started
 * it. The line is written before anything else happens, so that it arrives even if the process is killed right after.
 */

import { writeSync } from "node:fs";
import process from "node:process";
import type { ChildResult } from "../support/children.ts";

/** What was measured, by name; the name ends with the unit. */
export type Measures = Readonly<Record<string, number>>;

const MARK = "MEASURED ";

/** The one in the middle, or the mean of two; undefined if there is none. */
export function median(values: readonly number[]): number | undefined {
  return spreadOf(values)?.median;
}

/** What lies in the middle of some values, and how far half of them lie around it. */
export interface Spread {
  readonly median: number;
  /** The quartiles. */
  readonly low: number;
  readonly high: number;
}

/** Median and quartiles; undefined if there is no value. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  return { median: quantile(sorted, 0.5), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) };
}

/** The value below which a `part` (0 to 1) of the sorted values lies; between two of them in proportion (R's type 7). */
function quantile(sorted: readonly number[], part: number): number {
  const place = part * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
  return below + (above - below) * (place - Math.floor(place));
}

/** Tells the process that started this one. */
export function tell(measures: Measures): void {
  writeSync(1, `${MARK}${JSON.stringify(measures)}\n`);
}

/** What a process told. */
export function told(stdout: string): Measures | undefined {
  const line = stdout.split("\n").find((one) => one.startsWith(MARK));
  return line === undefined ? undefined : JSON.parse(line.slice(MARK.length));
}

/** Why a process told nothing: its error, in one line. */
export function failureOf({ code, signal, stderr }: ChildResult): string {
  const text = stderr.split("\n").find((line) => /^(error|\w*Error|killed after)\b/.test(line)) ??
    stderr.trim().split("\n")[0];
  return `ended by ${signal ?? `exit code ${code}`}: ${text}`;
}

/** Resident memory above what the process had at first, looked at whenever it is told to. */
export class MemoryWatch {
  readonly #start: number = process.memoryUsage().rss;
  #peak = this.#start;

  /** Takes a look. */
  sample(): void {
    this.#peak = Math.max(this.#peak, process.memoryUsage().rss);
  }

  /** The most that was seen, in MiB above the start. */
  get peakMiB(): number {
    return (this.#peak - this.#start) / 2 ** 20;
  }

  /** What it is now, in MiB above the start. */
  get nowMiB(): number {
    return (process.memoryUsage().rss - this.#start) / 2 ** 20;
  }
}
