/**
 * Kills `examples/ndjson.ts` again and again while it ships a file, then checks every line of the target.
 *
 * `examples_test.ts` does it on a small scale. By itself it is a program:
 *
 *     deno run -A tests/sinks/ndjson_torture.ts --lines 100000 --kills 10 --seed 1
 *     bun --tsconfig-override=tests/std/tsconfig.json tests/sinks/ndjson_torture.ts --lines 100000 --kills 10
 *     node --import ./tests/std/resolve.mjs tests/sinks/ndjson_torture.ts --lines 100000 --kills 10
 *
 * with `--dedupe` for a target that skips batches which it has.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { assertEquals } from "@std/assert";
import { runChild } from "../support/children.ts";
import { seededRandom } from "../support/random.ts";

/** What is to be done to it. */
export interface TortureOptions {
  /** Lines of the input. */
  readonly lines: number;
  /** How often the program is killed before it may finish. */
  readonly kills: number;
  /** Decides the input, the moments of the kills, and the failures of the target. */
  readonly seed: number;
  /** Whether the target skips batches that it has. */
  readonly dedupe?: boolean;
}

/** What came of it. */
export interface TortureReport {
  /** Different batches in the target. */
  readonly batches: number;
  /** Batches that are there again. */
  readonly duplicates: number;
  /** Starts that went on in the middle of the input. */
  readonly resumes: number;
  /** Starts that found an unfinished batch in the target. */
  readonly cuts: number;
  /** What the last run printed at its end. */
  readonly lastLine: string;
}

const MAX_RECORDS = 100;
/** Small enough that the reader has to wait for the target, so that kills find it in the middle of the input. */
const BACKLOG_BYTES = 64 * 1024;

/** Does it once, in a temporary directory; throws when the target is not what it must be. */
export async function tortureNdjson(options: TortureOptions): Promise<TortureReport> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-ndjson-"));
  try {
    return await torture(directory, options);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function torture(directory: string, { lines, kills, seed, dedupe }: TortureOptions): Promise<TortureReport> {
  const random = seededRandom(seed);
  const values = Array.from({ length: lines }, () => makeValue(random));
  const input = join(directory, "in.ndjson");
  const target = join(directory, "out.ndjson");
  // Every 50th line is blank: line numbers and sequences are not the same.
  writeFileSync(input, values.map((value, i) => (i % 50 === 49 ? "" : JSON.stringify(value)) + "\n").join(""));

  let resumes = 0;
  let cuts = 0;
  let lastLine = "";
  for (let run = 0; run <= kills; run++) {
    const args = ["--input", input, "--target", target, "--max-records", String(MAX_RECORDS)];
    args.push("--backlog", String(BACKLOG_BYTES), "--fail-rate", "0.2", "--seed", String(seed + run));
    if (dedupe) args.push("--dedupe");
    // On average the kills share the input out evenly; a run that is to be killed at its very start is, too.
    let linesLeft = run < kills ? random(Math.ceil((2 * lines) / MAX_RECORDS / (kills + 1))) : Infinity;
    const { code, signal, stdout, stderr } = await runChild("examples/ndjson.ts", args, {
      timeoutMs: 600_000,
      onOutput(text, child) {
        linesLeft -= text.split("\n").length - 1;
        if (linesLeft <= 0) child.kill("SIGKILL");
      },
    });
    const note = `seed ${seed}, run ${run}: ${stderr}`;
    // A run that was to be killed may have been faster.
    if (linesLeft > 0) assertEquals(code, 0, note);
    else if (code !== 0) assertEquals(signal, "SIGKILL", note);
    if (Number(/^reading from line (\d+)$/m.exec(stdout)?.[1] ?? 1) > 1) resumes++;
    if (Number(/ (\d+) bytes of an unfinished one cut/.exec(stdout)?.[1] ?? 0) > 0) cuts++;
    lastLine = stdout.trimEnd().split("\n").at(-1) ?? "";
  }

  const expected = values.map((value, i) => ({ line: i + 1, value })).filter((_, i) => i % 50 !== 49);
  return { ...checkTarget(readFileSync(target, "utf8"), expected, `seed ${seed}`), resumes, cuts, lastLine };
}

/** Checks that every line is there, in order, and twice only with its whole batch, right behind the first time. */
function checkTarget(text: string, expected: readonly unknown[], note: string) {
  const rows = text.trimEnd().split("\n").map((row) => JSON.parse(row));
  const seen = new Map<string, string>();
  const delivered: unknown[] = [];
  let duplicates = 0;
  let lastId = "";
  for (let at = 0; at < rows.length;) {
    const { batch: id, lines: count } = rows[at];
    const records = rows.slice(at + 1, at + 1 + count);
    assertEquals(records.length, count, `${note}: batch ${id} is not whole`);
    at += 1 + count;
    if (seen.has(id)) {
      duplicates++;
      assertEquals(id, lastId, `${note}: batch ${id} came again after later ones`);
      assertEquals(JSON.stringify(records), seen.get(id), `${note}: batch ${id} came again with other lines`);
    } else {
      seen.set(id, JSON.stringify(records));
      // One by one: there may be more than a call takes arguments.
      for (const record of records) delivered.push(record);
    }
    lastId = id;
  }
  assertEquals(delivered.length, expected.length, `${note}: number of lines`);
  for (let i = 0; i < expected.length; i++) assertEquals(delivered[i], expected[i], `${note}: line ${i + 1}`);
  return { batches: seen.size, duplicates };
}

function makeValue(random: (below: number) => number): unknown {
  return { n: random(2 ** 31), text: "é漢😀\u2028x".slice(0, random(7)).toWellFormed().repeat(1 + random(10)) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      lines: { type: "string", default: "100000" },
      kills: { type: "string", default: "10" },
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
      dedupe: { type: "boolean", default: false },
    },
  });
  const { dedupe } = values;
  const [lines, kills, seed] = [Number(values.lines), Number(values.kills), Number(values.seed)];
  console.log(`seed ${seed}: ${lines} lines, ${kills} kills`);
  const report = await tortureNdjson({ lines, kills, seed, dedupe });
  console.log(
    `every line is there, in order; ${report.batches} batches, ${report.duplicates} of them once more, whole; ` +
      `${report.resumes} starts went on in mid-input, ${report.cuts} cut an unfinished batch`,
  );
}
