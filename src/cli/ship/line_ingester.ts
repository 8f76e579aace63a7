/**
 * Reads lines and puts them: the way from standard input into the log.
 *
 * Guarantees:
 * - Back-pressure: what was read is persisted before more is read. So what a kill takes is what the pipe still held, and
 *   at most one chunk of it that was read.
 * - A line is put whole or not at all, and in order: from a line that can't be put on, none is.
 * - Each line that is put takes one sequence, in order. So the log alone says how many lines were taken, also after a kill,
 *   and an input that is read again from its beginning is gone on with exactly there: `skipRecords` of the lines that would
 *   be put are passed over. No file beside the log could say so: it would be written before or after, and be wrong in
 *   between.
 *
 * @module
 */

import { abortable } from "../../base/abortable.ts";
import { errorText } from "../../errors/text.ts";
import { ShipError } from "../shared/command.ts";
import { checkLine, type LineFormat } from "./line_formats.ts";
import { type InputLine, LineSplitter } from "./line_splitter.ts";

/** So many payload bytes are put as one unit: a frame of the log. */
const UNIT_BYTES: number = 60 * 1024;
/** A unit takes no more than this part of the backlog: a larger one might never fit while a smaller one does. */
const UNITS_IN_BACKLOG = 4;

/** What is done about a line that can't become a record. */
export type OnBadLine = "fail" | "skip";

/**
 * What becomes of a last line that has no line break: it is put; or it is left, because it may be half of a line whose writer
 * was killed, or is still at it. Put, the half would count as the line when the input is read again.
 */
export type LastLine = "put" | "leave";

/** How lines are read. */
export interface LineIngesterDeps {
  readonly format: LineFormat;
  readonly onBadLine: OnBadLine;
  readonly lastLine: LastLine;
  /** Longer lines are bad. */
  readonly maxLineBytes: number;
  /** The most that a buffer takes. */
  readonly maxBacklogBytes: number;
  /** So many records of this input are in the log already. */
  readonly skipRecords: number;
  /** Persists lines, all of them or none. */
  readonly put: (lines: readonly Uint8Array[]) => Promise<unknown>;
  /** Is told of a bad line that is skipped. */
  readonly onSkipped: (line: number, reason: string) => void;
  /** Is told that the last line is left. */
  readonly onLeft: (line: number) => void;
}

/** What was read. */
export interface LineCounts {
  /** Lines that were read and taken care of: persisted now or earlier, blank, or skipped because they are bad. */
  readonly lines: number;
  /** Lines put, each a record. */
  readonly records: number;
  /** Lines that were in the log already. */
  readonly resumed: number;
  /** Lines of NDJSON with nothing in them. */
  readonly blank: number;
  /** Bad lines that were skipped. */
  readonly bad: number;
}

/** Takes lines from one input. */
export class LineIngester {
  readonly #options: LineIngesterDeps;
  readonly #unitBytes: number;
  #counts = { lines: 0, records: 0, resumed: 0, blank: 0, bad: 0 };

  /** For one input. */
  constructor(options: LineIngesterDeps) {
    this.#options = options;
    this.#unitBytes = Math.min(UNIT_BYTES, Math.floor(options.maxBacklogBytes / UNITS_IN_BACKLOG));
  }

  /** The figures of now. */
  get counts(): LineCounts {
    return { ...this.#counts };
  }

  /**
   * Takes all of the input. Aborted, it takes no more; a line without an end is left then, because the rest of it may be on
   * its way.
   *
   * @throws {ShipError} at a bad line, if they are not to be skipped: the lines before it are put. Also if the input can't
   * be read, or ends before all of it that is in the log.
   * @throws What `put` throws, or the signal's reason.
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
      // Whoever writes is to learn that nobody reads. Not waited for: a read that is under way may never end.
      Promise.resolve(chunks.return?.()).catch(() => {});
    }
    const { resumed, lines } = this.#counts;
    const { skipRecords } = this.#options;
    if (resumed === skipRecords) return;
    const found = `${skipRecords} records are in the log, and the input ends at line ${lines}`;
    throw new ShipError(`Cannot resume: ${found}, so it is not what was read before`);
  }

  /** Puts lines, in units. */
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
        // The lines before it come first, whatever becomes of this one.
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
