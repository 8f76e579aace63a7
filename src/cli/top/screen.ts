/**
 * Renders the screen of `top`: pure, from a view to lines.
 *
 * Guarantees: no line is wider than the given width, and there are never more lines than given. In a narrow terminal the same
 * figures break into more lines; in a low one, the least important lines are dropped first, the backlog last. Colours only repeat
 * what the text says. Foreign text (paths, messages) has no effect on the terminal.
 *
 * @module
 */

import { formatAge, formatBytes, formatCount, formatLatency, formatNumber } from "../shared/text.ts";
import { bar, formatClock, formatMoment, formatRate, harmless, sparkline } from "./figures.ts";
import type { TopRate, TopView } from "./view.ts";

/** The column where values start. */
const LABEL_COLUMNS = 11;
/** A narrower screen can't show anything. */
const MIN_COLUMNS = 24;
/** The shortest useful bar or chart. */
const MIN_CHART_COLUMNS = 8;
/** A record that is late by more than this is highlighted. */
const LATE_MS = 10_000;
/** Room for "999 999" and for "1023 KiB". */
const RATE_COLUMNS = 7;
const SIZE_COLUMNS = 8;
/** A chart needs at least these readings. */
const MIN_READINGS = 3;
/** A longer chart is restless. */
const MAX_CHART_COLUMNS = 60;
/** From this width on, the sizes are beside the bar; otherwise they are among the items below it. */
const SIZES_COLUMNS = 60;
/** From this share on, the backlog is highlighted. */
const HIGH_SHARE = 0.6;
const CRITICAL_SHARE = 0.85;

/** The screen's size and abilities. */
export interface ScreenSize {
  readonly columns: number;
  /** `undefined` for as many as needed. */
  readonly rows: number | undefined;
  readonly hasColours: boolean;
}

/** Colours by number, so that the terminal's theme chooses them (ECMA-48, SGR). */
const SGR = {
  plain: "",
  strong: "1",
  faint: "2",
  good: "32",
  high: "33",
  bad: "1;31",
  chart: "36",
} as const;
type Style = keyof typeof SGR;

interface Span {
  readonly text: string;
  readonly style: Style;
}

type Line = readonly Span[];

/** Lines that belong together. A higher rank is dropped sooner when there is too little room. */
interface Block {
  readonly rank: number;
  readonly lines: readonly Line[];
}

/** The screen as text: lines, without a line feed at the end. */
export function renderTop(view: TopView, { columns, rows, hasColours }: ScreenSize): string {
  const width = Math.max(MIN_COLUMNS, columns);
  const lines = fit(blocksOf(view, width), rows);
  // A terminal narrower than MIN_COLUMNS shows the left part.
  return lines.map((line) => paint(cut(line, columns), hasColours)).join("\n");
}

function blocksOf(view: TopView, width: number): Block[] {
  const { backlog, inFlight, batches, puts, syncs, disk, quarantine, note } = view;
  const row = (rank: number, label: string, items: readonly Span[] = [faint("not known")]): Block => {
    return { rank, lines: flow(label, items, width) };
  };
  const blank: Block = { rank: 20, lines: [[]] };
  return [
    { rank: 1, lines: [titleOf(view, width)] },
    row(2, "state", stateOf(view)),
    ...(note === undefined
      ? []
      : [row(5, "note", [span(`${harmless(note)}: this is what the directory alone tells`)])]),
    blank,
    { rank: 0, lines: [backlogBar(view, width)] },
    row(1, "", backlogItems(view, width)),
    blank,
    { rank: 3, lines: rateLines("put", view.put, view.history.put, view, width) },
    { rank: 3, lines: rateLines("committed", view.committed, view.history.committed, view, width) },
    blank,
    row(4, "oldest", oldestItems(view)),
    row(6, "in flight", inFlight && inFlightItems(inFlight)),
    row(7, "batches", batches && counts(batches, { redelivered: "high" })),
    row(6, "puts", puts && counts(puts, { rejected: "high", dropped: "bad" })),
    row(7, "syncs", syncs && syncItems(syncs)),
    row(8, "disk", [
      span(formatCount(disk.segments, "segment")),
      span(formatBytes(disk.bytes)),
      quarantine.files === 0
        ? faint("nothing in quarantine")
        : span(`${formatBytes(quarantine.bytes)} in quarantine`, "high"),
    ]),
    blank,
    ...problemBlocks(view, backlog.bytes !== undefined, width),
  ];
}

function titleOf({ path, now }: TopView, width: number): Line {
  const time = `${formatClock(now)} UTC`;
  const room = width - "sluice top".length - 2 - 2 - time.length;
  const shown = shortenLeft(harmless(path), room);
  const gap = " ".repeat(2 + room - lengthOf(shown));
  return [span("sluice top", "strong"), span("  "), span(shown, "strong"), span(gap), faint(time)];
}

function stateOf({ state, seenAt = 0, now, owner }: TopView): Span[] {
  const who = owner === undefined ? [] : [span(`${harmless(owner.runtime)} ${owner.pid}`)];
  const openedAt = owner?.openedAt ?? now;
  const ago = (at: number): string => `${formatAge(now - at)} ago`;
  const seen = faint(`seen ${ago(seenAt)}`);
  if (state === "open") return [span(`open for ${formatAge(now - openedAt)}`, "good"), ...who, seen];
  if (state === "silent") return [span("silent", "high"), span("nothing to do, or its process is gone"), ...who, seen];
  if (state === "failed") return [span("failed", "bad"), span("has to be closed and opened again"), ...who, seen];
  if (state === "closed") {
    return [span(`closed ${ago(seenAt)}`), ...who, faint(`was open for ${formatAge(seenAt - openedAt)}`)];
  }
  return [faint("not known"), ...(owner === undefined ? [] : [span(`opened ${ago(openedAt)}`)]), ...who];
}

function backlogBar({ backlog: { bytes, maxBytes } }: TopView, width: number): Line {
  const label = labelSpan("backlog");
  if (bytes === undefined || maxBytes === undefined) {
    return [label, bytes === undefined ? faint("not known") : span(`at most ${formatBytes(bytes)}`)];
  }
  const share = bytes / maxBytes;
  const style = share >= CRITICAL_SHARE ? "bad" : share >= HIGH_SHARE ? "high" : "good";
  const percent = `${(share * 100).toFixed(1)} %`.padStart(8);
  const room = width - LABEL_COLUMNS - percent.length;
  const behind = width >= SIZES_COLUMNS ? `  ${sizesOf(bytes, maxBytes)}` : "";
  const { full, rest } = bar(share, Math.max(0, Math.min(MAX_CHART_COLUMNS, room - behind.length)));
  return [label, span(full, style), faint(rest), span(percent, style), span(behind)];
}

function sizesOf(bytes: number, maxBytes: number): string {
  return `${formatBytes(bytes)} of ${formatBytes(maxBytes)}`;
}

function backlogItems({ backlog, trend }: TopView, width: number): Span[] {
  const { records, isExact, payloadBytes, bytes = 0, maxBytes } = backlog;
  const items: Span[] = [];
  if (records !== undefined) items.push(span((isExact ? "" : "at least ") + formatCount(records, "record"), "strong"));
  if (maxBytes !== undefined && width < SIZES_COLUMNS) items.push(span(sizesOf(bytes, maxBytes)));
  if (payloadBytes !== undefined) items.push(span(`payloads ${formatBytes(payloadBytes)}`));
  if (trend?.kind === "steady") items.push(span(bytes === 0 ? "empty" : "steady"));
  if (trend?.kind === "full") items.push(span(`full in ${formatAge(trend.inMs)} at this rate`, "high"));
  if (trend?.kind === "empty") items.push(span(`empty in ${formatAge(trend.inMs)} at this rate`, "good"));
  if (maxBytes !== undefined && bytes >= CRITICAL_SHARE * maxBytes) items.push(span("nearly full", "bad"));
  return items;
}

/** A rate and its history, both rates on one scale. */
function rateLines(
  label: string,
  rate: TopRate | undefined,
  history: readonly number[],
  { history: both, state, source }: TopView,
  width: number,
): Line[] {
  if (rate === undefined) {
    const isMeasured = source === "status" ? state !== "closed" : label === "committed";
    return [[labelSpan(label), faint(isMeasured ? "measuring" : source === "status" ? "nothing" : "not known")]];
  }
  // Padded, so that they are aligned and stay in place.
  const records = `${formatRate(rate.records).padStart(RATE_COLUMNS)} records/s`;
  const bytes = `${formatBytes(rate.payloadBytes).padStart(SIZE_COLUMNS)}/s`;
  const text = `${records}  ${bytes}`;
  if (lengthOf(text) > width - LABEL_COLUMNS) return flow(label, [span(records.trim()), span(bytes.trim())], width);
  const room = width - LABEL_COLUMNS - lengthOf(text) - 3;
  const columns = Math.min(MAX_CHART_COLUMNS, room >= MIN_CHART_COLUMNS ? room : width - LABEL_COLUMNS);
  const top = Math.max(0, ...both.put.slice(-columns), ...both.committed.slice(-columns));
  if (history.length < MIN_READINGS) return [[labelSpan(label), span(text)]];
  const chart = span(sparkline(history, top, columns), "chart");
  if (room >= MIN_CHART_COLUMNS) return [[labelSpan(label), span(text), span("   "), chart]];
  return [[labelSpan(label), span(text)], [labelSpan(""), chart]];
}

function oldestItems({ oldestAgeMs, maxAgeMs, source, backlog }: TopView): Span[] {
  if (source === "directory") return [faint("not known")];
  if (oldestAgeMs === undefined || maxAgeMs === undefined) {
    return [faint(backlog.records === 0 ? "no record waits" : "all records are in flight")];
  }
  const lateMs = oldestAgeMs - maxAgeMs;
  const age = span(formatAge(oldestAgeMs));
  if (lateMs <= 0) return [age, faint(`due after ${formatAge(maxAgeMs)}`)];
  // A consumer that takes one batch after the other is always a little late.
  return [age, span(`overdue by ${formatAge(lateMs)}`, lateMs > maxAgeMs + LATE_MS ? "high" : "plain")];
}

function inFlightItems({ batches, records }: NonNullable<TopView["inFlight"]>): Span[] {
  if (batches === 0) return [faint("nothing")];
  return [span(formatCount(batches, "batch", "batches")), span(formatCount(records, "record"))];
}

function syncItems({ count, meanMs, p50Ms, p99Ms, maxMs }: NonNullable<TopView["syncs"]>): Span[] {
  if (count === 0) return [faint("none yet")];
  const times = [["mean", meanMs], ["p50", p50Ms], ["p99", p99Ms], ["max", maxMs]] as const;
  return [span(formatNumber(count)), ...times.map(([name, ms]) => span(`${name} ${formatLatency(ms)}`))];
}

/** Counts with their names. Where there is a style for a name, a count that isn't 0 has it. */
function counts(amounts: Readonly<Record<string, number>>, styles: Readonly<Record<string, Style>>): Span[] {
  return Object.entries(amounts).map(([name, count]) => {
    return span(`${formatNumber(count)} ${name}`, count > 0 ? styles[name] : "plain");
  });
}

/** The newest problems come first, and are dropped last. */
function problemBlocks({ problems, now, source }: TopView, isKnown: boolean, width: number): Block[] {
  if (problems === undefined || !isKnown) {
    return source === "directory" ? [{ rank: 9, lines: flow("problems", [faint("not known")], width) }] : [];
  }
  if (problems.length === 0) return [{ rank: 9, lines: flow("problems", [faint("none")], width) }];
  return problems.map(({ type, code, message, at, count }, i) => {
    const style = type === "failed" || type === "drop" || type === "damage" ? "bad" : "high";
    const name = code === undefined ? type : `${type} ${harmless(code)}`;
    const items = [span(count === 1 ? name : `${name}, ${formatNumber(count)} times`, style), span(harmless(message))];
    return { rank: 5 + i, lines: flow(formatMoment(at, now), items, width) };
  });
}

/** A label and its items, with line breaks between items, or else between words. */
function flow(label: string, items: readonly Span[], width: number): Line[] {
  const room = width - LABEL_COLUMNS;
  const lines: Span[][] = [[]];
  let used = 0;
  for (const item of items) {
    if (used > 0 && used + SEPARATOR.text.length + Math.min(room, lengthOf(item.text)) <= room) {
      lines.at(-1)!.push(SEPARATOR);
      used += SEPARATOR.text.length;
    } else if (used > 0) {
      lines.push([]);
      used = 0;
    }
    for (const [i, part] of wrap(item.text, room, room - used).entries()) {
      if (i > 0) {
        lines.push([]);
        used = 0;
      }
      lines.at(-1)!.push(span(part, item.style));
      used += lengthOf(part);
    }
  }
  return lines.map((line, i) => [labelSpan(i === 0 ? label : ""), ...line]);
}

const SEPARATOR: Span = { text: " · ", style: "faint" };

/** Breaks a text between words, or within a word longer than a line. `first` is the room on the first line. */
function wrap(text: string, room: number, first: number): string[] {
  const lines: string[] = [];
  let line = "";
  const space = (): number => lines.length === 0 ? first : room;
  for (const word of text.split(" ")) {
    const joined = line === "" ? word : `${line} ${word}`;
    if (lengthOf(joined) <= space()) {
      line = joined;
      continue;
    }
    if (line !== "") lines.push(line);
    const rest = [...word];
    while (rest.length > space()) lines.push(rest.splice(0, space()).join(""));
    line = rest.join("");
  }
  return [...lines, line];
}

/** Fits blocks into the rows: drops the least important ones, or their ends. */
function fit(blocks: readonly Block[], rows = Infinity): Line[] {
  const left = [...blocks];
  for (;;) {
    const excess = left.reduce((sum, { lines }) => sum + lines.length, 0) - rows;
    if (excess <= 0) return left.flatMap(({ lines }) => lines);
    const highest = Math.max(...left.map(({ rank }) => rank));
    const last = left.findLastIndex(({ rank }) => rank === highest);
    const [{ rank, lines }] = left.splice(last, 1);
    if (lines.length > excess) left.splice(last, 0, { rank, lines: lines.slice(0, -excess) });
  }
}

function paint(line: Line, hasColours: boolean): string {
  return line.map(({ text, style }) => {
    return hasColours && style !== "plain" && text !== "" ? `\x1b[${SGR[style]}m${text}\x1b[0m` : text;
  }).join("").trimEnd();
}

function cut(line: Line, columns: number): Line {
  let room = columns;
  return line.map(({ text, style }) => {
    const shown = [...text].slice(0, room);
    room -= shown.length;
    return span(shown.join(""), style);
  });
}

/** The right part of a text: the most informative part of a path. */
function shortenLeft(text: string, room: number): string {
  const characters = [...text];
  if (characters.length <= room) return text;
  return room <= 0 ? "" : `…${characters.slice(characters.length - room + 1).join("")}`;
}

function labelSpan(label: string): Span {
  return faint(label.padEnd(LABEL_COLUMNS));
}

function span(text: string, style: Style = "plain"): Span {
  return { text, style };
}

function faint(text: string): Span {
  return span(text, "faint");
}

function lengthOf(text: string): number {
  return [...text].length;
}
