/**
 * Text for people: numbers, sizes, times, and tables that fit the terminal.
 *
 * Guarantees: no line of a table or paragraph is wider than asked for, unless a single word or value is; without a
 * terminal nothing depends on its width.
 *
 * @module
 */

/** The width that is taken where there is no terminal. */
export const DEFAULT_COLUMNS = 100;
/** In less room than this, values are below their names. */
const MIN_ROOM = 24;
/** A narrower terminal is treated as if it had this width. */
const MIN_COLUMNS = 20;
/** From here on a length of time has minutes: less would be rounded to 60.0 s. */
const MINUTE_FROM_MS = 59_950;
const YEAR_MS: number = 365 * 86_400_000;

export function widthOf(output: { readonly columns: number | undefined }): number {
  return Math.max(MIN_COLUMNS, output.columns ?? DEFAULT_COLUMNS);
}

/** A whole number with thousands set apart: `1 234 567`. */
export function formatNumber(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** A number and what it counts: `1 record`, `2 records`. */
export function formatCount(value: number, one: string, many = `${one}s`): string {
  return `${formatNumber(value)} ${value === 1 ? one : many}`;
}

/** A size in bytes: `812 B`, `1.5 KiB`, `16 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const text = unit === 0 || value >= 100 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
  return `${text} ${units[unit]}`;
}

/** A length of time in its two largest units: `3 d 4 h`, `5 min 2 s`, `1.5 s`, `20 ms`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < MINUTE_FROM_MS) return `${(durationMs / 1000).toFixed(1).replace(/\.0$/, "")} s`;
  const seconds = Math.round(durationMs / 1000);
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const;
  const first = units.findIndex(([, unit]) => seconds >= unit);
  const [[large, largeSeconds], [small, smallSeconds]] = [units[first], units[first + 1]];
  const rest = Math.floor((seconds % largeSeconds) / smallSeconds);
  return `${Math.floor(seconds / largeSeconds)} ${large}${rest === 0 ? "" : ` ${rest} ${small}`}`;
}

/** A length of time that may be short: `0.21 ms`, `14 ms`, `1.5 s`: two digits that count. */
export function formatLatency(durationMs: number): string {
  return durationMs < 99.5 ? `${Number(durationMs.toPrecision(2))} ms` : formatDuration(durationMs);
}

/** An age, known to about a second: `0.4 s`, `3.0 s`, `5 min 2 s`. */
export function formatAge(durationMs: number): string {
  if (durationMs >= YEAR_MS) return "more than a year";
  return durationMs < MINUTE_FROM_MS ? `${(Math.max(0, durationMs) / 1000).toFixed(1)} s` : formatDuration(durationMs);
}

/** A moment, in UTC: `2026-01-01 00:00:00.000Z`; what no date can be is shown as a number. */
export function formatTime(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? `${time} ms` : date.toISOString().replace("T", " ");
}

/** A run of sequences: `7`, `7 to 9`. Digits aren't set apart: they are copied into commands. */
export function formatRange({ first, last }: { readonly first: number; readonly last: number }): string {
  return first === last ? `${first}` : `${first} to ${last}`;
}

/** Breaks text at its spaces so that it fits `columns`; each line after the first begins with `indent` spaces. */
export function wrap(text: string, columns: number, indent = 0): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const prefix = lines.length === 0 ? "" : " ".repeat(indent);
    if (line !== "" && prefix.length + line.length + 1 + word.length > columns) {
      lines.push(prefix + line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  lines.push((lines.length === 0 ? "" : " ".repeat(indent)) + line);
  return lines.join("\n");
}

/** Names and values, a line each, values below each other; where there isn't room for one, it is below its name. */
export function fields(
  rows: readonly (readonly [name: string, value: string])[],
  columns: number,
  indentBelow = 2,
): string {
  const indent = Math.max(0, ...rows.map(([name]) => name.length)) + 2;
  const room = columns - indent;
  return rows.map(([name, value]) => {
    const longest = Math.max(...value.split(" ").map(({ length }) => length));
    if (room >= MIN_ROOM && longest <= room) return `${name.padEnd(indent)}${indented(value, room, indent)}\n`;
    return `${name}\n${" ".repeat(indentBelow)}${indented(value, columns - indentBelow, indentBelow)}\n`;
  }).join("");
}

/** Wraps text at `columns`, then puts `indent` spaces before each line after the first. */
export function indented(text: string, columns: number, indent: number): string {
  return wrap(text, columns).replaceAll("\n", `\n${" ".repeat(indent)}`);
}

/** A column of a table. */
export interface Column {
  readonly title: string;
  /** Numbers are aligned to the right. */
  readonly isNumber?: boolean;
}

/** A cell of a table with nothing to say. */
export const NO_CELL = "-";

/** A table with a line of titles; where it doesn't fit, each row is a paragraph of `name: value` lines. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string {
  // One by one: there may be more rows than a call takes arguments.
  const widths = columns.map(({ title }, i) => rows.reduce((most, row) => Math.max(most, row[i].length), title.length));
  const total = widths.reduce((sum, one) => sum + one + 2, -2);
  if (total > width) {
    const lineOf = (value: string, i: number): string =>
      value === NO_CELL ? "" : `${wrap(`${columns[i].title}: ${value}`, width, 2)}\n`;
    return rows.map((row) => row.map(lineOf).join("")).join("\n");
  }
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => columns[i].isNumber === true ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))
      .join("  ").trimEnd() + "\n";
  return line(columns.map(({ title }) => title)) + rows.map(line).join("");
}
