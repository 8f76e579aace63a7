/**
 * Exactly once, shown on a real server: a producer puts numbered records and is killed at moments that a seed chooses,
 * again and again; the server is stopped or killed meanwhile, and comes back. In the end the target must hold every
 * acknowledged record once, in order.
 *
 * Order is that of the puts: rounds follow each other, and the records of a round are numbered from 0 without a gap. A
 * record that wasn't acknowledged when its producer was killed may be there, at the end of its round, but only with
 * all before it. With more than one batch in flight, batches may arrive in another order, so only the rest is asked for.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { join } from "@std/path/join";
import { currentRuntime, type Runtime } from "../support/children.ts";
import { seededRandom } from "../support/random.ts";
import { Program } from "./program.ts";
import { type Engine, Server, whyNot } from "./servers.ts";
import type { TargetName } from "./targets.ts";

export const CHILD = "tests/engines/producer_child.ts";

/** What is run. */
export interface Plan {
  readonly target: TargetName;
  /** How many producers are killed. */
  readonly rounds: number;
  readonly seed: number;
  /** Batches in flight at a time. */
  readonly inFlight: number;
}

/** What happened. */
export interface Counts {
  /** Records that were acknowledged to the producer. */
  put: number;
  /** Records that were handed to the sink, each time they were. */
  sent: number;
  /** Those of them that may have been sent before. */
  resent: number;
  /** Records that the target had already, as far as anybody lived to say so. */
  duplicates: number;
  /** Records in the target in the end. */
  stored: number;
  /** Stops of the server, in order and by kill -9. */
  serverStops: number;
  serverKills: number;
}

/** The engine behind a target. */
export function engineOf(target: TargetName): Engine {
  if (target === "nats") return target;
  return target.startsWith("postgres") ? "postgres" : "redis";
}

/** Makes the test of one target; skipped, and says why, where it can't be run. */
export function exactlyOnceTest(target: TargetName, inFlight: number): void {
  const rounds = Number(process.env["SLUICE_ONCE_ROUNDS"] ?? 5);
  const seed = Number(process.env["SLUICE_ONCE_SEED"] ?? 1);
  const name = `Producer delivers exactly once to ${target} in ${rounds} lives, ${inFlight} in flight`;
  test(name, { timeout: 60_000 + rounds * 10_000 }, async (t) => {
    const why = await whyNot(engineOf(target));
    if (why !== undefined) return t.skip(why);
    console.log(name, JSON.stringify(await testExactlyOnce({ target, rounds, seed, inFlight })));
  });
}

/** Runs a program to its end, which must be a good one, and gives its lines. */
export async function runProgram(args: readonly string[], runtime: Runtime = currentRuntime()): Promise<string[]> {
  const program = new Program(CHILD, args, runtime);
  const lines: string[] = [];
  for await (const line of program.lines()) lines.push(line);
  const { code, signal, errors } = await program.end();
  assertEquals([code, signal, errors], [0, null, ""], args.slice(0, 2).join(" "));
  return lines;
}

/** Does all of it and judges; throws on a violation. */
export async function testExactlyOnce(plan: Plan): Promise<Counts> {
  const { target, rounds, seed, inFlight } = plan;
  const directory = mkdtempSync(join(tmpdir(), "sluice-once-"));
  const path = join(directory, "buffer");
  const server = await Server.make(engineOf(target));
  const port = String(server.port);
  try {
    await runProgram(["setup", target, port]);
    const ledger = new Ledger();
    const random = seededRandom(seed);
    for (let round = 0; round < rounds; round++) {
      const args = ["live", target, port, path, ...[round, random(2 ** 31), inFlight].map(String)];
      await liveAndDie(new Program(CHILD, args, currentRuntime()), { server, ledger, random });
    }
    if (!server.isUp) await server.start();
    for (
      const line of await runProgram(["drain", target, port, path, String(inFlight)])
    ) ledger.take(line);
    // What was acknowledged must be on disk, not only in the server's memory.
    await server.kill();
    await server.start();
    const records = (await runProgram(["read", target, port])).flatMap((line) => line.split(" ").slice(1));
    ledger.judge(records, inFlight === 1);
    // Of so many deaths some must have hit a delivery, before it was stored and after.
    if (rounds >= 50) assertGreater(Math.min(ledger.counts.resent, ledger.counts.duplicates), 0);
    return ledger.counts;
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new Error(`${target}, ${rounds} rounds, seed ${seed}: ${why}`, { cause: error });
  } finally {
    await server.remove();
    rmSync(directory, { recursive: true });
  }
}

/** Lets a producer live for some lines, with what happens to the server meanwhile, and kills it. */
async function liveAndDie(
  program: Program,
  { server, ledger, random }: {
    server: Server;
    ledger: Ledger;
    random: (below: number) => number;
  },
): Promise<void> {
  const { counts } = ledger;
  const end = random(2) === 0 ? "serverKills" : "serverStops";
  const takeServerAway = async () => {
    counts[end]++;
    await (end === "serverKills" ? server.kill() : server.stop());
  };
  const bringServerBack = () => server.start();
  // What happens, and after how many lines of the producer. While the server is away they are few and far between.
  const events: { readonly after: number; readonly happen: () => Promise<void> | void }[] = [];
  if (!server.isUp) events.push({ after: random(6), happen: bringServerBack });
  const goes = random(3) > 0;
  const staysAway = goes && random(3) === 0;
  if (goes) events.push({ after: random(60), happen: takeServerAway });
  if (goes && !staysAway) events.push({ after: random(6), happen: bringServerBack });
  events.push({ after: staysAway ? random(4) : random(60), happen: () => program.kill() });
  let lines = 0;
  try {
    for await (const line of program.lines()) {
      ledger.take(line);
      for (lines++; events.length > 0 && lines > events[0]!.after; lines = 0) await events.shift()!.happen();
    }
  } finally {
    program.kill();
  }
  const { signal, errors } = await program.end();
  assertEquals([signal, errors], ["SIGKILL", ""]);
}

/** What was said, held against what is there. */
class Ledger {
  readonly counts: Counts = { put: 0, sent: 0, resent: 0, duplicates: 0, stored: 0, serverStops: 0, serverKills: 0 };
  /** The number of the last acknowledged record of each round. */
  readonly #acknowledged = new Map<number, number>();

  take(line: string): void {
    const [word, one, other] = line.split(" ");
    if (word === "ack") {
      const [round, number] = other!.split(".").map(Number) as [number, number];
      this.#acknowledged.set(round, number);
      this.counts.put += number - Number(one!.split(".")[1]) + 1;
    } else if (word === "send") {
      this.counts.sent += Number(one);
      if (other === "true") this.counts.resent += Number(one);
    } else if (word === "stored") this.counts.duplicates += Number(other);
    else assert(word === "open" || word === "done", `line "${line}"`);
  }

  judge(found: readonly string[], isOrdered: boolean): void {
    this.counts.stored = found.length;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const records = isOrdered ? found : found.toSorted(compare);
    const last = new Map<number, number>();
    let before = -1;
    for (const [at, record] of records.entries()) {
      const [round, number] = record.split(".").map(Number) as [number, number];
      assert(round >= before, `${record} at ${at} comes after round ${before}`);
      assertEquals(
        number,
        (last.get(round) ?? -1) + 1,
        `record ${at} of the target is ${record}`,
      );
      last.set(round, number);
      before = round;
    }
    for (const [round, number] of this.#acknowledged) {
      assert(
        (last.get(round) ?? -1) >= number,
        `${round}.${number} was acknowledged, ${last.get(round)} is the last`,
      );
    }
  }
}
