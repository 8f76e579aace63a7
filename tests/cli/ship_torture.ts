/**
 * Kills `ship` again and again while it ships lines, and judges what has arrived: each line exactly once, in order.
 *
 * `ship_processes_test.ts` does it on a small scale. By itself it is a program:
 *
 *     deno task ship-torture --lines 1000000 --kills 10 --seed 1
 *     deno task ship-torture --to http --runtime node
 *
 * Options: `--lines N` (1,000,000), `--kills N` (10), `--seed S` (any), `--to file` or `http` (both), `--runtime` deno, bun or
 * node (the current one; others by `SLUICE_DENO`, `SLUICE_BUN`, `SLUICE_NODE`, paths of executables).
 *
 * Each life gets its lines by a pipe: either all of them, and passes over what is persisted (`--resume`), or those behind the
 * last sequence that it says it found. It is killed (-9) when so many bytes are in the pipe as the seed says, or soon after
 * its start. The HTTP server keeps the keys of what it has stored, and answers for those that it knows as it did before; it
 * is no better than servers are: it refuses for a while, loses requests, loses answers to what it has stored, and is away,
 * with its port closed.
 *
 * What isn't repeatable: where in the program a kill hits, nobody decides.
 */

import { Buffer } from "node:buffer";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readSync, realpathSync, rmSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { availableRuntimes, currentRuntime, type Runtime, startChild } from "../support/children.ts";
import { seededRandom } from "../support/random.ts";

/** What is to be done to it. */
export interface ShipTorture {
  readonly lines: number;
  /** How often it is killed before it may finish. */
  readonly kills: number;
  /** Decides the lines, the moments of the kills, and the moods of the server. */
  readonly seed: number;
  readonly to: "file" | "http";
  readonly runtime?: Runtime;
}

/** What came of it; that every line is there once, in order, is a matter of course. */
export interface ShipTortureReport {
  /** Lives that found a part of the lines persisted, neither none nor all. */
  readonly midway: number;
  /** Deliveries that the server had already; of a file nobody can tell. */
  readonly known: number;
  /** Requests that the server did not answer well. */
  readonly failures: number;
  /** From the first start to the last end, with all lives in between. */
  readonly seconds: number;
}

/** A summary or another event. */
type Event = Readonly<Record<string, unknown>>;

const FILE_SLICE_BYTES = 2 ** 20;
/** Between the last byte in the pipe and the kill. */
const MAX_DELAY_MS = 30;

/** Does it once, in a temporary directory; throws when something isn't as it must be. */
export async function tortureShip(options: ShipTorture): Promise<ShipTortureReport> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "sluice-ship-")));
  const { lines, seed } = options;
  const random = seededRandom(seed);
  const source = makeLines(lines, random);
  const server = options.to === "http" ? await PoorServer.start(source.bytes, seed) : undefined;
  const target = server?.url ?? join(directory, "out.ndjson");
  const startedAt = performance.now();
  let midway = 0;
  try {
    for (let life = 0; life <= options.kills; life++) {
      const isLast = life === options.kills;
      const one = new Life({ ...options, directory, target, source, random, isLast });
      try {
        if (await one.run(life)) midway++;
      } finally {
        await one.bury();
      }
    }
    const seconds = (performance.now() - startedAt) / 1_000;
    if (server === undefined) compareFile(target, source.bytes);
    else if (server.violation !== undefined || server.storedBytes !== source.bytes.length) {
      throw new Error(`the server has ${server.storedBytes} of ${source.bytes.length} bytes`);
    }
    return { midway, known: server?.known ?? 0, failures: server?.failures ?? 0, seconds };
  } catch (error) {
    const why = server?.violation ?? (error instanceof Error ? error.message : error);
    throw new Error(`seed ${seed}, to ${options.to}: ${why}`, { cause: error });
  } finally {
    await server?.stop();
    rmSync(directory, { recursive: true });
  }
}

/** The input, and where each of its lines begins. */
interface Source {
  readonly bytes: Uint8Array;
  readonly offsets: Float64Array;
}

function makeLines(count: number, random: (below: number) => number): Source {
  const offsets = new Float64Array(count + 1);
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (let n = 1; n <= count; n++) {
    // Every now and then a line that is longer than a unit of puts, or than a chunk of a pipe.
    const length = random(10_000) === 0 ? 60_000 + random(100_000) : random(120);
    const line = Buffer.from(`{"n":${n},"text":"${"é".repeat(length % 7)}${"x".repeat(length)}"}\n`);
    pieces.push(line);
    at += line.length;
    offsets[n] = at;
  }
  return { bytes: Buffer.concat(pieces), offsets };
}

interface LifeOptions extends ShipTorture {
  readonly directory: string;
  readonly target: string;
  readonly source: Source;
  readonly random: (below: number) => number;
  readonly isLast: boolean;
}

/** One process, from its start to its end. */
class Life {
  readonly #options: LifeOptions;
  readonly #resumes: boolean;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #started: Promise<Event | undefined>;
  #errors = "";

  constructor(options: LifeOptions) {
    const { directory, target, random, runtime = currentRuntime() } = options;
    this.#options = options;
    this.#resumes = random(2) === 0;
    const args = ["ship", join(directory, "wal"), "--to", target, "--json", "--max-backlog", "4MB"];
    args.push("--format", random(2) === 0 ? "lines" : "ndjson", "--max-records", String(100 + random(1_000)));
    args.push("--retry-delay", "1ms", "--max-retry-delay", "50ms", "--max-age", "100ms");
    // What kills a reader may kill the writer before it: then the pipe ends in the middle of a line.
    args.push("--last-line", "leave");
    if (this.#resumes) args.push("--resume");
    const permissions = [`--allow-read=${directory}`, `--allow-write=${directory}`, "--allow-net=127.0.0.1"];
    this.#child = startChild("src/cli/sluice.ts", args, { runtime, permissions });
    this.#closed = once(this.#child, "close");
    // It may end before it has read everything.
    this.#child.stdin!.on("error", () => {});
    this.#child.stdout!.resume();
    this.#started = new Promise((resolve) => {
      this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
        this.#errors += text;
        const start = this.#events().find(({ event }) => event === "start");
        if (start !== undefined) resolve(start);
      });
      this.#closed.then(() => resolve(undefined));
    });
  }

  /** Feeds it, and kills it or waits for its end; true if it went on midway. */
  async run(life: number): Promise<boolean> {
    const { source, random, isLast, lines, kills } = this.#options;
    const diesEarly = !isLast && random(5) === 0;
    if (diesEarly) setTimeout(() => this.#child.kill("SIGKILL"), random(150)).unref();
    const start = await this.#started;
    if (start === undefined) {
      if (diesEarly) return false;
      throw new Error(`life ${life} didn't start: ${this.#errors}`);
    }
    const persisted = Number(start["lastSequence"]);
    const from = source.offsets[persisted]!;
    // On average the kills share the input out evenly.
    const share = (random(2_000) / 1_000) * (source.bytes.length / (kills + 1));
    const until = isLast ? Infinity : from + share;
    await this.#feed(this.#resumes ? 0 : from, until);
    if (until < source.bytes.length) {
      // What is in the pipe is read, put and delivered meanwhile, or a part of it.
      await sleep(random(MAX_DELAY_MS));
      this.#child.kill("SIGKILL");
    }
    await this.#closed;
    const { exitCode, signalCode } = this.#child;
    const isMidway = persisted > 0 && persisted < lines;
    if (signalCode === "SIGKILL" && !isLast) return isMidway;
    if (exitCode !== 0) throw new Error(`life ${life} ended by ${exitCode ?? signalCode}: ${this.#errors}`);
    const summary = this.#events().find(({ event }) => event === "summary");
    if (summary?.["left"] !== 0 || summary["lastSequence"] !== lines) throw new Error(`life ${life}: ${this.#errors}`);
    return isMidway;
  }

  /** Sees to it that it is dead. */
  async bury(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }

  /** Writes the lines from an offset on into its standard input, up to another, or to the end, which ends it. */
  async #feed(from: number, until: number): Promise<void> {
    const { bytes } = this.#options.source;
    const stdin = this.#child.stdin!;
    const sliceBytes = Math.min(2 ** 16, Math.ceil(bytes.length / 500));
    for (let at = from; at < bytes.length; at += sliceBytes) {
      if (at >= until || this.#isDead()) return;
      const isTaken = stdin.write(bytes.subarray(at, Math.min(at + sliceBytes, until)));
      if (!isTaken) await Promise.race([once(stdin, "drain"), this.#closed]).catch(() => {});
    }
    if (until >= bytes.length) stdin.end();
  }

  #isDead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #events(): Event[] {
    // The last line may not be whole yet.
    return this.#errors.split("\n").slice(0, -1).filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }
}

/** A server that keeps keys, and does everything wrong that a server may do. */
class PoorServer {
  /** Bytes that are stored; they are the first ones of the input. */
  storedBytes = 0;
  known = 0;
  failures = 0;
  url = "";
  /** What came that should not have. */
  violation: string | undefined;
  readonly #expected: Uint8Array;
  readonly #random: (below: number) => number;
  readonly #keys = new Set<string>();
  #server: Server | undefined;
  #port = 0;
  #isOver = false;
  /** Requests until it goes away for a while. */
  #patience: number;
  private constructor(expected: Uint8Array, seed: number) {
    this.#expected = expected;
    this.#random = seededRandom(seed + 1);
    this.#patience = 5 + this.#random(50);
  }

  static async start(expected: Uint8Array, seed: number): Promise<PoorServer> {
    const server = new PoorServer(expected, seed);
    await server.#listen();
    return server;
  }

  /** Ends it. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#close();
  }

  async #listen(): Promise<void> {
    const server = createServer((request, response) => {
      const chunks: Uint8Array[] = [];
      request.on("error", () => {}).on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("end", () => {
        this.#answer(String(request.headers["idempotency-key"]), Buffer.concat(chunks), response);
      });
    });
    this.#server = server;
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.url = `http://127.0.0.1:${this.#port}/ingest`;
  }

  #answer(key: string, body: Uint8Array, response: ServerResponse): void {
    const mood = this.#random(20);
    if (--this.#patience < 0) {
      this.#patience = 20 + this.#random(200);
      this.failures++;
      void this.#goAway();
      return;
    }
    if (mood === 0) return this.#fail(() => response.writeHead(503).end());
    if (mood === 1) return this.#fail(() => response.destroy());
    this.#store(key, body);
    if (this.violation !== undefined) return void response.writeHead(400).end(this.violation);
    if (mood === 2) return this.#fail(() => response.destroy());
    response.writeHead(200).end();
  }

  #fail(how: () => void): void {
    this.failures++;
    how();
  }

  /** Stores a delivery unless it is known: behind all that is stored, the input must go on with just these bytes. */
  #store(key: string, body: Uint8Array): void {
    if (this.#keys.has(key)) {
      this.known++;
      return;
    }
    const next = this.#expected.subarray(this.storedBytes, this.storedBytes + body.length);
    if (Buffer.compare(next, body) !== 0) this.violation ??= `${key} isn't what comes behind byte ${this.storedBytes}`;
    this.#keys.add(key);
    this.storedBytes += body.length;
  }

  /** Cuts all connections, closes its port, and comes back. */
  async #goAway(): Promise<void> {
    await this.#close();
    await sleep(this.#random(100));
    if (!this.#isOver) await this.#listen();
  }

  async #close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
}

/** Throws unless the file has just these bytes. */
function compareFile(path: string, expected: Uint8Array): void {
  if (!existsSync(path)) throw new Error("there is no file");
  const file = openSync(path, "r");
  const slice = Buffer.alloc(FILE_SLICE_BYTES);
  try {
    let at = 0;
    for (let count = -1; count !== 0; at += count) {
      count = readSync(file, slice, 0, slice.length, at);
      const wrong = slice.subarray(0, count).findIndex((byte, i) => byte !== expected[at + i]);
      if (wrong >= 0) {
        const found = slice.subarray(wrong, wrong + 40).toString();
        const wanted = Buffer.from(expected.subarray(at + wrong, at + wrong + 40)).toString();
        throw new Error(`byte ${at + wrong} of the file: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
      }
    }
    if (at !== expected.length) throw new Error(`the file has ${at} of ${expected.length} bytes`);
  } finally {
    closeSync(file);
  }
}

async function runProgram(): Promise<void> {
  const { values } = parseArgs({
    options: {
      lines: { type: "string", default: "1000000" },
      kills: { type: "string", default: "10" },
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
      to: { type: "string" },
      runtime: { type: "string", default: currentRuntime().name },
    },
  });
  const [lines, kills, seed] = [Number(values.lines), Number(values.kills), Number(values.seed)];
  const runtime = availableRuntimes().find(({ name }) => name === values.runtime);
  if (runtime === undefined) throw new TypeError(`--runtime ${values.runtime} can't be found: set SLUICE_DENO, ...`);
  for (const to of ["file", "http"] as const) {
    if (values.to !== undefined && values.to !== to) continue;
    console.log(`${lines} lines to ${to} on ${runtime.name}, ${kills} kills, seed ${seed}`);
    const report = await tortureShip({ lines, kills, seed, to, runtime });
    console.log(
      `  each line is there once, in order; ${report.midway} of ${kills + 1} lives went on midway; ` +
        `${report.seconds.toFixed(1)} s, ${Math.round(lines / report.seconds)} lines/s over all lives` +
        (to === "http" ? `; ${report.failures} requests failed, ${report.known} came again and were known` : ""),
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await runProgram();
