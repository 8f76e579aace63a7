/**
 * The rows of a report's drawing, in bounded memory. During the scan, neighbouring stretches of one kind become one. If a row has
 * too many stretches, its two shortest neighbours are joined; if there are too many rows, pairs of rows are.
 *
 * Guarantees: there are at most {@linkcode MAX_ROWS} rows of {@linkcode MAX_STRETCHES} stretches; the kind of a stretch is the worst
 * of those joined in it; bytes are never counted twice.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";
import { type ReportRow, type Stretch, STRETCH_KINDS } from "./data.ts";

/** Few enough for a page that stays small. */
export const MAX_ROWS = 32;
/** A healthy segment has three at most. */
export const MAX_STRETCHES = 10;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface OpenRow extends Omit<Mutable<ReportRow>, "stretches"> {
  stretches: Mutable<Stretch>[];
}

/** What is added to the row of the segment that was begun last; offsets are those of the file. */
export type Piece =
  & Pick<Stretch, "kind" | "offset" | "length" | "sequences">
  & Partial<Pick<Stretch, "records" | "putFrom">>;

export class ReportRows {
  #rows: OpenRow[] = [];
  #segmentsPerRow = 1;
  #segment = "";
  /** Where the segment begins in its row. */
  #base = 0;
  /** Missing before any segment. */
  #early: Piece[] = [];

  /** How many segments a row has. */
  get segmentsPerRow(): number {
    return this.#segmentsPerRow;
  }

  beginSegment(name: string, bytes: number): void {
    let row = this.#rows.at(-1);
    if (row === undefined || row.segments === this.#segmentsPerRow) {
      // All rows are full then, and full again afterwards: their number is even.
      if (this.#rows.length === MAX_ROWS) this.#halve();
      row = { segments: 0, first: name, last: name, bytes: 0, stretches: [] };
      this.#rows.push(row);
    }
    this.#segment = name;
    this.#base = row.bytes;
    row.segments++;
    row.last = name;
    row.bytes += bytes;
    for (const piece of this.#early.splice(0)) this.add(piece);
  }

  /** Adds what comes next in the segment that was begun last. */
  add(piece: Piece): void {
    const row = this.#rows.at(-1);
    if (row === undefined) {
      if (this.#early.length < MAX_STRETCHES) this.#early.push(piece);
      return;
    }
    const { kind, offset, length, sequences, records = 0, putFrom } = piece;
    const at = Math.max(this.#base + offset, endOf(row.stretches.at(-1)));
    row.bytes = Math.max(row.bytes, at + length);
    const segment = this.#segment;
    append(row.stretches, {
      kind,
      at,
      length,
      segment,
      offset,
      sequences,
      records,
      putFrom,
      putTo: putFrom,
      joined: 1,
    });
    if (row.stretches.length > 2 * MAX_STRETCHES) shorten(row.stretches);
  }

  /** What is missing behind the segment that was begun last, or before all of them. */
  addMissing(missing: SequenceRange): void {
    const row = this.#rows.at(-1);
    const offset = row === undefined ? 0 : row.bytes - this.#base;
    this.add({ kind: "missing", offset, length: 0, sequences: missing });
  }

  finish(): ReportRow[] {
    for (const row of this.#rows) shorten(row.stretches);
    return this.#rows;
  }

  #halve(): void {
    const halved: OpenRow[] = [];
    for (let i = 0; i < this.#rows.length; i += 2) {
      const [row, next] = [this.#rows[i]!, this.#rows[i + 1]!];
      for (const stretch of next.stretches) append(row.stretches, { ...stretch, at: row.bytes + stretch.at });
      shorten(row.stretches);
      halved.push({ ...row, segments: row.segments + next.segments, last: next.last, bytes: row.bytes + next.bytes });
    }
    this.#rows = halved;
    this.#segmentsPerRow *= 2;
  }
}

function severityOf({ kind }: Stretch): number {
  return STRETCH_KINDS.indexOf(kind);
}

function endOf(stretch: Stretch | undefined): number {
  return stretch === undefined ? 0 : stretch.at + stretch.length;
}

/** Puts a stretch behind the others, or makes the last one longer if it is more of the same. What is bad stays apart. */
function append(stretches: Mutable<Stretch>[], next: Mutable<Stretch>): void {
  const last = stretches.at(-1);
  const isMore = last !== undefined && last.kind === next.kind && last.joined === 1 && next.joined === 1 &&
    severityOf(next) < STRETCH_KINDS.indexOf("torn");
  if (isMore) extend(last, next);
  else stretches.push(next);
}

function extend(stretch: Mutable<Stretch>, next: Stretch): void {
  stretch.length = endOf(next) - stretch.at;
  stretch.sequences = both(stretch.sequences, next.sequences, hull);
  stretch.records += next.records;
  stretch.putFrom = both(stretch.putFrom, next.putFrom, Math.min);
  stretch.putTo = both(stretch.putTo, next.putTo, Math.max);
}

/** Joins the shortest neighbours until there are few enough. */
function shorten(stretches: Mutable<Stretch>[]): void {
  while (stretches.length > MAX_STRETCHES) {
    let best = 0;
    let shortest = Infinity;
    for (let i = 0; i + 1 < stretches.length; i++) {
      const length = endOf(stretches[i + 1]) - stretches[i]!.at;
      if (length < shortest) [best, shortest] = [i, length];
    }
    const [next] = stretches.splice(best + 1, 1);
    const stretch = stretches[best]!;
    extend(stretch, next!);
    if (severityOf(next!) > severityOf(stretch)) stretch.kind = next!.kind;
    stretch.joined += next!.joined;
  }
}

/** The range from the lower of the first ones to the higher of the last ones. */
function hull(a: SequenceRange, b: SequenceRange): SequenceRange {
  return { first: Math.min(a.first, b.first), last: Math.max(a.last, b.last) };
}

function both<T>(a: T | undefined, b: T | undefined, of: (a: T, b: T) => T): T | undefined {
  return a === undefined ? b : b === undefined ? a : of(a, b);
}
