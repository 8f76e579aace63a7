/**
 * Figures that only a live view needs: rates, short times, bars and small charts. Pure.
 *
 * @module
 */

import { formatNumber } from "../shared/text.ts";

/** Eighths of a cell, from empty to full. */
const EIGHTHS_WIDE = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const EIGHTHS_HIGH = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/** "12 410": whole numbers, with one decimal where they are small. */
export function formatRate(perSecond: number): string {
  return perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : formatNumber(Math.round(perSecond));
}

/** "21:14:03", in UTC. */
export function formatClock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}

/** "21:14:03" on the day of `now`, "2026-11-24" on others. In UTC. */
export function formatMoment(at: number, now: number): string {
  const day = (time: number): string => new Date(time).toISOString().slice(0, 10);
  return day(at) === day(now) ? formatClock(at) : day(at);
}

/** A bar of `columns` cells, of which `share` (0 to 1) are full, to an eighth of a cell. */
export function bar(share: number, columns: number): { readonly full: string; readonly rest: string } {
  const all = 8 * columns;
  const exact = Math.round(Math.min(1, Math.max(0, share)) * all);
  // A little is never shown as nothing, nor almost everything as full.
  const shown = share <= 0 ? 0 : share >= 1 ? all : Math.min(all - 1, Math.max(1, exact));
  const full = "█".repeat(shown >> 3) + EIGHTHS_WIDE[shown & 7];
  return { full, rest: "░".repeat(columns - full.length) };
}

/** One cell per value, the newest last, at most `columns` of them. `top` is the value of a full cell. */
export function sparkline(values: readonly number[], top: number, columns: number): string {
  return values.slice(-columns).map((value) => {
    if (value <= 0 || top <= 0) return " ";
    return EIGHTHS_HIGH[Math.min(7, Math.ceil((value / top) * 8) - 1)];
  }).join("");
}

/** Makes foreign text safe for a terminal: characters that move the cursor or reverse the direction are replaced. */
export function harmless(text: string): string {
  return text.replace(/\s+/gu, " ").replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, "\u{fffd}");
}
