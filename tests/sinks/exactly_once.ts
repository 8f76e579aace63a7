/**
 * Exactly once on real servers, for longer than the tests have time for; or how fast the whole way is.
 *
 *     deno task exactly-once --rounds 50 --seed 1
 *     deno task exactly-once --engine nats --in-flight 5
 *     deno task exactly-once --throughput 200000
 *
 * Options: `--engine` nats, postgres, postgres-transaction, postgres-pg, postgres-pg-transaction or a client of Redis (redis, redis-5,
 * redis-4, ioredis, ioredis-5, iovalkey; all when it isn't given), `--rounds N` producers that are killed (50), `--seed S` (1),
 * `--in-flight N` batches at a time (1), `--throughput N` records from `put()` to delivered, with 1 and 5 batches in flight, and the
 * memory while the target is away and a million records pile up.
 *
 * On Bun and Node: `npx -y node@24 --import=./tests/std/resolve.mjs tests/sinks/exactly_once.ts`. The exit code is 1 after a
 * violation.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { join } from "@std/path/join";
import { engineOf, runProgram, testExactlyOnce } from "../engines/exactly_once.ts";
import { REDIS_CLIENTS } from "../engines/redis_clients.ts";
import { Server, whyNot } from "../engines/servers.ts";
import type { TargetName } from "../engines/targets.ts";
import { currentRuntime } from "../support/children.ts";

const TARGETS: readonly TargetName[] = [
  "nats",
  "postgres",
  "postgres-transaction",
  "postgres-pg",
  "postgres-pg-transaction",
  ...REDIS_CLIENTS,
];
const PILED_RECORDS = 1_000_000;

/** Runs a command of the child with a buffer of its own, and gives the numbers that it says. */
async function measure(command: string, target: TargetName, port: string, ...args: string[]): Promise<number[]> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-throughput-"));
  try {
    const lines = await runProgram([command, target, port, join(directory, "buffer"), ...args]);
    return lines.map((line) => Number(line.split(" ")[1]));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function showThroughput(target: TargetName, records: number): Promise<void> {
  const server = await Server.make(engineOf(target));
  const port = String(server.port);
  try {
    await runProgram(["setup", target, port]);
    const rates: string[] = [];
    for (const inFlight of [1, 5]) {
      const [ms] = await measure("throughput", target, port, String(records), String(inFlight));
      rates.push(`${inFlight} in flight: ${Math.round(records / ms! * 1000)} records/s`);
    }
    await server.kill();
    const [before, after] = await measure("pile", target, port, String(PILED_RECORDS));
    const memory = `${Math.round(before!)} MiB, ${Math.round(after!)} MiB with ${PILED_RECORDS} records piled up`;
    console.log(`${target} on ${currentRuntime().name}: ${rates.join(", ")}; memory ${memory}`);
  } finally {
    await server.remove();
  }
}

const { values: options } = parseArgs({
  options: {
    "engine": { type: "string", multiple: true, default: [...TARGETS] },
    "rounds": { type: "string", default: "50" },
    "seed": { type: "string", default: "1" },
    "in-flight": { type: "string", default: "1" },
    "throughput": { type: "string" },
  },
});
for (const name of options.engine) {
  const target = TARGETS.find((one) => one === name);
  if (target === undefined) throw new TypeError(`--engine must be one of ${TARGETS.join(", ")}, not ${name}`);
  const why = await whyNot(engineOf(target));
  if (why !== undefined) {
    console.log(`${target}: skipped, ${why}`);
    continue;
  }
  if (options.throughput !== undefined) {
    await showThroughput(target, Number(options.throughput));
    continue;
  }
  const plan = { rounds: Number(options.rounds), seed: Number(options.seed), inFlight: Number(options["in-flight"]) };
  try {
    const counts = await testExactlyOnce({ target, ...plan });
    console.log(`${target} on ${currentRuntime().name}, ${JSON.stringify(plan)}: ${JSON.stringify(counts)}`);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
}
