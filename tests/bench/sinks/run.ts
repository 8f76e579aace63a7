/**
 * How near a sink comes to what a good user writes by hand with the same client: `deno task bench:sinks [options]`, or this file
 * on any runtime. Each target is measured in a Node of its own, on this machine, against a real server.
 *
 * Deliveries are made like a producer's, out of a buffer: 1,000 records of 120 bytes each, payloads there, records decoded when
 * they are asked for. They are made while no time is taken, each is sent once, and one is in flight. The sink and the hand-written
 * way take turns in short rounds, and who begins changes. What counts is the median of the rounds' ratios, so only ratios are
 * printed: the share of the hand-written rate, with its goal, and this process's CPU time for a record, by hand being 1.
 *
 * - `--target nats,redis`: names of the files beside this one; all by default
 * - `--seconds N`: how long each contest takes (10)
 * - `--rates`: also prints records per second and microseconds of CPU time for a record
 *
 * A contest whose server or client isn't installed is skipped, which is said. The exit code is 1 if one failed.
 */

import { readdirSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { MemoryBuffer } from "../../../src/buffer/memory_buffer.ts";
import { BatchPart } from "../../../src/producer/batch_part.ts";
import type { Delivery } from "../../../src/producer/delivery.ts";
import { availableRuntimes, runChild, say } from "../../support/children.ts";
import { median } from "../measures.ts";
import type { BenchRecord, OpenContest, SinkContest } from "./contest.ts";

const RECORDS = 1000;
/** `{"id":1000000000,"text":"..."}` has 120 bytes. */
const FIRST_ID = 1_000_000_000;
const TEXT = "a text of ninety-three characters, which is as long as it takes to make 120 bytes of record".padEnd(
  93,
  ".",
);
/** Long enough for the clock, short enough for many rounds: other work on the machine makes single ones several times slower. */
const ROUND_MS = 10;
/** What a round may hold in memory: 3 MB of payloads. */
const MAX_ROUND_DELIVERIES = 25;
const WARM_UP_SHARE = 0.2;
const OTHER_FILES = ["run", "contest"];

const { values: options } = parseArgs({
  options: {
    target: { type: "string" },
    seconds: { type: "string", default: "10" },
    rates: { type: "boolean", default: false },
    here: { type: "boolean", default: false },
  },
});

type Way = (delivery: Delivery<BenchRecord>) => Promise<void> | void;

/** What some deliveries cost, for a record. */
interface Cost {
  readonly microseconds: number;
  readonly cpuMicroseconds: number;
}

function refuse(reason: string): never {
  console.error(`Cannot bench sinks: ${reason}`);
  process.exit(2);
}

function chooseTargets(): string[] {
  const files = readdirSync(fileURLToPath(new URL(".", import.meta.url))).filter((name) => name.endsWith(".ts"));
  const known = files.map((name) => name.slice(0, -".ts".length)).filter((name) => !OTHER_FILES.includes(name)).sort();
  const chosen = options.target?.split(",") ?? known;
  const unknown = chosen.find((name) => !known.includes(name));
  if (unknown !== undefined) refuse(`--target takes ${known.join(", ")}, got ${unknown}`);
  return chosen;
}

/** Makes deliveries that were never made before. */
async function* makeDeliveries(): AsyncGenerator<Delivery<BenchRecord>, never> {
  const buffer = await MemoryBuffer.open<BenchRecord>({ maxRecords: RECORDS });
  for (let id = FIRST_ID;; id += RECORDS) {
    await buffer.putMany(Array.from({ length: RECORDS }, (_, i) => ({ id: id + i, text: TEXT })));
    const batch = await buffer.emit();
    await buffer.commit(batch);
    yield new BatchPart(batch);
  }
}

/** Sends deliveries one after the other. */
async function measure(way: Way, deliveries: readonly Delivery<BenchRecord>[]): Promise<Cost> {
  for (const { payloads } of deliveries) if (payloads.length !== RECORDS) throw new Error("a delivery is short");
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  for (const delivery of deliveries) await way(delivery);
  const ms = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpuBefore);
  const count = deliveries.length * RECORDS;
  return { microseconds: ms * 1000 / count, cpuMicroseconds: (user + system) / count };
}

/**
 * Runs both ways in turns. A round has as many deliveries of one as of the other, because the first of a round cost more than the
 * rest. The first part of the time is for warming up, and finds how many that is.
 */
async function compete({ ours, byHand }: OpenContest, seconds: number): Promise<{ ours: Cost[]; byHand: Cost[] }> {
  const context = { signal: new AbortController().signal, attempt: 1 };
  const ways = { ours: (delivery: Delivery<BenchRecord>) => ours(delivery, context), byHand } as const;
  const costs = { ours: [] as Cost[], byHand: [] as Cost[] };
  let count = 1;
  const source = makeDeliveries();
  const startedAt = performance.now();
  const hasPassed = (share: number) => performance.now() - startedAt >= share * seconds * 1000;
  for (let round = 0, isWarm = false; !hasPassed(1) || costs.ours.length === 0; round++) {
    const measured: Cost[] = [];
    for (const name of round % 2 === 0 ? ["ours", "byHand"] as const : ["byHand", "ours"] as const) {
      const deliveries: Delivery<BenchRecord>[] = [];
      while (deliveries.length < count) deliveries.push((await source.next()).value);
      const cost = await measure(ways[name], deliveries);
      measured.push(cost);
      if (isWarm) costs[name].push(cost);
    }
    if (!isWarm) {
      const wanted = Math.round(ROUND_MS * 1000 / RECORDS / Math.max(...measured.map((cost) => cost.microseconds)));
      count = Math.max(1, Math.min(wanted, 2 * count, MAX_ROUND_DELIVERIES));
    }
    isWarm ||= hasPassed(WARM_UP_SHARE);
  }
  return costs;
}

/** A contest's line of the table. */
async function toLine({ name, goal, open }: SinkContest): Promise<string> {
  const contest = await open();
  if (contest === undefined || typeof contest === "string") {
    return `${name.padEnd(36)}skipped: ${contest ?? "its server or its client isn't installed here"}`;
  }
  try {
    const { ours, byHand } = await compete(contest, Number(options.seconds));
    const ratioOf = (key: keyof Cost) => median(ours.map((cost, i) => cost[key] / byHand[i]![key]))!;
    const share = 1 / ratioOf("microseconds");
    const columns = [share.toFixed(2), String(goal), ratioOf("cpuMicroseconds").toFixed(2)];
    if (options.rates) {
      for (const costs of [ours, byHand]) {
        columns.push(`${Math.round(1000 / median(costs.map(({ microseconds }) => microseconds))!)}k`);
        columns.push(median(costs.map(({ cpuMicroseconds }) => cpuMicroseconds))!.toFixed(2));
      }
    }
    return name.padEnd(36) + columns.map((column) => column.padStart(9)).join("") + (share < goal ? "  missed" : "");
  } finally {
    await contest.close();
  }
}

/** Runs the contests of one target in this process. */
async function runHere(target: string): Promise<void> {
  const { contests }: { contests: readonly SinkContest[] } = await import(`./${target}.ts`);
  for (const contest of contests) {
    try {
      say(await toLine(contest));
    } catch (error) {
      say(`${contest.name.padEnd(36)}failed: ${error instanceof Error ? error.stack : error}`);
      process.exitCode = 1;
    }
  }
  // Whatever a client has left open.
  process.exit();
}

if (!(Number(options.seconds) > 0)) refuse(`--seconds must be a number above 0, got ${options.seconds}`);
if (options.here) {
  await runHere(options.target!);
} else {
  const targets = chooseTargets();
  const runtime = availableRuntimes().find(({ name }) => name === "node") ?? refuse("there is no Node");
  const columns = ["share", "goal", "CPU", ...options.rates ? ["ours", "CPU us", "by hand", "CPU us"] : []];
  console.log("".padEnd(36) + columns.map((column) => column.padStart(9)).join(""));
  const passedOn = ["--seconds", options.seconds, ...options.rates ? ["--rates"] : []];
  for (const target of targets) {
    const args = ["--here", "--target", target, ...passedOn];
    const write = (text: string) => void process.stdout.write(text);
    const result = await runChild("tests/bench/sinks/run.ts", args, { runtime, timeoutMs: 3_600_000, onOutput: write });
    process.stderr.write(result.stderr);
    if (result.code !== 0) process.exitCode = 1;
  }
}
