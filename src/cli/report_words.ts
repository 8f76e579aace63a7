/**
 * Numbers, sizes, times and sequences in the words of a report, and text made safe for HTML.
 *
 * Guarantees: {@linkcode escapeHtml} leaves nothing that could end a text or an attribute, and no character that turns
 * the direction of writing around or can't be seen; everything else is the same in every time zone and locale.
 *
 * @module
 */

import type { SequenceRange } from "../wal/damage.ts";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Control characters but for the line feed, half surrogate pairs, and marks that change the direction of writing. */
// deno-lint-ignore no-control-regex
const UNSEEN = /[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Surrogate}/gu;

/** Text for an element or an attribute in quotes. */
export function escapeHtml(text: string): string {
  return text.replace(UNSEEN, "\ufffd").replace(/[&<>"']/g, (char) => ENTITIES[char]!);
}

/** `1,234,567` */
export function numberText(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** `1 record`, `1,234 records` */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${numberText(n)} ${n === 1 ? one : many}`;
}

/** `999 B`, `1.5 KiB`, `16 MiB` */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let value = bytes;
  // 1023.95 would be shown as 1024.0.
  for (; unit + 1 < units.length && value >= (unit === 0 ? 1024 : 1023.95); unit++) value /= 1024;
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** `2026-11-25 16:28:15.120`, in UTC, which the page says once. */
export function timeText(ms: number): string {
  return dateOf(ms)?.toISOString().replace("T", " ").replace("Z", "") ?? "unknown";
}

/** The same to the second. */
export function secondText(ms: number): string {
  return timeText(ms).replace(/\.\d{3}$/, "");
}

function dateOf(ms: number): Date | undefined {
  const date = new Date(ms);
  // Years of more than four digits are no times of a put, but may well be in a damaged file.
  return date.getTime() >= 0 && date.getUTCFullYear() < 10_000 ? date : undefined;
}

const DURATIONS: readonly (readonly [unit: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** `450 ms`, `12 s`, `3 h 12 min`, `5 d` */
export function durationText(ms: number): string {
  const at = DURATIONS.findIndex(([, unitMs]) => ms >= unitMs);
  if (at < 0) return `${Math.max(0, Math.round(ms))} ms`;
  const [unit, unitMs] = DURATIONS[at]!;
  const whole = Math.floor(ms / unitMs);
  const [below, belowMs] = DURATIONS[at + 1] ?? ["", Infinity];
  const rest = Math.floor((ms - whole * unitMs) / belowMs);
  return rest === 0 ? `${numberText(whole)} ${unit}` : `${numberText(whole)} ${unit} ${rest} ${below}`;
}

/** `sequence 7`, `sequences 7 to 12` */
export function sequencesText({ first, last }: SequenceRange): string {
  return first === last
    ? `sequence ${numberText(first)}`
    : `sequences ${numberText(first)} to ${numberText(last)}`;
}
