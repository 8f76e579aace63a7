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

import process from "node:process";
import { FileBuffer, Producer, type Send } from "../../mod.ts";
import type { SinkResult } from "../../src/sinks/nats.ts";
import { say } from "../support/children.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";
import { seededRandom } from "../support/random.ts";
import { connectTo, type Target, type TargetName } from "./targets.ts";

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

function deliver(buffer: FileBuffer<string>, target: Target<string>, inFlight: string | undefined): Producer<string> {
  const retry = { firstDelayMs: 5, maxDelayMs: 50 };
  return new Producer({ buffer, send: spoken(target.send), maxInFlight: Number(inFlight), retry, timeoutMs: 1_500 });
}

async function live(target: Target<string>, [path, round, seed, inFlight]: readonly string[]): Promise<void> {
  const random = seededRandom(Number(seed));
  const buffer = await open(path!);
  const producer = deliver(buffer, target, inFlight);
  say("open");
  for (let number = 0;;) {
    const records = Array.from({ length: 1 + random(60) }, () => `${round}.${number++}`);
    if (random(2) === 0) await producer.putMany(records);
    else await Promise.all(records.map((record) => producer.put(record)));
    say(`ack ${records[0]} ${records.at(-1)}`);
    for (let turns = random(40); turns > 0; turns--) await yieldToEventLoop();
  }
}

async function drain(target: Target<string>, [path, inFlight]: readonly string[]): Promise<void> {
  const buffer = await open(path!);
  const producer = deliver(buffer, target, inFlight);
  say("open");
  await producer.flush();
  await producer.close();
  await buffer.close();
  say("done");
}

async function read(target: Target<string>): Promise<void> {
  const records = await target.read();
  for (let at = 0; at < records.length; at += 100) say(`at ${records.slice(at, at + 100).join(" ")}`);
  say("done");
}

/** Ends the connection behind `body`, or the process would stay. */
async function use<T>(target: Target<T>, body: (target: Target<T>) => Promise<void>): Promise<void> {
  await body(target);
  await target.close();
}

/** 120 bytes of JSON. */
const RECORD = { text: "x".repeat(109) };
const PUTS_AT_A_TIME = 100;

async function throughput(target: Target<unknown>, [path, records, inFlight]: readonly string[]): Promise<void> {
  const buffer = await FileBuffer.open({ path: path!, whenFull: "block", maxBacklogBytes: 2 ** 26 });
  const producer = new Producer({ buffer, send: target.send, maxInFlight: Number(inFlight) });
  const begin = performance.now();
  for (let left = Number(records); left > 0; left -= PUTS_AT_A_TIME) await putSome(producer);
  await producer.flush();
  say(`took ${performance.now() - begin}`);
  await producer.close();
  await buffer.close();
}

async function pile(target: Target<unknown>, [path, records]: readonly string[]): Promise<void> {
  const buffer = await FileBuffer.open({ path: path! });
  const producer = new Producer({ buffer, send: target.send, timeoutMs: 1_000 });
  sayMemory();
  for (let left = Number(records); left > 0; left -= PUTS_AT_A_TIME) await putSome(producer);
  sayMemory();
  await producer.close();
  await buffer.close();
}

async function putSome(producer: Producer<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: PUTS_AT_A_TIME }, () => producer.put(RECORD)));
}

function sayMemory(): void {
  say(`memory ${process.memoryUsage().rss / 2 ** 20}`);
}

const [command, name, port, ...rest] = process.argv.slice(2);
const isTold = command === "live" || command === "drain";
const onDelivered = isTold ? ({ stored, duplicates }: SinkResult) => say(`stored ${stored} ${duplicates}`) : undefined;
const options = { port: Number(port), onDelivered };
const connect = <T>() => connectTo<T>(name as TargetName, options);
switch (command) {
  case "setup":
    await use(await connect<string>(), (target) => target.setUp());
    say("done");
    break;
  case "live":
    await use(await connect<string>(), (target) => live(target, rest));
    break;
  case "drain":
    await use(await connect<string>(), (target) => drain(target, rest));
    break;
  case "read":
    await use(await connect<string>(), read);
    break;
  case "throughput":
    await use(await connect<unknown>(), (target) => throughput(target, rest));
    break;
  case "pile":
    await pile(await connect<unknown>(), rest);
    // The client would go on to look for its server.
    process.exit();
    break;
  default:
    throw new TypeError(`Cannot do "${command}"`);
}
