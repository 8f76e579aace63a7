/**
 * The main figures as an SVG image: how many times as long as the raw calls a record takes, for four workloads.
 *
 * The axis is logarithmic and bars begin at 1, the bare system call: to the right it is dearer, to the left cheaper.
 * Colours come from a style sheet inside the image, which follows the reader's light or dark mode; text is text.
 */

import type { RuntimeName } from "../support/children.ts";
import { titleOf } from "./machine.ts";
import { median } from "./measures.ts";
import { format, type Outcome, ratiosOf } from "./report.ts";
import { type Cell, type ContenderName, GROUPS, type Workload } from "./rows.ts";

const WIDTH = 960;
const MARGIN = 24;
const GAP = 40;
const PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) / 2;
const LABEL_WIDTH = 44;
/** Room for the number at the end of a bar, on either side. */
const VALUE_WIDTH = 44;
const BAR = 12;
const BAR_GAP = 2;
const GROUP_GAP = 12;
const HEAD = 96;
const PANEL_HEAD = 44;
const PANEL_FOOT = 36;

const NOTE =
  "Logarithmic. To the right of 1 dearer than the bare calls, to the left cheaper: there, puts share a call.";

/** A bar's contender, whose name is the class that colours it, and how the legend names it. */
const SERIES = [
  { name: "Sluice, fsync never or always", contender: "ours" },
  { name: "JSON lines by hand", contender: "json-lines" },
  { name: "SQLite in WAL mode, synchronous NORMAL or FULL", contender: "sqlite" },
] as const;

/** The rows of a workload with this title are about its cells. */
interface Panel {
  readonly workload: Workload;
  readonly of: string;
  readonly title: string;
  readonly subtitle: string;
}

const PANELS: readonly Panel[] = [
  {
    workload: "W1",
    of: "120 B",
    title: "Put, one by one",
    subtitle: "safe from a killed process; 1 is a write",
  },
  {
    workload: "W2",
    of: "64 writers",
    title: "Put by 64 writers, synced",
    subtitle: "safe from a power cut; 1 is a write and an fdatasync",
  },
  {
    workload: "W3",
    of: "batches of 1,000",
    title: "Put, emit and commit batches of 1000",
    subtitle: "safe from a killed process; 1 is a write, without the reading",
  },
  {
    workload: "W5",
    of: "120 B",
    title: "putMany of 1000",
    subtitle: "safe from a killed process; 1 is a write of all their bytes",
  },
];

const STYLE = `
  .ground { fill: #ffffff } .ink { fill: #1c2128 } .muted { fill: #59636e } .grid { stroke: #dfe3e8 }
  .one { stroke: #59636e } .ours { fill: #2a6fdb } .json-lines { fill: #8c959f } .sqlite { fill: #d9730d }
  text { font: 12px system-ui, sans-serif } .title { font-size: 18px; font-weight: 600 }
  .panel { font-size: 14px; font-weight: 600 } .number { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .ink { fill: #e6edf3 } .muted { fill: #9198a1 } .grid { stroke: #2b323b }
    .one { stroke: #9198a1 } .ours { fill: #5b9cf0 } .json-lines { fill: #6e7681 } .sqlite { fill: #f0a04b }
  }`;

/** One bar. */
interface Bar {
  readonly series: typeof SERIES[number];
  readonly runtime: RuntimeName;
  readonly ratio: number | undefined;
}

/** The image. Panels without figures stay empty. */
export function chartOf(outcome: Outcome): string {
  const { machine, runtimes, rounds } = outcome;
  const groupHeight = SERIES.length * (BAR + BAR_GAP) + GROUP_GAP;
  const panelHeight = PANEL_HEAD + runtimes.length * groupHeight + PANEL_FOOT;
  const height = HEAD + 2 * panelHeight + 2 * MARGIN;
  const panels = PANELS.map((panel, i) => {
    const x = MARGIN + (i % 2) * (PANEL_WIDTH + GAP);
    const y = HEAD + Math.floor(i / 2) * panelHeight;
    const body = drawPanel(panel, barsOf(panel, outcome), groupHeight);
    return `<g transform="translate(${x} ${y})">\n${body}\n</g>`;
  });
  const where = `${machine.runtimes.join(", ")}; ${machine.cores} x ${machine.cpu}, ${machine.kernel}, ` +
    `${machine.fileSystem}; medians of ${rounds} round${rounds === 1 ? "" : "s"}`;
  const title = "Time for a record of 120 bytes, as a multiple of the bare system calls";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `role="img" aria-labelledby="title">`,
    `<title id="title">${title}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}"/>`,
    text({ x: MARGIN, y: 32, style: "ink title" }, title),
    text({ x: MARGIN, y: 52, style: "muted" }, where),
    drawLegend(),
    ...panels,
    text({ x: MARGIN, y: height - MARGIN, style: "muted" }, NOTE),
    "</svg>\n",
  ].join("\n");
}

function barsOf({ workload, of }: Panel, { results, runtimes }: Outcome): Bar[] {
  const rows = GROUPS.flat().filter((row) => row.workload === workload && row.title === of);
  const cellOf = (contender: ContenderName): Cell =>
    rows.flatMap(({ cell, base }) => [cell, base]).find((cell) => cell.contender === contender)!;
  const base = cellOf("raw");
  return runtimes.flatMap((runtime) =>
    SERIES.map((series): Bar => {
      const pair = { cell: cellOf(series.contender), base, measure: "us", baseMeasure: "us" };
      return { series, runtime, ratio: median(ratiosOf(results, pair, runtime)) };
    })
  );
}

function drawLegend(): string {
  let x = MARGIN;
  return SERIES.map(({ name, contender }) => {
    const entry = `<rect class="${contender}" x="${x}" y="66" width="12" height="12" rx="2"/>` +
      text({ x: x + 18, y: 76, style: "ink" }, name);
    x += 48 + name.length * 6.4;
    return entry;
  }).join("\n");
}

function drawPanel(panel: Panel, bars: readonly Bar[], groupHeight: number): string {
  const ratios = bars.flatMap(({ ratio }) => ratio === undefined ? [] : [ratio]);
  const ticks = ticksFor(ratios);
  const [low, high] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  const left = LABEL_WIDTH + VALUE_WIDTH;
  const scale = (PANEL_WIDTH - left - VALUE_WIDTH) / (high - low);
  const xOf = (ratio: number): number => Math.round((left + (Math.log(ratio) - low) * scale) * 10) / 10;
  const bottom = PANEL_HEAD + bars.length / SERIES.length * groupHeight;
  const parts = [
    text({ x: 0, y: 12, style: "ink panel" }, panel.title),
    text({ x: 0, y: 29, style: "muted" }, panel.subtitle),
  ];
  for (const tick of ticks) {
    const x = xOf(tick);
    parts.push(
      `<line class="${tick === 1 ? "one" : "grid"}" x1="${x}" x2="${x}" y1="${PANEL_HEAD - 4}" y2="${bottom}"/>`,
      text({ x, y: bottom + 15, style: "muted number", anchor: "middle" }, String(tick)),
    );
  }
  bars.forEach((bar, i) => {
    const group = Math.floor(i / SERIES.length);
    const y = PANEL_HEAD + group * groupHeight + (i % SERIES.length) * (BAR + BAR_GAP);
    if (i % SERIES.length === 1) parts.push(text({ x: 0, y: y + 10, style: "ink" }, titleOf(bar.runtime)));
    if (bar.ratio !== undefined) parts.push(drawBar(bar, bar.ratio, { from: xOf(1), to: xOf(bar.ratio), y }));
  });
  return parts.join("\n");
}

function drawBar(bar: Bar, ratio: number, { from, to, y }: { from: number; to: number; y: number }): string {
  const isDearer = to >= from;
  const label = text(
    { x: isDearer ? to + 4 : to - 4, y: y + 10, style: "ink number", anchor: isDearer ? "start" : "end" },
    format(ratio),
  );
  const width = Math.max(1, Math.abs(to - from)).toFixed(1);
  return `<rect class="${bar.series.contender}" x="${Math.min(from, to)}" y="${y}" width="${width}" height="${BAR}">` +
    `<title>${bar.series.name}, ${titleOf(bar.runtime)}: ${format(ratio)}</title></rect>${label}`;
}

/** 1, 3, 10, ... and 0.3, 0.1, ..., as far as the values go, at least from 1 to 3. */
function ticksFor(values: readonly number[]): number[] {
  const tickAt = (step: number): number => Number(`${step % 2 === 0 ? 1 : 3}e${Math.floor(step / 2)}`);
  let first = 0;
  let last = 1;
  while (values.some((value) => value < tickAt(first))) first--;
  while (values.some((value) => value > tickAt(last))) last++;
  return Array.from({ length: last - first + 1 }, (_, i) => tickAt(first + i));
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly style: string;
  readonly anchor?: "start" | "middle" | "end";
}

function text({ x, y, style, anchor = "start" }: Place, content: string): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${style}" x="${x}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}
