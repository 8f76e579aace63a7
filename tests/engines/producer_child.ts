/**
 * A producer over a real engine, until it is killed: `producer_child.ts COMMAND TARGET PORT [ARGUMENT ...]`. It says what it
 * does on standard output, a line each.
 *
 * - `setup`: makes stream or table. `done`
 * - `live PATH ROUND SEED IN_FLIGHT`: opens the buffer and puts numbered records for ever, delivering them meanwhile.
 *   `open`, `ack ROUND.FIRST ROUND.LAST`, `send RECORDS REDELIVERED`, `stored RECORDS DUPLICATES`
 * - `drain PATH IN_FLIGHT`: delivers what is left. The lines of `live` but for `ack`, then `done`
 * - `read`: `at RECORD ...` for what the target holds, in its order, then `done`
 * - `throughput PATH RECORDS IN_FLIGHT`: puts so many records of 120 bytes while they are delivered. `took MS`
 * - `pile PATH RECORDS`: puts them while the target is away. `memory MIB` at the beginning and at the end
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { setImmediate } from "node:timers";
import { FileBuffer, Producer, type Send } from "../../mod.ts";
import { seededRandom } from "../log_tools.ts";
import { connectTo, type Target, type TargetName } from "./targets.ts";

/** Writes a line before anything else happens: what was said may not get lost when the process is killed. */
function say(line: string): void {
  let rest = new TextEncoder().encode(line + "\n");
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // The pipe is full, and doesn't wait.
      if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
    }
  }
}

/** Lets the event loop turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Says what is sent. */
function spoken(send: Send<string>): Send<string> {
  return (delivery, context) => {
    say(`send ${delivery.length} ${delivery.redelivered}`);
    return send(delivery, context);
  };
}

function open(path: string): Promise<FileBuffer<string>> {
  // Puts wait when the backlog is large, lest there is nothing but backlog.
  const limits = { maxRecords: 50, maxAgeMs: 5, segmentBytes: 2 ** 14, maxBacklogBytes: 2 ** 16 };
  return FileBuffer.open<string>({ path, fsync: "never", whenFull: "block", ...limits });
}

function deliver(
  buffer: FileBuffer<string>,
  target: Target<string>,
  maxInFlight: number,
): Producer<string> {
  return new Producer({
    buffer,
    send: spoken(target.send),
    maxInFlight,
    retry: { firstDelayMs: 5, maxDelayMs: 50 },
    timeoutMs: 1_500,
  });
}

async function live(
  target: Target<string>,
  [path, round, seed, inFlight]: readonly string[],
): Promise<void> {
  const random = seededRandom(Number(seed));
  const buffer = await open(path!);
  const producer = deliver(buffer, target, Number(inFlight));
  say("open");
  for (let number = 0;;) {
    const records = Array.from(
      { length: 1 + random(60) },
      () => `${round}.${number++}`,
    );
    if (random(2) === 0) await producer.putMany(records);
    else await Promise.all(records.map((record) => producer.put(record)));
    say(`ack ${records[0]} ${records.at(-1)}`);
    for (let turns = random(40); turns > 0; turns--) await turn();
  }
}

async function drain(
  target: Target<string>,
  [path, inFlight]: readonly string[],
): Promise<void> {
  const buffer = await open(path!);
  const producer = deliver(buffer, target, Number(inFlight));
  say("open");
  await producer.flush();
  await producer.close();
  await buffer.close();
  say("done");
}

async function read(target: Target<string>): Promise<void> {
  const records = await target.read();
  for (let at = 0; at < records.length; at += 100) {
    say(`at ${records.slice(at, at + 100).join(" ")}`);
  }
  say("done");
}

const RECORD = { text: "x".repeat(109) };

async function throughput(
  target: Target<string>,
  [path, records, inFlight]: readonly string[],
): Promise<void> {
  const buffer = await FileBuffer.open<unknown>({
    path: path!,
    whenFull: "block",
    maxBacklogBytes: 2 ** 26,
  });
  const producer = new Producer({
    buffer,
    send: target.send as Send<unknown>,
    maxInFlight: Number(inFlight),
  });
  const begin = performance.now();
  const puts: Promise<number>[] = [];
  for (let i = 0; i < Number(records); i++) {
    puts.push(producer.put(RECORD));
    if (puts.length === 100) await Promise.all(puts.splice(0));
  }
  await Promise.all(puts);
  await producer.flush();
  say(`took ${performance.now() - begin}`);
  await producer.close();
  await buffer.close();
}

function sayMemory(): void {
  say(`memory ${process.memoryUsage().rss / 2 ** 20}`);
}

async function pile(
  target: Target<string>,
  [path, records]: readonly string[],
): Promise<void> {
  const buffer = await FileBuffer.open<unknown>({ path: path! });
  const producer = new Producer({
    buffer,
    send: target.send as Send<unknown>,
    timeoutMs: 1_000,
  });
  sayMemory();
  for (let left = Number(records); left > 0; left -= 100) {
    await Promise.all(Array.from({ length: 100 }, () => producer.put(RECORD)));
  }
  sayMemory();
  await producer.close();
  await buffer.close();
}

const [command, name, port, ...rest] = process.argv.slice(2);
const target = await connectTo<string>(name as TargetName, {
  port: Number(port),
  onDelivered: command === "live" || command === "drain"
    ? ({ stored, duplicates }) => say(`stored ${stored} ${duplicates}`)
    : undefined,
});
if (command === "setup") {
  await target.setUp();
  say("done");
} else if (command === "live") await live(target, rest);
else if (command === "drain") await drain(target, rest);
else if (command === "read") await read(target);
else if (command === "throughput") await throughput(target, rest);
else if (command === "pile") await pile(target, rest);
else throw new TypeError(`Cannot do "${command}"`);
if (command === "pile") process.exit();
await target.close();
