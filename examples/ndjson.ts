/**
 * Ships NDJSON (one JSON value a line) from a file or from standard input to a target file, in batches, through a
 * buffer. The target fails every now and then. The program can be killed at any time and run again with the same
 * arguments and the same input: it goes on where it was, no line is lost, and lines arrive twice only as whole batches
 * with an id that the target already has. With --dedupe the target skips those, and each line is there exactly once.
 *
 *     deno run --allow-read=. --allow-write=. examples/ndjson.ts --input in.ndjson --target out.ndjson
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/ndjson.ts --input in.ndjson --target out.ndjson
 *     node --import ./tests/std/resolve.mjs examples/ndjson.ts --target out.ndjson < in.ndjson
 *
 * How it knows where to go on: each record carries the number of its input line. At the start, what an earlier run
 * left in the buffer is delivered first; then the highest line number in the target is the last line that any run
 * accepted, and the input is read from the line behind it. This holds even if the machine lost power and the buffer
 * lost records with it: what isn't in the target is read again.
 *
 * What the target file looks like: for each batch a line {"batch": id, "lines": n}, then n lines
 * {"line": number, "value": value}. A batch is written as a whole and synced before it is committed. A kill may leave
 * an unfinished one at the end of the file; the next start cuts it off, and the buffer delivers that batch again.
 *
 * Options:
 *
 *     --target FILE      where to; created if missing
 *     --input FILE       where from; standard input without it
 *     --buffer DIR       the buffer's directory; the target's name and ".wal" without it
 *     --fail-rate P      chance that a delivery fails, 0 to 1; 0 by default. Half of the failures are lost answers:
 *                        the target has the batch, but the producer doesn't learn it, and delivers it again
 *     --seed N           makes the failures repeatable
 *     --max-records N    records of one batch; 100 by default
 *     --backlog BYTES    how far reading may be ahead of the target; 1 MiB by default
 *     --dedupe           the target skips batches that it has
 *
 * Blank lines are skipped, lines that are no JSON are reported and skipped.
 */

import { constants, createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Batch, FileBuffer } from "../mod.ts";

interface Line {
  readonly line: number;
  readonly value: unknown;
}

/** A file of batches, the stand-in for a remote service. */
class Target {
  /** Batches found when it was opened, written since then, and skipped because they were there. */
  readonly counts = { found: 0, written: 0, skipped: 0 };
  /** Highest line number in it. */
  lastLine = 0;
  /** Bytes of an unfinished batch that were cut off. */
  cutBytes = 0;
  readonly #file: FileHandle;
  readonly #ids = new Set<string>();
  readonly #dedupe: boolean;
  #endOffset = 0;

  private constructor(file: FileHandle, dedupe: boolean) {
    this.#file = file;
    this.#dedupe = dedupe;
  }

  static async open(path: string, dedupe: boolean): Promise<Target> {
    // Not to append: with that, the system ignores positions and writes behind bytes that are to be cut.
    const file = await open(path, constants.O_RDWR | constants.O_CREAT);
    const target = new Target(file, dedupe);
    await target.#scan(path);
    return target;
  }

  /** Writes a batch and returns when it is on stable storage. */
  async write(batch: Batch<Line>): Promise<void> {
    if (this.#dedupe && this.#ids.has(batch.id)) {
      this.counts.skipped++;
      return;
    }
    const header = { batch: batch.id, lines: batch.length };
    const text = [header, ...batch].map((line) => JSON.stringify(line) + "\n").join("");
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) {
      at += (await this.#file.write(bytes, at, bytes.length - at, this.#endOffset + at)).bytesWritten;
    }
    await this.#file.datasync();
    this.#endOffset += bytes.length;
    this.#ids.add(batch.id);
    this.lastLine = Math.max(this.lastLine, batch.records[batch.length - 1].line);
    this.counts.written++;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /**
   * Finds out what is there, and cuts off a batch that is not whole. That can only be the last one, because the one
   * before was on stable storage when it was begun.
   */
  async #scan(path: string): Promise<void> {
    let offset = 0;
    let missingLines = 0;
    let lastLine = 0;
    let id = "";
    for await (const text of readLines(createReadStream(path, "utf8"), { whole: true })) {
      offset += new TextEncoder().encode(text).length + 1;
      const line = parse(text) as { batch: string; lines: number; line: number } | undefined;
      if (line === undefined) break;
      if (missingLines === 0) {
        id = line.batch;
        missingLines = line.lines;
        continue;
      }
      lastLine = Math.max(lastLine, line.line);
      if (--missingLines > 0) continue;
      this.#endOffset = offset;
      this.#ids.add(id);
      this.counts.found++;
      this.lastLine = lastLine;
    }
    this.cutBytes = (await this.#file.stat()).size - this.#endOffset;
    if (this.cutBytes > 0) await this.#file.truncate(this.#endOffset);
  }
}

/** Lines of a text that comes in chunks. With `whole`, a last line that doesn't end in a line break is left out. */
async function* readLines(chunks: AsyncIterable<string>, options: { whole: boolean }): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "" && !options.whole) yield rest;
}

/** The records of the input that come behind line `lastLine`. */
async function* readRecords(input: AsyncIterable<string>, lastLine: number): AsyncGenerator<Line> {
  let line = 0;
  for await (const text of readLines(input, { whole: false })) {
    if (++line <= lastLine || text.trim() === "") continue;
    const value = parse(text);
    if (value === undefined) console.error(`line ${line} is no JSON and was skipped`);
    else yield { line, value };
  }
}

/** The value of a JSON text, or `undefined` if it is none. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Delivers batches to the target and commits them; a delivery that fails is tried again. */
async function ship(buffer: FileBuffer<Line>, batches: AsyncIterable<Batch<Line>>): Promise<void> {
  for await (const batch of batches) {
    const name = `batch ${batch.firstSequence} to ${batch.lastSequence}${batch.redelivered ? ", again" : ""}`;
    const fails = random() < failRate;
    const answerIsLost = fails && random() < 0.5;
    if (!fails || answerIsLost) await target.write(batch);
    if (fails) {
      // Not committed, so the buffer hands the same batch over again.
      console.log(`${name}: failed, ${answerIsLost ? "the answer was lost" : "the target was not reached"}`);
      continue;
    }
    await buffer.commit(batch);
    console.log(`${name}: delivered`);
  }
}

/** Repeatable random numbers, at least 0 and below 1 (mulberry32). */
function makeRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const { values: options } = parseArgs({
  options: {
    "target": { type: "string" },
    "input": { type: "string" },
    "buffer": { type: "string" },
    "fail-rate": { type: "string", default: "0" },
    "seed": { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
    "max-records": { type: "string", default: "100" },
    "backlog": { type: "string", default: String(2 ** 20) },
    "dedupe": { type: "boolean", default: false },
  },
});
if (options.target === undefined) throw new TypeError("--target is missing");
const failRate = Number(options["fail-rate"]);
if (!(failRate >= 0 && failRate < 1)) throw new RangeError("--fail-rate must be at least 0 and below 1");
const random = makeRandom(Number(options.seed));

const buffer = await FileBuffer.open<Line>({
  path: options.buffer ?? `${options.target}.wal`,
  maxRecords: Number(options["max-records"]),
  maxBacklogBytes: Number(options.backlog),
  whenFull: "block",
});
const target = await Target.open(options.target, options.dedupe);
console.log(
  `target: ${target.counts.found} batches, ${target.cutBytes} bytes of an unfinished one cut; ` +
    `buffer: ${buffer.recovery.recoveredRecords} records`,
);
await ship(buffer, buffer.batches({ flush: true }));
console.log(`reading from line ${target.lastLine + 1}`);

const input = options.input === undefined ? process.stdin.setEncoding("utf8") : createReadStream(options.input, "utf8");
const ended = new AbortController();
const broken = new AbortController();
const shipping = ship(buffer, buffer.batches({ signal: ended.signal })).catch((error) => {
  // The end of the input stops the wait for the next batch; anything else stops the input.
  if (error === ended.signal.reason) return;
  broken.abort(error);
  throw error;
});
const reading = ReadableStream.from(readRecords(input, target.lastLine))
  .pipeTo(buffer.writable(), { signal: broken.signal })
  .finally(() => ended.abort());
await Promise.all([shipping, reading]);
await ship(buffer, buffer.batches({ flush: true }));
await buffer.close();
await target.close();
const { written, skipped } = target.counts;
console.log(
  `done: the target is complete up to line ${target.lastLine}; ${written} batches written, ${skipped} skipped`,
);
