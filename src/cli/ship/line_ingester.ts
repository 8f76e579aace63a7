/**
 * Reads lines from standard input and puts them into the log.
 *
 * Guarantees:
 * - Back-pressure: what was read is persisted before more is read. So a kill loses only what the pipe still held, and at most
 *   one chunk that was read.
 * - A line is put whole or not at all, and in order: no line behind one that can't be put is put.
 * - Each line takes one sequence, in order. So the log alone says how many lines were put, also after a kill, and an input that is
 *   read again from its start continues exactly there: its first `skipRecords` records are skipped. A file beside the log
 *   couldn't say so: written before or after the put, it would be wrong in between.
 *
 * @module
 */

import { abortable } from "../../base/abortable.ts";
import { errorText } from "../../errors/text.ts";
import { ShipError } from "../shared/command.ts";
import { checkLine } from "./line_formats.ts";
import { type InputLine, LineSplitter } from "./line_splitter.ts";
import type { ShipOptions } from "./options.ts";

/** The most payload bytes that are put together: about a frame of the log. */
const UNIT_BYTES: number = 60 * 1024;
/** The fewest units that fit into the backlog: a larger unit might never fit while a smaller one does. */
const UNITS_IN_BACKLOG = 4;

/**
 * What a {@linkcode LineIngester} works with.
 *
 * A last line without a line break may be half of a line whose writer was killed or is still writing. If half a line were put, it
 * would count as the whole line when the input is read again. So `lastLine` may be `"leave"`.
 */
export interface LineIngesterDeps extends Pick<ShipOptions, "format" | "onBadLine" | "lastLine" | "maxBacklogBytes"> {
  /** A longer line is bad. */
  readonly maxLineBytes: number;
  /** How many records of this input are in the log already. */
  readonly skipRecords: number;
  /** Persists lines, all of them or none. */
  readonly put: (lines: readonly Uint8Array[]) => Promise<unknown>;
  readonly onSkipped: (line: number, reason: string) => void;
  readonly onLeft: (line: number) => void;
}

const NO_COUNTS = {
  /** Lines that are done: persisted now or earlier, blank, or bad and skipped. */
  lines: 0,
  /** Lines that were put, one record each. */
  records: 0,
  /** Lines that were in the log already. */
  resumed: 0,
  /** Blank lines of NDJSON. */
  blank: 0,
  /** Bad lines that were skipped. */
  bad: 0,
};
/** How many lines were read, and what became of them. */
export type LineCounts = Readonly<typeof NO_COUNTS>;

export class LineIngester {
  readonly #options: LineIngesterDeps;
  readonly #unitBytes: number;
  #counts = { ...NO_COUNTS };

  constructor(options: LineIngesterDeps) {
    this.#options = options;
    this.#unitBytes = Math.min(UNIT_BYTES, Math.floor(options.maxBacklogBytes / UNITS_IN_BACKLOG));
  }

  get counts(): LineCounts {
    return { ...this.#counts };
  }

  /**
   * Puts all lines of the input. After an abort it puts no more; a line without an end is left then, because its rest may follow.
   *
   * @throws {ShipError} at a bad line that isn't to be skipped, after the lines before it are put; or if the input can't be read, or
   * ends before what is in the log.
   */
  async run(input: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const splitter = new LineSplitter(this.#options.maxLineBytes);
    const chunks = input[Symbol.asyncIterator]();
    try {
      for (;;) {
        const chunk = await abortable(chunks.next().catch(asShipError), signal);
        if (chunk.done) break;
        await this.#take(splitter.push(chunk.value));
      }
      const last = splitter.end();
      if (last !== undefined && this.#options.lastLine === "leave") this.#options.onLeft(last.number);
      else if (last !== undefined) await this.#take([last]);
    } finally {
      // Tells the writer that the reader is gone. Not awaited: a pending read may never end.
      Promise.resolve(chunks.return?.()).catch(() => {});
    }
    const { resumed, lines } = this.#counts;
    const { skipRecords } = this.#options;
    if (resumed === skipRecords) return;
    const found = `${skipRecords} records are in the log, and the input ends at line ${lines}`;
    throw new ShipError(`Cannot resume: ${found}, so it is not what was read before`);
  }

  async #take(lines: readonly InputLine[]): Promise<void> {
    let unit: Uint8Array[] = [];
    let bytes = 0;
    let lastLine = this.#counts.lines;
    const put = async (): Promise<void> => {
      if (unit.length > 0) await this.#options.put(unit);
      this.#counts.records += unit.length;
      this.#counts.lines = lastLine;
      unit = [];
      bytes = 0;
    };
    for (const line of lines) {
      const verdict = this.#judge(line);
      if (verdict === "record") {
        if (bytes + line.length > this.#unitBytes) await put();
        unit.push(line.bytes!);
        bytes += line.length;
      } else if (verdict === "resumed" || verdict === "blank") {
        this.#counts[verdict]++;
      } else {
        // The lines before it are put first, in any case.
        await put();
        this.#skip(line.number, verdict.reason);
      }
      lastLine = line.number;
    }
    await put();
  }

  #judge(line: InputLine): "record" | "resumed" | "blank" | { readonly reason: string } {
    const { format, maxLineBytes, skipRecords } = this.#options;
    if (line.bytes === undefined) {
      return { reason: `it has ${line.length} bytes, and may have ${maxLineBytes} (--max-bytes)` };
    }
    const verdict = checkLine(format, line.bytes);
    return verdict === "record" && this.#counts.resumed < skipRecords ? "resumed" : verdict;
  }

  #skip(line: number, reason: string): void {
    if (this.#options.onBadLine === "fail") throw new ShipError(`Cannot ship line ${line} of the input: ${reason}`);
    this.#counts.bad++;
    this.#options.onSkipped(line, reason);
  }
}

function asShipError(cause: unknown): never {
  throw new ShipError(`Cannot read standard input: ${errorText(cause)}`, { cause });
}
