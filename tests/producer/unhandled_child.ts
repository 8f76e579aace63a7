/**
 * A program that awaits nothing: puts records, some of which no buffer takes, and prints as JSON which rejections the runtime
 * reported, and what listeners that reject were told.
 *
 *     unhandled_child.ts buffer|producer|stream|listener
 */

import process from "node:process";
import { MemoryBuffer, Producer } from "../../mod.ts";
import { say } from "../support/children.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";

const unhandled: string[] = [];
process.on("unhandledRejection", (error: unknown) => {
  unhandled.push(error instanceof Error ? error.name : String(error));
});

const told: string[] = [];
const isListening = process.argv[2] === "listener";
const onEvent = (event: { readonly type: string; readonly at?: string }): Promise<void> => {
  if (event.type === "listener-failed") told.push(event.at!);
  return isListening ? Promise.reject(new Error("no listener")) : Promise.resolve();
};

const buffer = await MemoryBuffer.open<unknown>({
  maxRecords: 4,
  whenFull: "reject",
  maxRecordBytes: 64,
  maxBacklogBytes: 200,
  onEvent,
});
const producer = new Producer<unknown>({ buffer, send: () => {}, onEvent });
const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;
const bad = [cyclic, 1n, "x".repeat(100), () => {}];

for (const [i, record] of [...bad, "a", "b", ...bad, "c"].entries()) {
  if (process.argv[2] === "buffer") i % 2 === 0 ? buffer.put(record) : buffer.putMany([record]);
  if (process.argv[2] === "producer") i % 2 === 0 ? producer.put(record) : producer.putMany([record]);
  if (isListening) producer.put("x".repeat(50)).catch(() => {});
}
for (let i = 0; i < 20; i++) await yieldToEventLoop();
await producer.flush();
await producer.close();
await buffer.close();
for (let i = 0; i < 20; i++) await yieldToEventLoop();
say(JSON.stringify({ unhandled, told: [...new Set(told)].sort(), lastError: producer.stats().lastError?.message }));
