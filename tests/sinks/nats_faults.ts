/**
 * `natsSink()` on real servers while somebody else publishes to its stream and nodes are killed, stand still or are cut off: each record
 * once, and in order where the stream allows atomic batches or nobody else publishes.
 *
 *     deno task nats-faults --seed 1 --records 8000 --faults 4
 *
 * Runs on each server that can be had, alone and as a cluster of three. Options: `--release` installed, trixie or sid; `--size` 1 or 3;
 * `--atomic` where the server can; `--records N` (8000), `--faults N` (4), `--stray-ms N` between strays, 0 for none (40), `--seed S` (1).
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { assertEquals } from "@std/assert";
import { MemoryBuffer, Producer } from "../../mod.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import { loadJetStream, loadNats } from "../engines/clients.ts";
import { findNats, NATS_RELEASES, NatsCluster, type NatsRelease, versionOf } from "../engines/nats_servers.ts";
import { seededRandom } from "../support/random.ts";

/** What is run. */
export interface FaultPlan {
  readonly release: NatsRelease;
  readonly size: 1 | 3;
  readonly records: number;
  /** Whether the stream allows atomic batches. */
  readonly atomic: boolean;
  /** Kills, stops and partitions of nodes, the stream's leader mostly. */
  readonly faults: number;
  /** Milliseconds from one stray to the next; 0 for none. */
  readonly strayMs: number;
  readonly seed: number;
}

/** What happened. */
export interface FaultCounts {
  readonly version: string;
  readonly stored: number;
  readonly strays: number;
  /** Records that came behind a later one. */
  readonly displaced: number;
  readonly attempts: number;
  readonly ms: number;
}

const BATCH_RECORDS = 250;

/** Delivers numbered records; throws unless each is there once. */
export async function testFaults(plan: FaultPlan): Promise<FaultCounts> {
  const program = findNats(plan.release)!;
  const cluster = await NatsCluster.start(program, plan.size);
  const [{ connect }, { jetstream, jetstreamManager }] = [await loadNats(), await loadJetStream()];
  const options = {
    servers: cluster.ports.map((port) => `127.0.0.1:${port}`),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    reconnectJitter: 0,
    waitOnFirstConnect: true,
  };
  const [connection, other] = [await connect(options), await connect(options)];
  let timer: ReturnType<typeof setInterval> | undefined;
  try {
    const manager = await jetstreamManager(connection, { checkAPI: false, timeout: 2_000 });
    const atomic = plan.atomic ? { allow_atomic: true } : {};
    const config = { name: "NUMBERS", subjects: ["numbers"], num_replicas: plan.size, ...atomic };
    await again(() => manager.streams.add(config));
    if (plan.strayMs > 0) timer = setInterval(() => other.publish("numbers", "stray"), plan.strayMs);
    const buffer = await MemoryBuffer.open<number>({ maxRecords: BATCH_RECORDS });
    let attempts = 0;
    const send = natsSink<number>(jetstream(connection, { timeout: 1_000 }), { stream: "NUMBERS", subject: "numbers" });
    const producer = new Producer<number>({
      buffer,
      send: (delivery, context) => {
        attempts++;
        return send(delivery, context);
      },
      timeoutMs: 5_000,
      retry: { firstDelayMs: 20, maxDelayMs: 500 },
    });
    const begin = performance.now();
    const random = seededRandom(plan.seed);
    for (let part = 0; part <= plan.faults; part++) {
      const [first, last] = [part, part + 1].map((n) => Math.floor(n * plan.records / (plan.faults + 1)));
      await producer.putMany(Array.from({ length: last! - first! }, (_, i) => first! + i + 1));
      if (part < plan.faults) await fault(cluster, { random, leader: () => leaderOf(manager) });
    }
    await producer.flush();
    const ms = Math.round(performance.now() - begin);
    await producer.close();
    await buffer.close();
    clearInterval(timer);
    const texts = await again(() => readAll(manager));
    const numbers = texts.filter((text) => text !== "stray").map(Number);
    const expected = Array.from({ length: plan.records }, (_, i) => i + 1);
    assertEquals(numbers.toSorted((a, b) => a - b), expected, "each record once");
    let highest = 0;
    const displaced = numbers.filter((number) => number < highest || ((highest = number), false)).length;
    if (plan.atomic || plan.strayMs === 0) assertEquals(displaced, 0, "in order");
    const strays = texts.length - numbers.length;
    return { version: versionOf(program), stored: numbers.length, strays, displaced, attempts, ms };
  } finally {
    clearInterval(timer);
    await Promise.all([connection.close(), other.close()]);
    await cluster.remove();
  }
}

interface Manager {
  readonly streams: {
    info(stream: string): Promise<{ state: { last_seq: number }; cluster?: { leader?: string } }>;
    getMessage(stream: string, query: { seq: number }): Promise<{ string(): string } | null>;
  };
}

/** The number of the stream's leader. */
async function leaderOf(manager: Manager): Promise<number> {
  const { cluster } = await again(() => manager.streams.info("NUMBERS"));
  return Number(cluster?.leader?.slice(1) ?? 0);
}

async function readAll({ streams }: Manager): Promise<string[]> {
  const { state } = await streams.info("NUMBERS");
  const texts: string[] = [];
  for (let from = 1; from <= state.last_seq; from += 200) {
    const page = Array.from({ length: Math.min(200, state.last_seq - from + 1) }, (_, i) => from + i);
    const messages = await Promise.all(page.map((seq) => streams.getMessage("NUMBERS", { seq })));
    texts.push(...messages.map((message) => message!.string()));
  }
  return texts;
}

/** A kill of a node, a stop or a partition for a while, and the way back; the node is the leader three times of four. */
async function fault(
  cluster: NatsCluster,
  { random, leader }: { random: (below: number) => number; leader: () => Promise<number> },
): Promise<void> {
  const node = random(4) > 0 ? await leader() : random(cluster.ports.length);
  const pauseMs = 200 + random(3_000);
  const [begin, end] = ([
    [() => cluster.kill(node), () => cluster.start(node)],
    [() => cluster.signal(node, "SIGSTOP"), () => cluster.signal(node, "SIGCONT")],
    [() => cluster.cutOff(node, "all"), () => cluster.rejoin(node)],
    // Clients keep a leader that nobody follows.
    [() => cluster.cutOff(node, "servers"), () => cluster.rejoin(node)],
  ] as const)[random(4)]!;
  await begin();
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
  await end();
}

/** Until the cluster has a leader. */
async function again<R>(action: () => Promise<R>): Promise<R> {
  for (let tries = 0;; tries++) {
    try {
      return await action();
    } catch (error) {
      if (tries >= 300) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      "release": { type: "string", multiple: true, default: [...NATS_RELEASES] },
      "size": { type: "string", multiple: true, default: ["1", "3"] },
      "atomic": { type: "boolean", default: false },
      "records": { type: "string", default: "8000" },
      "faults": { type: "string", default: "4" },
      "stray-ms": { type: "string", default: "40" },
      "seed": { type: "string", default: "1" },
    },
  });
  for (const release of values.release as NatsRelease[]) {
    for (const size of values.size.map(Number) as (1 | 3)[]) {
      const [records, faults, strayMs, seed] = [values.records, values.faults, values["stray-ms"], values.seed]
        .map(Number) as [number, number, number, number];
      const plan = { release, size, atomic: values.atomic, records, faults, strayMs, seed };
      if (findNats(release) === undefined) console.log(`${release}: skipped, the server can't be had here`);
      else {
        try {
          console.log(JSON.stringify(plan), JSON.stringify(await testFaults(plan)));
        } catch (error) {
          console.error(JSON.stringify(plan), error);
          process.exitCode = 1;
        }
      }
    }
  }
}
