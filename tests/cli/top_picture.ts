/**
 * Draws the picture of `top` for `examples/README.md`: has a program put records for half a minute, its target away in between,
 * watches it with the real command, and turns the last screen, escape sequences and all, into an SVG.
 *
 * Usage: `top_picture.ts FILE.svg`. Blocks and bars become rectangles and each piece of text is set to its cells, so that
 * nothing depends on which font is at hand.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "@std/path/join";
import { FileBuffer } from "../../mod.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Output } from "../../src/cli/shared/command.ts";
import { topCommand } from "../../src/cli/top.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import { startChild } from "../support/children.ts";
import { visible } from "./top_tools.ts";

const COLUMNS = 80;
const ROWS = 24;
/** How long is watched, and how often. */
const WATCHED_MS = 26_000;
const INTERVAL_MS = 500;
/** When the target is away. */
const AWAY_FROM_MS = 3_000;
const AWAY_TO_MS = 18_000;

const CELL_WIDTH = 8.4;
const CELL_HEIGHT = 19;
const MARGIN = 22;
const FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const BACKGROUND = "#14181f";
const FRAME = "#2c333f";
/** Colours by SGR code. */
const COLOURS: Readonly<Record<string, string>> = {
  "": "#c8d0dc",
  "1": "#ffffff",
  "2": "#7a8596",
  "32": "#8ecf8e",
  "33": "#e5c07b",
  "1;31": "#f07c7c",
  "36": "#6cb6d9",
};

/** Puts in waves, and delivers; but not while the target is away. */
async function write(path: string): Promise<void> {
  const buffer = await FileBuffer.open<unknown>({
    path,
    maxBacklogBytes: 16 * 2 ** 20,
    maxRecords: 500,
    statusMs: 250,
  });
  const startedAt = Date.now();
  const isAway = (): boolean => Date.now() - startedAt > AWAY_FROM_MS && Date.now() - startedAt < AWAY_TO_MS;
  const deliver = async (): Promise<void> => {
    for await (const batch of buffer.batches()) {
      await sleep(52);
      if (isAway()) await sleep(1_000);
      else await buffer.commit(batch);
    }
  };
  void deliver();
  for (let i = 0, n = 0;; i++) {
    const wave = 55 + 30 * Math.sin(i / 70) + 10 * Math.sin(i / 11);
    for (let k = 0; k < wave; k++) {
      const visit = { n: n++, page: "/articles/a-crash-safe-buffer", agent: "x".repeat(210) };
      buffer.put(visit).catch(() => {});
    }
    await sleep(10);
  }
}

/** The last screen that `top` draws on a terminal of COLUMNS x ROWS: its lines, escape characters made visible. */
async function watch(path: string): Promise<string[]> {
  let screen = "";
  const output: Output = {
    columns: COLUMNS,
    rows: ROWS,
    write(data) {
      if (String(data).includes("\x1b[1;1H")) screen = String(data);
      return Promise.resolve();
    },
  };
  const context = {
    fileSystem: await detectFileSystem(),
    clock: systemClock,
    input: { async *[Symbol.asyncIterator]() {} },
    output,
    errors: output,
    signal: AbortSignal.timeout(WATCHED_MS),
  };
  await topCommand.run({ positionals: [path], options: { interval: `${INTERVAL_MS}ms` } }, context);
  const shown = path.slice(path.lastIndexOf("/"));
  return visible(screen).replace(path, `/var/lib/app${shown}`.padEnd(path.length))
    .split(/␛\[\d+;1H␛\[K/).slice(1)
    .map((line) => line.replace(/␛\[\d+;1H␛\[J$/, ""));
}

interface Piece {
  readonly text: string;
  readonly colour: string;
  readonly column: number;
}

/** A line, taken apart by its colours. */
function piecesOf(line: string): Piece[] {
  const pieces: Piece[] = [];
  let column = 0;
  for (const [, code = "", coloured, plain] of line.matchAll(/␛\[([\d;]+)m([^␛]*)␛\[0m|([^␛]+)/g)) {
    const text = coloured ?? plain ?? "";
    pieces.push({ text, colour: COLOURS[code] ?? COLOURS[""], column });
    column += [...text].length;
  }
  return withBarsClosed(pieces);
}

/** What is left of a bar begins in the cell that is full in part: it is drawn before it, and goes on below it. */
function withBarsClosed(pieces: readonly Piece[]): Piece[] {
  return pieces.flatMap((piece, i) => {
    const next = pieces[i + 1];
    if (/^░/.test(piece.text) && /[▏▎▍▌▋▊▉]$/.test(pieces[i - 1]?.text ?? "")) return [];
    if (next === undefined || !/[▏▎▍▌▋▊▉]$/.test(piece.text) || !/^░/.test(next.text)) return [piece];
    return [{ ...next, text: `░${next.text}`, column: next.column - 1 }, piece];
  });
}

/** The part of a cell that a block element fills, from its left and bottom: Unicode, U+2581 to U+2591. */
function blockOf(character: string): { width: number; height: number; opacity: number } | undefined {
  const low = "▁▂▃▄▅▆▇█".indexOf(character);
  if (low >= 0) return { width: 1, height: (low + 1) / 8, opacity: 1 };
  const narrow = "▏▎▍▌▋▊▉".indexOf(character);
  if (narrow >= 0) return { width: (narrow + 1) / 8, height: 1, opacity: 1 };
  return character === "░" ? { width: 1, height: 1, opacity: 0.28 } : undefined;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function number(value: number): string {
  return String(Number(value.toFixed(2)));
}

function draw({ text, colour, column }: Piece, row: number): string {
  const x = MARGIN + column * CELL_WIDTH;
  const top = MARGIN + row * CELL_HEIGHT;
  const characters = [...text];
  if (characters.some((one) => blockOf(one) !== undefined)) return drawBlocks(characters, colour, x, top);
  // Words that stand apart are set apart, so that a font that is wider or narrower moves none of them.
  return Array.from(text.matchAll(/\S+(?: \S+)*/g), ({ 0: words, index }) => {
    const left = number(x + [...text.slice(0, index)].length * CELL_WIDTH);
    const width = number([...words].length * CELL_WIDTH);
    const place = `x="${left}" y="${number(top + 14)}" textLength="${width}" lengthAdjust="spacingAndGlyphs"`;
    return `<text ${place} fill="${colour}">${escape(words)}</text>`;
  }).join("\n");
}

/** A bar fills its row but for a gap; columns of a chart stand next to each other. Neighbours that are alike are one. */
function drawBlocks(characters: readonly string[], colour: string, x: number, top: number): string {
  const full = CELL_HEIGHT - 5;
  const rectangles: { left: number; width: number; height: number; opacity: number }[] = [];
  characters.forEach((character, i) => {
    const block = blockOf(character);
    if (block === undefined) return;
    const one = { ...block, left: i * CELL_WIDTH, width: block.width * CELL_WIDTH, height: block.height * full };
    const last = rectangles.at(-1);
    const touches = last !== undefined && Math.abs(last.left + last.width - one.left) < 0.01;
    if (touches && last.height === one.height && last.opacity === one.opacity) last.width += one.width;
    else rectangles.push(one);
  });
  return rectangles.map(({ left, width, height, opacity }) => {
    const place = `x="${number(x + left)}" y="${number(top + 3 + full - height)}"`;
    const faint = opacity < 1 ? ` opacity="${opacity}"` : "";
    return `<rect ${place} width="${number(width)}" height="${number(height)}" fill="${colour}"${faint}/>`;
  }).join("\n");
}

function svgOf(lines: readonly string[]): string {
  const width = number(2 * MARGIN + COLUMNS * CELL_WIDTH);
  const height = number(2 * MARGIN + lines.length * CELL_HEIGHT - 4);
  const pieces = lines.flatMap((line, row) =>
    piecesOf(line).map((piece) => draw(piece, row)).filter((one) => one !== "")
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>The live view of a buffer in a terminal: sluice top</title>`,
    `<rect x="0.5" y="0.5" width="${number(Number(width) - 1)}" height="${number(Number(height) - 1)}" rx="9" ` +
    `fill="${BACKGROUND}" stroke="${FRAME}"/>`,
    `<g font-family="${FONT}" font-size="14" shape-rendering="crispEdges">`,
    ...pieces,
    `</g>`,
    `</svg>`,
    ``,
  ].join("\n");
}

async function main([first, second]: readonly string[]): Promise<void> {
  if (first === "write" && second !== undefined) return await write(second);
  if (first === undefined) throw new TypeError("Cannot draw: the name of the picture is missing");
  const directory = mkdtempSync(join(tmpdir(), "sluice-picture-"));
  const writer = startChild("tests/cli/top_picture.ts", ["write", join(directory, "events.wal")]);
  try {
    await sleep(2_000);
    const lines = await watch(join(directory, "events.wal"));
    writeFileSync(first, svgOf(lines));
    console.log(lines.join("\n"));
  } finally {
    writer.kill("SIGKILL");
    await new Promise((resolve) => writer.once("close", resolve));
    rmSync(directory, { recursive: true });
  }
}

await main(process.argv.slice(2));
