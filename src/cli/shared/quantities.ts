/**
 * Parses numbers, times and sizes as people write them on a command line.
 *
 * Guarantees: each value is checked against its range. An error names the option, what was given, and what is allowed.
 *
 * @module
 */

import { UsageError } from "./command.ts";

export interface Range {
  readonly least: number;
  readonly most: number;
}

const MS_OF: Readonly<Record<string, number>> = { "": 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES_OF: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  kB: 1_000,
  KB: 1_000,
  MB: 1_000 ** 2,
  GB: 1_000 ** 3,
  KiB: 1_024,
  MiB: 1_024 ** 2,
  GiB: 1_024 ** 3,
};

export function parseCount(option: string, text: string, range: Range): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  return checked(option, text, value, range, "a whole number");
}

/** Parses a time to milliseconds: `500ms`, `2s`, `5m`, `1h`, `1d`; a plain number is milliseconds. */
export function parseDuration(option: string, text: string, range: Range): number {
  return checked(option, text, measured(text, MS_OF), range, "a time such as 500ms, 2s or 5m");
}

/** Parses a size to bytes: `500000`, `500kB`, `1MiB`. */
export function parseBytes(option: string, text: string, range: Range): number {
  return checked(option, text, measured(text, BYTES_OF), range, "a size such as 500000, 500kB or 1MiB");
}

function measured(text: string, units: Readonly<Record<string, number>>): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit]! : NaN;
  return digits === undefined ? NaN : Math.round(Number(digits) * factor);
}

function checked(option: string, text: string, value: number, { least, most }: Range, what: string): number {
  if (value >= least && value <= most) return value;
  const range = Number.isNaN(value) ? "" : ` from ${least} to ${most}`;
  throw new UsageError(`Cannot use --${option}=${text}: it must be ${what}${range}`);
}
