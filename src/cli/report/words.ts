/**
 * Numbers, sizes, times and sequences as the other commands write them, kept on one line, and text made safe for HTML.
 *
 * Guarantee: {@linkcode escapeHtml} leaves nothing that could end a text or an attribute, and no character that turns
 * the direction of writing around or can't be seen.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import { formatBytes, formatCount, formatDuration, formatNumber, formatTime } from "../shared/text.ts";

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

/** `1 234 567`, on one line. */
export function numberText(n: number): string {
  return unbroken(formatNumber(n));
}

/** `1 record`, `1 234 records` */
export function plural(n: number, one: string, many?: string): string {
  return unbroken(formatCount(n, one, many));
}

/** Text of another command, each number in it on one line. */
export function unbroken(text: string): string {
  return text.replace(/(?<=\d) (?=\d{3}(?!\d))/g, "\u202f").replace(/(?<=\d) (?=[KMGT]?i?B\b)/g, "\xa0");
}

/** `999 B`, `1.5 KiB`, `16 MiB`, on one line. */
export function bytesText(bytes: number): string {
  return unbroken(formatBytes(bytes));
}

/** `450 ms`, `12 s`, `3 h 12 min`, on one line. */
export function durationText(durationMs: number): string {
  return formatDuration(Math.max(0, durationMs)).replaceAll(" ", "\xa0");
}

/** `2026-11-25 16:28:15.120`, in UTC, which the page says once. */
export function timeText(time: number): string {
  return formatTime(time).replace(/Z$/, "");
}

export function secondText(time: number): string {
  return timeText(time).replace(/\.\d{3}$/, "");
}

/** `sequence 7`, `sequences 7 to 12` */
export function sequencesText(range: SequenceRange): string {
  return `sequence${range.first === range.last ? "" : "s"} ${rangeText(range)}`;
}

/** `7`, `7 to 12` */
export function rangeText({ first, last }: SequenceRange): string {
  return first === last ? numberText(first) : `${numberText(first)} to ${numberText(last)}`;
}
