/**
 * The drawings of a report as SVG: the rows of the log, and two histograms.
 *
 * Positions are percentages and heights are pixels. So a drawing fits any width, and its text keeps its size. Each mark
 * has a title, which `script.ts` shows as a tooltip; the arrow keys move from mark to mark.
 *
 * @module
 */

import type { ReportData, ReportRow, Stretch, StretchKind } from "./data.ts";
import { everyNth, layOut, MIN_WIDTH, niceCeiling } from "./layout.ts";
import {
  bytesText,
  durationText,
  escapeHtml,
  numberText,
  plural,
  secondText,
  sequencesText,
  timeText,
} from "./words.ts";

/** The kinds of stretches and their names, in the order of the legend. */
export const KINDS: readonly (readonly [kind: StretchKind, name: string])[] = [
  ["committed", "committed"],
  ["inFlight", "in flight"],
  ["dropped", "dropped"],
  ["pending", "pending"],
  ["free", "set aside, without content"],
  ["torn", "torn"],
  ["damaged", "damaged"],
  ["unusable", "unusable file"],
  ["missing", "missing records"],
];

const BAR = 18;
const MISSING_WIDTH = 3;
/** The fewest slots of a histogram, so that a single bar is narrower than the chart. */
const MIN_SLOTS = 8;
const CHART = { top: 8, height: 120, foot: 34 };

/** The patterns, defined once for the page. Strokes are close enough for a bar of 2 pixels to show one. */
export const PATTERNS: string = [
  pattern("in-flight", 6, "--in-flight", stripe("--in-flight-2", 6, 2)),
  pattern("dropped", 5, "--track", stripe("--dropped", 5, 2)),
  pattern("torn", 4, "--track", stripe("--torn", 4, 2)),
  pattern("damaged", 6, "--bad", stripe("--bad-2", 6, 1.5) + '<path d="M0 0H6" class="p-bad"/>'),
  pattern("unusable", 8, "--bad", stripe("--bad-2", 8, 3)),
].join("");

/** The style rules of the patterns, added to the style sheet. */
export const PATTERN_STYLE: string = [
  ["--in-flight", "--in-flight-2", "--track", "--dropped", "--torn", "--bad", "--bad-2"].map((name) =>
    `.f${name} { fill: var(${name}); } .s${name} { stroke: var(${name}); }`
  ).join("\n"),
  ".p-bad { stroke: var(--bad-2); stroke-width: 1.5; }",
].join("\n");

function pattern(id: string, size: number, ground: string, content: string): string {
  return `<pattern id="${id}" width="${size}" height="${size}" patternUnits="userSpaceOnUse" ` +
    `patternTransform="rotate(45)"><rect width="${size}" height="${size}" class="f${ground}"/>${content}</pattern>`;
}

function stripe(colour: string, size: number, width: number): string {
  return `<path d="M${size / 2} 0V${size}" class="s${colour}" stroke-width="${width}"/>`;
}

export function legendOf({ rows }: ReportData): string {
  const there = new Set(rows.flatMap(({ stretches }) => stretches.map(({ kind }) => kind)));
  const items = KINDS.filter(([kind]) => there.has(kind)).map(([kind, name]) => {
    const [x, width] = kind === "missing" ? [9, MISSING_WIDTH] : [1, 20];
    return `<li><svg width="22" height="12" aria-hidden="true">` +
      `<rect class="${kind}" x="${x}" y="1" width="${width}" height="10"/></svg>${name}</li>`;
  });
  return `<ul class="legend">${items.join("")}</ul>`;
}

export function logRows({ rows }: ReportData): string {
  const longest = Math.max(1, ...rows.map(({ bytes }) => bytes));
  return `<div class="rows">${rows.map((row) => logRow(row, longest)).join("\n")}</div>`;
}

function logRow(row: ReportRow, longest: number): string {
  const spans = layOut(row.stretches, row.bytes, row.bytes / longest * 100);
  const last = spans.at(-1);
  const width = Math.max(row.bytes / longest * 100, last === undefined ? MIN_WIDTH : last.x + last.width);
  const marks = row.stretches.map((stretch, i) => mark(stretch, spans[i]!.x, spans[i]!.width));
  const label = labelOf(row);
  return `<span>${label}</span><span class="bar-cell"><svg class="chart" height="${BAR}" role="group" ` +
    `aria-label="${label}, ${bytesText(row.bytes)}; arrow keys go through its stretches">` +
    `<rect class="track" width="${percent(width)}" height="${BAR}"/>${marks.join("")}</svg></span>` +
    `<span class="size">${bytesText(row.bytes)}</span>`;
}

function labelOf({ segments, first, last }: ReportRow): string {
  // A segment's name is its first sequence, padded with zeros.
  const short = (name: string): string => numberText(Number.parseInt(name, 10));
  return segments === 1 ? short(first) : `${short(first)} to ${short(last)} (${segments})`;
}

function mark(stretch: Stretch, x: number, width: number): string {
  const { kind } = stretch;
  // Records that are missing without a trace take no bytes: they are a line across the bar.
  const place = kind === "missing" && stretch.length === 0
    ? `x="${percent(x)}" y="-2" width="${MISSING_WIDTH}" height="${BAR + 4}"`
    : `x="${percent(x)}" width="${percent(width)}" height="${BAR}"`;
  return `<rect class="m ${kind}" ${place}><title>${escapeHtml(describe(stretch).join("\n"))}</title></rect>`;
}

/** The text of a mark's tooltip, line by line. */
export function describe(stretch: Stretch): string[] {
  const { kind, segment, offset, length, sequences, records, putFrom, putTo, joined } = stretch;
  const name = KINDS.find(([one]) => one === kind)![1];
  const lines = [name[0]!.toUpperCase() + name.slice(1)];
  if (joined > 1) lines.push(`the worst of ${joined} stretches that are drawn as one`);
  lines.push(segment, `offset ${numberText(offset)}, ${plural(length, "byte")}`);
  if (sequences !== undefined) {
    const isLost = (kind === "damaged" || kind === "missing") && joined === 1;
    const what = kind === "unusable" ? "may have held " : isLost ? "missing: " : "";
    const count = kind === "unusable" || records === 0 ? "" : ` (${plural(records, "record")})`;
    lines.push(`${what}${sequencesText(sequences)}${count}`);
  }
  if (putFrom !== undefined && putTo !== undefined) {
    lines.push(`put ${timeText(putFrom)}${putFrom === putTo ? "" : ` to ${timeText(putTo)}`}`);
  }
  return lines;
}

export function sizeChart({ sizes }: ReportData): string {
  const all = sizes.reduce((sum, { records }) => sum + records, 0);
  return histogram({
    title: "Records by payload size",
    bars: sizes.map(({ from, to, records }, i) => ({
      at: i,
      records,
      title: `${sizeRange(from, to)}\n${plural(records, "record")}, ${share(records, all)} of them`,
    })),
    slots: Math.max(MIN_SLOTS, sizes.length),
    ticks: everyNth(sizes.length, 6).map((i) => ({ at: i, text: bytesText(sizes[i]!.from) })),
    axis: "size of the payload, doubling from bar to bar",
  });
}

function sizeRange(from: number, to: number): string {
  return to - from === 1 ? plural(from, "byte") : `${numberText(from)} to ${numberText(to - 1)} bytes`;
}

function share(part: number, all: number): string {
  const percent = part / all * 100;
  return percent < 1 ? "less than 1 %" : percent === 100 ? "all" : `${Math.min(99, Math.round(percent))} %`;
}

export function timeChart({ times: { widthMs, bins } }: ReportData): string {
  const start = bins[0]?.from ?? 0;
  const end = (bins.at(-1)?.from ?? 0) + widthMs;
  const slots = Math.round((end - start) / widthMs);
  const clock = (ms: number): string => widthMs < 1000 ? timeText(ms).slice(11) : secondText(ms).slice(11);
  const isDays = end - start > 2 * 86_400_000;
  const tick = (ms: number): string => isDays ? timeText(ms).slice(0, 10) : clock(ms);
  const day = timeText(start).slice(0, 10);
  return histogram({
    title: "Records by put time",
    bars: bins.map(({ from, records }) => ({
      at: Math.round((from - start) / widthMs),
      records,
      title: `${timeText(from)}\n${plural(records, "record")} put in ${durationText(widthMs)} from then on`,
    })),
    slots: Math.max(MIN_SLOTS, slots),
    ticks: everyNth(slots, 4).map((i) => ({ at: i, text: tick(start + i * widthMs) })),
    axis: `${isDays ? "" : `${day}, `}UTC, each bar ${durationText(widthMs)}`,
  });
}

interface Histogram {
  readonly title: string;
  readonly bars: readonly { readonly at: number; readonly records: number; readonly title: string }[];
  /** The number of places for bars. */
  readonly slots: number;
  /** Labels below the left edges of bars. */
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
  readonly axis: string;
}

/** The room left of the bars for the numbers of the axis, in percent of the width. */
const LEFT = 12;

function histogram({ title, bars, slots, ticks, axis }: Histogram): string {
  const { top, height, foot } = CHART;
  const most = niceCeiling(Math.max(1, ...bars.map(({ records }) => records)));
  const slot = (100 - LEFT) / slots;
  const xOf = (at: number): string => percent(LEFT + at * slot);
  const bottom = top + height;
  const steps = most < 2 ? [0, 1] : [0, 0.5, 1];
  const grid = steps.map((part) => {
    const y = bottom - part * height;
    return `<line class="grid" x1="${LEFT}%" x2="100%" y1="${y}" y2="${y}"/>` +
      `<text x="${LEFT - 1.5}%" y="${y + 4}" text-anchor="end">${countText(part * most)}</text>`;
  });
  const drawn = bars.map(({ at, records, title }) => {
    const tall = Math.max(1.5, records / most * height);
    return `<rect class="m hit" x="${xOf(at)}" y="${top}" width="${percent(slot)}" height="${height}">` +
      `<title>${escapeHtml(title)}</title></rect>` +
      `<rect class="bar" x="${xOf(at + 0.08)}" y="${round(bottom - tall)}" width="${percent(slot * 0.84)}" ` +
      `height="${round(tall)}"/>`;
  });
  const labels = ticks.map(({ at, text }) => `<text x="${xOf(at)}" y="${bottom + 15}">${text}</text>`);
  return `<svg class="chart" height="${top + height + foot}" role="group" ` +
    `aria-label="${title}; arrow keys go through its bars">${grid.join("")}${drawn.join("")}${labels.join("")}` +
    `<text x="${LEFT}%" y="${bottom + 30}">${axis}</text></svg>`;
}

/** `1,500`, `20k`, `5M`: short enough to fit beside an axis. */
function countText(n: number): string {
  if (n < 10_000) return numberText(n);
  return n < 1e6 ? `${n / 1e3}k` : n < 1e9 ? `${n / 1e6}M` : `${n / 1e9}G`;
}

function percent(n: number): string {
  return `${round(n)}%`;
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}
