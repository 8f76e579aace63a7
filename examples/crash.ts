/**
 * The real thing: a producer is killed with SIGKILL in the middle of putting, and nothing that it was told is safe
 * is lost, doubled or out of order.
 *
 * This file is both programs. As the child it puts records in bursts, emits batches (full ones and others), puts more,
 * and commits. It prints what it knows: "ack" with the sequence of a put once it is acknowledged, "batch" with the
 * records of a batch before it is committed. As the parent it starts the child, takes those lines, kills it after a
 * random number of acknowledgements, opens the buffer itself and drains it. The parent is also the target: it keeps the
 * batch ids it has seen, and skips a batch that it gets again. Then it checks, over all rounds:
 *
 * 1. every acknowledged record was delivered, under the sequence that the put gave;
 * 2. in order, none twice, none that was never put;
 * 3. at most the batch in flight came again, with the same id and the same records.
 *
 * All rounds use the same directory, so each child goes on where the one before was killed.
 *
 *     deno run --allow-read=. --allow-write=. --allow-env --allow-run examples/crash.ts
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/crash.ts
 *     node --import ./tests/std/resolve.mjs examples/crash.ts
 *
 * Options:
 *
 *     --rounds N    kills so many children, one after the other; 1 by default
 *     --seed N      chooses how many acknowledgements each child lives for; what exactly the kill hits stays chance
 *     --fsync HOW   "always", "never" or milliseconds; 1000 by default. A kill must not make a difference
 *     --path DIR    uses and keeps this directory, which must be new; without it .sluice-crash is used and removed
 *
 * The exit code is 1 if anything was violated.
 */

import { spawn } from "node:child_process";
import { rmSync, writeSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Batch, FileBuffer } from "../mod.ts";

const MAX_RECORDS = 25;
const MAX_ACKNOWLEDGED = 3000;

/** Round and number say exactly where a record belongs. */
interface Item {
  readonly round: number;
  readonly number: number;
  readonly text: string;
}

type Fsync = "always" | "never" | number;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "1" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
    fsync: { type: "string", default: "1000" },
    path: { type: "string" },
    child: { type: "string" },
  },
});
const path = options.path ?? ".sluice-crash";
const fsync: Fsync = options.fsync === "always" || options.fsync === "never" ? options.fsync : Number(options.fsync);

function open(): Promise<FileBuffer<Item>> {
  return FileBuffer.open<Item>({ path, fsync, maxRecords: MAX_RECORDS });
}

/** The child: puts until it is killed. */
async function produce(round: number): Promise<void> {
  const buffer = await open();
  let number = 1;
  /** Puts some records at once, and prints their sequences when they are acknowledged. */
  const putSome = async () => {
    const first = number;
    const burst: Promise<number>[] = [];
    for (let left = 1 + Math.floor(Math.random() * 20); left > 0; left--, number++) {
      burst.push(buffer.put({ round, number, text: "x".repeat(Math.floor(Math.random() * 200)) }));
    }
    const sequences = await Promise.all(burst);
    print(sequences.map((sequence, i) => `ack ${sequence} ${first + i}\n`).join(""));
  };
  for (;;) {
    await putSome();
    // Now and then a batch that isn't full: only its saved end says which records belong to it.
    if (!buffer.shouldEmit() && Math.random() < 0.5) continue;
    const batch = await buffer.emit();
    print(`batch ${batch.id} ${JSON.stringify(batch.records)}\n`);
    await putSome();
    await buffer.commit(batch);
  }
}

/** Writes all of `text` to standard output, now: what is printed was true before the next line of the program. */
function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      // The pipe is full and doesn't block.
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
    }
  }
}

/** The parent: kills, reopens, checks. */
async function supervise(): Promise<void> {
  if (options.path === undefined) rmSync(path, { recursive: true, force: true });
  const ledger = new Ledger();
  let state = Number(options.seed) | 0;
  console.log(`seed ${options.seed}, fsync ${options.fsync}, in ${path}`);
  for (let round = 1; round <= Number(options.rounds); round++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const acknowledged = await runAndKill(round, 1 + ((state >>> 8) % MAX_ACKNOWLEDGED), ledger);

    const buffer = await open();
    const { recoveredRecords, truncatedBytes } = buffer.recovery;
    for await (const batch of buffer.batches({ flush: true })) {
      ledger.deliver(batch.id, batch.records);
      await buffer.commit(batch);
    }
    await buffer.close();

    const last = ledger.checkRound(round);
    console.log(
      `round ${round}: killed after ${acknowledged} acknowledged puts; reopened: ${recoveredRecords} records ` +
        `recovered, ${truncatedBytes} bytes of an unfinished write cut; ${last} records delivered`,
    );
  }
  if (options.path === undefined) rmSync(path, { recursive: true, force: true });
  for (const violation of ledger.violations) console.log(`VIOLATION: ${violation}`);
  if (ledger.violations.length > 0) process.exitCode = 1;
  else {
    console.log(
      `${ledger.acknowledged} records acknowledged, ${ledger.delivered} delivered: every acknowledged one, once, in ` +
        `order; ${ledger.redelivered} batches came twice, with the same id and the same records`,
    );
  }
}

/** Starts a child, kills it after so many acknowledgements, and returns how many there were in the end. */
function runAndKill(round: number, killAfter: number, ledger: Ledger): Promise<number> {
  const args = [fileURLToPath(import.meta.url), "--child", String(round), "--path", path, "--fsync", options.fsync];
  const flags = process.versions.deno === undefined
    ? process.execArgv
    : ["run", "--quiet", `--allow-read=${path}`, `--allow-write=${path}`];
  const child = spawn(process.execPath, [...flags, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let acknowledged = 0;
    let isDoomed = false;
    let rest = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      // What follows the last line break was cut off by the kill, or is not complete yet.
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const [kind, first, second] = split(line);
        // Every other child is killed when it has a batch in flight, or as near to it as the signal gets.
        isDoomed ||= acknowledged >= killAfter && (round % 2 === 1 || kind === "batch");
        if (kind === "ack") {
          acknowledged++;
          ledger.acknowledge(round, Number(second), Number(first));
        } else {
          ledger.deliver(first, JSON.parse(second));
        }
      }
      if (isDoomed) child.kill("SIGKILL");
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (signal === "SIGKILL") resolve(acknowledged);
      else reject(new Error(`The child ended by itself: exit code ${code}, signal ${signal}`));
    });
  });
}

/** Splits a line at its first two spaces. */
function split(line: string): [kind: string, first: string, second: string] {
  const a = line.indexOf(" ");
  const b = line.indexOf(" ", a + 1);
  return [line.slice(0, a), line.slice(a + 1, b), line.slice(b + 1)];
}

/** What was promised and what arrived. */
class Ledger {
  readonly violations: string[] = [];
  acknowledged = 0;
  delivered = 0;
  redelivered = 0;
  /** Sequence by "round/number". */
  readonly #promised = new Map<string, number>();
  /** Records as text, by batch id: what a deduplicating target remembers. */
  readonly #batches = new Map<string, string>();
  #lastId = "";
  /** Number of the last record delivered, by round. */
  readonly #lastNumbers = new Map<number, number>();
  #lastRound = 0;
  #lastSequence = 0;

  acknowledge(round: number, number: number, sequence: number): void {
    this.acknowledged++;
    this.#promised.set(`${round}/${number}`, sequence);
  }

  deliver(id: string, records: Batch<Item>["records"]): void {
    const text = JSON.stringify(records);
    const before = this.#batches.get(id);
    if (before !== undefined) {
      this.redelivered++;
      if (before !== text) this.#violated(`batch ${id} came again with other records`);
      if (id !== this.#lastId) this.#violated(`batch ${id} came again, though later ones were delivered`);
      return;
    }
    this.#batches.set(id, text);
    this.#lastId = id;
    const [first, last] = id.split("-").slice(-2).map(Number);
    if (last - first + 1 !== records.length) this.#violated(`batch ${id} has ${records.length} records`);
    if (first <= this.#lastSequence) this.#violated(`batch ${id} begins before ${this.#lastSequence + 1}`);
    this.#lastSequence = last;
    records.forEach((record, i) => this.#receive(record, first + i));
  }

  /** Checks a round that is over and drained; returns how many of its records were delivered. */
  checkRound(round: number): number {
    for (const [key, sequence] of this.#promised) {
      this.#violated(`record ${key} was acknowledged with sequence ${sequence} and not delivered`);
    }
    this.#promised.clear();
    return this.#lastNumbers.get(round) ?? 0;
  }

  #receive({ round, number }: Item, sequence: number): void {
    this.delivered++;
    const expected = (this.#lastNumbers.get(round) ?? 0) + 1;
    // Numbers count up by one in each round, so this excludes gaps, doubles, wrong order and invented records.
    if (number !== expected) this.#violated(`record ${round}/${number} came where ${round}/${expected} belongs`);
    if (round < this.#lastRound) this.#violated(`record ${round}/${number} came after round ${this.#lastRound}`);
    this.#lastNumbers.set(round, number);
    this.#lastRound = round;
    const promised = this.#promised.get(`${round}/${number}`);
    if (promised !== undefined && promised !== sequence) {
      this.#violated(`record ${round}/${number} has sequence ${sequence}, its put gave ${promised}`);
    }
    this.#promised.delete(`${round}/${number}`);
  }

  #violated(what: string): void {
    this.violations.push(what);
  }
}

if (options.child !== undefined) await produce(Number(options.child));
else await supervise();
